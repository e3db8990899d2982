import os

from embedlens.models import (
    DotWithBias,
    DotWithFeedback,
    DriftingDotWithFeedback,
    PenalisedDotWithBias,
    SimpleDot,
)
import keras
import numpy as np
import pytest

N_USERS, N_MOVIES, DIM = 5, 7, 6
X = np.array([[1, 1], [5, 7], [2, 3], [2, 7], [4, 1]], "int32")


def built(model, seed=0):
    """Give `model` random weights of a size at which every part of it matters."""
    model(X)
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.7, w.shape).astype("float32") for w in model.weights])
    return model


def dot_model():
    return built(SimpleDot(N_USERS, N_MOVIES, DIM))


def bias_model(**options):
    return built(DotWithBias(N_USERS, N_MOVIES, 0.5, 5.0, DIM, **options))


def table(layer):
    return layer.get_weights()[0]


def dot_by_hand(model, x):
    users, movies = table(model.user_embedding), table(model.movie_embedding)
    return np.array([[users[u] @ movies[m]] for u, m in x])


def bias_by_hand(model, x):
    biases = [[table(model.user_bias)[u, 0] + table(model.movie_bias)[m, 0]] for u, m in x]
    return 0.5 + 4.5 / (1 + np.exp(-(dot_by_hand(model, x) + np.array(biases))))


MODELS = pytest.mark.parametrize(
    ("make", "by_hand"), [(dot_model, dot_by_hand), (bias_model, bias_by_hand)], ids=["dot", "bias"]
)


def test_backend_is_the_one_asked_for():
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")


@MODELS
def test_prediction_equals_the_formula(make, by_hand):
    model = make()
    prediction = model.predict(X, verbose=0)
    assert prediction.shape == (len(X), 1)
    np.testing.assert_allclose(prediction, by_hand(model, X), rtol=1e-5, atol=1e-5)


@MODELS
def test_prediction_of_a_row_does_not_depend_on_its_batch(make, by_hand):
    model = make()
    together = model.predict(X, verbose=0)
    one_by_one = model.predict(X, batch_size=1, verbose=0)
    reversed_order = model.predict(X[::-1], batch_size=2, verbose=0)[::-1]
    np.testing.assert_allclose(one_by_one, together, rtol=1e-6)
    np.testing.assert_allclose(reversed_order, together, rtol=1e-6)


@MODELS
def test_tables_have_one_row_more_than_there_are_ids(make, by_hand):
    model = make()
    assert table(model.user_embedding).shape == (N_USERS + 1, DIM)
    assert table(model.movie_embedding).shape == (N_MOVIES + 1, DIM)
    every_movie = np.array([[N_USERS, movie] for movie in range(N_MOVIES + 1)])
    assert len(np.unique(model.predict(every_movie, verbose=0))) == N_MOVIES + 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.05), (-0.05, 0.05)])
def test_initial_weights_fill_their_range(low, high):
    model = SimpleDot(300, 300, low=low, high=high)
    model(X)
    for weights in model.get_weights():
        assert low <= weights.min() < low + 0.001
        assert high - 0.001 < weights.max() <= high


def test_initial_range_is_the_posts():
    model = SimpleDot(300, 300)
    model(X)
    assert all(w.min() >= 0 and 0.049 < w.max() <= 0.05 for w in model.get_weights())
    assert model.user_embedding.output_dim == 64


def test_bias_model_stays_on_the_scale_and_reaches_its_ends():
    model = bias_model()
    for sign, end in ((1, 5.0), (-1, 0.5)):
        model.set_weights([np.full_like(w, 9.0) for w in model.get_weights()])
        vectors, biases = model.get_weights()[:2], model.get_weights()[2:]
        model.set_weights([v * 0 for v in vectors] + [sign * b for b in biases])
        np.testing.assert_allclose(model.predict(X, verbose=0), end, atol=1e-4)


def test_zero_score_is_the_middle_of_the_scale():
    model = bias_model()
    model.set_weights([w * 0 for w in model.get_weights()])
    np.testing.assert_allclose(model.predict(X, verbose=0), 2.75, atol=1e-6)


def test_dropout_shares_are_the_posts():
    model = DotWithBias(N_USERS, N_MOVIES, 0.5, 5.0)
    assert (model.user_dropout.rate, model.movie_dropout.rate) == (0.3, 0.6)


def test_dropout_is_off_at_prediction():
    model = bias_model(user_dropout=0.5, movie_dropout=0.5)
    first = model.predict(X, verbose=0)
    np.testing.assert_array_equal(first, model.predict(X, verbose=0))
    np.testing.assert_allclose(first, bias_by_hand(model, X), rtol=1e-5)


@pytest.mark.parametrize(("rate", "differs"), [(0.0, False), (0.5, True)])
def test_dropout_is_on_in_fit(rate, differs):
    model = bias_model(user_dropout=rate, movie_dropout=rate)
    y = np.full((len(X), 1), 3.0, "float32")
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    in_fit = model.fit(X, y, verbose=0).history["loss"][0]
    at_rest = model.evaluate(X, y, verbose=0)
    assert (abs(in_fit - at_rest) > 1e-3) == differs


def penalised_model(vector_penalty, bias_penalty):
    options = {"vector_penalty": vector_penalty, "bias_penalty": bias_penalty}
    return built(PenalisedDotWithBias(N_USERS, N_MOVIES, 0.5, 5.0, DIM, **options))


