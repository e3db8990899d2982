"""What is particular to row-wise training on TensorFlow."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from embedlens import rowwise_tensorflow, training
from embedlens.models import BiasOnly
from embedlens.recipes import SCALE, Recipe


def test_gradients_of_a_row_are_squared_before_they_are_added_up():
    values = tf.constant([[1.0], [2.0], [3.0]])
    sums, squares = rowwise_tensorflow._sums(tf.IndexedSlices(values, [1, 0, 1]), 2)
    assert sums.numpy().ravel().tolist() == [2, 4]
    assert squares.numpy().ravel().tolist() == [4, 10]
    whole, squared = rowwise_tensorflow._sums(values, 3)
    np.testing.assert_array_equal(whole**2, squared)


def test_equals_dense_adam_where_all_of_a_batch_are_one_user():
    """Here the rule of the squares decides: a batch holds user 1 eight times."""
    rng = np.random.default_rng(0)
    movies = rng.integers(1, 6, 32)
    ratings = pd.DataFrame({"userIdDense": 1, "movieIdDense": movies, "rating": movies / 2 + 1})
    ours, plain = (
        training.train(
            Recipe(BiasOnly, **SCALE), (1, 5), ratings, None, 0, way, epochs=3, batch_size=8
        )[0]
        for way in ("rowwise", "plain")
    )
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)


class HalfTrained(keras.Model):
    """Has a table that it never asks."""

    def __init__(self, n_users, n_movies, **kwargs):
        super().__init__(**kwargs)
        self.user_bias = keras.layers.Embedding(n_users + 1, 1, name="user_bias")
        self.movie_bias = keras.layers.Embedding(n_movies + 1, 1, name="movie_bias")
        self.movie_spare = keras.layers.Embedding(n_movies + 1, 2, name="movie_spare")

    def call(self, x):
        self.movie_spare(x[:, 1])
        return self.user_bias(x[:, 0]) + self.movie_bias(x[:, 1])


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_table_without_a_gradient_stays(tiny_ratings):
    ours, plain = (
        training.train(
            Recipe(HalfTrained), (12, 15), tiny_ratings, None, 0, way, epochs=2, batch_size=8
        )[0]
        for way in ("rowwise", "plain")
    )
    assert len(ours.get_weights()) == 3
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)
