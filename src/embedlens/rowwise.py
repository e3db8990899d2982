"""Adam that pays for the rows looked up, not for the whole table. Runs on JAX.

A batch of 32 ratings touches at most 32 rows of a table, yet dense Adam updates every
row in every step: a row that is not looked up has no gradient, but its momentum fades
and keeps moving it. That motion follows a known series. So each row is left alone until
it is next looked up, and then moved in one go by all that it has missed.

The result is that of Keras' dense Adam on JAX up to rounding. (On TensorFlow, Keras squares
the gradients of a row that a batch holds twice before it adds them up.) One liberty is
taken: within the series, Adam's epsilon stands beside the second moment of the row's last
step instead of beside the fading one. Terms die out before the two differ by more than 8 %
of epsilon.
"""

from functools import cache, partial
import time

from embedlens import data, training
import jax
from jax import numpy as jnp
import keras
import numpy as np
import pandas as pd
from scipy.signal import lfilter
from tqdm import tqdm

# The defaults of keras.optimizers.Adam, which the post uses.
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7
FADING = BETA_1 / np.sqrt(BETA_2)  # of a row's step, per step without a gradient
HORIZON = 400  # FADING**400 is below 1e-18
RATINGS_PER_CALL = 2**17  # what is cut into batches at a time fits the cache


