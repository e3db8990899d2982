"""The bench without its peers: fake contestants run in processes of their own, as real ones do."""

import json
from pathlib import Path
import re
import subprocess
import sys
import tomllib

from embedlens import audit, bench, data, ours, peers, training
from embedlens.models import DotWithBias
import matplotlib.pyplot as plt
from matplotlib.text import Text
import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
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

def compiling(fit, split, run):
    run()
    return 0.25

contestants = {{
    "fake-three": predicts(lambda split: np.full(len(split.valid.users), 3.0)),
    "fake-mean": predicts(mean),
    "fake-truth": predicts(lambda split: split.valid.ratings),
    "fake-short": predicts(lambda split: [3.0]),
    "fake-nan": predicts(lambda split: np.full(len(split.valid.users), np.nan)),
    "fake-broken": broken,
}}
with open(__file__ + ".log", "a") as log:
    print(sys.argv[1], file=log)
peers.main(contestants=contestants, versions={{"fake": ["numpy"]}}, compiling=compiling)
"""


@pytest.fixture
def fakes(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    names = re.findall(r'"(fake-\w+)":', FAKE)
    command = (sys.executable, "-I", str(script))
    found = {name: bench.Contestant(name.replace("-", " "), "none", command) for name in names}
    nowhere = str(tmp_path / "fake-env/bin/python")
    found["fake-absent"] = bench.Contestant("fake absent", "none", (nowhere, str(script)))
    return found


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


def test_every_second_round_runs_backwards():
    runs = bench.schedule(["a", "b", "c"], [0, 5], 2)
    assert [name for name, _, _ in runs] == list("abccbaabccba")
    assert [run[1:] for run in runs[::3]] == [(0, 0), (5, 0), (0, 1), (5, 1)]
    assert len(set(runs)) == len(runs)


def test_rmse_is_of_the_validation_part(tiny_ratings, fakes, tmp_path):
    names = ["fake-three", "fake-mean", "fake-truth"]
    report = bench.bench(fakes, bench.schedule(names, [3], 1), tmp_path / "kept", tiny_ratings)
    train, valid = data.train_valid_split(tiny_ratings, 3)
    constants = {"fake-three": 3.0, "fake-mean": train["rating"].mean()}
    for name, constant in constants.items():
        expected = np.sqrt(np.mean((valid["rating"] - constant) ** 2))
        assert report["medians"][name]["rmse"] == pytest.approx(expected, abs=1e-6)
    assert report["medians"]["fake-truth"]["rmse"] == 0
    assert report["missing"] == {}


def test_a_run_says_what_it_took(tiny_ratings, fakes, tmp_path):
    runs = bench.schedule(["fake-three"], [0], 1)
    (found,) = bench.bench(fakes, runs, tmp_path / "kept", tiny_ratings)["runs"]
    assert found["import_seconds"] > 0
    assert all(found[f"{what}_seconds"] >= 0 for what in ("fit", "predict", "compile"))
    assert 5 < found["memory_mb"] < 400  # NumPy, and not what this process holds
    assert found["versions"]["numpy"] == np.__version__


def test_who_cannot_run_is_missing_with_the_reason_and_the_rest_goes_on(
    tiny_ratings, fakes, tmp_path
):
    (tmp_path / "fake-env.log").write_text("Collecting\nERROR: no compiler here\nbye\n")
    names = ["fake-absent", "fake-broken", "fake-short", "fake-nan", "fake-three"]
    runs = bench.schedule(names, [0], 2)
    report = bench.bench(fakes, runs, tmp_path / "kept", tiny_ratings)
    reasons = {
        "fake-absent": "no interpreter fake-env/bin/python: ERROR: no compiler here",
        "fake-broken": "ImportError: no library of that name",
        "fake-short": "no usable result: 18 true ratings against 1 predictions",
        "fake-nan": "no usable result: a rating or a prediction is not a finite number",
    }
    assert report["missing"] == reasons
    assert [run["name"] for run in report["runs"]] == ["fake-three"] * 2
    assert sorted(calls(tmp_path)) == ["fake-broken", "fake-nan", "fake-short"] + ["fake-three"] * 2
    shown = bench.table(report, fakes)
    assert shown.index[0] == "fake three"
    assert dict(shown["missing because"].iloc[1:]) == {
        fakes[name].label: reason for name, reason in reasons.items()
    }
    assert bench.draw(report, fakes).axes[0].texts[0].get_text() == "fake three"
    plt.close("all")


def test_a_run_that_takes_too_long_is_ended(tiny_ratings, tmp_path, monkeypatch):
    script = tmp_path / "slow.py"
    script.write_text("import time; time.sleep(60)")
    slow = {"slow": bench.Contestant("slow", "none", (sys.executable, "-I", str(script)))}
    monkeypatch.setattr(bench, "TIME_LIMIT", 0.2)
    report = bench.bench(slow, [("slow", 0, 0)], tmp_path / "kept", tiny_ratings)
    assert report["missing"] == {"slow": "not ready after 0.2 s"}


def test_finished_runs_are_kept_and_a_damaged_one_is_made_again(tiny_ratings, fakes, tmp_path):
    runs = bench.schedule(["fake-three", "fake-mean"], [0], 2)
    first = bench.bench(fakes, runs[:3], tmp_path / "kept", tiny_ratings)
    bench.run_file(tmp_path / "kept", *runs[0]).write_text('{"rmse": ')
    again = bench.bench(fakes, runs, tmp_path / "kept", tiny_ratings)
    assert calls(tmp_path) == [name for name, _, _ in [*runs[:3], runs[0], runs[3]]]
    assert again["runs"][1:3] == first["runs"][1:]
    assert len(again["runs"]) == 4


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


def test_table_has_the_best_first():
    labels = {name: bench.Contestant(name.upper(), "", ()) for name in "ab"}
    runs = [run("a", rmse=0.9, compile_seconds=None), run("b", rmse=0.81234, memory_mb=1234.5)]
    shown = bench.table({"runs": runs, "missing": {}, "medians": bench.medians(runs)}, labels)
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
    report = {"runs": runs, "missing": {}, "medians": bench.medians(runs)}
    fig = bench.draw(report, bench.CONTESTANTS)
    fig.set_dpi(150)  # as the command saves it
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


@pytest.fixture
def one_fake(fakes, tmp_path, monkeypatch):
    """The command line with a single contestant and a cache of its own."""
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "CONTESTANTS", {"fake-three": fakes["fake-three"]})
    return tmp_path / "bench.json"


def test_command_stores_what_load_reads_and_goes_on_where_it_stopped(one_fake, tmp_path, capsys):
    arguments = ["--repeats", "2", "--output", str(one_fake)]
    figure = ["--figure", str(tmp_path / "bench.png")]
    assert bench.main(arguments) == 0
    assert bench.main([*arguments, *figure]) == 0
    assert len(calls(tmp_path)) == 2
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    _, valid = data.train_valid_split(data.prepare(data.load_movielens()), 0)
    expected = training.rmse(valid["rating"], np.full(len(valid), 3.0))
    assert f"fake three  {expected:.4f}" in shown
    loaded = bench.load(one_fake)
    assert loaded["medians"]["fake-three"]["rmse"] == pytest.approx(expected, abs=1e-6)
    assert loaded["provenance"]["data"] == audit.dataset_digest()
    assert [r["repeat"] for r in loaded["runs"]] == [0, 1]
    assert bench.main([*arguments, "--fresh"]) == 0
    assert len(calls(tmp_path)) == 4
    for key in ("data", "settings"):
        stored = json.loads(one_fake.read_text())
        stored["provenance"][key] = "another"
        other = tmp_path / "other.json"
        other.write_text(json.dumps(stored))
        with pytest.raises(ValueError, match=f"made for other {key}; run make bench again"):
            bench.load(other)
    stored = json.loads(one_fake.read_text())
    expected = stored["medians"]
    stored["medians"] = {"fake-three": {"rmse": 0.1}}
    one_fake.write_text(json.dumps(stored))
    assert bench.load(one_fake)["medians"] == expected, "medians taken on trust"


def test_an_interrupted_command_says_how_to_go_on(one_fake, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupted)
    assert bench.main([]) == 130
    assert "the same command goes on from there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nobody"], "invalid choice"),
        (["--repeats", "0"], "not a whole number from 1 on"),
        (["--splits", "-1"], "not a whole number from 0 on"),
        (["--output", "no/such/folder/file.json"], "no file in an existing folder"),
    ],
)
def test_bad_arguments_get_a_usage_error(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_every_contestant_is_known_to_the_script_that_runs_it():
    by_script = {"embedlens.ours": ours.CONTESTANTS, str(PEERS): peers.CONTESTANTS}
    for name, contestant in bench.CONTESTANTS.items():
        assert name in by_script[contestant.command[-1]], name
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
    training.set_seed(3)
    model = DotWithBias(12, 15, 0.5, 5.0)
    history = training.train(model, train, valid, fast=False)
    ours_rmse = training.rmse(valid["rating"], predictions)
    assert ours_rmse == pytest.approx(history["valid_rmse"].iloc[-1], abs=1e-6)


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


def test_stored_bench_is_of_this_code_and_complete():
    stored = bench.load(STORED)
    runs = pd.DataFrame(stored["runs"])
    assert runs["rmse"].between(0.7, 1.1).all()
    assert set(runs["name"]) == set(bench.CONTESTANTS), stored["missing"]
    assert set(runs["split"]) == {0, 1, 2, 3, 4}
    assert json.loads(STORED.read_text())["medians"] == stored["medians"]
    assert not stored["provenance"]["commit"].endswith("+"), "made from uncommitted code"


def test_stored_bench_shows_that_the_tuned_setting_meets_its_target():
    runs = pd.DataFrame(bench.load(STORED)["runs"])
    rmse = runs.groupby(["name", "split"])["rmse"].median()
    seconds = (runs["fit_seconds"] - runs["compile_seconds"].fillna(0)).groupby(runs["name"])
    svd = "surprise-svd-tuned"
    for name in ("ours-tuned-jax", "ours-tuned-tensorflow"):
        assert rmse[name, 0] <= 0.866
        assert rmse[name].mean() <= rmse[svd].mean()
    assert seconds.median()["ours-tuned-jax"] < seconds.median()[svd]


def test_stored_bench_agrees_with_plain_fit_at_the_posts_settings():
    """Same seed, same initial weights: on JAX the same batches and dropout as well."""
    rmse = pd.DataFrame(bench.load(STORED)["runs"]).groupby(["name", "split"])["rmse"].median()
    assert (rmse["ours-jax"] - rmse["keras-jax"]).abs().max() < 0.003
    assert (rmse["ours-tensorflow"] - rmse["keras-tensorflow"]).abs().mean() < 0.003
