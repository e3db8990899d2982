"""Ways to fill the table of ratings, and so to movie vectors: SVD, embeddings, autoencoder.

Each way takes training ratings and gives a `Fit`: movie vectors by dense id, and the
prediction of every pair. Chapter 9 shows the ways and compares them. `SEARCH` finds their
settings: it sees the training ratings of split 0 alone, so that the ratings that chapter 9
reports on for this split stay unseen.
"""

from dataclasses import dataclass
from itertools import product

import keras
import numpy as np
from scipy.linalg import eigh

from embedlens import data, metrics, recipes, recommend, training
from embedlens.experiments import one_hot, search
from embedlens.experiments.runner import Experiment
from embedlens.models import AutoRec, masked_mse

# Found by `SEARCH`; tests hold them against the stored search.
SETTINGS = {
    "biases": {"ridge": 3},
    "filled": {"rank": 16, "shrink": 0},
    "residual": {"rank": 16, "shrink": 0},
    "refilled": {"rank": 64, "shrink": 12, "rounds": 15},
    "autorec": {
        "dim": 128,
        "dropout": 0.7,
        "penalty": 0.001,
        "learning_rate": 0.002,
        "epochs": 30,
        "batch_size": 512,
    },
    "autorec_users": {
        "dim": 128,
        "dropout": 0.5,
        "penalty": 0.003,
        "learning_rate": 0.002,
        "epochs": 30,
        "batch_size": 32,
    },
}
_AUTOREC = {
    "dim": [64, 128],
    "dropout": [0.5, 0.6, 0.7],
    "penalty": [0.0003, 0.001, 0.003],
    "learning_rate": [0.002, 0.004],
    "epochs": [30],
}
SPACE = {
    **search.SPLITS,
    "trials": 12,  # of each autoencoder; the other grids are tried in full
    "biases": {"ridge": [1, 2, 3, 4, 6]},
    "filled": {"rank": [4, 8, 16, 32, 64], "shrink": [0, 1, 2]},
    "residual": {"rank": [4, 8, 16, 32, 64], "shrink": [0, 1, 2]},
    "refilled": {"rank": [32, 64], "shrink": [10, 12, 14], "rounds": [15]},
    "autorec": {**_AUTOREC, "batch_size": [512]},
    "autorec_users": {**_AUTOREC, "batch_size": [32]},
}


@dataclass(frozen=True)
class Fit:
    """What a way to movie vectors gives.

    Attributes
    ----------
    vectors : numpy.ndarray, shape (n_movies + 1, dim)
        By dense id; row 0 is unused.
    predictions : numpy.ndarray, shape (n_movies + 1, n_users + 1)
        Of every pair, in stars, within the scale; by dense ids.
    """

    vectors: np.ndarray
    predictions: np.ndarray

    def rmse(self, ratings):
        """RMSE on `ratings`, in stars."""
        return metrics.rmse(ratings["rating"], lookup(self.predictions, ratings))


def lookup(predictions, ratings):
    """Take the predictions of `ratings` (n rows) from a table by movie and user: shape (n,)."""
    return predictions[ratings["movieIdDense"].to_numpy(), ratings["userIdDense"].to_numpy()]


def rating_table(ratings, sizes):
    """Write ratings as a table: a row per movie, a column per user, NaN where there is none.

    Parameters
    ----------
    ratings : pandas.DataFrame
    sizes : tuple of int
        Number of users, number of movies.

    Returns
    -------
    numpy.ndarray of float32, shape (n_movies + 1, n_users + 1)
        By dense ids; row 0 and column 0 hold no rating.

    Raises
    ------
    ValueError
        If there are no ratings, a pair is rated twice, or an id lies outside `sizes`.
    """
    data.check_ids(ratings, sizes)
    if ratings.empty:
        raise ValueError("no ratings to write as a table")
    twice = ratings[ratings.duplicated(["userIdDense", "movieIdDense"])]
    if len(twice):
        user, movie = data.inputs(twice)[0]
        raise ValueError(f"user {user} has rated movie {movie} twice: keep one of the ratings")
    n_users, n_movies = sizes
    table = np.full((n_movies + 1, n_users + 1), np.nan, "float32")
    table[ratings["movieIdDense"], ratings["userIdDense"]] = ratings["rating"]
    return table


def bias_table(ratings, sizes, ridge):
    """Predict every pair by biases alone: ridge regression on one-hot users and movies.

    Parameters
    ----------
    ratings, sizes
        As in `rating_table`.
    ridge : float
        Penalty on the squared biases, in units of one rating's squared error.

    Returns
    -------
    numpy.ndarray of float32, shape (n_movies + 1, n_users + 1)
        In stars, not clipped. Whoever has no rating gets the bias 0.

    Raises
    ------
    ValueError
        If there are no ratings, or an id lies outside `sizes`.
    """
    data.check_ids(ratings, sizes)
    if ratings.empty:
        raise ValueError("no ratings to fit biases to")
    mean, user_biases, movie_biases = one_hot.ridge_biases(sizes, ratings, ridge)
    return (mean + movie_biases[:, None] + user_biases).astype("float32")


