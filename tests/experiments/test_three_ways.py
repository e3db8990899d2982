"""The stored comparison of chapter 9."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from embedlens import comparing, data, experiments
from embedlens.experiments import completion, three_ways

STORED = Path(__file__).parents[2] / "book/results/three_ways.json"


@pytest.fixture(scope="module")
def stored():
    return experiments.table(STORED, index="split")


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
    sizes = data.count_users_and_movies(data.prepared())
    ways = ("filled", "residual")
    found = {way: completion.fit(way, train, sizes, split) for way in ways}
    for way, fitted in found.items():
        assert fitted.rmse(valid) == pytest.approx(stored.loc[split, f"rmse {way}"], abs=0.001)
    ids = three_ways.known().index
    ours, theirs = (comparing.first_components(f.vectors[ids])[0] for f in found.values())
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
    assert comparing.agreement(space, space[::-1]) < 1
