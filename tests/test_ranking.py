from embedlens import ranking
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import ndcg_score

SCORES = np.array([[9, 9, 9, 9, 9], [9, 1, 5, 5, 2], [9, 4, 3, 2, 1]], dtype="float64")
NOTHING = np.zeros((3, 5), dtype=bool)


def rated(pairs):
    return pd.DataFrame(pairs, columns=["userIdDense", "movieIdDense", "rating"])


def test_best_first_equal_ones_by_id_and_never_column_0():
    assert ranking.top_n(SCORES, NOTHING, 3)[1:].tolist() == [[2, 3, 4], [1, 2, 3]]


def test_rated_movies_are_left_out():
    seen = ranking.seen_matrix(rated([(1, 2, 1.0), (2, 1, 5.0)]), (2, 4))
    assert seen.sum() == 2
    assert ranking.top_n(SCORES, seen, 3)[1:].tolist() == [[3, 4, 1], [2, 3, 4]]


def test_too_few_movies_left():
    seen = NOTHING.copy()
    seen[2, 1:4] = True
    with pytest.raises(ValueError, match="user 2 has only 1 unrated movies, not 3"):
        ranking.top_n(SCORES, seen, 3)
    with pytest.raises(ValueError, match="shape"):
        ranking.top_n(SCORES, seen[:2], 3)


def test_measures_by_hand():
    lists = np.array([[0, 0], [2, 3], [1, 2]])
    valid = rated([(1, 3, 4.0), (1, 2, 3.5), (2, 1, 5.0), (2, 2, 4.5), (2, 4, 4.0), (3, 1, 1.0)])
    found = ranking.measures_at(lists, valid)
    assert found.index.tolist() == [1, 2]  # user 3 liked nothing
    assert found["precision"].tolist() == [0.5, 1.0]
    assert found["recall"].tolist() == pytest.approx([1.0, 2 / 3])
    assert found["ndcg"].tolist() == pytest.approx([1 / np.log2(3), 1.0])


def test_ndcg_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = np.column_stack(
        [np.zeros(21), rng.permuted(np.tile(np.arange(50.0), (21, 1)), axis=1)]
    )
    liked = rng.random((21, 51)) < 0.2
    liked[:, 0] = False
    pairs = [(u, m, 5.0) for u, m in np.argwhere(liked) if u > 0]
    lists = ranking.top_n(scores, np.zeros(scores.shape, bool), 10)
    ours = ranking.measures_at(lists, rated(pairs))["ndcg"]
    for user in ours.index:
        theirs = ndcg_score(liked[[user], 1:], scores[[user], 1:], k=10)
        assert ours[user] == pytest.approx(theirs)
