import json
from pathlib import Path

from embedlens import commands, data, tuned
import numpy as np
import pandas as pd
import pytest

STORED = Path(__file__).parent.parent / "book/results/tuned.json"


@pytest.fixture(scope="module")
def stored():
    return tuned.load(STORED)


def test_settings_are_what_the_stored_search_found(stored):
    assert pytest.approx(stored["best"], rel=1e-3) == tuned.SETTINGS
    trials = pd.DataFrame(stored["trials"])
    assert len(trials) == tuned.SEARCH["trials"]
    best = trials.loc[trials["rmse"].idxmin()].drop("rmse").to_dict()
    assert best == pytest.approx(stored["best"])
    assert 0.84 < trials["rmse"].min() < 0.88


def test_stored_search_kept_to_its_space(stored):
    trials = pd.DataFrame(stored["trials"])
    for name in ("batch_size", "dim"):
        assert set(trials[name]) <= set(tuned.SEARCH[name])
    for name in ("learning_rate", "epochs", "vector_penalty", "bias_penalty"):
        assert trials[name].between(*tuned.SEARCH[name]).all()
    assert not stored["provenance"]["commit"].endswith("+"), "made from uncommitted code"


def test_search_never_sees_the_ratings_that_are_reported_on(monkeypatch):
    seen = []

    def fake_train(sizes, train_ratings, seed, settings, valid_ratings):
        seen.append((train_ratings, valid_ratings))
        rmse = abs(np.log(settings["learning_rate"] / 0.01)) + settings["vector_penalty"]
        return None, pd.DataFrame({"valid_rmse": [9.0, rmse]})

    monkeypatch.setattr(tuned, "train", fake_train)
    found = tuned.search(trials=12)
    outer, reported = data.train_valid_split(data.prepared(), tuned.SEARCH["split"])
    assert len(seen) == 12 * len(tuned.SEARCH["inner_splits"])
    for inner, judged in seen:
        assert set(inner.index) | set(judged.index) == set(outer.index)
        assert not set(inner.index) & set(judged.index)
        assert not (set(inner.index) | set(judged.index)) & set(reported.index)
    lowest = min(found["trials"], key=lambda trial: trial["rmse"])
    assert {name: lowest[name] for name in found["best"]} == found["best"]


def test_same_search_twice(monkeypatch):
    def fake_train(sizes, train_ratings, seed, settings, valid_ratings):
        return None, pd.DataFrame({"valid_rmse": [settings["learning_rate"]]})

    monkeypatch.setattr(tuned, "train", fake_train)
    first, again = tuned.search(trials=4), tuned.search(trials=4)
    assert json.dumps(first["trials"]) == json.dumps(again["trials"])


def test_another_space_invalidates_the_stored_search(monkeypatch):
    monkeypatch.setitem(tuned.SEARCH, "epochs", [1, 2])
    with pytest.raises(ValueError, match="made for other settings; run make tune"):
        tuned.load(STORED)


def test_tuned_setting_on_jax_meets_its_target():
    (rmse,) = commands.in_own_process(["embedlens.tuned", "--evaluate", "0"], KERAS_BACKEND="jax")
    assert 0.855 < rmse <= 0.866
