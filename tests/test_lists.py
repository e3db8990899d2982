from embedlens import lists
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc
from sklearn.metrics.pairwise import cosine_similarity

# Ratings of movies 1 to 10, by dense id; 0 belongs to nobody.
POPULARITY = np.array([0, 3, 50, 1, 20, 2, 10, 0, 8, 5, 1])


def test_counts_by_dense_id():
    assert lists.counts([[1, 3], [3, 4]], 5).tolist() == [0, 1, 0, 2, 1, 0]


def test_gini_is_that_of_the_lorenz_curve():
    rng = np.random.default_rng(0)
    values = rng.exponential(size=50)
    share = np.cumsum(np.r_[0, np.sort(values)]) / values.sum()
    assert lists.gini(values) == pytest.approx(1 - 2 * auc(np.linspace(0, 1, 51), share))
    assert lists.gini([7, 7, 7]) == pytest.approx(0)
    assert lists.gini([0, 0, 0, 5]) == pytest.approx(3 / 4)


@pytest.mark.parametrize("values", [[], [0, 0], [-1, 2]])
def test_gini_of_nothing(values):
    with pytest.raises(ValueError, match="none is negative and one is positive"):
        lists.gini(values)


def test_places_from_the_most_popular_on():
    place = lists.places(POPULARITY)
    assert np.isnan(place[0])
    assert place[1:] == pytest.approx([0.6, 0.1, 0.8, 0.2, 0.7, 0.3, 1.0, 0.4, 0.5, 0.9])


def test_groups_hold_what_they_say():
    everything = lists.shares_by_group(np.arange(1, 1001), np.r_[0, np.arange(1000)])
    assert everything.index.tolist() == list(lists.GROUPS)
    assert everything.to_list() == pytest.approx([0.01, 0.09, 0.4, 0.5])
    assert lists.shares_by_group([2, 4, 7, 7], POPULARITY).to_list() == [0, 0.25, 0.25, 0.5]


def test_description_by_hand():
    found = lists.describe(np.array([[9, 9], [2, 4], [2, 3]]), POPULARITY)
    assert found["popularity"] == (50 + 20 + 50 + 1) / 4
    assert found["few"] == 0.25
    assert found["top_tenth"] == 0.5
    assert found["coverage"] == 0.3
    assert found["gini"] == pytest.approx(lists.gini([2, 1, 1] + [0] * 7))


def test_short_head_holds_its_share():
    assert np.flatnonzero(lists.short_head(POPULARITY, 0.4)).tolist() == [2]
    assert np.flatnonzero(lists.short_head(POPULARITY, 0.6)).tolist() == [2, 4]


def test_caution_takes_more_where_there_are_few_ratings():
    train = pd.DataFrame({"rating": [2.0, 4.0, 3.0]})
    found = lists.cautious(np.array([[4.0, 4.0]]), train, np.array([0, 3]))
    assert found.tolist() == [[3.0, 3.5]]


def test_rankings_by_hand():
    train = pd.DataFrame({"movieIdDense": [1, 1, 3], "rating": [2.0, 4.0, 5.0]})
    stars = np.arange(12.0).reshape(3, 4)
    found = lists.rankings((stars, -stars), (stars + 1, -stars - 1), train)
    assert found["mean"][2].tolist() == [0, 3, 0, 5]
    assert found["popularity"][1].tolist() == [0, 2, 0, 1]
    assert (found["tuned_often"] == 0).all()
    assert np.array_equal(found["post_taste"], -stars)
    assert np.array_equal(found["tuned"], stars + 1)


def test_mmr_by_relevance_alone_and_by_hand():
    relevance = np.array([0.2, 1.0, 0.9, 0.5])
    similarity = np.eye(4)
    similarity[1, 2] = similarity[2, 1] = 0.95
    similarity[1, 3] = similarity[3, 1] = 0.1
    assert lists.mmr(relevance, similarity, 4, 1.0) == [1, 2, 3, 0]
    # After 1: movie 2 has 0.45 - 0.475, movie 3 has 0.25 - 0.05, movie 0 has 0.1 - 0.
    assert lists.mmr(relevance, similarity, 3, 0.5) == [1, 3, 0]


def test_mmr_makes_lists_less_alike():
    rng = np.random.default_rng(0)
    vectors = lists.unit_rows(rng.normal(size=(40, 5)))
    stars = rng.random((4, 40))
    best = np.argsort(-stars, axis=1)[:, :20]

    def mean_alike(found):
        return np.mean([lists.alike(vectors[row] @ vectors[row].T) for row in found])

    by_weight = [lists.diversify(best, stars, vectors, w, 6) for w in (1.0, 0.6, 0.2)]
    assert np.array_equal(by_weight[0], best[:, :6])
    similarities = [mean_alike(found) for found in by_weight]
    assert similarities[0] > similarities[1] > similarities[2]
    assert all(len(set(row)) == 6 for row in by_weight[2])


def test_alike_is_the_mean_over_pairs():
    similarity = np.array([[1, 0.5, 0.2], [0.5, 1, 0.8], [0.2, 0.8, 1]])
    assert lists.alike(similarity) == pytest.approx(0.5)


def test_unit_rows_give_cosines_and_keep_zeros():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    rows = lists.unit_rows(vectors)
    assert rows @ rows.T == pytest.approx(cosine_similarity(vectors))


def test_genres_as_rows():
    movies = pd.DataFrame({"genres": ["Comedy|Drama", "Drama", "War"]}, index=[1, 2, 3])
    rows = lists.genre_rows(movies)
    assert len(rows) == 4
    assert rows[1] @ rows[2] == pytest.approx(np.sqrt(0.5))
    assert rows[2] @ rows[3] == 0
