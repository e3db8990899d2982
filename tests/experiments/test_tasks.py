import numpy as np
import pandas as pd
import pytest

from embedlens import data
from embedlens.experiments import tasks

PAIRS = np.array([[1, 2], [1, 3], [1, 5], [2, 3], [4, 9]])
MOVIES = pd.DataFrame(
    {
        "title": ["A (1990)", "B (2000)", "C", "D (1980)"],
        "genres": ["War|Drama", "Drama", data.NO_GENRES, "War"],
    },
    index=pd.Index([2, 3, 5, 9], name="movieIdDense"),
)


def test_negatives_never_go_with_their_context():
    x, y = tasks.with_negatives(PAIRS, 200, np.random.default_rng(0))
    assert x.shape == (5 * 201, 2)
    assert y.shape == (5 * 201, 1)
    assert x.dtype == "int32"
    assert (x[y[:, 0] == 1] == PAIRS).all()
    drawn = pd.DataFrame(x[y[:, 0] == 0], columns=["context", "movie"])
    assert drawn["context"].value_counts().to_dict() == {1: 600, 2: 200, 4: 200}
    by_context = drawn.groupby("context")["movie"].agg(set).to_dict()
    assert by_context == {1: {9}, 2: {2, 5, 9}, 4: {2, 3, 5}}
    shares = drawn[drawn["context"] == 2]["movie"].value_counts(normalize=True)
    assert shares.to_numpy() == pytest.approx(1 / 3, abs=0.1)


def test_negatives_follow_the_generator_and_keep_out_all_that_is_known():
    one, again = (tasks.with_negatives(PAIRS, 9, np.random.default_rng(3))[0] for _ in range(2))
    assert (one == again).all()
    known = np.concatenate([PAIRS, [[2, 5]]])
    x, y = tasks.with_negatives(PAIRS, 99, np.random.default_rng(0), known=known)
    drawn = x[y[:, 0] == 0]
    assert set(drawn[drawn[:, 0] == 2][:, 1]) == {2, 9}


def test_a_context_of_all_movies_has_no_negatives():
    pairs = np.array([[1, 1], [1, 2], [2, 1]])
    with pytest.raises(ValueError, match="context 1 goes with every movie"):
        tasks.with_negatives(pairs, 1, np.random.default_rng(0))


def test_genre_pairs_leave_out_movies_without_genres():
    pairs, names = tasks.genre_pairs(MOVIES)
    assert names == ["Drama", "War"]
    assert sorted(map(tuple, pairs.tolist())) == [(1, 2), (1, 3), (2, 2), (2, 9)]


def test_without_any_genre_there_is_no_pair():
    pairs, names = tasks.genre_pairs(MOVIES[2:3])
    assert pairs.shape == (0, 2)
    assert names == []
    with pytest.raises(ValueError, match="no pairs to train on"):
        tasks.train(pairs, (1, 9), seed=0, penalty=0.0, epochs=1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((3, 9), "contexts 1 to 4 are not within 1 to 3"), ((4, 8), "movies 2 to 9 are not within")],
)
def test_ids_beyond_the_tables(sizes, message):
    with pytest.raises(ValueError, match=message):
        tasks.train(PAIRS, sizes, seed=0, penalty=0.0, epochs=1)


def test_movies_of_the_same_contexts_come_together():
    pairs = np.array([[c, m] for c in range(1, 9) for m in range(1, 9) if (c - m) % 2 == 0])
    many = np.tile(pairs, (500, 1))
    model = tasks.train(many, (8, 8), seed=0, penalty=0.001, epochs=8)
    vectors = model.movie_embedding.get_weights()[0][1:]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    odd, even = unit[::2], unit[1::2]
    assert (odd @ odd.T).min() > 0.9
    assert (odd @ even.T).max() < 0
    assert model.context_embedding.get_weights()[0].shape == (9, tasks.SETTINGS["dim"])


