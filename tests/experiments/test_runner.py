"""Every experiment: its stored file, and that it resumes; and the machinery itself."""

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest

from embedlens import data, experiments, provenance
from embedlens.experiments import runner

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "book/results"
NAMES = list(experiments.EXPERIMENTS)
each_experiment = pytest.mark.parametrize("name", NAMES)


def stored(name):
    return RESULTS / f"{name}.json"


def other_data():
    changed = data.prepared().copy()
    changed.loc[5, "rating"] = 5.5 - changed.loc[5, "rating"]
    return changed


@each_experiment
def test_stored_file_is_about_the_present_data_and_settings(name):
    report = experiments.load(stored(name))
    assert len(report["runs"]) > 1
    assert not report["provenance"]["commit"].endswith("+"), "made from uncommitted code"
    assert report["provenance"]["versions"]["jax"]


@each_experiment
def test_stored_file_is_written_as_the_runner_writes(name, tmp_path):
    report = experiments.load(stored(name))
    runner.write(report, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == stored(name).read_text()


@each_experiment
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"provenance": {"data": "x"}}', "\x00"])
def test_a_damaged_file_is_refused(name, content, tmp_path):
    file = tmp_path / f"{name}.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"not a file that python -m embedlens run {name} wrote"):
        experiments.load(file)


@each_experiment
def test_a_missing_file(name, tmp_path):
    with pytest.raises(FileNotFoundError):
        experiments.load(tmp_path / f"{name}.json")


def test_outside_the_repository_results_come_with_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert experiments.load("results/sweep.json") == experiments.load(stored("sweep"))
    with pytest.raises(FileNotFoundError):
        experiments.load("sweep.json")


@each_experiment
def test_other_settings_are_refused(name, monkeypatch):
    experiment = experiments.get(name)
    key = next(iter(experiment.settings))
    monkeypatch.setitem(experiment.settings, key, "other")
    with pytest.raises(ValueError, match=f"made for other settings; .*run {name} makes it anew"):
        experiments.load(stored(name))


@each_experiment
def test_other_data_are_refused(name, monkeypatch):
    changed = other_data()
    monkeypatch.setattr(data, "prepared", lambda timestamps=False: changed)
    if experiments.get(name).with_data:
        with pytest.raises(ValueError, match="made for other data"):
            experiments.load(stored(name))
    else:
        experiments.load(stored(name))


@each_experiment
def test_kept_parts_of_other_code_data_or_settings_are_not_taken(name, monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path))
    experiment, changed = experiments.get(name), other_data()
    places = [experiment.memory().location]
    monkeypatch.setattr(provenance, "fingerprint", lambda file: "other code")
    places.append(experiment.memory().location)
    monkeypatch.setitem(experiment.settings, "another", 1)
    places.append(experiment.memory().location)
    if experiment.with_data:
        monkeypatch.setattr(data, "prepared", lambda timestamps=False: changed)
        places.append(experiment.memory().location)
    assert len({str(place) for place in places}) == len(places)


class Interrupt(BaseException):
    """As KeyboardInterrupt."""


class Stub:
    """Takes the place of what measures: quick, the same for the same part, and it counts."""

    def __init__(self, stops_after=None):
        self.measured, self.stops_after = [], stops_after

    def __call__(self, **part):
        if len(self.measured) == self.stops_after:
            raise Interrupt
        self.measured.append(joblib.hash(part))
        value = 0.8 + int(joblib.hash(part)[:6], 16) / 16**6 / 10
        return {key: value for key in ("rmse", "error", "loss", "rmse_averaged", "users")}


class Replay:
    """Takes the place of what measures: gives what was stored for the same part."""

    def __init__(self, name):
        self.runs = stored_parts(name)

    def __call__(self, **part):
        part = json.loads(json.dumps(part))
        (found,) = [run for run in self.runs if part.items() <= run.items()]
        return {key: value for key, value in found.items() if key not in part}


