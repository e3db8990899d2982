"""Ways to fill the table of ratings, and so to movie vectors: SVD, embeddings, autoencoder.

Each way takes training ratings and gives a `Fit`: movie vectors by dense id, and the prediction
of every pair. Chapter 9 shows the ways; `experiments.shapes` searches their settings and compares
them.
"""

from dataclasses import dataclass

import keras
import numpy as np
from scipy.linalg import eigh

from embedlens import data, metrics, recommend, training
from embedlens.experiments import one_hot
from embedlens.models import AutoRec, masked_mse


@dataclass(frozen=True)
class Fit:
    """What a way to movie vectors gives.

    Attributes
    ----------
    vectors : numpy.ndarray, shape (n_movies + 1, dim)
        By dense id; row 0 is unused.
    predictions : numpy.ndarray, shape (n_movies + 1, n_users + 1)
        Of every pair, in stars, within the scale; by dense ids.
    movie_bias : numpy.ndarray, shape (n_movies + 1, 1), optional
        What the way knows of a movie beside its vector, where it learns both.
    """

    vectors: np.ndarray
    predictions: np.ndarray
    movie_bias: np.ndarray | None = None

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


def low_rank(table, rank=None, shrink=0.0):
    """Cut a table to its first singular vectors, which is its best approximation of that rank.

    Parameters
    ----------
    table : numpy.ndarray, shape (rows, columns)
    rank : int, optional
        At most so many. Default: all whose singular value is larger than `shrink`.
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
    squares, users = eigh(table.T @ table)
    singular, users = np.sqrt(np.maximum(squares, 0))[::-1], users.T[::-1]
    kept = slice(min(rank or len(users), np.sum(singular > max(shrink, 1e-6))))
    stretch = 1 - shrink / singular[kept]
    return table @ users[kept].T * stretch, users[kept]


def soft_impute(residuals, shrink, rounds):
    """Fill the gaps with 0, shrink the table, fill the gaps with what that says; and again.

    Parameters
    ----------
    residuals : numpy.ndarray, shape (rows, columns)
        NaN where there is no rating.
    shrink : float
        As in `low_rank`.
    rounds : int
        At least 1; 1 is the SVD of the table with zeros in its gaps.

    Returns
    -------
    vectors, users
        As from `low_rank`.

    Notes
    -----
    Mazumder, Hastie and Tibshirani (2010), algorithm 1, at a single penalty.
    """
    rated = np.isfinite(residuals)
    guess = np.zeros_like(residuals)
    for _ in range(rounds):
        filled = np.where(rated, residuals, guess)
        vectors, users = low_rank(filled, shrink=shrink)
        guess = vectors @ users
    return vectors, users


def train_autorec(residuals, settings, seed):
    """Train an autoencoder on the rows of a table that hold a rating.

    Parameters
    ----------
    residuals : numpy.ndarray, shape (rows, columns)
        NaN where there is no rating.
    settings : dict
        dim, dropout and penalty of `AutoRec`; learning_rate (at the start), epochs, batch_size.
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


def biases(ratings, sizes, seed, ridge):
    """Biases alone, `bias_table`; there are no vectors.

    Returns
    -------
    Fit
    """
    return Fit(np.empty((sizes[1] + 1, 0)), _on_scale(bias_table(ratings, sizes, ridge)))


def filled(ratings, sizes, seed, rank, shrink):
    """Truncated SVD of the table with each gap filled by the movie's mean.

    Returns
    -------
    Fit
    """
    vectors, users = low_rank(mean_filled(rating_table(ratings, sizes)), rank, shrink)
    return Fit(vectors, _on_scale(vectors @ users))


def residual(ratings, sizes, seed, ridge, rank, shrink):
    """Truncated SVD of what biases leave, with zeros in the gaps.

    Returns
    -------
    Fit
    """
    base, residuals = base_and_residuals(ratings, sizes, ridge)
    vectors, users = low_rank(np.nan_to_num(residuals), rank, shrink)
    return Fit(vectors, _on_scale(base + vectors @ users))


def softimpute(ratings, sizes, seed, ridge, shrink, rounds):
    """`soft_impute` of what biases leave.

    Returns
    -------
    Fit
    """
    base, residuals = base_and_residuals(ratings, sizes, ridge)
    vectors, users = soft_impute(residuals, shrink, rounds)
    return Fit(vectors, _on_scale(base + vectors @ users))


def autorec(ratings, sizes, seed, ridge, **settings):
    """Autoencoder of movies on what biases leave; the vectors are its hidden layer.

    Returns
    -------
    Fit
    """
    base, residuals = base_and_residuals(ratings, sizes, ridge)
    model = train_autorec(residuals, settings, seed)
    known = np.nan_to_num(residuals)
    vectors = keras.ops.convert_to_numpy(model.encoder(known))
    return Fit(vectors, _on_scale(base + model.predict(known, batch_size=1024, verbose=0)))


def embeddings(ratings, sizes, seed, recipe):
    """Train a model with biases, such as `tuning.anchor`.

    Returns
    -------
    Fit
    """
    model, _ = training.train(recipe, sizes, ratings, None, seed)
    stars, _ = recommend.scores(model)
    layers = model.movie_embedding, model.movie_bias
    vectors, movie_bias = (layer.get_weights()[0] for layer in layers)
    return Fit(vectors, stars.T, movie_bias)


def base_and_residuals(ratings, sizes, ridge):
    """Return `bias_table`, and `rating_table` minus it."""
    base = bias_table(ratings, sizes, ridge)
    return base, rating_table(ratings, sizes) - base


WAYS = {
    "biases": biases,
    "filled": filled,
    "residual": residual,
    "softimpute": softimpute,
    "autorec": autorec,
    "embeddings": embeddings,
}


def fit(way, ratings, sizes, seed, **setting):
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
    **setting
        As the way takes it.

    Returns
    -------
    Fit
    """
    return WAYS[way](ratings, sizes, seed, **setting)


def _on_scale(predictions):
    return np.clip(predictions, data.LOWEST_RATING, data.HIGHEST_RATING)