def test_loss_aside_is_low_for_what_goes_together_alone():
    every = np.array([[c, m] for c in range(1, 9) for m in range(1, 9) if (c - m) % 2 == 0])
    pairs, setting = np.tile(every, (500, 1)), {"penalty": 0.001, "epochs": 8}
    assert tasks.loss_aside(pairs, every, (8, 8), 0, **setting) < 0.2
    wrong = np.array([[c, c % 8 + 1] for c in range(1, 9)])
    assert tasks.loss_aside(pairs, wrong, (8, 8), 0, **setting) > 1


def test_movies_without_a_pair_do_not_judge():
    setting = {"penalty": 0.0, "epochs": 1}
    aside = np.array([[2, 5], [4, 2]])
    with_unknown = np.concatenate([aside, [[3, 8]]])
    losses = [tasks.loss_aside(PAIRS, some, (4, 9), 0, **setting) for some in (aside, with_unknown)]
    assert losses[0] == pytest.approx(losses[1])


def test_pairs_of_a_task():
    ratings = data.prepared()
    n_users, n_movies = data.count_users_and_movies(ratings)
    pairs, sizes = tasks.pairs_of("watched", ratings[:7])
    assert (pairs == data.inputs(ratings[:7])).all()
    assert sizes == (n_users, n_movies)
    pairs, sizes = tasks.pairs_of("genres", None)
    assert sizes == (pairs[:, 0].max(), n_movies)
    with pytest.raises(ValueError, match="no task 'stars': choose from watched, genres"):
        tasks.pairs_of("stars", ratings)


def test_properties_are_of_the_validation_ratings(monkeypatch):
    monkeypatch.setitem(tasks.SETTINGS, "genre_movies", 2)
    valid = pd.DataFrame({"movieIdDense": [2, 2, 9, 7], "rating": [3.0, 4.0, 1.0, 5.0]})
    genres, numbers = tasks.properties(MOVIES, valid)
    np.testing.assert_equal(genres["Drama"].to_list(), [1, 1, np.nan, 0])
    np.testing.assert_equal(genres["War"].to_list(), [1, 0, np.nan, 1])
    np.testing.assert_equal(numbers["year"].to_list(), [1990, 2000, np.nan, 1980])
    np.testing.assert_equal(numbers["rating"].to_list(), [3.5, np.nan, np.nan, 1])
    assert numbers["popularity"].to_list() == pytest.approx(np.log([3, 1, 1, 2]))
    assert numbers["n_valid"].to_list() == [2, 0, 0, 1]


@pytest.fixture(scope="module")
def probed():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 5))
    numbers = pd.DataFrame({"rating": vectors[:, 1], "year": 2 - vectors[:, 2]})
    numbers["n_valid"] = rng.integers(0, 9, 400).astype("float64")
    numbers.loc[:9, "year"] = np.nan
    numbers.loc[numbers["n_valid"] == 0, "rating"] = 99  # counts for nothing
    genres = {"Drama": vectors[:, 0] > 0, "War": vectors[:, 3] > 1}
    return vectors, pd.DataFrame(genres).astype(int), numbers


def test_a_probe_finds_what_is_there_and_nothing_else(probed):
    vectors, genres, numbers = probed
    assert tasks.probe_genres(vectors, genres) > 0.99
    assert tasks.probe_number(vectors, numbers, "year") > 0.99
    assert tasks.probe_number(vectors, numbers, "rating") > 0.99
    other = np.random.default_rng(1).normal(size=vectors.shape)
    assert tasks.probe_genres(other, genres) == pytest.approx(0.5, abs=0.1)
    assert tasks.probe_number(other, numbers, "rating") == pytest.approx(0, abs=0.1)


def test_a_probe_leaves_out_movies_of_unknown_genres(probed):
    vectors, genres, _ = probed
    unknown = np.arange(len(vectors)) < 50
    scattered = np.where(unknown[:, None], 99.0, vectors)
    told = genres.astype("float64")
    told[unknown] = np.nan
    assert tasks.probe_genres(scattered, told) == tasks.probe_genres(vectors[50:], genres[50:])
