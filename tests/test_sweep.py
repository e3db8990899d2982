import json
import os
from pathlib import Path
import subprocess
import sys

from embedlens import audit, sweep
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
STORED = ROOT / "book/results/sweep.json"


@pytest.fixture(scope="module")
def curves():
    return sweep.load(STORED)


def test_stored_sweep_is_complete(curves):
    runs = {
        (setting["dim"], setting["movie_dropout"], seed)
        for setting in sweep.settings()
        for seed in sweep.SEEDS
    }
    assert len(runs) == (7 + 8 - 1) * 3
    lengths = curves.groupby(["dim", "movie_dropout", "seed"])["epoch"].agg(list)
    assert set(lengths.index) == runs
    assert (lengths.map(tuple) == tuple(range(1, 11))).all()
    assert curves[["train_rmse", "valid_rmse"]].stack().between(0.1, 1.5).all()


def test_stored_sweep_names_data_and_commit():
    provenance = json.loads(STORED.read_text())["provenance"]
    assert provenance["data"] == audit.dataset_digest()
    assert not provenance["commit"].endswith("+"), "made from uncommitted code"


AGAIN = "from embedlens import sweep; print(sweep.run(1, 0.6, 0, epochs=2).to_json())"


def test_a_run_again_agrees_with_the_stored_one(curves):
    result = subprocess.run(
        [sys.executable, "-c", AGAIN],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    again = json.loads(result.stdout)
    stored = curves.query("dim == 1 and movie_dropout == 0.6 and seed == 0 and epoch <= 2")
    for column in ("train_rmse", "valid_rmse"):
        ours = list(again[column].values())
        assert len(ours) == 2
        np.testing.assert_allclose(ours, stored[column], rtol=0, atol=0.003)


def test_the_posts_setting_agrees_with_the_audit(curves):
    """Seeds 0 to 2 were trained by the audit too, with early stopping."""
    measures = audit.load(ROOT / "book/results/verdict.json")["seeds"]
    post = curves.query("dim == 64 and movie_dropout == 0.6").set_index(["seed", "epoch"])
    for seed in sweep.SEEDS:
        last = int(measures[str(seed)]["bias_epochs"])
        ours = post.loc[(seed, last), "valid_rmse"]
        assert ours == pytest.approx(measures[str(seed)]["bias_last"], abs=0.003)


def test_means_are_over_the_seeds_of_one_side(curves):
    means = sweep.mean_curves(curves, "dim")
    assert list(means.index.unique(0)) == sweep.DIMS
    some = curves.query("dim == 8 and epoch == 3")["valid_rmse"]
    assert len(some) == 3
    assert means.loc[(8, 3), "valid_rmse"] == pytest.approx(some.mean())
    assert list(sweep.mean_curves(curves, "movie_dropout").index.unique(0)) == sweep.DROPOUTS


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"provenance": {"data": "x"}}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    file = tmp_path / "sweep.json"
    file.write_text(content)
    with pytest.raises(ValueError, match="not a file that make sweep wrote"):
        sweep.load(file)


@pytest.mark.parametrize("key", ["data", "settings"])
def test_a_sweep_of_something_else_is_refused(tmp_path, key):
    stored = json.loads(STORED.read_text())
    stored["provenance"][key] = "another"
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=f"made for other {key}; run make sweep again"):
        sweep.load(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --output"),
        (["--output", "no/such/folder/file.json"], "no file in an existing folder"),
        (["--output", "."], "no file in an existing folder"),
        (["--output", "sweep.json", "--what"], "unrecognized"),
    ],
)
def test_bad_arguments_get_a_usage_error(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        sweep.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_command_trains_every_setting_and_stores_what_load_reads(monkeypatch, tmp_path):
    calls = []

    def trained(dim, movie_dropout, seed):
        calls.append((dim, movie_dropout, seed))
        stored = sweep.load(STORED)
        found = (stored[["dim", "movie_dropout", "seed"]] == [dim, movie_dropout, seed]).all(axis=1)
        return stored[found]

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(sweep, "run", trained)
    sweep.main(["--output", str(tmp_path / "sweep.json")])
    assert len(calls) == len(set(calls)) == 42
    again, stored = (json.loads(path.read_text()) for path in (tmp_path / "sweep.json", STORED))
    assert again["runs"] == stored["runs"]
    assert len(sweep.load(tmp_path / "sweep.json")) == 420
