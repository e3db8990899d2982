"""The rungs of chapter 10: cuts, search, measures, what is stored."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, drift, experiments, metrics, training
from embedlens.experiments import how_low, search, tuning
from embedlens.models import DotWithFeedback, DriftingDotWithFeedback, PenalisedDotWithBias

STORED = Path(__file__).parents[2] / "book/results/how_low.json"
SETTING = {
    "batch_size": 1024,
    "learning_rate": 0.01,
    "epochs": 2,
    "dim": 3,
    **{name: 0.01 for name in how_low.SPACE if name.endswith("penalty")},
}


@pytest.fixture(scope="module")
def report():
    return experiments.load(STORED)


@pytest.fixture
def few_ratings(monkeypatch, eagerly):
    """The ratings of forty users in place of all."""
    ratings = data.prepared(timestamps=True)
    few = ratings[ratings["userIdDense"] <= 40]
    few = few.assign(movieIdDense=data.dense_ids(few["movieId"]))
    monkeypatch.setattr(data, "prepared", lambda timestamps=False: few)
    how_low.parts_of.cache_clear()
    yield few
    how_low.parts_of.cache_clear()


def test_stored_search_is_complete_and_kept_to_its_space(report):
    runs = pd.DataFrame([run for run in report["runs"] if run["kind"] == "search"])
    counts = runs.groupby(["cut", "rung"]).size()
    for cut in how_low.CUTS:
        rungs = (
            ("factors", "both", "drift") if cut in how_low.IN_TIME else ("both", "drift", "users")
        )
        assert counts[cut].to_dict() == {rung: how_low.TRIALS[rung] for rung in rungs}
    settings = pd.DataFrame(runs.loc[runs["rung"] != "factors", "setting"].to_list())
    for name, values in how_low.SPACE.items():
        if name in search.CHOICES:
            assert set(settings[name]) <= set(values)
        else:
            assert settings[name].between(*values).all(), name


def test_stored_reports_have_the_settings_that_were_best(report):
    runs = [run for run in report["runs"] if run["kind"] == "search"]
    settings = how_low.reports(report, how_low.CUTS)["setting"]
    for cut in how_low.CUTS:
        for rung in ("both", "drift"):
            tried = [run for run in runs if (run["cut"], run["rung"]) == (cut, rung)]
            assert settings[cut, rung] == min(tried, key=lambda run: run["rmse"])["setting"]
        if cut in search.OUTER:
            assert settings[cut, "factors"] == tuning.anchor_setting(cut)
            assert settings[cut, "past"] == settings[cut, "dropout"] == settings[cut, "drift"]


def test_stored_measures_are_complete(report):
    assert how_low.errors(report).stack().between(0.80, 0.89).all()
    assert set(how_low.errors(report)) == {
        "factors", "users", "both", "drift", "past", "dropout", "post"
    }  # fmt: skip
    for rung in ("factors", "both", "drift"):
        by_number = how_low.reports(report)["ensemble"].unstack()[rung]
        assert (by_number.map(len) == how_low.SEEDS).all()
        assert (by_number.map(lambda errors: errors[-1] < errors[0])).all()
    for cut in how_low.IN_TIME:
        _, valid = how_low.parts_of(cut)
        for users in how_low.reports(report, [cut])["users"]:
            assert sum(number for number, _ in users) == len(valid)


@pytest.mark.parametrize("cut", how_low.CUTS)
def test_a_search_sees_nothing_of_what_is_reported_on(cut):
    outer, reported = how_low.parts_of(cut)
    inner, aside = how_low.parts_of(cut, inner=True)
    assert set(inner.index) | set(aside.index) == set(outer.index)
    assert not set(inner.index) & set(aside.index)
    assert not set(outer.index) & set(reported.index)


def test_what_is_reported_on_lies_later_on_cuts_in_time():
    before, after = how_low.parts_of("date")
    assert before["timestamp"].max() < after["timestamp"].min()
    before, after = (part.groupby("userIdDense")["timestamp"] for part in how_low.parts_of("last"))
    assert (before.max() <= after.min().reindex(before.max().index, fill_value=np.inf)).all()


@pytest.mark.parametrize(
    ("rung", "cut", "past_only"),
    [("drift", 0, False), ("past", 0, True), ("dropout", 0, False), ("drift", "last", True)],
)
def test_drift_knows_the_past_alone_where_it_must(few_ratings, rung, cut, past_only):
    train, valid = how_low.parts_of(cut)
    found = how_low.described(rung, cut)
    expected = drift.with_drift(train, valid, past_only=past_only)
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert "drift_0" not in how_low.described("both", cut)[0]


def test_recipes_of_the_rungs():
    options = {rung: dict(how_low.recipe(rung, SETTING).options) for rung in ("users", "dropout")}
    assert options["users"]["sides"] == 1
    assert options["dropout"]["dropout"] == how_low.SILENCED
    assert how_low.recipe("both", SETTING).model is DotWithFeedback
    for rung in ("drift", "past", "dropout"):
        assert how_low.recipe(rung, SETTING).model is DriftingDotWithFeedback
    found = how_low.recipe("both", SETTING)
    assert found.training.falling
    assert found.training.patience is None
    assert (found.training.batch_size, dict(found.options)["dim"]) == (1024, 3)
    assert how_low.recipe("factors", tuning.anchor_setting(0)).model is PenalisedDotWithBias


def answered(plan, judge):
    """All parts of a plan whose stages are answered by `judge`."""
    parts, stage = [], next(plan)
    try:
        while True:
            parts += stage
            stage = plan.send([judge(**part) for part in stage])
    except StopIteration:
        return parts


@pytest.mark.parametrize("cut", [0, "date"])
def test_search_goes_on_from_the_best_of_the_rung_before(monkeypatch, cut):
    monkeypatch.setattr(how_low, "TRIALS", {"factors": 2, "both": 4, "users": 3, "drift": 3})
    parts = answered(
        how_low.search_one(cut),
        lambda setting, **_: {"rmse": abs((setting or {"dim": 0})["dim"] - 32)},
    )
    rungs = [part["rung"] for part in parts if part["kind"] == "search"]
    first = ["factors"] * 2 if cut == "date" else []
    last = [] if cut == "date" else ["users"] * 3
    assert rungs == first + ["both"] * 4 + ["drift"] * 3 + last
    both, drifting = (
        [p["setting"] for p in parts if p["kind"] == "search" and p["rung"] == rung]
        for rung in ("both", "drift")
    )
    assert drifting[0] == min(both, key=lambda setting: abs(setting["dim"] - 32))
    reported = {part["rung"]: part["setting"] for part in parts if part["kind"] == "report"}
    assert reported["both"] == drifting[0]
    assert ("past" in reported) == (cut == 0)
    assert all(part["cut"] == cut for part in parts)


def test_report_of_a_random_split_by_hand(few_ratings, monkeypatch):
    monkeypatch.setattr(how_low, "SEEDS", 2)
    found = how_low.measure("report", 0, "both", SETTING)
    train, valid = how_low.parts_of(0)
    predictions = [
        training.predict(how_low.train("both", SETTING, train, seed), valid) for seed in (0, 1)
    ]
    expected = [
        metrics.rmse(valid["rating"], predictions[0]),
        metrics.rmse(valid["rating"], np.mean(predictions, axis=0)),
    ]
    assert found["ensemble"] == pytest.approx(expected, abs=1e-4)
    assert found["rmse"] == found["ensemble"][0]
    cold = data.cold_movies(train, valid)
    squares = (valid["rating"] - predictions[0]) ** 2
    assert found["movieIdDense"][0] == pytest.approx(squares[cold].mean(), abs=1e-3)
    counts = valid["movieIdDense"].map(train["movieIdDense"].value_counts())
    few = counts.between(4, 10)
    assert found["movieIdDense"][2] == pytest.approx(squares[few].mean(), abs=1e-3)


def test_report_of_a_cut_in_time_adds_up(few_ratings):
    found = how_low.measure("report", "last", "both", SETTING)
    number, squares = np.transpose(found["users"])
    assert found["rmse"] == pytest.approx(np.sqrt(squares.sum() / number.sum()))
    assert len(found["ensemble"]) == 1


def test_gain_in_time_and_by_count_by_hand():
    users = {"factors": [[2, 2.0], [1, 2.0]], "both": [[2, 0.5], [1, 0.25]]}
    runs = [
        {"kind": "report", "cut": "last", "rung": rung, "users": value}
        for rung, value in users.items()
    ]
    found, low, high = how_low.gain_in_time({"runs": runs}, "last", "factors", "both")
    assert found == pytest.approx(np.sqrt(4 / 3) - 0.5)
    assert low <= found <= high
    bins = {"factors": [4.0, 1.0], "both": [1.0, 0.25]}
    runs = [
        {"kind": "report", "cut": cut, "rung": rung, "movieIdDense": value}
        for rung, value in bins.items()
        for cut in search.OUTER
    ]
    gain = how_low.gain_by_count({"runs": runs}, "movieIdDense")
    assert (gain == [1.0, 0.5]).all(axis=None)


def test_best_peer_is_none_of_ours(monkeypatch):
    runs = pd.DataFrame(
        {
            "name": ["ours-jax", "one", "two"] * 5,
            "split": np.repeat(search.OUTER, 3),
            "rmse": [0.7, 0.9, 0.8] * 5,
        }
    )
    monkeypatch.setattr(experiments, "table", lambda *args, **options: runs)
    assert how_low.best_peer().tolist() == [0.8] * 5


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
