import json
import os
from pathlib import Path
import subprocess
import sys

from embedlens import audit, data, recommended
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
STORED = ROOT / "book/results/recommended.json"


@pytest.fixture(scope="module")
def stored():
    return recommended.load(STORED)


def test_stored_measures_are_complete(stored):
    assert stored.index.tolist() == recommended.SPLITS
    assert np.isfinite(stored.to_numpy()).all()
    for name in recommended.MODELS:
        for n in recommended.SETTINGS["given"]:
            assert stored[f"{name}_folded_{n}"].between(0.7, 1.1).all()
        for most in recommended.SETTINGS["movie_groups"]:
            assert stored[f"movies_{name}_{most}"].between(0.7, 1.1).all()
        # Whoever has given nothing is the average user, with a vector or without.
        assert (stored[f"{name}_folded_0"] == stored[f"{name}_alone_0"]).all()
    assert (stored["popularity_top_tenth"] == 1).all()


def test_stored_measures_name_data_and_commit():
    provenance = json.loads(STORED.read_text())["provenance"]
    assert provenance["data"] == audit.dataset_digest()
    assert not provenance["commit"].endswith("+"), "made from uncommitted code"


AGAIN = """
import json, sys
import numpy as np
from embedlens import data, lists, ranking, recommend, recommended
ridge = json.loads(sys.argv[1])
train, valid = data.train_valid_split(data.prepared(), 0)
new = recommended.new_users(0)
_, given, asked = recommended.part(train, valid, new)
space = recommended.space_without("tuned", train, valid, new, 0)
found = {n: recommended.folded_rmse(space, given, asked, n, ridge) for n in (0, 5, 10**6)}
found = {f"tuned_folded_{n}": rmse for n, rmse in found.items()}
model = recommended.fit("tuned", train, valid, 0)
measures = recommended.by_movie_group({"tuned": model}, train, valid)
sizes = data.count_users_and_movies(data.prepared())
popularity = lists.counts(train["movieIdDense"], sizes[1])
seen = ranking.seen_matrix(train, sizes)
listed = recommended.list_measures(recommend.scores(model)[0], seen, popularity, valid)
found |= measures | {f"tuned_{key}": value for key, value in listed.items()}
print(json.dumps({key: float(value) for key, value in found.items()}))
"""


def test_the_tuned_model_of_split_0_again_agrees_with_the_stored_one(stored):
    ridge = {"clip": 0.1}
    ridge |= {key: stored.loc[0, f"tuned_ridge_{key}"] for key in ("vector", "bias")}
    result = subprocess.run(
        [sys.executable, "-c", AGAIN, json.dumps(ridge)],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    again = json.loads(result.stdout.splitlines()[-1])
    assert len(again) == 3 + 2 * 9 + 9
    for key, value in again.items():
        if key == "tuned_popularity":
            assert value == pytest.approx(stored.loc[0, key], abs=2)
        else:
            assert value == pytest.approx(stored.loc[0, key], abs=0.004), key


def test_every_user_is_new_on_one_split():
    n_users, _ = data.count_users_and_movies(data.prepared())
    together = np.concatenate([recommended.new_users(split) for split in recommended.SPLITS])
    assert sorted(together) == list(range(1, n_users + 1))


def test_ratings_of_new_users_are_set_apart(tiny_ratings):
    train, valid = data.train_valid_split(tiny_ratings, 0)
    rest, given, asked = recommended.part(train, valid, [2, 5])
    assert set(given["userIdDense"]) == {2, 5} >= set(asked["userIdDense"])
    assert not set(rest["userIdDense"]) & {2, 5}
    assert len(rest) + len(given) == len(train)


def test_folded_rmse_by_hand(tiny_ratings):
    """With a flat space and no penalty on the bias, one rating decides."""
    rows = tiny_ratings.assign(rating=4.0)
    n_movies = rows["movieIdDense"].nunique()
    ids = np.arange(1, n_movies + 1)
    flat = recommended.foldin.Space(
        ids, np.zeros((n_movies, 2)), np.zeros(n_movies), np.zeros(2), 0
    )
    ridge = {"vector": 1.0, "bias": 1e-9, "clip": 0.1}
    assert recommended.folded_rmse(flat, rows, rows, 1, ridge) == pytest.approx(0, abs=1e-6)
    assert recommended.folded_rmse(flat, rows, rows, 0, ridge) == pytest.approx(4.0 - 2.75)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"provenance": {"data": "x"}}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    file = tmp_path / "recommended.json"
    file.write_text(content)
    with pytest.raises(ValueError, match="not a file that make recommended wrote"):
        recommended.load(file)


def test_measures_of_other_settings_are_refused(tmp_path):
    report = json.loads(STORED.read_text())
    report["provenance"]["settings"]["n"] = 20
    file = tmp_path / "recommended.json"
    file.write_text(json.dumps(report))
    with pytest.raises(ValueError, match="made for other settings; run make recommended again"):
        recommended.load(file)


def test_command_stores_what_load_reads(monkeypatch, tmp_path, stored):
    def collect(splits, folder, measure):
        return {split: stored.loc[split].to_dict() for split in splits}

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(recommended.audit, "collect", collect)
    recommended.main(["--output", str(tmp_path / "recommended.json")])
    again = recommended.load(tmp_path / "recommended.json")
    pd.testing.assert_frame_equal(again, stored)
