import numpy as np
import pandas as pd
import pytest

from embedlens import data, movielens, training
from embedlens.models import DotWithBias
from embedlens.recommend import (
    cautious,
    recommend,
    scores,
    seen_matrix,
    top_n,
)

PAIRS = np.array([[9, 9, 9, 9, 9], [9, 1, 5, 5, 2], [9, 4, 3, 2, 1]], dtype="float64")
NOTHING = np.zeros((3, 5), dtype=bool)
SCORES = {1: 2.0, 2: 4.5, 3: 3.0, 4: 4.5, 5: 1.0, 6: 5.0}


class Stub:
    """Predicts `SCORES`, and notes for whom."""

    built, layers = True, ()

    def __init__(self):
        self.users = set()

    def __call__(self, x):
        self.users |= set(x[:, 0].tolist())
        return np.array([[SCORES[movie]] for movie in x[:, 1].tolist()], dtype="float32")


@pytest.fixture(scope="module")
def ratings():
    # User 1 rated movies 1 to 3, user 2 rated 4 to 6 and 1, user 3 rated 6.
    pairs = [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (2, 1), (3, 6)]
    frame = pd.DataFrame(pairs, columns=["userId", "movieId"]).assign(rating=3.0)
    titles = pd.DataFrame({"movieId": range(1, 7), "title": list("ABCDEF"), "genres": "x"})
    return data.prepare(movielens.MovieLens(frame, titles))


@pytest.mark.parametrize(("user", "expected"), [(1, [6, 4, 5]), (2, [2, 3]), (3, [2, 4, 3, 1, 5])])
def test_unrated_movies_best_first_ties_by_id(ratings, user, expected):
    model = Stub()
    found = recommend(model, ratings, user)
    assert found["movieIdDense"].tolist() == expected
    assert found["predicted"].tolist() == [SCORES[movie] for movie in expected]
    assert found["title"].tolist() == ["?ABCDEF"[movie] for movie in expected]
    assert found.index.tolist() == list(range(len(expected)))
    assert model.users == {user}


def test_ratings_are_counted_over_all_users(ratings):
    found = recommend(Stub(), ratings, 1)
    assert found["n_ratings"].tolist() == [2, 1, 1]


@pytest.mark.parametrize(("n", "expected"), [(1, [2]), (2, [2, 4]), (99, [2, 4, 3, 1, 5])])
def test_n_is_honoured(ratings, n, expected):
    assert recommend(Stub(), ratings, 3, n)["movieIdDense"].tolist() == expected


@pytest.mark.parametrize("user", [0, 4, -1])
def test_unknown_user(ratings, user):
    with pytest.raises(ValueError, match=f"user {user} "):
        recommend(Stub(), ratings, user)


def test_scores_are_the_predictions_of_all_pairs():
    training.set_seed(0)
    model = DotWithBias(4, 5, 0.5, 5.0, dim=3)
    pairs = pd.DataFrame({"userIdDense": [1, 4, 2], "movieIdDense": [5, 1, 3]})
    predicted = training.predict(model, pairs)
    users = model.user_embedding.get_weights()[0]
    movies = model.movie_embedding.get_weights()[0]
    stars, taste = scores(model)
    assert stars.shape == taste.shape == (5, 6)
    assert stars[pairs["userIdDense"], pairs["movieIdDense"]] == pytest.approx(predicted, abs=1e-5)
    assert taste[4, 1] == pytest.approx((users[4] - users[1:].mean(axis=0)) @ movies[1], abs=1e-6)
    assert taste[1:].sum(axis=0) == pytest.approx(np.zeros(6), abs=1e-6)


def rated(pairs):
    return pd.DataFrame(pairs, columns=["userIdDense", "movieIdDense", "rating"])


def test_best_first_equal_ones_by_id_and_never_column_0():
    assert top_n(PAIRS, NOTHING, 3)[1:].tolist() == [[2, 3, 4], [1, 2, 3]]


def test_rated_movies_are_left_out():
    seen = seen_matrix(rated([(1, 2, 1.0), (2, 1, 5.0)]), (2, 4))
    assert seen.sum() == 2
    assert top_n(PAIRS, seen, 3)[1:].tolist() == [[3, 4, 1], [2, 3, 4]]


def test_too_few_movies_left():
    seen = NOTHING.copy()
    seen[2, 1:4] = True
    with pytest.raises(ValueError, match="user 2 has only 1 unrated movies, not 3"):
        top_n(PAIRS, seen, 3)
    with pytest.raises(ValueError, match="against seen of shape"):
        top_n(PAIRS, seen[:2], 3)
    with pytest.raises(ValueError, match="against seen of shape"):
        top_n(PAIRS[:2], seen, 3)


def test_caution_takes_more_where_there_are_few_ratings():
    train = pd.DataFrame({"rating": [2.0, 4.0, 3.0]})
    found = cautious(np.array([[4.0, 4.0]]), train, np.array([0, 3]))
    assert found.tolist() == [[3.0, 3.5]]


def test_row_and_column_of_nobody_may_lack_scores():
    scores = np.arange(16.0).reshape(4, 4)
    scores[0] = scores[:, 0] = np.nan
    assert top_n(scores, np.zeros((4, 4), bool), 2)[1:].tolist() == [[3, 2]] * 3


def test_two_ratings_have_a_spread():
    ratings = pd.DataFrame({"rating": [1.0, 3.0]})
    found = cautious(np.array([3.0, 3.0]), ratings, np.array([0, 3]))
    np.testing.assert_allclose(found, 3 - np.sqrt(2) / np.sqrt([1, 4]))
    with pytest.raises(ValueError, match="needs two"):
        cautious(np.array([3.0]), ratings[:1], np.array([0]))


def test_a_user_who_has_rated_everything_gets_an_empty_list(ratings):
    everything = pd.concat([ratings, ratings.assign(userIdDense=9)])
    found = recommend(Stub(), everything[everything["userIdDense"].isin([1, 9])], 9)
    assert found.empty
    assert found.columns.to_list() == ["movieIdDense", "title", "n_ratings", "predicted"]


def test_a_missing_score_is_no_place_in_a_list():
    with pytest.raises(ValueError, match="a score is missing"):
        top_n(np.where(PAIRS == 2, np.nan, PAIRS), NOTHING, 1)


def test_seen_matrix_refuses_ids_outside():
    with pytest.raises(ValueError, match="movieIdDense"):
        seen_matrix(rated([(1, 5, 1.0)]), (2, 4))


def test_caution_needs_a_spread():
    with pytest.raises(ValueError, match="needs two"):
        cautious(np.ones((1, 2)), pd.DataFrame({"rating": [2.0]}), np.array([0, 3]))
