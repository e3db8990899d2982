"""What is particular to row-wise training on JAX: test_backends.py runs this file there."""

import numpy as np

from embedlens import recipes, rowwise_jax, training
from embedlens.models import SimpleDot
from embedlens.recipes import Recipe


def test_first_places_are_those_of_a_search():
    ids = np.random.default_rng(0).integers(0, 6, (50, 8))
    by_hand = [[list(batch).index(i) for i in batch] for batch in ids]
    np.testing.assert_array_equal(rowwise_jax._first_places(ids), by_hand)


def test_equal_recipes_share_what_was_compiled(tiny_ratings):
    rowwise_jax._compiled.cache_clear()
    for rate in (0.001, 0.01):
        recipe = Recipe(SimpleDot, recipes.Training(learning_rate=rate), dim=3)
        training.train(recipe, (12, 15), tiny_ratings, None, 0, "rowwise", epochs=1, batch_size=8)
    assert rowwise_jax._compiled.cache_info().currsize == 1
