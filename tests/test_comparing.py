import numpy as np
import pandas as pd
import pytest
from sklearn.cross_decomposition import CCA

from embedlens import comparing

VECTORS = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0], [0.0, 0.0]])
MOVIES = pd.DataFrame({"title": ["A", "B", "C", "D", "D"]}, index=[7, 8, 9, 10, 11])


def test_nearest_by_cosine_without_the_row_itself():
    places, cosines = comparing.nearest(VECTORS, 2)
    assert places[:4, 0].tolist() == [1, 0, 3, 2]
    assert cosines[0, 0] == pytest.approx(2 / np.hypot(2, 0.1))
    assert cosines[4].tolist() == [0, 0]


def test_neighbours_of_a_title():
    found = comparing.neighbours_of("C", MOVIES, VECTORS, 2)
    assert found["title"].tolist() == ["D", "B"]
    assert found.index.tolist() == [10, 8]
    assert found["cosine"].is_monotonic_decreasing


def test_so_many_neighbours_unless_told():
    vectors = cloud(seed=0)
    movies = pd.DataFrame({"title": [f"Movie {row}" for row in range(len(vectors))]})
    assert comparing.nearest(vectors)[0].shape == (60, 10)
    assert len(comparing.neighbours_of("Movie 7", movies, vectors)) == 5


@pytest.mark.parametrize(("title", "number"), [("D", 2), ("Z", 0)])
def test_title_must_name_one_movie(title, number):
    with pytest.raises(ValueError, match=f"names {number} movies"):
        comparing.neighbours_of(title, MOVIES, VECTORS)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="5 movies against 4 vectors"):
        comparing.neighbours_of("A", MOVIES, VECTORS[:4])


def test_agreement_of_a_rotated_and_of_a_random_space():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 4))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert comparing.agreement(vectors, 3 * vectors @ rotation, 5) == 1
    assert comparing.agreement(vectors, rng.normal(size=(300, 6)), 5) < 0.05


def cloud(seed, dim=3, rows=60):
    return np.random.default_rng(seed).normal(size=(rows, dim))


def turn(dim):
    return np.linalg.qr(np.random.default_rng(9).normal(size=(dim, dim)))[0]


def test_components_are_centred_and_keep_their_share():
    vectors = cloud(2, dim=4) * [5, 3, 0.1, 0.1] + 7
    scores, share = comparing.first_components(vectors, 2)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-12)
    assert share == pytest.approx(scores.var(axis=0).sum() / vectors.var(axis=0).sum())
    with pytest.raises(ValueError, match="no 5 components"):
        comparing.first_components(vectors, 5)


def test_canonical_correlations_agree_with_scikit_learn():
    ours = cloud(3)
    theirs = np.column_stack([ours[:, 0] + 0.5 * cloud(4)[:, 0], cloud(5)])
    fitted = CCA(3, scale=False, max_iter=5000, tol=1e-12).fit(ours, theirs)
    pairs = zip(*(scores.T for scores in fitted.transform(ours, theirs)), strict=True)
    expected = [np.corrcoef(*pair)[0, 1] for pair in pairs]
    np.testing.assert_allclose(comparing.canonical_correlations(ours, theirs), expected, atol=1e-4)


def test_what_turning_does_not_change():
    ours = cloud(6)
    turned = 3 * ours @ turn(3) + 1
    np.testing.assert_allclose(comparing.canonical_correlations(ours, turned), 1)
    stretched = ours * [1, 20, 1]
    np.testing.assert_allclose(comparing.canonical_correlations(ours, stretched), 1)


def test_too_few_rows_to_compare():
    with pytest.raises(ValueError, match="5 rows have no 5 nearest others"):
        comparing.nearest(VECTORS, 5)
    with pytest.raises(ValueError, match="not a finite number"):
        comparing.nearest(VECTORS * np.nan, 2)
    with pytest.raises(ValueError, match="5 rows against 4"):
        comparing.agreement(VECTORS, VECTORS[:4], 1)
    for rows in (2, 3):
        with pytest.raises(ValueError, match="too few common rows"):
            comparing.canonical_correlations(cloud(1, rows=rows), cloud(2, rows=rows))
    with pytest.raises(ValueError, match="or all equal"):
        comparing.first_components(np.ones((30, 4)), 2)


def test_nearest_by_hand():
    vectors = np.array([[1, 0], [2, 0.1], [0, 1], [-1, 0]], dtype="float32")
    assert comparing.nearest(vectors, 2)[0].tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
