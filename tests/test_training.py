from functools import partial
import hashlib
import os
from pathlib import Path
import subprocess
import sys
import warnings

import keras
import numpy as np
import pandas as pd
import pytest

from embedlens import cache, data, metrics, provenance, recipes, training
from embedlens.models import BiasOnly, DotWithBias, OneHotDense, OneHotNetwork, SimpleDot
from embedlens.recipes import Recipe

TINY = Recipe(SimpleDot, dim=8)
SIZES = (12, 15)  # of `tiny_ratings`
SAVABLE = {
    "dot": TINY,
    "bias": recipes.BIAS,
    "one-hot": Recipe(OneHotNetwork, dim=3, embedding=OneHotDense),
}


def split(ratings):
    return data.train_valid_split(ratings, 0)


def test_history_is_in_stars_and_ends_where_predict_does(tiny_ratings):
    train, valid = split(tiny_ratings)
    model, history = training.train(TINY, SIZES, train, valid, 0, epochs=3)
    assert history["epoch"].to_list() == [1, 2, 3]
    last = metrics.rmse(valid["rating"], training.predict(model, valid))
    assert history["valid_rmse"].iloc[-1] == pytest.approx(last, abs=1e-4)
    assert history["train_rmse"].is_monotonic_decreasing
    assert (history["seconds"] > 0).all()


@pytest.mark.parametrize("way", ["plain", "compiled"])
def test_training_stops_two_epochs_after_the_best(tiny_ratings, way):
    train, valid = split(tiny_ratings)
    valid = valid.assign(rating=5.5 - valid["rating"], movieIdDense=1)  # hardly to be learnt
    options = {"learning_rate": 0.1, "batch_size": 36}
    _, history = training.train(TINY, SIZES, train, valid, 0, way, epochs=60, **options)
    assert len(history) == history["valid_rmse"].idxmin() + 3 < 60
    _, whole = training.train(TINY, SIZES, train, valid, 0, way, epochs=9, patience=None, **options)
    assert len(whole) == 9


@pytest.mark.parametrize("way", ["plain", "compiled"])
def test_without_validation_all_epochs_are_run(tiny_ratings, way):
    _, history = training.train(TINY, SIZES, tiny_ratings, None, 0, way, epochs=4, batch_size=45)
    assert history.columns.to_list() == ["epoch", "train_rmse", "seconds"]
    assert len(history) == 4


@pytest.mark.parametrize(("way", "seeds"), [("plain", [3, 3, 4]), ("compiled", [3, 3])])
def test_seed_fixes_weights_order_and_dropout(tiny_ratings, way, seeds):
    recipe = Recipe(DotWithBias, dim=4, **recipes.SCALE)
    first, again, *others = (
        training.train(recipe, SIZES, tiny_ratings, None, seed, way, epochs=1, batch_size=9)[0]
        for seed in seeds
    )
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for other in others:
        for a, b in zip(first.get_weights(), other.get_weights(), strict=True):
            assert (a != b).any()


def test_seed_is_that_of_python_numpy_and_keras():
    def drawn(seed):
        training.set_seed(seed)
        weights = SimpleDot(3, 3, dim=2)(np.array([[1, 1]]))
        draw = keras.random.uniform((2,), seed=keras.random.SeedGenerator())
        numbers = np.random.rand(2)  # noqa: NPY002
        return [
            *keras.ops.convert_to_numpy(weights)[0],
            *keras.ops.convert_to_numpy(draw),
            *numbers,
        ]

    assert drawn(1) == drawn(1)
    assert all(a != b for a, b in zip(drawn(1), drawn(2), strict=True))


def test_loss_is_the_squared_error():
    """Two of three ratings are 1, one is 4: squares are least at the mean, not at the median."""
    ratings = pd.DataFrame({"userIdDense": 1, "movieIdDense": 1, "rating": [1.0, 1.0, 4.0]})
    recipe = Recipe(BiasOnly, **recipes.SCALE)
    options = {"epochs": 60, "learning_rate": 0.1, "falling": True}
    model, history = training.train(recipe, (1, 1), ratings, None, 0, "plain", **options)
    assert training.predict(model, ratings) == pytest.approx(2.0, abs=0.05)
    assert history["train_rmse"].iloc[-1] == pytest.approx(np.sqrt(2), abs=0.01)


def test_rate_falls_along_half_a_cosine_to_zero():
    rate = training.learning_rate(recipes.Training(epochs=5, batch_size=8, falling=True), 20)
    steps = np.arange(0, 16, 3)  # 3 steps an epoch: 20 ratings
    expected = 0.001 * (1 + np.cos(np.pi * steps / 15)) / 2
    np.testing.assert_allclose([float(rate(step)) for step in steps], expected, atol=1e-9)
    assert training.learning_rate(recipes.Training(), 20) == 0.001


def test_changes_overrule_the_recipe(tiny_ratings):
    recipe = TINY.with_training(epochs=2)
    assert len(training.train(recipe, SIZES, tiny_ratings, None, 0, "plain")[1]) == 2
    assert len(training.train(recipe, SIZES, tiny_ratings, None, 0, "plain", epochs=3)[1]) == 3
    with pytest.raises(TypeError, match="rate"):
        training.train(recipe, SIZES, tiny_ratings, None, 0, rate=3)


