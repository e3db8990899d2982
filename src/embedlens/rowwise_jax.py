"""Row-wise Adam on JAX: an epoch is one compiled scan over its steps. See `rowwise`."""

from functools import cache, partial

import jax
from jax import numpy as jnp
import keras
import numpy as np
from tqdm import tqdm

from embedlens import data
from embedlens.recipes import Recipe
from embedlens.rowwise import (
    BETA_1,
    BETA_2,
    EPSILON,
    FADING,
    check_lookup,
    sizes_and_drift,
    steps_per_call,
)


class Trainer:
    """Trains a model of lookup tables epoch by epoch.

    Parameters
    ----------
    recipe : callable
        Made `model`; makes another one, of a batch's size. Pass a `Recipe`, or the same
        object again, and nothing is compiled twice.
    model : keras.Model
    columns : list of int
        As from `training.tables`.
    train_ratings : pandas.DataFrame
    settings : recipes.Training
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
    lazy, progress : bool
        As in `training.train`.

    Raises
    ------
    RuntimeError
        If the rows looked up by these columns do not give the model's own predictions.
    """

    def __init__(
        self, recipe, model, columns, train_ratings, settings, learning_rate, lazy, progress
    ):
        self.model, self.batch_size, self.progress = model, settings.batch_size, progress
        self.x, self.y = data.inputs(train_ratings), data.targets(train_ratings).ravel()
        self.n_steps = -(-len(self.x) // self.batch_size)
        self.steps_per_call = steps_per_call(self.n_steps, self.batch_size)
        if isinstance(recipe, Recipe):  # how it is trained does not matter to what is compiled
            recipe = Recipe(recipe.model, **dict(recipe.options))
        compiled = _compiled(recipe, tuple(columns), self.batch_size, lazy)
        self.run_steps, self.catch_up, self.predict_rows, predict_batch = compiled
        parts = sizes_and_drift(self.n_steps * settings.epochs, learning_rate)
        self.series = [jnp.array(part) for part in parts]
        self.tables = [
            (jnp.array(w.value), jnp.zeros(w.shape), jnp.zeros(w.shape))
            for w in model.trainable_variables
        ]
        self.last_steps = [jnp.zeros(len(table), "int32") for table, _, _ in self.tables]
        self.state = [jnp.array(variable.value) for variable in model.non_trainable_variables]
        self._check_lookup(predict_batch)

    def one_epoch(self, number, order):
        """Train on all ratings in this order; return the running RMSE, in stars."""
        errors = []
        end = (number + 1) * self.n_steps
        calls = range(0, self.n_steps, self.steps_per_call)
        hidden = not self.progress or len(calls) == 1
        for start in tqdm(calls, desc=f"epoch {number + 1}", leave=False, disable=hidden):
            part = order[start * self.batch_size : (start + self.steps_per_call) * self.batch_size]
            batches = _batches(self.x[part], self.y[part], self.batch_size, self.steps_per_call)
            now = number * self.n_steps + np.arange(start, start + self.steps_per_call)
            now = np.minimum(now, end - 1).astype("int32")
            self.tables, self.last_steps, self.state, found = self.run_steps(
                self.tables, self.last_steps, self.state, batches, now, self.series
            )
            errors.append(found)
            if len(errors) > 1:  # the next batches are cut while the last ones run
                errors[-2].block_until_ready()
        self.tables = [
            self.catch_up(table, last, end, self.series)
            for table, last in zip(self.tables, self.last_steps, strict=True)
        ]
        self.last_steps = [jnp.full_like(last, end) for last in self.last_steps]
        total = sum(np.asarray(part, "float64").sum() for part in errors)
        return np.sqrt(total / len(self.x))

    def predict(self, ratings):
        """Predict `ratings` by the present rows: float32 array of shape (n,), in stars."""
        n_batches = -(-len(ratings) // self.batch_size)
        filling = n_batches * self.batch_size - len(ratings)
        x = np.pad(data.inputs(ratings), ((0, filling), (0, 0)))
        weights = [table[0] for table in self.tables]
        predicted = self.predict_rows(weights, x.reshape(n_batches, self.batch_size, 2))
        return predicted.ravel()[: len(ratings)]

    def assign(self):
        """Give the model what was learnt."""
        for variable, table in zip(self.model.trainable_variables, self.tables, strict=True):
            variable.assign(table[0])
        for variable, value in zip(self.model.non_trainable_variables, self.state, strict=True):
            variable.assign(value)

    def _check_lookup(self, predict_batch):
        x = self.x[: self.batch_size]
        filled = np.pad(x, ((0, self.batch_size - len(x)), (0, 0)))
        ours = predict_batch([table[0] for table in self.tables], filled)[: len(x)]
        own = keras.ops.convert_to_numpy(self.model(x)).ravel()
        check_lookup(self.model, ours, own)


def _batches(x, y, batch_size, n_steps):
    """Cut ratings into `n_steps` batches, the last ones filled up with ratings that don't count.

    Returns
    -------
    x : numpy.ndarray of int32, shape (n_steps, batch_size, 2)
    first : numpy.ndarray of int32, shape (n_steps, batch_size, 2)
        Place in the batch at which the same user, or movie, stands first.
    y, counted : numpy.ndarray of float32, shape (n_steps, batch_size)
    """
    n = n_steps * batch_size
    x = np.pad(x, ((0, n - len(x)), (0, 0)))
    counted = np.arange(n) < len(y)
    y = np.pad(y, (0, n - len(y)))
    x = x.reshape(n_steps, batch_size, 2)
    first = np.stack([_first_places(x[:, :, column]) for column in (0, 1)], axis=2)
    y, counted = (part.reshape(n_steps, batch_size) for part in (y, counted.astype("float32")))
    return x, first, y, counted


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
def _compiled(recipe, columns, batch_size, lazy):
    """Compile the steps for a kind of model; the tables' sizes do not matter to it."""
    # Its tables are replaced by the rows of a batch, one row per rating.
    batch_model = recipe(batch_size - 1, batch_size - 1)
    batch_model(np.zeros((1, 2), "int32"))
    positions = np.repeat(np.arange(batch_size, dtype="int32")[:, None], 2, axis=1)

    def caught_up(rows, last, now, drift):
        """Rows of weights, m, v as dense Adam would have them before step `now`."""
        if lazy:
            return rows
        weights, m, v = rows
        missed = (now - last).astype("float32")[:, None]
        moved = (drift[last][:, None] - FADING**missed * drift[now]) * m / (jnp.sqrt(v) + EPSILON)
        return weights - moved, BETA_1**missed * m, BETA_2**missed * v

    def call(rows, state, training):
        values = [*zip(batch_model.trainable_variables, rows, strict=True)]
        values += zip(batch_model.non_trainable_variables, state, strict=True)
        with keras.StatelessScope(state_mapping=values, collect_losses=True) as scope:
            prediction = batch_model(positions, training=training)[:, 0]
            penalty = sum(batch_model.losses)
        state = [scope.get_current_value(v) for v in batch_model.non_trainable_variables]
        return prediction, penalty, state

    def loss(rows, state, y, counted):
        prediction, penalty, state = call(rows, state, training=True)
        error = jnp.sum(counted * (prediction - y) ** 2)
        return error / jnp.maximum(jnp.sum(counted), 1) + penalty, (error, state)

    def one_step(series, carry, batch):
        sizes, drift = series
        tables, last_steps, state = carry
        (x, first, y, counted), now = batch
        ids = [x[:, column] for column in columns]
        rows = [
            caught_up([part[i] for part in table], last[i], now, drift)
            for table, last, i in zip(tables, last_steps, ids, strict=True)
        ]
        gradients, (error, state) = jax.grad(loss, has_aux=True)(
            [row[0] for row in rows], state, y, counted
        )
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
        return (new_tables, last_steps, state), error

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def run_steps(tables, last_steps, state, batches, now, series):
        carry, errors = jax.lax.scan(
            partial(one_step, series), (tables, last_steps, state), (batches, now)
        )
        return *carry, errors

    @partial(jax.jit, donate_argnums=0)
    def catch_up(table, last, now, series):
        return caught_up(table, last, now, series[1])

    def predict_batch(tables, x):
        state = [jnp.array(variable.value) for variable in batch_model.non_trainable_variables]
        rows = [table[x[:, column]] for table, column in zip(tables, columns, strict=True)]
        return call(rows, state, training=False)[0]

    @jax.jit
    def predict_rows(tables, x):
        return jax.lax.map(partial(predict_batch, tables), x)

    return run_steps, catch_up, predict_rows, predict_batch
