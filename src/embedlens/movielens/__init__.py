"""MovieLens: read a release and check it."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from embedlens.movielens import files, releases


@dataclass(frozen=True)
class MovieLens:
    """The two tables of a MovieLens release.

    Attributes
    ----------
    ratings : pandas.DataFrame
        userId, movieId (int64), rating (float64, stars from 0.5 to 5), in file order; if asked
        for, timestamp (int64, seconds since 1970).
    movies : pandas.DataFrame
        movieId (int64), title, genres (str, separated by ``|``; ``(no genres listed)`` where
        none is known).
    """

    ratings: pd.DataFrame
    movies: pd.DataFrame


def load(source=None, timestamps=False):
    """Read and check a MovieLens release.

    Parameters
    ----------
    source : str or path-like, optional
        The name of a release, ``"ml-1m"``, ``"ml-10m"``, ``"ml-25m"``, ``"ml-32m"`` or
        ``"ml-latest-small"`` (of 2018): it is downloaded once, verified, and kept; see
        `embedlens.movielens.releases.fetch` for its licence. Or a folder or zip file with the
        files as GroupLens publishes them, the first there of: ``ratings.csv`` and
        ``movies.csv``; ``ratings.dat`` and ``movies.dat`` (fields separated by ``::``, no
        header); ``u.data`` and ``u.item`` (of ml-100k). Default: the embedded October 2016
        ml-latest-small.
    timestamps : bool, default False
        Read when each rating was given as well; most chapters do not need it.

    Returns
    -------
    MovieLens
        Exactly what the files say. Ids are never rounded; an id written as ``7.0`` is taken
        below 2**53, where no two can have become one.

    Raises
    ------
    FileNotFoundError
        If `source` or one of the two files does not exist.
    OSError
        If a release cannot be downloaded; the message says how to place it by hand.
    ValueError
        If a file cannot be used; the message names file, folder or zip file, column and first
        bad lines: a row with too few or too many fields, quotes that do not enclose a field,
        blank lines between rows, control characters, an id that is missing, below 1 or from
        2**63 on, a rating that is not on the scale, a pair or a movie that comes twice.

    Notes
    -----
    A ``.csv`` file is UTF-8. The others are UTF-8 or else ISO-8859-1, as GroupLens published
    them; bytes that stand for no letter in it are refused.
    """
    return MovieLens(*files.read(_place(source), timestamps))


def _place(source):
    if source is None:
        return resources.files("embedlens.movielens.snapshot")
    if isinstance(source, str) and source in releases.DIGESTS:
        return releases.fetch(source)
    place = Path(source)
    if not place.exists():
        known = ", ".join(releases.DIGESTS)
        raise FileNotFoundError(
            f"{place}: no such folder or zip file, and no release known here ({known})"
        )
    return place
