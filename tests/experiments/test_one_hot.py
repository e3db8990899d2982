from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments, metrics, recipes, training
from embedlens.experiments import conclusions, one_hot, search
from embedlens.models import EmbeddingNetwork

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/one_hot.json"
ALL = {"batch_size": 16, "learning_rate": 0.01, "epochs": 2, "bias_penalty": 0.0}
NETWORK = {**ALL, "penalty": 0.0, "kernel_penalty": 0.0, "dim": 2, "units": 3, "layers": 1}
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
        ("one-hot network", NETWORK, 29 * 2 + (6 + 3) + 3),
        ("embedding network", {**NETWORK, "layers": 2}, 29 * 2 + (12 + 3) + (9 + 3) + 3),
        ("product network", NETWORK, 29 * 2 + (6 + 3) + 3),
        ("dot product", {**ALL, "dim": 2, "vector_penalty": 0.0}, 29 * 2),
    ],
)
def test_parameters_are_those_of_the_tables_and_layers(name, setting, further):
    recipe = one_hot.recipe(name, setting)
    model = recipe(12, 15)
    model(X)
    assert model.count_params() == 29 + further
    assert recipe.training == recipes.Training(2, 16, None, 0.01, True)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_folded_network_predicts_the_same(layers):
    training.set_seed(0)
    network = EmbeddingNetwork(4, 5, dim=2, units=3, layers=layers)
    network(X)
    network.set_weights(
        [w + 0.1 * np.arange(w.size).reshape(w.shape) for w in network.get_weights()]
    )
    again = one_hot.folded(network)
    assert len(again.network) == layers
    np.testing.assert_allclose(again(X), network(X), rtol=1e-6)


def test_ridge_learns(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    predict, _ = one_hot.train("ridge", {"penalty": 0.1}, sizes, tiny_ratings, 0)
    rmse = metrics.rmse(tiny_ratings["rating"], predict(tiny_ratings))
    assert rmse < 0.95 * tiny_ratings["rating"].std()


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="where JAX is, it trains")
def test_networks_need_jax(tiny_ratings):
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=jax"):
        one_hot.train("biases", ALL, (12, 15), tiny_ratings, 0)


def test_an_unknown_model_is_refused(tiny_ratings):
    with pytest.raises(ValueError, match="no model 'dense'; there are ridge, biases"):
        one_hot.train("dense", ALL, (12, 15), tiny_ratings, 0)


def test_an_unknown_run_is_refused():
    compared = pd.DataFrame([{"model": "ridge", "split": 0, "sizes": "alike", "setting": {}}])
    with pytest.raises(ValueError, match="no run of 'ridge' on split 0 with sizes searched"):
        one_hot.setting_of(compared, "ridge", 0)


def test_edges_are_told():
    space = {"epochs": [2, 14], "dim": [4, 8, 16], "units": [1, 2], "penalty": [1e-4, 1.0], "n": 3}
    within = {"epochs": 3, "dim": 8, "units": 1, "penalty": 2e-4, "n": 3}
    assert one_hot.at_edge(space, within) == []
    ends = {"epochs": 14, "dim": 16, "units": 1, "penalty": 1.2e-4, "n": 3}
    assert one_hot.at_edge(space, ends) == ["epochs", "dim", "penalty"]


def test_contestants_are_searched_alike():
    """No peer is left at its defaults, none gets more trials, none a smaller space."""
    assert set(one_hot.SEARCHED) == set(one_hot.NETWORKS)
    networks = [one_hot.SEARCHED[name] for name in one_hot.NETWORKS if "network" in name]
    for space in networks:
        assert {**space, "layers": 0} == {**networks[0], "layers": 0}
        assert len(space["layers"]) == 2
    dot = dict(one_hot.SEARCHED["dot product"])
    assert dot.pop("vector_penalty") == networks[0]["penalty"]
    assert dot.items() <= networks[0].items()
    assert one_hot.SEARCHED["biases"].items() <= dot.items()
    sizes = {"dim": 32, "units": 32, "layers": 0}
    for name, space in one_hot.ALIKE.items():
        fixed = {key: sizes[key] for key in sizes if key in space}
        fixed |= {"layers": 1} if name == "embedding network" else {}
        assert space == {**one_hot.SEARCHED[name], **fixed}


