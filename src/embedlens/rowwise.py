"""Adam that pays for the rows looked up, not for the whole table. Runs on JAX.

A batch of 32 ratings touches at most 32 rows of a table, yet dense Adam updates every
row in every step: a row that is not looked up has no gradient, but its momentum fades
and keeps moving it. That motion follows a known series. So each row is left alone until
it is next looked up, and then moved in one go by all that it has missed.

The result is that of Keras' dense Adam up to rounding. One liberty is taken: within the
series, Adam's epsilon stands beside the second moment of the row's last step instead of
beside the fading one. Terms die out before the two differ by more than 8 % of epsilon.
"""

from functools import cache, partial

from embedlens import data, training
import jax
from jax import numpy as jnp
import keras
import numpy as np
import pandas as pd

# The defaults of keras.optimizers.Adam, which the post uses.
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7
FADING = BETA_1 / np.sqrt(BETA_2)  # of a row's step, per step without a gradient
HORIZON = 400  # FADING**400 is below 1e-18


def train(
    model, batch_model, train_ratings, valid_ratings, seed, epochs=10, batch_size=32, patience=2
):
    """Train a model of lookup tables as dense Adam does, in a fraction of the time.

    Parameters
    ----------
    model : keras.Model
        All its trainable weights are tables of rows: those of layers named ``user_...``
        are looked up by the first column of the input, all others by the second.
    batch_model : keras.Model
        The same model made for ``batch_size - 1`` users and movies: in each step it
        gets the rows of one batch for its tables, a row per rating. Its own weights do not
        matter; give the same one again, and nothing is compiled twice.
    train_ratings, valid_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    seed : int
        Fixes the order of the ratings.
    epochs, batch_size, patience : int
        As in `training.train`.

    Returns
    -------
    pandas.DataFrame
        As from `training.train`.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
    """
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            "row-wise training runs on JAX: set the environment variable KERAS_BACKEND=jax"
        )
    x, y = data.inputs(train_ratings), data.targets(train_ratings).ravel()
    model(x[:1])
    batch_model(np.zeros((1, 2), "int32"))
    n_steps = -(-len(x) // batch_size)
    columns = tuple(0 if "user_" in weights.path else 1 for weights in model.trainable_variables)
    run_epoch = _compiled_epoch(batch_model, columns, batch_size, n_steps * epochs)
    tables = [
        (jnp.array(w.value), jnp.zeros(w.shape), jnp.zeros(w.shape))
        for w in model.trainable_variables
    ]
    last_steps = [jnp.zeros(len(weights), "int32") for weights, _, _ in tables]
    state = [jnp.array(variable.value) for variable in model.non_trainable_variables]

    def one_epoch(number, order):
        nonlocal tables, last_steps, state
        padding = n_steps * batch_size - len(x)
        batches = [
            np.pad(array, ((0, padding), *[(0, 0)] * (array.ndim - 1))).reshape(
                n_steps, batch_size, *array.shape[1:]
            )
            for array in (x[order], y[order], np.ones(len(x), "float32"))
        ]
        steps = np.arange(number * n_steps, (number + 1) * n_steps, dtype="int32")
        tables, last_steps, state, errors = run_epoch(tables, last_steps, state, batches, steps)
        for variable, (weights, _, _) in zip(model.trainable_variables, tables, strict=True):
            variable.assign(np.array(weights))
        return np.sqrt(float(errors.sum()) / len(x))

    return _epochs(one_epoch, model, len(x), valid_ratings, seed, epochs, patience)


def plain_fit(model, train_ratings, valid_ratings, seed, epochs=10, batch_size=32, patience=2):
    """Train with Keras' plain `fit`, on the very batches of `train`: to compare with.

    One call of `fit` per epoch, in the order that the seed gives. Runs on any backend.

    Returns
    -------
    pandas.DataFrame
        As from `training.train`.
    """
    model.compile(loss="mse", optimizer="adam")
    x, y = data.inputs(train_ratings), data.targets(train_ratings)

    def one_epoch(number, order):
        fitted = model.fit(x[order], y[order], batch_size, epochs=1, shuffle=False, verbose=0)
        return np.sqrt(fitted.history["loss"][0])

    return _epochs(one_epoch, model, len(x), valid_ratings, seed, epochs, patience)


def _epochs(one_epoch, model, n, valid_ratings, seed, epochs, patience):
    """Train epoch by epoch, with early stopping as in keras.callbacks.EarlyStopping."""
    orders = np.random.default_rng(seed)
    rows, best = [], 0
    for number in range(epochs):
        train_rmse = one_epoch(number, orders.permutation(n))
        valid_rmse = training.rmse(valid_ratings["rating"], training.predict(model, valid_ratings))
        rows.append({"epoch": number + 1, "train_rmse": train_rmse, "valid_rmse": valid_rmse})
        if valid_rmse < rows[best]["valid_rmse"]:
            best = number
        if number - best >= patience:
            break
    return pd.DataFrame(rows)


def _series(n_steps):
    """Step sizes of Adam, and the drift that is still to come after each step.

    Returns
    -------
    sizes : numpy.ndarray, shape (n_steps,)
        Adam's bias-corrected step size at step t (from 0).
    drift : numpy.ndarray, shape (n_steps + 1,)
        ``drift[s]``: sum over all later steps j = 1, 2, ... of
        ``sizes[s + j - 1] * FADING**j``. A row last updated as the s-th step, and left alone
        until step t, moves by ``(drift[s] - FADING**(t - s) * drift[t]) * m / sqrt(v)``.
    """
    count = np.arange(1, n_steps + HORIZON + 1, dtype="float64")
    sizes = LEARNING_RATE * np.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
    drift = np.zeros(len(sizes) + 1)
    for step in reversed(range(len(sizes))):
        drift[step] = FADING * (sizes[step] + drift[step + 1])
    return sizes[:n_steps].astype("float32"), drift[: n_steps + 1].astype("float32")


@cache
def _compiled_epoch(batch_model, columns, batch_size, n_steps):
    sizes, drift = (jnp.array(part) for part in _series(n_steps))
    positions = np.repeat(np.arange(batch_size, dtype="int32")[:, None], 2, axis=1)

    def caught_up(table, last, now):
        """Rows (weights, m, v) as dense Adam would have them before step `now`."""
        weights, m, v = table
        missed = (now - last).astype("float32")[:, None]
        moved = (drift[last][:, None] - FADING**missed * drift[now]) * m / (jnp.sqrt(v) + EPSILON)
        return weights - moved, BETA_1**missed * m, BETA_2**missed * v

    def squared_error(rows, state, y, counted):
        values = [*zip(batch_model.trainable_variables, rows, strict=True)]
        values += zip(batch_model.non_trainable_variables, state, strict=True)
        with keras.StatelessScope(state_mapping=values) as scope:
            prediction = batch_model(positions, training=True)[:, 0]
        state = [scope.get_current_value(v) for v in batch_model.non_trainable_variables]
        error = jnp.sum(counted * (prediction - y) ** 2)
        return error / jnp.sum(counted), (error, state)

    def one_step(carry, batch):
        tables, last_steps, state = carry
        x, y, counted, now = batch
        found = [
            caught_up([part[x[:, column]] for part in table], last[x[:, column]], now)
            for table, last, column in zip(tables, last_steps, columns, strict=True)
        ]
        weights = [row[0] for row in found]
        gradients, (error, state) = jax.grad(squared_error, has_aux=True)(
            weights, state, y, counted
        )
        new_tables = []
        for table, (row, m, v), gradient, column in zip(
            tables, found, gradients, columns, strict=True
        ):
            ids = x[:, column]
            gradient = (ids[:, None] == ids).astype("float32") @ gradient  # a row asked for twice
            m = m + (gradient - m) * (1 - BETA_1)
            v = v + (gradient**2 - v) * (1 - BETA_2)
            row = row - sizes[now] * m / (jnp.sqrt(v) + EPSILON)
            new_tables.append(
                tuple(part.at[ids].set(new) for part, new in zip(table, (row, m, v), strict=True))
            )
        last_steps = [
            last.at[x[:, column]].set(now + 1)
            for last, column in zip(last_steps, columns, strict=True)
        ]
        return (new_tables, last_steps, state), error

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def run_epoch(tables, last_steps, state, batches, steps):
        carry, errors = jax.lax.scan(one_step, (tables, last_steps, state), (*batches, steps))
        tables, last_steps, state = carry
        end = steps[-1] + 1
        tables = [
            caught_up(table, last, end) for table, last in zip(tables, last_steps, strict=True)
        ]
        return tables, [jnp.full_like(last, end) for last in last_steps], state, errors

    return run_epoch
