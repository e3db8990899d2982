"""From predictions to a list: the best movies that a user has not rated."""

from embedlens.training import predict
import numpy as np
import pandas as pd


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
        movieIdDense, title, n_ratings, predicted (stars), best first.

    Raises
    ------
    ValueError
        If the user is unknown.
    """
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
    users, movies, user_bias, movie_bias = (
        layer.get_weights()[0].astype("float64")
        for layer in (
            model.user_embedding,
            model.movie_embedding,
            model.user_bias,
            model.movie_bias,
        )
    )
    shares = 1 / (1 + np.exp(-(users @ movies.T + user_bias + movie_bias.T)))
    stars = model.min_rating + (model.max_rating - model.min_rating) * shares
    return stars, (users - users[1:].mean(axis=0)) @ movies.T
