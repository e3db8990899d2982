import json
import os
from pathlib import Path
import subprocess
import sys

from embedlens import audit, data, one_hot, training, tuned
import keras
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
STORED = ROOT / "book/results/one_hot.json"
SMALL = {
    "batch_size": 16,
    "learning_rate": 0.01,
    "epochs": 2,
    "bias_penalty": 0.0,
    "penalty": 0.0,
    "vector_penalty": 0.0,
    "units": 3,
    "layers": 2,
    "dim": 2,
}
SIZES = (4, 5)
X = np.array([[1, 5], [3, 2], [1, 2]], "int32")


@pytest.fixture(scope="module")
def runs():
    return one_hot.load(STORED)


def with_random_weights(model):
    model(X)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    return model


def in_stars(score):
    return 0.5 + 4.5 / (1 + np.exp(-score))


def relu(values):
    return np.maximum(values, 0)


def rows(layer, ids):
    return layer.get_weights()[0][ids]


def biases(model):
    return rows(model.user_bias, X[:, 0]) + rows(model.movie_bias, X[:, 1])


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


def test_product_with_one_hot_vectors_is_the_lookup_to_the_bit():
    product, lookup = one_hot.OneHotDense(9, 4), keras.layers.Embedding(9, 4)
    ids = np.array([0, 8, 3, 3])
    product(ids), lookup(ids)
    product.set_weights(lookup.get_weights())
    np.testing.assert_array_equal(product(ids), lookup(ids))
    assert product.count_params() == lookup.count_params() == 36


@pytest.mark.parametrize("layer", [keras.layers.Embedding, one_hot.OneHotDense])
def test_network_on_one_hot_vectors_by_hand(layer):
    model = with_random_weights(one_hot.OneHotNetwork(*SIZES, 3, layers=2, embedding=layer))
    hidden = relu(
        rows(model.user_rows, X[:, 0])
        + rows(model.movie_rows, X[:, 1])
        + keras.ops.convert_to_numpy(model.offset)
    )
    kernel, offset = model.more[0].get_weights()
    score = relu(hidden @ kernel + offset) @ model.end.get_weights()[0]
    np.testing.assert_allclose(model(X), in_stars(biases(model) + score), rtol=1e-5)


@pytest.mark.parametrize("product", [False, True])
def test_network_on_embeddings_by_hand(product):
    model = with_random_weights(one_hot.EmbeddingNetwork(*SIZES, 2, 3, product=product))
    users, movies = rows(model.user_vectors, X[:, 0]), rows(model.movie_vectors, X[:, 1])
    joined = users * movies if product else np.hstack([users, movies])
    kernel, offset = model.hidden[0].get_weights()
    score = relu(joined @ kernel + offset) @ model.end.get_weights()[0]
    np.testing.assert_allclose(model(X), in_stars(biases(model) + score), rtol=1e-5)


