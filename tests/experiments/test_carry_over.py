from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments, recipes, training
from embedlens.experiments import carry_over, search

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs():
    return experiments.table(ROOT / "book/results/carry_over.json")


def test_the_rule_is_what_the_stored_grids_say(runs):
    best = carry_over.best_penalties(runs)
    assert list(best.index) == [*carry_over.EMBEDDED, *carry_over.MADE_UP]
    assert best["penalty"].between(carry_over.PENALTIES[0], carry_over.PENALTIES[-1]).all()
    assert carry_over.fades(best) == pytest.approx(recipes.PENALTY_FADES, abs=0.05)


def test_carried_over_it_is_better_where_nothing_was_chosen(runs):
    tried = runs[runs["penalty"].isin(["tuned", "carried over"])]
    assert tried["lowest"].nunique() == 1
    rmse = tried.pivot(index="model", columns="penalty", values="rmse")
    assert list(rmse.index) == list(carry_over.MODELS)
    assert (tried["lowest"].iloc[0] < rmse["carried over"]).all()
    assert (rmse["carried over"] < rmse["tuned"]).all()
    assert rmse.loc["factors", "carried over"] < rmse.loc["factors", "tuned"] - 0.01


def grid_of(per_row, best, source):
    rmse = 0.9 + 0.01 * np.log(np.array(carry_over.PENALTIES) / best) ** 2
    grid = pd.DataFrame({"penalty": carry_over.PENALTIES, "rmse": rmse})
    return grid.assign(source=source, per_row=per_row)


def test_best_price_and_its_fading_are_found_where_they_were_planted():
    """Below the tuned point, where a price stays, nothing counts."""
    tuned = dict(recipes.TUNED.options)["vector_penalty"]
    full = recipes.FOUND_PER_ROW
    grids = [grid_of(full * k, tuned * k**-0.5, k) for k in (2, 4, 8)]
    runs = pd.concat([*grids, grid_of(full / 4, tuned, "few")]).astype({"penalty": object})
    tried = pd.DataFrame({"source": 8, "penalty": ["tuned", "carried over"], "rmse": 0.1})
    best = carry_over.best_penalties(pd.concat([runs, tried]))
    assert best["penalty"].to_list() == pytest.approx([tuned * k**-0.5 for k in (2, 4, 8, 1)])
    assert best["per_row"].to_list() == pytest.approx([full * k for k in (2, 4, 8, 0.25)])
    assert carry_over.fades(best) == pytest.approx(0.5)


def test_power_of_the_best_price_by_hand():
    grids = [grid_of(k, 0.1 * k**-0.5, k) for k in (1, 2, 4)] + [grid_of(8, 0.03, 8)]
    low, high = carry_over.power({"runs": pd.concat(grids[:3]).to_dict("records")})[1:]
    assert (low, high) == pytest.approx((-0.5, -0.5), abs=1e-6)
    found, low, high = carry_over.power({"runs": pd.concat(grids).to_dict("records")})
    assert low < found < high
    assert low < -0.5 < high


@pytest.fixture
def trained(monkeypatch):
    """Instead of training: what was to be trained on."""
    seen = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed):
        data.check_ids(train_ratings, sizes)
        seen.append((recipe, sizes, train_ratings, valid_ratings))
        return None, pd.DataFrame({"valid_rmse": [9.0, 1.0 + seed]})

    monkeypatch.setattr(training, "train", train)
    return seen


@pytest.mark.parametrize("source", carry_over.EMBEDDED)
def test_grids_are_judged_within_the_training_part(trained, source):
    found = carry_over.measure(source, 0.05)
    assert found["rmse"] == 1.5
    ratings = carry_over._ratings(source)
    assert data.count_users_and_movies(ratings) == (
        ratings["userIdDense"].max(),
        ratings["movieIdDense"].max(),
    )
    outer, _ = data.train_valid_split(ratings, search.SPLITS["split"])
    assert len(trained) == len(search.SPLITS["inner_splits"])
    for recipe, sizes, train, valid in trained:
        assert recipe == recipes.TUNED.with_options(vector_penalty=0.05)
        assert set(train.index) | set(valid.index) == set(outer.index)
        assert found["per_row"] == recipes.per_row(sizes, len(train))
    share = {"embedded": 1, "embedded, every second": 0.5}.get(source)
    if share:
        assert len(ratings) == share * len(data.prepared())
    else:
        assert ratings["movieIdDense"].value_counts().min() >= carry_over.OFTEN


@pytest.mark.parametrize("model", carry_over.MODELS)
def test_the_rule_is_tried_on_ratings_that_nothing_was_chosen_on(trained, model):
    found = [carry_over.measure(100_000, which, model) for which in ("tuned", "carried over")]
    (tuned, sizes, train, valid), (carried, _, again, _) = trained
    assert tuned == carry_over.MODELS[model]
    assert carried == recipes.for_size(tuned, sizes, len(train))
    assert train.equals(again)
    other = carry_over._ratings(100_000)
    assert not other["rating"].equals(pd.concat([train, valid]).sort_index()["rating"])
    assert found[0]["lowest"] == found[1]["lowest"] < 1
