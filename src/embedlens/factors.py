"""Principal components of the movie vectors, and the two ways to join them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Components:
    """Principal components of a matrix of shape (rows, dim).

    Attributes
    ----------
    scores : numpy.ndarray, shape (rows, dim)
        Row i holds the coordinates of row i of the matrix.
    axes : numpy.ndarray, shape (dim, dim)
        Axis k is ``axes[k]``; ``matrix = scores @ axes`` (plus the mean, if centred).
    shares : numpy.ndarray, shape (dim,)
        Share of the sum of squares (of the variance, if centred) per component.
    """

    scores: np.ndarray
    axes: np.ndarray
    shares: np.ndarray


def principal_components(matrix, centre=False):
    """Principal components, by default without centring, as ``prcomp(center = FALSE)``.

    scikit-learn's PCA always centres.

    Parameters
    ----------
    matrix : array-like, shape (rows, dim)
    centre : bool, default False
        Subtract the column means first.

    Returns
    -------
    Components
        The sign of a component is arbitrary; see `orient`.

    Raises
    ------
    ValueError
        If the matrix is empty, zero, or holds an entry that is not finite.
    """
    matrix = np.asarray(matrix, dtype="float64")
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ValueError(f"no components of a matrix of shape {matrix.shape}, or not all finite")
    if centre:
        matrix = matrix - matrix.mean(axis=0)
    if not matrix.any():
        raise ValueError("all rows are equal, or zero: there is no component")
    left, singular, axes = np.linalg.svd(matrix, full_matrices=False)
    return Components(left * singular, axes, singular**2 / np.sum(singular**2))


def orient(scores, reference):
    """Flip `scores` (shape (n,)) if they fall where `reference` rises."""
    return scores * sign(scores, reference)


def sign(scores, reference):
    """-1 if `scores` fall where `reference` rises (both of shape (n,)), else 1."""
    scores, reference = np.asarray(scores, "float64"), np.asarray(reference, "float64")
    return -1 if (scores - scores.mean()) @ (reference - reference.mean()) < 0 else 1


def join_components(movies, scores, off_by_one=False, n_components=3):
    """Give every movie its coordinates.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `data.movie_table`: indexed by dense id, from 1.
    scores : numpy.ndarray, shape (n_movies + 1, dim)
        Row 0 belongs to the unused id 0, row i to the movie with dense id i.
    off_by_one : bool, default False
        Join as the post does: R numbers rows from 1, so its row number i is row i - 1
        here, and each movie gets the coordinates of the movie before it.

    Returns
    -------
    pandas.DataFrame
        `movies` with the columns PC1, PC2, ...
    """
    rows = movies.index.to_numpy() - (1 if off_by_one else 0)
    names = [f"PC{k + 1}" for k in range(n_components)]
    coordinates = pd.DataFrame(scores[rows, :n_components], columns=names, index=movies.index)
    return movies.join(coordinates)


def movie_before(titles, movies):
    """For each title, the movie with the dense id before: what the post's row describes.

    Parameters
    ----------
    titles : iterable of str
    movies : pandas.DataFrame
        As from `data.movie_table`.

    Returns
    -------
    pandas.DataFrame
        Rows of `movies`, in the order of `titles`.

    Raises
    ------
    ValueError
        If a title is unknown, stands for two movies, or is the first movie.
    """
    before = []
    for title in titles:
        found = movies.index[movies["title"] == title]
        if len(found) != 1:
            raise ValueError(f"{title!r} names {len(found)} movies, not one")
        if found[0] - 1 not in movies.index:
            raise ValueError(f"{title!r} is the first movie; none stands before it")
        before.append(found[0] - 1)
    return movies.loc[before]


def correlation_by_shift(rows, places, reference):
    """Correlate `reference` with `rows`, joined with every possible shift.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n,)
        One value per row of a table.
    places : numpy.ndarray of int, shape (m,)
        The row that belongs to each entry of `reference`.
    reference : numpy.ndarray, shape (m,)

    Returns
    -------
    numpy.ndarray, shape (n,)
        Entry d: the correlation when each entry gets the row d places before its own,
        around the end of the table. 0 is the correct join, 1 the post's. The others say
        what chance makes of a wrong join: see `p_value`.

    Raises
    ------
    ValueError
        If `reference`, or what a shift joins to it, has no two different values.
    """
    if len(reference) < 2 or np.ptp(reference) == 0:
        raise ValueError("a correlation needs two different values of the reference")
    joined = _joined_by_shift(np.asarray(rows, "float64"), places)
    joined -= joined.mean(axis=1, keepdims=True)
    reference = np.asarray(reference, "float64") - np.mean(reference)
    lengths = np.linalg.norm(joined, axis=1)
    if not lengths.all():
        raise ValueError(f"shift {lengths.argmin()} joins equal values alone")
    return joined @ reference / (lengths * np.linalg.norm(reference))


def found_by_shift(rows, places, lowest, highest, n=10):
    """Count the printed movies among the lowest and highest `n`, joined with every shift.

    Parameters
    ----------
    rows, places
        As in `correlation_by_shift`.
    lowest, highest : numpy.ndarray of bool, shape (m,)
        Which of the m movies are printed at either end.

    Returns
    -------
    at_lowest, at_highest : numpy.ndarray of int, shape (len(rows),)
    """
    order = np.argsort(_joined_by_shift(rows, places), axis=1, kind="stable")
    return lowest[order[:, :n]].sum(axis=1), highest[order[:, -n:]].sum(axis=1)


def p_value(by_shift, shift):
    """Share of all shifts, `shift` included, whose value is at least that of `shift`."""
    return float(np.mean(by_shift >= by_shift[shift]))


def _joined_by_shift(rows, places):
    shifts = np.arange(len(rows))[:, None]
    return rows[(places - shifts) % len(rows)]
