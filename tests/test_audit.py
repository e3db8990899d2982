from dataclasses import replace
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from embedlens import __main__ as command
from embedlens import audit, claims, data, factors, figures, results
import numpy as np
from PIL import Image
import pytest

ROOT = Path(__file__).parent.parent
STORED = ROOT / "book/results/verdict.json"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "embedlens", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def stored():
    return audit.load(STORED)


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two-seeds")
    output = folder / "report.json"
    result = run(
        "reproduce", "--seeds", "2", "--plain", "0", "--folder", folder / "kept", "--output", output
    )
    return result, json.loads(output.read_text())


def test_two_seeds_agree_with_the_stored_audit(stored, two_seeds):
    """The mean of seeds 0 and 1 lies in the 95 % prediction interval of two more runs."""
    _, again = two_seeds
    untrained = audit.measure_without_training()
    for claim in claims.CLAIMS:
        if claim.measure in untrained:
            continue
        committed = [measures[claim.measure] for measures in stored["seeds"].values()]
        ours = np.mean([measures[claim.measure] for measures in again["seeds"].values()])
        low, high = claims.run_interval(committed, level=0.95, runs=2)
        assert low - 1e-6 <= ours <= high + 1e-6, (claim.id, low, ours, high)


def test_command_prints_every_claim_and_succeeds(two_seeds):
    result, _ = two_seeds
    assert result.returncode == 0, result.stderr[-2000:]
    for claim in claims.CLAIMS:
        assert claim.id in result.stdout
    assert "2/2" in result.stderr, "no progress shown"
    assert "cudart" not in result.stderr


def test_stored_audit_is_complete(stored):
    assert [c["id"] for c in stored["claims"]] == [c.id for c in claims.CLAIMS]
    assert list(stored["seeds"]) == [str(seed) for seed in range(20)]
    assert all(c["in_bound"] for c in stored["claims"])
    assert not stored["provenance"]["commit"].endswith("+"), "made from uncommitted code"
    assert stored["seconds"] < 8 * 60


def test_stored_verdicts_follow_from_the_stored_measures(stored):
    anew = [audit._as_json(a) for a in audit.assessments(stored)]
    assert json.loads(json.dumps(anew)) == stored["claims"]


def test_small_figure_shows_the_stored_audit(stored):
    with Image.open(ROOT / "book/_static/verdict.png") as picture:
        stamp = picture.text["Source"]
    assert stamp == figures.verdict_stamp(audit.assessments(stored)), "run make reproduce"


def test_readme_gives_the_size_of_the_audit(stored):
    size = f"audits {len(claims.CLAIMS)} claims over {len(stored['seeds'])} seeds"
    assert size in " ".join((ROOT / "README.md").read_text().split())


def test_row_wise_training_was_three_times_faster_and_the_same(stored):
    comparison = stored["comparison"]
    per_seed = comparison["plain_seconds"] / len(comparison["seeds"])
    assert per_seed * len(stored["seeds"]) > 3 * stored["seconds"]
    assert comparison["plain_seconds"] > 3 * comparison["row_wise_seconds"]
    assert comparison["largest_difference"] < 0.003


def test_a_changed_claim_invalidates_the_stored_audit(monkeypatch):
    first, *others = claims.CLAIMS
    for change in ({"low": first.low - 1}, {"published": 1}, {"statement": "another"}):
        monkeypatch.setattr(claims, "CLAIMS", (replace(first, **change), *others))
        with pytest.raises(ValueError, match=r"verdict.json: made for other claims; run make"):
            audit.load(STORED)


def test_other_data_invalidate_the_stored_audit(monkeypatch):
    changed = data.prepared().copy()
    changed.loc[5, "rating"] = 5.5 - changed.loc[5, "rating"]
    monkeypatch.setattr(data, "prepared", lambda: changed)
    with pytest.raises(ValueError, match="made for other data"):
        audit.load(STORED)


def test_other_settings_invalidate_the_stored_audit(monkeypatch):
    monkeypatch.setitem(audit.SETTINGS, "batch_size", 64)
    with pytest.raises(ValueError, match="made for other settings"):
        audit.load(STORED)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"provenance": {"data": "x"}}'])
def test_a_file_that_is_no_report_is_refused(tmp_path, content):
    file = tmp_path / "verdict.json"
    file.write_text(content)
    with pytest.raises(ValueError, match="not a file that make reproduce wrote"):
        audit.load(file)
    with pytest.raises(FileNotFoundError):
        audit.load(tmp_path / "missing.json")


def square(seed):
    return {"value": seed**2}


def test_collect_keeps_the_order_of_seeds_and_measures_each_once(tmp_path):
    calls = []

    def counted(seed):
        calls.append(seed)
        return square(seed)

    assert list(audit.collect([3, 1, 3], tmp_path, counted, jobs=1)) == [3, 1]
    results = audit.collect([1, 2, 3], tmp_path, counted, jobs=1)
    assert results == {1: {"value": 1}, 2: {"value": 4}, 3: {"value": 9}}
    assert calls == [3, 1, 2]


def test_collect_measures_a_damaged_seed_anew(tmp_path):
    audit.collect([0, 1], tmp_path, square, jobs=1)
    file = tmp_path / "seed-00001.json"
    file.write_text(file.read_text()[:5])
    assert audit.collect([1], tmp_path, square, jobs=1) == {1: {"value": 1}}
    assert json.loads(file.read_text()) == {"value": 1}


