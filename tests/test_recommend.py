import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import normalize

from embedlens import data, metrics, movielens, training
from embedlens.models import DotWithBias
from embedlens.recommend import (
    cautious,
    diversify,
    mmr,
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
    with pytest.raises(ValueError, match="shape"):
        top_n(PAIRS, seen[:2], 3)


def test_caution_takes_more_where_there_are_few_ratings():
    train = pd.DataFrame({"rating": [2.0, 4.0, 3.0]})
    found = cautious(np.array([[4.0, 4.0]]), train, np.array([0, 3]))
    assert found.tolist() == [[3.0, 3.5]]


def test_mmr_by_relevance_alone_and_by_hand():
    relevance = np.array([0.2, 1.0, 0.9, 0.5])
    similarity = np.eye(4)
    similarity[1, 2] = similarity[2, 1] = 0.95
    similarity[1, 3] = similarity[3, 1] = 0.1
    assert mmr(relevance, similarity, 4, 1.0) == [1, 2, 3, 0]
    # After 1: movie 2 has 0.45 - 0.475, movie 3 has 0.25 - 0.05, movie 0 has 0.1 - 0.
    assert mmr(relevance, similarity, 3, 0.5) == [1, 3, 0]


def test_mmr_fills_ten_places_unless_told():
    assert mmr(np.arange(12.0), np.eye(12), weight=1.0) == list(range(11, 1, -1))


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


def test_mmr_makes_lists_less_alike():
    rng = np.random.default_rng(0)
    vectors = normalize(rng.normal(size=(40, 5)))
    stars = rng.random((4, 40))
    best = np.argsort(-stars, axis=1)[:, :20]

    def mean_alike(found):
        return np.mean([metrics.alike(vectors[row] @ vectors[row].T) for row in found])

    by_weight = [diversify(best, stars, vectors, w, 6) for w in (1.0, 0.6, 0.2)]
    assert np.array_equal(by_weight[0], best[:, :6])
    similarities = [mean_alike(found) for found in by_weight]
    assert similarities[0] > similarities[1] > similarities[2]
    assert all(len(set(row)) == 6 for row in by_weight[2])


def test_a_user_who_has_rated_everything_gets_an_empty_list(ratings):
    everything = pd.concat([ratings, ratings.assign(userIdDense=9)])
    found = recommend(Stub(), everything[everything["userIdDense"].isin([1, 9])], 9)
    assert found.empty
    assert found.columns.to_list() == ["movieIdDense", "title", "n_ratings", "predicted"]


def test_fewer_candidates_than_places():
    with pytest.raises(ValueError, match="2 candidates are too few for 5 places"):
        mmr(np.array([1.0, 2.0]), np.eye(2), 5)
    with pytest.raises(ValueError, match="3 candidates are too few for 10 places"):
        diversify(np.array([[0, 0, 0], [3, 1, 2]]), np.ones((2, 5)), np.eye(5), 0.7, 10)
    with pytest.raises(ValueError, match="too few"):
        diversify(np.zeros((2, 0), int), np.ones((2, 5)), np.eye(5), 0.7, 1)


def test_a_missing_score_is_no_place_in_a_list():
    with pytest.raises(ValueError, match="a score is missing"):
        top_n(np.where(PAIRS == 2, np.nan, PAIRS), NOTHING, 1)


def test_seen_matrix_refuses_ids_outside():
    with pytest.raises(ValueError, match="movieIdDense"):
        seen_matrix(rated([(1, 5, 1.0)]), (2, 4))


def test_caution_needs_a_spread():
    with pytest.raises(ValueError, match="needs two"):
        cautious(np.ones((1, 2)), pd.DataFrame({"rating": [2.0]}), np.array([0, 3]))
