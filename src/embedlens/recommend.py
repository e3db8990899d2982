"""From predictions to a list: the best movies that a user has not rated."""

from embedlens.training import predict
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
