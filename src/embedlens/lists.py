"""What lists of recommendations are like: popular or not, alike or not. Taught in chapter 12."""

from embedlens.factors import MORE_THAN
import numpy as np
import pandas as pd

# Shares of the movies, from the most popular on, where the groups of `shares_by_group` end.
GROUPS = {"top 1 %": 0.01, "next 9 %": 0.1, "next 40 %": 0.5, "lower half": 1.0}
HEAD = 1 / 3  # share of the ratings that the short head holds, as in Cremonesi et al. (2010)


def counts(movies, n_movies):
    """How often each movie stands in an array of dense ids.

    Parameters
    ----------
    movies : array-like of int
        Dense ids, in any shape: of ratings, or of lists.
    n_movies : int

    Returns
    -------
    numpy.ndarray of int, shape (n_movies + 1,)
        By dense id; entry 0 belongs to nobody.
    """
    return np.bincount(np.asarray(movies).ravel(), minlength=n_movies + 1)


def gini(values):
    """Gini coefficient: 0 if all values are equal, near 1 if a single one has it all.

    Parameters
    ----------
    values : array-like, shape (n,)
        Not negative, not all zero.

    Returns
    -------
    float
    """
    values = np.sort(np.asarray(values, dtype="float64"))
    if not len(values) or values[0] < 0 or values[-1] == 0:
        raise ValueError("gini needs values of which none is negative and one is positive")
    n = len(values)
    return float((2 * np.arange(1, n + 1) - n - 1) @ values / (n * values.sum()))


def places(popularity):
    """Place of each movie by popularity, as a share of all movies: small means popular.

    Parameters
    ----------
    popularity : numpy.ndarray, shape (n_movies + 1,)
        As from `counts`, of the training ratings.

    Returns
    -------
    numpy.ndarray, shape (n_movies + 1,)
        In steps of 1 / n_movies, up to 1; of equals the lower dense id first. Entry 0 is NaN.
    """
    order = np.argsort(-popularity[1:], kind="stable")
    share = np.full(len(popularity), np.nan)
    share[1 + order] = np.arange(1, len(popularity)) / len(order)
    return share


def shares_by_group(movies, popularity):
    """Share of an array of movies that falls into each group of popularity.

    Parameters
    ----------
    movies : array-like of int
        Dense ids, in any shape.
    popularity : numpy.ndarray, shape (n_movies + 1,)

    Returns
    -------
    pandas.Series
        Indexed by the names of `GROUPS`; adds up to 1.
    """
    place = places(popularity)[np.asarray(movies).ravel()]
    groups = pd.cut(place, [0, *GROUPS.values()], labels=list(GROUPS))
    return pd.Series(groups).value_counts(normalize=True, sort=False)


def describe(lists, popularity):
    """Measure how popular the movies of lists are, and how few movies the lists share.

    Parameters
    ----------
    lists : numpy.ndarray of int, shape (n_users + 1, n)
        As from `ranking.top_n`; row 0 belongs to nobody.
    popularity : numpy.ndarray, shape (n_movies + 1,)

    Returns
    -------
    dict of str to float
        popularity: training ratings of a listed movie, on average. few: share of places that
        go to movies with at most 2 of them. top_tenth: share of places that go to the most
        popular tenth of the movies. coverage: share of all movies that stand in a list at
        all. gini: of how often each movie is listed.
    """
    lists = lists[1:]
    exposure = counts(lists, len(popularity) - 1)[1:]
    return {
        "popularity": popularity[lists].mean(),
        "few": np.mean(popularity[lists] <= 2),
        "top_tenth": np.mean(places(popularity)[lists] <= 0.1),
        "coverage": np.mean(exposure > 0),
        "gini": gini(exposure),
    }


def short_head(popularity, share=HEAD):
    """Mark the most popular movies that together hold this share of the ratings.

    Returns
    -------
    numpy.ndarray of bool, shape (n_movies + 1,)
    """
    order = np.argsort(-popularity, kind="stable")
    n = np.searchsorted(np.cumsum(popularity[order]), share * popularity.sum()) + 1
    head = np.zeros(len(popularity), dtype=bool)
    head[order[:n]] = True
    return head


