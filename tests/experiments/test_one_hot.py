from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments, metrics, recipes
from embedlens.experiments import one_hot, search

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/one_hot.json"
ALL = {"batch_size": 16, "learning_rate": 0.01, "epochs": 2, "bias_penalty": 0.0}
NETWORK = {**ALL, "penalty": 0.0, "units": 3, "layers": 2}
SIZES = (4, 5)
X = np.array([[1, 5], [3, 2], [1, 2]], "int32")


def test_encoder_has_a_column_per_user_and_per_movie():
    encoded = one_hot.encoder((2, 3)).transform(np.array([[1, 3], [2, 1]])).toarray()
    assert encoded.tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    with pytest.raises(ValueError, match="unknown categories"):
        one_hot.encoder((2, 3)).transform(np.array([[1, 4]]))


def test_ridge_solves_the_normal_equations(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    encoded = one_hot.encoder(sizes).transform(data.inputs(tiny_ratings)).toarray()
    wide = np.hstack([encoded, np.ones((len(encoded), 1))])
    price = np.diag([2.5] * encoded.shape[1] + [0.0])  # the intercept goes free
    weights = np.linalg.solve(wide.T @ wide + price, wide.T @ tiny_ratings["rating"])
    ours = one_hot.ridge(sizes, tiny_ratings, 2.5)(tiny_ratings)
    np.testing.assert_allclose(ours, wide @ weights, atol=1e-4)


def test_ridge_knows_no_other_ids(tiny_ratings):
    with pytest.raises(ValueError, match="movieIdDense outside 1 to 14"):
        one_hot.ridge((12, 14), tiny_ratings, 1.0)
    few = tiny_ratings[tiny_ratings["movieIdDense"] < 15]
    predict = one_hot.ridge((12, 14), few, 1.0)
    assert len(predict(few)) == len(few)
    assert len(predict(few[:0])) == 0
    with pytest.raises(ValueError, match="movieIdDense outside 1 to 14"):
        predict(tiny_ratings)


def test_bins_count_training_ratings_of_the_movie():
    counts = [0, 1, 2, 3, 20, 21, 150]
    train = pd.DataFrame({"movieIdDense": np.repeat(range(1, 8), counts)})
    bins = one_hot.frequency_bins(train, pd.DataFrame({"movieIdDense": range(1, 8)}))
    assert bins.tolist() == [0, 1, 1, 2, 4, 5, 7]


@pytest.mark.parametrize(
    ("name", "setting", "further"),
    [
        ("biases", ALL, 0),
        ("one-hot network", NETWORK, 29 * 3 + 3 + 12 + 3),
        ("embedding network", {**NETWORK, "dim": 2}, 29 * 2 + 4 * 3 + 3 + 12 + 3),
        ("product network", {**NETWORK, "dim": 2}, 29 * 2 + 2 * 3 + 3 + 12 + 3),
        ("dot product", {**ALL, "dim": 2, "vector_penalty": 0.0}, 29 * 2),
    ],
)
def test_parameters_are_those_of_the_tables_and_layers(name, setting, further):
    recipe = one_hot.recipe(name, setting)
    model = recipe(12, 15)
    model(X)
    assert model.count_params() == 29 + further
    assert recipe.training == recipes.Training(2, 16, None, 0.01, True)


def test_the_dot_product_is_the_tuned_model():
    assert one_hot.recipe("dot product", one_hot.best(None, "dot product")) == recipes.TUNED


def test_ridge_learns(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    predict, parameters, seconds = one_hot.train("ridge", {"penalty": 0.1}, sizes, tiny_ratings, 0)
    rmse = metrics.rmse(tiny_ratings["rating"], predict(tiny_ratings))
    assert rmse < 0.95 * tiny_ratings["rating"].std()
    assert parameters == 28
    assert seconds > 0


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="where JAX is, it trains")
def test_networks_need_jax(tiny_ratings):
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=jax"):
        one_hot.train("biases", ALL, (12, 15), tiny_ratings, 0)


def test_an_unknown_model_is_refused(tiny_ratings):
    with pytest.raises(ValueError, match="no model 'dense'; there are ridge, biases"):
        one_hot.train("dense", ALL, (12, 15), tiny_ratings, 0)


@pytest.fixture
def faked(monkeypatch, tmp_path):
    """Report of a run in which nothing is trained, and the ratings that its search saw."""
    seen = []

    def train(name, setting, sizes, train_ratings, seed):
        def predict(judged):
            seen.append(np.sort(np.r_[train_ratings.index, judged.index]))
            off = abs(np.log(setting.get("penalty", setting.get("bias_penalty")) / 2))
            return judged["rating"] + off

        return predict, 0, 0.0

    found = {"rmse": 1.0, "by_bin": [1.0], "parameters": 1, "seconds": 1.0}
    with monkeypatch.context() as patch:
        patch.setattr(one_hot, "train", train)
        patch.setattr(one_hot, "epoch_seconds", lambda units: {"lookup": 1.0, "product": 2.0})
        patch.setattr(one_hot, "evaluate", lambda **part: found)
        patch.setitem(one_hot.SETTINGS, "trials", 3)
        patch.setitem(one_hot.SETTINGS, "ridge_penalties", [0.5, 1.0, 4.0])
        return one_hot.ONE_HOT.run(tmp_path)["runs"], seen


def test_a_run_searches_without_what_it_reports_on_and_takes_the_best(faked):
    runs, seen = faked
    outer, _ = data.train_valid_split(data.prepared(), search.SPLITS["split"])
    assert len(seen) == 2 * (3 + 4 * 3)
    assert all((ids == np.sort(outer.index)).all() for ids in seen)
    for name in one_hot.MODELS[:-1]:
        of_model = [run for run in runs if run.get("model") == name]
        tried = [run["setting"] for run in of_model if run["kind"] == "search"]
        key = "penalty" if "penalty" in tried[0] else "bias_penalty"
        nearest = min(tried, key=lambda setting: abs(np.log(setting[key] / 2)))
        compared = [run["setting"] for run in of_model if run["kind"] == "comparison"]
        assert compared == [nearest] * len(compared)
        assert len(compared) == (5 if name == "ridge" else 10)
    for run in runs:
        if run["kind"] == "capacity":
            size, penalty = one_hot.CAPACITY[run["model"]]
            assert run["setting"][size] == run["size"]
            assert (run["setting"][penalty] > 0) == run["priced"]
    for kind in ("search", "comparison", "capacity", "seconds"):
        ours = pd.DataFrame([run for run in runs if run["kind"] == kind]).drop(columns="kind")
        stored = experiments.table(STORED, kind=kind)
        assert list(ours.columns) == list(stored.columns)
        assert kind == "search" or len(ours) == len(stored)


def test_without_a_search_there_is_no_best():
    searched = pd.DataFrame({"model": ["biases"], "setting": [ALL], "rmse": [1.0]})
    with pytest.raises(ValueError, match="no search of 'ridge'"):
        one_hot.best(searched, "ridge")


def test_stored_runs_are_complete():
    settings = one_hot.SETTINGS
    compared = experiments.table(STORED, kind="comparison")
    expected = {
        (name, split, seed)
        for name in one_hot.MODELS
        for split in settings["splits"]
        for seed in settings["seeds"]
        if name != "ridge" or seed == 0
    }
    keys = compared[["model", "split", "seed"]].itertuples(index=False, name=None)
    assert sorted(keys) == sorted(expected)
    capacity = experiments.table(STORED, kind="capacity")
    assert len(capacity) == 4 * 2 * len(settings["capacities"]) * len(settings["capacity_splits"])
    assert not capacity.duplicated(["model", "priced", "size", "split"]).any()
    tried = experiments.table(STORED, kind="search")
    searched = tried.groupby("model").size().to_dict()
    assert searched.pop("ridge") == len(settings["ridge_penalties"])
    assert searched == dict.fromkeys(one_hot.MODELS[1:-1], settings["trials"])
    assert compared["rmse"].between(0.84, 0.92).all()
    assert capacity["rmse"].between(0.84, 1.3).all()
    for name, settings_of in compared.groupby("model")["setting"]:
        assert all(setting == one_hot.best(tried, name) for setting in settings_of)
