"""The search and the comparison of chapter 9, and its conclusions."""

import copy
from pathlib import Path

import numpy as np
import pytest

from embedlens import data, experiments, metrics
from embedlens.experiments import completion, conclusions, search, seeds, shapes

STORED = Path(__file__).parents[2] / "book/results/shapes.json"
ENDS = {"shrink": 0}  # where a parameter ends by itself


@pytest.fixture(scope="module")
def stored():
    return experiments.load(STORED)


def finished(plan, error):
    """Let a plan of trials go on to its end: the trials' settings, and what it returned."""
    asked, stage = [], next(plan)
    try:
        while True:
            asked += stage
            stage = plan.send([{"error": error(part["setting"])} for part in stage])
    except StopIteration as end:
        return asked, end.value


def test_one_step_away():
    space = {"rank": [2, 4, 8], "shrink": [0, 1]}
    found = shapes.around({"rank": 4, "shrink": 0, "ridge": 3}, space)
    assert [tuple(one.values()) for one in found] == [(2, 0, 3), (8, 0, 3), (4, 1, 3)]


def test_climbing_finds_the_lowest_and_has_tried_what_lies_around():
    space = {"rank": [2, 4, 8, 16, 32], "shrink": [0, 1, 2, 3]}
    start = {"rank": 2, "shrink": 3, "ridge": 7}
    plan = shapes.climb(start, space, way="w", split=3)
    asked, best = finished(plan, lambda s: abs(np.log2(s["rank"]) - 3) + abs(s["shrink"] - 1))
    assert best == {"rank": 8, "shrink": 1, "ridge": 7}
    settings = [part["setting"] for part in asked]
    assert all(one in settings for one in shapes.around(best, space))
    assert len(settings) == len({tuple(one.values()) for one in settings}) < 20
    assert all((part["kind"], part["way"], part["split"]) == ("trial", "w", 3) for part in asked)


def test_each_split_is_searched_then_reported_on():
    asked, stage, plan = [], None, shapes.to_measure()
    stage = next(plan)
    while all(part["kind"] == "trial" for part in stage):
        asked += stage
        errors = [{"error": sum(map(hash, part["setting"].values()))} for part in stage]
        stage = plan.send(errors)
    assert [part["split"] for part in stage] == search.OUTER
    for part in stage:
        assert set(part["settings"]) == set(shapes.START)
        for way, setting in part["settings"].items():
            split = None if way == "genres" else part["split"]
            assert {"kind": "trial", "split": split, "way": way, "setting": setting} in asked


@pytest.mark.parametrize("way", ["residual", "watched"])
def test_a_trial_sees_nothing_that_its_split_reports_on(monkeypatch, way):
    ratings = data.prepared()
    split, seen = 3, []
    _, reported = data.train_valid_split(ratings, split)
    hidden = set(map(tuple, data.inputs(reported)))

    class Fitted:
        def rmse(self, valid):
            seen.append(data.inputs(valid))
            return 1.0

    def fit(way, train, *others, **setting):
        seen.append(data.inputs(train))
        return Fitted()

    def loss_aside(pairs, aside, *others, **setting):
        seen.extend([pairs, aside])
        return 1.0

    monkeypatch.setattr(completion, "fit", fit)
    monkeypatch.setattr(shapes.tasks, "loss_aside", loss_aside)
    assert shapes.judge(split, way, {}) == {"error": 1.0}
    assert len(seen) == 2
    for pairs in seen:
        assert hidden.isdisjoint(map(tuple, pairs))


def complaints(report):
    """What is unfair in a search: settings that were not searched, not best, or at an edge."""
    trials, found = {}, []
    for run in report["runs"]:
        if run["kind"] == "trial":
            trials.setdefault((run["split"], run["way"]), []).append(run)
    for run in report["runs"]:
        if run["kind"] == "trial":
            continue
        for way, setting in run["settings"].items():
            tried = trials.get((None if way == "genres" else run["split"], way), [])
            errors = {str(one["setting"]): one["error"] for one in tried}
            place = f"split {run['split']}, {way}"
            if errors.get(str(setting)) != min(errors.values(), default=None):
                found.append(f"{place}: not the best that was tried")
            beside = shapes.around(setting, shapes.SPACE[way])
            if any(str(one) not in errors for one in beside):
                found.append(f"{place}: a setting beside it was not tried")
            for name, values in shapes.SPACE[way].items():
                if setting[name] in (values[0], values[-1]) and setting[name] != ENDS.get(name):
                    found.append(f"{place}: {name} at the edge")
    return found


