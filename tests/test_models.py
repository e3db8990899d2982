from contextlib import contextmanager
import inspect
import json
import os

import keras
import numpy as np
import pytest

from embedlens import models
from embedlens.models import (
    AutoRec,
    Biases,
    BiasOnly,
    DotWithBias,
    DotWithFeedback,
    DriftingDotWithFeedback,
    EmbeddingNetwork,
    EvenlyPenalised,
    GoesWith,
    OneHotDense,
    OneHotNetwork,
    PenalisedDotWithBias,
    ProductNetwork,
    SimpleDot,
    SimpleEmbedding,
    masked_mse,
    savable,
)

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


def test_an_even_penalty_is_the_mean_over_all_rows():
    model = EvenlyPenalised(N_USERS, N_MOVIES, 0.5, 5.0, DIM, vector_penalty=2.0, bias_penalty=3.0)
    built(model)
    by_hand = [
        weight * np.sum(table(layer) ** 2) / size
        for weight, layer, size in [
            (2.0, model.user_embedding, N_USERS),
            (2.0, model.movie_embedding, N_MOVIES),
            (3.0, model.user_bias, N_USERS),
            (3.0, model.movie_bias, N_MOVIES),
        ]
    ]
    assert float(sum(model.losses)) == pytest.approx(sum(by_hand), rel=1e-5)
    np.testing.assert_allclose(model(X), bias_by_hand(model, X), rtol=1e-5)


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


@pytest.mark.parametrize("side", [0, 1])
def test_sums_of_partners_and_their_gradient_by_hand(side, monkeypatch):
    monkeypatch.setattr(models, "PAIRS_PER_CHUNK", 3)
    pairs = models.in_chunks(RATED)
    assert pairs.shape[0] > 2
    n_owners, n_partners = [(N_USERS + 1, N_MOVIES + 1), (N_MOVIES + 1, N_USERS + 1)][side]
    matrix = np.zeros((n_owners, n_partners), "float32")
    matrix[RATED[:, side], RATED[:, 1 - side]] = 1
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_partners, DIM)).astype("float32")
    weights = rng.normal(size=(n_owners, DIM)).astype("float32")

    def weighted(rows):
        return keras.ops.sum(weights * models.partner_sums(rows, pairs, side, n_owners))

    if keras.backend.backend() == "jax":
        import jax

        gradient = jax.grad(weighted)(rows)
    else:
        import tensorflow as tf

        variable = tf.Variable(rows)
        with tf.GradientTape() as tape:
            loss = weighted(tf.convert_to_tensor(variable))
        gradient = tape.gradient(loss, variable)
    sums = keras.ops.convert_to_numpy(models.partner_sums(rows, pairs, side, n_owners))
    np.testing.assert_allclose(sums[1:], (matrix @ rows)[1:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[1:], (matrix.T @ weights)[1:], rtol=1e-5, atol=1e-6)


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


WEIGHTS = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
IDS = [
    np.array(3),
    np.array([1, 8, 0, 1]),
    np.array([[1, 2, 3], [3, 8, 0]]),
    np.arange(8).reshape(2, 2, 2),
]


def own_layer():
    made = SimpleEmbedding(9, 4)
    made.build(())
    made.set_weights([WEIGHTS])
    return made


@pytest.mark.parametrize("ids", IDS, ids=lambda ids: f"rank {ids.ndim}")
def test_layer_is_equal_to_keras_embedding_to_the_bit(ids):
    builtin = keras.layers.Embedding(9, 4)
    builtin.build(())
    builtin.set_weights([WEIGHTS])
    ours = keras.ops.convert_to_numpy(own_layer()(ids))
    np.testing.assert_array_equal(ours, keras.ops.convert_to_numpy(builtin(ids)))
    np.testing.assert_array_equal(ours, WEIGHTS[ids])


@pytest.mark.parametrize("ids", IDS, ids=lambda ids: f"rank {ids.ndim}")
def test_output_shape_of_the_layer_is_as_announced(ids):
    assert own_layer().compute_output_shape(ids.shape) == tuple(own_layer()(ids).shape)


def test_output_shape_keeps_an_unknown_batch_size():
    assert own_layer().compute_output_shape((None, 10)) == (None, 10, 4)


def test_default_initializer_of_the_layer_is_the_symmetric_one():
    made = SimpleEmbedding(500, 64)
    made.build(())
    weights = made.get_weights()[0]
    assert -0.05 <= weights.min() < -0.049
    assert 0.049 < weights.max() <= 0.05


def test_config_of_the_layer_makes_the_same_layer():
    initializer = keras.initializers.RandomUniform(0.2, 0.3, seed=1)
    made = SimpleEmbedding(9, 4, embeddings_initializer=initializer, name="movies")
    again = SimpleEmbedding.from_config(made.get_config())
    made.build(())
    again.build(())
    assert again.name == "movies"
    np.testing.assert_array_equal(made.get_weights()[0], again.get_weights()[0])


def test_a_step_moves_only_the_rows_looked_up():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), own_layer()])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", jit_compile=False)
    model.train_on_batch(np.array([[1, 8, 1]]), np.zeros((1, 3, 4), "float32"))
    change = model.get_weights()[0] - WEIGHTS
    assert np.flatnonzero(change.any(axis=1)).tolist() == [1, 8]
    # The loss is the mean over 12 entries; row 1 was looked up twice.
    np.testing.assert_allclose(change[8], -2 / 12 * WEIGHTS[8], rtol=1e-5)
    np.testing.assert_allclose(change[1], -4 / 12 * WEIGHTS[1], rtol=1e-5)


