from pathlib import Path

from matplotlib import pyplot as plt
import numpy as np
import pandas as pd
import pytest

from embedlens import data, recipes, training
from embedlens.experiments import growth, runner
from embedlens.movielens import synthetic
from embedlens.recipes import BIAS, FEEDBACK, TUNED


def measurement(way="row_wise", size=100_000, seconds=1.0, **others):
    found = {"n_users": 9, "n_movies": 9, "n_train": size, "seconds": seconds, "steps": 10}
    found |= {"steps_timed": 10, "extrapolated": False, "idle_gb": 0.5, "peak_gb": 0.6}
    return {"way": way, "size": size, "budget": 60, **found, **others}


STORED = Path(__file__).parents[2] / "book/results/growth.json"


def stored(file, runs):
    runner.write({"runs": runs, "provenance": {"settings": growth.GROWTH.settings}}, file)
    return file


def test_every_way_is_measured_with_every_size_the_smallest_first():
    parts = [(part["way"], part["size"]) for part in growth.GROWTH.parts]
    assert parts == [(way, size) for size in sorted(growth.SIZES) for way in growth.WAYS]


@pytest.mark.parametrize("change", ["ours", "generator"])
def test_settings_are_those_of_the_ways_and_the_generator(monkeypatch, change):
    assert growth.settings() == growth.GROWTH.settings
    if change == "ours":
        monkeypatch.setitem(growth.SETTINGS, "seed", 8)
    else:
        monkeypatch.setattr(synthetic, "DECLINE", 0.3)
    assert growth.settings() != growth.GROWTH.settings


def test_growth_is_compared_with_linear_from_the_smallest_size_of_each_way(tmp_path):
    runs = [
        measurement("row_wise", 1_000_000, 12.0),
        measurement("row_wise", 100_000, 1.0),
        measurement("tuned", 1_000_000, 50.0),
        measurement("tuned", 10_000_000, 5_000.0, n_train=5_000_000),
    ]
    times = growth.times_linear(growth.runs(stored(tmp_path / "growth.json", runs)))
    assert list(times.index) == [100_000, 1_000_000, 10_000_000]
    np.testing.assert_allclose(times["row_wise"], [1, 1.2, np.nan])
    np.testing.assert_allclose(times["tuned"], [np.nan, 1, 20])


def test_price_of_an_update_by_hand():
    """Twice the parameters and twice the seconds are one price; thrice the seconds are not."""
    runs = [
        measurement("literal", 1, 1.0, n_users=1, n_movies=1),
        measurement("literal", 2, 2.0, n_users=2, n_movies=2),
        measurement("literal", 3, 3.0, n_users=1, n_movies=1),
        measurement("row_wise", 1, 0.5),
        measurement("row_wise", 2, 0.1),
        measurement("row_wise", 3, 0.1),
    ]
    assert growth.update_price({"runs": runs}) == pytest.approx((1, 0.6, 1.8))
    assert growth.row_wise_gain({"runs": runs}) == pytest.approx((52 / 3, 2, 30))


def test_figure_shows_every_measurement_and_hollow_what_is_extrapolated(tmp_path):
    runs = [measurement(way, n, n / 1e5) for n in (100_000, 10_000_000) for way in growth.WAYS]
    runs[len(growth.WAYS)]["extrapolated"] = True
    ax = growth.draw(growth.runs(stored(tmp_path / "growth.json", runs)), plt.figure().subplots())
    by_label = {line.get_label(): line for line in ax.lines}
    for way in growth.WAYS.values():
        assert by_label[way.label].get_xydata().tolist() == [[1e5, 1], [1e7, 100]]
    hollow = [line for line in ax.lines if line.get_mfc() == "white" and len(line.get_xdata())]
    assert [line.get_xydata().tolist() for line in hollow] == [[[1e7, 100.0]]]
    slopes = [np.diff(np.log(line.get_xydata()), axis=0)[0] for line in ax.lines[:2]]
    np.testing.assert_allclose([rise / run for run, rise in slopes], [1, 2])
    assert ax.get_xscale() == ax.get_yscale() == "log"
    plt.close("all")


class Stopped:
    stop_training = False


def test_clock_leaves_out_the_warm_up_and_stops_at_the_budget(monkeypatch):
    times = iter([0.0, 100, 101, 102, 103, 104])  # the second call compiles
    monkeypatch.setattr(growth.time, "perf_counter", lambda: next(times))
    clock = growth._Clock(n_steps=1_000, budget=2.5)
    clock.set_model(Stopped())
    for batch in range(9, 60, 10):
        clock.on_train_batch_end(batch)
        if clock.model.stop_training:
            break
    found = {"seconds": 100.0, "steps": 1_000, "steps_timed": 30, "extrapolated": True}
    assert clock.found() == found


def test_clock_of_too_few_steps_says_so():
    clock = growth._Clock(n_steps=1, budget=1)
    clock.set_model(Stopped())
    clock.on_train_batch_end(0)
    with pytest.raises(ValueError, match="too few ratings"):
        clock.found()


