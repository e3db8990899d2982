"""Lists from who watched what: neighbours of movies, and factors of both. The stars play no part.

Each gives a score for every pair, as `ease` does; `recommend.top_n` makes lists of them.
"""

import numpy as np

from embedlens import recommend


def matrix_of(ratings, sizes):
    """1 where a user has rated a movie, else 0: float32 of shape (n_users + 1, n_movies + 1)."""
    return recommend.seen_matrix(ratings, sizes).astype("float32")


def item_knn(watched, n_neighbours, shrink=0.0):
    """Score movies by how alike they are to those that a user watched.

    Parameters
    ----------
    watched : numpy.ndarray, shape (n_users, n_movies)
        As from `matrix_of`.
    n_neighbours : int
        How many other movies each is held to be like.
    shrink : float, default 0
        Added below the cosine: it makes movies alike by few users less alike.

    Returns
    -------
    numpy.ndarray, shape (n_users, n_movies)

    Raises
    ------
    ValueError
        If there are fewer other movies than neighbours, or none are asked for.

    Notes
    -----
    Deshpande and Karypis (2004), with the cosine. Movies equally alike to the last neighbour
    stay too.
    """
    if not 0 < n_neighbours < watched.shape[1]:
        raise ValueError(f"{n_neighbours} neighbours of {watched.shape[1]} movies")
    length = np.sqrt(watched.sum(axis=0))
    alike = watched.T @ watched
    alike /= np.maximum(length[:, None] * length + np.float32(shrink), 1e-9)
    np.fill_diagonal(alike, 0)
    last = np.partition(alike, -n_neighbours, axis=1)[:, -n_neighbours]
    alike[alike < last[:, None]] = 0
    return watched @ alike.T


def ials(watched, dim, penalty, unwatched, epochs=8, seed=0):
    """Score pairs by a dot product that shall be 1 where watched, and is pulled to 0 elsewhere.

    Parameters
    ----------
    watched : numpy.ndarray, shape (n_users, n_movies)
        As from `matrix_of`.
    dim : int
        Length of the vectors.
    penalty : float
        On a squared vector, for each pair that it takes part in.
    unwatched : float
        Weight of the squared score of any pair, watched or not.
    epochs : int, default 8
        How often users, then movies, are solved.
    seed : int, default 0
        Fixes the vectors to begin with.

    Returns
    -------
    numpy.ndarray, shape (n_users, n_movies)

    Notes
    -----
    Hu, Koren and Volinsky (2008), with the weights of Rendle and others (2022).
    """
    rng = np.random.default_rng(seed)
    users, movies = (rng.normal(0, 0.1 / np.sqrt(dim), (n, dim)) for n in watched.shape)
    for _ in range(epochs):
        users = solved(movies, watched, penalty, unwatched)
        movies = solved(users, watched.T, penalty, unwatched)
    return users @ movies.T


def solved(others, watched, penalty, unwatched):
    """The best row for each row of `watched`, given those of its columns, in the sense of `ials`.

    Parameters
    ----------
    others : numpy.ndarray, shape (n_columns, dim)
    watched : numpy.ndarray, shape (n_rows, n_columns)
    penalty, unwatched : float

    Returns
    -------
    numpy.ndarray, shape (n_rows, dim)
    """
    of_all = unwatched * others.T @ others
    rows = np.zeros((len(watched), others.shape[1]))
    for row, marks in enumerate(watched):
        known = others[np.flatnonzero(marks)]
        price = penalty * (len(known) + unwatched * len(others))
        left = of_all + known.T @ known + price * np.eye(len(of_all))
        rows[row] = np.linalg.solve(left, known.sum(axis=0))
    return rows