def test_penalty_is_the_mean_over_the_ratings_of_what_they_look_up():
    model = penalised_model(2.0, 3.0)
    model(X, training=True)
    by_hand = [
        weight * np.mean(np.sum(table(layer)[ids] ** 2, axis=1))
        for weight, layer, ids in [
            (2.0, model.user_embedding, X[:, 0]),
            (2.0, model.movie_embedding, X[:, 1]),
            (3.0, model.user_bias, X[:, 0]),
            (3.0, model.movie_bias, X[:, 1]),
        ]
    ]
    assert float(sum(model.losses)) == pytest.approx(sum(by_hand), rel=1e-5)


def test_penalty_is_for_training_only_and_changes_no_prediction():
    model = penalised_model(2.0, 3.0)
    prediction = model(X)
    assert not model.losses
    np.testing.assert_allclose(prediction, bias_by_hand(model, X), rtol=1e-5)
    np.testing.assert_allclose(model(X, training=True), prediction, rtol=1e-6)


RATED = np.concatenate([X, [[1, 3], [1, 4], [4, 3]]]).astype("int32")
DRIFT = np.array([[0.5, -1.0], [0.0, 0.0], [1.0, 1.0], [-2.0, 0.3], [0.1, 0.0]], "float32")


def feedback_model(make=DotWithFeedback, **options):
    model = make(N_USERS, N_MOVIES, 0.5, 5.0, RATED, DIM, **options)
    x = X if make is DotWithFeedback else (X, DRIFT)
    model(x)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.7, w.shape).astype("float32") for w in model.weights])
    return model


def rows_by_hand(model, user, movie, sides, left_out):
    """Rows of a user and of a movie, pair by pair; `left_out`: without this pair."""
    pairs = [(u, m) for u, m in RATED.tolist() if not left_out or (u, m) != (user, movie)]
    rows = [table(model.user_table)[user], table(model.movie_table)[movie]]
    partners = [
        [table(model.rated_table)[m] for u, m in pairs if u == user] if sides > 0 else [],
        [table(model.rater_table)[u] for u, m in pairs if m == movie] if sides > 1 else [],
    ]
    for place, found in enumerate(partners):
        if found:
            rows[place] = rows[place] + np.sum(found, axis=0) / np.sqrt(len(found))
    return rows


def feedback_by_hand(model, sides=2, left_out=False, extra=0.0):
    scores = []
    for user, movie in X:
        u, m = rows_by_hand(model, user, movie, sides, left_out)
        scores.append(u[:-1] @ m[:-1] + u[-1] + m[-1])
    return 0.5 + 4.5 / (1 + np.exp(-(np.array(scores)[:, None] + extra)))


@pytest.mark.parametrize("sides", [0, 1, 2])
def test_feedback_adds_what_was_rated_and_who_rated(sides):
    model = feedback_model(sides=sides)
    assert len(model.weights) == 2 + sides
    prediction = model.predict(X, verbose=0)
    np.testing.assert_allclose(prediction, feedback_by_hand(model, sides), rtol=1e-5)
    if sides:
        assert np.abs(prediction - feedback_by_hand(model, sides - 1)).max() > 0.01


def test_a_pair_is_left_out_of_its_own_sums_in_training_only():
    model = feedback_model()
    in_training = keras.ops.convert_to_numpy(model(X, training=True))
    np.testing.assert_allclose(in_training, feedback_by_hand(model, left_out=True), rtol=1e-5)
    assert np.abs(in_training - feedback_by_hand(model)).max() > 0.01


def test_prices_of_feedback_model_by_hand():
    prices = {
        "vector_penalty": 2.0,
        "bias_penalty": 3.0,
        "feedback_penalty": 5.0,
        "feedback_bias_penalty": 7.0,
        "total_penalty": 11.0,
    }
    model = feedback_model(**prices)
    model(X, training=True)

    def price(rows, of_vector, of_bias):
        squares = np.array(rows) ** 2
        return np.mean(of_vector * squares[:, :-1].sum(axis=1) + of_bias * squares[:, -1])

    totals = zip(*(rows_by_hand(model, u, m, 2, left_out=True) for u, m in X), strict=True)
    by_hand = [
        price(table(model.user_table)[X[:, 0]], 2, 3),
        price(table(model.movie_table)[X[:, 1]], 2, 3),
        price(table(model.rated_table)[X[:, 1]], 5, 7),
        price(table(model.rater_table)[X[:, 0]], 5, 7),
        *(price(rows, 11, 0) for rows in totals),
    ]
    assert float(sum(model.losses)) == pytest.approx(sum(by_hand), rel=1e-5)
    model(X)
    assert not model.losses


def test_drift_moves_the_score():
    model = feedback_model(DriftingDotWithFeedback)
    extra = DRIFT @ table(model.drift)
    prediction = model.predict((X, DRIFT), verbose=0)
    np.testing.assert_allclose(prediction, feedback_by_hand(model, extra=extra), rtol=1e-5)


def test_silence_is_dropout_without_the_rest_of_training():
    model = feedback_model(dropout=0.5)
    at_rest = model.predict(X, verbose=0)
    drawn = [keras.ops.convert_to_numpy(model(X, silence=True)) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 0.01
    np.testing.assert_array_equal(model.predict(X, verbose=0), at_rest)
    full = feedback_model(dropout=0.0)
    np.testing.assert_allclose(full(X, silence=True), feedback_by_hand(full), rtol=1e-5)
