import numpy as np
import pytest

from embedlens import data, watched

RNG = np.random.default_rng(0)
MARKS = (RNG.random((6, 9)) < 0.5).astype("float32")
MARKS[:, 0] = 0  # nobody's column


def test_a_mark_for_each_rating(tiny_ratings):
    marks = watched.matrix_of(tiny_ratings, (12, 15))
    assert marks.shape == (13, 16)
    assert marks.sum() == len(tiny_ratings)
    assert (marks[tuple(data.inputs(tiny_ratings).T)] == 1).all()
    with pytest.raises(ValueError, match="movieIdDense outside"):
        watched.matrix_of(tiny_ratings, (12, 14))


@pytest.mark.parametrize("shrink", [0.0, 2.0])
def test_scores_of_neighbours_by_hand(shrink):
    scores = watched.item_knn(MARKS, 3, shrink)
    for movie in range(1, 9):
        alike = np.zeros(9)
        for other in range(1, 9):
            if other != movie:
                both = MARKS[:, movie] @ MARKS[:, other]
                lengths = np.sqrt(MARKS[:, movie].sum() * MARKS[:, other].sum())
                alike[other] = both / (lengths + shrink)
        alike[alike < np.sort(alike)[-3]] = 0
        np.testing.assert_allclose(scores[:, movie], MARKS @ alike, rtol=1e-5)
    assert (scores[:, 0] == 0).all()


@pytest.mark.parametrize("number", [0, 9, -1])
def test_there_must_be_so_many_neighbours(number):
    with pytest.raises(ValueError, match=f"{number} neighbours of 9 movies"):
        watched.item_knn(MARKS, number)
    assert (watched.item_knn(MARKS, 1) > 0).any()


def loss(users, movies, penalty, unwatched):
    """What `ials` makes as small as it can, over all pairs."""
    scores = users @ movies.T
    squares = np.sum(MARKS * (1 - scores) ** 2) + unwatched * np.sum(scores**2)
    prices = [
        (marks.sum(axis=1) + unwatched * marks.shape[1]) @ (rows**2).sum(axis=1)
        for rows, marks in [(users, MARKS), (movies, MARKS.T)]
    ]
    return squares + penalty * sum(prices)


def test_rows_are_the_best_for_those_of_the_others():
    """The gradient by a row, at what is solved for, is zero: no step lowers the loss."""
    movies = RNG.normal(size=(9, 2))
    best = watched.solved(movies, MARKS, 0.1, 0.3)
    lowest = loss(best, movies, 0.1, 0.3)
    for _ in range(20):
        step = 1e-3 * RNG.normal(size=best.shape)
        assert loss(best + step, movies, 0.1, 0.3) > lowest


def test_factors_tell_what_was_watched_and_are_fixed_by_the_seed():
    scores = watched.ials(MARKS, 4, 0.001, 0.1)
    assert scores[MARKS == 1].min() > scores[MARKS == 0].mean()
    assert scores[:, 0] == pytest.approx(0, abs=1e-6)
    assert np.array_equal(scores, watched.ials(MARKS, 4, 0.001, 0.1))
    assert not np.array_equal(scores, watched.ials(MARKS, 4, 0.001, 0.1, seed=1))