def test_any_callable_makes_a_model(tiny_ratings):
    ours, theirs = (
        training.train(make, SIZES, tiny_ratings, None, 0, "plain", epochs=1)[0]
        for make in (TINY, partial(SimpleDot, dim=8))
    )
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("way", [None, "plain", "compiled"])
@pytest.mark.parametrize("column", ["userIdDense", "movieIdDense"])
def test_ids_outside_the_tables_are_refused(tiny_ratings, way, column):
    few = tiny_ratings[tiny_ratings[column] > 3]  # a reader keeps a part, ids as they are
    sizes = data.count_users_and_movies(few)
    train, valid = split(few)
    with pytest.raises(ValueError, match=f"{column}"):
        training.train(TINY, sizes, train, valid, 0, way, epochs=1)
    with pytest.raises(ValueError, match=f"{column}"):
        training.train(TINY, SIZES, tiny_ratings, few.assign(**{column: 0}), 0, way, epochs=1)
    model = TINY(*sizes)
    with pytest.raises(ValueError, match=f"{column}"):
        training.predict(model, few)


@pytest.mark.parametrize("name", sorted(SAVABLE))
def test_ids_are_checked_for_a_model_that_was_loaded(tiny_ratings, tmp_path, name):
    model = SAVABLE[name](*SIZES)
    before = training.predict(model, tiny_ratings)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(training.predict(loaded, tiny_ratings), before, rtol=1e-6)
    with pytest.raises(ValueError, match="movieIdDense"):
        training.predict(loaded, tiny_ratings.assign(movieIdDense=16))
    with pytest.raises(ValueError, match="userIdDense"):
        training.predict(loaded, tiny_ratings.assign(userIdDense=13))


def test_nothing_to_train_on_or_to_predict(tiny_ratings):
    nothing = tiny_ratings[:0]
    for train, valid in [(nothing, None), (tiny_ratings, nothing)]:
        with pytest.raises(ValueError, match="no ratings"):
            training.train(TINY, SIZES, train, valid, 0)
    found = training.predict(TINY(*SIZES), nothing)
    assert found.shape == (0,)
    assert found.dtype == "float32"


def test_one_rating_trains(tiny_ratings):
    model, history = training.train(TINY, SIZES, tiny_ratings[:1], None, 0, "plain", epochs=1)
    assert np.isfinite(history["train_rmse"]).all()
    assert np.isfinite(training.predict(model, tiny_ratings)).all()


def test_unknown_way(tiny_ratings):
    with pytest.raises(ValueError, match="choose from plain, compiled, rowwise"):
        training.train(TINY, SIZES, tiny_ratings, None, 0, "quick")


def test_row_wise_training_says_what_it_needs(tiny_ratings, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match="TensorFlow and JAX, not on torch"):
        training._row_wise_trainer()


def test_row_wise_training_takes_ids_and_no_callbacks(tiny_ratings):
    for options in ({"inputs": lambda ratings: 0}, {"callbacks": [keras.callbacks.Callback()]}):
        with pytest.raises(ValueError, match="two ids as input, and no callbacks"):
            training.train(TINY, SIZES, tiny_ratings, None, 0, "rowwise", **options)


@keras.saving.register_keras_serializable(package="tests")
class UserMovieDot(SimpleDot):
    """Its own name holds both sides: case 02."""


class Unnamed(keras.Model):
    def __init__(self, n_users, n_movies):
        super().__init__()
        self.users = keras.layers.Embedding(n_users + 1, 2)
        self.user_part = keras.layers.Dense(1)

    def call(self, x):
        return self.user_part(self.users(x[:, 0]))


def test_side_of_a_table_is_read_from_its_layers_own_name():
    model = UserMovieDot(3, 4, dim=2)
    model(np.array([[1, 1]]))
    assert training.tables(model) == [0, 1]
    assert training._sizes_of(model) == (3, 4)


def test_a_table_without_a_side_is_refused():
    model = Unnamed(3, 4)
    model(np.array([[1, 1]]))
    with pytest.raises(ValueError, match="names begin with user_ or movie_"):
        training.tables(model)


def weights_and_errors(folder):
    """Of the bias model, trained anew on a few ratings: a digest, and RMSE by epoch."""
    ratings = data.prepared().head(3000)
    for column in ("userId", "movieId"):
        ratings = ratings.assign(**{f"{column}Dense": data.dense_ids(ratings[column])})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBEDLENS_CACHE", str(folder))
        model, history = training.trained(recipes.BIAS, ratings, seed=3)
    weights = b"".join(w.tobytes() for w in model.get_weights())
    return hashlib.sha256(weights).hexdigest(), history["valid_rmse"].to_list()


def test_two_processes_agree_to_the_bit(tmp_path):
    code = "import sys, test_training as t; print(t.weights_and_errors(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "theirs")]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    theirs = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert theirs.strip() == str(weights_and_errors(tmp_path / "ours"))


