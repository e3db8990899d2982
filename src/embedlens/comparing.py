"""Neighbours of a movie in a space of vectors, and how far two spaces agree."""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

COMPONENTS = 16  # of each space, when two are compared


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

    Raises
    ------
    ValueError
        If there are too few rows, or an entry is not finite.
    """
    vectors = np.asarray(vectors)
    if len(vectors) <= n:
        raise ValueError(f"{len(vectors)} rows have no {n} nearest others each")
    if not np.isfinite(vectors).all():
        raise ValueError("an entry of the vectors is not a finite number")
    index = NearestNeighbors(n_neighbors=n, metric="cosine", algorithm="brute").fit(vectors)
    distances, places = index.kneighbors()
    return places, 1 - distances


def neighbours_of(title, movies, vectors, n=5):
    """List the nearest movies of one movie.

    Parameters
    ----------
    title : str
    movies : pandas.DataFrame
        One row per vector, with the column title; as from `data.movie_table`.
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

    Raises
    ------
    ValueError
        If the spaces have different rows, or too few.
    """
    if len(vectors) != len(others):
        raise ValueError(f"{len(vectors):,} rows against {len(others):,}")
    ours, theirs = nearest(vectors, n)[0], nearest(others, n)[0]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(ours, theirs, strict=True)]))


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

    Raises
    ------
    ValueError
        If there are fewer rows or dimensions than components, or all rows are equal.
    """
    if min(vectors.shape) < n or np.ptp(vectors, axis=0).max(initial=0) == 0:
        raise ValueError(f"no {n} components of vectors of shape {vectors.shape}, or all equal")
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

    Raises
    ------
    ValueError
        If the spaces have different rows, or no more rows than dimensions.

    Notes
    -----
    Hotelling (1936): singular values of the product of two orthonormal bases.
    """
    if len(ours) != len(theirs) or len(ours) <= max(ours.shape[1], theirs.shape[1]):
        raise ValueError(f"spaces of shapes {ours.shape} and {theirs.shape}: too few common rows")
    bases = [np.linalg.qr(space - space.mean(axis=0))[0] for space in (ours, theirs)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
