import json
from pathlib import Path
from types import SimpleNamespace

from embedlens import data, growth, synthetic, training
from matplotlib import pyplot as plt
import numpy as np
import pytest


def measurement(way="row_wise", size=100_000, seconds=1.0, **others):
    found = {"n_users": 9, "n_movies": 9, "n_train": size, "seconds": seconds, "steps": 10}
    found |= {"steps_timed": 10, "extrapolated": False, "idle_gb": 0.5, "peak_gb": 0.6}
    return {"way": way, "size": size, "budget": 60, **found, **others}


STORED = Path(__file__).parent.parent / "book/results/growth.json"


def stored(file, runs):
    file.write_text(growth.results.as_text({"runs": runs, "provenance": growth._provenance()}))
    return file


class Fake:
    """Measures nothing; is interrupted at its `stop_at`-th call."""

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = [], stop_at

    def __call__(self, way, size, budget, scratch):
        if len(self.calls) + 1 == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append((way, size))
        assert Path(scratch).is_dir()
        found = measurement(way, size, seconds=size / 1e5)
        return {key: found[key] for key in found if key not in ("way", "size", "budget")}


def test_an_interrupted_collection_goes_on_where_it_stopped(tmp_path):
    sizes, ways = [100_000, 200_000], ["fast", "row_wise"]
    first, second = Fake(stop_at=4), Fake()
    with pytest.raises(KeyboardInterrupt):
        growth.collect(sizes, ways, tmp_path, 60, first)
    runs = growth.collect(sizes, ways, tmp_path, 60, second)
    assert first.calls == [("fast", 100_000), ("row_wise", 100_000), ("fast", 200_000)]
    assert second.calls == [("row_wise", 200_000)]
    assert runs == [measurement(way, n, n / 1e5) for n in sizes for way in ways]
    other_budget = Fake()
    growth.collect(sizes, ways, tmp_path, 30, other_budget)
    assert len(other_budget.calls) == 4


def test_a_damaged_measurement_is_made_anew(tmp_path):
    growth.collect([100_000], ["fast"], tmp_path, 60, Fake())
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:20])
    again = Fake()
    growth.collect([100_000], ["fast"], tmp_path, 60, again)
    assert again.calls == [("fast", 100_000)]


def command(monkeypatch, fake, *arguments):
    monkeypatch.setattr(growth, "_in_own_process", fake)
    return growth.main([str(argument) for argument in arguments])


def test_command_stores_what_load_reads(monkeypatch, tmp_path, capsys):
    file = tmp_path / "growth.json"
    options = ["--sizes", "1e5", "2.5e7", "--output", file, "--folder", tmp_path / "kept"]
    assert command(monkeypatch, Fake(stop_at=3), *options) == 130
    assert "Interrupted" in capsys.readouterr().out
    assert not file.exists()
    assert command(monkeypatch, Fake(), *options) == 0
    runs = growth.load(file)
    assert runs[["way", "size"]].apply(tuple, axis=1).to_list() == [
        (way, size) for size in (100_000, 25_000_000) for way in growth.WAYS
    ]
    np.testing.assert_allclose(runs["seconds_per_rating"], 1e-5)
    provenance = json.loads(file.read_text())["provenance"]
    assert provenance["cores"] >= 1
    assert set(provenance) > {"versions", "python", "processor", "commit", "settings"}


