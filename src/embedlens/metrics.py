"""How good predictions and lists are: RMSE, intervals over runs, measures of ranked lists."""

import numpy as np
import pandas as pd

RELEVANT = 4.0  # stars from which on a rating counts as a hit
# Shares of the movies, from the most popular on, where the groups of `shares_by_group` end.
GROUPS = {"top 1 %": 0.01, "next 9 %": 0.1, "next 40 %": 0.5, "lower half": 1.0}
HEAD = 1 / 3  # share of the ratings that the short head holds, as in Cremonesi et al. (2010)


def rmse(truth, prediction):
    """Root mean squared error, in stars.

    Raises
    ------
    ValueError
        If the two differ in length, are empty, or hold a value that is not finite.
    """
    truth = np.asarray(truth, dtype="float64").ravel()
    prediction = np.asarray(prediction, dtype="float64").ravel()
    if truth.shape != prediction.shape:
        raise ValueError(f"{truth.size:,} true ratings against {prediction.size:,} predictions")
    if truth.size == 0:
        raise ValueError("no ratings to compare")
    if not (np.isfinite(truth).all() and np.isfinite(prediction).all()):
        raise ValueError("a rating or a prediction is not a finite number")
    return float(np.sqrt(np.mean((truth - prediction) ** 2)))


def mean_interval(values, level=0.95, valid_share=0.0):
    """Mean of a few runs with its confidence interval (Student's t).

    Parameters
    ----------
    values : array-like, shape (n,)
        One value per seed or split; for a gain, the differences on the same ones.
    level : float, default 0.95
    valid_share : float, default 0
        Where the values come from random splits of the same ratings: the share of a split that is
        validated on. Such splits train on much the same ratings, so their spread says too little
        of other ratings; the interval becomes wider, by Nadeau and Bengio (2003).

    Returns
    -------
    mean, low, high : float

    Raises
    ------
    ValueError
        If there are fewer than two values, one is not finite, or the share is not one.
    """
    values = _runs(values)
    if values.size < 2:
        raise ValueError(f"an interval needs two values or more, not {values.size}")
    if not 0 <= valid_share < 1:
        raise ValueError(f"valid_share is {valid_share}, not a share from 0 to below 1")
    variance = 1 / values.size + valid_share / (1 - valid_share)
    return float(values.mean()), *_interval(values, level, variance)


def is_equivalent(values, margin, valid_share=0.0):
    """Whether a mean difference is so small that it does not matter: two one-sided tests at 5 %.

    Parameters
    ----------
    values : array-like, shape (n,)
        Differences on the same splits, two or more.
    margin : float
        From which size on a difference would matter; fixed before the values are looked at.
    valid_share : float, default 0
        As in `mean_interval`.

    Returns
    -------
    bool
        Whether the 90 % interval of the mean lies within the margin (Schuirmann 1987).
    """
    _, low, high = mean_interval(values, 0.9, valid_share)
    return bool(-margin < low <= high < margin)


def variance_components(values):
    """Take the scatter of runs apart, where every split was trained with every seed.

    Parameters
    ----------
    values : array-like, shape (n_splits, n_seeds)
        Two splits and two seeds at least.

    Returns
    -------
    dict of str to float
        Variances, by the method of moments, none below zero: ``split``, ``seed``, and ``rest``,
        what neither says alone. Their sum is the variance of a run with another split and seed.

    Raises
    ------
    ValueError
        If there are too few splits or seeds, or a value is not finite.
    """
    values = np.asarray(values, dtype="float64")
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ValueError("components of variance need two splits by two seeds, all values finite")
    n_splits, n_seeds = values.shape
    by_split, by_seed = values.mean(axis=1), values.mean(axis=0)
    left = values - by_split[:, None] - by_seed + values.mean()
    rest = np.sum(left**2) / ((n_splits - 1) * (n_seeds - 1))
    return {
        "split": float(max(by_split.var(ddof=1) - rest / n_seeds, 0)),
        "seed": float(max(by_seed.var(ddof=1) - rest / n_splits, 0)),
        "rest": float(rest),
    }


def run_interval(values, level=0.95, runs=1):
    """Interval that holds the mean of `runs` more runs with probability `level`.

    Parameters
    ----------
    values : array-like, shape (n,) or (n_splits, n_seeds)
        Results of n runs; treated as normal. A single one stands for what never varies. Of a
        table, the runs scatter by all its `variance_components`, known from n_splits splits.
    level : float, default 0.95
    runs : int, default 1
        Each on a split of its own.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If there is no value, or one is not finite.
    """
    sd = None
    if np.ndim(values) == 2:
        sd, values = np.sqrt(sum(variance_components(values).values())), np.mean(values, axis=1)
    values = _runs(values)
    return _interval(values, level, 1 / runs + 1 / values.size, sd)


