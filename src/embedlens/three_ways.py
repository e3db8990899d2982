"""Compare embeddings, SVD and autoencoder over splits, for chapter 9.

Run ``python -m embedlens.three_ways --output book/results/three_ways.json`` (about five
minutes on two free cores).
"""

from functools import cache
from itertools import combinations

from embedlens import audit, commands, data, factors, neighbours, spaces, training, tuned
import numpy as np
import pandas as pd

SPLITS = [0, 1, 2, 3, 4]
WAYS = ["filled", "residual", "refilled", "embeddings", "autorec"]
SEEDED = ["embeddings", "autorec"]
OTHER_SEED, OTHER_DRAW = 100, 100  # added to the split's number
SETTINGS = {
    "splits": SPLITS,
    "ways": spaces.SETTINGS,
    "embeddings": tuned.SETTINGS,
    "components": spaces.COMPONENTS,
    "neighbours": 10,
}


def fit(way, ratings, seed):
    """Fit one way at its setting.

    Parameters
    ----------
    way : str
        One of `WAYS`, or ``"autorec_users"``.
    ratings : pandas.DataFrame
        That train.
    seed : int
        Unused by the three SVDs, which have no random part.

    Returns
    -------
    spaces.Fit
    """
    sizes = data.count_users_and_movies(data.prepared())
    if way in ("embeddings", "autorec", "autorec_users"):
        return getattr(spaces, way)(ratings, sizes, seed)
    return getattr(spaces, f"{way}_svd")(ratings, sizes)


def measure(split):
    """Fit all ways on one split, and compare errors and spaces.

    The spaces hold the movies with more than 20 ratings, centred, in `spaces.COMPONENTS`
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
        "rmse constant": training.rmse(
            valid["rating"], np.full(len(valid), train["rating"].mean())
        ),
    }
    measures["rmse biases"] = spaces.biases(train, sizes).rmse(valid)
    measures["rmse autorec_users"] = fit("autorec_users", train, split).rmse(valid)
    found, lengths = {}, {}
    for way in WAYS:
        fitted = fit(way, train, split)
        measures[f"rmse {way}"] = fitted.rmse(valid)
        found[way] = _space(fitted)
        lengths[way] = np.linalg.norm(fitted.vectors[known().index], axis=1)
    for one, other in combinations(WAYS, 2):
        measures |= compare(f"{one} | {other}", found[one], found[other])
    redrawn, _ = data.train_valid_split(data.prepared(), split + OTHER_DRAW)
    for way in WAYS:
        again = _space(fit(way, redrawn, split))
        measures |= compare(f"{way} | other ratings", found[way], again)
    for way in SEEDED:
        again = _space(fit(way, train, split + OTHER_SEED))
        measures |= compare(f"{way} | other seed", found[way], again)
    for way in WAYS:
        measures |= properties(way, found[way], lengths[way])
    return measures


def compare(name, ours, theirs):
    """Measure agreement of neighbours, mean canonical correlation, and Procrustes share."""
    return {
        f"agreement {name}": neighbours.agreement(ours, theirs, SETTINGS["neighbours"]),
        f"canonical {name}": spaces.canonical_correlations(ours, theirs).mean(),
        f"procrustes {name}": spaces.procrustes_share(ours, theirs),
    }


def properties(way, space, lengths):
    """Correlate first component, neighbours and lengths with what is known of the movies."""
    table = known_properties()
    pc1 = pd.Series(factors.orient(space[:, 0], table["mean rating"]), index=table.index)
    near = SETTINGS["neighbours"]
    measures = {f"length {way}": pd.Series(lengths, table.index).corr(table["popularity"])}
    for name, values in table.items():
        measures[f"pc1 {way} {name}"] = pc1.corr(values)
        told = spaces.told_by_neighbours(space, values.to_numpy(), near)
        measures[f"neighbours {way} {name}"] = told
    return measures


@cache
def known():
    """The movies with more than 20 ratings, as from `factors.movie_table`."""
    return factors.often_rated(factors.movie_table(data.prepared()))


def known_properties():
    """Mean rating (stars), popularity (log10 of the number of ratings), year; by dense id."""
    movies = known()
    return pd.DataFrame(
        {
            "mean rating": movies["rating"],
            "popularity": np.log10(movies["n_ratings"]),
            "year": factors.years(movies["title"]),
        }
    )


def compare_over_splits():
    """Measure every split; finished ones are kept.

    Returns
    -------
    dict
        ``runs``: a list of dict with split and what `measure` gives; ``provenance``.
    """
    return audit.report_on_splits("three_ways", SPLITS, measure, SETTINGS)


def load(path):
    """Read a stored comparison, if it is about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame
        One row per split (index), columns as the keys from `measure`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    return audit.load_splits(path, SETTINGS, "make three-ways")


def main(arguments=None):
    """Measure and store; see the module's text."""
    commands.store("embedlens.three_ways", __doc__, compare_over_splits, arguments)


def _space(fitted):
    return spaces.first_components(fitted.vectors[known().index])[0]


if __name__ == "__main__":
    main()
