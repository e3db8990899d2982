"""Our side of the bench: one run of one contestant, in a process of its own; see `peers`.

``python -m embedlens.ours NAME ...``, on the backend that KERAS_BACKEND names.
"""

import time

from embedlens import data, peers, training, tuned
from embedlens.models import DotWithBias
import keras
import pandas as pd

BATCH_SIZE = 32


def contestant(train):
    """Make a contestant of a function that trains the bias model.

    Parameters
    ----------
    train : callable
        Gets a function that makes the model for numbers of users and movies, both numbers, both
        parts as from `data.train_valid_split`, and the seed; gives the trained model.

    Returns
    -------
    callable
        As `peers` wants it. All is imported by then.
    """

    def fit(split):
        ratings = [_frame(part) for part in (split.train, split.valid)]
        model = train(_bias_model, (split.n_users, split.n_movies), *ratings, split.seed)
        return lambda: training.predict(model, ratings[1])

    return lambda: fit


def literal_port(make, sizes, train, valid, seed):
    """The post's code in Python: Keras' plain `fit`, on TensorFlow."""
    training.set_seed(seed)
    model = make(*sizes)
    training.train(model, train, valid, fast=False)
    return model


def literal_port_on_jax(make, sizes, train, valid, seed):
    """Keras' plain `fit` on JAX, compiled: without, Keras would run JAX step by step."""
    from embedlens import rowwise

    training.set_seed(seed)
    model = make(*sizes)
    rowwise.plain_fit(model, train, valid, seed, batch_size=BATCH_SIZE)
    return model


def fast(make, sizes, train, valid, seed):
    """Ours at the post's settings, on any backend of Keras."""
    training.set_seed(seed)
    model = make(*sizes)
    training.train(model, train, valid)
    return model


def row_wise(make, sizes, train, valid, seed):
    """Ours at the post's settings, on JAX."""
    from embedlens import rowwise

    return rowwise.train(make, sizes, train, valid, seed, batch_size=BATCH_SIZE)[0]


def tuned_setting(make, sizes, train, valid, seed):
    """Ours at the tuned setting, on any backend of Keras; it does not look at `valid`."""
    return tuned.train(sizes, train, seed)[0]


CONTESTANTS = {
    "keras-tensorflow": contestant(literal_port),
    "keras-jax": contestant(literal_port_on_jax),
    "ours-tensorflow": contestant(fast),
    "ours-jax": contestant(row_wise),
    "ours-tuned-tensorflow": contestant(tuned_setting),
    "ours-tuned-jax": contestant(tuned_setting),
}
LIBRARIES = ["keras", "tensorflow", "jax", "numpy"]


def compile_seconds(fit, split, run):
    """Run a fit and say how much of it was tracing and compiling.

    On JAX, which reports what it compiles: the time within its reports. On TensorFlow: what a
    second fit takes, of a new model of the same size, to one batch alone.

    Parameters
    ----------
    fit : callable
        As from `contestant`.
    split : peers.Split
    run : callable
        Runs ``fit(split)``.

    Returns
    -------
    float
    """
    if keras.backend.backend() == "jax":
        from jax import monitoring

        spans = []

        def report(event, seconds, **_):
            if "/compile/" in event:
                spans.append((time.perf_counter() - seconds, time.perf_counter()))

        monitoring.register_event_duration_secs_listener(report)
        run()
        return covered(spans)
    run()
    parts = (part.head(BATCH_SIZE) for part in (split.train, split.valid))
    started = time.perf_counter()
    fit(split._replace(**dict(zip(("train", "valid"), parts, strict=True))))
    return time.perf_counter() - started


def covered(spans):
    """Length of the union of spans (start, end): tracing one function may trace others."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _bias_model(n_users, n_movies):
    return DotWithBias(n_users, n_movies, data.LOWEST_RATING, data.HIGHEST_RATING)


def _frame(part):
    columns = {"userIdDense": part.users, "movieIdDense": part.movies, "rating": part.ratings}
    return pd.DataFrame(columns)


if __name__ == "__main__":
    versions = dict.fromkeys(["keras", "ours"], LIBRARIES)
    peers.main(contestants=CONTESTANTS, versions=versions, compiling=compile_seconds)
