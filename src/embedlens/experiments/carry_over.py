"""How the tuned setting carries over to other data: which penalty is best where, for chapter 7.

The price of a looked-up vector that is best on the embedded ratings is too high where rows are
looked up more often. Each set of ratings is trained on at a grid of prices, all else as tuned, and
judged within its training part. `recipes.for_size` follows what was found; a last part trains with
and without it on ratings that nothing was chosen on.
"""

from functools import cache
import math

import numpy as np
import pandas as pd
from scipy import stats

from embedlens import data, metrics, recipes, training
from embedlens.experiments import search
from embedlens.experiments.conclusions import Conclusion
from embedlens.experiments.runner import Experiment
from embedlens.movielens import synthetic

PENALTIES = [0.01, 0.015, 0.022, 0.033, 0.05, 0.075, 0.11, 0.17, 0.25]
OFTEN = 30  # ratings of a movie
EMBEDDED = ["embedded", "embedded, every second", "embedded, movies rated often"]
MADE_UP = [100_000, 300_000, 1_000_000]
MODELS = {"factors": recipes.TUNED, "feedback": recipes.FEEDBACK}
SEED, OTHER_SEED = 0, 1  # of the made-up ratings; the other one's are for the last part


def parts():
    """Say what to train: a stage for the grids, one to try the rule.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    yield [
        {"source": source, "penalty": penalty}
        for source in [*EMBEDDED, *MADE_UP]
        for penalty in PENALTIES
    ]
    yield [
        {"source": MADE_UP[-1], "penalty": which, "model": model}
        for model in MODELS
        for which in ("tuned", "carried over")
    ]


def measure(source, penalty, model="factors"):
    """Train a tuned setting at one price of a looked-up vector.

    Parameters
    ----------
    source : str or int
        One of `EMBEDDED`, or how many ratings to make up.
    penalty : float or {"tuned", "carried over"}
        A number is judged within the training part of split 0. The others are judged on what the
        split sets aside, of ratings made up anew: as the recipe has it, and as
        `recipes.for_size` does.
    model : str
        Key of `MODELS`; for a number, the default.

    Returns
    -------
    dict
        rmse: in stars; averaged over the inner splits, for a number. per_row: as from
        `recipes.per_row`, of the ratings that were trained on. For the others also lowest: the
        RMSE of who knows what the ratings were made from.
    """
    if penalty in ("tuned", "carried over"):
        return _tried(source, penalty, MODELS[model])
    ratings = _ratings(source)
    sizes = data.count_users_and_movies(ratings)
    recipe = recipes.TUNED.with_options(vector_penalty=penalty)
    found = []
    for seed, inner in enumerate(search.SPLITS["inner_splits"]):
        train, valid = search.inner_part(inner, ratings=ratings)
        _, history = training.train(recipe, sizes, train, valid, seed)
        found.append(history["valid_rmse"].iloc[-1])
    return {"rmse": np.mean(found), "per_row": recipes.per_row(sizes, len(train))}


def _tried(n_ratings, which, recipe):
    ratings, planted = synthetic.generate(n_ratings, OTHER_SEED)
    sizes = data.count_users_and_movies(ratings)
    train, valid = data.train_valid_split(ratings, search.SPLITS["split"])
    if which == "carried over":
        recipe = recipes.for_size(recipe, sizes, len(train))
    _, history = training.train(recipe, sizes, train, valid, seed=0)
    known = np.clip(planted.rating(valid), data.LOWEST_RATING, data.HIGHEST_RATING)
    return {
        "rmse": history["valid_rmse"].iloc[-1],
        "per_row": recipes.per_row(sizes, len(train)),
        "lowest": metrics.rmse(valid["rating"], known),
    }


CARRY_OVER = Experiment(
    "carry_over",
    {
        **search.SPLITS,
        **{name: recipe.settings() for name, recipe in MODELS.items()},
        "often": OFTEN,
        "seeds": [SEED, OTHER_SEED],
    },
    parts,
    measure,
)


def best_penalties(runs):
    """The best price by source: the vertex of a parabola through the grid's lowest values.

    Parameters
    ----------
    runs : pandas.DataFrame
        With source, penalty, rmse and per_row, as in the stored report.

    Returns
    -------
    pandas.DataFrame
        Indexed by source: per_row, penalty.
    """
    grids = runs[~runs["penalty"].isin(["tuned", "carried over"])]
    return grids.groupby("source", sort=False).apply(_best, include_groups=False)


def fades(best):
    """The power of the ratings per row with which the best price falls, beyond the tuned point.

    Least squares, in logarithms, for a line through the tuned setting.

    Parameters
    ----------
    best : pandas.DataFrame
        As from `best_penalties`.

    Returns
    -------
    float
    """
    tuned = dict(recipes.TUNED.options)["vector_penalty"]
    beyond = best[best["per_row"] > 1.2 * recipes.FOUND_PER_ROW]
    x = np.log(beyond["per_row"] / recipes.FOUND_PER_ROW)
    return float(-(x @ np.log(beyond["penalty"] / tuned)) / (x @ x))


def power(report):
    """The power of the ratings per row that the best price follows, over all sets of ratings.

    Returns
    -------
    power, low, high : float
        Of a line by least squares in logarithms, with its 95 % interval (Student's t).
    """
    best = best_penalties(pd.DataFrame(report["runs"]))
    line = stats.linregress(np.log(best["per_row"]), np.log(best["penalty"]))
    half = line.stderr * stats.t.ppf(0.975, len(best) - 2)
    return line.slope, line.slope - half, line.slope + half


CONCLUSIONS = {
    "carry_over": [
        Conclusion(
            "price-falls",
            "the best price of a vector falls as rows fill up (power of the ratings per row)",
            power,
            -math.inf,
            0,
            unit="",
            digits=2,
        ),
        Conclusion(
            "price-slower",
            "it falls more slowly than one over their ratings",
            power,
            -1,
            unit="",
            digits=2,
        ),
    ]
}


def _best(grid):
    grid = grid.astype({"penalty": float}).sort_values("penalty")
    lowest = int(np.argmin(grid["rmse"]))
    near = grid.iloc[max(lowest - 2, 0) : lowest + 3]
    a, b, _ = np.polyfit(np.log(near["penalty"]), near["rmse"], 2)
    return pd.Series({"per_row": grid["per_row"].iloc[0], "penalty": np.exp(-b / (2 * a))})


@cache
def _ratings(source):
    if source not in EMBEDDED:
        return synthetic.generate(source, SEED)[0]
    ratings = data.prepared()
    if source == EMBEDDED[1]:
        ratings = ratings.iloc[::2]
    if source == EMBEDDED[2]:
        counts = ratings.groupby("movieIdDense")["rating"].transform("size")
        ratings = ratings[counts >= OFTEN]
    anew = {name: data.dense_ids(ratings[name]) for name in data.IDS}
    return ratings.assign(**anew).reset_index(drop=True)