def test_rows_that_are_looked_up_pay_and_so_do_all_further_weights():
    model = one_hot.OneHotNetwork(*SIZES, 3, layers=2, penalty=0.1, bias_penalty=0.01)
    with_random_weights(model)
    model(X, training=True)
    means = [
        weight * np.mean(np.sum(rows(layer, ids) ** 2, axis=1))
        for weight, layer, ids in [
            (0.01, model.user_bias, X[:, 0]),
            (0.01, model.movie_bias, X[:, 1]),
            (0.1, model.user_rows, X[:, 0]),
            (0.1, model.movie_rows, X[:, 1]),
        ]
    ]
    kernels = [layer.get_weights()[0] for layer in (model.more[0], model.end)]
    price = sum(means) + 0.1 * sum(np.sum(kernel**2) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(price, rel=1e-5)


def test_bins_count_training_ratings_of_the_movie():
    counts = [0, 1, 2, 3, 20, 21, 150]
    train = pd.DataFrame({"movieIdDense": np.repeat(range(1, 8), counts)})
    bins = one_hot.frequency_bins(train, pd.DataFrame({"movieIdDense": range(1, 8)}))
    assert bins.tolist() == [0, 1, 1, 2, 4, 5, 7]


@pytest.mark.parametrize(
    ("name", "further"),
    [
        ("biases", 0),
        ("one-hot network", 29 * 3 + 3 + 12 + 3),
        ("embedding network", 29 * 2 + 4 * 3 + 3 + 12 + 3),
        ("product network", 29 * 2 + 2 * 3 + 3 + 12 + 3),
        ("dot product", 29 * 2),
    ],
)
def test_parameters_are_those_of_the_tables_and_layers(name, further):
    model = one_hot.make(name, (12, 15), SMALL)
    model(X)
    assert model.count_params() == 29 + further


@pytest.mark.parametrize("name", ["ridge", "one-hot network"])
def test_models_learn(name, tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    settings = {**SMALL, "epochs": 30, "learning_rate": 0.05}
    predict, parameters, seconds = one_hot.train(name, sizes, tiny_ratings, 0, settings)
    rmse = training.rmse(tiny_ratings["rating"], predict(tiny_ratings))
    assert rmse < 0.95 * tiny_ratings["rating"].std()
    assert parameters == {"ridge": 28, "one-hot network": 29 + 105}[name]
    assert seconds > 0


def test_an_unknown_model_is_refused(tiny_ratings):
    with pytest.raises(ValueError, match="no model 'dense'; there are ridge, biases"):
        one_hot.train("dense", (12, 15), tiny_ratings, 0, SMALL)


@pytest.mark.parametrize("name", ["ridge", "embedding network"])
def test_search_never_sees_the_ratings_that_are_reported_on(name, monkeypatch):
    seen = []

    def fake_train(name, sizes, train_ratings, seed, settings):
        def predict(judged):
            seen.append((train_ratings, judged))
            return judged["rating"] + abs(np.log(settings["penalty"] / 2))

        return predict, 0, 0.0

    monkeypatch.setattr(one_hot, "train", fake_train)
    found = [{"kind": "search", "model": name, **run} for run in one_hot.search(name, trials=8)]
    outer, reported = data.train_valid_split(data.prepared(), tuned.SEARCH["split"])
    assert len(seen) == 2 * len(found)
    for inner, judged in seen:
        assert set(inner.index) | set(judged.index) == set(outer.index)
        assert not (set(inner.index) | set(judged.index)) & set(reported.index)
    nearest = min((run["settings"]["penalty"] for run in found), key=lambda p: abs(np.log(p / 2)))
    assert one_hot.best(found, name)["penalty"] == nearest


def test_without_a_search_there_is_no_best():
    with pytest.raises(ValueError, match="no search of 'ridge'"):
        one_hot.best([], "ridge")
    assert one_hot.best([], "dot product") == tuned.SETTINGS


def test_stored_runs_are_complete(runs):
    settings = one_hot.SETTINGS
    compared = one_hot.frame(runs, "comparison")
    expected = {
        (name, split, seed)
        for name in one_hot.MODELS
        for split in settings["splits"]
        for seed in settings["seeds"]
        if name != "ridge" or seed == 0
    }
    keys = compared[["model", "split", "seed"]].itertuples(index=False, name=None)
    assert sorted(keys) == sorted(expected)
    capacity = one_hot.frame(runs, "capacity")
    assert len(capacity) == 4 * 2 * len(settings["capacities"]) * len(settings["capacity_splits"])
    assert not capacity.duplicated(["model", "priced", "size", "split"]).any()
    searched = one_hot.frame(runs, "search").groupby("model").size().to_dict()
    assert searched.pop("ridge") == len(settings["ridge_penalties"])
    assert searched == dict.fromkeys(one_hot.MODELS[1:-1], settings["trials"])
    assert compared["rmse"].between(0.84, 0.92).all()
    assert capacity["rmse"].between(0.84, 1.3).all()


def test_stored_runs_name_data_and_commit():
    provenance = json.loads(STORED.read_text())["provenance"]
    assert provenance["data"] == audit.dataset_digest()
    assert not provenance["commit"].endswith("+"), "made from uncommitted code"


AGAIN = """
import json, sys
from embedlens import one_hot
runs = one_hot.load("book/results/one_hot.json")
for name in ("ridge", "one-hot network"):
    found = one_hot.evaluate(name, 1, 0, one_hot.best(runs, name))
    print(json.dumps({"model": name, **found}))
"""


def test_runs_again_agree_with_the_stored_ones(runs):
    result = subprocess.run(
        [sys.executable, "-c", AGAIN],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    compared = one_hot.frame(runs, "comparison").set_index(["model", "split", "seed"])
    again = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(again) == 2
    for found in again:
        stored = compared.loc[(found["model"], 1, 0)]
        tolerance = 1e-4 if found["model"] == "ridge" else 0.002
        assert found["rmse"] == pytest.approx(stored["rmse"], abs=tolerance)
        np.testing.assert_allclose(found["by_bin"], stored["by_bin"], atol=10 * tolerance)
        assert found["parameters"] == stored["parameters"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"provenance": {"data": "x"}}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    file = tmp_path / "one_hot.json"
    file.write_text(content)
    with pytest.raises(ValueError, match="not a file that make one-hot wrote"):
        one_hot.load(file)


@pytest.mark.parametrize("key", ["data", "settings"])
def test_results_of_something_else_are_refused(tmp_path, key):
    stored = json.loads(STORED.read_text())
    stored["provenance"][key] = "another"
    file = tmp_path / "one_hot.json"
    file.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=f"made for other {key}; run make one-hot again"):
        one_hot.load(file)


def test_command_measures_everything_and_stores_what_load_reads(monkeypatch, tmp_path, runs):
    found = {"rmse": 1.0, "by_bin": [1.0], "parameters": 1, "seconds": 1.0}
    trial = {"settings": dict(SMALL), "rmse": 1.0}
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(one_hot, "epoch_seconds", lambda units: {"lookup": 1.0, "product": 2.0})
    monkeypatch.setattr(one_hot, "search", lambda name: [trial])
    monkeypatch.setattr(one_hot, "evaluate", lambda *arguments: found)
    one_hot.main(["--output", str(tmp_path / "one_hot.json")])
    again = one_hot.load(tmp_path / "one_hot.json")
    for kind in ("comparison", "capacity", "seconds"):
        ours, stored = one_hot.frame(again, kind), one_hot.frame(runs, kind)
        assert list(ours.columns) == list(stored.columns)
        assert len(ours) == len(stored)
