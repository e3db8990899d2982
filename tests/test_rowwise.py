"""Row-wise Adam against Keras' dense Adam. On JAX: test_backends.py runs this file."""

from functools import partial

from embedlens import data, rowwise, training
from embedlens.layers import SimpleEmbedding
from embedlens.models import BiasOnly, DotWithBias, PenalisedDotWithBias, SimpleDot
import keras
import numpy as np
import pytest

MODELS = {
    "dot": partial(SimpleDot, dim=6),
    "own layer": partial(SimpleDot, dim=6, low=-0.05, embedding=SimpleEmbedding),
    "bias": partial(DotWithBias, min_rating=0.5, max_rating=5.0, dim=6),
    "penalised": partial(
        PenalisedDotWithBias,
        min_rating=0.5,
        max_rating=5.0,
        dim=6,
        vector_penalty=0.3,
        bias_penalty=0.2,
    ),
    "bias only": partial(BiasOnly, min_rating=0.5, max_rating=5.0),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))


def trained(make, ratings, batch_size, seed=0, plain=False, **options):
    train, valid = data.train_valid_split(ratings, 0)
    sizes = data.count_users_and_movies(ratings)
    options = {"epochs": 5, "batch_size": batch_size, "patience": 5, **options}
    if not plain:
        return rowwise.train(make, sizes, train, valid, seed, **options)
    training.set_seed(seed)
    model = make(*sizes)
    return model, rowwise.plain_fit(model, train, valid, seed, **options)


def assert_same_curves(ours, theirs, rtol):
    columns = ["epoch", "train_rmse", "valid_rmse"]
    np.testing.assert_allclose(ours[columns], theirs[columns], rtol=rtol)


@each_model
def test_equals_dense_adam(tiny_ratings, make):
    ours, our_history = trained(make, tiny_ratings, 8)  # 72 ratings train: whole batches
    plain, plain_history = trained(make, tiny_ratings, 8, plain=True)
    assert_same_curves(our_history, plain_history, rtol=1e-5)
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)


def test_equals_dense_adam_with_a_smaller_last_batch(tiny_ratings):
    make = MODELS["dot"]  # no dropout: its random bits depend on the size of a batch
    ours, our_history = trained(make, tiny_ratings, 7)
    plain, plain_history = trained(make, tiny_ratings, 7, plain=True)
    assert_same_curves(our_history, plain_history, rtol=1e-5)
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)


def test_rows_long_left_alone_drift_as_in_dense_adam():
    """A movie of one rating, then 300 steps without it: its momentum must be caught up."""
    ratings = data.prepare(data.load_movielens()).head(400)
    ratings = ratings.assign(movieIdDense=data.dense_ids(ratings["movieId"]))
    ours, _ = trained(MODELS["dot"], ratings, 1, epochs=2)
    plain, _ = trained(MODELS["dot"], ratings, 1, epochs=2, plain=True)
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
    model, _ = rowwise.train(make, sizes, train[unseen], train, 0, epochs=3, batch_size=8)
    moved = (model.movie_embedding.get_weights()[0] != before).any(axis=1)
    assert not moved[:2].any()
    assert moved[2:].all()


def test_equals_dense_adam_with_a_falling_rate(tiny_ratings):
    falling = {"learning_rate": keras.optimizers.schedules.CosineDecay(0.05, 45)}
    ours, our_history = trained(MODELS["bias"], tiny_ratings, 8, **falling)
    plain, plain_history = trained(MODELS["bias"], tiny_ratings, 8, plain=True, **falling)
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
        training.rmse(valid["rating"], predicted), rel=1e-6
    )


def test_without_validation_all_epochs_are_run(tiny_ratings):
    sizes = data.count_users_and_movies(tiny_ratings)
    _, history = rowwise.train(MODELS["dot"], sizes, tiny_ratings, None, 0, epochs=4, batch_size=8)
    assert history.columns.to_list() == ["epoch", "train_rmse", "seconds"]
    assert len(history) == 4


def test_lazy_rows_stay_where_they_are(tiny_ratings):
    """One epoch looks movie 1 up in the first batch only: then it must not move."""
    first = tiny_ratings.loc[tiny_ratings["movieIdDense"] == 1].head(1)
    others = tiny_ratings.loc[tiny_ratings["movieIdDense"] != 1]
    sizes = data.count_users_and_movies(tiny_ratings)

    def movie_1(rows, lazy):
        model, _ = rowwise.train(
            MODELS["dot"], sizes, rows, None, 0, epochs=1, batch_size=1, lazy=lazy
        )
        return model.movie_embedding.get_weights()[0][1]

    order = np.random.default_rng(0).permutation(1 + len(others))
    rows = others.reset_index(drop=True)
    place = order[0]  # what comes first
    longer = data.pd.concat([rows[:place], first, rows[place:]])
    alone = movie_1(first, lazy=True)
    np.testing.assert_allclose(movie_1(longer, lazy=True), alone, rtol=1e-6)
    assert np.abs(movie_1(longer, lazy=False) - alone).min() > 1e-3


def test_dropout_is_on_in_training(tiny_ratings):
    _, with_dropout = trained(MODELS["bias"], tiny_ratings, 8)
    without = partial(MODELS["bias"], user_dropout=0, movie_dropout=0)
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
    _, history = rowwise.train(MODELS["dot"], sizes, train, valid, 0, epochs=10, batch_size=8)
    assert history["valid_rmse"].idxmin() == 0
    assert history["epoch"].to_list() == [1, 2, 3]


def test_constants_are_those_of_keras():
    adam = keras.optimizers.Adam()
    ours = (rowwise.LEARNING_RATE, rowwise.BETA_1, rowwise.BETA_2, rowwise.EPSILON)
    theirs = (float(adam.learning_rate), adam.beta_1, adam.beta_2, adam.epsilon)
    assert ours == pytest.approx(theirs)


def test_first_places_are_those_of_a_search():
    ids = np.random.default_rng(0).integers(0, 6, (50, 8))
    by_hand = [[list(batch).index(i) for i in batch] for batch in ids]
    np.testing.assert_array_equal(rowwise._first_places(ids), by_hand)
