"""Ratings: reading and checking them, dense ids, the split."""

import codecs
from collections.abc import Callable
import contextlib
import csv
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
import io
from pathlib import Path
import warnings
import zipfile
import zlib

from embedlens import releases
import numpy as np
import pandas as pd
from tqdm import tqdm

RATINGS_COLUMNS = {"userId": "int64", "movieId": "int64", "rating": "float64"}
TIME_COLUMN = {"timestamp": "int64"}
MOVIES_COLUMNS = {"movieId": "int64", "title": "str", "genres": "str"}
LOWEST_RATING, HIGHEST_RATING, RATING_STEP = 0.5, 5.0, 0.5

DAT_SEPARATOR = "\x1f"  # in place of "::": pandas parses fast by a single character only
ROWS_AT_A_TIME = 10**6


@dataclass(frozen=True)
class MovieLens:
    """The two tables of a MovieLens release.

    Attributes
    ----------
    ratings : pandas.DataFrame
        userId, movieId (int64), rating (float64, stars from 0.5 to 5), in file order; if asked
        for, timestamp (int64, seconds since 1970).
    movies : pandas.DataFrame
        movieId (int64), title, genres (str, separated by ``|``).
    """

    ratings: pd.DataFrame
    movies: pd.DataFrame


def load_movielens(source=None, timestamps=False):
    """Read and check a MovieLens release.

    Parameters
    ----------
    source : str or path-like, optional
        The name of a release, ``"ml-1m"``, ``"ml-10m"``, ``"ml-25m"``, ``"ml-32m"`` or
        ``"ml-latest-small"`` (of 2018): it is downloaded once, verified, and kept; see
        `embedlens.releases.fetch` for its licence. Or a folder or zip file with ``ratings``
        and ``movies`` as GroupLens publishes them: ``.csv`` or, where there is none of
        these, ``.dat`` (fields separated by ``::``, no header). Default: the embedded
        October 2016 ml-latest-small.
    timestamps : bool, default False
        Read when each rating was given as well; most chapters do not need it.

    Returns
    -------
    MovieLens

    Raises
    ------
    FileNotFoundError
        If `source` or one of the two files does not exist.
    OSError
        If a release cannot be downloaded; the message says how to place it by hand.
    ValueError
        If a file cannot be used; the message names file, column and first bad rows.
    """
    with _files(_place(source)) as (ratings_file, movies_file):
        movies = _read_table(movies_file, MOVIES_COLUMNS)
        columns = RATINGS_COLUMNS | TIME_COLUMN if timestamps else RATINGS_COLUMNS
        ratings = _read_table(ratings_file, columns)
    _check_ids(ratings_file.name, ratings, ["userId", "movieId"])
    _check_ids(movies_file.name, movies, ["movieId"])
    _check_scale(ratings_file.name, ratings)
    _check_pairs(ratings_file.name, ratings)
    _check_unique(movies_file.name, movies, ["movieId"], "this movie is defined twice")
    return MovieLens(ratings.reset_index(drop=True), movies.reset_index(drop=True))


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
        stays unused). And timestamp, if it was read.

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
def prepared(timestamps=False):
    """Prepare the embedded ratings once a process. Shared: copy before you change a row.

    Parameters
    ----------
    timestamps : bool, default False
        As in `load_movielens`.

    Returns
    -------
    pandas.DataFrame
        As from `prepare`.
    """
    return prepare(load_movielens(timestamps=timestamps))


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


@dataclass(frozen=True)
class _File:
    name: str
    open: Callable  # gives a binary stream; may be called again

    @property
    def is_dat(self):
        return self.name.endswith(".dat")

    @property
    def first_line(self):
        return 1 if self.is_dat else 2


def _place(source):
    if source is None:
        return resources.files("embedlens.snapshot")
    if isinstance(source, str) and source in releases.DIGESTS:
        return releases.fetch(source)
    return Path(source)


@contextlib.contextmanager
def _files(place):
    """Find the files of ratings and of movies; they can be opened within the context."""
    if place.is_dir():
        found = {path.name: [path] for path in place.iterdir() if path.is_file()}
        yield [_File(n, partial(found[n][0].open, "rb")) for n in _names(found, f"folder {place}")]
        return
    if not place.exists():
        known = ", ".join(releases.DIGESTS)
        raise FileNotFoundError(
            f"{place}: no such folder or zip file, and no release known here ({known})"
        )
    try:
        with zipfile.ZipFile(place) as archive:
            found = {}
            for member in archive.namelist():
                found.setdefault(member.split("/")[-1], []).append(member)
            names = _names(found, f"zip file {place}")
            yield [_File(name, partial(archive.open, found[name][0])) for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{place}: not a zip file, or a damaged one ({error}); download it again"
        ) from error


def _names(found, place):
    has_csv = "ratings.csv" in found or "movies.csv" in found
    has_dat = "ratings.dat" in found or "movies.dat" in found
    if not has_csv and not has_dat:
        raise FileNotFoundError(f"ratings.csv, movies.csv: not in the {place}, nor as .dat")
    names = ["ratings.csv", "movies.csv"] if has_csv else ["ratings.dat", "movies.dat"]
    for name in names:
        if name not in found:
            raise FileNotFoundError(f"{name}: not in the {place}")
        if len(found[name]) > 1:
            stands = f"stands {len(found[name])} times in the {place}"
            raise ValueError(f"{name}: {stands}: {', '.join(found[name])}")
    return names


