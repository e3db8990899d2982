"""EASE (Steck 2019): lists from linear weights between movies, found in closed form.

Each movie's ratings are predicted from all others' by one ridge regression. A movie may not
predict itself: the diagonal of the weights is zero. `weights` solves it by way of a matrix of
users by users, which is the smaller one here.
"""

import numpy as np

from embedlens import data, metrics, recommend

MIDDLE = (data.LOWEST_RATING + data.HIGHEST_RATING) / 2
PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)


def centred(ratings, sizes):
    """Stars above the middle of the scale, by user and movie; 0 where nothing was rated.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`.
    sizes : tuple of int
        Number of users, number of movies.

    Returns
    -------
    numpy.ndarray, shape (n_users + 1, n_movies + 1)
        By dense ids; row and column 0 belong to nobody.
    """
    data.check_ids(ratings, sizes)
    matrix = np.zeros([size + 1 for size in sizes])
    matrix[tuple(data.inputs(ratings).T)] = ratings["rating"] - MIDDLE
    return matrix


def weights(matrix, penalty, among=None):
    """Weights that predict each column of a matrix from all others.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (n_users, n_movies)
    penalty : float
        On the sum of the squared weights; above 0.
    among : array-like of int, optional
        Columns to give the weights between. Default: all.

    Returns
    -------
    numpy.ndarray, shape (n_movies, n_movies)
        Entry (i, j) is what movie i adds to the score of movie j for each unit of `matrix`; 0 on
        the diagonal. With P the inverse of ``matrix.T @ matrix + penalty * I``, it is -P[i, j] /
        P[j, j], as in the paper.

    Raises
    ------
    ValueError
        If the penalty is not above 0.
    """
    among = np.arange(matrix.shape[1]) if among is None else among
    # I - penalty * P, by Woodbury's identity.
    own = matrix[:, among].T @ _solved(matrix, penalty)[:, among]
    found = own / (1 - np.diag(own))
    np.fill_diagonal(found, 0)
    return found


def scores(matrix, penalty):
    """``matrix @ weights(matrix, penalty)``, without making the weights.

    Parameters
    ----------
    matrix, penalty
        As for `weights`.

    Returns
    -------
    numpy.ndarray, shape (n_users, n_movies)
    """
    solved = _solved(matrix, penalty)
    own = (matrix * solved).sum(axis=0)
    return (matrix * (1 - own) - penalty * solved) / (1 - own)


def choose_penalty(ratings, sizes, seed, penalties=PENALTIES):
    """Choose the penalty whose lists have the highest NDCG, within the ratings given.

    Parameters
    ----------
    ratings : pandas.DataFrame
        Those of the training alone; they are split once more.
    sizes : tuple of int
    seed : int
        Fixes the inner split.
    penalties : iterable of float

    Returns
    -------
    dict of float to float
        NDCG at 10 by penalty, the best first.
    """
    inner, asked = data.train_valid_split(ratings, seed)
    matrix, seen = centred(inner, sizes), recommend.seen_matrix(inner, sizes)
    found = {}
    for penalty in penalties:
        lists = recommend.top_n(scores(matrix, penalty), seen)
        found[penalty] = float(metrics.measures_at(lists, asked)["ndcg"].mean())
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _solved(matrix, penalty):
    if not penalty > 0:
        raise ValueError(f"the penalty must be above 0, not {penalty}")
    return np.linalg.solve(matrix @ matrix.T + penalty * np.eye(len(matrix)), matrix)
