from embedlens import neighbours
import numpy as np
import pandas as pd
import pytest

VECTORS = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0], [0.0, 0.0]])
MOVIES = pd.DataFrame({"title": ["A", "B", "C", "D", "D"]}, index=[7, 8, 9, 10, 11])


def test_nearest_by_cosine_without_the_row_itself():
    places, cosines = neighbours.nearest(VECTORS, 2)
    assert places[:4, 0].tolist() == [1, 0, 3, 2]
    assert cosines[0, 0] == pytest.approx(2 / np.hypot(2, 0.1))
    assert cosines[4].tolist() == [0, 0]


def test_neighbours_of_a_title():
    found = neighbours.neighbours_of("C", MOVIES, VECTORS, 2)
    assert found["title"].tolist() == ["D", "B"]
    assert found.index.tolist() == [10, 8]
    assert found["cosine"].is_monotonic_decreasing


@pytest.mark.parametrize(("title", "number"), [("D", 2), ("Z", 0)])
def test_title_must_name_one_movie(title, number):
    with pytest.raises(ValueError, match=f"names {number} movies"):
        neighbours.neighbours_of(title, MOVIES, VECTORS)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="5 movies against 4 vectors"):
        neighbours.neighbours_of("A", MOVIES, VECTORS[:4])


def test_agreement_of_a_rotated_and_of_a_random_space():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 4))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert neighbours.agreement(vectors, 3 * vectors @ rotation, 5) == 1
    assert neighbours.agreement(vectors, rng.normal(size=(300, 6)), 5) < 0.05
