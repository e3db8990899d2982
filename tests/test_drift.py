import numpy as np
import pandas as pd
import pytest

from embedlens import data, drift


@pytest.fixture
def ratings():
    """Two users, five movies; times in seconds."""
    rows = [
        (1, 1, 4.0, 0),
        (1, 2, 5.0, 10),
        (1, 3, 2.0, 10_000),
        (2, 1, 3.0, 5),
        (2, 3, 3.0, 20),
        (1, 4, 3.5, 10),
        (2, 5, 1.0, 5),
    ]
    columns = ["userIdDense", "movieIdDense", "rating", "timestamp"]
    return pd.DataFrame(rows, columns=columns, index=range(100, 107))


def by_hand(train, row, scale, pull, past_only=False):
    left = drift.residuals(train)
    total = weights = 0.0
    for residual, (index, other) in zip(left, train.iterrows(), strict=True):
        apart = row["timestamp"] - other["timestamp"]
        if other["userIdDense"] != row["userIdDense"] or index == row.name:
            continue
        if past_only and apart < 0:
            continue
        weight = np.exp(-abs(apart) / scale)
        total, weights = total + weight * residual, weights + weight
    return total / (weights + pull)


@pytest.mark.parametrize("past_only", [False, True])
def test_drift_is_the_weighted_mean_of_the_others_residuals(ratings, past_only):
    train = ratings.iloc[:5]
    found = drift.user_drift(train, ratings, scales=(10, 3600), pull=2, past_only=past_only)
    assert found.shape == (7, 2)
    for place, (_, row) in enumerate(ratings.iterrows()):
        for column, scale in enumerate((10, 3600)):
            expected = by_hand(train, row, scale, 2, past_only)
            assert found[place, column] == pytest.approx(expected, abs=1e-6)
    assert np.abs(found).max() > 0.1


def test_scales_go_from_ten_seconds_to_thirty_days():
    minute, hour, day = 60, 60 * 60, 24 * 60 * 60
    assert (10, minute, 10 * minute, hour, day, 30 * day) == drift.SCALES


def test_residuals_by_hand(ratings):
    left = ratings["rating"] - ratings["rating"].mean()
    movie_1 = (left.iloc[0] + left.iloc[3]) / (2 + 5)
    after_movie = left.copy()
    for movie in range(1, 6):
        rows = ratings["movieIdDense"] == movie
        after_movie[rows] -= left[rows].sum() / (rows.sum() + 5)
    assert after_movie.iloc[0] == pytest.approx(left.iloc[0] - movie_1)
    of_user = ratings["userIdDense"] == 1
    expected = after_movie.iloc[0] - after_movie[of_user].sum() / (of_user.sum() + 5)
    assert drift.residuals(ratings)[0] == pytest.approx(expected)


def test_user_without_training_ratings_has_none(ratings):
    train = ratings[ratings["userIdDense"] == 1]
    assert (drift.user_drift(train, ratings)[[3, 4, 6]] == 0).all()


def test_timestamps_are_needed(ratings):
    with pytest.raises(ValueError, match="no timestamps: read them with"):
        drift.user_drift(ratings.drop(columns="timestamp"), ratings)


def test_inputs_hold_ids_and_drift(ratings):
    (described,) = drift.with_drift(ratings)
    ids, values = drift.inputs(described)
    assert ids.tolist() == data.inputs(ratings).tolist()
    np.testing.assert_array_equal(values, drift.user_drift(ratings, ratings))
    assert values.dtype == "float32"


def test_snapshot_has_timestamps_and_the_same_rows():
    with_time, plain = data.prepared(timestamps=True), data.prepared()
    assert with_time.drop(columns="timestamp").equals(plain)
    assert with_time["timestamp"].iloc[0] == 1_260_759_144
    assert pd.to_datetime(with_time["timestamp"], unit="s").dt.year.between(1995, 2016).all()
