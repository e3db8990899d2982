"""Ratings: reading and checking them, dense ids, the split."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
import io
from pathlib import Path
import warnings
import zipfile
import zlib

import numpy as np
import pandas as pd

RATINGS_COLUMNS = {"userId": "int64", "movieId": "int64", "rating": "float64"}
MOVIES_COLUMNS = {"movieId": "int64", "title": "str", "genres": "str"}
LOWEST_RATING, HIGHEST_RATING, RATING_STEP = 0.5, 5.0, 0.5


@dataclass(frozen=True)
class MovieLens:
    """The two tables of a MovieLens release.

    Attributes
    ----------
    ratings : pandas.DataFrame
        userId, movieId (int64), rating (float64, stars from 0.5 to 5), in file order.
    movies : pandas.DataFrame
        movieId (int64), title, genres (str, separated by ``|``).
    """

    ratings: pd.DataFrame
    movies: pd.DataFrame


def load_movielens(path=None):
    """Read and check a MovieLens release.

    Parameters
    ----------
    path : path-like, optional
        A folder, or a zip file, with ``ratings.csv`` and ``movies.csv`` as GroupLens
        publishes them. Default: the embedded October 2016 ml-latest-small.

    Returns
    -------
    MovieLens

    Raises
    ------
    FileNotFoundError
        If `path` or one of the two files does not exist.
    ValueError
        If a file cannot be used; the message names file, column and first bad rows.
    """
    contents = _contents(resources.files("embedlens.snapshot") if path is None else Path(path))
    ratings = _read_table("ratings.csv", contents["ratings.csv"], RATINGS_COLUMNS)
    movies = _read_table("movies.csv", contents["movies.csv"], MOVIES_COLUMNS)
    _check_ids("ratings.csv", ratings, ["userId", "movieId"])
    _check_ids("movies.csv", movies, ["movieId"])
    _check_scale(ratings)
    _check_unique("ratings.csv", ratings, ["userId", "movieId"], "this user rated this movie twice")
    _check_unique("movies.csv", movies, ["movieId"], "this movie is defined twice")
    return MovieLens(ratings, movies)


def prepare(data):
    """Join titles to ratings and number users and movies densely.

    Parameters
    ----------
    data : MovieLens

    Returns
    -------
    pandas.DataFrame
        One row per rating, in file order: userId, movieId, rating, title, genres,
        userIdDense and movieIdDense (int32, consecutive from 1; row 0 of an embedding
        stays unused).

    Warns
    -----
    UserWarning
        With the count of ratings that the join keeps out, if any.

    Notes
    -----
    The post numbers the movies before it joins the titles. Here the join comes first,
    so that the numbers stay consecutive where the join loses ratings. On the 2016
    snapshot nothing is lost and both orders agree.
    """
    unmatched = ~data.ratings["movieId"].isin(data.movies["movieId"])
    if unmatched.any():
        lost = data.ratings.loc[unmatched, "movieId"]
        first = ", ".join(map(str, lost.unique()[:5]))
        warnings.warn(
            f"ratings.csv: {len(lost):,} of {len(unmatched):,} ratings name "
            f"{lost.nunique():,} movies that movies.csv does not list "
            f"(first: {first}); the join keeps them out",
            stacklevel=2,
        )
    joined = data.ratings.merge(data.movies, on="movieId", how="inner")
    if joined.empty:
        raise ValueError("ratings.csv: no rated movie is listed in movies.csv")
    joined["userIdDense"] = dense_ids(joined["userId"])
    joined["movieIdDense"] = dense_ids(joined["movieId"])
    return joined


@cache
def prepared():
    """Prepare the embedded ratings once a process. Shared: copy before you change a row.

    Returns
    -------
    pandas.DataFrame
        As from `prepare`.
    """
    return prepare(load_movielens())


def dense_ids(ids):
    """Number distinct ids from 1, in order of first appearance."""
    codes, _ = pd.factorize(ids)
    return (codes + 1).astype("int32")


def count_users_and_movies(ratings):
    """Return the number of distinct users and of distinct movies in `ratings`."""
    return int(ratings["userIdDense"].nunique()), int(ratings["movieIdDense"].nunique())


def train_valid_split(ratings, seed, train_share=0.8):
    """Split the ratings at random into a training and a validation part.

    Parameters
    ----------
    ratings : pandas.DataFrame
    seed : int
        The same seed gives the same split.
    train_share : float, default 0.8
        Share of the rows that train, strictly between 0 and 1.

    Returns
    -------
    train, valid : pandas.DataFrame
        Disjoint; together they hold every row once.
    """
    if not 0 < train_share < 1:
        raise ValueError(f"train_share must lie between 0 and 1, not {train_share}")
    shuffled = np.random.default_rng(seed).permutation(len(ratings))
    n_train = int(train_share * len(ratings))
    return ratings.iloc[shuffled[:n_train]], ratings.iloc[shuffled[n_train:]]


def inputs(ratings):
    """Model input: int32 array of shape (n, 2), dense user id and dense movie id."""
    return ratings[["userIdDense", "movieIdDense"]].to_numpy("int32")


def targets(ratings):
    """Model target: float32 array of shape (n, 1), the rating in stars."""
    return ratings[["rating"]].to_numpy("float32")


def cold_movies(train, valid):
    """Mark the rows of `valid` whose movie has no rating in `train` (bool array)."""
    return ~valid["movieIdDense"].isin(train["movieIdDense"]).to_numpy()


def _contents(source):
    names = ["ratings.csv", "movies.csv"]
    if source.is_dir():
        for name in names:
            if not (source / name).is_file():
                raise FileNotFoundError(f"{name}: not in the folder {source}")
        return {name: (source / name).read_bytes() for name in names}
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or zip file")
    try:
        with zipfile.ZipFile(source) as archive:
            return {name: archive.read(_member(archive, name, source)) for name in names}
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{source}: not a zip file, or a damaged one ({error}); download it again"
        ) from error


def _member(archive, name, source):
    found = [member for member in archive.namelist() if member.split("/")[-1] == name]
    if not found:
        raise FileNotFoundError(f"{name}: not in the zip file {source}")
    if len(found) > 1:
        raise ValueError(f"{name}: stands {len(found)} times in {source}: {', '.join(found)}")
    return found[0]


def _read_table(name, content, columns):
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{name}: line {line} is not UTF-8; save the file as UTF-8") from error
    text = text.rstrip()
    if not text:
        raise ValueError(f"{name}: the file is empty")
    try:
        _check_header(name, text, columns)
        options = {"keep_default_na": False, "skip_blank_lines": False}
        try:
            table = pd.read_csv(io.StringIO(text), dtype=columns, **options)
        except (ValueError, OverflowError) as error:
            if isinstance(error, pd.errors.ParserError):
                raise
            table = pd.read_csv(io.StringIO(text), dtype="str", **options)
            _explain_numbers(name, table, columns)
            raise
    except pd.errors.ParserError as error:
        raise ValueError(f"{name}: {error}") from error
    if table.empty:
        raise ValueError(f"{name}: there is a header but no row")
    return table[list(columns)]


def _check_header(name, text, columns):
    rows = csv.reader(io.StringIO(text))
    header, first = next(rows), next(rows, [])
    missing = [column for column in columns if column not in header]
    if missing:
        raise ValueError(
            f"{name}: column {', '.join(missing)} is missing; found {', '.join(header)}"
        )
    if len(first) > len(header):  # pandas would take the first field for an index
        raise ValueError(f"{name}: Expected {len(header)} fields in line 2, saw {len(first)}")


def _explain_numbers(name, table, columns):
    for column, dtype in columns.items():
        if dtype == "str":
            continue
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = numbers.isna()
        if dtype == "int64":
            bad |= (numbers % 1 != 0) | (numbers.abs() >= 2**63)
        wanted = "a whole number" if dtype == "int64" else "a number"
        _raise_for(name, table, [column], bad, f"not {wanted}")


def _check_ids(name, table, columns):
    for column in columns:
        _raise_for(name, table, [column], table[column] < 1, "an id must be 1 or more")


def _check_scale(ratings):
    rating = ratings["rating"]
    on_scale = rating.between(LOWEST_RATING, HIGHEST_RATING) & (rating % RATING_STEP == 0)
    reason = f"not on the scale of {LOWEST_RATING} to {HIGHEST_RATING} in steps of {RATING_STEP}"
    _raise_for("ratings.csv", ratings, ["rating"], ~on_scale, reason)


def _check_unique(name, table, columns, reason):
    _raise_for(name, table, columns, table.duplicated(columns), reason)


def _raise_for(name, table, columns, bad, reason, most=3):
    if not bad.any():
        return
    lines = np.flatnonzero(bad)
    shown = "; ".join(
        f"line {i + 2}: "
        + ", ".join(f"{column} {table[column].iloc[i]!s:.40}" for column in columns)
        for i in lines[:most]
    )
    more = f" and {len(lines) - most:,} more" if len(lines) > most else ""
    raise ValueError(f"{name}, column {', '.join(columns)}: {reason} ({shown}{more})")
