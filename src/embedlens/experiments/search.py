"""One way to search settings: within the training part, and with one loop."""

import time

from embedlens import data

# A search sees the training part of one split alone, and cuts it once more. For chapter 7:
SPLITS = {"split": 0, "inner_splits": [1, 2], "inner_share": 0.9}
# For chapters 8 to 10: each of these is searched for itself (`each_split`), so that no setting is
# chosen on ratings that any split reports on with it.
OUTER = [0, 1, 2, 3, 4]
CHOICES = ("batch_size", "dim", "units", "layers")


def inner_part(inner_split, timestamps=False, ratings=None, split=SPLITS["split"]):
    """Cut the training part of a split once more: what a nested search may see.

    Parameters
    ----------
    inner_split : int
        One of ``SPLITS["inner_splits"]``.
    timestamps : bool, default False
        As in `data.prepared`.
    ratings : pandas.DataFrame, optional
        As from `data.prepare`. Default: the embedded ones.
    split : int
        The outer one.

    Returns
    -------
    train_ratings, valid_ratings : pandas.DataFrame
        To train and to judge on.
    """
    ratings = data.prepared(timestamps) if ratings is None else ratings
    outer, _ = data.train_valid_split(ratings, split)
    return data.train_valid_split(outer, inner_split, SPLITS["inner_share"])


def ask_and_tell(space, trials, first=None, minutes=None, samplers=(0,), **fixed):
    """Search with Optuna's tree-structured Parzen estimators: a trial of each in every stage.

    For ``best, *others = yield from ask_and_tell(...)`` in the parts of an experiment. Trials that
    were finished before an interruption come from the experiment's cache, and the samplers, told
    the same values, ask the same questions.

    Parameters
    ----------
    space : dict
        As for `suggested`.
    trials : int
        Of each sampler.
    first : dict, optional
        Setting of the first trial.
    minutes : float, optional
        After so many no further stage begins; the first is always made.
    samplers : tuple of int
        A seed for each sampler. They do not know of each other: one may miss what another finds.
    **fixed
        Further arguments of the experiment's `measure`, which gets the trial's as `setting`,
        and gives a dict with ``rmse``.

    Yields
    ------
    list of dict
        A part per sampler.

    Returns
    -------
    list of dict
        The settings that were tried, lowest RMSE first.
    """
    import optuna  # only a search needs it; readers of its results may not have it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = [
        optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
        for seed in samplers
    ]
    if first:
        studies[0].enqueue_trial(first)
    tried = []
    started = time.monotonic()
    for number in range(trials):
        if number and minutes is not None and time.monotonic() - started > 60 * minutes:
            break
        asked = [study.ask() for study in studies]
        settings = [suggested(trial, space) for trial in asked]
        found = yield [{**fixed, "setting": setting} for setting in settings]
        for study, trial, setting, one in zip(studies, asked, settings, found, strict=True):
            study.tell(trial, one["rmse"])
            tried.append((one["rmse"], setting))
    return [setting for _, setting in sorted(tried, key=lambda pair: pair[0])]


def each_split(plan, splits=OUTER):
    """Let a plan of search go on for several splits, side by side.

    Parameters
    ----------
    plan : callable
        ``plan(split)`` yields lists of parts, stage by stage, and is sent the results of each, as
        `ask_and_tell` does.
    splits : list of int

    Yields
    ------
    list of dict
        The next stage of every plan that goes on.

    Returns
    -------
    dict
        What each plan returned, by split.
    """
    plans = {split: plan(split) for split in splits}
    asked = {split: next(one) for split, one in plans.items()}
    returned = {}
    while asked:
        found = iter((yield [part for stage in asked.values() for part in stage]))
        going = {}
        for split, stage in asked.items():
            try:
                going[split] = plans[split].send([next(found) for _ in stage])
            except StopIteration as end:
                returned[split] = end.value
        asked = going
    return returned


def suggested(trial, space):
    """Let an Optuna trial choose a setting.

    Parameters
    ----------
    trial : optuna.Trial
    space : dict
        Of `CHOICES`: a list to choose from; epochs: first and last; dropouts: ends of a range; a
        single number: as it is; all others: ends of a range on a logarithmic scale.

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
        elif name.endswith("_dropout"):
            setting[name] = trial.suggest_float(name, *values)
        else:
            setting[name] = trial.suggest_float(name, *values, log=True)
    return setting
