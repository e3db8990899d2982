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

`training.train` trains in this way, by the `Trainer` of `rowwise_jax` or `rowwise_tensorflow`.
"""

import keras
import numpy as np
from scipy.signal import lfilter

# The defaults of keras.optimizers.Adam, which the post uses.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
FADING = BETA_1 / BETA_2**0.5  # of a row's step, per step without a gradient
HORIZON = 400  # FADING**400 is below 1e-18
RATINGS_PER_CALL = 2**17  # an epoch is cut into calls of this size


def steps_per_call(n_steps, batch_size):
    """Steps of one call: those of an epoch, shared out evenly over as few calls as can be."""
    n_calls = -(-n_steps * batch_size // RATINGS_PER_CALL)
    return -(-n_steps // n_calls)


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


def check_lookup(model, ours, own):
    """Refuse a model whose predictions are not those of the rows that we would train.

    Raises
    ------
    RuntimeError
    """
    if not np.allclose(ours, own, rtol=1e-3, atol=1e-5):
        raise RuntimeError(
            f"{model.name}: its predictions are not those of the rows that its tables' "
            "names stand for (user_..., movie_...); train it with way='compiled'"
        )
