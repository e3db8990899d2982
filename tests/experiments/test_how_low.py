"""The rungs of chapter 10, their stored search and measures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, drift, experiments, training
from embedlens.experiments import how_low
from embedlens.models import DotWithFeedback

STORED = Path(__file__).parents[2] / "book/results"


@pytest.fixture(scope="module")
def searched():
    return experiments.load(STORED / "how_low_search.json")["runs"]


@pytest.fixture(scope="module")
def measured():
    return experiments.table(STORED / "how_low.json", index="split")


@pytest.mark.parametrize("rung", how_low.SETTINGS)
def test_settings_are_what_the_stored_search_found(searched, rung):
    assert pytest.approx(how_low.best(searched, rung), rel=1e-3) == how_low.SETTINGS[rung]


def test_stored_search_is_complete_and_kept_to_its_space(searched):
    runs = pd.DataFrame([{**run, **run["setting"]} for run in searched])
    counts = runs["rung"].value_counts()
    assert counts.drop("dropout").to_dict() == how_low.SPACE["trials"]
    rates = runs.loc[runs["rung"] == "dropout", "dropout"]
    assert rates.tolist() == how_low.SPACE["dropout"]
    for name in ("batch_size", "dim"):
        assert set(runs[name]) <= set(how_low.SPACE[name])
    for name in how_low.SPACE:
        if name in runs and name not in ("batch_size", "dim", "dropout"):
            assert runs[name].between(*how_low.SPACE[name]).all(), name
    assert runs["rmse"].between(0.80, 1.2).all()


def test_stored_measures_are_complete(measured):
    assert measured.index.tolist() == how_low.SPLITS
    rmse = measured.drop(columns=measured.filter(regex="_(precision|recall|ndcg)$").columns)
    assert rmse.stack().between(0.80, 0.89).all()
    for name in ("factors", "both", "drift"):
        assert f"{name}_ensemble_{how_low.SEEDS}" in rmse
        assert (rmse[f"{name}_ensemble_{how_low.SEEDS}"] < rmse[name]).all()


def test_search_never_sees_the_ratings_that_are_reported_on(monkeypatch):
    monkeypatch.setattr(drift, "with_drift", lambda *frames: frames)  # it only adds columns
    outer, reported = data.train_valid_split(data.prepared(), how_low.SPACE["split"])
    split = how_low.SPACE["inner_splits"][0]
    inner, judged = how_low._inner.__wrapped__(split)
    assert set(inner.index) | set(judged.index) == set(outer.index)
    assert not set(inner.index) & set(judged.index)
    assert not set(outer.index) & set(reported.index)


def test_best_is_the_lowest_of_its_rung_and_for_dropout_of_the_averages():
    runs = [
        {"rung": "both", "setting": {"dim": 8}, "rmse": 0.9},
        {"rung": "both", "setting": {"dim": 16}, "rmse": 0.8},
        {"rung": "users", "setting": {"dim": 32}, "rmse": 0.7},
        {"rung": "dropout", "setting": {"dropout": 0.0}, "rmse": 0.6, "rmse_averaged": 0.6},
        {"rung": "dropout", "setting": {"dropout": 0.1}, "rmse": 0.7, "rmse_averaged": 0.69},
        {"rung": "dropout", "setting": {"dropout": 0.3}, "rmse": 0.8, "rmse_averaged": 0.68},
    ]
    assert how_low.best(runs, "both") == {"dim": 16}
    assert how_low.best(runs, "dropout") == {"dropout": 0.3}


def answered(plan, judge):
    """All parts of a plan whose stages are answered by `judge`."""
    parts, stage = [], next(plan)
    try:
        while True:
            parts += stage
            stage = plan.send([judge(**part) for part in stage])
    except StopIteration:
        return parts


def test_search_goes_on_from_the_best_of_the_rung_before(monkeypatch):
    trials = {"users": 4, "both": 3, "drift": 2}
    monkeypatch.setitem(how_low.SPACE, "trials", trials)
    parts = answered(
        how_low.to_search(), lambda rung, setting: {"rmse": abs(setting["dim"] - 16) + 0.5}
    )
    rungs = [part["rung"] for part in parts]
    rates = how_low.SPACE["dropout"]
    assert rungs == ["users"] * 4 + ["both"] * 3 + ["drift"] * 2 + ["dropout"] * len(rates)
    settings = pd.DataFrame([part["setting"] for part in parts])
    best_of_users = (settings["dim"][:4] - 16).abs().idxmin()
    assert (settings.loc[4] == settings.loc[best_of_users]).drop("dropout").all()
    assert settings["dropout"].dropna().tolist() == rates
    last = settings[settings["dropout"].notna()].drop(columns="dropout")
    assert len(last.drop_duplicates()) == 1
    assert set(parts[0]["setting"]) == set(how_low.SETTINGS["both"])


def test_scores_order_movies_as_the_predictions_do(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    model = DotWithFeedback(*sizes, 0.5, 5.0, rated=data.inputs(tiny_ratings), dim=3)
    stars = training.predict(model, tiny_ratings)
    scores = how_low.scores(model)
    assert scores.shape == (sizes[0] + 1, sizes[1] + 1)
    found = scores[tuple(data.inputs(tiny_ratings).T)]
    np.testing.assert_allclose(0.5 + 4.5 / (1 + np.exp(-found)), stars, rtol=1e-5)


def test_average_of_draws():
    draws = iter([np.array([[1.0], [2.0]]), np.array([[3.0], [6.0]])])
    averaged = how_low.averaged_with_dropout(lambda x: next(draws), None, seed=0, passes=2)
    assert averaged.tolist() == [2.0, 4.0]