SIZES, SCALE = {"n_users": N_USERS, "n_movies": N_MOVIES}, {"min_rating": 0.5, "max_rating": 5.0}
PRICES = {"vector_penalty": 0.1, "bias_penalty": 0.01}
FEEDBACK = {**SIZES, **SCALE, "rated": RATED, "dim": 3, **PRICES, "feedback_penalty": 0.1}
CASES = {
    "SimpleDot": (SimpleDot, {**SIZES, "dim": 3}),
    "SimpleDot, own layer": (SimpleDot, {**SIZES, "dim": 3, "embedding": SimpleEmbedding}),
    "DotWithBias": (DotWithBias, {**SIZES, **SCALE, "dim": 3}),
    "BiasOnly": (BiasOnly, {**SIZES, **SCALE}),
    "SimpleEmbedding": (SimpleEmbedding, {"input_dim": 9, "output_dim": 2}),
    "PenalisedDotWithBias": (PenalisedDotWithBias, {**SIZES, **SCALE, "dim": 3, **PRICES}),
    "EvenlyPenalised": (EvenlyPenalised, {**SIZES, **SCALE, "dim": 3, **PRICES}),
    "Biases": (Biases, {**SIZES, "bias_penalty": 0.1}),
    "OneHotDense": (OneHotDense, {"input_dim": 9, "output_dim": 2}),
    "OneHotNetwork": (OneHotNetwork, {**SIZES, "dim": 3, "layers": 2, "penalty": 0.1}),
    "OneHotNetwork, product": (OneHotNetwork, {**SIZES, "dim": 3, "embedding": OneHotDense}),
    "EmbeddingNetwork": (EmbeddingNetwork, {**SIZES, "dim": 2, "units": 3, "layers": 1}),
    "ProductNetwork": (ProductNetwork, {**SIZES, "dim": 2, "kernel_penalty": 0.1}),
    "AutoRec": (AutoRec, {"n_columns": 2, "dim": 3, "dropout": 0.1, "penalty": 0.1}),
    "GoesWith": (GoesWith, {"n_contexts": N_USERS, "n_movies": N_MOVIES, "penalty": 0.1}),
    "DotWithFeedback": (DotWithFeedback, {**FEEDBACK, "dropout": 0.5}),
    "DotWithFeedback, no sides": (DotWithFeedback, {**FEEDBACK, "sides": 0}),
    "DriftingDotWithFeedback": (DriftingDotWithFeedback, FEEDBACK),
}
OF_IDS = [name for name, (cls, _) in CASES.items() if cls is not AutoRec]
every_case = pytest.mark.parametrize("case", CASES)
PRECISIONS = [(case, precision) for case in CASES for precision in ("float32", "mixed_float16")]
PRECISIONS += [("SimpleDot, own layer", "mixed_bfloat16"), ("DotWithFeedback", "mixed_bfloat16")]


def input_of(cls, ids=X):
    return {AutoRec: DRIFT, DriftingDotWithFeedback: (ids, DRIFT[: len(ids)])}.get(cls, ids)


def values(model, x):
    return keras.ops.convert_to_numpy(model(x))


@contextmanager
def policy(name):
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def trained(model, x, optimizer="sgd"):
    """Take one step, with the losses that come with it."""
    loss = masked_mse if isinstance(model, AutoRec) else "mse"
    model.compile(optimizer, loss, run_eagerly=keras.backend.backend() == "tensorflow")
    y = DRIFT if isinstance(model, AutoRec) else np.full((len(X), 1), 3.0, "float32")
    assert np.isfinite(model.train_on_batch(x, y))
    return model


def test_cases_are_all_models_and_layers_of_the_module():
    made = [cls for _, cls in inspect.getmembers(models, inspect.isclass)]
    ours = {cls for cls in made if issubclass(cls, keras.layers.Layer)}
    assert {cls for cls, _ in CASES.values()} == ours
    assert len(ours) == 15


