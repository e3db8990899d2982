import json
import os
from pathlib import Path
import subprocess
import sys

from embedlens import audit, data, tasks
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
STORED = ROOT / "book/results/tasks.json"
PAIRS = np.array([[1, 2], [1, 3], [1, 5], [2, 3], [4, 9]])
MOVIES = pd.DataFrame(
    {
        "title": ["A (1990)", "B (2000)", "C", "D (1980)"],
        "genres": ["War|Drama", "Drama", tasks.NO_GENRES, "War"],
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


def test_the_model_is_a_dot_product_with_a_bias_and_pays_for_length():
    model = tasks.GoesWith(2, 3, dim=2, penalty=0.5)
    x = np.array([[1, 3], [2, 1]])
    model(x)
    contexts = np.array([[0, 0], [1.0, 2.0], [3.0, -1.0]])
    movies = np.array([[0, 0], [0.5, 1.0], [7.0, 7.0], [2.0, 0.0]])
    model.set_weights([contexts, movies, np.array([[0], [0.25], [7.0], [-1.0]])])
    assert np.asarray(model(x)).ravel().tolist() == [2 - 1, 0.5 + 0.25]
    assert model.losses == []
    model(x, training=True)
    lengths = (5 + 10) / 2, (4 + 1.25) / 2
    assert sum(map(float, model.losses)) == pytest.approx(0.5 * sum(lengths))


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
    assert genres.to_dict("list") == {"Drama": [1, 1, 0, 0], "War": [1, 0, 0, 1]}
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


def test_genres_in_common_by_hand():
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [0.0, 1.0]])
    # Nearest: A-B (1 of 2), B-A (1 of 2), C-D (0 of 1 listed and 1), D-B (0 of 2).
    movies = MOVIES.assign(genres=["War|Drama", "Drama", "Comedy", "War"])
    assert tasks.genres_in_common(movies, vectors, 1) == pytest.approx((0.5 + 0.5) / 4)


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


@pytest.fixture(scope="module")
def stored():
    return tasks.load(STORED)


def test_stored_measures_are_complete(stored):
    by_split, tried = stored
    assert by_split.index.tolist() == tasks.SETTINGS["splits"]
    assert by_split.notna().all(axis=None)
    for name in ("probe_watched_genre", "probe_known_rating", "agreement_genres_again"):
        assert by_split[name].between(0.05, 0.95).all(), name
    trials = tried.drop(columns="loss").to_dict("records")
    assert trials == tasks.trials()


def test_stored_measures_name_data_and_commit():
    provenance = json.loads(STORED.read_text())["provenance"]
    assert provenance["data"] == audit.dataset_digest()
    assert not provenance["commit"].endswith("+"), "made from uncommitted code"


@pytest.mark.parametrize("task", tasks.FOUND)
def test_the_setting_is_the_best_that_was_tried(stored, task):
    tried = stored[1].query("task == @task").sort_values("loss")
    assert tried.iloc[0][["penalty", "epochs"]].to_dict() == tasks.FOUND[task]


AGAIN = """
from embedlens import data, factors, tasks
number = tasks.trials().index({"task": "genres", "penalty": 0.03, "epochs": 10})
found = {"loss": tasks.try_setting(number)["loss"]}
train, valid = data.train_valid_split(data.prepared(), 1)
known = factors.often_rated(factors.movie_table(data.prepared()))
vectors = tasks.movie_vectors(tasks.trained("ratings", train, 1), known)
genres, numbers = tasks.properties(known, valid)
for name in tasks.NUMBERS:
    found[name] = tasks.probe_number(vectors, numbers, name)
import json
print(json.dumps(found))
"""


def test_a_run_again_agrees_with_the_stored_one(stored):
    done = subprocess.run(
        [sys.executable, "-c", AGAIN],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    again = json.loads(done.stdout.splitlines()[-1])
    by_split, tried = stored
    loss = tried.query("task == 'genres' and penalty == 0.03 and epochs == 10")["loss"].item()
    assert again["loss"] == pytest.approx(loss, abs=0.002)
    for name in tasks.NUMBERS:
        assert again[name] == pytest.approx(by_split.loc[1, f"probe_ratings_{name}"], abs=0.02)


@pytest.mark.parametrize("key", ["data", "settings"])
def test_measures_of_something_else_are_refused(tmp_path, key):
    other = json.loads(STORED.read_text())
    other["provenance"][key] = "another"
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps(other))
    with pytest.raises(ValueError, match=f"made for other {key}; run make tasks again"):
        tasks.load(file)
