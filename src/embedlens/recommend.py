"""From predictions to lists: the best movies that a user has not rated, and better lists."""

import numpy as np
import pandas as pd

from embedlens import data


def recommend(model, ratings, user, n=10):
    """Rank the movies that `user` has not rated by their predicted rating.

    Parameters
    ----------
    model : keras.Model
    ratings : pandas.DataFrame
        As from `data.prepare`; all ratings known, of all users.
    user : int
        Dense user id.
    n : int, default 10
        Number of movies.

    Returns
    -------
    pandas.DataFrame
        movieIdDense, title, n_ratings, predicted (stars), best first. Fewer than `n` rows, or
        none, if the user has rated nearly all movies.

    Raises
    ------
    ValueError
        If the user is unknown.
    """
    from embedlens.training import predict  # needs Keras; the rest of this module does not

    seen = ratings.loc[ratings["userIdDense"] == user, "movieIdDense"]
    if seen.empty:
        raise ValueError(f"user {user} has no ratings")
    movies = ratings.groupby("movieIdDense", as_index=False).agg(
        title=("title", "first"), n_ratings=("rating", "size")
    )
    unseen = movies[~movies["movieIdDense"].isin(seen)]
    unseen = unseen.assign(userIdDense=user)
    unseen["predicted"] = predict(model, unseen)
    ranked = unseen.sort_values(["predicted", "movieIdDense"], ascending=[False, True])
    columns = ["movieIdDense", "title", "n_ratings", "predicted"]
    return pd.DataFrame(ranked[columns].head(n)).reset_index(drop=True)


def scores(model):
    """Predict every pair of user and movie, and say what taste has to do with it.

    Parameters
    ----------
    model : DotWithBias

    Returns
    -------
    stars : numpy.ndarray of float64, shape (n_users + 1, n_movies + 1)
        Predicted ratings by dense ids; row and column 0 belong to nobody.
    taste : numpy.ndarray, same shape
        The part of the score (before the sigmoid) that the user's own vector adds to the
        average user's, as in `foldin.explain`.
    """
    users, movies, user_bias, movie_bias = weights_of(model)
    score = users @ movies.T + user_bias[:, None] + movie_bias
    stars = stars_of(score, model.min_rating, model.max_rating)
    return stars, (users - users[1:].mean(axis=0)) @ movies.T


def stars_of(score, low, high):
    """Stretch the sigmoid of a score between the ends of the scale, as `DotWithBias` does."""
    return low + (high - low) / (1 + np.exp(-score))


def weights_of(model, dtype="float64"):
    """Take the tables out of a `DotWithBias`.

    Returns
    -------
    users, movies : numpy.ndarray, shape (n_users + 1, dim), (n_movies + 1, dim)
    user_biases, movie_biases : numpy.ndarray, shape (n_users + 1,), (n_movies + 1,)
    """
    layers = model.user_embedding, model.movie_embedding, model.user_bias, model.movie_bias
    users, movies, *biases = (layer.get_weights()[0].astype(dtype) for layer in layers)
    return users, movies, *(bias[:, 0] for bias in biases)


def seen_matrix(ratings, sizes):
    """Mark what was rated: bool array of shape (n_users + 1, n_movies + 1), by dense ids.

    Raises
    ------
    ValueError
        If an id lies outside `sizes`.
    """
    data.check_ids(ratings, sizes)
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
        If the shapes differ, a score is missing, or a user has fewer than `n` movies left.
    """
    if scores.shape != seen.shape:
        raise ValueError(f"scores of shape {scores.shape} against seen of shape {seen.shape}")
    if np.isnan(scores[1:, 1:]).any():
        raise ValueError("a score is missing (NaN)")
    open_to = np.where(seen, -np.inf, scores)
    open_to[:, 0] = -np.inf
    left = np.isfinite(open_to[1:]).sum(axis=1)
    if len(left) and left.min() < n:
        raise ValueError(f"user {left.argmin() + 1} has only {left.min()} unrated movies, not {n}")
    return np.argsort(-open_to, axis=1, kind="stable")[:, :n]


def cautious(stars, train_ratings, popularity):
    """Subtract from each prediction the error of a mean of so many ratings and one more.

    Parameters
    ----------
    stars : numpy.ndarray, shape (..., n_movies + 1)
    train_ratings : pandas.DataFrame
        Two ratings at least.
    popularity : numpy.ndarray, shape (n_movies + 1,)

    Returns
    -------
    numpy.ndarray, same shape as `stars`
    """
    if len(train_ratings) < 2:
        raise ValueError("the spread of the ratings needs two of them")
    return stars - train_ratings["rating"].std() / np.sqrt(popularity + 1)
