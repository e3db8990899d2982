from dataclasses import replace
from pathlib import Path
import shutil

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


def test_the_best_of_the_stored_search_were_judged_anew(stored):
    runs = pd.DataFrame(stored["runs"])
    trials, finalists = runs[runs["fresh"].isna()], runs[runs["fresh"].notna()]
    assert len(trials) == tuning.TRIALS * len(tuning.SAMPLERS)
    assert len(finalists) == tuning.FINALISTS
    lowest = trials.sort_values("rmse", kind="stable")["setting"].head(tuning.FINALISTS)
    assert finalists["setting"].to_list() == lowest.to_list()
    assert tuning.best(stored) == finalists.loc[finalists["rmse"].idxmin(), "setting"]
    assert 0.84 < finalists["rmse"].min() < 0.88


def test_stored_search_kept_to_its_space(stored):
    settings = pd.DataFrame([run["setting"] for run in stored["runs"]])
    assert list(settings) == list(tuning.SPACE)
    for name, values in tuning.SPACE.items():
        if name in search.CHOICES:
            assert set(settings[name]) <= set(values)
        else:
            assert settings[name].between(*values).all()


@pytest.fixture
def small_search(monkeypatch):
    monkeypatch.setattr(tuning, "TRIALS", 6)
    monkeypatch.setattr(tuning, "FINALISTS", 4)


def searched(folder):
    return replace(tuning.SEARCH, jobs=1).run(folder)


@pytest.mark.usefixtures("small_search")
def test_search_never_sees_the_ratings_that_are_reported_on(monkeypatch, tmp_path):
    seen = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        seen.append((train_ratings, valid_ratings))
        assert sizes == data.count_users_and_movies(data.prepared())
        far_off = abs(np.log(recipe.training.learning_rate / 0.01))
        rmse = far_off + dict(recipe.options)["vector_penalty"]
        return None, pd.DataFrame({"valid_rmse": [9.0, rmse]})

    monkeypatch.setattr(training, "train", train)
    found = searched(tmp_path)
    outer, reported = data.train_valid_split(data.prepared(), search.SPLITS["split"])
    n_trials = 6 * len(tuning.SAMPLERS) * len(search.SPLITS["inner_splits"])
    assert len(seen) == n_trials + 4 * len(tuning.FRESH_SPLITS)
    for inner, judged in seen:
        assert set(inner.index) | set(judged.index) == set(outer.index)
        assert not set(inner.index) & set(judged.index)
        assert not (set(inner.index) | set(judged.index)) & set(reported.index)
    judged_on = [
        {frozenset(judged.index) for _, judged in part}
        for part in (seen[:n_trials], seen[n_trials:])
    ]
    assert not judged_on[0] & judged_on[1], "the finalists' cuts are not fresh"
    assert tuning.best(found) == min(found["runs"], key=lambda run: run["rmse"])["setting"]
    asked = [run["setting"]["learning_rate"] for run in found["runs"][: 6 * len(tuning.SAMPLERS)]]
    assert len(set(asked)) == len(asked), "the samplers ask the same"


def test_a_setting_is_trained_as_it_says(monkeypatch):
    trained = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        trained.append((recipe, seed))
        return None, pd.DataFrame({"valid_rmse": [9.0, 1.0 + seed]})

    monkeypatch.setattr(training, "train", train)
    tuned = recipes.TUNED.settings()
    setting = {name: tuned.get(name, 0.0) for name in tuning.SPACE}
    assert tuning.measure(setting) == {"rmse": 1.5}
    without = recipes.TUNED.with_options(user_dropout=0.0, movie_dropout=0.0)
    assert trained == [(without, 0), (without, 1)]
    assert tuning.measure(setting, fresh=True) == {"rmse": 2.5}


@pytest.mark.usefixtures("small_search")
def test_same_search_twice(monkeypatch, tmp_path):
    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        return None, pd.DataFrame({"valid_rmse": [recipe.training.learning_rate]})

    monkeypatch.setattr(training, "train", train)
    first, again = (searched(tmp_path / name) for name in ("first", "again"))
    assert first["runs"] == again["runs"]
    assert len({run["rmse"] for run in first["runs"]}) == 6 * len(tuning.SAMPLERS)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A folder with 3,000 made-up ratings."""
    folder = tmp_path_factory.mktemp("release")
    rng = np.random.default_rng(0)
    pairs = rng.choice(100 * 80, 3000, replace=False)
    ratings = pd.DataFrame({"userId": pairs // 80 + 1, "movieId": pairs % 80 + 1})
    ratings["rating"] = rng.integers(1, 11, len(ratings)) / 2
    ratings["timestamp"] = 0
    ratings.to_csv(folder / "ratings.csv", index=False)
    movies = pd.DataFrame({"movieId": range(1, 81), "title": "A film", "genres": "Drama"})
    movies.to_csv(folder / "movies.csv", index=False)
    return str(folder)


@pytest.fixture
def quick(monkeypatch):
    """Instead of training: the RMSE of a setting, and what was seen."""
    seen = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        assert sizes == (100, 80)
        seen.append((recipe, train_ratings, valid_ratings))
        rmse = abs(np.log(recipe.training.learning_rate / 0.01)) + 0.001 * len(valid_ratings)
        return None, pd.DataFrame({"valid_rmse": [9.0, rmse]})

    monkeypatch.setattr(training, "train", train)
    return seen


def test_search_on_other_data_reports_on_ratings_that_it_never_saw(release, quick, tmp_path):
    report = tuning.on_other_data(release, trials=9).run(tmp_path)
    *searched_in, (chosen, train, reported) = quick
    outer = set(train.index)
    assert len(outer) == 2400
    assert len(reported) == 600
    assert not outer & set(reported.index)
    assert len(searched_in) == 2 * 9
    for _, inner, judged in searched_in:
        assert set(inner.index) | set(judged.index) == outer
    *trials, last = report["runs"]
    assert chosen == tuning.recipe(min(trials, key=lambda run: run["rmse"])["setting"])
    assert report["recipe"] == chosen.settings()
    assert report["rmse"] == last["rmse"]
    assert len({run["rmse"] for run in trials}) == 9


def test_search_on_other_data_keeps_to_its_time_and_goes_on_later(release, quick, tmp_path):
    first = tuning.on_other_data(release, minutes=0, trials=4).run(tmp_path)
    assert len(first["runs"]) == 1 + 1
    whole = tuning.on_other_data(release, trials=4).run(tmp_path)
    assert whole["runs"][0] == first["runs"][0]
    assert len(whole["runs"]) == 4 + 1
    n_reported = len(
        {run["setting"]["learning_rate"] for run in (first["runs"][-1], whole["runs"][-1])}
    )
    assert len(quick) == 2 * 4 + n_reported, "a finished trial was made again"


def test_finished_trials_are_kept_apart_by_data(release, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(release, other)
    text = (other / "ratings.csv").read_text().replace(",5.0,", ",4.5,", 1)
    (other / "ratings.csv").write_text(text)
    one, two = (tuning.on_other_data(str(place)) for place in (release, other))
    assert one.memory().location != two.memory().location