@pytest.mark.parametrize("change", ["settings", "generator"])
def test_measurements_of_something_else_are_refused(monkeypatch, tmp_path, change):
    file = stored(tmp_path / "growth.json", [measurement()])
    assert len(growth.load(file)) == 1
    if change == "settings":
        monkeypatch.setitem(growth.SETTINGS, "dim", 8)
    else:
        monkeypatch.setattr(synthetic, "DECLINE", 0.3)
    with pytest.raises(ValueError, match=r"made for other settings; run make growth again"):
        growth.load(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --output"),
        (["--output", "no/such/folder/file.json"], "no file in an existing folder"),
        (["--output", "g.json", "--sizes", "1e3"], "'1e3' is not a whole number from 1e4 on"),
        (["--output", "g.json", "--sizes", "many"], "'many' is not a whole number"),
        (["--output", "g.json", "--sizes", "nan"], "'nan' is not a whole number"),
        (["--output", "g.json", "--ways", "magic"], "invalid choice"),
    ],
)
def test_bad_arguments_get_a_usage_error(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        growth.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_growth_is_compared_with_linear_from_the_smallest_size_of_each_way(tmp_path):
    runs = [
        measurement("row_wise", 1_000_000, 12.0),
        measurement("row_wise", 100_000, 1.0),
        measurement("fast", 1_000_000, 50.0),
        measurement("fast", 10_000_000, 5_000.0, n_train=5_000_000),
    ]
    times = growth.times_linear(growth.load(stored(tmp_path / "growth.json", runs)))
    assert list(times.index) == [100_000, 1_000_000, 10_000_000]
    np.testing.assert_allclose(times["row_wise"], [1, 1.2, np.nan])
    np.testing.assert_allclose(times["fast"], [np.nan, 1, 20])


def test_figure_shows_every_measurement_and_hollow_what_is_extrapolated(tmp_path):
    runs = [measurement(way, n, n / 1e5) for n in (100_000, 10_000_000) for way in growth.WAYS]
    runs[len(growth.WAYS)]["extrapolated"] = True
    ax = growth.draw(growth.load(stored(tmp_path / "growth.json", runs)), plt.figure().subplots())
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
    whole, part = (growth.measure("literal", few_ratings, budget) for budget in (600, 0))
    assert whole["n_train"] == 3_960
    assert whole["steps"] == part["steps"] == 124
    assert (whole["steps_timed"], whole["extrapolated"]) == (122, False)
    assert (part["steps_timed"], part["extrapolated"]) == (1, True)
    for found in (whole, part):
        assert found["seconds"] > 0
        assert found["peak_gb"] >= found["idle_gb"] > 0.1
        assert (found["n_users"], found["n_movies"]) == synthetic.size_of_release(4_000)


def test_fit_is_timed_with_the_settings_of_train(few_ratings, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "train", lambda *a, **options: seen.append((a[4], options)))
    monkeypatch.setattr(growth._Clock, "found", lambda clock: {})
    for way in ("literal", "fast"):
        growth.measure(way, few_ratings, 1)
    assert [(batch_size, options["fast"]) for batch_size, options in seen] == [
        (32, False),
        (32, True),
    ]


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_the_units_of_the_platform(monkeypatch, platform, unit):
    usage = SimpleNamespace(ru_maxrss=3_000_000_000 // unit)
    monkeypatch.setattr(growth.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(growth.sys, "platform", platform)
    assert growth._peak_memory() == pytest.approx(3)


def test_row_wise_way_runs_in_a_process_of_its_own_on_jax(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = growth._in_own_process("row_wise", 60_000, 1, tmp_path)
    assert found["n_train"] == 59_400
    assert found["steps"] == 1_857
    assert found["steps_timed"] == 11 * found["steps"]  # and one epoch that compiles
    assert found["extrapolated"] is False
    assert found["seconds"] > 0


def test_a_measurement_that_fails_says_which(monkeypatch, tmp_path):
    monkeypatch.setattr(growth, "MEASURE", "raise SystemExit(7)")
    (tmp_path / "12345.pkl").touch()
    with pytest.raises(RuntimeError, match=r"exit status 7 .*literal, .*12345.pkl.*--sizes"):
        growth._in_own_process("literal", 12345, 1, tmp_path)


def test_narrow_frames_stay_narrow():
    """At 25 million ratings a column of 64 bits would cost 0.2 GB."""
    train, valid = data.train_valid_split(synthetic.generate(3_000, 0)[0], 0, 0.99)
    assert list(train.dtypes.astype(str)) == ["int32", "int32", "float32"]
    assert data.inputs(train).nbytes == 2 * data.targets(train).nbytes == 8 * len(train)
    assert len(valid) == 30


def test_stored_growth_is_complete_and_meets_its_targets():
    runs = growth.load(STORED)
    assert set(zip(runs["way"], runs["size"], strict=True)) == {
        (way, size) for way in growth.WAYS for size in growth.SIZES
    }
    assert growth.times_linear(runs)["tuned"].max() <= 1.3
    largest = runs[runs["size"] == 25_000_000].set_index("way")
    for way in ("row_wise", "tuned"):
        assert not largest.loc[way, "extrapolated"]
        assert largest.loc[way, "peak_gb"] < 12
    provenance = json.loads(STORED.read_text())["provenance"]
    assert not provenance["commit"].endswith("+"), "made from uncommitted code"
