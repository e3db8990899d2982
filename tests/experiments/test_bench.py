"""The bench without its peers: fake contestants run in processes of their own, as real ones do."""

from dataclasses import replace
import itertools
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import keras
import matplotlib.pyplot as plt
from matplotlib.text import Text
import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pandas as pd
import pytest

from embedlens import data, metrics, training
from embedlens.experiments import bench, runner
from embedlens.experiments.bench import ours, peers
from embedlens.recipes import BIAS

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/bench.json"
PEERS = Path(peers.__file__)
FAKE = f"""
import os
from pathlib import Path
import sys
sys.path.insert(0, {str(PEERS.parent)!r})
import numpy as np
import peers

def predicts(values):
    return lambda: lambda split, **setting: lambda: values(split, **setting)

def constant(split, stars=3.0):
    return np.full(len(split.valid.users), stars)

def mean(split):
    return constant(split, split.train.ratings.mean())

def broken():
    raise ImportError("no library of that name")

def watch_compiling(fit, split):
    kept = Path(os.environ["EMBEDLENS_CACHE"]) / "program"
    seconds = 0.125 if kept.exists() else 0.25
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    return lambda ended: seconds

VERSIONS = {{"fake": ["numpy"]}}
CONTESTANTS = {{
    "fake-three": predicts(constant),
    "fake-tuned": predicts(constant),
    "fake-mean": predicts(mean),
    "fake-truth": predicts(lambda split: split.valid.ratings),
    "fake-short": predicts(lambda split: [3.0]),
    "fake-nan": predicts(lambda split: np.full(len(split.valid.users), np.nan)),
    "fake-broken": broken,
}}
SPACES = {{
    "fake-tuned": {{
        "default": {{"stars": 1.0}},
        "recommended": {{"stars": 3.5}},
        "ranges": {{"stars": {{"log": [0.5, 0.6]}}}},
    }},
    "fake-broken": {{"default": {{}}, "ranges": {{}}}},
}}
with open(__file__ + ".log", "a") as log:
    print(sys.argv[1], file=log)
peers.main()
"""