@pytest.mark.parametrize(
    "recipe",
    [TINY, Recipe(DotWithBias, dim=4, user_dropout=0.0, movie_dropout=0.0, **recipes.SCALE)],
    ids=["dot", "bias"],
)
def test_compiled_way_is_plain_fit(recipe, tiny_ratings):
    """A batch of all ratings: their order, which the two draw in their own ways, is no matter."""
    options = {"epochs": 3, "batch_size": 90, "learning_rate": 0.05}
    (ours, curve), (theirs, plain) = (
        training.train(recipe, SIZES, tiny_ratings, tiny_ratings, 0, way, **options)
        for way in ("compiled", "plain")
    )
    columns = ["epoch", "train_rmse", "valid_rmse"]
    np.testing.assert_allclose(curve[columns], plain[columns], rtol=1e-5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.fixture
def count_trainings(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path))
    calls = []

    def counted(*arguments, train=training.train, **options):
        calls.append(1)
        return train(*arguments, way="plain", epochs=1, **options)

    monkeypatch.setattr(training, "train", counted)
    return calls


def test_feedback_learns_who_rated_what_from_the_training_part_alone(tiny_ratings, count_trainings):
    recipe = recipes.FEEDBACK.with_options(dim=2)
    train, valid = split(tiny_ratings)
    pairs = {*map(tuple, data.inputs(train).tolist())}
    direct, _ = training.train(recipe, SIZES, train, valid, 0)
    first, again = (training.trained(recipe, tiny_ratings)[0] for _ in range(2))
    assert len(count_trainings) == 2
    for model in (direct, first, again):
        known = {*map(tuple, model.pairs.reshape(-1, 2).tolist())} - {(0, 0)}
        assert known == pairs
    for ours in (first, again):
        expected = training.predict(direct, valid)
        np.testing.assert_allclose(training.predict(ours, valid), expected, rtol=1e-6)


def test_cache_gives_the_same_model_without_training(tiny_ratings, count_trainings):
    first, first_history = training.trained(TINY, tiny_ratings, 0)
    second, second_history = training.trained(TINY, tiny_ratings, 0)
    assert len(count_trainings) == 1
    assert first_history.equals(second_history)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_cache_is_not_used_for_other_data_recipe_or_seed(tiny_ratings, count_trainings):
    other = tiny_ratings.copy()
    other.loc[0, "rating"] = 5.5 - other.loc[0, "rating"]
    runs = [
        (TINY, tiny_ratings, 0),
        (TINY, tiny_ratings, 1),
        (TINY, other, 0),
        (TINY.with_options(dim=7), tiny_ratings, 0),
        (TINY.with_training(batch_size=16), tiny_ratings, 0),
    ]
    for number, run in enumerate(runs, start=1):
        training.trained(*run)
        assert len(count_trainings) == number


def test_cache_is_not_used_after_a_change_of_code(tiny_ratings, count_trainings, monkeypatch):
    training.trained(TINY, tiny_ratings, 0)
    monkeypatch.setattr(provenance, "fingerprint", lambda file: "other code")
    training.trained(TINY, tiny_ratings, 0)
    assert len(count_trainings) == 2


@pytest.mark.filterwarnings("ignore:.*Exception while loading results")
def test_damaged_cache_is_trained_anew(tiny_ratings, count_trainings, tmp_path):
    training.trained(TINY, tiny_ratings, 0)
    stored = list(tmp_path.rglob("output.pkl"))
    assert len(stored) == 1
    stored[0].write_bytes(stored[0].read_bytes()[:100])
    training.trained(TINY, tiny_ratings, 0)
    assert len(count_trainings) == 2


def test_trains_without_a_cache_folder_and_says_so_once(tiny_ratings, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("EMBEDLENS_CACHE", str(blocked / "cache"))
    cache._can_be_written.cache_clear()
    recipe = TINY.with_training(epochs=1)
    with pytest.warns(UserWarning, match="EMBEDLENS_CACHE"):
        training.trained(recipe, tiny_ratings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.trained(recipe, tiny_ratings)
    assert Path(blocked).read_text() == ""


@pytest.mark.parametrize("way", ["plain", "rowwise"])
def test_each_epoch_may_look_at_the_model_of_that_moment(tiny_ratings, way):
    sizes = data.count_users_and_movies(tiny_ratings)
    train, valid = data.train_valid_split(tiny_ratings, 0)

    def look(predict):
        return {"again": metrics.rmse(valid["rating"], predict(valid))}

    _, history = training.train(
        recipes.BIAS.with_options(dim=4),
        sizes,
        train,
        valid,
        0,
        way,
        epochs=3,
        patience=None,
        each_epoch=look,
    )
    np.testing.assert_allclose(history["again"], history["valid_rmse"], rtol=1e-6)
    assert history["again"].nunique() == 3


def test_compiled_training_calls_nothing_after_an_epoch(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    with pytest.raises(ValueError, match="compiled training calls nothing"):
        training.train(Recipe(SimpleDot), sizes, tiny_ratings, None, 0, "compiled", each_epoch=dict)
