"""Ratings as models take them: dense ids, the split, inputs; and the tables of their movies."""

from functools import cache
import warnings

import numpy as np
import pandas as pd

from embedlens import movielens
from embedlens.movielens import files

LOWEST_RATING, HIGHEST_RATING = files.LOWEST_RATING, files.HIGHEST_RATING
RATING_STEP = files.RATING_STEP
RATINGS_PER_PREDICTION = 4096  # at once, so that what a model makes in between stays small
NO_GENRES = files.NO_GENRES  # what stands for a movie's genres where none is known
MORE_THAN = 20  # The post keeps movies with more than 20 ratings.
IDS = ["userIdDense", "movieIdDense"]


def prepare(data):
    """Join titles to ratings and number users and movies densely.

    Parameters
    ----------
    data : embedlens.movielens.MovieLens

    Returns
    -------
    pandas.DataFrame
        One row per rating, in file order: userId, movieId, rating, title, genres,
        userIdDense and movieIdDense (int32, consecutive from 1; row 0 of an embedding
        stays unused). And timestamp, if it was read.

    Raises
    ------
    ValueError
        If no rating is left, an id is missing, or a movie is listed twice.

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
    rated, listed = (_present(table, "movieId") for table in (data.ratings, data.movies))
    if listed.duplicated().any():
        twice = _some(listed[listed.duplicated()].unique())
        raise ValueError(f"the table of movies lists a movie twice ({twice}); keep one of each")
    unmatched = ~rated.isin(listed)
    if unmatched.any():
        lost = rated[unmatched]
        warnings.warn(
            f"{len(lost):,} of {len(unmatched):,} ratings name {lost.nunique():,} movies that "
            f"the table of movies does not list (first: {_some(lost.unique())}); the join keeps "
            "them out",
            stacklevel=2,
        )
    if unmatched.all():
        raise ValueError("no rated movie is in the table of movies: are both of one release?")
    joined = data.ratings.merge(data.movies, on="movieId", how="inner")
    joined["userIdDense"] = dense_ids(_present(joined, "userId"))
    joined["movieIdDense"] = dense_ids(joined["movieId"])
    return joined


@cache
def prepared(timestamps=False):
    """Prepare the embedded ratings once a process. Shared: copy before you change a row.

    Parameters
    ----------
    timestamps : bool, default False
        As in `embedlens.movielens.load`.

    Returns
    -------
    pandas.DataFrame
        As from `prepare`.
    """
    return prepare(movielens.load(timestamps=timestamps))


def dense_ids(ids):
    """Number distinct ids from 1, in order of first appearance.

    Parameters
    ----------
    ids : pandas.Series or array-like, shape (n,)
        Numbers or names.

    Returns
    -------
    numpy.ndarray of int32, shape (n,)

    Raises
    ------
    ValueError
        If an id is missing, or so large a float that two ids may have become one.
    """
    ids = ids if isinstance(ids, pd.Series) else pd.Series(ids)
    _refuse_missing(ids, "ids")
    if pd.api.types.is_float_dtype(ids.dtype) and (ids.abs() >= 2**53).any():
        raise ValueError("ids from 2**53 on are floats: two may have become one; read them as int")
    codes, _ = pd.factorize(ids)
    return (codes + 1).astype("int32")


def count_users_and_movies(ratings):
    """Count the distinct users and the distinct movies in `ratings`.

    On a whole frame, numbered by `prepare`, these are the sizes of the tables that a model
    needs. Rows of a filtered frame keep their ids, and these may be larger than the counts:
    count before you filter, or number anew with `dense_ids`.

    Returns
    -------
    n_users, n_movies : int
    """
    return tuple(int(_present(ratings, column).nunique()) for column in IDS)


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

    Raises
    ------
    ValueError
        If the share is none, or a part would be empty.
    """
    _check_share(train_share)
    n_train = int(train_share * len(ratings))
    if not 0 < n_train < len(ratings):
        raise ValueError(
            f"{len(ratings):,} rows cannot be split with a train_share of {train_share}: "
            "a part would be empty; take more rows or another share"
        )
    shuffled = np.random.default_rng(seed).permutation(len(ratings))
    return ratings.iloc[shuffled[:n_train]], ratings.iloc[shuffled[n_train:]]


def split_at_date(ratings, train_share=0.8):
    """Split the ratings at a date: what was given before it trains, the rest is set aside.

    Parameters
    ----------
    ratings : pandas.DataFrame
        With a column timestamp.
    train_share : float, default 0.8
        Share of the rows that lie before the date, about: no second is cut in two.

    Returns
    -------
    train, valid : pandas.DataFrame

    Raises
    ------
    ValueError
        If there are no timestamps, the share is none, or a part would be empty.
    """
    times = _present(ratings, "timestamp").to_numpy()
    _check_share(train_share)
    date = np.sort(times)[int(train_share * len(times))] if len(times) else 0
    before = times < date
    if not before.any():
        raise ValueError("no rating lies before the date: take another share or more ratings")
    return ratings[before], ratings[~before]


def split_off_last(ratings, train_share=0.8):
    """Set aside the last ratings of each user; what the user had given before trains.

    Parameters
    ----------
    ratings : pandas.DataFrame
        With a column timestamp.
    train_share : float, default 0.8
        Share of a user's ratings that trains, rounded up. Of equal times, the row that stands
        earlier in the frame counts as the earlier one.

    Returns
    -------
    train, valid : pandas.DataFrame
        In the order of `ratings`. Other users' training ratings may be later than a validation
        rating: no model learns the user's own future, but it may learn that of the movies.

    Raises
    ------
    ValueError
        As `split_at_date`.
    """
    times = _present(ratings, "timestamp")
    _check_share(train_share)
    users = _present(ratings, "userIdDense")
    place = times.groupby(users).rank(method="first").to_numpy()
    size = times.groupby(users).transform("size").to_numpy()
    trains = place <= np.ceil(train_share * size)
    if trains.all():
        raise ValueError("no rating is set aside: take a smaller share or more ratings")
    return ratings[trains], ratings[~trains]


