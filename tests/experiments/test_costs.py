from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments, metrics, training
from embedlens.experiments import costs, verdict
from embedlens.models import DotWithBias

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/costs.json"
SIZES = (12, 15)
NO_DROPOUT = {"user_dropout": 0.0, "movie_dropout": 0.0}


@pytest.fixture(scope="module")
def stored():
    return costs.by_part(STORED)


def one_epoch(model, ratings):
    x, y = data.inputs(ratings), data.targets(ratings)
    model(x)
    before = [weights.copy() for weights in model.get_weights()]
    model.compile(loss="mse", optimizer="adam", jit_compile=False)
    history = model.fit(x, y, batch_size=32, shuffle=False, verbose=0).history
    return before, model.get_weights(), history[next(iter(history))][0]


def part(until):
    training.set_seed(0)
    return costs.Part(*SIZES, 0.5, 5.0, dim=6, until=until, **NO_DROPOUT)


def test_whole_step_of_the_profile_is_the_step_of_keras(tiny_ratings):
    _, ours, _ = one_epoch(part("update"), tiny_ratings)
    training.set_seed(0)
    model = DotWithBias(*SIZES, 0.5, 5.0, dim=6, **NO_DROPOUT)
    before, theirs, _ = one_epoch(model, tiny_ratings)
    for a, b, start in zip(ours, theirs, before, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert np.abs(a - start).max() > 1e-3


@pytest.mark.parametrize("until", ["nothing", "prediction", "gradients"])
def test_partial_steps_leave_the_weights(tiny_ratings, until):
    before, after, _ = one_epoch(part(until), tiny_ratings)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_partial_steps_do_what_they_say(tiny_ratings):
    """The loss that comes back holds what was worked out, so that nothing is skipped."""
    batch = tiny_ratings.head(32)
    _, _, nothing = one_epoch(part("nothing"), batch)
    assert nothing == pytest.approx(batch["rating"].sum(), rel=1e-5)
    model = part("prediction")
    _, _, loss = one_epoch(model, batch)
    assert loss == pytest.approx(
        metrics.rmse(batch["rating"], training.predict(model, batch)) ** 2, rel=1e-4
    )
    _, _, with_gradients = one_epoch(part("gradients"), batch)
    assert abs(with_gradients - loss) > 1e-3


def test_bandwidth_counts_two_arrays_read_and_one_written(monkeypatch):
    ticks = iter([0.0, 0.0, 1.0, 3.0, 3.0, 3.0, 4.0, 9.0])
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(ticks))
    assert costs.bandwidth(1000, seconds=5) == pytest.approx(3 * 4 * 1000 / 1.0)


def test_limit_on_paper_is_that_of_the_model(stored):
    ratings = data.prepared()
    model = DotWithBias(*data.count_users_and_movies(ratings), 0.5, 5.0)
    model(data.inputs(ratings.head(1)))
    assert stored["limits"]["parameters"] == model.count_params()
    assert stored["limits"]["dense_bytes"] == 28 * model.count_params()


def test_medians_run_each_way_in_turn(monkeypatch):
    monkeypatch.setitem(costs.SETTINGS, "repeats", 3)
    calls = []
    found = costs._medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")})
    assert "".join(calls) == "ab" * 4
    assert set(found) == {"a", "b"}
    assert all(value >= 0 for value in found.values())


def test_stored_costs_are_complete(stored):
    runs = experiments.load(STORED)["runs"]
    parts = [{key: run[key] for key in part} for run, part in zip(runs, costs.PARTS, strict=True)]
    assert parts == costs.PARTS
    assert [row["batch_size"] for row in stored["batch_sizes"]] == costs.SETTINGS["batch_sizes"]
    for row in stored["batch_sizes"]:
        assert len(row["rmse"]) == len(costs.SETTINGS["seeds"])
        assert all(0.8 < value < 1.05 for value in row["rmse"])
        assert row["dense"] > 0
        assert row["row_wise"] > 0
    assert set(stored["profile"]) >= {"nothing", "gradients", "update", "validation", "fit", "fast"}


