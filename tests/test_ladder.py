import json
from pathlib import Path

from embedlens import audit, commands, data, ladder, training
from embedlens.models import DotWithFeedback
import numpy as np
import pandas as pd
import pytest

STORED = Path(__file__).parent.parent / "book/results"


@pytest.fixture(scope="module")
def searched():
    return ladder.load_search(STORED / "ladder_search.json")["runs"]


@pytest.fixture(scope="module")
def measured():
    return ladder.load(STORED / "ladder.json")


@pytest.mark.parametrize("rung", ladder.SETTINGS)
def test_settings_are_what_the_stored_search_found(searched, rung):
    assert pytest.approx(ladder.best(searched, rung), rel=1e-3) == ladder.SETTINGS[rung]


def test_stored_search_is_complete_and_kept_to_its_space(searched):
    runs = pd.DataFrame(searched)
    counts = runs["rung"].value_counts()
    assert counts.drop("dropout").to_dict() == ladder.SEARCH["trials"]
    rates = runs.loc[runs["rung"] == "dropout", "dropout"]
    assert rates.tolist() == ladder.SEARCH["dropout"]
    for name in ("batch_size", "dim"):
        assert set(runs[name]) <= set(ladder.SEARCH[name])
    for name in ladder.SEARCH:
        if name in runs and name not in ("batch_size", "dim", "dropout"):
            assert runs[name].between(*ladder.SEARCH[name]).all(), name
    assert runs["rmse"].between(0.80, 1.2).all()


@pytest.mark.parametrize("name", ["ladder_search.json", "ladder.json"])
def test_stored_files_name_data_and_commit(name):
    provenance = json.loads((STORED / name).read_text())["provenance"]
    assert provenance["data"] == audit.dataset_digest()
    assert not provenance["commit"].endswith("+"), "made from uncommitted code"


def test_stored_measures_are_complete(measured):
    assert measured.index.tolist() == ladder.SPLITS
    rmse = measured.drop(columns=measured.filter(regex="_(precision|recall|ndcg)$").columns)
    assert rmse.stack().between(0.80, 0.89).all()
    for name in ("factors", "both", "drift"):
        assert f"{name}_ensemble_{ladder.SEEDS}" in rmse
        assert (rmse[f"{name}_ensemble_{ladder.SEEDS}"] < rmse[name]).all()


def test_a_rung_again_agrees_with_the_stored_one(measured):
    again = commands.in_own_process(
        ["embedlens.ladder", "--evaluate", "users"], KERAS_BACKEND="jax"
    )
    assert again == pytest.approx(measured.loc[0, "users"], abs=0.002)


def test_search_never_sees_the_ratings_that_are_reported_on():
    outer, reported = data.train_valid_split(data.prepared(), ladder.SEARCH["split"])
    split = ladder.SEARCH["inner_splits"][0]
    inner, judged = ladder._inner(split)
    assert set(inner.index) | set(judged.index) == set(outer.index)
    assert not set(inner.index) & set(judged.index)
    assert not set(outer.index) & set(reported.index)


def test_other_settings_invalidate_the_stored_files(monkeypatch):
    monkeypatch.setitem(ladder.SEARCH, "epochs", [1, 2])
    with pytest.raises(ValueError, match="made for other settings; run make ladder-search"):
        ladder.load_search(STORED / "ladder_search.json")
    monkeypatch.setattr(ladder, "PASSES", 3)
    with pytest.raises(ValueError, match="made for other settings; run make ladder again"):
        ladder.load(STORED / "ladder.json")


def test_best_is_the_lowest_of_its_rung_and_for_dropout_of_the_averages():
    runs = [
        {"rung": "both", "dim": 8, "rmse": 0.9},
        {"rung": "both", "dim": 16, "rmse": 0.8},
        {"rung": "users", "dim": 32, "rmse": 0.7},
        {"rung": "dropout", "dropout": 0.0, "rmse": 0.6, "rmse_averaged": 0.6},
        {"rung": "dropout", "dropout": 0.1, "rmse": 0.7, "rmse_averaged": 0.69},
        {"rung": "dropout", "dropout": 0.3, "rmse": 0.8, "rmse_averaged": 0.68},
    ]
    assert ladder.best(runs, "both") == {"dim": 16}
    assert ladder.best(runs, "dropout") == {"dropout": 0.3}


def test_scores_order_movies_as_the_predictions_do(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    model = DotWithFeedback(*sizes, 0.5, 5.0, data.inputs(tiny_ratings), dim=3)
    stars = training.predict(model, tiny_ratings)
    scores = ladder.scores(model)
    assert scores.shape == (sizes[0] + 1, sizes[1] + 1)
    found = scores[tuple(data.inputs(tiny_ratings).T)]
    np.testing.assert_allclose(0.5 + 4.5 / (1 + np.exp(-found)), stars, rtol=1e-5)


def test_average_of_draws():
    draws = iter([np.array([[1.0], [2.0]]), np.array([[3.0], [6.0]])])
    averaged = ladder.averaged_with_dropout(lambda x: next(draws), None, seed=0, passes=2)
    assert averaged.tolist() == [2.0, 4.0]