@pytest.mark.parametrize(("case", "precision"), PRECISIONS)
def test_saved_loaded_or_cloned_it_predicts_the_same(case, precision, tmp_path):
    cls, given = CASES[case]
    x = input_of(cls)
    with policy(precision):
        model = cls(**given)
        if isinstance(model, keras.Model):
            model(x)
            trained(model, x)
        else:
            model = keras.Sequential([keras.Input((2,), dtype="int32"), model])
    expected = values(model, x)
    model.save(tmp_path / "model.keras")
    # The precision that holds when a model is loaded need not be that in which it was made.
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(values(loaded, x), expected, strict=True)
    clone = keras.models.clone_model(model)
    clone(x)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(values(clone, x), expected)


def test_training_goes_on_after_loading(tmp_path):
    model = trained(bias_model(user_dropout=0, movie_dropout=0), X, "adam")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    y = np.full((len(X), 1), 3.0, "float32")
    for kept in (model, loaded):
        kept.train_on_batch(X, y)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@every_case
def test_sizes_may_be_numpy_integers(case):
    cls, given = CASES[case]
    given = {k: np.int64(v) if type(v) is int else v for k, v in given.items()}
    model, x = cls(**given), input_of(cls)
    expected = values(model, x)
    again = cls.from_config(
        json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]
    )
    again(x)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(values(again, x), expected)


@pytest.mark.parametrize("case", OF_IDS)
def test_ids_given_as_floats_are_not_rounded(case):
    """As in keras.layers.Embedding. 299 has no place among the numbers of 16 bits (bfloat16)."""
    cls, given = CASES[case]
    large = {"n_users": 300, "n_movies": 300, "n_contexts": 300, "input_dim": 301}
    given = {name: large.get(name, value) for name, value in given.items()}
    ids = np.array([[299, 297], [257, 259]], "int32")
    model = cls(**given, dtype="mixed_bfloat16")
    model(input_of(cls, ids))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype("float32") for w in model.weights])
    expected = values(model, input_of(cls, ids))
    for kind in ("float32", "float64"):
        np.testing.assert_array_equal(values(model, input_of(cls, ids.astype(kind))), expected)


def test_precision_of_a_model_is_that_of_its_layers():
    model = SimpleDot(**SIZES, embedding=SimpleEmbedding, dtype="mixed_float16")
    assert model.user_embedding.dtype_policy.name == "mixed_float16"
    assert values(model, X).dtype == "float16"
    assert SimpleDot(**SIZES).user_embedding.dtype_policy.name == "float32"


@pytest.mark.parametrize(
    "case", [name for name in OF_IDS if issubclass(CASES[name][0], keras.Model)]
)
def test_tables_of_ids_are_named_by_their_side(case):
    cls, given = CASES[case]
    kinds = keras.layers.Embedding | SimpleEmbedding | OneHotDense
    tables = [layer for layer in cls(**given).layers if isinstance(layer, kinds)]
    assert len(tables) >= 2
    rows = {"user": N_USERS, "movie": N_MOVIES, "context": N_USERS}
    rows |= {"rated": N_MOVIES, "rater": N_USERS}  # not of the ids that are asked for
    for layer in tables:
        assert layer.input_dim == rows[layer.name.partition("_")[0]] + 1


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (SimpleDot, {"n_users": -1}, "n_users is -1, not a whole number from 0"),
        (SimpleDot, {"n_movies": 7.5}, "n_movies is 7.5, not a whole number"),
        (SimpleDot, {"dim": 0}, "dim is 0, not a whole number from 1"),
        (DotWithBias, {"max_rating": 0.5}, r"min_rating \(0.5\) is not below max_rating \(0.5\)"),
        (BiasOnly, {"max_rating": np.nan}, "is not below max_rating"),
        (DotWithBias, {"movie_dropout": 1.0}, "movie_dropout is 1.0, not a share"),
        (AutoRec, {"dropout": -0.1}, "dropout is -0.1, not a share"),
        (PenalisedDotWithBias, {"vector_penalty": -1.0}, "vector_penalty is -1.0, not a finite"),
        (Biases, {"bias_penalty": np.inf}, "bias_penalty is inf, not a finite"),
        (OneHotNetwork, {"layers": -1}, "layers is -1, not a whole number from 0"),
        (OneHotDense, {"output_dim": 0}, "output_dim is 0, not a whole number from 1"),
        (
            DotWithFeedback,
            {"rated": RATED[:, :1]},
            r"not an array of whole numbers of shape \(n, 2",
        ),
        (DotWithFeedback, {"n_users": 4}, "user ids from 1 to 4 have a row .* there is 5;"),
        (DriftingDotWithFeedback, {"rated": RATED + 1}, "user ids from 1 to 5 .* there is 6;"),
        (DotWithFeedback, {"rated": RATED - 1}, "user ids from 1 to 5 .* there is 0;"),
    ],
)
def test_what_cannot_be_is_refused_in_our_words(cls, wrong, message):
    given = next(given for made, given in CASES.values() if made is cls)
    with pytest.raises(ValueError, match=message):
        cls(**{**given, **wrong})


