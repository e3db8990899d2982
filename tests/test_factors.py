import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from embedlens import data, factors, published


@pytest.fixture(scope="module")
def matrix():
    spread = np.diag([3.0, 2.0, 1.0, 0.5, 0.2])
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    return np.random.default_rng(0).normal(size=(200, 5)) @ spread @ rotation + [2, -1, 3, 0, 1]


@pytest.fixture
def movies():
    return pd.DataFrame(
        {"title": ["A", "B", "C", "B"], "n_ratings": [20, 21, 5, 300]},
        index=pd.RangeIndex(1, 5, name="movieIdDense"),
    )


def same_up_to_sign(found, expected):
    """Compare rows: each may be flipped."""
    return np.allclose(np.abs(found @ expected.T), np.eye(len(expected)), atol=1e-8)


@pytest.mark.parametrize("centre", [False, True])
def test_scores_and_axes_rebuild_the_matrix(matrix, centre):
    components = factors.principal_components(matrix, centre)
    mean = matrix.mean(axis=0) if centre else 0
    assert components.scores.shape == matrix.shape
    assert np.allclose(components.scores @ components.axes + mean, matrix)
    assert np.isclose(components.shares.sum(), 1)
    assert (np.diff(components.shares) < 0).all()


def test_uncentred_components_are_eigenvectors_of_the_cross_product(matrix):
    components = factors.principal_components(matrix)
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    assert same_up_to_sign(components.axes, vectors[:, ::-1].T)
    assert np.allclose(components.shares, values[::-1] / values.sum())


def test_uncentred_components_are_not_those_of_sklearn(matrix):
    components = factors.principal_components(matrix)
    pca = PCA().fit(matrix)
    assert not same_up_to_sign(components.axes, pca.components_)
    assert not np.allclose(components.shares, pca.explained_variance_ratio_, atol=0.01)


def test_centred_components_are_those_of_sklearn(matrix):
    components = factors.principal_components(matrix, centre=True)
    pca = PCA().fit(matrix)
    assert same_up_to_sign(components.axes, pca.components_)
    assert np.allclose(components.shares, pca.explained_variance_ratio_)
    assert np.allclose(np.abs(components.scores), np.abs(pca.transform(matrix)))


def test_orient():
    scores = np.array([1.0, 3.0, 2.0])
    assert factors.orient(scores, np.array([10, 20, 30])).tolist() == [1, 3, 2]
    assert factors.orient(scores, np.array([30, 20, 10])).tolist() == [-1, -3, -2]
    assert factors.orient(-scores, np.array([10, 20, 30])).tolist() == [1, 3, 2]


@pytest.mark.parametrize(("off_by_one", "shift"), [(False, 0), (True, 1)])
def test_join_components(movies, off_by_one, shift):
    scores = np.arange(5 * 4).reshape(5, 4)  # Row i: 4 i, 4 i + 1, ...
    joined = factors.join_components(movies.iloc[[0, 3, 1]], scores, off_by_one)
    assert list(joined.columns) == ["title", "n_ratings", "PC1", "PC2", "PC3"]
    assert joined["title"].tolist() == ["A", "B", "B"]
    for k in range(3):
        assert joined[f"PC{k + 1}"].tolist() == [4 * (i - shift) + k for i in (1, 4, 2)]


def test_join_components_takes_as_many_as_asked(movies):
    joined = factors.join_components(movies, np.ones((5, 4)), n_components=2)
    assert list(joined.columns) == ["title", "n_ratings", "PC1", "PC2"]


def test_movie_before(movies):
    movies = movies.iloc[:3]
    assert factors.movie_before(iter(["C", "B"]), movies)["title"].tolist() == ["B", "A"]


@pytest.mark.parametrize(
    ("title", "reason"),
    [("D", "'D' names 0 movies"), ("B", "'B' names 2 movies"), ("A", "'A' is the first movie")],
)
def test_movie_before_refuses(movies, title, reason):
    with pytest.raises(ValueError, match=reason):
        factors.movie_before([title], movies)


def test_famous_movies_stand_before_those_that_the_post_ranks_highest():
    table = data.movie_table(data.prepared())
    before = factors.movie_before(published.HIGHEST_TEN["title"], table)
    assert len(before) == 10
    assert {"Godfather, The (1972)", "Pulp Fiction (1994)"} <= set(before["title"])


def test_by_shift_equals_a_join_by_hand():
    rng = np.random.default_rng(0)
    rows, places = rng.normal(size=12), np.array([1, 3, 4, 8, 11])
    reference = rng.normal(size=5)
    lowest, highest = np.array([1, 0, 0, 1, 0], bool), np.array([0, 1, 0, 0, 1], bool)
    by_shift = factors.correlation_by_shift(rows, places, reference)
    found = factors.found_by_shift(rows, places, lowest, highest, n=2)
    for shift in range(12):
        joined = [rows[(place - shift) % 12] for place in places]
        assert by_shift[shift] == pytest.approx(np.corrcoef(joined, reference)[0, 1])
        order = np.argsort(joined)
        assert found[0][shift] == sum(lowest[i] for i in order[:2])
        assert found[1][shift] == sum(highest[i] for i in order[-2:])


def test_shift_by_one_is_the_join_of_the_post(tiny_ratings):
    movies = data.movie_table(tiny_ratings)
    scores = np.random.default_rng(0).normal(size=(len(movies) + 1, 3))
    by_shift = factors.correlation_by_shift(
        scores[:, 0], movies.index.to_numpy(), movies["rating"].to_numpy()
    )
    for shift, off_by_one in ((0, False), (1, True)):
        joined = factors.join_components(movies, scores, off_by_one)
        assert by_shift[shift] == pytest.approx(joined["PC1"].corr(joined["rating"]))


def test_p_value_counts_shifts_at_least_as_high():
    assert factors.p_value(np.array([1.0, 5.0, 2.0, 5.0]), 2) == 0.75
    assert factors.p_value(np.array([1.0, 5.0, 2.0, 4.0]), 1) == 0.25


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(
    "matrix", [np.zeros((0, 3)), np.zeros((4, 3)), [[1.0, np.nan]], np.ones(3)], ids=str
)
def test_no_components_of_nothing(matrix, centre):
    with pytest.raises(ValueError, match=r"no components|there is no component"):
        factors.principal_components(matrix, centre)


def test_equal_rows_have_no_centred_component():
    with pytest.raises(ValueError, match="there is no component"):
        factors.principal_components(np.ones((4, 3)), centre=True)
    assert factors.principal_components(np.ones((4, 3))).shares[0] == pytest.approx(1)


def test_what_does_not_vary_turns_nothing():
    assert factors.sign([1.0, 1.0], [0.0, 3.0]) == 1
    assert factors.sign([1.0, 2.0], [3.0, 3.0]) == 1


def test_correlations_need_what_varies():
    places = np.array([0, 1])
    with pytest.raises(ValueError, match="two different values of the reference"):
        factors.correlation_by_shift([1.0, 2.0, 3.0], places, np.array([2.0, 2.0]))
    with pytest.raises(ValueError, match="shift 0 joins equal values"):
        factors.correlation_by_shift([1.0, 1.0, 3.0], places, np.array([2.0, 4.0]))