def test_a_failing_seed_loses_no_other(tmp_path):
    def fails_at_two(seed):
        if seed == 2:
            raise OSError("out of luck")
        return square(seed)

    with pytest.raises(OSError, match="out of luck"):
        audit.collect(range(4), tmp_path, fails_at_two, jobs=1)
    assert results.kept(tmp_path / "seed-00001.json") == {"value": 1}
    assert len(audit.collect(range(4), tmp_path, square, jobs=1)) == 4


SLOW = """
import sys, time
from embedlens import audit

def slow(seed):
    with open(sys.argv[2], "a") as log:
        log.write(f"{seed}\\n")
    time.sleep(0.4)
    return {"value": seed}

audit.collect(range(6), sys.argv[1], slow, jobs=1)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_it_goes_on_without_loss_or_double(tmp_path, end):
    log, kept = tmp_path / "log", tmp_path / "kept"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, kept, log],
        stderr=subprocess.DEVNULL,
        # A shell that runs the tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(list(kept.glob("seed-*.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(end)
    assert process.wait() != 0
    finished = {file.name: file.stat().st_mtime_ns for file in kept.glob("seed-*.json")}
    started = log.read_text().split()
    assert 2 <= len(finished) < 6
    subprocess.run([sys.executable, "-c", SLOW, kept, log], check=True, capture_output=True)
    assert {f.name for f in kept.glob("*")} == {f"seed-{seed:05d}.json" for seed in range(6)}
    for name, written in finished.items():
        assert (kept / name).stat().st_mtime_ns == written, "a finished seed was measured again"
    again = log.read_text().split()[len(started) :]
    assert [int(seed) for seed in again] == list(range(len(finished), 6))


ON_DASK = """
import sys
from dask.distributed import Client, LocalCluster
from embedlens import audit
import joblib

def square(seed):
    return {"value": seed**2}

if __name__ == "__main__":
    one_thread = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**one_thread) as cluster, Client(cluster) as client:
        with joblib.parallel_config(backend="dask"):
            results = audit.collect(range(5), sys.argv[1], square)
    print(results)
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
    assert done.stdout.strip() == str({seed: {"value": float(seed**2)} for seed in range(5)})
    assert len(list((tmp_path / "kept").glob("seed-*.json"))) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["reproduce", "--seeds", "1"], "'1' is not a whole number from 2 on"),
        (["reproduce", "--seeds", "many"], "'many' is not a whole number from 2 on"),
        (["reproduce", "--jobs", "0"], "'0' is not a whole number from 1 on"),
        (["reproduce", "--plain", "-1"], "'-1' is not a whole number from 0 on"),
        (["reproduce", "--output", "no/such/folder/file.json"], "no file in an existing folder"),
        (["reproduce", "--output", "."], "no file in an existing folder"),
        (["reproduce", "--what"], "unrecognized"),
    ],
)
def test_bad_arguments_get_a_usage_error(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_claim_out_of_its_bound_ends_with_status_1(monkeypatch, tmp_path, stored, capsys):
    for seed in (0, 1):
        results.keep(audit._file(tmp_path, seed), stored["seeds"][str(seed)])
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    arguments = ["reproduce", "--seeds", "2", "--plain", "0", "--folder", str(tmp_path)]
    assert command.main(arguments) == 0
    moved = {**stored["seeds"]["1"], "bias_last": 1.5}
    results.keep(audit._file(tmp_path, 1), moved)
    assert command.main(arguments) == 1
    assert "Out of its bound of 0.85 to 0.89" in capsys.readouterr().out


def test_interruption_ends_with_status_130_and_says_how_to_go_on(monkeypatch, tmp_path, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(audit, "collect", interrupted)
    assert command.main(["reproduce", "--folder", str(tmp_path)]) == 130
    assert "the same command goes on" in capsys.readouterr().out


def test_seeds_of_other_code_are_not_taken(monkeypatch):
    before = audit.default_folder()
    monkeypatch.setattr(audit.training, "fingerprint", lambda: "other code")
    assert audit.default_folder() != before


def test_row_wise_training_says_what_it_needs(tiny_ratings):
    from embedlens import rowwise
    from embedlens.models import SimpleDot

    with pytest.raises(RuntimeError, match="KERAS_BACKEND=jax"):
        rowwise.train(SimpleDot, (12, 15), tiny_ratings, tiny_ratings, 0)


def test_vector_measures_find_planted_appreciation():
    """Vectors that hold the mean rating: the correct join sees it, the other does not."""
    movies = factors.movie_table(data.prepared())
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, 0.01, (len(movies) + 1, 4))
    matrix[1:, 0] += movies["rating"] - 3.5
    measures = audit.vector_measures(matrix)
    assert measures["pc1_rating_correct"] > 0.99
    assert measures["pc1_rating_correct_p"] < 0.001
    assert measures["pc1_rating_off_by_one"] < 0.4
    assert measures["pc2_by_pc1"] < 0.1
    turned = audit.vector_measures(-matrix)
    assert turned["found_off_by_one"] == measures["found_off_by_one"]


def test_provenance_says_what_matters():
    found = audit.report(audit.load(STORED)["seeds"], None)["provenance"]
    assert found["versions"]["jax"]
    assert found["processor"]
    assert found["cores"] >= 1
    assert len(found["data"]) == len(found["claims"]) == 64
