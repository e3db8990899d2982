"""Row-wise Adam on TensorFlow: an epoch is one loop over its batches, rows updated in place.

All tables are packed into one, users above movies, vectors beside biases, and beside both their
two moments: a batch is read by one gather and written by one scatter. Nothing is compiled by
XLA, which would copy the tables in every step. See `rowwise` for the method.
"""

import keras
import numpy as np
import tensorflow as tf

from embedlens.rowwise import BETA_1, BETA_2, EPSILON, FADING, Trainer


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


class TensorFlowTrainer(Trainer):
    """See `rowwise.Trainer`."""

    def prepare(self, recipe, columns, sizes, drift):
        self.sizes, self.drift = tf.constant(sizes), tf.constant(drift)
        self.packed = _packed(self.model.trainable_variables, columns)
        self._compiled = {}  # by the size of a batch: to know it makes the steps faster
        step, ids = tf.TensorSpec((), "int32"), tf.TensorSpec((None, 2), "int32")
        self._catch_up = tf.function(self._all_caught_up, [step], autograph=False)
        self._predict = tf.function(lambda x: self.model(x)[:, 0], [ids], autograph=False)

    def look_up_both_ways(self, x):
        x = tf.constant(x)
        ids, places = zip(*(packed.ids(x) for packed in self.packed), strict=True)
        rows = [packed.read(asked)[0] for packed, asked in zip(self.packed, ids, strict=True)]
        weights = [tf.split(part, 3, 1)[0] for part in rows]
        with keras.StatelessScope() as scope:
            self._replace(scope, self._cut(weights))
            ours = self.model(self._places(x, places))
        return ours, self.model(x)

    def run_steps(self, x, y, now):
        size = y.shape[1]
        if size not in self._compiled:
            shapes = [((None, size, 2), "int32"), ((None, size), "float32"), ((), "int32")]
            signature = [tf.TensorSpec(*shape) for shape in shapes]
            self._compiled[size] = tf.function(self._steps, signature, autograph=False)
        return self._compiled[size](x, y, now)

    def catch_up(self, now):
        self._catch_up(now)

    def predict_rows(self, x):
        return self._predict(x)

    def assign(self):
        """The model has what was learnt: `catch_up` hands it over."""

    def _steps(self, x, y, now):
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
        tables = self._cut(rows)
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

    def _cut(self, weights):
        return [packed.cut(part) for packed, part in zip(self.packed, weights, strict=True)]

    def _replace(self, scope, tables):
        """Let the model see these tables, within the scope, in place of its own."""
        for packed, parts in zip(self.packed, tables, strict=True):
            for side in packed.variables:
                for variable, table in zip(side, parts, strict=True):
                    scope.add_update((variable, table))

    def _caught_up(self, rows, last, now):
        """Weights, m, v as dense Adam would have them before step `now`."""
        weights, m, v = tf.split(rows, 3, 1)
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


def _packed(variables, columns):
    """Pack tables: users and movies together where their rows are of the same widths."""
    groups = {}
    for variable, column in zip(variables, columns, strict=True):
        groups.setdefault((column, variable.shape[0]), []).append(variable)
    sides = {column: group for (column, _), group in groups.items()}
    widths = {tuple(variable.shape[1] for variable in group) for group in groups.values()}
    if len(widths) == 1 and len(sides) == len(groups):
        return [Packed(sides)]
    return [Packed({column: group}) for (column, _), group in groups.items()]


def _sums(gradient, n):
    """Per row the sum of its gradients, and of their squares: squared one by one, as Keras does."""
    if not isinstance(gradient, tf.IndexedSlices):
        return [gradient, tf.square(gradient)]
    values, rows = gradient.values, gradient.indices
    return [tf.math.unsorted_segment_sum(part, rows, n) for part in (values, tf.square(values))]
