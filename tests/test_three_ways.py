"""The stored search and comparison of chapter 9."""

from itertools import combinations
import json
from pathlib import Path

from embedlens import audit, data, neighbours, spaces, spaces_search, three_ways, tuned
import numpy as np
import pytest

RESULTS = Path(__file__).parent.parent / "book/results"
STORED, SEARCHED = RESULTS / "three_ways.json", RESULTS / "three_ways_search.json"


@pytest.fixture(scope="module")
def stored():
    return three_ways.load(STORED)


@pytest.fixture(scope="module")
def searched():
    return spaces_search.load(SEARCHED)


def test_settings_are_what_the_stored_search_found(searched):
    assert spaces_search.best(searched) == spaces.SETTINGS
    for way in spaces.SETTINGS:
        tried = [run["setting"] for run in searched if run["way"] == way]
        assert tried == spaces_search.settings_to_try(way)


def test_a_setting_judged_again_agrees_with_the_stored_search(searched):
    for way in ("biases", "filled"):
        setting = spaces.SETTINGS[way]
        [rmse] = [r["rmse"] for r in searched if r["way"] == way and r["setting"] == setting]
        assert spaces_search.judged(way, setting) == pytest.approx(rmse, abs=0.001)


def test_search_never_sees_the_ratings_that_are_reported_on():
    outer, reported = data.train_valid_split(data.prepared(), spaces_search.SEARCH["split"])
    for inner, judged in map(tuned.inner_part, spaces_search.SEARCH["inner_splits"]):
        assert set(inner.index) | set(judged.index) == set(outer.index)
        assert not set(inner.index) & set(judged.index)
        assert not (set(inner.index) | set(judged.index)) & set(reported.index)


def test_search_keeps_the_lowest(monkeypatch):
    monkeypatch.setattr(spaces_search, "judged", lambda way, s: abs(s.get("rank", 8) - 8) + 0.5)
    report = spaces_search.search()
    found = spaces_search.best(report["runs"])
    assert set(found) == set(spaces.SETTINGS)
    assert found["filled"] == {"rank": 8, "shrink": 0}


@pytest.mark.parametrize("path", [STORED, SEARCHED])
def test_stored_files_name_data_and_commit(path):
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["data"] == audit.dataset_digest()
    assert not provenance["commit"].endswith("+"), "made from uncommitted code"


def test_stored_comparison_is_complete(stored):
    assert list(stored.index) == three_ways.SPLITS
    assert stored.notna().all(axis=None)
    for one, other in combinations(three_ways.WAYS, 2):
        for measure in ("agreement", "canonical", "procrustes"):
            assert stored[f"{measure} {one} | {other}"].between(0, 1).all()
    assert stored.filter(regex="^rmse").stack().between(0.8, 1.1).all()


def test_a_split_again_agrees_with_the_stored_one(stored):
    split = 1
    train, valid = data.train_valid_split(data.prepared(), split)
    cold = data.cold_movies(train, valid)
    assert stored.loc[split, "cold ratings"] == cold.sum()
    found = {way: three_ways.fit(way, train, split) for way in ("filled", "residual")}
    for way, fitted in found.items():
        assert fitted.rmse(valid) == pytest.approx(stored.loc[split, f"rmse {way}"], abs=0.001)
    ids = three_ways.known().index
    ours, theirs = (spaces.first_components(f.vectors[ids])[0] for f in found.values())
    for name, value in three_ways.compare("filled | residual", ours, theirs).items():
        assert value == pytest.approx(stored.loc[split, name], abs=0.01)
    properties = three_ways.properties("filled", ours, np.ones(len(ids)))
    told = stored.loc[split, "neighbours filled mean rating"]
    assert properties["neighbours filled mean rating"] == pytest.approx(told, abs=0.01)


def test_the_same_way_again_agrees_better_than_another(stored):
    for way in three_ways.SEEDED:
        again = stored[f"agreement {way} | other seed"]
        chance = 10 / (len(three_ways.known()) - 1)
        for other in set(three_ways.WAYS) - {way}:
            names = [f"agreement {a} | {b}" for a, b in [(way, other), (other, way)]]
            [name] = [name for name in names if name in stored]
            assert (again > stored[name]).all()
            assert (stored[name] > chance).all()


def test_compare_gives_ones_for_the_same_space():
    space = np.random.default_rng(0).normal(size=(50, 4))
    measures = three_ways.compare("x", space, 2 * space)
    assert measures == pytest.approx({"agreement x": 1, "canonical x": 1, "procrustes x": 1})
    assert neighbours.agreement(space, space[::-1]) < 1


@pytest.mark.parametrize("loader", [three_ways.load, spaces_search.load])
def test_results_of_something_else_are_refused(tmp_path, loader):
    path = STORED if loader is three_ways.load else SEARCHED
    content = json.loads(path.read_text())
    content["provenance"]["settings"] = "another"
    file = tmp_path / "other.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="made for other settings; run make three-ways"):
        loader(file)
