"""The search for a setting of the bias model: for chapter 7, on other data, and for each split.

It sees the training ratings of one split alone, cuts them once more, and judges each setting by
the inner validation parts. The ratings that are reported on stay unseen. `SEARCH` does so for
split 0, `ANCHORS` for each of the splits that chapters 8 to 11 report on.
"""

from functools import cache, partial

import numpy as np

from embedlens import data, movielens, provenance, recipes, training
from embedlens.experiments import search
from embedlens.experiments.runner import Experiment
from embedlens.models import PenalisedDotWithBias
from embedlens.recipes import Recipe, Training

TRIALS = 80  # of each sampler
SAMPLERS = [0, 1, 2]
FINALISTS, FRESH_SPLITS = 12, [3, 4, 5, 6]  # the best are judged anew, on other inner splits
ANCHOR_TRIALS, ANCHOR_FINALISTS = 40, 6  # on each split
SPACE = {
    "batch_size": [128, 256, 512, 1024],
    "learning_rate": [0.001, 0.05],
    "epochs": [3, 20],
    "dim": [8, 16, 32, 64, 128],
    "vector_penalty": [0.003, 0.5],
    "bias_penalty": [0.0001, 0.05],
    "user_dropout": [0.0, 0.6],
    "movie_dropout": [0.0, 0.6],
}
OPTIONS = ("dim", "vector_penalty", "bias_penalty", "user_dropout", "movie_dropout")  # of the model


def measure(setting, source=None, reported=False, fresh=False, split=search.SPLITS["split"]):
    """Train at a setting within the training part of a split.

    Parameters
    ----------
    setting : dict
        A value for each name in `SPACE`.
    source : str, optional
        As in `movielens.load`. Default: the embedded ratings.
    reported : bool, default False
        Train on the whole training part, and judge by the ratings that the search never sees.
    fresh : bool, default False
        Judge on `FRESH_SPLITS`.
    split : int

    Returns
    -------
    dict
        rmse: in stars; averaged over the inner splits, if it is not `reported`.
    """
    ratings = _ratings(source)
    sizes = data.count_users_and_movies(ratings)
    if reported:
        cut = [data.train_valid_split(ratings, split)]
    else:
        splits = FRESH_SPLITS if fresh else search.SPLITS["inner_splits"]
        cut = (search.inner_part(inner, ratings=ratings, split=split) for inner in splits)
    found = []
    for seed, parts in enumerate(cut):
        _, history = training.train(recipe(setting), sizes, *parts, seed)
        found.append(history["valid_rmse"].iloc[-1])
    return {"rmse": np.mean(found)}


def on_other_data(source, minutes=None, trials=TRIALS):
    """The search for another release: nested in the same way, by one sampler.

    Parameters
    ----------
    source : str
        As in `movielens.load`.
    minutes : float, optional
        After so many no further trial begins. A later run goes on from there.
    trials : int

    Returns
    -------
    runner.Experiment
        Its report also holds ``recipe``, for `recipes.load`, and ``rmse``: the error of the best
        setting on ratings that the search never saw, in stars.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        As `movielens.load`.
    """

    def to_search():
        best_setting, *_ = yield from search.ask_and_tell(
            SPACE, trials, minutes=minutes, source=source
        )
        yield [{"setting": best_setting, "source": source, "reported": True}]

    def summary(runs):
        return {"recipe": recipe(runs[-1]["setting"]).settings(), "rmse": runs[-1]["rmse"]}

    return Experiment(
        "tuning",
        {**search.SPLITS, **SPACE, "data": provenance.dataset_digest(_ratings(source))},
        to_search,
        measure,
        jobs=1,
        summary=summary,
        with_data=False,
    )


def to_search():
    """Let the samplers search, then judge the best settings anew.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    tried = yield from search.ask_and_tell(SPACE, TRIALS, samplers=SAMPLERS)
    yield [{"setting": setting, "fresh": True} for setting in tried[:FINALISTS]]


SEARCH = Experiment(
    "tuning",
    {
        **search.SPLITS,
        "trials": TRIALS,
        "samplers": SAMPLERS,
        "finalists": FINALISTS,
        "fresh_splits": FRESH_SPLITS,
        **SPACE,
    },
    to_search,
    measure,
)


def search_one(split):
    """Search the setting of one split, and report on it.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    tried = yield from search.ask_and_tell(SPACE, ANCHOR_TRIALS, samplers=(split,), split=split)
    finalists = [
        {"setting": setting, "split": split, "fresh": True} for setting in tried[:ANCHOR_FINALISTS]
    ]
    found = yield finalists
    runs = [part | one for part, one in zip(finalists, found, strict=True)]
    yield [{"setting": best({"runs": runs}), "split": split, "reported": True}]


ANCHORS = Experiment(
    "anchors",
    {
        **search.SPLITS,
        "split": search.OUTER,
        "trials": ANCHOR_TRIALS,
        "finalists": ANCHOR_FINALISTS,
        "fresh_splits": FRESH_SPLITS,
        **SPACE,
    },
    partial(search.each_split, search_one),
    measure,
)


@cache
def anchor(split, path=provenance.PACKAGE / "results/anchors.json"):
    """The bias model at the setting that was found within the training part of a split.

    Parameters
    ----------
    split : int
        One of `search.OUTER`.
    path : path-like
        The stored report of `ANCHORS`.

    Returns
    -------
    recipes.Recipe

    Raises
    ------
    FileNotFoundError, ValueError
        As `runner.Experiment.load`; or if the split was not searched.
    """
    return recipe(anchor_setting(split, path))


@cache
def anchor_setting(split, path=provenance.PACKAGE / "results/anchors.json"):
    """The setting of `anchor`: a dict with the names of `SPACE`."""
    runs = [run for run in ANCHORS.load(path)["runs"] if run["split"] == split]
    if not runs:
        raise ValueError(f"split {split} was not searched: choose from {search.OUTER}")
    return best({"runs": runs})


def anchors():
    """The settings of `anchor`, by split, for the settings of what is compared with it: a dict.

    Empty before ``python -m embedlens run anchors`` has found them.
    """
    try:
        return {str(split): anchor(split).settings() for split in search.OUTER}
    except FileNotFoundError:
        return {}


def best(report):
    """The setting with the lowest RMSE among those that a stored search judged anew: a dict."""
    finalists = [run for run in report["runs"] if run.get("fresh")]
    return min(finalists, key=lambda run: run["rmse"])["setting"]


def recipe(setting):
    """Make the recipe of a setting, as a search finds it: a dict with the names of `SPACE`."""
    options = {name: setting[name] for name in OPTIONS}
    others = {name: value for name, value in setting.items() if name not in OPTIONS}
    trained_so = Training(patience=None, falling=True, **others)
    return Recipe(PenalisedDotWithBias, trained_so, **recipes.SCALE, **options)


@cache
def _ratings(source):
    return data.prepared() if source is None else data.prepare(movielens.load(source))
