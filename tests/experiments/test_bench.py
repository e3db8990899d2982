"""The bench without its peers: fake contestants run in processes of their own, as real ones do."""

from dataclasses import replace
from pathlib import Path
import re
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import matplotlib.pyplot as plt
from matplotlib.text import Text
import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pandas as pd
import pytest

from embedlens import data, metrics, training
from embedlens.experiments import bench
from embedlens.experiments.bench import ours, peers
from embedlens.recipes import BIAS

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/bench.json"
PEERS = Path(peers.__file__)
FAKE = f"""
import sys
sys.path.insert(0, {str(PEERS.parent)!r})
import numpy as np
import peers

def predicts(values):
    return lambda: lambda split: lambda: values(split)

def mean(split):
    return np.full(len(split.valid.users), split.train.ratings.mean())

def broken():
    raise ImportError("no library of that name")

def compile_seconds(fit, split, run):
    run()
    return 0.25

VERSIONS = {{"fake": ["numpy"]}}
CONTESTANTS = {{
    "fake-three": predicts(lambda split: np.full(len(split.valid.users), 3.0)),
    "fake-mean": predicts(mean),
    "fake-truth": predicts(lambda split: split.valid.ratings),
    "fake-short": predicts(lambda split: [3.0]),
    "fake-nan": predicts(lambda split: np.full(len(split.valid.users), np.nan)),
    "fake-broken": broken,
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
    found = {name: bench.Contestant(name.replace("-", " "), "none", command) for name in names}
    nowhere = str(tmp_path / "fake-env/bin/python")
    found["fake-absent"] = bench.Contestant("fake absent", "none", (nowhere, str(script)))
    return found


@pytest.fixture
def run_bench(tiny_ratings, contestants, tmp_path, monkeypatch):
    """Run the bench with these fakes; finished runs are kept from call to call."""
    monkeypatch.setattr(data, "prepared", lambda timestamps=False: tiny_ratings)

    def run(*names, splits=(0,), repeats=1):
        chosen = {name: contestants[name] for name in names}
        for key, value in zip(
            ["CONTESTANTS", "SPLITS", "REPEATS"], [chosen, splits, repeats], strict=True
        ):
            monkeypatch.setattr(bench, key, value)
        return bench.BENCH.run(tmp_path / "kept")

    return run


def calls(tmp_path):
    log = tmp_path / "fake.py.log"
    return log.read_text().split() if log.exists() else []


@pytest.fixture
def split(tiny_ratings, tmp_path):
    bench.write_split(tiny_ratings, 3, tmp_path / "3.npz")
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


def test_every_second_round_runs_backwards(monkeypatch):
    monkeypatch.setattr(bench, "CONTESTANTS", dict.fromkeys("abc"))
    monkeypatch.setattr(bench, "SPLITS", [0, 5])
    monkeypatch.setattr(bench, "REPEATS", 2)
    plan, rounds, found = bench.parts(), [], None
    for number in range(4):
        rounds.append(plan.send(found))
        found = [
            {"missing": "gone"} if number == 2 and p["name"] == "b" else {} for p in rounds[-1]
        ]
    with pytest.raises(StopIteration):
        plan.send(found)
    order = ["".join(part["name"] for part in one) for one in rounds]
    assert order == ["abc", "cba", "abc", "ca"]  # b is missing by then
    assert [(one[0]["split"], one[0]["repeat"]) for one in rounds] == [
        (0, 0),
        (5, 0),
        (0, 1),
        (5, 1),
    ]


def test_rmse_is_of_the_validation_part(tiny_ratings, run_bench):
    report = run_bench("fake-three", "fake-mean", "fake-truth", splits=[3])
    train, valid = data.train_valid_split(tiny_ratings, 3)
    constants = {"fake-three": 3.0, "fake-mean": train["rating"].mean()}
    for name, constant in constants.items():
        expected = np.sqrt(np.mean((valid["rating"] - constant) ** 2))
        assert report["medians"][name]["rmse"] == pytest.approx(expected, abs=1e-6)
    assert report["medians"]["fake-truth"]["rmse"] == 0
    assert report["missing"] == {}


def test_a_run_says_what_it_took(run_bench):
    (found,) = run_bench("fake-three")["runs"]
    assert (found["name"], found["split"], found["repeat"]) == ("fake-three", 0, 0)
    assert found["import_seconds"] > 0
    assert found["compile_seconds"] == 0.25
    assert all(found[f"{what}_seconds"] >= 0 for what in ("fit", "predict"))
    assert 5 < found["memory_mb"] < 400  # NumPy, and not what this process holds
    assert found["versions"]["numpy"] == np.__version__


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
    assert sorted(calls(tmp_path)) == ["fake-broken", "fake-nan", "fake-short"] + ["fake-three"] * 2
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
    assert again["runs"][0] == first["runs"][0]
    assert calls(tmp_path) == ["fake-three", "fake-absent"]


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


def run(name, **measured):
    filled = dict.fromkeys(bench.MEASURES, 1.0) | {"fit_seconds": 2.0} | measured
    del filled["train_seconds"]
    return {"name": name, "split": 0, "repeat": 0, **filled, "versions": {"lib": "1.2"}}


def test_medians_are_of_each_contestants_own_runs():
    seconds = [9.0, 1.0, 2.0]
    runs = [run("a", fit_seconds=s, compile_seconds=None) for s in seconds] + [run("b", rmse=0.5)]
    runs[-1] |= {"fit_seconds": 5.0, "compile_seconds": 4.0}
    medians = bench.medians(runs)
    assert medians["a"]["train_seconds"] == 2.0
    assert medians["b"]["train_seconds"] == 1.0
    assert medians["a"]["compile_seconds"] is None
    assert medians["a"]["n_runs"] == 3
    others = {"compile_seconds": 4.0, "rmse": 0.5}
    assert medians["b"] == {"n_runs": 1, **dict.fromkeys(bench.MEASURES, 1.0), **others}


def test_spans_that_overlap_count_once():
    assert ours.covered([(0, 4), (1, 2), (3, 5), (8, 9)]) == 6
    assert ours.covered([]) == 0


def test_table_has_the_best_first(monkeypatch):
    labels = {name: bench.Contestant(name.upper(), "", ()) for name in "ab"}
    monkeypatch.setattr(bench, "CONTESTANTS", labels)
    runs = [run("a", rmse=0.9, compile_seconds=None), run("b", rmse=0.81234, memory_mb=1234.5)]
    shown = bench.table({"runs": runs, "medians": "not taken on trust"})
    assert list(shown.index) == ["B", "A"]
    assert list(shown.loc["B"]) == [
        "0.8123",
        "1.00",
        "1.00",
        "1.00",
        "1.00",
        "1234",
        "1",
        "lib 1.2",
    ]
    assert shown.loc["A", "compile, s"] == ""


def test_labels_of_the_figure_overlap_nothing_and_lie_inside():
    runs = [
        run(name, rmse=0.85 + 0.002 * (i % 3), fit_seconds=5 + 0.3 * i)
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
        module = ours if ours.__name__ in contestant.command else peers
        assert name in module.CONTESTANTS, name
        assert name.split("-")[0] in module.VERSIONS, name
    assert bench.CONTESTANTS.keys() == ours.CONTESTANTS.keys() | peers.CONTESTANTS.keys()
    assert {name.split("-")[0] for name in peers.CONTESTANTS} == peers.VERSIONS.keys()
    labels = {contestant.label for contestant in bench.CONTESTANTS.values()}
    assert len(labels) == len(bench.CONTESTANTS)


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


def test_ours_train_in_their_ways_and_the_tuned_never_see_the_validation_part(monkeypatch, split):
    seen = {}

    def train(recipe, sizes, train, valid, seed, way):
        seen[name] = recipe.model.__name__, way, valid is not None
        return None, None

    monkeypatch.setattr(training, "train", train)
    for name in ours.CONTESTANTS:
        ours.CONTESTANTS[name]()(split)
    assert seen == {
        "keras-tensorflow": ("DotWithBias", "plain", True),
        "keras-jax": ("DotWithBias", "plain", True),
        "ours-tensorflow": ("DotWithBias", "compiled", True),
        "ours-jax": ("DotWithBias", "rowwise", True),
        "ours-tuned-tensorflow": ("PenalisedDotWithBias", "compiled", False),
        "ours-tuned-jax": ("PenalisedDotWithBias", "rowwise", False),
    }


def test_ours_run_in_a_process_of_their_own(tiny_ratings, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "prepared", lambda: tiny_ratings)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = bench.measure("ours-tuned-jax", split=0, repeat=0)
    assert 0.5 < found["rmse"] < 3
    assert 0 < found["compile_seconds"] < found["fit_seconds"]
    assert not list(tmp_path.iterdir()), "a second run would have less to compile"
    assert set(found["versions"]) == {"keras", "tensorflow", "jax", "numpy", "python"}


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
    assert set(installed.split()) == set(GROUPS)


def test_stored_bench_is_complete():
    stored = bench.BENCH.load(STORED)
    runs = pd.DataFrame(stored["runs"])
    assert runs["rmse"].between(0.7, 1.1).all()
    assert set(runs["name"]) == set(bench.CONTESTANTS), stored["missing"]
    assert set(runs["split"]) == set(bench.SPLITS)
    assert bench.summary(stored["runs"]) == {key: stored[key] for key in ("missing", "medians")}


def test_stored_bench_shows_that_the_tuned_setting_meets_its_target():
    runs = pd.DataFrame(bench.BENCH.load(STORED)["runs"])
    rmse = runs.groupby(["name", "split"])["rmse"].median()
    seconds = (runs["fit_seconds"] - runs["compile_seconds"].fillna(0)).groupby(runs["name"])
    svd = "surprise-svd-tuned"
    for name in ("ours-tuned-jax", "ours-tuned-tensorflow"):
        assert rmse[name, 0] <= 0.866
        assert rmse[name].mean() <= rmse[svd].mean()
    assert seconds.median()["ours-tuned-jax"] < seconds.median()[svd]


def test_stored_bench_agrees_with_plain_fit_at_the_posts_settings():
    """Same seed, same initial weights: on JAX the same batches and dropout as well."""
    rmse = (
        pd.DataFrame(bench.BENCH.load(STORED)["runs"]).groupby(["name", "split"])["rmse"].median()
    )
    assert (rmse["ours-jax"] - rmse["keras-jax"]).abs().max() < 0.003
    assert (rmse["ours-tensorflow"] - rmse["keras-tensorflow"]).abs().mean() < 0.003
