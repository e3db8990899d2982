import os
from pathlib import Path
import subprocess
import sys

from embedlens import data, training
from embedlens.models import DotWithBias, SimpleDot
import numpy as np
import pytest
from sklearn.metrics import root_mean_squared_error


@pytest.mark.parametrize("seed", range(5))
def test_rmse_equals_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.uniform(0.5, 5, (2, 1000))
    expected = root_mean_squared_error(truth, prediction)
    assert training.rmse(truth, prediction) == pytest.approx(expected, rel=1e-12)


def test_rmse_of_a_column_and_a_row_pairs_the_ratings():
    assert training.rmse(np.array([[1.0], [3.0]]), np.array([1.0, 1.0])) == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([1.0, 2.0], [1.0], "2 true ratings against 1 predictions"),
        ([], [], "no ratings"),
        ([1.0, np.nan], [1.0, 2.0], "not a finite number"),
        ([1.0, 2.0], [1.0, np.inf], "not a finite number"),
    ],
)
def test_rmse_refuses(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        training.rmse(truth, prediction)


def tiny_model(ratings):
    return SimpleDot(*data.count_users_and_movies(ratings), dim=8)


def test_history_is_in_stars_and_ends_where_predict_does(tiny_ratings):
    train, valid = data.train_valid_split(tiny_ratings, 0)
    training.set_seed(0)
    model = tiny_model(tiny_ratings)
    history = training.train(model, train, valid, epochs=3)
    assert history["epoch"].to_list() == [1, 2, 3]
    last = training.rmse(valid["rating"], training.predict(model, valid))
    assert history["valid_rmse"].iloc[-1] == pytest.approx(last, abs=1e-4)
    assert history["train_rmse"].is_monotonic_decreasing


def test_training_stops_two_epochs_after_the_best(tiny_ratings):
    train, valid = data.train_valid_split(tiny_ratings, 0)
    valid = valid.assign(rating=-valid["rating"])  # the better the fit, the worse this gets
    training.set_seed(0)
    history = training.train(tiny_model(tiny_ratings), train, valid, epochs=10)
    assert history["valid_rmse"].idxmin() == 0
    assert len(history) == 3


SCRIPT = """
from embedlens import data, training
import hashlib
ratings = data.prepare(data.load_movielens()).head(3000)
ratings = ratings.assign(userIdDense=data.dense_ids(ratings["userId"]),
                         movieIdDense=data.dense_ids(ratings["movieId"]))
model, history = training.trained_bias_model(ratings, seed=3)
print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
print(history["valid_rmse"].to_list())
"""


def test_two_processes_agree_to_the_bit(tmp_path):
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "EMBEDLENS_CACHE": str(tmp_path / name)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("one", "two")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 2


@pytest.mark.parametrize("name", ["dot", "bias"])
def test_fast_path_matches_plain_fit(name):
    movielens = data.load_movielens()  # a third of it: plain `fit` is slow
    ratings = data.prepare(data.MovieLens(movielens.ratings.head(33_000), movielens.movies))
    counts = data.count_users_and_movies(ratings)
    train, valid = data.train_valid_split(ratings, 0)
    ends = {}
    for fast in (True, False):
        training.set_seed(0)
        model = SimpleDot(*counts) if name == "dot" else DotWithBias(*counts, 0.5, 5.0)
        history = training.train(model, train, valid, epochs=2, fast=fast)
        ends[fast] = history["valid_rmse"].iloc[-1]
    assert abs(ends[True] - ends[False]) < 0.003, ends


@pytest.fixture
def count_trainings(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path))
    calls = []

    def counted(*arguments, train=training.train, **options):
        calls.append(1)
        return train(*arguments, epochs=1, fast=False, **options)

    monkeypatch.setattr(training, "train", counted)
    return calls


def test_cache_gives_the_same_model_without_training(tiny_ratings, count_trainings):
    first, first_history = training.trained_bias_model(tiny_ratings, 0)
    second, second_history = training.trained_bias_model(tiny_ratings, 0)
    assert len(count_trainings) == 1
    assert first_history.equals(second_history)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_cache_is_not_used_for_other_data_or_seed(tiny_ratings, count_trainings):
    training.trained_bias_model(tiny_ratings, 0)
    training.trained_bias_model(tiny_ratings, 1)
    assert len(count_trainings) == 2
    other = tiny_ratings.copy()
    other.loc[0, "rating"] = 5.5 - other.loc[0, "rating"]
    training.trained_bias_model(other, 0)
    assert len(count_trainings) == 3


def test_cache_is_not_used_after_a_change_of_code(tiny_ratings, count_trainings, monkeypatch):
    training.trained_bias_model(tiny_ratings, 0)
    monkeypatch.setattr(training, "fingerprint", lambda: "other code")
    training.trained_bias_model(tiny_ratings, 0)
    assert len(count_trainings) == 2


def test_fingerprint_follows_the_code(monkeypatch, tmp_path):
    for source in Path(training.__file__).parent.glob("*.py"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(training, "__file__", str(tmp_path / "training.py"))
    before = training.fingerprint()
    with (tmp_path / "models.py").open("a") as file:
        file.write("# changed\n")
    assert training.fingerprint() != before


@pytest.mark.filterwarnings("ignore:.*Exception while loading results")
def test_damaged_cache_is_trained_anew(tiny_ratings, count_trainings, tmp_path):
    training.trained_bias_model(tiny_ratings, 0)
    stored = list(tmp_path.rglob("output.pkl"))
    assert len(stored) == 1
    stored[0].write_bytes(stored[0].read_bytes()[:100])
    training.trained_bias_model(tiny_ratings, 0)
    assert len(count_trainings) == 2
