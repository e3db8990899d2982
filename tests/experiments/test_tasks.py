from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedlens import data, experiments
from embedlens.experiments import tasks

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/tasks.json"
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
    scores = tasks.score_matrix(model, (8, 8))
    assert scores.shape == (9, 9)
    context, movie = model.context_embedding.get_weights()[0], model.movie_embedding
    one = context[3] @ movie.get_weights()[0][4] + model.movie_bias.get_weights()[0][4]
    assert scores[3, 4] == pytest.approx(one[0], abs=1e-5)


def test_unknown_task():
    with pytest.raises(ValueError, match="no task 'stars': choose from ratings, watched, genres"):
        tasks.trained("stars", None, 0)


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


def test_genres_in_common_by_hand():
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [0.0, 1.0]])
    # Nearest: A-B (1 of 2), B-A (1 of 2), C-D (0 of 1 listed and 1), D-B (0 of 2).
    movies = MOVIES.assign(genres=["War|Drama", "Drama", "Comedy", "War"])
    assert tasks.genres_in_common(movies, vectors, 1) == pytest.approx((0.5 + 0.5) / 4)


def test_unknown_genres_are_not_in_common():
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.2]])
    # Nearest: A-B (1 of 2), B-A (1 of 2), C-D and D-C.
    movies = MOVIES.assign(genres=["War|Drama", "Drama", data.NO_GENRES, data.NO_GENRES])
    assert tasks.genres_in_common(movies, vectors, 1) == pytest.approx(0.5)
    one_known = MOVIES.assign(genres=["War|Drama", "Drama", data.NO_GENRES, "War"])
    assert tasks.genres_in_common(one_known, vectors, 1) == pytest.approx(0.5)
    with pytest.raises(
        ValueError, match="no movie of known genres has another one among its 1 nearest"
    ):
        tasks.genres_in_common(movies[2:], vectors[2:], 1)


class ByTable:
    """Stands for a model: scores by a table."""

    def __init__(self, table):
        self.table = table

    def predict(self, x, **options):
        return self.table[tuple(x.T)]


def test_lists_of_equal_models_agree_and_the_right_one_scores():
    train, valid = data.train_valid_split(data.prepared(), 0)
    sizes = data.count_users_and_movies(data.prepared())
    oracle = np.zeros((sizes[0] + 1, sizes[1] + 1), "float32")
    oracle[tuple(data.inputs(valid).T)] = valid["rating"]
    found = tasks.compare_lists(
        {"ratings": ByTable(oracle), "watched": ByTable(oracle)}, train, valid
    )
    assert found["lists_in_common"] == 1
    assert found["ndcg_ratings"] == found["ndcg_watched"] == pytest.approx(1)
    assert 0 < found["ndcg_popular"] < 0.3
    assert found["list_ratings_popular"] > 100


def test_stored_measures_are_complete():
    by_split = experiments.table(STORED, index="split", kind="split")
    assert by_split.index.tolist() == tasks.SETTINGS["splits"]
    assert by_split.notna().all(axis=None)
    for name in ("probe_watched_genre", "probe_known_rating", "agreement_genres_again"):
        assert by_split[name].between(0.05, 0.95).all(), name
    tried = experiments.table(STORED, kind="trial").drop(columns="loss")
    assert [{"kind": "trial", **trial} for trial in tried.to_dict("records")] == tasks.TRIALS


@pytest.mark.parametrize("task", tasks.FOUND)
def test_the_setting_is_the_best_that_was_tried(task):
    tried = experiments.table(STORED, kind="trial").query("task == @task").sort_values("loss")
    assert tried.iloc[0][["penalty", "epochs"]].to_dict() == tasks.FOUND[task]