@pytest.fixture(scope="module")
def few_ratings(tmp_path_factory):
    file = tmp_path_factory.mktemp("ratings") / "few.pkl"
    synthetic.generate(4_000, 0)[0].to_pickle(file)
    return file


def test_plain_fit_is_timed_over_an_epoch_or_until_the_budget(few_ratings):
    whole, part = (growth.time_epoch("literal", few_ratings, budget) for budget in (600, 0))
    assert whole["n_train"] == 3_960
    assert whole["steps"] == part["steps"] == 124
    assert (whole["steps_timed"], whole["extrapolated"]) == (122, False)
    assert (part["steps_timed"], part["extrapolated"]) == (1, True)
    for found in (whole, part):
        assert found["seconds"] > 0
        assert found["peak_gb"] >= found["idle_gb"] > 0.1
        assert (found["n_users"], found["n_movies"]) == synthetic.size_of_release(4_000)


def test_every_way_trains_as_its_recipe_says(few_ratings, monkeypatch):
    seen = {}

    def train(recipe, sizes, train, valid, seed, way, epochs, **options):
        seen[name] = recipe, way, epochs, options.keys()
        return None, {"seconds": pd.Series([9.0, 1.0])}

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(growth._Clock, "found", lambda clock: {})
    monkeypatch.setattr(growth, "LONG", 1)
    for name in growth.WAYS:
        growth.time_epoch(name, few_ratings, 1)
    row_wise = {"progress", "patience"}
    assert seen == {
        "literal": (BIAS, "plain", 1, {"callbacks"}),
        "row_wise_tensorflow": (BIAS, "rowwise", 2, row_wise),
        "row_wise": (BIAS, "rowwise", 2, row_wise),
        "tuned": (TUNED, "rowwise", 2, row_wise),
        "feedback": (FEEDBACK, "compiled", 2, row_wise),
    }


def test_feedback_is_carried_over_to_the_size(few_ratings, monkeypatch):
    monkeypatch.setattr(recipes, "FOUND_ON", 990)
    monkeypatch.setattr(growth, "LONG", 1)
    trained = []

    def train(recipe, *given, **options):
        trained.append(recipe.training.batch_size)
        return None, {"seconds": pd.Series([9.0, 1.0])}

    monkeypatch.setattr(training, "train", train)
    found = growth.time_epoch("feedback", few_ratings, 1)
    assert trained == [-(-FEEDBACK.training.batch_size * 4_000 // 990)]
    assert found["steps"] == 1


def test_row_wise_way_runs_in_a_process_of_its_own_on_jax(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # starts faster, also where ratings are made up
    found = growth.measure("row_wise", 60_000, 1)
    assert found["n_train"] == 59_400
    assert found["steps"] == 1_857
    assert found["steps_timed"] == 11 * found["steps"]  # and one epoch that compiles
    assert found["extrapolated"] is False
    assert found["seconds"] > 0


def test_made_up_ratings_go_with_the_process(monkeypatch, tmp_path):
    at_exit = []
    monkeypatch.setattr(growth.atexit, "register", lambda *f, **given: at_exit.append((f, given)))
    monkeypatch.setattr(growth.tempfile, "tempdir", str(tmp_path))
    growth._scratch.cache_clear()
    (growth._scratch() / "1.pkl").touch()
    growth._scratch.cache_clear()
    [((end, *arguments), given)] = at_exit
    end(*arguments, **given)
    assert list(tmp_path.iterdir()) == []


def test_ratings_are_made_up_once_for_all_ways_and_in_a_process_of_their_own(monkeypatch):
    called = []
    monkeypatch.setattr(
        runner, "in_own_process", lambda f, *given, **env: called.append((f.__name__, given, env))
    )
    for way in ("literal", "row_wise"):
        growth.measure(way, 12_345, 60)
    file = str(growth._made_up(12_345))
    assert called == [
        ("_make_up", (12_345, file), {}),
        ("time_epoch", ("literal", file, 60), {"KERAS_BACKEND": "tensorflow"}),
        ("time_epoch", ("row_wise", file, 60), {"KERAS_BACKEND": "jax"}),
    ]


def test_narrow_frames_stay_narrow():
    """At 25 million ratings a column of 64 bits would cost 0.2 GB."""
    train, valid = data.train_valid_split(synthetic.generate(3_000, 0)[0], 0, 0.99)
    assert list(train.dtypes.astype(str)) == ["int32", "int32", "float32"]
    assert data.inputs(train).nbytes == 2 * data.targets(train).nbytes == 8 * len(train)
    assert len(valid) == 30


def test_stored_growth_is_complete_and_meets_its_targets():
    runs = growth.runs(STORED)
    assert runs[["way", "size", "budget"]].to_dict("records") == growth.GROWTH.parts
    assert growth.times_linear(runs)["tuned"].max() <= 1.3
    assert growth.times_linear(runs).loc[:10_000_000, "feedback"].max() <= 1.3
    assert runs.query("way == 'feedback' and size <= 10_000_000")["peak_gb"].max() < 12
    largest = runs[runs["size"] == 25_000_000].set_index("way")
    for way in ("row_wise", "tuned"):
        assert not largest.loc[way, "extrapolated"]
        assert largest.loc[way, "peak_gb"] < 12
