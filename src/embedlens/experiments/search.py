"""One way to search settings: within the training part, and with one loop."""

import time

from embedlens import data

# The search sees the training part of this split alone, and cuts it once more.
SPLITS = {"split": 0, "inner_splits": [1, 2], "inner_share": 0.9}
CHOICES = ("batch_size", "dim", "units", "layers")


def inner_part(inner_split, timestamps=False, ratings=None):
    """Cut the training part of the search's split once more: what a nested search may see.

    Parameters
    ----------
    inner_split : int
        One of ``SPLITS["inner_splits"]``.
    timestamps : bool, default False
        As in `data.prepared`.
    ratings : pandas.DataFrame, optional
        As from `data.prepare`. Default: the embedded ones.

    Returns
    -------
    train_ratings, valid_ratings : pandas.DataFrame
        To train and to judge on.
    """
    ratings = data.prepared(timestamps) if ratings is None else ratings
    outer, _ = data.train_valid_split(ratings, SPLITS["split"])
    return data.train_valid_split(outer, inner_split, SPLITS["inner_share"])


def ask_and_tell(space, trials, first=None, minutes=None, **fixed):
    """Search with Optuna (a seeded tree-structured Parzen estimator): a stage per trial.

    For ``best = yield from ask_and_tell(...)`` in the parts of an experiment. Trials that were
    finished before an interruption come from the experiment's cache, and the sampler, told the
    same values, asks the same questions.

    Parameters
    ----------
    space : dict
        As for `suggested`.
    trials : int
    first : dict, optional
        Setting of the first trial.
    minutes : float, optional
        After so many no further trial begins; the first is always made.
    **fixed
        Further arguments of the experiment's `measure`, which gets the trial's as `setting`,
        and gives a dict with ``rmse``.

    Yields
    ------
    list of dict
        One part.

    Returns
    -------
    dict
        The setting with the lowest RMSE.
    """
    import optuna  # only a search needs it; readers of its results may not have it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
    if first:
        study.enqueue_trial(first)
    started = time.monotonic()
    for number in range(trials):
        if number and minutes is not None and time.monotonic() - started > 60 * minutes:
            break
        trial = study.ask()
        [found] = yield [{**fixed, "setting": suggested(trial, space)}]
        study.tell(trial, found["rmse"])
    return suggested(study.best_trial, space)


def suggested(trial, space):
    """Let an Optuna trial choose a setting.

    Parameters
    ----------
    trial : optuna.Trial
    space : dict
        Of `CHOICES`: a list to choose from; epochs: first and last; a single number: as it
        is; all others: ends of a range that is searched on a logarithmic scale.

    Returns
    -------
    dict
    """
    setting = {}
    for name, values in space.items():
        if not isinstance(values, list):
            setting[name] = values
        elif name in CHOICES:
            setting[name] = trial.suggest_categorical(name, values)
        elif name == "epochs":
            setting[name] = trial.suggest_int(name, *values)
        else:
            setting[name] = trial.suggest_float(name, *values, log=True)
    return setting