class Keeping:
    """As joblib.Memory, in a dict: `Stub` is no function of a module."""

    def __init__(self):
        self.kept = {}

    def cache(self, measure):
        def keep(**part):
            key = joblib.hash(part)
            if key not in self.kept:
                self.kept[key] = measure(**part)
            return self.kept[key]

        keep.check_call_in_cache = lambda **part: joblib.hash(part) in self.kept
        return keep


@each_experiment
def test_interrupted_it_goes_on_without_loss_or_double(name, monkeypatch):
    """The plan of every experiment, with what measures replaced."""
    experiment = experiments.get(name)
    whole, first = Stub(), Stub(stops_after=5 if len(stored_parts(name)) > 5 else 2)
    plain = runner.Experiment(name, experiment.settings, experiment.parts, whole, jobs=1)
    monkeypatch.setattr(runner.Experiment, "file", property(lambda self: runner.__file__))
    monkeypatch.setattr(runner.Experiment, "memory", lambda self: memory)
    memory = Keeping()
    expected = plain.run()["runs"]
    memory = Keeping()
    with pytest.raises(Interrupt):
        runner.Experiment(name, plain.settings, plain.parts, first, jobs=1).run()
    second = Stub()
    report = runner.Experiment(name, plain.settings, plain.parts, second, jobs=1).run()
    assert report["runs"] == expected
    assert report["provenance"]["seconds"] is None, "these are not the seconds of all parts"
    assert first.measured + second.measured == whole.measured
    assert len(set(whole.measured)) == len(whole.measured)


def stored_parts(name):
    return json.loads(stored(name).read_text())["runs"]


@each_experiment
def test_stored_file_has_a_run_for_each_part(name, monkeypatch):
    experiment = experiments.get(name)
    # Which way this one climbs depends on what it finds.
    answers = Replay(name) if name == "shapes" else Stub()
    monkeypatch.setattr(runner.Experiment, "file", property(lambda self: runner.__file__))
    plain = runner.Experiment(name, experiment.settings, experiment.parts, answers, jobs=1)
    monkeypatch.setattr(runner.Experiment, "memory", lambda self: Keeping())
    assert len(plain.run()["runs"]) == len(stored_parts(name))


def total(runs):
    return {"total": sum(run["value"] for run in runs)}


def square(x):
    return {"value": np.int64(x) ** 2, "half": np.float32(x) / 2}


def test_report_holds_parts_results_and_what_they_depend_on(tmp_path):
    parts = [{"x": x} for x in (3, 1, 3)]
    experiment = runner.Experiment("squares", {"a": [1]}, parts, square, jobs=1, summary=total)
    report = experiment_run(experiment, tmp_path)
    assert report["runs"][0] == {"x": 3, "value": 9, "half": 1.5}
    assert [run["x"] for run in report["runs"]] == [3, 1, 3]
    assert report["total"] == 19
    assert report["provenance"]["settings"] == {"a": [1]}
    assert report["provenance"]["seconds"] >= 0
    runner.write(report, tmp_path / "squares.json")
    assert experiment.load(tmp_path / "squares.json") == json.loads(json.dumps(report))
    assert experiment_run(experiment, tmp_path)["provenance"]["seconds"] is None


def experiment_run(experiment, folder):
    """Run, as if the test were a module of the package."""
    found, provenance.PACKAGE = provenance.PACKAGE, Path(__file__).parent
    try:
        return experiment.run(folder / "kept")
    finally:
        provenance.PACKAGE = found


def test_stages_get_the_results_of_those_before(tmp_path):
    def plan():
        found = yield [{"x": 2}, {"x": 3}]
        while found[-1]["value"] < 100:
            found = yield [{"x": found[-1]["value"]}]

    experiment = runner.Experiment("squares", {"a": 1}, plan, square, jobs=1)
    assert [run["x"] for run in experiment_run(experiment, tmp_path)["runs"]] == [2, 3, 9, 81]


