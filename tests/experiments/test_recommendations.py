"""The stored measures of chapter 11, and what measures them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments, foldin
from embedlens.experiments import recommendations

STORED = Path(__file__).parents[2] / "book/results/recommendations.json"


@pytest.fixture(scope="module")
def stored():
    return experiments.table(STORED, index="split")


def test_stored_measures_are_complete(stored):
    assert stored.index.tolist() == recommendations.SPLITS
    assert np.isfinite(stored.to_numpy()).all()
    for name in recommendations.MODELS:
        for n in recommendations.SETTINGS["given"]:
            assert stored[f"{name}_folded_{n}"].between(0.7, 1.1).all()
        for most in recommendations.SETTINGS["movie_groups"]:
            assert stored[f"movies_{name}_{most}"].between(0.7, 1.1).all()
        # Whoever has given nothing is the average user, with a vector or without.
        assert (stored[f"{name}_folded_0"] == stored[f"{name}_alone_0"]).all()
    assert (stored["popularity_top_tenth"] == 1).all()


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


def test_rankings_by_hand():
    train = pd.DataFrame({"movieIdDense": [1, 1, 3], "rating": [2.0, 4.0, 5.0]})
    stars = np.arange(12.0).reshape(3, 4)
    found = recommendations.rankings((stars, -stars), (stars + 1, -stars - 1), train)
    assert found["mean"][2].tolist() == [0, 3, 0, 5]
    assert found["popularity"][1].tolist() == [0, 2, 0, 1]
    assert (found["tuned_often"] == 0).all()
    assert np.array_equal(found["post_taste"], -stars)
    assert np.array_equal(found["tuned"], stars + 1)
    caution = np.std([2, 4, 5], ddof=1) / np.sqrt([1, 3, 1, 2])
    assert found["tuned_cautious"] == pytest.approx(stars + 1 - caution)


def test_movies_of_which_nothing_is_known_make_no_pair():
    rows = np.array([[0, 0], [1, 0], [0, 1], [0, 0], [0.6, 0.8]])
    assert recommendations.mean_alike(np.array([[1, 2, 4]]), rows) == pytest.approx(1.4 / 3)
    lists = np.array([[1, 3, 4], [3, 2, 4], [3, 3, 1]])
    assert recommendations.mean_alike(lists, rows) == pytest.approx((0.6 + 0.8) / 2)
    with pytest.raises(ValueError, match="no list has two movies"):
        recommendations.mean_alike(np.array([[1, 3], [0, 3]]), rows)


def test_diversity_measures_know_no_genre_that_stands_for_none(monkeypatch):
    """Two lists of the movies 1 to 3, of which the third has no genre."""
    genres = ["Drama", "Comedy|Drama", data.NO_GENRES]
    monkeypatch.setattr(data, "prepared", lambda: None)
    monkeypatch.setattr(
        data, "movie_table", lambda _: pd.DataFrame({"genres": genres}, index=[1, 2, 3])
    )
    monkeypatch.setitem(recommendations.SETTINGS, "n", 3)
    stars = np.array([[0, 0, 0, 0], [0, 3.0, 2.0, 1.0], [0, 1.0, 2.0, 3.0]])
    candidates = np.array([[1, 2, 3], [1, 2, 3], [3, 2, 1]])
    liked = pd.DataFrame({"userIdDense": [1], "movieIdDense": [2], "rating": [5.0]})
    vectors = np.eye(4)
    found = recommendations.diversity_measures(candidates, stars, vectors, 1.0, liked)
    assert found["alike_genres"] == pytest.approx(np.sqrt(0.5))
    assert found["alike"] == 0
    assert found["predicted"] == 2
    assert found["precision"] == pytest.approx(1 / 3)
