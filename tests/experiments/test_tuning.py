from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, recipes, training
from embedlens.experiments import search, tuning

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/tuning.json"


@pytest.fixture(scope="module")
def stored():
    return tuning.SEARCH.load(STORED)


def test_the_tuned_recipe_is_what_the_stored_search_found(stored):
    assert tuning.found() == pytest.approx(tuning.best(stored), rel=1e-3)
    rmse = [run["rmse"] for run in stored["runs"]]
    assert len(rmse) == tuning.TRIALS
    assert 0.84 < min(rmse) < 0.88
    assert tuning.best(stored) == stored["runs"][int(np.argmin(rmse))]["setting"]


def test_stored_search_kept_to_its_space(stored):
    settings = pd.DataFrame([run["setting"] for run in stored["runs"]])
    assert list(settings) == list(tuning.SPACE)
    for name, values in tuning.SPACE.items():
        if name in search.CHOICES:
            assert set(settings[name]) <= set(values)
        else:
            assert settings[name].between(*values).all()


def searched(folder, trials):
    parts = partial(search.ask_and_tell, tuning.SPACE, trials)
    return replace(tuning.SEARCH, parts=parts).run(folder)


def test_search_never_sees_the_ratings_that_are_reported_on(monkeypatch, tmp_path):
    seen = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        seen.append((train_ratings, valid_ratings))
        assert sizes == data.count_users_and_movies(data.prepared())
        far_off = abs(np.log(recipe.training.learning_rate / 0.01))
        rmse = far_off + dict(recipe.options)["vector_penalty"]
        return None, pd.DataFrame({"valid_rmse": [9.0, rmse]})

    monkeypatch.setattr(training, "train", train)
    found = searched(tmp_path, trials=12)
    outer, reported = data.train_valid_split(data.prepared(), search.SPLITS["split"])
    assert len(seen) == 12 * len(search.SPLITS["inner_splits"])
    for inner, judged in seen:
        assert set(inner.index) | set(judged.index) == set(outer.index)
        assert not set(inner.index) & set(judged.index)
        assert not (set(inner.index) | set(judged.index)) & set(reported.index)
    assert tuning.best(found) == min(found["runs"], key=lambda run: run["rmse"])["setting"]


def test_a_setting_is_trained_as_the_tuned_recipe_is(monkeypatch):
    trained = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        trained.append((recipe, seed))
        return None, pd.DataFrame({"valid_rmse": [9.0, 1.0 + seed]})

    monkeypatch.setattr(training, "train", train)
    assert tuning.measure(tuning.found()) == {"rmse": 1.5}
    assert trained == [(recipes.TUNED, 0), (recipes.TUNED, 1)]


def test_same_search_twice(monkeypatch, tmp_path):
    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        return None, pd.DataFrame({"valid_rmse": [recipe.training.learning_rate]})

    monkeypatch.setattr(training, "train", train)
    first, again = (searched(tmp_path / name, trials=4) for name in ("first", "again"))
    assert first["runs"] == again["runs"]
    assert len({run["rmse"] for run in first["runs"]}) == 4