@pytest.fixture
def contestants(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    command = (sys.executable, "-I", str(script))
    names = re.findall(r'"(fake-\w+)":', FAKE)
    found = {
        name: bench.Contestant(name.replace("-", " "), "none", command)
        for name in dict.fromkeys(names)
    }
    found["fake-tuned"] = replace(found["fake-tuned"], tuned_as="fake-tuned")
    nowhere = str(tmp_path / "fake-env/bin/python")
    found["fake-absent"] = bench.Contestant("fake absent", "none", (nowhere, str(script)))
    return found


@pytest.fixture
def run_bench(tiny_ratings, contestants, tmp_path, monkeypatch):
    """Run the bench with these fakes; finished runs are kept from call to call."""
    monkeypatch.setattr(data, "prepared", lambda timestamps=False: tiny_ratings)

    def run(*names, splits=(0,), repeats=1, budget=0):
        monkeypatch.setattr(bench, "CONTESTANTS", {name: contestants[name] for name in names})
        return bench.experiment(budget, splits, repeats).run(tmp_path / "kept")

    return run


def calls(tmp_path):
    log = tmp_path / "fake.py.log"
    return log.read_text().split() if log.exists() else []


@pytest.fixture
def split(tiny_ratings, tmp_path):
    parts = data.train_valid_split(tiny_ratings, 3)
    bench.write_parts(*parts, (12, 15), 3, tmp_path / "3.npz")
    return peers.read_split(tmp_path / "3.npz")


def test_the_file_holds_the_split_and_no_validation_rating_to_train_on(tiny_ratings, split):
    for part, expected in zip(split[:2], data.train_valid_split(tiny_ratings, 3), strict=True):
        np.testing.assert_array_equal(part.users, expected["userIdDense"])
        np.testing.assert_array_equal(part.movies, expected["movieIdDense"])
        np.testing.assert_array_equal(part.ratings, expected["rating"])
    train, valid = ({*zip(part.users, part.movies, strict=True)} for part in split[:2])
    assert len(train) == 72
    assert len(valid) == 18
    assert not train & valid
    assert (split.n_users, split.n_movies, split.seed) == (12, 15, 3)


def plan(splits, repeats, answer):
    """Run the parts of the bench; `answer` stands for what is measured."""
    planned, stages, found = bench.parts(7, splits, repeats), [], None
    try:
        while True:
            stages.append(planned.send(found))
            found = [answer(part) for part in stages[-1]]
    except StopIteration:
        return stages


@pytest.fixture
def abc(monkeypatch):
    """Contestants a, tuned; b, at the setting of a; c, without settings; d, tuned."""
    tuned_as = {"a": "a", "b": "a", "c": None, "d": "d"}
    stand_ins = {name: SimpleNamespace(tuned_as=other) for name, other in tuned_as.items()}
    monkeypatch.setattr(bench, "CONTESTANTS", stand_ins)
    monkeypatch.setattr(bench, "ON_MADE_UP", ("c", "x"))


def found_setting(part):
    return {"setting": {"of": part["name"], "split": part["split"]}}


def test_every_second_stage_runs_backwards(abc):
    stages = plan((0, 5), 2, found_setting)
    order = ["".join(part["name"] for part in stage) for stage in stages]
    assert order == ["ad", "da", "abcd", "dcba", "abcd", "c"]
    kinds = [{part["kind"] for part in stage} for stage in stages]
    assert kinds == [{"search"}] * 2 + [{"run"}] * 3 + [{"made up"}]


def test_searches_have_the_same_budget_and_runs_their_settings(abc):
    stages = plan((0, 5), 2, found_setting)
    assert {part["budget"] for stage in stages[:2] for part in stage} == {7}
    for part in itertools.chain(*stages[2:-1]):
        of = {"a": "a", "b": "a", "c": None, "d": "d"}[part["name"]]
        assert part["setting"] == (of and {"of": of, "split": part["split"]})


def test_seconds_are_repeated_on_the_first_split_with_two_starts(abc):
    rounds = [stage[0] for stage in plan((0, 5, 6), 2, found_setting) if stage[0]["kind"] == "run"]
    assert [(one["split"], one["repeat"], one["n_starts"]) for one in rounds] == [
        (0, 0, 2),
        (0, 1, 2),
        (5, 0, 1),
        (6, 0, 1),
    ]


def test_who_is_missing_is_not_tried_in_later_stages(abc):
    def answer(part):
        gone = part["kind"] == "search" and part["name"] == "a"
        gone |= part["kind"] == "run" and part["name"] == "c"
        return {"missing": "gone"} if gone else found_setting(part)

    order = ["".join(part["name"] for part in stage) for stage in plan((0, 5), 2, answer)]
    assert order == ["ad", "d", "cd", "d", "d"]  # b has no setting without a


def test_made_up_ratings_have_the_shape_of_ml_1m(contestants, monkeypatch):
    """The contestants get no setting, and are told no rating that they have to predict."""
    monkeypatch.setattr(bench, "CONTESTANTS", contestants)
    monkeypatch.setitem(bench.MADE_UP, "n_ratings", 9_000)
    monkeypatch.setitem(bench.MADE_UP, "n_users", 300)
    monkeypatch.setitem(bench.MADE_UP, "n_movies", 200)
    seen = []

    def look(contestant, name, folder, *options):
        seen.append((peers.read_split(folder / "split.npz"), options))
        np.save(folder / "predictions.npy", np.full(1_800, 3.5))
        return {"versions": {}}

    monkeypatch.setattr(bench, "_in_process", look)
    found = bench.measure("made up", "fake-tuned", 0)
    [(split, options)] = seen
    assert options[:2] == ("--setting", "{}")
    assert (split.n_users, split.n_movies, len(split.train.users)) == (300, 200, 7_200)
    assert np.isnan(split.valid.ratings).all()
    assert 0.5 < found["rmse"] < 1.5
    runs = [{"kind": "made up", "name": "fake-tuned", "rmse": found["rmse"]}]
    assert bench.on_made_up({"runs": runs}).to_list() == [found["rmse"]]


def test_a_search_sees_the_training_part_alone(tiny_ratings, contestants, monkeypatch):
    monkeypatch.setattr(data, "prepared", lambda timestamps=False: tiny_ratings)
    monkeypatch.setattr(bench, "CONTESTANTS", contestants)
    seen = []

    def look(contestant, name, folder, *options):
        seen.append(peers.read_split(folder / "split.npz"))
        assert [path.name for path in folder.iterdir()] == ["split.npz"]
        assert options == ("--search", "9")
        return {}

    monkeypatch.setattr(bench, "_in_process", look)
    bench.measure("search", "fake-tuned", 3, budget=9)
    [inner] = seen
    train, valid = data.train_valid_split(tiny_ratings, 3)
    pairs = [{*zip(part.users, part.movies, strict=True)} for part in inner[:2]]
    known = {*zip(train["userIdDense"], train["movieIdDense"], strict=True)}
    assert pairs[0] | pairs[1] == known
    assert not pairs[0] & pairs[1]
    assert not known & {*zip(valid["userIdDense"], valid["movieIdDense"], strict=True)}
    assert (inner.n_users, inner.n_movies, inner.seed) == (12, 15, 3)


def test_only_who_stops_early_gets_validation_ratings(run_bench, contestants):
    name = "fake-truth"
    assert set(run_bench(name)["missing"]) == {name}
    contestants[name] = replace(contestants[name], looks=True)
    assert run_bench(name, repeats=2)["rmse"][name]["mean"] == 0
    stoppers = {key for key, contestant in bench.CONTESTANTS.items() if contestant.looks}
    assert stoppers == {name}


def test_early_stoppers_are_those_at_the_posts_setting():
    names = {name for name, contestant in bench.CONTESTANTS.items() if contestant.looks}
    assert names == {"keras-tensorflow", "keras-jax", "ours-tensorflow", "ours-jax"}


SPACE = {
    "default": {"x": 1},
    "recommended": {"x": 2},
    "ranges": {"x": {"whole": [3, 5]}, "y": {"log": [0.01, 1.0]}, "z": ["p", "q"]},
}


def searched(split, budget, errors=(), seconds=10.0, space=SPACE):
    """Search with trials that take `seconds` and are off by `errors` stars (the rest by 1)."""
    now, asked, shown = [0.0], [], []

    def trial(setting, inner):
        now[0] += seconds
        asked.append(setting)
        shown.append(np.isfinite(inner.valid.ratings).any())
        error = dict(enumerate(errors)).get(len(asked) - 1, 1.0)
        if error is None:
            raise ValueError("diverged")
        return 3.0 + np.full(len(inner.valid.users), error)

    split = split._replace(valid=split.valid._replace(ratings=np.full(18, 3.0, "float32")))
    found = peers.search(trial, split, space, budget, clock=lambda: now[0])
    assert not any(shown), "a trial gets the ratings that it is judged by"
    return found, asked


@pytest.mark.parametrize(
    ("budget", "trials"), [(0, 2), (29.9, 2), (30, 3), (39.9, 3), (100, 10), (105, 10)]
)
def test_no_trial_begins_that_would_overrun_the_budget(split, budget, trials):
    found, asked = searched(split, budget)
    assert len(asked) == len(found["trials"]) == trials
    assert found["seconds"] == 10 * trials


def test_search_tries_the_default_then_the_recommended_then_at_random(split):
    _, asked = searched(split, 500)
    assert asked[:2] == [{"x": 1}, {"x": 2}]
    assert asked == searched(split, 500)[1], "the seed of the split fixes what is tried"
    assert asked[2:] != searched(split._replace(seed=4), 500)[1][2:]
    drawn = asked[2:]
    assert len(drawn) == 48
    assert {setting["x"] for setting in drawn} == {3, 4, 5}
    assert {setting["z"] for setting in drawn} == {"p", "q"}
    logs = np.log10([setting["y"] for setting in drawn])
    assert (logs >= -2).all()
    assert (logs <= 0).all()
    assert -1.3 < np.median(logs) < -0.7, "not logarithmic"
    without = {key: SPACE[key] for key in ("default", "ranges")}
    assert searched(split, 0, space=without)[1] == [{"x": 1}]


def test_best_inner_rmse_wins_and_of_equals_the_first(split):
    found, asked = searched(split, 60, [0.5, None, 0.25, 0.75, 0.25])
    assert found["best"] == 2
    assert found["setting"] == asked[2]
    assert found["inner_rmse"] == pytest.approx(0.25)
    assert [one.get("rmse") for one in found["trials"]] == [0.5, None, 0.25, 0.75, 0.25, 1.0]
    assert found["trials"][1]["failed"] == "ValueError: diverged"
    with pytest.raises(RuntimeError, match="no trial succeeded: ValueError: diverged"):
        searched(split, 500, [None, None], seconds=0.0)


def test_a_search_is_stored_and_its_setting_runs(tiny_ratings, run_bench):
    report = run_bench("fake-tuned", splits=(3,))
    search, run = report["runs"]
    assert (search["kind"], search["name"], search["split"]) == ("search", "fake-tuned", 3)
    assert [one["setting"] for one in search["trials"]] == [{"stars": 1.0}, {"stars": 3.5}]
    train, valid = data.train_valid_split(tiny_ratings, 3)
    _, inner = data.train_valid_split(train, 3, 0.9)
    expected = np.sqrt(np.mean((inner["rating"] - 3.5) ** 2))
    assert search["inner_rmse"] == pytest.approx(expected, abs=1e-6)
    assert run["setting"] == search["setting"] == {"stars": 3.5}
    expected = np.sqrt(np.mean((valid["rating"] - 3.5) ** 2))
    assert run["rmse"] == pytest.approx(expected, abs=1e-6)
    assert bench.protocol(report) == {"budget": 0, "splits": [3], "repeats": 1}
    more = run_bench("fake-tuned", splits=(3,), budget=0.2)["runs"][0]["trials"]
    assert len(more) > 2
    assert all(0.5 <= one["setting"]["stars"] <= 0.6 for one in more[2:])


def test_predictions_of_all_are_kept_within_the_scale():
    np.testing.assert_array_equal(peers.clipped([-1, 0.5, 3.2, 7]), [0.5, 0.5, 3.2, 5.0])


def test_rmse_is_of_the_validation_part(tiny_ratings, run_bench):
    report = run_bench("fake-three", "fake-mean", splits=(3,))
    train, valid = data.train_valid_split(tiny_ratings, 3)
    constants = {"fake-three": 3.0, "fake-mean": train["rating"].mean()}
    for name, constant in constants.items():
        expected = np.sqrt(np.mean((valid["rating"] - constant) ** 2))
        assert report["rmse"][name]["mean"] == pytest.approx(expected, abs=1e-6)
    assert report["missing"] == {}


def test_a_run_says_what_it_took(run_bench):
    (found,) = run_bench("fake-three")["runs"]
    assert (found["name"], found["split"], found["repeat"]) == ("fake-three", 0, 0)
    assert found["versions"]["numpy"] == np.__version__
    assert len(found["starts"]) == 2
    for start in found["starts"]:
        parts = [start[f"{what}_seconds"] for what in ("import", "fit", "predict")]
        assert min(parts) >= 0
        assert start["import_seconds"] > 0
        assert sum(parts) <= start["shell_seconds"] < 60
        assert 5 < start["memory_mb"] < 400  # NumPy, and not what this process holds


def test_the_second_start_takes_what_the_first_has_kept_and_no_one_elses(run_bench):
    runs = run_bench("fake-three", "fake-mean", repeats=2)["runs"]
    assert len(runs) == 4
    for run in runs:
        assert [start["compile_seconds"] for start in run["starts"]] == [0.25, 0.125]


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_without_proc_is_in_the_units_of_the_platform(monkeypatch, platform, unit):
    usage = SimpleNamespace(ru_maxrss=3_000_000_000 // unit)
    monkeypatch.setattr(peers, "Path", lambda name: Path("/no/such/file"))
    monkeypatch.setattr(peers.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(peers.sys, "platform", platform)
    assert peers.peak_memory() == pytest.approx(3_000)


def test_who_cannot_run_is_missing_with_the_reason_and_the_rest_goes_on(
    run_bench, contestants, tmp_path
):
    (tmp_path / "fake-env.log").write_text("Collecting\nERROR: no compiler here\nbye\n")
    names = ["fake-absent", "fake-broken", "fake-short", "fake-nan", "fake-three"]
    report = run_bench(*names, repeats=2)
    reasons = {
        "fake-absent": "no interpreter fake-env/bin/python: ERROR: no compiler here",
        "fake-broken": "ImportError: no library of that name",
        "fake-short": "no usable result: 18 true ratings against 1 predictions",
        "fake-nan": "no usable result: a rating or a prediction is not a finite number",
    }
    assert report["missing"] == reasons
    assert [run["name"] for run in report["runs"] if "rmse" in run] == ["fake-three"] * 2
    twice = ["fake-nan", "fake-short", "fake-three"]  # two starts a run
    assert sorted(calls(tmp_path)) == sorted(["fake-broken", *twice, *twice, *["fake-three"] * 2])
    shown = bench.table(report)
    assert shown.index[0] == "fake three"
    assert dict(shown["missing because"].iloc[1:]) == {
        contestants[name].label: reason for name, reason in reasons.items()
    }
    assert bench.draw(report).axes[0].texts[0].get_text() == "fake three"
    plt.close("all")


def test_the_next_bench_tries_the_missing_again_and_no_one_else(run_bench, contestants, tmp_path):
    first = run_bench("fake-three", "fake-absent")
    assert set(first["missing"]) == {"fake-absent"}
    there = contestants["fake-three"].command
    contestants["fake-absent"] = replace(contestants["fake-absent"], command=there)
    (tmp_path / "fake.py").write_text(FAKE.replace('"fake-three"', '"fake-absent"'))
    again = run_bench("fake-three", "fake-absent")
    assert again["missing"] == {}
    kept = [one for one in again["runs"] if one["name"] == "fake-three"]
    assert kept == [one for one in first["runs"] if one["name"] == "fake-three"]
    assert calls(tmp_path) == ["fake-three"] * 2 + ["fake-absent"] * 2


def test_a_run_that_takes_too_long_is_ended(run_bench, contestants, tmp_path, monkeypatch):
    (tmp_path / "fake.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(bench, "TIME_LIMIT", 0.2)
    assert run_bench("fake-three")["missing"] == {"fake-three": "not ready after 0.2 s"}


def test_finished_runs_count_for_these_locks_alone(tmp_path):
    assert [file.stem for file in bench.BENCH.files] == sorted(GROUPS)
    lock, places = tmp_path / "a.lock", set()
    for text in ("one==1", "one==2"):
        lock.write_text(text)
        places.add(replace(bench.BENCH, files=(lock,), with_data=False).memory().location)
    assert len(places) == 2


START = {
    "shell_seconds": 9.0,
    "import_seconds": 1.0,
    "fit_seconds": 2.0,
    "compile_seconds": None,
    "predict_seconds": 1.0,
    "memory_mb": 100.0,
}


def run(name, *starts, split=0, repeat=0, rmse=0.9):
    """A run with one start, or as many as there are dicts of what differs."""
    found = {"rmse": rmse, "versions": {"lib": "1.2"}, "setting": None}
    found["starts"] = [START | start for start in starts or [{}]]
    return {"kind": "run", "name": name, "split": split, "repeat": repeat, **found}


def test_medians_are_over_the_repetitions_of_the_first_split_alone():
    runs = [
        run("a", {"fit_seconds": s}, {"fit_seconds": s + 1}, repeat=i)
        for i, s in enumerate([2.0, 9.0, 2.0])
    ]
    runs += [run("a", {"fit_seconds": 100.0}, split=split) for split in (1, 2, 3, 4)]
    medians = bench.medians(runs)
    assert medians["a"]["n_runs"] == 3
    assert medians["a"]["train_seconds"] == 3.0  # of 2, 3, 9, 10, 2, 3
    assert medians["a"]["compile_seconds"] is None


def test_medians_tell_first_from_second_starts_and_fitting_from_compiling():
    first = {"shell_seconds": 8.0, "fit_seconds": 5.0, "compile_seconds": 4.0}
    second = {"shell_seconds": 3.0, "fit_seconds": 2.0, "compile_seconds": 1.0}
    found = bench.medians([run("a", first, second)])["a"]
    assert (found["first_seconds"], found["second_seconds"]) == (8.0, 3.0)
    assert found["compile_seconds"] == 4.0
    assert found["train_seconds"] == 1.0


def test_rmse_is_compared_split_by_split(monkeypatch):
    monkeypatch.setattr(bench, "OURS", "a")
    ours = dict(zip(range(3), (0.80, 0.90, 1.00), strict=True))
    runs = [run("a", split=split, rmse=value) for split, value in ours.items()]
    runs += [run("a", split=0, repeat=1, rmse=0.80)]  # repeats make no new split
    gaps = [0.01, 0.02, 0.03]
    runs += [run("b", split=split, rmse=ours[split] + gaps[split]) for split in (2, 0, 1)]
    runs += [run("c", split=0, rmse=0.7)]
    found = bench.rmse(runs)
    assert (found["a"]["mean"], found["a"]["low"], found["a"]["high"]) == pytest.approx(
        metrics.mean_interval([0.8, 0.9, 1.0], valid_share=0.2)
    )
    difference = [found["b"][f"difference{end}"] for end in ("", "_low", "_high")]
    assert difference == pytest.approx(metrics.mean_interval(gaps, valid_share=0.2))
    assert found["a"]["difference"] == found["a"]["difference_low"] == 0
    assert found["c"]["mean"] == 0.7
    assert found["c"]["low"] is None
    assert found["c"]["difference"] == pytest.approx(-0.1)


def test_spans_that_overlap_count_once():
    assert ours.covered([(0, 4), (1, 2), (3, 5), (8, 9)]) == 6
    assert ours.covered([]) == 0


def search_of(name, split, best, trials=3):
    tried = [{"setting": {"x": 0.123456, "y": n}, "rmse": 0.9} for n in range(trials)]
    found = {"best": best, "setting": tried[best]["setting"], "inner_rmse": 0.91234}
    part = {"kind": "search", "name": name, "split": split, "budget": 50}
    return {**part, **found, "seconds": 49.6 + trials, "trials": tried}


@pytest.fixture
def report(monkeypatch):
    space = SPACE | {"source": "manual"}
    labels = {name: bench.Contestant(name.upper(), space, ()) for name in "abc"}
    monkeypatch.setattr(bench, "CONTESTANTS", labels)
    monkeypatch.setattr(bench, "OURS", "b")
    runs = [search_of("b", 0, 0), search_of("b", 1, 1, trials=5)]
    runs += [run("a", {"memory_mb": 1234.5}, {}, rmse=0.9), run("a", split=1, rmse=0.92)]
    runs += [run("b", {}, {}, rmse=0.81234), run("b", split=1, rmse=0.8)]
    runs += [{"kind": "run", "name": "c", "split": 0, "repeat": 0, "missing": "no such"}]
    return {"runs": runs, "medians": "not taken on trust"}


def test_table_has_the_best_first_and_the_missing_last(report):
    shown = bench.table(report)
    assert list(shown.index) == ["B", "A", "C"]
    low, high = metrics.mean_interval([0.81234, 0.8], valid_share=0.2)[1:]
    ours, other = shown.loc["B"], shown.loc["A"]
    assert ours["RMSE"] == f"0.8062 ({low:.4f} to {high:.4f})"
    assert ours["minus ours"] == ""
    assert other["minus ours"].startswith("+0.1038 (-")
    assert other["memory, MB"] == "667"
    assert other["shell, first, s"] == other["shell, second, s"] == "9.00"
    assert other["compile, s"] == ""
    assert other["version"] == "lib 1.2"
    assert shown.loc["C", "missing because"] == "no such"
    assert not shown.loc["C"].iloc[:-1].any()
    present = {"runs": [one for one in report["runs"] if "missing" not in one]}
    assert "missing because" not in bench.table(present)


def test_what_was_searched_and_found_is_tabulated(report):
    spaces = bench.spaces(report)
    assert list(spaces.index) == ["B"]
    assert dict(spaces.loc["B"]) == {
        "space": "x 3 to 5, y 0.01 to 1 (log), z p or q",
        "recommended by": "manual",
        "trials": "3 to 5",
        "seconds": "53 to 55",
        "default best": "1 of 2",
        "recommended best": "1 of 2",
    }
    found = bench.settings(report)
    assert list(found.index) == [("B", 0), ("B", 1)]
    assert list(found.loc[("B", 1)]) == ["x 0.123, y 1", "2 of 5", "0.9123"]
    assert bench.protocol(report) == {"budget": 50, "splits": [0, 1], "repeats": 1}


def test_labels_of_the_figure_overlap_nothing_and_lie_inside():
    runs = [
        run(name, {}, {"shell_seconds": 5 + 0.3 * i}, rmse=0.85 + 0.002 * (i % 3))
        for i, name in enumerate(bench.CONTESTANTS)
    ]
    fig = bench.draw({"runs": runs, "medians": "not taken on trust"})
    fig.set_dpi(150)  # the places hold at any resolution
    fig.canvas.draw()
    (ax,) = fig.axes
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the leader
    texts = [text.get_text() for text in ax.texts]
    assert sorted(texts) == sorted(c.label for c in bench.CONTESTANTS.values())
    inside = ax.get_window_extent()
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[i + 1 :]), texts[i]
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1
    points = ax.transData.transform(np.concatenate([line.get_xydata() for line in ax.lines]))
    assert len(points) == len(runs)
    assert not any(box.contains(*point) for box in boxes for point in points)
    plt.close(fig)


def test_every_contestant_is_known_to_the_script_that_runs_it():
    for name, contestant in bench.CONTESTANTS.items():
        module = ours if ours.__file__ in contestant.command else peers
        assert name in module.CONTESTANTS, name
        assert name.split("-")[0] in module.VERSIONS, name
        assert contestant.tuned_as in (None, *module.SPACES), name
    assert bench.CONTESTANTS.keys() == ours.CONTESTANTS.keys() | peers.CONTESTANTS.keys()
    assert {name.split("-")[0] for name in peers.CONTESTANTS} == peers.VERSIONS.keys()
    labels = {contestant.label for contestant in bench.CONTESTANTS.values()}
    assert len(labels) == len(bench.CONTESTANTS) <= 16


SPACES = {**ours.SPACES, **peers.SPACES}


def test_every_space_is_searched_for_one_contestant_and_stored():
    tuned = {name for name, one in bench.CONTESTANTS.items() if one.tuned_as == name}
    assert tuned == set(SPACES)
    stored = json.loads(json.dumps(bench.BENCH.settings))
    for name, contestant in bench.CONTESTANTS.items():
        if contestant.tuned_as:
            assert stored[name] == SPACES[contestant.tuned_as]


@pytest.mark.parametrize("name", SPACES)
def test_a_space_holds_settings_ready_for_json(name):
    space = SPACES[name]
    assert ("recommended" in space) == ("source" in space)
    tried = list(itertools.islice(peers.settings(space, 0), 20))
    assert json.loads(json.dumps(tried)) == tried
    assert tried[0] == space["default"]
    assert set(space["default"]) <= set(space["ranges"]) | {"y_range"}


def test_our_space_reaches_from_8_to_128_dimensions_as_that_of_others():
    assert ours.SPACE["ranges"]["dim"] == peers.DIMENSIONS == [8, 16, 32, 64, 128]


def test_peers_script_imports_no_library_before_a_contestant_asks():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-I", "-c", code, str(PEERS)]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in modules
    assert not {"embedlens", "keras", "tensorflow", "jax", "pandas", "scipy"} & set(modules)


def test_features_of_svd_plus_plus_by_hand():
    """User 1 rated movies 1 and 3, user 2 movie 3 alone, user 3 none."""
    train = peers.Part(np.array([1, 1, 2]), np.array([1, 3, 3]), np.array([5.0, 4.0, 0.5]))
    users, movies = peers.svd_plus_plus_features(train, 3, 4)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        users.toarray(),
        [
            [1, 0, 0, half, 0, half, 0],
            [0, 1, 0, 0, 0, 1, 0],
            [0, 0, 1, 0, 0, 0, 0],
        ],
    )
    np.testing.assert_allclose(
        movies.toarray(),
        [
            [1, 0, 0, 0, 1, 0, 0],
            [0, 1, 0, 0, 0, 0, 0],
            [0, 0, 1, 0, half, half, 0],
            [0, 0, 0, 1, 0, 0, 0],
        ],
    )


def test_the_literal_port_is_plain_training_with_the_seed_of_the_split(tiny_ratings, split):
    predictions = ours.CONTESTANTS["keras-tensorflow"]()(split)()
    train, valid = data.train_valid_split(tiny_ratings, 3)
    _, history = training.train(BIAS, (12, 15), train, valid, 3, way="plain")
    ours_rmse = metrics.rmse(valid["rating"], predictions)
    assert ours_rmse == pytest.approx(history["valid_rmse"].iloc[-1], abs=1e-6)


def test_ours_train_as_readers_do_and_the_tuned_never_see_the_validation_part(monkeypatch, split):
    seen = {}

    def train(recipe, sizes, train, valid, seed, way=None):
        seen[name] = recipe.model.__name__, way, valid is not None
        return None, None

    monkeypatch.setattr(training, "train", train)
    for name in ours.CONTESTANTS:
        ours.CONTESTANTS[name]()(split)
    assert seen == {
        "keras-tensorflow": ("DotWithBias", "plain", True),
        "keras-jax": ("DotWithBias", "plain", True),
        "ours-tensorflow": ("DotWithBias", None, True),
        "ours-jax": ("DotWithBias", None, True),
        "ours-tuned-tensorflow": ("PenalisedDotWithBias", None, False),
        "ours-tuned-jax": ("PenalisedDotWithBias", None, False),
        "ours-carried": ("PenalisedDotWithBias", None, False),
    }


@pytest.mark.parametrize("recipe", [BIAS, ours.recipe(**ours.SPACE["default"])])
def test_our_models_can_be_trained_row_by_row(recipe):
    model = recipe(12, 15)
    model(np.array([[1, 1]], "int32"))
    assert training.tables(model) == [0, 1, 0, 1]


def test_a_setting_decides_all_of_our_recipe():
    drawn = next(itertools.islice(peers.settings(ours.SPACE, 1), 1, None))
    recipe = ours.recipe(**drawn)
    stored = recipe.settings()
    assert {name: stored[name] for name in drawn} == drawn
    assert stored["patience"] is None
    model = recipe(12, 15)
    for name in ("user_dropout", "movie_dropout"):
        assert getattr(model, name).rate == drawn[name]


def test_on_tensorflow_compiling_is_a_second_fit_to_a_batch(monkeypatch, split):
    fitted = []
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    compiling = ours.watch_compiling(fitted.append, split)
    assert not fitted, "it counts to the seconds from the shell"
    assert compiling(0.0) >= 0
    [part] = fitted
    assert len(part.train.users) == 32
    assert len(part.valid.users) == 18


def test_ours_run_in_processes_of_their_own_and_keep_what_they_compile(
    tiny_ratings, monkeypatch, tmp_path
):
    monkeypatch.setattr(data, "prepared", lambda: tiny_ratings)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = bench.measure("run", "ours-tuned-jax", 0, n_starts=2)
    assert 0.5 < found["rmse"] < 3
    first, second = found["starts"]
    assert 0 < second["compile_seconds"] < first["compile_seconds"] < first["fit_seconds"]
    assert not list(tmp_path.iterdir()), "the first start could have less to compile"
    assert set(found["versions"]) == {"keras", "tensorflow", "jax", "numpy", "python"}


def test_our_script_imports_nothing_of_the_bench():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-c", code, ours.__file__]
    env = {**os.environ, "KERAS_BACKEND": "jax"}  # starts faster
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "embedlens.training" in modules
    assert not [name for name in modules if name.startswith("embedlens.experiments")]


GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]


@pytest.mark.parametrize("peer", GROUPS)
def test_lock_of_a_peer_satisfies_its_group_and_names_no_address(peer):
    lock = (ROOT / f"peers/{peer}.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", lock.strip())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert "://" not in lock
    pins = [Requirement(block.split(" \\")[0]) for block in blocks]
    for wanted in map(Requirement, GROUPS[peer]):
        same = [pin for pin in pins if canonicalize_name(pin.name) == wanted.name]
        assert same, wanted
        for pin in same:
            (version,) = (specifier.version for specifier in pin.specifier)
            assert wanted.specifier.contains(version), pin


def test_makefile_installs_every_peer_that_the_bench_calls():
    makefile = (ROOT / "Makefile").read_text()
    (installed,) = re.findall(r"^PEERS := (.*)$", makefile, flags=re.MULTILINE)
    pythons = [Path(c.command[0]) for c in bench.CONTESTANTS.values() if "-I" in c.command]
    assert {python.relative_to(ROOT).parts[:2] for python in pythons} == {
        (".venv-peers", peer) for peer in installed.split()
    }
    assert set(installed.split()) == set(GROUPS) - {"recbole"}  # read, not run


@pytest.mark.parametrize("place", ["bin", ".pyenv/versions/3.12.1/bin"])
def test_peers_get_the_newest_python_at_hand(tmp_path, place):
    """One from the path or of pyenv, whose stand-ins on the path may fail."""
    folders = tmp_path / "bin", tmp_path / place
    for folder, name, status in [(0, "python3.13", 1), (1, "python3.12", 0), (0, "python3.11", 0)]:
        folders[folder].mkdir(parents=True, exist_ok=True)
        script = folders[folder] / name
        script.write_text(f"#!/bin/sh\nexit {status}\n")
        script.chmod(0o755)
    found = subprocess.run(
        ["make", "-f", "Makefile", "-f", "-", "print"],
        input="print: ; @echo $(PEERS_PYTHON)\n",
        cwd=ROOT,
        env={"PATH": f"{folders[0]}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).name == "python3.12"


@pytest.fixture(scope="module")
def stored():
    return bench.BENCH.load(STORED)


def test_stored_bench_is_complete(stored):
    asked = bench.protocol(stored)
    runs = pd.DataFrame(stored["runs"])
    searches, runs = (runs[runs["kind"] == kind] for kind in ("search", "run"))
    assert set(searches["budget"]) == {asked["budget"]}
    for split in asked["splits"]:
        assert set(searches.loc[searches["split"] == split, "name"]) == set(SPACES)
        ran = set(runs.loc[runs["split"] == split, "name"])
        assert ran == set(bench.CONTESTANTS) - {bench.CARRIED}, stored["missing"]
    assert runs["rmse"].between(0.7, 1.1).all()
    again = runner.as_json(bench.summary(stored["runs"]))
    assert again == {key: stored[key] for key in ("missing", "medians", "rmse")}


def test_stored_bench_kept_to_the_protocol(stored):
    budget, splits, repeats = bench.BUDGET, list(bench.SPLITS), bench.REPEATS
    assert bench.protocol(stored) == {"budget": budget, "splits": splits, "repeats": repeats}


def test_stored_bench_shows_that_the_tuned_setting_meets_its_target(stored):
    if bench.protocol(stored)["budget"] < bench.BUDGET:
        pytest.skip("a short search finds what it finds")
    rmse, medians = stored["rmse"], stored["medians"]
    svd = "surprise-svd-tuned"
    for name in ("ours-tuned-jax", "ours-tuned-tensorflow"):
        assert rmse[name]["mean"] <= rmse[svd]["mean"]
    assert medians["ours-tuned-jax"]["train_seconds"] < medians[svd]["train_seconds"]


def test_stored_bench_agrees_with_plain_fit_at_the_posts_settings(stored):
    """Same seed, same initial weights: on JAX the same batches and dropout as well."""
    runs = pd.DataFrame(stored["runs"])
    rmse = runs[runs["kind"] == "run"].groupby(["name", "split"])["rmse"].median()
    assert (rmse["ours-jax"] - rmse["keras-jax"]).abs().max() < 0.003
    assert (rmse["ours-tensorflow"] - rmse["keras-tensorflow"]).abs().mean() < 0.003