def mean_filled(table):
    """Fill each gap of a movie with the mean of its ratings.

    Parameters
    ----------
    table : numpy.ndarray, shape (n_movies + 1, n_users + 1)
        As from `rating_table`.

    Returns
    -------
    numpy.ndarray
        Same shape, without NaN. A movie without ratings gets the mean of all; row 0 and
        column 0 are zero, so that they have no part in an SVD.

    Raises
    ------
    ValueError
        If there is no rating at all.
    """
    rated = np.isfinite(table)
    if not rated.any():
        raise ValueError("no ratings to fill the gaps from")
    means = np.full(len(table), np.nanmean(table))
    means[rated.any(axis=1)] = np.nanmean(table[rated.any(axis=1)], axis=1)
    filled = np.where(rated, table, means[:, None])
    filled[0] = filled[:, 0] = 0
    return filled


def low_rank(table, rank, shrink=0.0):
    """Cut a table to its first singular vectors, which is its best approximation of that rank.

    Parameters
    ----------
    table : numpy.ndarray, shape (rows, columns)
    rank : int
    shrink : float, default 0
        Taken off each singular value, down to zero.

    Returns
    -------
    vectors : numpy.ndarray, shape (rows, rank)
        Left singular vectors, stretched by the singular values.
    users : numpy.ndarray, shape (rank, columns)
        Right singular vectors; ``vectors @ users`` approximates the table.

    Notes
    -----
    Eckart and Young (1936). The right singular vectors are the eigenvectors of
    ``table.T @ table``, which is small: there are few users.
    """
    size = table.shape[1]
    squares, users = eigh(table.T @ table, subset_by_index=[size - rank, size - 1])
    singular, users = np.sqrt(np.maximum(squares, 0))[::-1], users.T[::-1]
    kept = np.maximum(singular - shrink, 0) / np.maximum(singular, 1e-12)
    return table @ users.T * kept, users


def refill(residuals, rank, shrink, rounds):
    """Fill the gaps with 0, cut to low rank, fill the gaps with what that says; and again.

    Parameters
    ----------
    residuals : numpy.ndarray, shape (rows, columns)
        NaN where there is no rating.
    rank, shrink
        As in `low_rank`.
    rounds : int
        At least 1; 1 is the SVD of the table with zeros in its gaps.

    Returns
    -------
    vectors, users
        As from `low_rank`.
    """
    rated = np.isfinite(residuals)
    guess = np.zeros_like(residuals)
    for _ in range(rounds):
        filled = np.where(rated, residuals, guess)
        vectors, users = low_rank(filled, rank, shrink)
        guess = vectors @ users
    return vectors, users


