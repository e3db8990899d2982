import numpy as np
import pandas as pd
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct, Matern, WhiteKernel

from embedlens import gaussian

RNG = np.random.default_rng(0)
N_USERS, N_MOVIES = 6, 30
ROWS = np.vstack([np.zeros(3), RNG.normal(size=(N_MOVIES, 3))])
GENRES = np.vstack([np.zeros(2), np.eye(2)[RNG.integers(0, 2, N_MOVIES)]])


def made_up(n, seed):
    rng = np.random.default_rng(seed)
    pairs = rng.choice(N_USERS * N_MOVIES, n, replace=False)
    return pd.DataFrame(
        {
            "userIdDense": pairs // N_MOVIES + 1,
            "movieIdDense": pairs % N_MOVIES + 1,
            "rating": rng.integers(1, 6, n).astype(float),
            "timestamp": rng.integers(0, 10_000, n),
        }
    )


ALL = made_up(120, 1)
TRAIN, ASKED = ALL[:90], ALL[90:]
SETTING = {"user": 0.3, "vector": 0.2, "noise": 0.7}


def by_scikit_learn(user, setting):
    """The same process for one user, in scikit-learn's kernels: of movie rows, or of time."""
    frames = [frame[frame["userIdDense"] == user] for frame in (TRAIN, ASKED)]
    if "hour" in setting:
        x = [frame[["timestamp"]].to_numpy() / 3600 for frame in frames]
        kernel = setting["hour"] * Matern(1.0, nu=0.5)
    else:
        x = [ROWS[frame["movieIdDense"]] for frame in frames]
        kernel = setting["vector"] * DotProduct(np.sqrt(setting["user"] / setting["vector"]))
    mine, asked = frames
    left = mine["rating"].to_numpy() - gaussian.expected(TRAIN, mine)
    process = GaussianProcessRegressor(kernel + WhiteKernel(setting["noise"]), optimizer=None)
    return gaussian.expected(TRAIN, asked) + process.fit(x[0], left).predict(x[1])


@pytest.mark.parametrize("setting", [SETTING, {"hour": 0.4, "noise": 0.7}])
def test_predictions_are_those_of_scikit_learn(setting):
    predicted = pd.Series(gaussian.predict(TRAIN, ASKED, setting, ROWS), ASKED["userIdDense"])
    for user in ASKED["userIdDense"].unique():
        assert np.allclose(predicted[[user]], by_scikit_learn(user, setting))


def test_each_term_changes_the_prediction_and_says_what_it_says():
    at_once = gaussian.covariance({"minute": 1.0}, 0, apart=[0, 60])
    assert np.allclose(at_once, [1, np.exp(-1)])
    assert gaussian.SCALES == {"minute": 60, "hour": 60**2, "days": 3 * 24 * 60**2}
    setting = dict.fromkeys(gaussian.TERMS, 0.1)
    apart = np.array([0.0, 60.0])
    both = gaussian.covariance(setting, 2.0, 3.0, apart)
    near = {name: np.exp(-apart / scale) for name, scale in gaussian.SCALES.items()}
    by_hand = 0.1 + 0.1 * sum(near.values()) + 2 * 0.1 * (1 + near["days"])
    assert np.allclose(both, by_hand + 3 * 0.1 * (1 + near["minute"]))
    whole = gaussian.predict(TRAIN, ASKED, setting, ROWS, GENRES)
    for term in gaussian.TERMS:
        other = gaussian.predict(TRAIN, ASKED, setting | {term: 0.2}, ROWS, GENRES)
        assert not np.allclose(whole, other), term


def test_of_two_ratings_the_nearer_in_time_counts_more():
    train = pd.DataFrame(
        {
            "userIdDense": [1, 1, 2, 2],
            "movieIdDense": [1, 2, 1, 2],
            "rating": [5.0, 1.0, 3.0, 3.0],
            "timestamp": [0, 7200, 0, 0],
        }
    )
    asked = pd.DataFrame({"userIdDense": [1, 1], "movieIdDense": [3, 3], "timestamp": [60, 7140]})
    early, late = gaussian.predict(train, asked, {"minute": 0.5, "noise": 0.5}, ROWS)
    assert early > late


def test_taste_has_the_covariance_of_the_users():
    users, movies = RNG.normal(size=(500, 3)) * [1, 2, 3], RNG.normal(size=(N_MOVIES + 1, 3))
    rows = gaussian.taste(users, movies)
    thought = (users - users.mean(axis=0)) @ movies.T
    ratio = np.cov(thought.T) / (rows @ rows.T)
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert np.mean(np.sum(rows[1:] ** 2, axis=1)) == pytest.approx(1)


def test_what_is_expected_of_anyone_is_the_mean_and_the_movies_part_of_a_ridge():
    users = pd.get_dummies(TRAIN["userIdDense"], dtype=float).to_numpy()
    movies = np.eye(N_MOVIES + 1)[TRAIN["movieIdDense"]]
    both = np.hstack([users, movies])
    mean = TRAIN["rating"].mean()
    left = both.T @ both + 3 * np.eye(both.shape[1])
    of_movie = np.linalg.solve(left, both.T @ (TRAIN["rating"] - mean))[users.shape[1] :]
    found = gaussian.expected(TRAIN, ASKED, rounds=500)
    assert found == pytest.approx(mean + of_movie[ASKED["movieIdDense"]])
    assert np.ptp(found) > 1


def test_a_stranger_gets_what_is_expected_of_anyone():
    asked = ASKED.assign(userIdDense=99)
    predicted = gaussian.predict(TRAIN, asked, SETTING, ROWS)
    assert np.array_equal(predicted, gaussian.expected(TRAIN, asked))


def test_bad_settings_and_missing_columns_are_refused():
    for setting, complaint in [
        ({"noise": 1, "moment": 1}, "no term moment; there are user, vector"),
        ({"user": 1}, "noise must be above 0"),
        ({"noise": 1, "genre": 1}, "pass genre_rows"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            gaussian.predict(TRAIN, ASKED, setting, ROWS)
    untimed = TRAIN.drop(columns="timestamp")
    with pytest.raises(ValueError, match="no timestamps"):
        gaussian.predict(untimed, ASKED, {"noise": 1, "days": 1}, ROWS)
    assert len(gaussian.predict(untimed, ASKED, SETTING, ROWS)) == len(ASKED)