def test_a_failing_part_loses_no_other(tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0)
    parts = [{"x": x} for x in range(4)]
    keep = memory.cache(fails_at_two)
    with pytest.raises(OSError, match="out of luck"):
        runner.collect(keep, parts, jobs=1)
    assert keep.check_call_in_cache(x=1)
    assert not keep.check_call_in_cache(x=2)


def fails_at_two(x):
    if x == 2:
        raise OSError("out of luck")
    return square(x)


@pytest.mark.filterwarnings("ignore:.*Exception while loading results")
def test_a_damaged_part_is_measured_anew(tmp_path):
    keep = joblib.Memory(tmp_path, verbose=0).cache(square)
    first = runner.collect(keep, [{"x": 1}, {"x": 2}], jobs=1)
    for file in tmp_path.rglob("output.pkl"):
        file.write_bytes(file.read_bytes()[:20])
    assert runner.collect(keep, [{"x": 1}, {"x": 2}], jobs=1) == first


SLOW = """
import sys, time
import joblib
from embedlens.experiments import runner

def slow(seed):
    with open(sys.argv[2], "a") as log:
        log.write(f"{seed}\\n")
    time.sleep(0.3)
    return {"value": seed}

keep = joblib.Memory(sys.argv[1], verbose=0).cache(slow)
print(runner.collect(keep, [{"seed": seed} for seed in range(6)], jobs=1))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_it_goes_on_without_loss_or_double(tmp_path, end):
    log, kept, script = tmp_path / "log", tmp_path / "kept", tmp_path / "slow.py"
    script.write_text(SLOW)
    call = [sys.executable, script, kept, log]
    process = subprocess.Popen(
        call,
        stderr=subprocess.DEVNULL,
        # A shell that runs the tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(list(kept.rglob("output.pkl"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    while process.poll() is None:  # Python drops an interrupt that meets a finaliser: press again
        process.send_signal(end)
        time.sleep(0.1)
    assert process.wait() != 0
    finished = {file: file.stat().st_mtime_ns for file in kept.rglob("output.pkl")}
    started = log.read_text().split()
    assert 2 <= len(finished) < 6
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str([{"value": seed} for seed in range(6)])
    for file, written in finished.items():
        assert file.stat().st_mtime_ns == written, "a finished part was measured again"
    again = log.read_text().split()[len(started) :]
    assert [int(seed) for seed in again] == list(range(len(finished), 6))


ON_DASK = """
import sys
from dask.distributed import Client, LocalCluster
from embedlens.experiments import runner
import joblib

def square(x):
    return {"value": x**2}

if __name__ == "__main__":
    one_thread = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    keep = joblib.Memory(sys.argv[1], verbose=0).cache(square)
    with LocalCluster(**one_thread) as cluster, Client(cluster) as client:
        with joblib.parallel_config(backend="dask"):
            print(runner.collect(keep, [{"x": x} for x in range(5)], jobs=None))
"""


def test_collect_on_a_dask_cluster(tmp_path):
    """In a process of its own: Dask sets the number of threads for all that follows."""
    (tmp_path / "on_dask.py").write_text(ON_DASK)
    done = subprocess.run(
        [sys.executable, tmp_path / "on_dask.py", tmp_path / "kept"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str([{"value": x**2} for x in range(5)])
    assert len(list((tmp_path / "kept").rglob("output.pkl"))) == 5


def test_own_process_has_its_variables_and_its_result_comes_back():
    assert runner.in_own_process(os.getenv, "SOME_VARIABLE", SOME_VARIABLE="set") == "set"


def test_own_process_that_fails(capfd):
    with pytest.raises(RuntimeError, match=r"listdir\('/no/such',\): exit status 1"):
        runner.in_own_process(os.listdir, "/no/such")
    assert "No such file" in capfd.readouterr().err


def test_numbers_become_plain():
    given = {"a": np.float32(0.1), "b": (np.int64(3), [np.bool_(True), None]), 5: "text"}
    found = runner.as_json(given)
    assert found == {"a": 0.1, "b": [3, [True, None]], "5": "text"}
    assert json.loads(json.dumps(found)) == found