def train_autorec(residuals, settings, seed):
    """Train an autoencoder on the rows of a table that hold a rating.

    Parameters
    ----------
    residuals : numpy.ndarray, shape (rows, columns)
        NaN where there is no rating. Rows of movies give the item-based autoencoder, rows
        of users (the transposed table) the user-based one.
    settings : dict
        As in ``SETTINGS["autorec"]``.
    seed : int
        Fixes initial weights, order of the rows and dropout.

    Returns
    -------
    AutoRec
    """
    targets = residuals[np.isfinite(residuals).any(axis=1)]
    steps = -(-len(targets) // settings["batch_size"]) * settings["epochs"]
    falling = keras.optimizers.schedules.CosineDecay(settings["learning_rate"], steps)
    training.set_seed(seed)
    model = AutoRec(targets.shape[1], settings["dim"], settings["dropout"], settings["penalty"])
    model.compile(keras.optimizers.Adam(falling), loss=masked_mse)
    model.fit(
        np.nan_to_num(targets),
        targets,
        batch_size=settings["batch_size"],
        epochs=settings["epochs"],
        verbose=0,
    )
    return model


def biases(ratings, sizes, settings=SETTINGS["biases"]):
    """Biases alone, `bias_table`; there are no vectors.

    Returns
    -------
    Fit
    """
    return Fit(np.empty((sizes[1] + 1, 0)), _on_scale(bias_table(ratings, sizes, **settings)))


def embeddings(ratings, sizes, seed, recipe=recipes.TUNED):
    """Train the bias model of chapter 7.

    Returns
    -------
    Fit
    """
    model, _ = training.train(recipe, sizes, ratings, None, seed)
    stars, _ = recommend.scores(model)
    return Fit(model.movie_embedding.get_weights()[0], stars.T)


def filled_svd(ratings, sizes, settings=SETTINGS["filled"]):
    """Truncated SVD of the table with each gap filled by the movie's mean.

    Returns
    -------
    Fit
    """
    vectors, users = low_rank(mean_filled(rating_table(ratings, sizes)), **settings)
    return Fit(vectors, _on_scale(vectors @ users))


def residual_svd(ratings, sizes, settings=SETTINGS["residual"]):
    """Truncated SVD of what biases leave, with zeros in the gaps.

    Returns
    -------
    Fit
    """
    return refilled_svd(ratings, sizes, {**settings, "rounds": 1})


def refilled_svd(ratings, sizes, settings=SETTINGS["refilled"]):
    """SVD of what biases leave, with the gaps filled anew each round; see `refill`.

    Returns
    -------
    Fit
    """
    base, residuals = bias_and_residuals(ratings, sizes)
    vectors, users = refill(residuals, **settings)
    return Fit(vectors, _on_scale(base + vectors @ users))


def autorec(ratings, sizes, seed, settings=SETTINGS["autorec"]):
    """Item-based autoencoder on what biases leave; the vectors are its hidden layer.

    Returns
    -------
    Fit
    """
    base, residuals = bias_and_residuals(ratings, sizes)
    model = train_autorec(residuals, settings, seed)
    known = np.nan_to_num(residuals)
    vectors = keras.ops.convert_to_numpy(model.encoder(known))
    return Fit(vectors, _on_scale(base + model.predict(known, batch_size=1024, verbose=0)))


def autorec_users(ratings, sizes, seed, settings=SETTINGS["autorec_users"]):
    """User-based autoencoder on what biases leave; the vectors are its last layer's weights.

    Returns
    -------
    Fit
    """
    base, residuals = bias_and_residuals(ratings, sizes)
    model = train_autorec(residuals.T, settings, seed)
    predicted = model.predict(np.nan_to_num(residuals.T), batch_size=1024, verbose=0)
    return Fit(model.decoder.get_weights()[0].T, _on_scale(base + predicted.T))


def bias_and_residuals(ratings, sizes):
    """Return `bias_table` at its setting, and `rating_table` minus it."""
    base = bias_table(ratings, sizes, **SETTINGS["biases"])
    return base, rating_table(ratings, sizes) - base


WAYS = {
    "biases": biases,
    "filled": filled_svd,
    "residual": residual_svd,
    "refilled": refilled_svd,
    "embeddings": embeddings,
    "autorec": autorec,
    "autorec_users": autorec_users,
}
SEEDED = ("embeddings", "autorec", "autorec_users")


def fit(way, ratings, sizes, seed, **settings):
    """Fit a way by its name.

    Parameters
    ----------
    way : str
        One of `WAYS`.
    ratings : pandas.DataFrame
        That train.
    sizes : tuple of int
        Number of users, number of movies.
    seed : int
        Unused by biases and SVDs, which have no random part.
    **settings
        As the way takes them. Default: what was found.

    Returns
    -------
    Fit
    """
    seeds = (seed,) if way in SEEDED else ()
    return WAYS[way](ratings, sizes, *seeds, **settings)


def settings_to_try(way):
    """List all settings of a grid; of an autoencoder's, a part drawn at random (seed 0)."""
    grid = SPACE[way]
    every = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if way.startswith("autorec"):
        drawn = np.random.default_rng(0).choice(len(every), SPACE["trials"], replace=False)
        every = [every[i] for i in sorted(drawn)]
    return every


def judge(way, setting):
    """Fit one way at a setting on the inner splits.

    Returns
    -------
    dict
        ``rmse``: in stars, averaged over the inner splits.
    """
    sizes = data.count_users_and_movies(data.prepared())
    found = []
    for seed, split in enumerate(SPACE["inner_splits"]):
        train, valid = search.inner_part(split)
        found.append(fit(way, train, sizes, seed, settings=setting).rmse(valid))
    return {"rmse": sum(found) / len(found)}


def best(runs):
    """Take the setting with the lowest RMSE of each way among `runs` (list of dict): by way."""
    lowest = {}
    for run in runs:
        if run["way"] not in lowest or run["rmse"] < lowest[run["way"]]["rmse"]:
            lowest[run["way"]] = run
    return {way: run["setting"] for way, run in lowest.items()}


def _on_scale(predictions):
    return np.clip(predictions, data.LOWEST_RATING, data.HIGHEST_RATING)


SEARCH = Experiment(
    name="three_ways_search",
    settings=SPACE,
    parts=[{"way": way, "setting": one} for way in SETTINGS for one in settings_to_try(way)],
    measure=judge,
)
