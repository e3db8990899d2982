"""Made-up ratings of any number, as MovieLens might have them, with a known truth.

To measure how cost grows, and to see whether training finds what was planted.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import optimize, special
from tqdm import tqdm

from embedlens.movielens.files import HIGHEST_RATING, LOWEST_RATING, RATING_STEP

# Of each release: ratings, users, rated movies.
RELEASES = [
    [100_004, 671, 9_066],
    [1_000_209, 6_040, 3_706],
    [10_000_054, 69_878, 10_677],
    [25_000_095, 162_541, 59_047],
    [32_000_204, 200_948, 84_432],
]
# Stars; the overall spread is that of the embedded ratings.
MEAN, USER_SD, MOVIE_SD, DOT_SD, NOISE_SD = 3.5, 0.4, 0.45, 0.45, 0.75
LEAST = 20  # ratings of a user, as GroupLens chose them
USER_SPREAD = 1.4  # of the logarithm of a user's ratings beyond the least
# The share of users who rate the movie of rank r is TOP_SHARE * exp(-c * r**DECLINE). Both
# constants are read off the embedded ratings; c follows from the number of ratings.
TOP_SHARE, DECLINE = 0.5, 0.4
CHUNK = 1_000_000  # ratings


@dataclass(frozen=True)
class Planted:
    """What the ratings were made from. Row 0 of each array belongs to nobody.

    Attributes
    ----------
    user_bias, movie_bias : numpy.ndarray, shape (n + 1,)
        float32, in stars.
    user_factors, movie_factors : numpy.ndarray, shape (n + 1, dim)
        float32; their dot product is in stars.
    """

    user_bias: np.ndarray
    movie_bias: np.ndarray
    user_factors: np.ndarray
    movie_factors: np.ndarray

    def rating(self, ratings):
        """Rating before noise and rounding, per row of `ratings`: float32, shape (n,), in stars."""
        users, movies = (ratings[name].to_numpy() for name in ("userIdDense", "movieIdDense"))
        truth = MEAN + self.user_bias[users] + self.movie_bias[movies]
        for of_users, of_movies in zip(self.user_factors.T, self.movie_factors.T, strict=True):
            truth += of_users[users] * of_movies[movies]
        return truth


def size_of_release(n_ratings):
    """Return how many users and movies a release of `n_ratings` would have.

    Both follow straight lines in logarithms through the real releases. The movies' numbers are
    taken as they are: they fall from 9,066 to 3,706 between a hundred thousand and a million
    ratings, where GroupLens chose otherwise, and grow from there. Outside the releases both
    follow the square root of the ratings, so that the table of ratings stays as full.

    Returns
    -------
    n_users, n_movies : int

    Raises
    ------
    ValueError
        If there is not one rating.
    """
    if n_ratings < 1:
        raise ValueError(f"{n_ratings:,} ratings: there must be one at least")
    logs = np.log(RELEASES).T
    log_n = np.log(n_ratings)
    beyond = (log_n - np.clip(log_n, logs[0, 0], logs[0, -1])) / 2
    users, movies = (round(np.exp(np.interp(log_n, logs[0], log) + beyond)) for log in logs[1:])
    return users, movies


def generate(n_ratings, seed, n_users=None, n_movies=None, dim=8, noise=NOISE_SD):
    """Make ratings with long tails: few users and movies with very many, many with few.

    A rating is mean + bias of the user + bias of the movie + dot product of their factors +
    noise, all normal, rounded to half stars. Users pick movies by popularity, each movie once,
    and without regard to how much they will like it.

    Parameters
    ----------
    n_ratings : int
    seed : int
        The same seed gives the same ratings.
    n_users, n_movies : int, optional
        Default: as `size_of_release` says.
    dim : int, default 8
        Length of the planted factors.
    noise : float, default 0.75
        Standard deviation in stars.

    Returns
    -------
    ratings : pandas.DataFrame
        One row per rating, by user: userIdDense, movieIdDense (int32, from 1, each id with at
        least one rating) and rating (float32, 0.5 to 5). A user has at least 20 ratings, or,
        where they do not suffice for that, an equal share.
    planted : Planted

    Raises
    ------
    ValueError
        If there are fewer ratings than users or movies, or so many that users would have to
        rate more than 40 % of the movies on average.

    Notes
    -----
    25 million ratings take less than a minute, and 0.6 GB beside what the libraries take.
    """
    default_users, default_movies = size_of_release(n_ratings)
    n_users = default_users if n_users is None else n_users
    n_movies = default_movies if n_movies is None else n_movies
    least, most = max(n_users, n_movies), int(0.4 * n_users * n_movies)
    if not least <= n_ratings <= most:
        raise ValueError(
            f"{n_users:,} users and {n_movies:,} movies can have {least:,} to {most:,} ratings, "
            f"not {n_ratings:,}; change n_users and n_movies"
        )
    rng = np.random.default_rng(seed)
    planted = _plant(rng, n_users, n_movies, dim)
    counts = _ratings_per_user(rng, n_ratings, n_users, n_movies)
    users = np.repeat(np.arange(1, n_users + 1, dtype="int32"), counts)
    movies = _pick_movies(rng, counts, _weights(rng, counts, n_movies))
    _use_every_movie(rng, movies, n_movies)
    ratings = pd.DataFrame({"userIdDense": users, "movieIdDense": movies}, copy=False)
    rating = planted.rating(ratings)
    rating += noise * rng.standard_normal(n_ratings, "float32")
    rating = np.round(rating / RATING_STEP) * RATING_STEP
    ratings["rating"] = np.clip(rating, LOWEST_RATING, HIGHEST_RATING)
    return ratings, planted


def _plant(rng, n_users, n_movies, dim):
    def normal(sd, *shape):
        return rng.standard_normal(shape, "float32") * np.float32(sd)

    factor_sd = np.sqrt(DOT_SD) / dim**0.25
    return Planted(
        user_bias=normal(USER_SD, n_users + 1),
        movie_bias=normal(MOVIE_SD, n_movies + 1),
        user_factors=normal(factor_sd, n_users + 1, dim),
        movie_factors=normal(factor_sd, n_movies + 1, dim),
    )


def _ratings_per_user(rng, n_ratings, n_users, n_movies):
    """Log-normal beyond the least number, nobody beyond half of the movies."""
    most = -(-n_movies // 2)
    least = min(LEAST, most, n_ratings // n_users)
    quantiles = (rng.permutation(n_users) + 0.5) / n_users
    beyond = np.exp(USER_SPREAD * special.ndtri(quantiles))

    def numbers(log_scale):
        return np.minimum(least + np.exp(log_scale) * beyond, most)

    log_scale = optimize.brentq(lambda s: numbers(s).sum() - n_ratings, -50, 50)
    ends = np.floor(np.cumsum(numbers(log_scale)) + 0.5 / n_users)
    ends[-1] = n_ratings
    return np.diff(ends, prepend=0).astype("int64")


def _weights(rng, counts, n_movies):
    """Chance of each movie in one pick, so that about the wanted share of users has it."""
    ranks = np.arange(1, n_movies + 1) ** DECLINE

    def shares(c):
        return TOP_SHARE * np.exp(-c * ranks)

    c = optimize.brentq(lambda c: shares(c).sum() - counts.mean(), 0, 50)
    some = np.quantile(counts, (np.arange(500) + 0.5) / 500)
    chances = np.geomspace(1e-12, 1, 500)
    have_it = -np.expm1(-np.outer(chances, some)).mean(axis=1)
    weights = np.interp(shares(c), have_it, chances)
    return rng.permutation(weights / weights.sum())


def _pick_movies(rng, counts, weights):
    """Movies of all users, from 1, user by user, none twice for a user: int32."""
    movies = np.empty(counts.sum(), "int32")
    ends = np.cumsum(counts)
    cuts = [*np.unique(np.searchsorted(ends, np.arange(0, ends[-1], CHUNK))), len(counts)]
    with tqdm(total=len(movies), unit="rating", unit_scale=True, disable=len(cuts) < 3) as bar:
        for first, last in pairwise(cuts):
            picked = _pick_for_some(rng, counts[first:last], weights)
            start = ends[first] - counts[first]
            movies[start : start + len(picked)] = picked
            bar.update(len(picked))
    return movies


def _pick_for_some(rng, counts, weights):
    """Pick at random, and again what a user has already. Keys: user * n_movies + movie."""
    n_movies = len(weights)
    many = counts > n_movies / 20  # these would pick again and again
    keys = [
        user * n_movies + _pick_for_one(rng, counts[user], weights) for user in np.flatnonzero(many)
    ]
    keys = np.sort(np.concatenate([np.empty(0, "int64"), *keys]))
    cumulated = np.cumsum(weights)
    cumulated /= cumulated[-1]
    while len(keys) < counts.sum():
        missing = counts - np.bincount(keys // n_movies, minlength=len(counts))
        users = np.repeat(np.arange(len(counts)), missing)
        picks = np.searchsorted(cumulated, rng.random(len(users)), side="right")
        keys = np.concatenate([keys, users * n_movies + picks])
        keys.sort(kind="stable")  # of two parts, the first in order already
        keys = keys[np.diff(keys, prepend=-1) > 0]  # np.unique is many times slower here
    return keys % n_movies + 1


def _pick_for_one(rng, count, weights):
    """All picks at once: a race in which the movies arrive by their weights."""
    arrivals = rng.standard_exponential(len(weights)) / weights
    return np.argpartition(arrivals, count)[:count]


def _use_every_movie(rng, movies, n_movies):
    """Give each movie that nobody picked one rating of a movie with several, in place."""
    last_row = np.full(n_movies + 1, -1)
    last_row[movies] = np.arange(len(movies))
    unused = np.flatnonzero(last_row[1:] < 0) + 1
    spare = np.ones(len(movies), "bool")
    spare[last_row[last_row >= 0]] = False
    rows = rng.choice(np.flatnonzero(spare), len(unused), replace=False)
    movies[rows] = unused