def test_a_subclass_with_other_arguments_is_not_saved_without_them(tmp_path):
    class Shifted(BiasOnly):
        def __init__(self, *args, shift=1.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.shift = shift

    with pytest.raises(NotImplementedError, match="put @savable above the class"):
        Shifted(N_USERS, N_MOVIES, 0.5, 5.0, shift=2.0).get_config()


def test_a_layer_unknown_to_keras_is_named(tmp_path):
    class Other(SimpleEmbedding):
        pass

    model = built(SimpleDot(N_USERS, N_MOVIES, 3, embedding=Other))
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="no layer 'Other' is known to Keras: import it first"):
        keras.models.load_model(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Other": Other})
    assert type(loaded.user_embedding) is Other
    np.testing.assert_array_equal(values(loaded, X), values(model, X))


def test_arguments_that_would_be_lost_are_refused():
    class Shifted(BiasOnly):
        def __init__(self, *args, shift=1.0, **kwargs):
            super().__init__(*args, **kwargs)

    with pytest.raises(TypeError, match="Shifted: name all arguments of the constructor"):
        savable(Shifted)


def in_stars(score):
    return 0.5 + 4.5 / (1 + np.exp(-score))


def relu(values):
    return np.maximum(values, 0)


def rows(layer, ids):
    return layer.get_weights()[0][ids]


def biases(model):
    return rows(model.user_bias, X[:, 0]) + rows(model.movie_bias, X[:, 1])


def test_product_with_one_hot_vectors_is_the_lookup_to_the_bit():
    product, lookup = OneHotDense(9, 4), keras.layers.Embedding(9, 4)
    ids = np.array([0, 8, 3, 3])
    product(ids), lookup(ids)
    product.set_weights(lookup.get_weights())
    np.testing.assert_array_equal(product(ids), lookup(ids))
    assert product.count_params() == lookup.count_params() == 36


@pytest.mark.parametrize(
    ("kind", "combine"),
    [
        (OneHotNetwork, lambda users, movies: relu(users + movies)),
        (EmbeddingNetwork, lambda users, movies: np.hstack([users, movies])),
        (ProductNetwork, lambda users, movies: users * movies),
    ],
)
@pytest.mark.parametrize("layer", [keras.layers.Embedding, OneHotDense])
def test_networks_by_hand(kind, combine, layer):
    model = built(kind(N_USERS, N_MOVIES, 3, units=4, layers=1, embedding=layer))
    hidden = combine(rows(model.user_rows, X[:, 0]), rows(model.movie_rows, X[:, 1]))
    kernel, offset = model.network[0].get_weights()
    score = relu(hidden @ kernel + offset) @ model.network[1].get_weights()[0]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(X)), in_stars(biases(model) + score), rtol=1e-5
    )


def test_rows_that_are_looked_up_pay_and_so_do_all_further_kernels():
    prices = {"penalty": 0.1, "kernel_penalty": 0.2, "bias_penalty": 0.01}
    model = built(OneHotNetwork(N_USERS, N_MOVIES, 3, units=4, layers=1, **prices))
    model(X, training=True)
    means = [
        weight * np.mean(np.sum(rows(layer, ids) ** 2, axis=1))
        for weight, layer, ids in [
            (0.01, model.user_bias, X[:, 0]),
            (0.01, model.movie_bias, X[:, 1]),
            (0.1, model.user_rows, X[:, 0]),
            (0.1, model.movie_rows, X[:, 1]),
        ]
    ]
    kernels = [layer.get_weights()[0] for layer in model.network]
    price = sum(means) + 0.2 * sum(np.mean(np.sum(k**2, axis=1)) for k in kernels)
    assert float(sum(model.losses)) == pytest.approx(price, rel=1e-5)


def test_what_goes_with_what_is_a_dot_product_with_a_bias_that_pays_for_length():
    model = GoesWith(2, 3, dim=2, penalty=0.5)
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


def test_masked_error_counts_ratings_only():
    truth = np.array([[1.0, np.nan], [np.nan, 4.0]], "float32")
    prediction = np.array([[2.0, 99.0], [-99.0, 2.0]], "float32")
    assert float(masked_mse(truth, prediction)) == pytest.approx((1 + 4) / 2)
    nothing = np.full((2, 2), np.nan, "float32")
    assert float(masked_mse(nothing, prediction)) == 0


def test_autoencoder_hides_input_in_training_only():
    keras.utils.set_random_seed(0)
    model, x = AutoRec(20, 4, dropout=0.5), np.ones((3, 20), "float32")
    calm = [keras.ops.convert_to_numpy(model(x)) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert not np.allclose(calm[0], keras.ops.convert_to_numpy(model(x, training=True)))
