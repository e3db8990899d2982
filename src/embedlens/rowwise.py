"""Adam that pays for the rows looked up, not for the whole table: what both backends share.

A batch of 32 ratings touches at most 32 rows of a table, yet dense Adam updates every
row in every step: a row that is not looked up has no gradient, but its momentum fades
and keeps moving it. That motion follows a known series. So each row is left alone until
it is next looked up, and then moved in one go by all that it has missed.

The result is that of Keras' dense Adam on the same backend up to rounding. One rule differs
between backends, and is kept: where a batch looks a row up twice, Adam on TensorFlow squares
the gradients before it adds them up, on JAX it adds them up first. One liberty is taken:
within the series, Adam's epsilon stands beside the second moment of the row's last step
instead of beside the fading one. Terms die out before the two differ by more than 8 % of
epsilon.

`training.train` trains in this way, by the classes of `rowwise_jax` and `rowwise_tensorflow`.
"""

import abc

import keras
import numpy as np
from scipy.signal import lfilter
from tqdm import tqdm

from embedlens import data

# The defaults of keras.optimizers.Adam, which the post uses.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
FADING = BETA_1 / BETA_2**0.5  # of a row's step, per step without a gradient
HORIZON = 400  # FADING**400 is below 1e-18
RATINGS_PER_CALL = 2**17  # an epoch is cut into calls of this size


class Trainer(abc.ABC):
    """Trains a model of lookup tables epoch by epoch.

    Parameters
    ----------
    recipe : callable
        Made `model`. On JAX: pass a `Recipe`, or the same object again, and nothing is
        compiled twice.
    model : keras.Model
        Has its weights for itself again after `assign`.
    columns : list of int
        As from `training.tables`.
    train_ratings : pandas.DataFrame
    settings : recipes.Training
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
    progress : bool
        As in `training.train`.

    Raises
    ------
    RuntimeError
        If the rows looked up by these columns do not give the model's own predictions.
    """

    def __init__(self, recipe, model, columns, train_ratings, settings, learning_rate, progress):
        self.model, self.batch_size, self.progress = model, settings.batch_size, progress
        self.x, self.y = data.inputs(train_ratings), data.targets(train_ratings).ravel()
        self.n_steps = -(-len(self.x) // self.batch_size)
        series = sizes_and_drift(self.n_steps * settings.epochs, learning_rate)
        self.prepare(recipe, columns, *series)
        ours, own = self.look_up_both_ways(self.x[: self.batch_size])
        if not np.allclose(ours, own, rtol=1e-3, atol=1e-5):
            raise RuntimeError(
                f"{model.name}: its predictions are not those of the rows that its tables' "
                "names stand for (user_..., movie_...); train it with way='compiled'"
            )

    def one_epoch(self, number, order):
        """Train on all ratings in this order; return the running RMSE, in stars."""
        now, errors = number * self.n_steps, [0.0]
        calls = list(self._calls(order))
        hidden = not self.progress or len(order) <= RATINGS_PER_CALL
        for part, size in tqdm(calls, desc=f"epoch {number + 1}", leave=False, disable=hidden):
            y = self.y[part].reshape(-1, size)
            errors.append(self.run_steps(self.x[part].reshape(*y.shape, 2), y, np.int32(now)))
            errors[-2] = float(errors[-2])  # waits: the next batches are cut while these run
            now += len(y)
        self.catch_up(np.int32(now))
        return np.sqrt(sum(map(float, errors)) / len(self.x))

    def predict(self, ratings):
        """Predict `ratings` by the present rows: float32 array of shape (n,), in stars."""
        x, size = data.inputs(ratings), data.RATINGS_PER_PREDICTION
        filled = np.pad(x, ((0, -len(x) % size), (0, 0))).reshape(-1, size, 2)
        return np.concatenate([self.predict_rows(part) for part in filled])[: len(x)]

    def _calls(self, order):
        """Cut an epoch into calls: their ratings, and the size of a batch.

        The last batch, if smaller, is a call of its own: its mean is over fewer ratings.
        """
        n_whole = len(order) // self.batch_size
        n_calls = -(-n_whole * self.batch_size // RATINGS_PER_CALL)
        steps = -(-n_whole // max(n_calls, 1))
        for start in range(0, n_whole, max(steps, 1)):
            end = min(start + steps, n_whole)
            yield order[start * self.batch_size : end * self.batch_size], self.batch_size
        rest = order[n_whole * self.batch_size :]
        if len(rest):
            yield rest, len(rest)

    @abc.abstractmethod
    def prepare(self, recipe, columns, sizes, drift):
        """Take the model's weights, with moments of zero; the rest as from `sizes_and_drift`."""

    @abc.abstractmethod
    def look_up_both_ways(self, x):
        """Predict by the rows of these ids, and by the model itself: two arrays, in stars."""

    @abc.abstractmethod
    def run_steps(self, x, y, now):
        """Train on batches, x of shape (steps, size, 2), from step `now` on.

        Returns the sum of the squared errors.
        """

    @abc.abstractmethod
    def catch_up(self, now):
        """Move all rows to where dense Adam has them before step `now`."""

    @abc.abstractmethod
    def predict_rows(self, x):
        """Predict by the present rows: x of shape (data.RATINGS_PER_PREDICTION, 2)."""

    @abc.abstractmethod
    def assign(self):
        """Give the model what was learnt."""


def sizes_and_drift(n_steps, learning_rate):
    """Step sizes of Adam, and the drift that is still to come after each step.

    Parameters
    ----------
    n_steps : int
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule

    Returns
    -------
    sizes : numpy.ndarray of float32, shape (n_steps,)
        Adam's bias-corrected step size at step t (from 0).
    drift : numpy.ndarray of float32, shape (n_steps + 1,)
        ``drift[s]``: sum over all later steps j = 1, 2, ... of
        ``sizes[s + j - 1] * FADING**j``. A row last updated as the s-th step, and left alone
        until step t, moves by ``(drift[s] - FADING**(t - s) * drift[t]) * m / sqrt(v)``.
    """
    steps = np.arange(n_steps + HORIZON, dtype="float64")
    if callable(learning_rate):
        rates = learning_rate(keras.ops.convert_to_tensor(steps, "float32"))
        learning_rate = keras.ops.convert_to_numpy(rates).astype("float64")
    sizes = learning_rate * np.sqrt(1 - BETA_2 ** (steps + 1)) / (1 - BETA_1 ** (steps + 1))
    # drift[s] = FADING * (sizes[s] + drift[s + 1])
    drift = lfilter([FADING], [1, -FADING], sizes[::-1])[::-1]
    return sizes[:n_steps].astype("float32"), drift[: n_steps + 1].astype("float32")
