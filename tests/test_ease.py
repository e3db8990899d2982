import numpy as np
import pytest

from embedlens import data, ease, metrics, recommend


@pytest.fixture
def matrix():
    rng = np.random.default_rng(0)
    return np.where(rng.random((5, 7)) < 0.5, rng.integers(1, 11, (5, 7)) / 2 - 2.75, 0)


@pytest.mark.parametrize("penalty", [0.3, 20])
def test_weights_are_those_of_a_ridge_regression_of_each_column_on_the_others(matrix, penalty):
    weights = ease.weights(matrix, penalty)
    for k in range(7):
        others = np.delete(matrix, k, axis=1)
        left = others.T @ others + penalty * np.eye(6)
        expected = np.linalg.solve(left, others.T @ matrix[:, k])
        assert np.delete(weights[:, k], k) == pytest.approx(expected)


def test_weights_are_those_of_the_paper(matrix):
    inverse = np.linalg.inv(matrix.T @ matrix + 2 * np.eye(7))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert ease.weights(matrix, 2) == pytest.approx(expected)


def test_weights_between_some_movies_are_those_of_all(matrix):
    some = [5, 0, 3]
    expected = ease.weights(matrix, 2)[np.ix_(some, some)]
    assert ease.weights(matrix, 2, some) == pytest.approx(expected)


def test_no_movie_predicts_itself(matrix):
    assert (np.diag(ease.weights(matrix, 0.5)) == 0).all()


def test_scores_are_those_of_the_weights(matrix):
    assert ease.scores(matrix, 3) == pytest.approx(matrix @ ease.weights(matrix, 3))


@pytest.mark.parametrize("penalty", [0, -1, np.nan])
def test_penalty_must_be_positive(matrix, penalty):
    with pytest.raises(ValueError, match="must be above 0"):
        ease.weights(matrix, penalty)


def test_a_rating_counts_from_the_middle_of_the_scale(tiny_ratings):
    matrix = ease.centred(tiny_ratings, (12, 15))
    assert matrix.shape == (13, 16)
    first = tiny_ratings.iloc[0]
    assert matrix[first["userIdDense"], first["movieIdDense"]] == first["rating"] - 2.75
    assert (matrix != 0).sum() == len(tiny_ratings)
    assert not matrix[0].any()
    assert not matrix[:, 0].any()


def test_ids_outside_are_refused(tiny_ratings):
    with pytest.raises(ValueError, match="movieIdDense outside"):
        ease.centred(tiny_ratings, (12, 14))


def test_penalty_is_chosen_by_ndcg_within_the_ratings_given():
    ratings = data.prepared().query("userIdDense <= 150")
    ratings = ratings.assign(movieIdDense=data.dense_ids(ratings["movieId"]))
    sizes = data.count_users_and_movies(ratings)
    found = ease.choose_penalty(ratings, sizes, 0, (10.0, 300.0))
    assert list(found) == [300.0, 10.0]
    inner, asked = data.train_valid_split(ratings, 0)
    scores = ease.centred(inner, sizes) @ ease.weights(ease.centred(inner, sizes), 300)
    lists = recommend.top_n(scores, recommend.seen_matrix(inner, sizes))
    assert found[300.0] == pytest.approx(metrics.measures_at(lists, asked)["ndcg"].mean())
