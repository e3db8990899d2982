"""Other ways to movie vectors: SVD and autoencoder; and how far two spaces agree.

Each way takes training ratings and gives a `Fit`: movie vectors by dense id, and the
prediction of every pair. Chapter 9 shows the ways and compares them.
"""

from dataclasses import dataclass

from embedlens import data, neighbours, one_hot, training, tuned
from embedlens.models import AutoRec, masked_mse
import keras
import numpy as np
from scipy.linalg import eigh
from scipy.spatial import procrustes
from sklearn.decomposition import PCA

# Found by `spaces_search`; tests hold them against the stored search.
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
COMPONENTS = 16  # of each space, when two are compared


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
        return training.rmse(ratings["rating"], lookup(self.predictions, ratings))


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
    """
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
    """
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
    """
    rated = np.isfinite(table)
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


def embeddings(ratings, sizes, seed, settings=tuned.SETTINGS):
    """Train the bias model of chapter 7; see `tuned.train`.

    Returns
    -------
    Fit
    """
    model, _ = tuned.train(sizes, ratings, seed, settings)
    movies, movie_biases, users, user_biases = (
        layer.get_weights()[0]
        for layer in (
            model.movie_embedding,
            model.movie_bias,
            model.user_embedding,
            model.user_bias,
        )
    )
    score = movies @ users.T + movie_biases + user_biases.T
    span = data.HIGHEST_RATING - data.LOWEST_RATING
    return Fit(movies, data.LOWEST_RATING + span / (1 + np.exp(-score)))


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


def first_components(vectors, n=COMPONENTS):
    """Centre vectors and turn them to their first principal components.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (rows, dim)
    n : int, default 16
        No more than `dim`.

    Returns
    -------
    scores : numpy.ndarray, shape (rows, n)
    share : float
        Of the variance, that they keep.
    """
    pca = PCA(n, svd_solver="full").fit(vectors)
    return pca.transform(vectors), float(pca.explained_variance_ratio_.sum())


def canonical_correlations(ours, theirs):
    """Correlations of two spaces along the pairs of directions that agree best.

    Parameters
    ----------
    ours, theirs : numpy.ndarray, shape (rows, dim), (rows, other_dim)
        More rows than dimensions.

    Returns
    -------
    numpy.ndarray, shape (min(dim, other_dim),)
        From 0 to 1, falling.

    Notes
    -----
    Hotelling (1936): singular values of the product of two orthonormal bases.
    """
    bases = [np.linalg.qr(space - space.mean(axis=0))[0] for space in (ours, theirs)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def procrustes_share(ours, theirs):
    """Share of the sum of squares that Procrustes alignment explains (Schönemann, 1966).

    Parameters
    ----------
    ours, theirs : numpy.ndarray, shape (rows, dim)

    Returns
    -------
    float
        1: the same up to shift, turn and scale; 0: nothing in common.
    """
    return float(1 - procrustes(ours, theirs)[2])


def told_by_neighbours(vectors, values, n=10):
    """Correlate each row's value with the mean value of its nearest rows, by cosine.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (rows, dim)
    values : numpy.ndarray, shape (rows,)
        NaN where unknown: such rows are left out, as rows and as neighbours.
    n : int, default 10

    Returns
    -------
    float
        About 0 if neighbours have the value no more in common than any two rows.
    """
    known = np.isfinite(values)
    places, _ = neighbours.nearest(vectors[known], n)
    return float(np.corrcoef(values[known], values[known][places].mean(axis=1))[0, 1])


def _on_scale(predictions):
    return np.clip(predictions, data.LOWEST_RATING, data.HIGHEST_RATING)
