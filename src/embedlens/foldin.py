"""Fold a new user into the trained bias model, by ridge regression on the movie vectors.

The model predicts low + (high - low) * sigmoid(user . movie + user bias + movie bias), so a
rating, as a share of the scale, stands for a score: its logit. The new user's vector and
bias are the ones that meet the scores of the given ratings best, while two penalties pull
them towards the average user of the training. Without ratings they are the average user's.

``book/_static/try.js`` repeats these few lines; a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from embedlens import data, recommend

RIDGE = {"vector": 10.0, "bias": 3.0, "clip": 0.1}


@dataclass(frozen=True)
class Space:
    """What stays fixed while a user is folded in: the movies and the average user.

    Attributes
    ----------
    ids : numpy.ndarray of int, shape (n,)
        Dense ids, rising; row i of the next two belongs to movie ``ids[i]``.
    vectors : numpy.ndarray, shape (n, dim)
    biases : numpy.ndarray, shape (n,)
    user_vector : numpy.ndarray, shape (dim,)
        Mean over the users of the training, as `user_bias`.
    user_bias : float
    low, high : float
        Ends of the scale, in stars.
    """

    ids: np.ndarray
    vectors: np.ndarray
    biases: np.ndarray
    user_vector: np.ndarray
    user_bias: float
    low: float = data.LOWEST_RATING
    high: float = data.HIGHEST_RATING


@dataclass(frozen=True)
class User:
    """A user who was folded in.

    Attributes
    ----------
    vector : numpy.ndarray, shape (dim,)
    bias : float
    rows : numpy.ndarray of int, shape (n,)
        Rows of the rated movies in the space, in the order given.
    stars : numpy.ndarray, shape (n,)
    residuals : numpy.ndarray, shape (n,)
        Score of each rating minus the score that the folded-in user gives.
    """

    vector: np.ndarray
    bias: float
    rows: np.ndarray
    stars: np.ndarray
    residuals: np.ndarray


def space_of(model, ids=None, user_ids=None):
    """Take the fixed part out of a trained `DotWithBias`.

    Parameters
    ----------
    model : DotWithBias
    ids : array-like of int, optional
        Dense ids of the movies to keep. Default: all.
    user_ids : array-like of int, optional
        Dense ids of the users that the average user is made of. Default: all. Name them if
        the training has left users out: their rows hold nothing but initial weights.

    Returns
    -------
    Space
        In float64.

    Raises
    ------
    ValueError
        If the model has no row for an id, or there is no movie or no user left.
    """
    users, movies, user_biases, movie_biases = recommend.weights_of(model)
    ids = _ids("movie", ids, len(movies))
    known = _ids("user", user_ids, len(users))
    return Space(
        ids,
        movies[ids],
        movie_biases[ids],
        users[known].mean(axis=0),
        float(user_biases[known].mean()),
        model.min_rating,
        model.max_rating,
    )


def fold_in(space, ratings, ridge=RIDGE):
    """Find vector and bias of a new user from a few ratings.

    Parameters
    ----------
    space : Space
    ratings : mapping, pandas.Series or iterable of pairs
        Dense id of a movie and its stars, 0.5 to 5 in steps of 0.5. May be empty.
    ridge : dict
        `vector` and `bias`: penalty on the squared distance from the average user, in
        units of one rating's squared error of score. `clip`: shares are kept this far
        from 0 and 1, whose logits are infinite.

    Returns
    -------
    User

    Raises
    ------
    ValueError
        If a movie is unknown or given twice, a rating is off the scale, or the scale has no
        width.

    Notes
    -----
    Measured on split 0, RMSE in stars on validation ratings. "Trained users": all 671, folded
    in from their training ratings, which the movie vectors have seen. "New users": 134 users
    whom a second training left out, folded in from all of their training ratings, from the
    first ten, from the first five.

    ======================  =============  =========  =====  =====
    predicted by            trained users  new users  ten    five
    ======================  =============  =========  =====  =====
    mean of all ratings     1.050          1.061
    average user            0.965          0.964
    folded in, bias alone   0.880          0.857      0.875  0.910
    folded in               0.875          0.832      0.871  0.908
    the model itself        0.867
    ======================  =============  =========  =====  =====

    Chapter 11 chooses penalties without validation ratings.

    So most of the gain is bias; the vectors add to it where there are many ratings. For new
    users penalties on the vector of 5 to 10 were best (2: 0.840, 30: 0.839), while trained
    users want more (5: 0.883, 30: 0.869). With a penalty of 2, trained users had 0.917, 0.905,
    0.898 and 0.900 when clipped at 0.03, 0.05, 0.1 and 0.15.
    """
    rows, stars = _checked(space, ratings)
    share = np.clip(
        (stars - space.low) / (space.high - space.low), ridge["clip"], 1 - ridge["clip"]
    )
    average = space.vectors[rows] @ space.user_vector + space.biases[rows] + space.user_bias
    wanted = np.log(share / (1 - share)) - average
    known = np.column_stack([space.vectors[rows], np.ones(len(rows))])
    dim = len(space.user_vector)
    penalty = np.diag([ridge["vector"]] * dim + [ridge["bias"]])
    change = np.linalg.solve(known.T @ known + penalty, known.T @ wanted)
    return User(
        space.user_vector + change[:dim],
        float(space.user_bias + change[dim]),
        rows,
        stars,
        wanted - known @ change,
    )


def explain(space, user, ridge=RIDGE):
    """Predict every movie, and say what the prediction is made of.

    Parameters
    ----------
    space : Space
    user : User
        As from `fold_in`, on the same space and with the same `ridge`.

    Returns
    -------
    pandas.DataFrame
        One row per movie, in the order of the space: movieIdDense; predicted, in stars.
        Three parts in units of score, which is the logit of the share of the scale, so
        that ``low + (high - low) * sigmoid(bias + shared + taste)`` is `predicted`:
        bias (of user and movie), shared (the average user's vector times the movie's),
        taste (what the user's vector adds to that). And, if there are ratings: nearest,
        the rated movie with the greatest cosine similarity (dense id; the first of
        equals), its cosine, and push, what its rating adds to `taste`.
        The pushes of all rated movies add up to `taste`.
    """
    bias = space.biases + user.bias
    shared = space.vectors @ space.user_vector
    taste = space.vectors @ (user.vector - space.user_vector)
    table = pd.DataFrame(
        {
            "movieIdDense": space.ids,
            "predicted": recommend.stars_of(bias + shared + taste, space.low, space.high),
            "bias": bias,
            "shared": shared,
            "taste": taste,
        }
    )
    if not len(user.rows):
        return table
    products = space.vectors @ space.vectors[user.rows].T
    lengths = np.linalg.norm(space.vectors, axis=1)
    cosines = products / np.maximum(np.outer(lengths, lengths[user.rows]), 1e-12)
    nearest = cosines.argmax(axis=1)
    each = np.arange(len(table))
    pushes = products * user.residuals / ridge["vector"]
    return table.assign(
        nearest=space.ids[user.rows[nearest]],
        cosine=cosines[each, nearest],
        push=pushes[each, nearest],
    )


def pushes(space, user, movie, ridge=RIDGE):
    """Say what each rating of a user adds to the `taste` of one movie.

    Parameters
    ----------
    space, user, ridge
        As in `explain`.
    movie : int
        Dense id of a movie of the space, rated or not.

    Returns
    -------
    pandas.DataFrame
        One row per rating, in the order given: movieIdDense, stars, push (units of score).
        The pushes add up to `taste`.

    Raises
    ------
    ValueError
        If the space does not hold the movie.
    """
    found = np.flatnonzero(space.ids == movie)
    if not len(found):
        raise ValueError(f"movie {movie} is not among the {len(space.ids):,} movies")
    products = space.vectors[user.rows] @ space.vectors[found[0]]
    return pd.DataFrame(
        {
            "movieIdDense": space.ids[user.rows],
            "stars": user.stars,
            "push": products * user.residuals / ridge["vector"],
        }
    )


def rank(space, user, n=10, by="predicted", ridge=RIDGE):
    """The `n` best movies that the user has not rated.

    Parameters
    ----------
    space, user, ridge
        As in `explain`.
    n : int, default 10
    by : {"predicted", "taste"}
        Column of `explain` that decides. Of equal movies the one with the higher
        prediction comes first, then the one with the lower dense id.

    Returns
    -------
    pandas.DataFrame
        Rows of `explain`, best first.
    """
    table = explain(space, user, ridge).drop(index=user.rows)
    columns = [by, "predicted", "movieIdDense"]
    ranked = table.sort_values(columns, ascending=[False, False, True])
    return ranked.head(n).reset_index(drop=True)


def _ids(name, ids, n_rows):
    """Rising dense ids, all of them by default; each must have a row."""
    ids = np.arange(1, n_rows) if ids is None else np.sort(np.asarray(ids, dtype=int))
    if not len(ids) or ids[0] < 1 or ids[-1] >= n_rows:
        raise ValueError(f"{name} ids must lie between 1 and {n_rows - 1:,}, one at least")
    return ids


def _checked(space, ratings):
    pairs = list(ratings.items() if isinstance(ratings, Mapping | pd.Series) else ratings)
    if not space.low < space.high:
        raise ValueError(f"a scale of {space.low} to {space.high} stars has no width")
    row_of = {movie: row for row, movie in enumerate(space.ids.tolist())}
    seen = set()
    for movie, stars in pairs:
        if movie not in row_of:
            raise ValueError(f"movie {movie} is not among the {len(row_of):,} movies")
        if movie in seen:
            raise ValueError(f"movie {movie} is rated twice")
        on_scale = not pd.isna(stars) and space.low <= stars <= space.high
        if not on_scale or (stars - space.low) / data.RATING_STEP % 1:
            raise ValueError(
                f"movie {movie}: {stars} is not on the scale of {space.low} to {space.high} "
                f"in steps of {data.RATING_STEP}"
            )
        seen.add(movie)
    rows = np.array([row_of[movie] for movie, _ in pairs], dtype=int)
    return rows, np.array([stars for _, stars in pairs], dtype="float64")
