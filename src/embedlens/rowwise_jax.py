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

    def prepare(self, recipe, columns, sizes, drift):
        variables = self.model.trainable_variables
        self.groups = _groups([(c, v.shape[0]) for c, v in zip(columns, variables, strict=True)])
        if isinstance(recipe, Recipe):  # how it is trained does not matter to what is compiled
            recipe = Recipe(recipe.model, **dict(recipe.options))
        self.compiled = _compiled(recipe, tuple(columns), self.groups)
        self.series = sizes, drift
        tables = (np.asarray(variable) for variable in variables)
        self.packed = [
            np.pad(t, ((0, 0), (0, 2 * t.shape[1]))) for t in _grouped(tables, self.groups)
        ]
        self.last_steps = [np.zeros(len(rows), "int32") for rows in self.packed]
        self.state = [jnp.array(variable.value) for variable in self.model.non_trainable_variables]

    def look_up_both_ways(self, x):
        return self.compiled.both_ways(self.packed, self.state, x)

    def run_steps(self, x, y, now):
        first = np.stack([_first_places(x[:, :, column]) for column in (0, 1)], axis=2)
        self.packed, self.last_steps, self.state, error = self.compiled.run_steps(
            self.packed, self.last_steps, self.state, (x, first, y), now, self.series
        )
        return error

    def catch_up(self, now):
        self.packed, self.last_steps = self.compiled.catch_up(
            self.packed, self.last_steps, now, self.series
        )

    def predict_rows(self, x):
        return self.compiled.predict(self.packed, self.state, x)

    def assign(self):
        variables = self.model.trainable_variables
        rows = [np.asarray(part) for part in self.packed]
        tables = _cut(rows, self.groups, [variable.shape[1] for variable in variables])
        for variable, table in zip(variables, tables, strict=True):
            variable.assign(table)
        for variable, value in zip(self.model.non_trainable_variables, self.state, strict=True):
            variable.assign(value)


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


def _groups(kinds):
    """Number equal kinds alike, from 0 in order of appearance."""
    return tuple(list(dict.fromkeys(kinds)).index(kind) for kind in kinds)


def _grouped(tables, groups):
    """The tables of each group side by side: they are looked up by the same ids."""
    together = {}
    for table, group in zip(tables, groups, strict=True):
        together.setdefault(group, []).append(table)
    return [np.concatenate(of_group, axis=1) for of_group in together.values()]


def _cut(rows, groups, widths):
    """The model's tables, in its order, from the start of each group's rows."""
    tables, used = [], [0] * len(rows)
    for group, width in zip(groups, widths, strict=True):
        tables.append(rows[group][:, used[group] : used[group] + width])
        used[group] += width
    return tables


@cache
def _compiled(recipe, columns, groups):
    """Compile the steps for a kind of model; the tables' sizes do not matter to it.

    Tables of the same ids are packed: a row holds all their weights, then their m, then their v.
    """
    model = recipe(1, 1)  # gets the tables, or their rows, from outside
    model(keras.KerasTensor((None, 2), dtype="int32"))
    widths = [variable.shape[1] for variable in model.trainable_variables]
    columns = [columns[groups.index(group)] for group in range(max(groups) + 1)]  # of the groups

    def caught_up(rows, last, now, drift):
        """Weights, m, v as dense Adam would have them before step `now`."""
        weights, m, v = jnp.split(rows, 3, axis=1)
        missed = (now - last).astype("float32")[:, None]
        moved = (drift[last][:, None] - FADING**missed * drift[now]) * m / (jnp.sqrt(v) + EPSILON)
        return weights - moved, BETA_1**missed * m, BETA_2**missed * v

    def call(weights, state, x, training=False):
        """Predictions, penalty and new state of the model with these weights."""
        tables = _cut(weights, groups, widths)
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
        packed, last_steps, state, now = carry
        x, first, y = batch
        ids = [x[:, column] for column in columns]
        rows = [
            caught_up(part[i], last[i], now, drift)
            for part, last, i in zip(packed, last_steps, ids, strict=True)
        ]
        gradients, (error, state) = jax.grad(loss, has_aux=True)([row[0] for row in rows], state, y)
        moved = []
        for part, i, row, gradient, column in zip(
            packed, ids, rows, gradients, columns, strict=True
        ):
            same = first[:, column]  # a row that was asked for twice gets both gradients
            gradient = jnp.zeros_like(gradient).at[same].add(gradient)[same]
            m = row[1] + (gradient - row[1]) * (1 - BETA_1)
            v = row[2] + (gradient**2 - row[2]) * (1 - BETA_2)
            weights = row[0] - sizes[now] * m / (jnp.sqrt(v) + EPSILON)
            moved.append(part.at[i].set(jnp.concatenate([weights, m, v], axis=1)))
        last_steps = [last.at[i].set(now + 1) for last, i in zip(last_steps, ids, strict=True)]
        return (moved, last_steps, state, now + 1), error

    def weights_of(packed):
        return [rows[:, : rows.shape[1] // 3] for rows in packed]

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def run_steps(packed, last_steps, state, batches, now, series):
        start = packed, last_steps, state, now
        (*learnt, _), errors = jax.lax.scan(partial(one_step, series), start, batches)
        return *learnt, jnp.sum(errors)

    @partial(jax.jit, donate_argnums=(0, 1))
    def catch_up(packed, last_steps, now, series):
        moved = [
            jnp.concatenate(caught_up(rows, last, now, series[1]), axis=1)
            for rows, last in zip(packed, last_steps, strict=True)
        ]
        return moved, [jnp.full_like(last, now) for last in last_steps]

    @jax.jit
    def predict(packed, state, x):
        return call(weights_of(packed), state, x)[0]

    @jax.jit
    def both_ways(packed, state, x):
        weights = weights_of(packed)
        rows = [part[x[:, column]] for part, column in zip(weights, columns, strict=True)]
        return call_on_rows(rows, state)[0], call(weights, state, x)[0]

    return Programs(run_steps, catch_up, predict, both_ways)
