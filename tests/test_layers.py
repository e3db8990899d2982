from embedlens.layers import SimpleEmbedding
import keras
import numpy as np
import pytest

WEIGHTS = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
IDS = [
    np.array(3),
    np.array([1, 8, 0, 1]),
    np.array([[1, 2, 3], [3, 8, 0]]),
    np.arange(8).reshape(2, 2, 2),
]


def layer():
    made = SimpleEmbedding(9, 4)
    made.build(())
    made.set_weights([WEIGHTS])
    return made


@pytest.mark.parametrize("ids", IDS, ids=lambda ids: f"rank {ids.ndim}")
def test_equal_to_keras_embedding_to_the_bit(ids):
    builtin = keras.layers.Embedding(9, 4)
    builtin.build(())
    builtin.set_weights([WEIGHTS])
    ours = keras.ops.convert_to_numpy(layer()(ids))
    np.testing.assert_array_equal(ours, keras.ops.convert_to_numpy(builtin(ids)))
    np.testing.assert_array_equal(ours, WEIGHTS[ids])


@pytest.mark.parametrize("ids", IDS, ids=lambda ids: f"rank {ids.ndim}")
def test_output_shape_is_as_announced(ids):
    assert layer().compute_output_shape(ids.shape) == tuple(layer()(ids).shape)


def test_output_shape_keeps_an_unknown_batch_size():
    assert layer().compute_output_shape((None, 10)) == (None, 10, 4)


def test_ids_given_as_floats_are_fine():
    ids = np.array([[2.0, 7.0]], "float32")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer()(ids)), WEIGHTS[[[2, 7]]])


def test_default_initializer_is_the_symmetric_one():
    made = SimpleEmbedding(500, 64)
    made.build(())
    weights = made.get_weights()[0]
    assert -0.05 <= weights.min() < -0.049
    assert 0.049 < weights.max() <= 0.05


def test_config_makes_the_same_layer():
    initializer = keras.initializers.RandomUniform(0.2, 0.3, seed=1)
    made = SimpleEmbedding(9, 4, embeddings_initializer=initializer, name="movies")
    again = SimpleEmbedding.from_config(made.get_config())
    made.build(())
    again.build(())
    assert again.name == "movies"
    np.testing.assert_array_equal(made.get_weights()[0], again.get_weights()[0])


def test_saved_model_predicts_the_same(tmp_path):
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layer()])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = np.array([[1, 2, 8]])
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_step_moves_only_the_rows_looked_up():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layer()])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", jit_compile=False)
    model.train_on_batch(np.array([[1, 8, 1]]), np.zeros((1, 3, 4), "float32"))
    change = model.get_weights()[0] - WEIGHTS
    assert np.flatnonzero(change.any(axis=1)).tolist() == [1, 8]
    # The loss is the mean over 12 entries; row 1 was looked up twice.
    np.testing.assert_allclose(change[8], -2 / 12 * WEIGHTS[8], rtol=1e-5)
    np.testing.assert_allclose(change[1], -4 / 12 * WEIGHTS[1], rtol=1e-5)