@pytest.fixture(scope="module")
def faked(tmp_path_factory):
    """Runs of an experiment in which nothing is trained, and the ratings that searches saw."""
    seen = []

    def train(name, setting, sizes, train_ratings, seed):
        def predict(judged):
            seen.append((len(train_ratings), np.sort(np.r_[train_ratings.index, judged.index])))
            return judged["rating"] + setting.get("learning_rate", setting.get("penalty"))

        return predict, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_hot, "train", train)
        patch.setattr(one_hot, "lookup", lambda units: {"gap": 0.0, "times": [20.0, 30.0]})
        patch.setattr(one_hot, "evaluate", lambda **part: {"rmse": 1.0})
        patch.setitem(one_hot.SETTINGS, "trials", 2)
        patch.setitem(one_hot.SETTINGS, "anchors", {str(split): {} for split in search.OUTER})
        runs = one_hot.ONE_HOT.run(tmp_path_factory.mktemp("faked"), jobs=1)["runs"]
    return pd.DataFrame(runs), seen


def test_a_search_sees_the_training_part_of_its_split_alone(faked):
    runs, seen = faked
    searched = runs[runs["kind"] == "search"]
    assert len(searched) == len(seen)
    within = {s: np.sort(data.train_valid_split(data.prepared(), s)[0].index) for s in search.OUTER}
    found = [next(s for s in within if np.array_equal(within[s], ids)) for _, ids in seen]
    assert sorted(found) == sorted(searched["split"])
    assert max(n for n, _ in seen) < len(within[0])


def test_each_split_reports_on_the_best_that_its_own_search_found(faked):
    runs, _ = faked
    searched = runs[runs["kind"] == "search"]
    compared = runs[runs["kind"] == "comparison"]
    assert set(compared["model"]) == {*one_hot.MODELS, one_hot.ANCHOR}
    for (sizes, name, split), tried in searched.groupby(["sizes", "model", "split"]):
        best = tried.loc[tried["rmse"].idxmin(), "setting"]
        assert one_hot.setting_of(compared, name, split, sizes) == best
    counts = searched.groupby(["sizes", "model", "split"]).size().unstack("split")
    assert (counts.drop("ridge", level="model") == 2).all(axis=None)


def test_stored_runs_are_complete_and_of_what_was_found(faked):
    runs = pd.DataFrame(experiments.load(STORED)["runs"])
    keys = ["kind", "sizes", "model", "split", "seed"]
    for kind in ("lookup", "comparison"):
        ours, stored = (frame.loc[frame["kind"] == kind, keys] for frame in (faked[0], runs))
        pd.testing.assert_frame_equal(
            stored.reset_index(drop=True), ours.reset_index(drop=True), check_dtype=False
        )
    searched, compared = (runs[runs["kind"] == kind] for kind in ("search", "comparison"))
    by = ["sizes", "model", "split"]
    counts = searched.groupby(by).size()
    assert (counts.drop("ridge", level="model") == one_hot.SETTINGS["trials"]).all()
    for (sizes, name, split), tried in searched.groupby(by):
        best = tried.loc[tried["rmse"].idxmin(), "setting"]
        assert one_hot.setting_of(compared, name, split, sizes) == best
    assert compared["rmse"].between(0.84, 0.92).all()


def made_up_report(**gains):
    """A report in which each model gains so much over 0.9 stars, on each split."""
    runs = [
        {"kind": "comparison", "sizes": sizes, "model": model, "split": split, "seed": 0}
        | {"rmse": 0.9 - gain + 0.001 * (split - 2), "by_bin": [0.9, 0.9 - gain, 0.9 - 2 * gain]}
        for sizes in one_hot.SPACES
        for model, gain in gains.items()
        for split in search.OUTER
    ]
    return {"runs": [{"kind": "lookup", "gap": 0.0, "times": [20.0, 30.0]}, *runs]}


def test_measures_are_paired_gains_by_split():
    report = made_up_report(biases=0.0, ridge=0.002, **{"dot product": 0.01})
    judged = {one.id: one for one in one_hot.CONCLUSIONS["one_hot"]}
    np.testing.assert_allclose(judged["one-hot-linear"].measure(report), 0.002)
    np.testing.assert_allclose(judged["one-hot-dot-linear"].measure(report), 0.008)
    assert judged["one-hot-linear"].judge(report)[-1]
    assert judged["one-hot-dot-linear"].judge(report)[-1]
    assert judged["one-hot-lookup"].judge(report)[-1]
    np.testing.assert_allclose(judged["one-hot-often"].measure(report), 0.01)
    even = made_up_report(biases=0.0, ridge=0.006, **{"dot product": 0.01})
    assert not judged["one-hot-linear"].judge(even)[-1]
    assert not judged["one-hot-dot-linear"].judge(even)[-1]


def test_intervals_allow_for_splits_that_share_ratings():
    """A gain that only an uncorrected interval would show is not shown."""
    gains = np.array([0.006, 0.008, 0.01, 0.012, 0.014])
    conclusion = conclusions.Conclusion("x", "x", lambda report: gains, low=0.005)
    assert metrics.mean_interval(gains)[1] > 0.005
    assert not conclusion.judge({})[-1]
