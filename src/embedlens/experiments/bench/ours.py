"""Our contestants of the bench; `peers` runs them, on the backend that KERAS_BACKEND names."""

import time

import keras
import pandas as pd

from embedlens import training
from embedlens.recipes import BIAS, TUNED


def contestant(recipe, way):
    """Make a contestant of a recipe.

    Parameters
    ----------
    recipe : recipes.Recipe
        Only if it stops early, it sees the validation part.
    way : str
        As `training.train` calls it.

    Returns
    -------
    callable
        As `peers` wants it. All is imported by then.
    """

    def fit(split):
        train, valid = (_frame(part) for part in (split.train, split.valid))
        seen = None if recipe.training.patience is None else valid
        sizes = split.n_users, split.n_movies
        model, _ = training.train(recipe, sizes, train, seen, split.seed, way)
        return lambda: training.predict(model, valid)

    return lambda: fit


CONTESTANTS = {
    "keras-tensorflow": contestant(BIAS, "plain"),
    "keras-jax": contestant(BIAS, "plain"),
    "ours-tensorflow": contestant(BIAS, "compiled"),
    "ours-jax": contestant(BIAS, "rowwise"),
    "ours-tuned-tensorflow": contestant(TUNED, "compiled"),
    "ours-tuned-jax": contestant(TUNED, "rowwise"),
}
LIBRARIES = ["keras", "tensorflow", "jax", "numpy"]
VERSIONS = {"keras": LIBRARIES, "ours": LIBRARIES}


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
    parts = (part.head(BIAS.training.batch_size) for part in (split.train, split.valid))
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


def _frame(part):
    columns = {"userIdDense": part.users, "movieIdDense": part.movies, "rating": part.ratings}
    return pd.DataFrame(columns)
