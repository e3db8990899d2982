"""Compare embeddings, SVD and autoencoder over splits, for chapter 9."""

from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd

from embedlens import comparing, data, factors, metrics, recipes
from embedlens.experiments import completion
from embedlens.experiments.runner import Experiment

SPLITS = [0, 1, 2, 3, 4]
WAYS = ["filled", "residual", "refilled", "embeddings", "autorec"]
SEEDED = ["embeddings", "autorec"]
OTHER_SEED, OTHER_DRAW = 100, 100  # added to the split's number
SETTINGS = {
    "splits": SPLITS,
    "ways": completion.SETTINGS,
    "embeddings": recipes.TUNED.settings(),
    "components": comparing.COMPONENTS,
    "neighbours": 10,
}


def measure(split):
    """Fit all ways on one split, and compare errors and spaces.

    The spaces hold the movies with more than 20 ratings, centred, in `comparing.COMPONENTS`
    principal components.

    Parameters
    ----------
    split : int

    Returns
    -------
    dict of str to float
        ``rmse WAY`` in stars; ``cold movies``, ``cold ratings``; ``agreement WAY | OTHER``,
        ``canonical WAY | OTHER`` (mean of the correlations) and ``procrustes WAY | OTHER``,
        where OTHER may also be ``other seed`` or ``other ratings`` for the same way once
        more; ``pc1 WAY PROPERTY``, ``neighbours WAY PROPERTY``, ``length WAY``.
    """
    sizes = data.count_users_and_movies(data.prepared())
    train, valid = data.train_valid_split(data.prepared(), split)
    cold = data.cold_movies(train, valid)
    measures = {
        "cold ratings": cold.sum(),
        "cold movies": valid.loc[cold, "movieIdDense"].nunique(),
        "rmse constant": metrics.rmse(valid["rating"], np.full(len(valid), train["rating"].mean())),
    }
    for way in ("biases", "autorec_users"):
        measures[f"rmse {way}"] = completion.fit(way, train, sizes, split).rmse(valid)
    found, lengths = {}, {}
    for way in WAYS:
        fitted = completion.fit(way, train, sizes, split)
        measures[f"rmse {way}"] = fitted.rmse(valid)
        found[way] = _space(fitted)
        lengths[way] = np.linalg.norm(fitted.vectors[known().index], axis=1)
    for one, other in combinations(WAYS, 2):
        measures |= compare(f"{one} | {other}", found[one], found[other])
    redrawn, _ = data.train_valid_split(data.prepared(), split + OTHER_DRAW)
    for way in WAYS:
        again = _space(completion.fit(way, redrawn, sizes, split))
        measures |= compare(f"{way} | other ratings", found[way], again)
    for way in SEEDED:
        again = _space(completion.fit(way, train, sizes, split + OTHER_SEED))
        measures |= compare(f"{way} | other seed", found[way], again)
    for way in WAYS:
        measures |= properties(way, found[way], lengths[way])
    return measures


def compare(name, ours, theirs):
    """Measure agreement of neighbours, mean canonical correlation, and Procrustes share."""
    return {
        f"agreement {name}": comparing.agreement(ours, theirs, SETTINGS["neighbours"]),
        f"canonical {name}": comparing.canonical_correlations(ours, theirs).mean(),
        f"procrustes {name}": comparing.procrustes_share(ours, theirs),
    }


def properties(way, space, lengths):
    """Correlate first component, neighbours and lengths with what is known of the movies."""
    table = known_properties()
    pc1 = pd.Series(factors.orient(space[:, 0], table["mean rating"]), index=table.index)
    near = SETTINGS["neighbours"]
    measures = {f"length {way}": pd.Series(lengths, table.index).corr(table["popularity"])}
    for name, values in table.items():
        measures[f"pc1 {way} {name}"] = pc1.corr(values)
        told = comparing.told_by_neighbours(space, values.to_numpy(), near)
        measures[f"neighbours {way} {name}"] = told
    return measures


@cache
def known():
    """The movies with more than 20 ratings, as from `data.movie_table`."""
    return data.often_rated(data.movie_table(data.prepared()))


def known_properties():
    """Mean rating (stars), popularity (log10 of the number of ratings), year; by dense id."""
    movies = known()
    return pd.DataFrame(
        {
            "mean rating": movies["rating"],
            "popularity": np.log10(movies["n_ratings"]),
            "year": data.years(movies["title"]),
        }
    )


def _space(fitted):
    return comparing.first_components(fitted.vectors[known().index])[0]


THREE_WAYS = Experiment(
    name="three_ways",
    settings=SETTINGS,
    parts=[{"split": split} for split in SPLITS],
    measure=measure,
)
