"""Row-wise Adam against Keras' dense Adam, on both backends: test_backends.py has the other."""

import keras
import numpy as np
import pytest

from embedlens import data, metrics, recipes, rowwise, training
from embedlens.models import BiasOnly, DotWithBias, PenalisedDotWithBias, SimpleDot, SimpleEmbedding
from embedlens.recipes import SCALE, Recipe


class UsersAlone(keras.Model):
    """One side only."""

    def __init__(self, n_users, n_movies, **kwargs):
        super().__init__(**kwargs)
        self.user_bias = keras.layers.Embedding(n_users + 1, 1, name="user_bias")

    def call(self, x):
        return self.user_bias(x[:, 0])


class Lopsided(UsersAlone):
    """Rows of other lengths for users than for movies."""

    spare = 0

    def __init__(self, n_users, n_movies, **kwargs):
        super().__init__(n_users, n_movies, **kwargs)
        self.user_vectors = keras.layers.Embedding(n_users + 1 + self.spare, 4, name="user_vectors")
        self.movie_vectors = keras.layers.Embedding(n_movies + 1, 4, name="movie_vectors")

    def call(self, x):
        product = self.user_vectors(x[:, 0]) * self.movie_vectors(x[:, 1])
        return keras.ops.sum(product, axis=-1, keepdims=True) + self.user_bias(x[:, 0])


class Roomy(Lopsided):
    """A table with rows to spare, beside one of the same side without."""

    spare = 8


MODELS = {
    "dot": Recipe(SimpleDot, dim=6),
    "own layer": Recipe(SimpleDot, dim=6, low=-0.05, embedding=SimpleEmbedding),
    "bias": Recipe(DotWithBias, dim=6, **SCALE),
    "penalised": Recipe(PenalisedDotWithBias, dim=6, vector_penalty=0.3, bias_penalty=0.2, **SCALE),
    "bias only": Recipe(BiasOnly, **SCALE),
    "users alone": Recipe(UsersAlone),
    "lopsided": Recipe(Lopsided),
    "roomy": Recipe(Roomy),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))


def trained(make, ratings, batch_size, seed=0, way="rowwise", **options):
    train, valid = data.train_valid_split(ratings, 0)
    sizes = data.count_users_and_movies(ratings)
    options = {"epochs": 5, "batch_size": batch_size, "patience": 5, **options}
    return training.train(make, sizes, train, valid, seed, way, **options)


def assert_same_curves(ours, theirs, rtol):
    columns = ["epoch", "train_rmse", "valid_rmse"]
    np.testing.assert_allclose(ours[columns], theirs[columns], rtol=rtol)


@each_model
def test_equals_dense_adam(tiny_ratings, make):
    ours, our_history = trained(make, tiny_ratings, 8)  # 72 ratings train: whole batches
    plain, plain_history = trained(make, tiny_ratings, 8, way="plain")
    assert_same_curves(our_history, plain_history, rtol=1e-5)
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)


@pytest.mark.parametrize("name", ["dot", "bias", "penalised"])
def test_equals_dense_adam_with_a_smaller_last_batch(tiny_ratings, name):
    """Its mean, its penalty and its dropout are those of fewer ratings."""
    ours, our_history = trained(MODELS[name], tiny_ratings, 7)
    plain, plain_history = trained(MODELS[name], tiny_ratings, 7, way="plain")
    assert_same_curves(our_history, plain_history, rtol=1e-5)
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)


def test_rows_long_left_alone_drift_as_in_dense_adam():
    """A movie of one rating, then 300 steps without it: its momentum must be caught up."""
    ratings = data.prepared().head(400)
    ratings = ratings.assign(movieIdDense=data.dense_ids(ratings["movieId"]))
    ours, _ = trained(MODELS["dot"], ratings, 1, epochs=2)
    plain, _ = trained(MODELS["dot"], ratings, 1, epochs=2, way="plain")
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_rows_never_looked_up_keep_their_weights(tiny_ratings):
    train, _ = data.train_valid_split(tiny_ratings, 0)
    unseen = train["movieIdDense"] != 1
    make, sizes = MODELS["dot"], data.count_users_and_movies(tiny_ratings)
    training.set_seed(0)
    model = make(*sizes)
    model(np.zeros((1, 2), "int32"))
    before = model.movie_embedding.get_weights()[0]
    model, _ = training.train(
        make, sizes, train[unseen], train, 0, "rowwise", epochs=3, batch_size=8
    )
    moved = (model.movie_embedding.get_weights()[0] != before).any(axis=1)
    assert not moved[:2].any()
    assert moved[2:].all()


def test_equals_dense_adam_with_a_falling_rate(tiny_ratings):
    falling = {"learning_rate": 0.05, "falling": True}
    ours, our_history = trained(MODELS["bias"], tiny_ratings, 8, **falling)
    plain, plain_history = trained(MODELS["bias"], tiny_ratings, 8, way="plain", **falling)
    assert_same_curves(our_history, plain_history, rtol=1e-4)
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_many_calls_give_what_one_gives(tiny_ratings, monkeypatch):
    whole, whole_history = trained(MODELS["dot"], tiny_ratings, 7)  # 11 steps an epoch
    monkeypatch.setattr(rowwise, "RATINGS_PER_CALL", 28)
    cut, cut_history = trained(MODELS["dot"], tiny_ratings, 7)
    assert_same_curves(cut_history, whole_history, rtol=1e-6)
    for a, b in zip(cut.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a[1:], b[1:], atol=1e-6)