def train(
    make_model,
    sizes,
    train_ratings,
    valid_ratings,
    seed,
    epochs=10,
    batch_size=32,
    patience=2,
    learning_rate=LEARNING_RATE,
    lazy=False,
    progress=False,
):
    """Make a model of lookup tables and train it as dense Adam does, in a fraction of the time.

    Parameters
    ----------
    make_model : callable
        ``make_model(n_users, n_movies)`` gives a keras.Model. All its trainable weights
        are tables of rows: those of layers named ``user_...`` are looked up by the first
        column of the input, all others by the second. Pass the same object again, and
        nothing is compiled twice.
    sizes : tuple of int
        Number of users, number of movies.
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    valid_ratings : pandas.DataFrame or None
        None: no validation, and all epochs are run.
    seed : int
        Fixes initial weights, dropout and the order of the ratings.
    epochs, batch_size, patience : int
        As in `training.train`.
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
    lazy : bool, default False
        Leave rows where they are while they are not looked up, momentum included: what
        libraries call lazy or sparse Adam. A different method: see chapter 7.
    progress : bool, default False
        Show a bar for each epoch of more than 2**17 ratings.

    Returns
    -------
    model : keras.Model
    history : pandas.DataFrame
        As from `training.train`, and seconds: of each epoch with its validation. The first
        includes compiling.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
    """
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            "row-wise training runs on JAX: set the environment variable KERAS_BACKEND=jax"
        )
    training.set_seed(seed)
    model = make_model(*sizes)
    x, y = data.inputs(train_ratings), data.targets(train_ratings).ravel()
    model(x[:1])
    columns = tuple(0 if "user_" in weights.path else 1 for weights in model.trainable_variables)
    n_steps = -(-len(x) // batch_size)
    n_calls = -(-n_steps * batch_size // RATINGS_PER_CALL)
    steps_per_call = -(-n_steps // n_calls)
    run_steps, catch_up, predict_rows = _compiled(make_model, columns, batch_size, lazy)
    series = [jnp.array(part) for part in _series(n_steps * epochs, learning_rate)]
    tables = [
        (jnp.array(w.value), jnp.zeros(w.shape), jnp.zeros(w.shape))
        for w in model.trainable_variables
    ]
    last_steps = [jnp.zeros(len(table), "int32") for table, _, _ in tables]
    state = [jnp.array(variable.value) for variable in model.non_trainable_variables]

    def one_epoch(number, order):
        nonlocal tables, last_steps, state
        errors = []
        end = (number + 1) * n_steps
        calls = range(0, n_steps, steps_per_call)
        for start in tqdm(
            calls, desc=f"epoch {number + 1}", leave=False, disable=not progress or n_calls == 1
        ):
            part = order[start * batch_size : (start + steps_per_call) * batch_size]
            batches = _batches(x[part], y[part], batch_size, steps_per_call)
            now = number * n_steps + np.arange(start, start + steps_per_call)
            now = np.minimum(now, end - 1).astype("int32")
            tables, last_steps, state, found = run_steps(
                tables, last_steps, state, batches, now, series
            )
            errors.append(found)
            if len(errors) > 1:  # the next batches are cut while the last ones run
                errors[-2].block_until_ready()
        tables = [
            catch_up(table, last, end, series)
            for table, last in zip(tables, last_steps, strict=True)
        ]
        last_steps = [jnp.full_like(last, end) for last in last_steps]
        return np.sqrt(sum(np.asarray(part, "float64").sum() for part in errors) / len(x))

    def predict(ratings):
        n_batches = -(-len(ratings) // batch_size)
        x = np.pad(data.inputs(ratings), ((0, n_batches * batch_size - len(ratings)), (0, 0)))
        weights = [table[0] for table in tables]
        return predict_rows(weights, x.reshape(n_batches, batch_size, 2)).ravel()[: len(ratings)]

    history = _epochs(one_epoch, predict, len(x), valid_ratings, seed, epochs, patience)
    for variable, table in zip(model.trainable_variables, tables, strict=True):
        variable.assign(table[0])
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(value)
    return model, history


def plain_fit(
    model,
    train_ratings,
    valid_ratings,
    seed,
    epochs=10,
    batch_size=32,
    patience=2,
    learning_rate=LEARNING_RATE,
):
    """Train with Keras' plain `fit`, on the very batches of `train`: to compare with.

    One call of `fit` per epoch, in the order that the seed gives. Runs on any backend.

    Returns
    -------
    pandas.DataFrame
        As the history from `train`.
    """
    adam = keras.optimizers.Adam(learning_rate)
    model.compile(loss="mse", optimizer=adam, metrics=["mse"])
    x, y = data.inputs(train_ratings), data.targets(train_ratings)

    def one_epoch(number, order):
        fitted = model.fit(x[order], y[order], batch_size, epochs=1, shuffle=False, verbose=0)
        return np.sqrt(fitted.history["mse"][0])

    predict = partial(training.predict, model)
    return _epochs(one_epoch, predict, len(x), valid_ratings, seed, epochs, patience)


def _epochs(one_epoch, predict, n, valid_ratings, seed, epochs, patience):
    """Train epoch by epoch, with early stopping as in keras.callbacks.EarlyStopping."""
    orders = np.random.default_rng(seed)
    rows, best = [], 0
    for number in range(epochs):
        started = time.perf_counter()
        row = {
            "epoch": number + 1,
            "train_rmse": one_epoch(number, orders.permutation(np.arange(n, dtype="int32"))),
        }
        if valid_ratings is not None:
            row["valid_rmse"] = training.rmse(valid_ratings["rating"], predict(valid_ratings))
            if number == 0 or row["valid_rmse"] < rows[best]["valid_rmse"]:
                best = number
        rows.append({**row, "seconds": time.perf_counter() - started})
        if valid_ratings is not None and number - best >= patience:
            break
    return pd.DataFrame(rows)


def _series(n_steps, learning_rate):
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
    steps = np.arange(n_steps + HORIZON, dtype="float64")
    if callable(learning_rate):
        learning_rate = np.asarray(learning_rate(jnp.array(steps, "float32")), "float64")
    sizes = learning_rate * np.sqrt(1 - BETA_2 ** (steps + 1)) / (1 - BETA_1 ** (steps + 1))
    # drift[s] = FADING * (sizes[s] + drift[s + 1])
    drift = lfilter([FADING], [1, -FADING], sizes[::-1])[::-1]
    return sizes[:n_steps].astype("float32"), drift[: n_steps + 1].astype("float32")


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
def _compiled(make_model, columns, batch_size, lazy):
    """Compile the steps for a kind of model; the tables' sizes do not matter to it."""
    # Its tables are replaced by the rows of a batch, one row per rating.
    batch_model = make_model(batch_size - 1, batch_size - 1)
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

    @jax.jit
    def predict_rows(tables, x):
        state = [jnp.array(variable.value) for variable in batch_model.non_trainable_variables]

        def one_batch(x):
            rows = [table[x[:, column]] for table, column in zip(tables, columns, strict=True)]
            return call(rows, state, training=False)[0]

        return jax.lax.map(one_batch, x)

    return run_steps, catch_up, predict_rows