def _read_table(file, columns):
    """Read a table, indexed by line number."""
    if file.is_dat:
        file = _with_one_separator(file)
    try:
        with file.open() as stream:
            _check_first_lines(file, stream, columns)
        with file.open() as stream:
            table = _parse(file, stream, columns)
    except (ValueError, OverflowError, csv.Error):
        table = _read_again(file, columns)
    if table.empty:
        raise ValueError(f"{file.name}: there is a header but no row")
    table.index += file.first_line
    return table


def _with_one_separator(file):
    """Give a .dat file in UTF-8, with a separator of one character, as pandas needs it."""
    with file.open() as stream:
        content = stream.read()
    try:
        content.decode()
    except UnicodeDecodeError:
        content = content.decode("iso-8859-1").encode()  # as in ml-1m
    content = content.replace(b"::", DAT_SEPARATOR.encode())
    return _File(file.name, partial(io.BytesIO, content))


def _parts(file, stream, columns, dtype):
    """Parse a million rows at a time."""
    options = {"dtype": dtype, "keep_default_na": False, "skip_blank_lines": False}
    if file.is_dat:
        names = _dat_columns(columns)
        options |= {"sep": DAT_SEPARATOR, "quoting": csv.QUOTE_NONE, "header": None, "names": names}
    return pd.read_csv(stream, chunksize=ROWS_AT_A_TIME, **options)


def _dat_columns(columns):
    return [*(columns | TIME_COLUMN)] if "rating" in columns else list(columns)


def _check_first_lines(file, stream, columns):
    options = {"delimiter": DAT_SEPARATOR, "quoting": csv.QUOTE_NONE} if file.is_dat else {}
    with io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        rows = csv.reader(text, **options)
        header = _dat_columns(columns) if file.is_dat else next(rows, [])
        first = next(rows, [])
    missing = [column for column in columns if column not in header]
    if missing:
        raise ValueError(
            f"{file.name}: column {', '.join(missing)} is missing; found {', '.join(header)}"
        )
    if len(first) > len(header):  # pandas would take the first field for an index
        expected = f"Expected {len(header)} fields in line {file.first_line}"
        raise ValueError(f"{file.name}: {expected}, saw {len(first)}")


def _parse(file, stream, columns):
    with _parts(file, stream, columns, dtype=columns) as parts:
        shown = tqdm(parts, desc=f"reading {file.name}", unit=" million rows", delay=2)
        return pd.concat([part[list(columns)] for part in shown])


def _read_again(file, columns):
    """Say what is wrong with a file. Blank lines at its end are not: give its table then."""
    content = _text(file)
    try:
        _check_first_lines(file, io.BytesIO(content), columns)
        try:
            return _parse(file, io.BytesIO(content), columns)
        except (ValueError, OverflowError) as error:
            if isinstance(error, pd.errors.ParserError):
                raise
            with _parts(file, io.BytesIO(content), columns, dtype="str") as parts:
                _explain_numbers(file, parts, columns)
            raise
    except (pd.errors.ParserError, csv.Error) as error:
        raise ValueError(f"{file.name}: {error}") from error


def _text(file):
    with file.open() as stream:
        content = stream.read().removeprefix(codecs.BOM_UTF8)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        message = f"{file.name}: line {line} is not UTF-8; save the file as UTF-8"
        raise ValueError(message) from error
    content = content.rstrip()
    if not content:
        raise ValueError(f"{file.name}: the file is empty")
    return content


def _explain_numbers(file, parts, columns):
    bad = {column: [] for column, dtype in columns.items() if dtype != "str"}
    for part in parts:
        part.index += file.first_line
        for column, rows in bad.items():
            numbers = pd.to_numeric(part[column], errors="coerce")
            wrong = numbers.isna()
            if columns[column] == "int64":
                wrong |= (numbers % 1 != 0) | (numbers.abs() >= 2**63)
            rows.append(part.loc[wrong, [column]])
    for column, rows in bad.items():
        wanted = "a whole number" if columns[column] == "int64" else "a number"
        _raise_for(file.name, pd.concat(rows), f"not {wanted}")


def _check_ids(name, table, columns):
    for column in columns:
        bad = table.loc[table[column] < 1, [column]]
        _raise_for(name, bad, "an id must be 1 or more")


def _check_scale(name, ratings):
    rating = ratings["rating"]
    on_scale = rating.between(LOWEST_RATING, HIGHEST_RATING) & (rating % RATING_STEP == 0)
    reason = f"not on the scale of {LOWEST_RATING} to {HIGHEST_RATING} in steps of {RATING_STEP}"
    _raise_for(name, ratings.loc[~on_scale, ["rating"]], reason)


def _check_pairs(name, ratings):
    # Equal pairs give equal numbers. To sort these takes a fifth of the time of `duplicated`,
    # which then need not look at most files.
    numbers = np.sort((ratings["userId"].to_numpy() << 32) + ratings["movieId"].to_numpy())
    if (numbers[1:] == numbers[:-1]).any():
        reason = "this user rated this movie twice"
        _check_unique(name, ratings, ["userId", "movieId"], reason)


def _check_unique(name, table, columns, reason):
    _raise_for(name, table.loc[table.duplicated(columns), columns], reason)


def _raise_for(name, bad, reason, most=3):
    """Raise if there are bad rows, indexed by line number."""
    if bad.empty:
        return
    shown = "; ".join(
        f"line {line}: " + ", ".join(f"{column} {row[column]!s:.40}" for column in bad)
        for line, row in bad.head(most).astype(object).iterrows()
    )
    more = f" and {len(bad) - most:,} more" if len(bad) > most else ""
    raise ValueError(f"{name}, column {', '.join(bad)}: {reason} ({shown}{more})")
