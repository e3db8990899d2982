"""Row-wise Adam on TensorFlow: an epoch is one loop over its batches, rows updated in place.

All tables are packed into one, users above movies, vectors beside biases, and beside both their
two moments: a batch is read by one gather and written by one scatter. Nothing is compiled by
XLA, which would copy the tables in every step. See `rowwise` for the method.
"""

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from embedlens import data
from embedlens.rowwise import (
    BETA_1,
    BETA_2,
    EPSILON,
    FADING,
    check_lookup,
    sizes_and_drift,
    steps_per_call,
)

RATINGS_PER_PREDICTION = 2**14


class Packed:
    """Tables with rows of equal length, packed: weights, first and second moments.

    Parameters
    ----------
    tables : dict of int to list of keras.Variable
        By the column of the ids that they belong to. The tables of a column have the same number
        of rows; those of all columns the same widths.
    """

    def __init__(self, tables):
        self.columns, self.variables = list(tables), list(tables.values())
        self.widths = [variable.shape[1] for variable in self.variables[0]]
        blocks = [tf.concat([v.value for v in side], 1) for side in self.variables]
        self.n_rows = [len(block) for block in blocks]
        self.offsets = np.cumsum([0, *self.n_rows[:-1]]).astype("int32")
        weights = tf.concat(blocks, 0)
        empty = tf.zeros_like(weights)
        self.rows = tf.Variable(tf.concat([weights, empty, empty], 1))
        self.last = tf.Variable(tf.zeros(len(weights), "int32"))  # the step of its last update

    def ids(self, x):
        """Rows that a batch asks for, each once, and per rating and column their places there."""
        asked = tf.gather(x, self.columns, axis=1) + self.offsets
        ids, places = tf.unique(tf.reshape(asked, [-1]))
        return ids, tf.reshape(places, asked.shape)

    def read(self, ids):
        return tf.gather(self.rows, ids), tf.gather(self.last, ids)

    def write(self, ids, weights, m, v, now):
        last = tf.fill(tf.shape(ids), now)
        for variable, updates in [(self.rows, tf.concat([weights, m, v], 1)), (self.last, last)]:
            tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=ids, updates=updates)

    def cut(self, weights):
        """Cut rows of weights up into those of each width."""
        return tf.split(weights, self.widths, 1)

    def unpack(self, weights):
        """Give all weights to the model's own tables."""
        for side, block in zip(self.variables, tf.split(weights, self.n_rows), strict=True):
            for variable, table in zip(side, self.cut(block), strict=True):
                variable.value.assign(table)


