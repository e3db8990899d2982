"""A tuned setting of the bias model, and the search that found it.

Run ``python -m embedlens.tuned --output book/results/tuned.json`` (a few minutes). The
search sees the training ratings of split 0 alone: it cuts them once more, and judges each
setting by the inner validation part. The ratings that chapter 7 reports on stay unseen.
"""

import argparse
from functools import cache, partial
import json

from embedlens import audit, commands, data, results, training
from embedlens.models import PenalisedDotWithBias
import keras
from tqdm import tqdm

# Found by `search` (rounded); tests hold them against the stored search.
SETTINGS = {
    "batch_size": 1024,
    "learning_rate": 0.01344,
    "epochs": 7,
    "dim": 16,
    "vector_penalty": 0.1156,
    "bias_penalty": 0.000386,
}
SEARCH = {
    "split": 0,
    "inner_splits": [1, 2],
    "inner_share": 0.9,
    "trials": 80,
    "batch_size": [256, 512, 1024],
    "learning_rate": [0.002, 0.05],
    "epochs": [3, 10],
    "dim": [8, 16, 32, 64],
    "vector_penalty": [0.01, 0.5],
    "bias_penalty": [0.0001, 0.05],
}


def train(sizes, train_ratings, seed, settings=SETTINGS, valid_ratings=None):
    """Train the bias model at a tuned setting, in the fastest way that the backend has.

    Parameters
    ----------
    sizes : tuple of int
        Number of users, number of movies.
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    seed : int
        Fixes initial weights and the order of the ratings.
    settings : dict
        Keys as in `SETTINGS`.
    valid_ratings : pandas.DataFrame, optional
        Only to have its RMSE in the history: all epochs are run, whatever it says.

    Returns
    -------
    model : PenalisedDotWithBias
    history : pandas.DataFrame
        As from `training.train`.
    """
    make_model = maker(settings["dim"], settings["vector_penalty"], settings["bias_penalty"])
    n_steps = -(-len(train_ratings) // settings["batch_size"]) * settings["epochs"]
    options = {
        "epochs": settings["epochs"],
        "batch_size": settings["batch_size"],
        "patience": settings["epochs"],
        "learning_rate": keras.optimizers.schedules.CosineDecay(settings["learning_rate"], n_steps),
    }
    if keras.backend.backend() == "jax":
        from embedlens import rowwise

        return rowwise.train(make_model, sizes, train_ratings, valid_ratings, seed, **options)
    training.set_seed(seed)
    model = make_model(*sizes)
    return model, training.train(model, train_ratings, valid_ratings, **options)


@cache
def maker(dim, vector_penalty, bias_penalty):
    """Return a callable that makes the model from the numbers of users and movies."""
    return partial(
        PenalisedDotWithBias,
        min_rating=data.LOWEST_RATING,
        max_rating=data.HIGHEST_RATING,
        dim=dim,
        vector_penalty=vector_penalty,
        bias_penalty=bias_penalty,
    )


def search(trials=SEARCH["trials"]):
    """Search a setting with Optuna (a seeded tree-structured Parzen estimator).

    Returns
    -------
    dict
        ``best``: the setting; ``trials``: a list of dict with the setting and its RMSE, in
        stars, averaged over the inner splits; ``provenance``: what the numbers depend on.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    provenance = audit.provenance(SEARCH)
    parts = [inner_part(split) for split in SEARCH["inner_splits"]]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
    for _ in tqdm(range(trials), unit="trial"):
        trial = study.ask()
        setting = suggested(trial, {name: SEARCH[name] for name in SETTINGS})
        found = [_inner_rmse(setting, seed, *part) for seed, part in enumerate(parts)]
        study.tell(trial, sum(found) / len(found))
    trials = [{**trial.params, "rmse": round(trial.value, 5)} for trial in study.trials]
    return {"best": study.best_params, "trials": trials, "provenance": provenance}


def inner_part(inner_split, timestamps=False):
    """Cut the training part of the search's split once more: what a nested search may see.

    Parameters
    ----------
    inner_split : int
        One of ``SEARCH["inner_splits"]``.
    timestamps : bool, default False
        As in `data.prepared`.

    Returns
    -------
    train_ratings, valid_ratings : pandas.DataFrame
        To train and to judge on.
    """
    outer, _ = data.train_valid_split(data.prepared(timestamps), SEARCH["split"])
    return data.train_valid_split(outer, inner_split, SEARCH["inner_share"])


def evaluate(split):
    """Train at the tuned setting and return the RMSE on the validation part, in stars."""
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train_ratings, valid_ratings = data.train_valid_split(ratings, split)
    model, _ = train(sizes, train_ratings, split)
    return training.rmse(valid_ratings["rating"], training.predict(model, valid_ratings))


def load(path):
    """Read a stored search, if it is about the present data and search space.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        As from `search`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": SEARCH}
    return results.read(path, present, "make tune")


def main(arguments=None):
    """Run the search and store it; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="python -m embedlens.tuned", description=__doc__.splitlines()[0]
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--output", type=commands.file_to_write, help="JSON file to write")
    chosen.add_argument(
        "--evaluate", type=int, nargs="+", metavar="SPLIT", help="print the RMSE on these splits"
    )
    options = parser.parse_args(arguments)
    commands.restart_on_jax("embedlens.tuned", arguments)
    if options.evaluate:
        print([round(evaluate(split), 5) for split in options.evaluate])
        return
    found = search()
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"Best: {found['best']}\nWritten: {options.output}")


def suggested(trial, space):
    """Let an Optuna trial choose a setting.

    Parameters
    ----------
    trial : optuna.Trial
    space : dict
        batch_size and dim: choices; epochs: first and last; all others: ends of a range that
        is searched on a logarithmic scale.

    Returns
    -------
    dict
    """
    setting = {}
    for name, values in space.items():
        if name in ("batch_size", "dim"):
            setting[name] = trial.suggest_categorical(name, values)
        elif name == "epochs":
            setting[name] = trial.suggest_int(name, *values)
        else:
            setting[name] = trial.suggest_float(name, *values, log=True)
    return setting


def _inner_rmse(setting, seed, train_ratings, valid_ratings):
    sizes = data.count_users_and_movies(data.prepared())
    _, history = train(sizes, train_ratings, seed, setting, valid_ratings)
    return history["valid_rmse"].iloc[-1]


if __name__ == "__main__":
    main()