def rankings(post, tuned, train_ratings):
    """Scores of every pair of user and movie, by several rules.

    Parameters
    ----------
    post, tuned : tuple of numpy.ndarray
        As from `recommend.scores`, of two models.
    train_ratings : pandas.DataFrame

    Returns
    -------
    dict of str to numpy.ndarray, shape (n_users + 1, n_movies + 1)
        A movie is the better the higher.
    """
    (stars, taste), (tuned_stars, tuned_taste) = post, tuned
    n_movies = stars.shape[1] - 1
    popularity = counts(train_ratings["movieIdDense"], n_movies)
    means = np.bincount(
        train_ratings["movieIdDense"], train_ratings["rating"], minlength=n_movies + 1
    ) / np.maximum(popularity, 1)
    return {
        "mean": np.broadcast_to(means, stars.shape),
        "popularity": np.broadcast_to(popularity.astype("float64"), stars.shape),
        "post": stars,
        "tuned": tuned_stars,
        "tuned_often": np.where(popularity > MORE_THAN, tuned_stars, 0),
        "tuned_cautious": cautious(tuned_stars, train_ratings, popularity),
        "post_taste": taste,
        "tuned_taste": tuned_taste,
    }


def cautious(stars, train_ratings, popularity):
    """Subtract from each prediction the error of a mean of so many ratings and one more.

    Parameters
    ----------
    stars : numpy.ndarray, shape (..., n_movies + 1)
    train_ratings : pandas.DataFrame
    popularity : numpy.ndarray, shape (n_movies + 1,)

    Returns
    -------
    numpy.ndarray, same shape as `stars`
    """
    return stars - train_ratings["rating"].std() / np.sqrt(popularity + 1)


def mmr(relevance, similarity, n=10, weight=0.7):
    """Re-rank by maximal marginal relevance (Carbonell and Goldstein 1998).

    Parameters
    ----------
    relevance : numpy.ndarray, shape (k,)
        Of the candidates.
    similarity : numpy.ndarray, shape (k, k)
        Of each candidate with each other.
    n : int, default 10
    weight : float, default 0.7
        1: by relevance alone; 0: as unlike what was chosen before as can be.

    Returns
    -------
    list of int
        Places of the chosen candidates, in the order in which they were chosen.
    """
    chosen, nearest = [], np.zeros(len(relevance))
    for _ in range(n):
        marginal = weight * relevance - (1 - weight) * nearest
        marginal[chosen] = -np.inf
        chosen.append(int(marginal.argmax()))
        nearest = similarity[:, chosen].max(axis=1)
    return chosen


def alike(similarity):
    """Mean similarity of the pairs of one list (Ziegler et al. 2005 take the sum).

    Parameters
    ----------
    similarity : numpy.ndarray, shape (n, n)
        Symmetric; the diagonal does not count.

    Returns
    -------
    float
    """
    return float(similarity[np.triu_indices(len(similarity), 1)].mean())


def unit_rows(vectors):
    """Scale rows to length 1, rows of zeros excepted: their products are cosines."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def genre_rows(movies):
    """Genres of each movie as a row of length 1: products are cosines of the sets.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `factors.movie_table`.

    Returns
    -------
    numpy.ndarray, shape (len(movies) + 1, genres)
        By dense id.
    """
    flags = movies["genres"].str.get_dummies("|").to_numpy("float64")
    return unit_rows(np.vstack([np.zeros(flags.shape[1]), flags]))


def diversify(candidates, stars, vectors, weight, n=10):
    """Re-rank every user's best movies by `mmr`.

    Parameters
    ----------
    candidates : numpy.ndarray of int, shape (n_users + 1, k)
        As from `ranking.top_n`.
    stars : numpy.ndarray, shape (n_users + 1, n_movies + 1)
        Predictions. Relevance is the place of a prediction between the lowest (0) and the
        highest (1) of the user's candidates.
    vectors : numpy.ndarray, shape (n_movies + 1, dim)
        As from `unit_rows`, by dense id.
    weight : float
    n : int, default 10

    Returns
    -------
    numpy.ndarray of int, shape (n_users + 1, n)
    """
    lists = np.zeros((len(candidates), n), dtype=int)
    for user, movies in enumerate(candidates):
        given, rows = stars[user, movies], vectors[movies]
        relevance = (given - given.min()) / max(np.ptp(given), 1e-12)
        lists[user] = movies[mmr(relevance, rows @ rows.T, n, weight)]
    return lists