class Trainer:
    """Trains a model of lookup tables epoch by epoch.

    Parameters
    ----------
    recipe : callable
        Made `model`; not used here.
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
        self.model, self.batch_size = model, settings.batch_size
        self.lazy, self.progress = lazy, progress
        self.x, self.y = data.inputs(train_ratings), data.targets(train_ratings).ravel()
        self.n_steps = -(-len(self.x) // self.batch_size)
        self.steps_per_call = steps_per_call(self.n_steps, self.batch_size)
        parts = sizes_and_drift(self.n_steps * settings.epochs, learning_rate)
        self.sizes, self.drift = map(tf.constant, parts)
        self.packed = _packed(model.trainable_variables, columns)
        self._run_steps = {}  # by the size of a batch
        step, ids = tf.TensorSpec((), "int32"), tf.TensorSpec((None, 2), "int32")
        self._catch_up = tf.function(self._all_caught_up, [step], autograph=False)
        self._predict = tf.function(lambda x: model(x)[:, 0], [ids], autograph=False)
        self._check(tf.constant(self.x[: self.batch_size]))

    def one_epoch(self, number, order):
        """Train on all ratings in this order; return the running RMSE, in stars."""
        total, now = 0.0, tf.constant(number * self.n_steps)
        starts = range(0, self.n_steps, self.steps_per_call)
        hidden = not self.progress or len(starts) == 1
        for start in tqdm(starts, desc=f"epoch {number + 1}", leave=False, disable=hidden):
            part = order[start * self.batch_size : (start + self.steps_per_call) * self.batch_size]
            for x, y in self._batches(part):
                total += float(self._compiled(y.shape[1])(x, y, now))
                now += len(x)
        self._catch_up(now)
        return np.sqrt(total / len(self.x))

    def predict(self, ratings):
        """Predict `ratings` by the present rows: float32 array of shape (n,), in stars."""
        x = data.inputs(ratings)
        starts = range(0, len(x), RATINGS_PER_PREDICTION)
        return np.concatenate([self._predict(x[s : s + RATINGS_PER_PREDICTION]) for s in starts])

    def assign(self):
        """The model has what was learnt: each epoch ends with it."""

    def _batches(self, part):
        """These ratings as batches of the same size, and what is left as a smaller one."""
        whole = len(part) // self.batch_size * self.batch_size
        for rows, size in [(part[:whole], self.batch_size), (part[whole:], len(part) - whole)]:
            if len(rows):
                y = self.y[rows].reshape(-1, size)
                yield tf.constant(self.x[rows].reshape(*y.shape, 2)), tf.constant(y)

    def _compiled(self, size):
        """The steps for batches of this size; to know it makes them faster."""
        if size not in self._run_steps:
            shapes = [((None, size, 2), "int32"), ((None, size), "float32"), ((), "int32")]
            signature = [tf.TensorSpec(*shape) for shape in shapes]
            self._run_steps[size] = tf.function(self._steps, signature, autograph=False)
        return self._run_steps[size]

    def _steps(self, x, y, now):
        """Train on batches, x of shape (steps, size, 2): sum of squared errors, in stars."""

        def step(number, total):
            return number + 1, total + self._step(x[number], y[number], now + number)

        nothing = tf.constant(0.0, "float64")
        return tf.while_loop(lambda number, _: number < tf.shape(x)[0], step, [0, nothing])[1]

    def _step(self, x, y, now):
        """One batch: look up, catch up, predict, work out gradients, update; squared error."""
        asked = [packed.ids(x) for packed in self.packed]
        rows = [
            self._caught_up(*packed.read(ids), now)
            for packed, (ids, _) in zip(self.packed, asked, strict=True)
        ]
        at = self._places(x, [places for _, places in asked])
        error, gradients, state = self._gradients([weights for weights, _, _ in rows], at, y)
        for variable, value in state:
            variable.value.assign(value)
        for packed, (ids, _), (weights, m, v), (gradient, squared) in zip(
            self.packed, asked, rows, gradients, strict=True
        ):
            m += (gradient - m) * (1 - BETA_1)
            v += (squared - v) * (1 - BETA_2)
            weights -= tf.gather(self.sizes, now) * m / (tf.sqrt(v) + EPSILON)
            packed.write(ids, weights, m, v, now + 1)
        return tf.cast(error, "float64")

    def _gradients(self, rows, places, y):
        """Squared error; gradients of the rows and their squares; what else the model changed.

        The model itself looks these rows up, at these places, instead of its tables.
        """
        tables = [packed.cut(weights) for packed, weights in zip(self.packed, rows, strict=True)]
        with tf.GradientTape() as tape, keras.StatelessScope(collect_losses=True) as scope:
            tape.watch(tables)
            self._replace(scope, tables)
            prediction = self.model(places, training=True)[:, 0]
            error = tf.reduce_sum(tf.square(prediction - y))
            loss = error / y.shape[0] + sum(self.model.losses)
        found = tape.gradient(loss, tables, unconnected_gradients="zero")
        gradients = []
        for of_tables, weights in zip(found, rows, strict=True):
            sums = [_sums(gradient, tf.shape(weights)[0]) for gradient in of_tables]
            gradients.append([tf.concat(part, 1) for part in zip(*sums, strict=True)])
        state = [(v, scope.get_current_value(v)) for v in self.model.non_trainable_variables]
        return error, gradients, [(v, value) for v, value in state if value is not None]

    def _places(self, x, places):
        """What the model gets in place of the ids x; as it is where nothing is looked up."""
        columns = dict(enumerate(tf.unstack(x, axis=1)))
        for packed, at in zip(self.packed, places, strict=True):
            columns.update(zip(packed.columns, tf.unstack(at, axis=1), strict=True))
        return tf.stack(list(columns.values()), 1)

    def _replace(self, scope, tables):
        """Let the model see these tables, within the scope, in place of its own."""
        for packed, parts in zip(self.packed, tables, strict=True):
            for side in packed.variables:
                for variable, table in zip(side, parts, strict=True):
                    scope.add_update((variable, table))

    def _caught_up(self, rows, last, now):
        """Weights, m, v as dense Adam would have them before step `now`."""
        weights, m, v = tf.split(rows, 3, 1)
        if self.lazy:
            return weights, m, v
        missed = tf.cast(now - last, "float32")[:, None]
        step, first, second = tf.split(tf.pow([FADING, BETA_1, BETA_2], missed), 3, 1)
        drift = tf.gather(self.drift, last)[:, None] - step * tf.gather(self.drift, now)
        return weights - drift * m / (tf.sqrt(v) + EPSILON), first * m, second * v

    def _all_caught_up(self, now):
        for packed in self.packed:
            weights, m, v = self._caught_up(packed.rows, packed.last, now)
            packed.rows.assign(tf.concat([weights, m, v], 1))
            packed.last.assign(tf.fill(tf.shape(packed.last), now))
            packed.unpack(weights)

    def _check(self, x):
        ids, places = zip(*(packed.ids(x) for packed in self.packed), strict=True)
        with keras.StatelessScope() as scope:
            weights = [
                tf.split(packed.read(asked)[0], 3, 1)[0]
                for packed, asked in zip(self.packed, ids, strict=True)
            ]
            tables = [packed.cut(w) for packed, w in zip(self.packed, weights, strict=True)]
            self._replace(scope, tables)
            ours = self.model(self._places(x, places))
        check_lookup(self.model, ours, self.model(x))


def _packed(variables, columns):
    """Pack tables: users and movies together where their rows are of the same widths."""
    tables = {}
    for variable, column in sorted(zip(variables, columns, strict=True), key=lambda pair: pair[1]):
        tables.setdefault(column, []).append(variable)
    widths = {tuple(variable.shape[1] for variable in side) for side in tables.values()}
    if len(widths) == 1:
        return [Packed(tables)]
    return [Packed({column: side}) for column, side in tables.items()]


def _sums(gradient, n):
    """Per row the sum of its gradients, and of their squares: squared one by one, as Keras does."""
    if not isinstance(gradient, tf.IndexedSlices):
        return [gradient, tf.square(gradient)]
    values, rows = gradient.values, gradient.indices
    return [tf.math.unsorted_segment_sum(part, rows, n) for part in (values, tf.square(values))]