def test_validation_predicts_as_keras_does(tiny_ratings):
    _, valid = data.train_valid_split(tiny_ratings, 0)
    model, history = trained(MODELS["bias"], tiny_ratings, 7)
    predicted = training.predict(model, valid)
    assert history["valid_rmse"].iloc[-1] == pytest.approx(
        metrics.rmse(valid["rating"], predicted), rel=1e-6
    )


def test_without_validation_all_epochs_are_run(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    _, history = training.train(
        MODELS["dot"], sizes, tiny_ratings, None, 0, "rowwise", epochs=4, batch_size=8
    )
    assert history.columns.to_list() == ["epoch", "train_rmse", "seconds"]
    assert len(history) == 4


def test_dropout_is_on_in_training(tiny_ratings):
    _, with_dropout = trained(MODELS["bias"], tiny_ratings, 8)
    without = MODELS["bias"].with_options(user_dropout=0, movie_dropout=0)
    _, without_dropout = trained(without, tiny_ratings, 8)
    assert not np.allclose(with_dropout["train_rmse"], without_dropout["train_rmse"], rtol=1e-4)


def test_same_seed_same_numbers_other_seed_others(tiny_ratings):
    first, again, other = (
        trained(MODELS["bias"], tiny_ratings, 8, seed=seed)[0].get_weights() for seed in (0, 0, 1)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


def test_training_stops_two_epochs_after_the_best(tiny_ratings):
    train, valid = data.train_valid_split(tiny_ratings, 0)
    valid = valid.assign(rating=-valid["rating"])  # the better the fit, the worse this gets
    sizes = data.count_users_and_movies(tiny_ratings)
    _, history = training.train(
        MODELS["dot"], sizes, train, valid, 0, "rowwise", epochs=10, batch_size=8
    )
    assert history["valid_rmse"].idxmin() == 0
    assert history["epoch"].to_list() == [1, 2, 3]


def test_constants_are_those_of_keras():
    adam = keras.optimizers.Adam()
    ours = (recipes.Training().learning_rate, rowwise.BETA_1, rowwise.BETA_2, rowwise.EPSILON)
    theirs = (float(adam.learning_rate), adam.beta_1, adam.beta_2, adam.epsilon)
    assert ours == pytest.approx(theirs)


def test_fastest_way_is_row_wise_for_tables_alone(tiny_ratings):
    x = data.inputs(tiny_ratings[:1])
    network = keras.Sequential([keras.layers.Embedding(20, 2), keras.layers.Flatten()])
    network(x)
    recipe = MODELS["bias"]
    model = recipe(12, 15)
    way = training._fastest_way
    assert way(recipe, network, tiny_ratings, data.inputs) == "compiled"
    assert way(recipe, model, tiny_ratings, data.inputs) == "rowwise"
    assert way(recipe, model, tiny_ratings, lambda ratings: 0) == "compiled"
    assert way(lambda *sizes: model, model, tiny_ratings, data.inputs) == "compiled"


class UserMovieDot(DotWithBias):
    """Its own name holds "user_": Keras calls it user_movie_dot."""


class Swapped(DotWithBias):
    """Looks movies up where its names say users."""

    def call(self, x, training=False):
        return super().call(x[:, ::-1], training=training)


def test_a_models_own_name_says_nothing_of_its_tables(tiny_ratings):
    _, valid = data.train_valid_split(tiny_ratings, 0)
    model, history = trained(Recipe(UserMovieDot, dim=4, **SCALE), tiny_ratings, 8, epochs=3)
    own = metrics.rmse(valid["rating"], training.predict(model, valid))
    assert history["valid_rmse"].iloc[-1] == pytest.approx(own, rel=1e-6)


def test_tables_whose_names_are_wrong_are_noticed(tiny_ratings):
    tiny_ratings = tiny_ratings[tiny_ratings["movieIdDense"] <= 12]  # as many as there are users
    with pytest.raises(RuntimeError, match="not those of the rows that its tables"):
        trained(Recipe(Swapped, dim=4, **SCALE), tiny_ratings, 8)


def test_ids_outside_the_tables_are_refused(tiny_ratings):
    few = tiny_ratings[tiny_ratings["movieIdDense"] > 3]
    with pytest.raises(ValueError, match="movieIdDense"):
        trained(MODELS["dot"], few, 8)


@pytest.mark.parametrize("priced", ["embeddings_regularizer", "embeddings_constraint"])
def test_what_moves_all_rows_in_every_step_is_refused(tiny_ratings, priced):
    value = {"regularizer": keras.regularizers.L2(0.1), "constraint": keras.constraints.NonNeg()}

    class Priced(keras.layers.Embedding):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs, **{priced: value[priced.split("_")[1]]})

    with pytest.raises(ValueError, match="rows that are not looked up"):
        trained(Recipe(SimpleDot, dim=4, embedding=Priced), tiny_ratings, 8)
    _, history = trained(
        Recipe(SimpleDot, dim=4, embedding=Priced), tiny_ratings, 8, way=None, epochs=1
    )
    assert np.isfinite(history["train_rmse"]).all()


def test_progress_is_a_bar_for_a_long_epoch(tiny_ratings, monkeypatch, capsys):
    trained(MODELS["dot"], tiny_ratings, 8, epochs=1, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(rowwise, "RATINGS_PER_CALL", 24)
    trained(MODELS["dot"], tiny_ratings, 8, epochs=1, progress=True)
    assert "epoch 1" in capsys.readouterr().err
