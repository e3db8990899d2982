import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments, metrics, published
from embedlens.experiments import canonical

STORED = "book/results/canonical.json"
SETTING = canonical.FIRST | {"epochs": 1, "dim": 2, "batch_size": 512}
USERS = {"user": 0.1, "vector": 0.1, "noise": 0.8}


def made_up(n_users=20, n_movies=50, n=500):
    rng = np.random.default_rng(0)
    pairs = rng.choice(n_users * n_movies, n, replace=False)
    frame = pd.DataFrame(
        {
            "userId": pairs // n_movies,
            "movieId": pairs % n_movies,
            "rating": rng.integers(1, 6, n).astype(float),
            "timestamp": rng.integers(0, 10**6, n),
            "genres": np.array(["Drama", "War|Drama", data.NO_GENRES])[pairs % n_movies % 3],
            "title": "A movie",
        }
    )
    ids = {dense: data.dense_ids(frame[dense[:-5]]) for dense in data.IDS}
    return frame.assign(**ids)


@pytest.fixture
def small(monkeypatch, eagerly):
    """A benchmark of 500 ratings, and little of everything."""
    frame = made_up()
    monkeypatch.setattr(canonical, "ratings", lambda: frame)
    monkeypatch.setattr(canonical, "N_RATINGS", len(frame))
    monkeypatch.setattr(canonical, "N_TEST", len(frame) // 5)
    monkeypatch.setattr(canonical, "SEEDS", 2)
    monkeypatch.setattr(canonical, "TRIALS", {"bias": 2, "drift": 2, "users": 3})
    monkeypatch.setitem(canonical.SPACES["bias"], "epochs", [1, 2])
    monkeypatch.setitem(canonical.SPACES["bias"], "dim", [2])
    monkeypatch.setitem(canonical.SPACES["drift"], "epochs", [1, 2])
    monkeypatch.setitem(canonical.SPACES["drift"], "dim", [2])
    monkeypatch.setattr(canonical, "FIRST", SETTING)
    canonical.genre_rows.cache_clear()
    yield frame
    canonical.genre_rows.cache_clear()


def test_folds_are_the_fifths_in_their_order(small):
    parts = [canonical.fold(number) for number in canonical.FOLDS]
    assert np.array_equal(np.concatenate([test.index for _, test in parts]), small.index)
    for base, test in parts:
        assert len(base) + len(test) == len(small)
        assert not base.index.isin(test.index).any()


def test_no_choice_sees_a_test_part(small, monkeypatch):
    whole = canonical.fold
    monkeypatch.setattr(canonical, "fold", lambda number: (whole(number)[0], None))
    plan = canonical.search_one(2)
    stage = next(plan)
    while stage[0]["kind"] != "report":
        stage = plan.send([canonical.measure(**part) for part in stage])
    assert [part["model"] for part in stage] == ["biases", "feedback", "drift"]
    assert set(stage[1]["users"]) == set(USERS), "feedback is the row of ids alone"
    for part in stage:
        with pytest.raises((TypeError, AttributeError, KeyError)):
            canonical.measure(**part)
    base, aside = canonical.inner_parts(2)
    assert set(base.index) | set(aside.index) == set(whole(2)[0].index)


def test_reports_of_a_fold(small):
    found = canonical.measure("report", 1, "biases", {**bias_setting(), "epochs": 2})
    assert found["post peeked"] <= found["post"]
    assert found["bias peeked"] <= found["bias"]
    for model in ("feedback", "drift"):
        found = canonical.measure("report", 1, model, SETTING, USERS)
        assert len(found) == 7
        assert found[f"{model} peeked"] <= found[model] + 1e-6
        assert all(0.5 < value < 3 for value in found.values())


def test_an_average_is_of_stars(small, monkeypatch):
    test = canonical.fold(1)[1]
    monkeypatch.setattr(canonical.training, "predict", lambda *_, **__: np.full(len(test), 2.0))
    monkeypatch.setattr(canonical, "by_users", lambda *_: np.full(len(test), 5.0))
    found = canonical.measure("report", 1, "feedback", SETTING, USERS)
    for kind in ("", " ensemble"):
        assert found["feedback" + kind] == metrics.rmse(test["rating"], np.full(len(test), 2.0))
        average = metrics.rmse(test["rating"], np.full(len(test), 3.5))
        assert found["feedback averaged" + kind] == pytest.approx(average)


def bias_setting():
    ends = {name: values[0] for name, values in canonical.SPACES["bias"].items()}
    return ends | {"batch_size": 128}


INTER = """user_id:token\titem_id:token\trating:float\ttimestamp:float
7\t3\t5\t881250949
8\t3\t1\t891717742
7\t4\t2\t878887116
"""
ITEM = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
3\tToy Story\t1995\tAnimation Children's Comedy
4\tunknown\t\tunknown
"""


@pytest.fixture
def wheel(tmp_path):
    (tmp_path / "ml-100k.inter").write_text(INTER)
    (tmp_path / "ml-100k.item").write_text(ITEM)
    return tmp_path


def test_reads_what_the_wheel_holds(wheel):
    frame = data.prepare(canonical.from_wheel(wheel))
    assert frame["rating"].to_list() == [5, 1, 2]
    assert frame["timestamp"].to_list() == [881250949, 891717742, 878887116]
    assert frame["title"].iloc[0] == "Toy Story (1995)"
    assert frame["genres"].to_list() == ["Animation|Children's|Comedy"] * 2 + [data.NO_GENRES]


def test_other_ratings_or_another_order_are_refused(wheel, monkeypatch):
    monkeypatch.delenv(canonical.VARIABLE, raising=False)
    monkeypatch.setattr(canonical.provenance, "PACKAGE", wheel / "src/embedlens")
    with pytest.raises(FileNotFoundError, match="make run-canonical fetches"):
        canonical.ratings.__wrapped__()
    monkeypatch.setattr(canonical, "WHEEL", "[m]l-100k.i*")
    monkeypatch.setattr(canonical, "from_wheel", lambda _: canonical_source(wheel))
    with pytest.raises(ValueError, match="not the 100,000 ratings"):
        canonical.ratings.__wrapped__()
    right = canonical.digest(data.prepare(canonical_source(wheel)))
    monkeypatch.setattr(canonical, "DIGEST", right)
    frame = canonical.ratings.__wrapped__()
    assert canonical.digest(frame.iloc[::-1]) != right


def canonical_source(folder):
    return FROM_WHEEL(folder)


FROM_WHEEL = canonical.from_wheel


def stored_runs():
    return experiments.load(STORED)["runs"]


def test_each_stored_fold_reports_on_the_best_of_its_own_searches():
    runs = stored_runs()
    for number in canonical.FOLDS:
        mine = [run for run in runs if run["fold"] == number]
        for model, reported in (("bias", ["biases"]), ("drift", ["feedback", "drift"])):
            trials = [run for run in mine if run["kind"] == "search" and run["model"] == model]
            assert len(trials) == canonical.TRIALS[model]
            best = min(trials, key=lambda run: run["rmse"])["setting"]
            for run in mine:
                if run["kind"] != "search" and run["model"] in reported:
                    assert run["setting"] == best
        chosen = {run["model"]: run["users"] for run in mine if run["kind"] == "users"}
        reports = {run["model"]: run for run in mine if run["kind"] == "report"}
        assert {name: reports[name]["users"] for name in chosen} == chosen


def test_the_readme_gives_the_numbers():
    readme = " ".join(Path("README.md").read_text().split())
    ours = canonical.errors(experiments.load(STORED)).loc[1, "drift averaged ensemble"]
    lowest = min(error for _, _, error, *_ in published.ON_U1)
    assert f"best model has {ours:.3f}; the lowest number that we found published is" in readme
    assert f"is {lowest:.3f} (chapter 10" in readme


def test_published_numbers_have_a_source():
    sources = Path("book/references.bib").read_text()
    for system, key, error, uses, _ in published.ON_U1:
        assert f"{{{key}," in sources, system
        assert 0.85 < error < 1
        assert published.IDS in uses


def test_stored_errors_are_of_one_scale():
    for run in stored_runs():
        if run["kind"] == "report":
            values = [value for value in run.values() if isinstance(value, float)]
            assert len(values) in (4, 7)
            assert all(math.isfinite(value) and 0.8 < value < 1 for value in values)
    assert json.loads(json.dumps(canonical.CANONICAL.settings))["ml-100k"] == canonical.DIGEST
