"""The stored measures of chapter 11, and what measures them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments, foldin, metrics
from embedlens.experiments import how_low, recommendations

STORED = Path(__file__).parents[2] / "book/results/recommendations.json"


@pytest.fixture(scope="module")
def report():
    return experiments.load(STORED)


def test_stored_measures_are_complete(report):
    stored = recommendations.on_splits(report)
    assert stored.index.tolist() == recommendations.SPLITS
    assert [run["cut"] for run in report["runs"]] == how_low.CUTS
    for name in recommendations.MODELS:
        for n in recommendations.SETTINGS["given"]:
            assert stored[f"{name}_folded_{n}"].between(0.7, 1.1).all()
        for most in recommendations.SETTINGS["movie_groups"]:
            assert stored[f"movies_{name}_{most}"].between(0.7, 1.1).all()
        # Whoever has given nothing is the average user, with a vector or without.
        assert (stored[f"{name}_folded_0"] == stored[f"{name}_alone_0"]).all()
    assert (stored["popularity_top_tenth"] == 1).all()


def test_stored_values_of_users_add_up_to_the_stored_means(report):
    for run in report["runs"]:
        assert run["users"] == sorted(set(run["users"]))
        for name, (hits, tail, ndcg) in run["by_user"].items():
            assert np.mean(hits) / 10 == pytest.approx(run[f"{name}_precision"], abs=1e-5)
            assert np.mean(ndcg) == pytest.approx(run[f"{name}_ndcg"], abs=1e-3)
            of_tail = np.array(tail)[np.array(tail) >= 0]
            assert of_tail.mean() / 10 == pytest.approx(run[f"{name}_tail_precision"], abs=1e-5)


def test_stored_settings_come_from_their_grids(report):
    for run in report["runs"]:
        for name, grid in recommendations.GRIDS.items():
            assert tuple(run["chosen"][name]) in grid
        assert run["chosen"].get("even", 1.0) in recommendations.EVEN


def test_every_user_is_new_on_one_split():
    n_users, _ = data.count_users_and_movies(data.prepared())
    together = np.concatenate(
        [recommendations.new_users(split) for split in recommendations.SPLITS]
    )
    assert sorted(together) == list(range(1, n_users + 1))


def test_ratings_of_new_users_are_set_apart(tiny_ratings):
    train, valid = data.train_valid_split(tiny_ratings, 0)
    rest, given, asked = recommendations.part(train, valid, [2, 5])
    assert set(given["userIdDense"]) == {2, 5} >= set(asked["userIdDense"])
    assert not set(rest["userIdDense"]) & {2, 5}
    assert len(rest) + len(given) == len(train)


def test_folded_rmse_by_hand(tiny_ratings):
    """With a flat space and no penalty on the bias, one rating decides."""
    rows = tiny_ratings.assign(rating=4.0)
    n_movies = rows["movieIdDense"].nunique()
    ids = np.arange(1, n_movies + 1)
    flat = foldin.Space(ids, np.zeros((n_movies, 2)), np.zeros(n_movies), np.zeros(2), 0)
    ridge = {"vector": 1.0, "bias": 1e-9, "clip": 0.1}
    assert recommendations.folded_rmse(flat, rows, rows, 1, ridge) == pytest.approx(0, abs=1e-6)
    assert recommendations.folded_rmse(flat, rows, rows, 0, ridge) == pytest.approx(4.0 - 2.75)


def test_folding_in_nobody_is_refused(tiny_ratings):
    space = foldin.Space(np.arange(1, 3), np.zeros((2, 2)), np.zeros(2), np.zeros(2), 0)
    nobody = tiny_ratings.iloc[:0]
    with pytest.raises(ValueError, match="no ratings to compare"):
        recommendations.folded_rmse(space, nobody, nobody, 1, foldin.RIDGE)


def test_rules_by_hand():
    train = pd.DataFrame({"movieIdDense": [1, 1, 3], "rating": [2.0, 4.0, 5.0]})
    found = recommendations.by_rules(train, (2, 3))
    assert found["mean"][2].tolist() == [0, 3, 0, 5]
    assert found["popularity"][1].tolist() == [0, 2, 0, 1]
    assert found["mean"].shape == (3, 4)


def test_rmse_of_predictions_for_all_pairs(tiny_ratings):
    stars = np.full((13, 16), 3.0)
    expected = metrics.rmse(tiny_ratings["rating"], np.full(len(tiny_ratings), 3.0))
    assert recommendations.rmse_of(stars, tiny_ratings) == expected


def test_options_are_those_with_the_best_lists_within_the_training_part(monkeypatch):
    """Of what the search may not see, nothing is asked for; the better of two is chosen."""
    inner, aside = how_low.parts_of(0, inner=True)
    asked_for = []

    def parts_of(cut, inner=False):
        asked_for.append((cut, inner))
        return how_low_parts

    how_low_parts = [inner, aside]
    monkeypatch.setattr(how_low, "parts_of", parts_of)
    monkeypatch.setitem(recommendations.GRIDS, "ease", [(1e6,), (300.0,), (0.1,)])
    assert recommendations.choose("ease", 0) == (300.0,)
    assert asked_for == [(0, True)]


def test_measures_of_lists_by_hand(monkeypatch):
    """Three users, of whom the last two have nothing to find in the tail, or nothing at all."""
    genres = ["Drama", "Comedy|Drama", data.NO_GENRES, "Drama"]
    movies = pd.DataFrame({"genres": genres}, index=[1, 2, 3, 4])
    monkeypatch.setattr(data, "prepared", lambda: None)
    monkeypatch.setattr(data, "movie_table", lambda _: movies)
    monkeypatch.setitem(recommendations.SETTINGS, "n", 2)
    score = np.tile([0.0, 4, 3, 2, 1], (4, 1))
    seen = np.zeros_like(score, dtype=bool)
    popularity = np.array([0, 9, 3, 3, 3])  # the first movie alone is the short head
    valid = pd.DataFrame(
        {"userIdDense": [1, 1, 2, 3], "movieIdDense": [1, 3, 1, 4], "rating": [5.0, 4.0, 4.0, 1.0]}
    )
    measures, of_users = recommendations.list_measures(score, seen, popularity, valid)
    assert of_users["hits"].to_dict() == {1: 1, 2: 1}
    assert of_users["tail"].to_dict() == {1: 1, 2: -1}
    assert measures["precision"] == 0.5
    assert measures["tail_precision"] == 0.5
    assert measures["alike_genres"] == pytest.approx(np.sqrt(0.5))
    assert measures["popularity"] == 6


def test_lists_are_compared_user_by_user():
    """A user of two splits counts by the mean of both; one without hits to find not at all."""
    runs = [
        {"cut": 0, "users": [1, 2], "by_user": {"a": [[3, 1], [2, -1], [0.5, 0.1]],
                                                "b": [[1, 1], [1, -1], [0.3, 0.1]]}},
        {"cut": 1, "users": [1], "by_user": {"a": [[4], [3], [0.5]], "b": [[0], [0], [0.0]]}},
        {"cut": "last", "users": [1], "by_user": {"a": [[9], [9], [1]], "b": [[0], [0], [0]]}},
    ]  # fmt: skip
    report = {"runs": runs}
    found, low, high = recommendations.compare_lists(report, "a", "b", "hits")
    assert found == pytest.approx((2 + 0 + 4) / 3)
    assert (low, high) == pytest.approx((0, 3))
    assert recommendations.compare_lists(report, "a", None, "hits")[0] == pytest.approx(8 / 3)
    more = {"runs": [*runs, {**runs[1], "users": [5], "cut": 2}]}
    # User 1 gains 1 and 3 hits in the tail, user 5 gains 3, and user 2 had none to find.
    assert recommendations.compare_lists(more, "a", "b", "tail")[0] == pytest.approx(7 / 3)
    assert recommendations.compare_lists(more, "a", "b", "hits", ["last", 2])[0] == 13 / 2


def test_movies_of_which_nothing_is_known_make_no_pair():
    rows = np.array([[0, 0], [1, 0], [0, 1], [0, 0], [0.6, 0.8]])
    assert recommendations.mean_alike(np.array([[1, 2, 4]]), rows) == pytest.approx(1.4 / 3)
    lists = np.array([[1, 3, 4], [3, 2, 4], [3, 3, 1]])
    assert recommendations.mean_alike(lists, rows) == pytest.approx((0.6 + 0.8) / 2)
    with pytest.raises(ValueError, match="no list has two movies"):
        recommendations.mean_alike(np.array([[1, 3], [0, 3]]), rows)