def user_interval(by_user, statistic, level=0.95, draws=2000, seed=0):
    """Interval of a measure over users: bootstrap of whole users (Efron and Tibshirani 1993).

    Parameters
    ----------
    by_user : array-like, shape (n_users, k)
        What each user adds to k sums, such as the number of ratings and their squared errors.
    statistic : callable
        Gives the measure for sums of shape (..., k): an array of shape (...).
    level : float, default 0.95
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    value, low, high : float
        Of all users; percentiles of the draws.

    Raises
    ------
    ValueError
        If there are fewer than two users, or a value is not finite.
    """
    by_user = np.asarray(by_user, dtype="float64")
    if by_user.ndim != 2 or len(by_user) < 2 or not np.isfinite(by_user).all():
        raise ValueError("the bootstrap needs two users or more, a row of finite numbers each")
    n = len(by_user)
    often = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    drawn = statistic(often @ by_user)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(statistic(by_user.sum(axis=0))), float(low), float(high)


def _runs(values):
    values = np.asarray(values, dtype="float64").ravel()
    if not values.size or not np.isfinite(values).all():
        raise ValueError("an interval needs finite values, one at least")
    return values


def _interval(values, level, share, sd=None):
    """Student's t around the mean; `share`: variance of what is asked for, by that of a run."""
    if sd is None:
        sd = values.std(ddof=1) if values.size > 1 else 0.0
    if sd == 0:
        return float(values.mean()), float(values.mean())
    from scipy import stats  # takes longer to import than all else here

    found = stats.t.interval(level, values.size - 1, values.mean(), sd * np.sqrt(share))
    return float(found[0]), float(found[1])


def measures_at(lists, valid_ratings, relevant=RELEVANT):
    """Measure lists against what the users liked among the ratings that were set aside.

    Parameters
    ----------
    lists : numpy.ndarray of int, shape (n_users + 1, n)
        As from `recommend.top_n`.
    valid_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    relevant : float, default 4
        A movie counts as a hit if the user rated it with so many stars or more.

    Returns
    -------
    pandas.DataFrame
        One row per user with at least one hit to find, indexed by dense user id; none if
        there is no such user. precision (hits by n), recall (hits by all that could be
        found), ndcg (hits discounted by the logarithm of their place, by the best possible
        order).

    Raises
    ------
    ValueError
        If the lists have no place, or a user of the ratings has no list.
    """
    n = lists.shape[1]
    if n == 0:
        raise ValueError("the lists have no place to measure")
    discounts = 1 / np.log2(np.arange(2, n + 2))
    liked = valid_ratings[valid_ratings["rating"] >= relevant]
    unknown = sorted(set(liked["userIdDense"]) - set(range(1, len(lists))))
    if unknown:
        raise ValueError(f"user {unknown[0]} has no list: there are {len(lists) - 1:,}")
    rows = {}
    for user, movies in liked.groupby("userIdDense")["movieIdDense"]:
        hits = np.isin(lists[user], movies)
        rows[user] = {
            "precision": hits.mean(),
            "recall": hits.sum() / len(movies),
            "ndcg": hits @ discounts / discounts[: len(movies)].sum(),
        }
    measures = ["precision", "recall", "ndcg"]
    return pd.DataFrame(list(rows.values()), list(rows), measures, dtype="float64")


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

    Raises
    ------
    ValueError
        If an id lies outside.
    """
    movies = np.asarray(movies, dtype="int64").ravel()
    if movies.size and not 0 <= movies.min() <= movies.max() <= n_movies:
        raise ValueError(f"movies {movies.min()} to {movies.max()} are not within 0 to {n_movies}")
    return np.bincount(movies, minlength=n_movies + 1)


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
    if not len(values) or not values[0] >= 0 or not 0 < values[-1] < np.inf:
        raise ValueError("gini needs finite values: none negative, and one positive")
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
    share[1 + order] = np.arange(1, len(popularity)) / max(len(order), 1)
    return share


def shares_by_group(movies, popularity):
    """Share of an array of movies that falls into each group of popularity.

    Parameters
    ----------
    movies : array-like of int
        Dense ids, in any shape, one at least.
    popularity : numpy.ndarray, shape (n_movies + 1,)

    Returns
    -------
    pandas.Series
        Indexed by the names of `GROUPS`; adds up to 1.
    """
    place = places(popularity)[np.asarray(movies, dtype="int64").ravel()]
    if not np.isfinite(place).all() or not place.size:
        raise ValueError("no movies to group, or the id 0, which belongs to nobody")
    groups = pd.cut(place, [0, *GROUPS.values()], labels=list(GROUPS))
    return pd.Series(groups).value_counts(normalize=True, sort=False)


def describe(lists, popularity):
    """Measure how popular the movies of lists are, and how few movies the lists share.

    Parameters
    ----------
    lists : numpy.ndarray of int, shape (n_users + 1, n)
        As from `recommend.top_n`; row 0 belongs to nobody. One user and place at least.
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
    if not lists.size:
        raise ValueError("no lists to describe")
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


def alike(similarity):
    """Mean similarity of the pairs of one list (Ziegler et al. 2005 take the sum).

    Parameters
    ----------
    similarity : numpy.ndarray, shape (n, n)
        Symmetric; the diagonal does not count. Two movies at least.

    Returns
    -------
    float
    """
    if len(similarity) < 2:
        raise ValueError("a list needs two movies to have a pair")
    return float(similarity[np.triu_indices(len(similarity), 1)].mean())
