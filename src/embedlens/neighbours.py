"""Neighbours of a movie in a space of vectors, and how far two spaces agree on them."""

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors


def nearest(vectors, n=10):
    """Find the nearest other rows of each row, by cosine similarity.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (rows, dim)
        A row of zeros has similarity 0 with every row.
    n : int, default 10

    Returns
    -------
    places : numpy.ndarray of int, shape (rows, n)
        Nearest first.
    cosines : numpy.ndarray, shape (rows, n)
    """
    index = NearestNeighbors(n_neighbors=n, metric="cosine", algorithm="brute").fit(vectors)
    distances, places = index.kneighbors()
    return places, 1 - distances


def neighbours_of(title, movies, vectors, n=5):
    """List the nearest movies of one movie.

    Parameters
    ----------
    title : str
    movies : pandas.DataFrame
        One row per vector, with the column title; as from `factors.movie_table`.
    vectors : numpy.ndarray, shape (len(movies), dim)
    n : int, default 5

    Returns
    -------
    pandas.DataFrame
        Rows of `movies`, nearest first, with the column cosine.

    Raises
    ------
    ValueError
        If the title does not stand for exactly one movie, or lengths differ.
    """
    if len(movies) != len(vectors):
        raise ValueError(f"{len(movies):,} movies against {len(vectors):,} vectors")
    found = np.flatnonzero(movies["title"] == title)
    if len(found) != 1:
        raise ValueError(f"{title!r} names {len(found)} movies, not one")
    places, cosines = nearest(vectors, n)
    return pd.DataFrame(movies.iloc[places[found[0]]]).assign(cosine=cosines[found[0]])


def agreement(vectors, others, n=10):
    """Share of the `n` nearest rows that two spaces have in common, averaged over all rows.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (rows, dim)
    others : numpy.ndarray, shape (rows, other_dim)
        Same rows in another space.
    n : int, default 10

    Returns
    -------
    float
        From 0 to 1; rows placed at random give n / (rows - 1).
    """
    ours, theirs = nearest(vectors, n)[0], nearest(others, n)[0]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(ours, theirs, strict=True)]))