def test_no_setting_is_a_default_or_at_an_edge(stored):
    assert complaints(stored) == []


@pytest.mark.parametrize("planted", ["default", "other split", "unsearched", "edge"])
def test_a_planted_unfairness_is_told(stored, planted):
    report = copy.deepcopy(stored)
    last = report["runs"][-1]
    if planted == "default":
        last["settings"]["autorec"] = shapes.START["autorec"] | shapes.FIXED["autorec"]
    elif planted == "other split":
        for run in report["runs"]:
            if run.get("way") == "softimpute" and run["split"] == last["split"]:
                run["split"] = 0
    elif planted == "unsearched":
        report["runs"] = [run for run in report["runs"] if run.get("way") != "watched"]
    else:
        for run in report["runs"]:
            if run.get("way") == "biases" and run["setting"]["ridge"] > 2:
                run["error"] = 9.0
        last["settings"]["biases"] = {"ridge": 0.5}
    assert complaints(report)


def test_stored_comparison_is_complete(stored):
    reports = [run for run in stored["runs"] if run["kind"] == "report"]
    assert [run["split"] for run in reports] == search.OUTER
    for run in reports:
        for way in shapes.WAYS:
            assert 0.8 < run[f"rmse {way}"] < 1.1
        for space in shapes.SPACES:
            assert 0.2 < run[f"kept {space}"] <= 1
            assert set(run[f"near {space}"]) == set(shapes.EXAMPLES)
        for key, value in run.items():
            if key.startswith(("agreement", "canonical")):
                assert 0 <= np.min(value) <= np.max(value) <= 1 + 1e-6, key
        for name in shapes.PROPERTIES:
            chance = 0.5 if name == "genre" else 0
            for space in ("random", "shuffled"):
                assert run[f"probe {space} {name}"] == pytest.approx(chance, abs=0.06)


def test_each_conclusion_is_a_value_per_split_with_a_corrected_interval(stored):
    reports = {"shapes": stored, "seeds": experiments.load(STORED.with_name("seeds.json"))}
    every = shapes.CONCLUSIONS | seeds.CONCLUSIONS
    for name, one in [(name, one) for name, some in every.items() for one in some]:
        values = one.measure(reports[name])
        assert np.shape(values) == (len(search.OUTER),), one.id
        _, low, high, _ = one.judge(reports[name])
        _, naive_low, naive_high = metrics.mean_interval(values)
        equivalence = np.isfinite(one.low) and np.isfinite(one.high)
        assert equivalence or (low <= naive_low and naive_high <= high), one.id
    ids = [one.id for some in every.values() for one in some]
    assert len(ids) == len(set(ids))
    assert set(conclusions.judged("09_shapes")) == set(ids)


def test_comparing_gives_ones_for_the_same_space():
    space = np.random.default_rng(0).normal(size=(50, 4))
    found = shapes.compare("x", space, 2 * space)
    assert found["agreement x"] == 1
    np.testing.assert_allclose(found["canonical x"], np.ones(4))
    chance = shapes.by_chance(space, space, 0)
    assert max(chance["canonical chance"]) < chance["largest chance"] < 0.9


def test_neighbours_that_are_found_again():
    space = np.random.default_rng(0).normal(size=(len(shapes.known()), 4))
    found = shapes.near(space, space)
    assert list(found) == shapes.EXAMPLES
    assert all(again for pairs in found.values() for _, again in pairs)
    other = shapes.near(space, np.random.default_rng(1).normal(size=space.shape))
    assert not all(again for pairs in other.values() for _, again in pairs)
