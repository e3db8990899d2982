"""A Gaussian process for each user: the movies' vectors are given, the user is solved exactly.

What a user's ratings leave of what is expected of anyone is taken as jointly normal. How far two of
them go together depends on their movies and on the time between them (`covariance`). Then the best
guess of a rating is linear in the user's other ratings, averaged over all users that these allow.
Without the terms of time this is ridge regression as in `foldin`. Rasmussen and Williams (2006),
chapter 2.
"""

import numpy as np

from embedlens import data

# Seconds after which what two ratings share has fallen by the factor e.
SCALES = {"minute": 60, "hour": 3600, "days": 3 * 86_400}
# Variances, in squared stars: of what a user shares with all of the own ratings, with those of like
# movies and genres, with those near in time, with both; and of a single rating.
IDS_ALONE = ("user", "vector", "noise")
TERMS = (*IDS_ALONE, "genre", *SCALES, "vector_days", "genre_minute")


def taste(user_vectors, movie_vectors):
    """Movie vectors whose dot product is the covariance of what users think of two movies.

    Parameters
    ----------
    user_vectors : numpy.ndarray, shape (n_users, dim)
    movie_vectors : numpy.ndarray, shape (n_movies + 1, dim)
        By dense id; row 0 is unused.

    Returns
    -------
    numpy.ndarray, shape (n_movies + 1, dim)
        Scaled so that the mean squared length is 1.
    """
    spread = np.cov(user_vectors.T) + 1e-9 * np.eye(user_vectors.shape[1])
    rows = movie_vectors @ np.linalg.cholesky(spread)
    return rows / np.sqrt(np.mean(np.sum(rows[1:] ** 2, axis=1)))


def covariance(setting, alike, in_genre=0.0, apart=np.inf):
    """Covariance of two ratings of a user, beside the noise of each.

    Parameters
    ----------
    setting : dict of str to float
        Variances by the names of `TERMS`; what is absent is 0.
    alike, in_genre : array-like
        Dot products of the movies' rows as from `taste`, and of their genres.
    apart : array-like
        Seconds between the two.

    Returns
    -------
    numpy.ndarray
        In squared stars.
    """
    of = {term: setting.get(term, 0.0) for term in TERMS}
    near = {name: np.exp(-np.asarray(apart) / scale) for name, scale in SCALES.items()}
    return (
        of["user"]
        + sum(of[name] * near[name] for name in SCALES)
        + alike * (of["vector"] + of["vector_days"] * near["days"])
        + in_genre * (of["genre"] + of["genre_minute"] * near["minute"])
    )


def expected(train_ratings, ratings, shrink=3.0, rounds=20):
    """What is expected of any user: the mean rating and the movie's bias, in stars.

    Parameters
    ----------
    train_ratings, ratings : pandas.DataFrame
        To learn from, and to predict.
    shrink : float
        A bias is a sum of residuals over their number plus this. User biases are fitted along,
        and left out.
    rounds : int

    Returns
    -------
    numpy.ndarray, shape (len(ratings),)
    """
    users, movies = data.inputs(train_ratings).T
    stars, asked = train_ratings["rating"].to_numpy("float64"), ratings["movieIdDense"].to_numpy()
    mean, n_rows = stars.mean(), 1 + max(movies.max(), asked.max(initial=0))
    of_movie = np.zeros(n_rows)
    for _ in range(rounds):
        left = stars - mean - of_movie[movies]
        of_user = np.bincount(users, left) / (np.bincount(users) + shrink)
        left = stars - mean - of_user[users]
        of_movie = np.bincount(movies, left, n_rows) / (
            np.bincount(movies, minlength=n_rows) + shrink
        )
    return mean + of_movie[asked]


def predict(train_ratings, ratings, setting, movie_rows, genre_rows=None):
    """Predict ratings by their users' training ratings.

    Parameters
    ----------
    train_ratings, ratings : pandas.DataFrame
        With timestamps, if the setting has a term of time.
    setting : dict of str to float
        As in `covariance`; noise above 0.
    movie_rows : numpy.ndarray, shape (n_movies + 1, dim)
        As from `taste`, of vectors learnt from `train_ratings` alone.
    genre_rows : numpy.ndarray, shape (n_movies + 1, n_genres), optional
        Of length 1, or 0 where no genre is known.

    Returns
    -------
    numpy.ndarray of float64, shape (len(ratings),)
        In stars. A user without training ratings gets what is `expected`.

    Raises
    ------
    ValueError
        If a term of the setting is unknown, noise is not above 0, or times or genres are missing.
    """
    unknown = set(setting) - set(TERMS)
    if unknown:
        raise ValueError(f"no term {', '.join(sorted(unknown))}; there are {', '.join(TERMS)}")
    if not setting.get("noise", 0) > 0:
        raise ValueError(f"the noise must be above 0, not {setting.get('noise', 0)}")
    timed = any(setting.get(term) for term in (*SCALES, "vector_days", "genre_minute"))
    for frame in (train_ratings, ratings):
        if timed and "timestamp" not in frame:
            raise ValueError("no timestamps: read them with data.prepared(timestamps=True)")
    if genre_rows is None and (setting.get("genre") or setting.get("genre_minute")):
        raise ValueError("the setting has a term of genres: pass genre_rows")
    predicted = expected(train_ratings, ratings)
    left = train_ratings["rating"].to_numpy("float64") - expected(train_ratings, train_ratings)
    movies, asked = (frame["movieIdDense"].to_numpy() for frame in (train_ratings, ratings))
    times = [
        frame["timestamp"].to_numpy("float64") if timed else np.zeros(len(frame))
        for frame in (train_ratings, ratings)
    ]
    places = train_ratings.groupby("userIdDense").indices
    for user, rows in ratings.groupby("userIdDense").indices.items():
        given = places.get(user)
        if given is None:
            continue
        both = np.r_[movies[given], asked[rows]]
        when = np.r_[times[0][given], times[1][rows]]
        alike = movie_rows[both] @ movie_rows[movies[given]].T
        in_genre = 0.0 if genre_rows is None else genre_rows[both] @ genre_rows[movies[given]].T
        apart = np.abs(when[:, None] - times[0][given]) if timed else np.inf
        shared = covariance(setting, alike, in_genre, apart)
        known, new = np.split(shared, [len(given)])
        known[np.diag_indices(len(given))] += setting["noise"]
        predicted[rows] += new @ np.linalg.solve(known, left[given])
    return predicted