def test_the_posts_batch_size_agrees_with_the_verdict(stored):
    by_seed = verdict.by_seed(experiments.load(ROOT / "book/results/verdict.json"))
    lowest = by_seed.loc[costs.SETTINGS["seeds"], "bias_best"]
    assert stored["batch_sizes"][0]["rmse"] == pytest.approx(lowest.to_list(), abs=0.003)


def test_profile_times_every_part(monkeypatch, tiny_ratings):
    monkeypatch.setitem(costs.SETTINGS, "repeats", 1)
    even = tiny_ratings.head(80)  # four fifths make two whole batches: XLA compiles once
    monkeypatch.setattr(data, "prepared", lambda: even)
    found = costs.profile()
    names = {"nothing", "pipeline", "prediction", "gradients", "update", "validation"}
    assert set(found) == names | {"callbacks", "fit", "fast"}
    assert all(found[name] > 0 for name in names | {"fit", "fast"})


@pytest.fixture
def trained(monkeypatch, tiny_ratings):
    """Trainings on made-up ratings that only say how they were asked for: a list."""
    calls = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed, **options):
        calls.append({"recipe": recipe, "seed": seed, "held": valid_ratings, **options})
        seconds = [9.0, 1.0, 5.0, 2.0]
        return None, pd.DataFrame({"valid_rmse": [2.0, 1.0, 3.0, 4.0], "seconds": seconds})

    monkeypatch.setattr(data, "prepared", lambda: tiny_ratings)
    monkeypatch.setattr(training, "train", train)
    return calls


def test_a_batch_size_is_trained_at_the_rate_that_goes_with_it(trained):
    found = costs.at_batch_size(128)
    assert found == {"learning_rate": 0.002, "rmse": [1.0] * 3, "dense": 2.0, "row_wise": 2.0}
    assert all(call["recipe"] == costs.BIAS for call in trained)
    assert all(call["batch_size"] == 128 for call in trained)
    assert all(call["learning_rate"] == 0.002 for call in trained)
    assert [call["seed"] for call in trained if call["held"] is not None] == [0, 1, 2]
    timed = [call for call in trained if call["held"] is None]
    assert [call["way"] for call in timed] == ["plain", "rowwise"]
    assert all(call["epochs"] == 1 + costs.SETTINGS["repeats"] for call in timed)


def test_vectors_of_a_length_are_trained_with_the_posts_dropout_or_none(trained):
    assert costs.by_dim("rowwise", 8) == {"seconds": 2.0}
    costs.by_dim("plain", 8, dropout=False)
    posts, without = trained
    assert posts["recipe"] == costs.BIAS.with_options(dim=8)
    none = {"user_dropout": 0.0, "movie_dropout": 0.0}
    assert without["recipe"] == costs.BIAS.with_options(dim=8, **none)
    assert (posts["way"], without["way"]) == ("rowwise", "plain")


def test_seconds_with_and_without_dropout_are_told_apart(stored):
    runs = experiments.load(STORED)["runs"]
    for backend in ("tensorflow", "jax"):
        own = [run for run in runs if run["what"] == backend]
        without = [run["seconds"] for run in own if run.get("dropout") is False]
        assert without == [stored["without_dropout"][backend]]
        for run in own:
            if "dropout" not in run:
                assert stored["by_dim"][backend, run["way"], run["dim"]] == run["seconds"]
    assert len(stored["by_dim"]) == 8


def test_each_part_is_measured_on_its_backend_in_its_own_process(monkeypatch):
    def in_own_process(function, *arguments, **environment):
        return {"asked": function(*arguments), **environment}

    def by_dim(way, dim):
        return {"way": way, "dim": dim}

    monkeypatch.setattr(costs.runner, "in_own_process", in_own_process)
    monkeypatch.setitem(costs.FUNCTIONS, "profile", (dict, "tensorflow"))
    monkeypatch.setitem(costs.FUNCTIONS, "jax", (by_dim, "jax"))
    assert costs.measure("profile") == {"asked": {}, "KERAS_BACKEND": "tensorflow"}
    assert costs.measure("jax", dim=1, way="plain") == {
        "asked": {"way": "plain", "dim": 1},
        "KERAS_BACKEND": "jax",
    }
