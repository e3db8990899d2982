"""How good a ranked list is: precision, recall and NDCG at the top, user by user."""

from embedlens import data
import numpy as np
import pandas as pd

RELEVANT = 4.0  # stars from which on a rating counts as a hit


def seen_matrix(ratings, sizes):
    """Mark what was rated: bool array of shape (n_users + 1, n_movies + 1), by dense ids."""
    n_users, n_movies = sizes
    seen = np.zeros((n_users + 1, n_movies + 1), dtype=bool)
    seen[tuple(data.inputs(ratings).T)] = True
    return seen


def top_n(scores, seen, n=10):
    """List the best movies that a user has not rated.

    Parameters
    ----------
    scores : numpy.ndarray of float, shape (n_users + 1, n_movies + 1)
        By dense ids; row and column 0 belong to nobody and are never listed.
    seen : numpy.ndarray of bool, same shape
        True where the user has rated the movie in training.
    n : int, default 10

    Returns
    -------
    numpy.ndarray of int, shape (n_users + 1, n)
        Dense ids of movies, best first; of equal ones the lower id first.

    Raises
    ------
    ValueError
        If the shapes differ, or a user has fewer than `n` movies left.
    """
    if scores.shape != seen.shape:
        raise ValueError(f"scores of shape {scores.shape} against seen of shape {seen.shape}")
    open_to = np.where(seen, -np.inf, scores)
    open_to[:, 0] = -np.inf
    left = np.isfinite(open_to[1:]).sum(axis=1)
    if left.min() < n:
        raise ValueError(f"user {left.argmin() + 1} has only {left.min()} unrated movies, not {n}")
    return np.argsort(-open_to, axis=1, kind="stable")[:, :n]


def measures_at(lists, valid_ratings, relevant=RELEVANT):
    """Measure lists against what the users liked among the ratings that were set aside.

    Parameters
    ----------
    lists : numpy.ndarray of int, shape (n_users + 1, n)
        As from `top_n`.
    valid_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    relevant : float, default 4
        A movie counts as a hit if the user rated it with so many stars or more.

    Returns
    -------
    pandas.DataFrame
        One row per user with at least one hit to find, indexed by dense user id:
        precision (hits by n), recall (hits by all that could be found), ndcg (hits
        discounted by the logarithm of their place, by the best possible order).
    """
    n = lists.shape[1]
    discounts = 1 / np.log2(np.arange(2, n + 2))
    liked = valid_ratings[valid_ratings["rating"] >= relevant]
    rows = {}
    for user, movies in liked.groupby("userIdDense")["movieIdDense"]:
        hits = np.isin(lists[user], movies)
        rows[user] = {
            "precision": hits.mean(),
            "recall": hits.sum() / len(movies),
            "ndcg": hits @ discounts / discounts[: len(movies)].sum(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