def _check_share(train_share):
    if not 0 < train_share < 1:
        raise ValueError(f"train_share must lie between 0 and 1, not {train_share}")


def check_ids(ratings, sizes):
    """Check that tables of these sizes have a row for every id.

    Without the check TensorFlow reads some row or zeros, and JAX the last row or NaN.

    Parameters
    ----------
    ratings : pandas.DataFrame
        With userIdDense and movieIdDense.
    sizes : tuple of int
        Number of users, number of movies: ids go from 1 to these.

    Raises
    ------
    ValueError
        If an id is missing, no whole number, below 1, or above the size.
    """
    for column, size, what in zip(IDS, sizes, ["users", "movies"], strict=True):
        ids = _whole_numbers(ratings, column)
        outside = ids[(ids < 1) | (ids > size)]
        if len(outside):
            raise ValueError(
                f"{len(outside):,} of {len(ids):,} rows have a {column} outside 1 to {size:,}, the "
                f"number of {what} (first: {_some(pd.unique(outside))}). Number the ids anew with "
                "data.dense_ids, or give the sizes of the whole frame: call "
                "data.count_users_and_movies before you filter"
            )


def inputs(ratings):
    """Model input: int32 array of shape (n, 2), dense user id and dense movie id.

    Raises
    ------
    ValueError
        If a column is absent, or an id missing, no whole number, or beyond int32.
    """
    return np.column_stack([_whole_numbers(ratings, column) for column in IDS])


def targets(ratings):
    """Model target: float32 array of shape (n, 1), the rating in stars.

    Raises
    ------
    ValueError
        If the column is absent, or a rating missing, infinite or no number.
    """
    stars = _numbers(ratings, "rating")
    numbers = stars.to_numpy("float32")
    _refuse(stars, ~np.isfinite(numbers), "rating are infinite")
    return numbers[:, None]


def cold_movies(train, valid):
    """Mark the rows of `valid` whose movie has no rating in `train` (bool array)."""
    known, asked = (_present(ratings, "movieIdDense") for ratings in (train, valid))
    return ~asked.isin(known).to_numpy("bool")


def movie_table(ratings):
    """One row per movie: movieIdDense (index), title, genres, mean rating, n_ratings."""
    _present(ratings, "movieIdDense")
    for column in ("title", "genres", "rating"):
        _column(ratings, column)
    return ratings.groupby("movieIdDense").agg(
        title=("title", "first"),
        genres=("genres", "first"),
        rating=("rating", "mean"),
        n_ratings=("rating", "size"),
    )


def genre_table(movies):
    """Tell which movie has which genre.

    Parameters
    ----------
    movies : pandas.DataFrame
        With a column genres, separated by ``|``, as from `movie_table`.

    Returns
    -------
    pandas.DataFrame of int64
        A row for each row of `movies`, with its index; a column of 0 and 1 for each genre, in
        alphabetical order. `NO_GENRES` is none: such a movie is a row of zeros.
    """
    genres = _column(movies, "genres").astype("str").fillna("")
    if not (genres != "").any():
        return pd.DataFrame(index=movies.index, dtype="int64")
    return genres.str.get_dummies("|").drop(columns=NO_GENRES, errors="ignore").astype("int64")


def years(titles):
    """Year at the end of each title, the first of a span: float64, NaN where there is none."""
    found = titles.astype("str").str.extract(r"\(([0-9]{4})[^()]*\)\s*$", expand=False)
    return found.astype("float64")


def often_rated(movies):
    """The movies that the post's tables choose from: more than 20 ratings."""
    return movies[_column(movies, "n_ratings") > MORE_THAN]


def _column(frame, column):
    if column not in frame:
        found = ", ".join(map(str, frame.columns))
        raise ValueError(f"column {column} is missing; found {found}. See data.prepare")
    return frame[column]


def _present(frame, column):
    """Give a column, in which nothing may be missing."""
    values = _column(frame, column)
    _refuse_missing(values, column)
    return values


def _refuse_missing(values, name):
    _refuse(values, values.isna().to_numpy("bool"), f"{name} are missing")


def _refuse(values, bad, what):
    """Raise if there are bad values, with their number and the first rows by index."""
    if bad.any():
        rows = _some(values.index[bad])
        raise ValueError(
            f"{bad.sum():,} of {len(bad):,} values of {what} (rows {rows}); mend or drop these rows"
        )


def _numbers(frame, column):
    """Give a column of numbers, none of them missing."""
    values = _present(frame, column).infer_objects()
    if not len(values):  # a new frame has columns of dtype object
        return values.astype("int32")
    is_number = pd.api.types.is_numeric_dtype(values.dtype)
    if not is_number or pd.api.types.is_bool_dtype(values.dtype):
        raise ValueError(f"column {column} holds {values.dtype}, not numbers")
    return values


def _whole_numbers(frame, column):
    """Give ids as an array of int32."""
    values = _numbers(frame, column)
    numbers = values.to_numpy()
    if numbers.dtype.kind not in "iu":
        numbers = values.to_numpy("float64")
        _refuse(values, numbers != np.floor(numbers), f"{column} are no whole numbers")
    limits = np.iinfo("int32")
    beyond = (numbers > limits.max) | (numbers < limits.min)
    _refuse(values, beyond, f"{column} are beyond int32")
    return numbers.astype("int32", copy=False)


def _some(values, most=5):
    return ", ".join(map(str, values[:most])) + ", ..." * (len(values) > most)
