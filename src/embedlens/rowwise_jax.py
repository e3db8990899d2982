"""Row-wise Adam on JAX: an epoch is one compiled scan over its steps. See `rowwise`."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
from jax import numpy as jnp
import keras
import numpy as np

from embedlens.recipes import Recipe
from embedlens.rowwise import BETA_1, BETA_2, EPSILON, FADING, Trainer


class JaxTrainer(Trainer):
    """See `rowwise.Trainer`."""

    def prepare(self, recipe, columns, sizes, drift, lazy):
        if isinstance(recipe, Recipe):  # how it is trained does not matter to what is compiled
            recipe = Recipe(recipe.model, **dict(recipe.options))
        self.compiled = _compiled(recipe, tuple(columns), lazy)
        self.series = sizes, drift
        weights = [jnp.array(variable.value) for variable in self.model.trainable_variables]
        self.tables = [(table, jnp.zeros_like(table), jnp.zeros_like(table)) for table in weights]
        self.last_steps = [np.zeros(len(table), "int32") for table in weights]
        self.state = [jnp.array(variable.value) for variable in self.model.non_trainable_variables]

    def look_up_both_ways(self, x):
        return self.compiled.both_ways(self._weights(), self.state, x)

    def run_steps(self, x, y, now):
        first = np.stack([_first_places(x[:, :, column]) for column in (0, 1)], axis=2)
        self.tables, self.last_steps, self.state, error = self.compiled.run_steps(
            self.tables, self.last_steps, self.state, (x, first, y), now, self.series
        )
        return error

    def catch_up(self, now):
        self.tables, self.last_steps = self.compiled.catch_up(
            self.tables, self.last_steps, now, self.series
        )

    def predict_rows(self, x):
        return self.compiled.predict(self._weights(), self.state, x)

    def assign(self):
        for variable, weights in zip(self.model.trainable_variables, self._weights(), strict=True):
            variable.assign(weights)
        for variable, value in zip(self.model.non_trainable_variables, self.state, strict=True):
            variable.assign(value)

    def _weights(self):
        return [weights for weights, _, _ in self.tables]


class Programs(NamedTuple):
    """What is compiled for a kind of model."""

    run_steps: Callable
    catch_up: Callable
    predict: Callable
    both_ways: Callable


def _first_places(ids):
    """For ids of shape (batches, batch size): where in its batch each id stands first."""
    order = np.argsort(ids, axis=1, kind="stable")  # batch by batch: stays in the cache
    ordered = np.take_along_axis(ids, order, axis=1)
    is_new = np.ones(ids.shape, bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = np.maximum.accumulate(np.where(is_new, np.arange(ids.shape[1]), 0), axis=1)
    first = np.empty(ids.shape, "int32")
    np.put_along_axis(first, order, np.take_along_axis(order, start, axis=1), axis=1)
    return first


@cache
def _compiled(recipe, columns, lazy):
    """Compile the steps for a kind of model; the tables' sizes do not matter to it."""
    model = recipe(1, 1)  # gets the tables, or their rows, from outside
    model(np.zeros((1, 2), "int32"))

    def caught_up(rows, last, now, drift):
        """Rows of weights, m, v as dense Adam would have them before step `now`."""
        if lazy:
            return rows
        weights, m, v = rows
        missed = (now - last).astype("float32")[:, None]
        moved = (drift[last][:, None] - FADING**missed * drift[now]) * m / (jnp.sqrt(v) + EPSILON)
        return weights - moved, BETA_1**missed * m, BETA_2**missed * v

    def call(tables, state, x, training=False):
        """Predictions, penalty and new state of the model with these tables."""
        with keras.StatelessScope(collect_losses=True) as scope:
            for pair in zip(model.trainable_variables, tables, strict=True):
                scope.add_update(pair)
            for pair in zip(model.non_trainable_variables, state, strict=True):
                scope.add_update(pair)
            prediction = model(x, training=training)[:, 0]
            penalty = sum(model.losses)
            state = [scope.get_current_value(v) for v in model.non_trainable_variables]
        return prediction, penalty, state

    def call_on_rows(rows, state, training=False):
        """The same, with one row per rating."""
        places = jnp.tile(jnp.arange(len(rows[0]))[:, None], (1, 2))
        return call(rows, state, places, training)

    def loss(rows, state, y):
        prediction, penalty, state = call_on_rows(rows, state, training=True)
        error = jnp.sum((prediction - y) ** 2)
        return error / len(y) + penalty, (error, state)

    def one_step(series, carry, batch):
        sizes, drift = series
        tables, last_steps, state, now = carry
        x, first, y = batch
        ids = [x[:, column] for column in columns]
        rows = [
            caught_up([part[i] for part in table], last[i], now, drift)
            for table, last, i in zip(tables, last_steps, ids, strict=True)
        ]
        gradients, (error, state) = jax.grad(loss, has_aux=True)([row[0] for row in rows], state, y)
        new_tables = []
        for table, row, gradient, column in zip(tables, rows, gradients, columns, strict=True):
            same = first[:, column]  # a row that was asked for twice gets both gradients
            gradient = jnp.zeros_like(gradient).at[same].add(gradient)[same]
            m = row[1] + (gradient - row[1]) * (1 - BETA_1)
            v = row[2] + (gradient**2 - row[2]) * (1 - BETA_2)
            weights = row[0] - sizes[now] * m / (jnp.sqrt(v) + EPSILON)
            new_tables.append(
                tuple(
                    part.at[x[:, column]].set(new)
                    for part, new in zip(table, (weights, m, v), strict=True)
                )
            )
        last_steps = [last.at[i].set(now + 1) for last, i in zip(last_steps, ids, strict=True)]
        return (new_tables, last_steps, state, now + 1), error

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def run_steps(tables, last_steps, state, batches, now, series):
        start = tables, last_steps, state, now
        (*learnt, _), errors = jax.lax.scan(partial(one_step, series), start, batches)
        return *learnt, jnp.sum(errors)

    @partial(jax.jit, donate_argnums=(0, 1))
    def catch_up(tables, last_steps, now, series):
        moved = [
            caught_up(table, last, now, series[1])
            for table, last in zip(tables, last_steps, strict=True)
        ]
        return moved, [jnp.full_like(last, now) for last in last_steps]

    @jax.jit
    def predict(tables, state, x):
        return call(tables, state, x)[0]

    @jax.jit
    def both_ways(tables, state, x):
        rows = [table[x[:, column]] for table, column in zip(tables, columns, strict=True)]
        return call_on_rows(rows, state)[0], call(tables, state, x)[0]

    return Programs(run_steps, catch_up, predict, both_ways)
