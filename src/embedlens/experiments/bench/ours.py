"""Our contestants of the bench, on the backend that KERAS_BACKEND names.

A script like `peers`, which does the work. Run as a script, it imports what training needs and
nothing of the bench.
"""

import time

import keras
import pandas as pd

from embedlens import training
from embedlens.models import PenalisedDotWithBias
from embedlens.recipes import BIAS, SCALE, TUNED, Recipe, Training, for_size

OPTIONS = ("dim", "vector_penalty", "bias_penalty", "user_dropout", "movie_dropout")


def recipe(**setting):
    """Make a recipe that never stops early of a setting: `OPTIONS` and fields of `Training`."""
    options = {name: setting.pop(name) for name in OPTIONS}
    trained_so = Training(patience=None, **setting)
    return Recipe(PenalisedDotWithBias, trained_so, **SCALE, **options)


def at_the_posts_setting(way=None):
    """Contestant that trains the post's bias model and stops early by the validation part."""

    def fit(split):
        train, valid = (_frame(part) for part in split[:2])
        return _trained(BIAS, split, train, valid, way)

    return lambda: fit


def tuned():
    """Contestant that trains at a setting, and without one as `SPACES` has it by default."""

    def fit(split, **setting):
        train = _frame(split.train)
        made = recipe(**(setting or SPACE["default"]))
        return _trained(made, split, train, None)

    return fit


def carried_over():
    """Contestant that trains `TUNED`, carried over to the number of its ratings."""

    def fit(split):
        sizes = split.n_users, split.n_movies
        made = for_size(TUNED, sizes, len(split.train.ratings))
        return _trained(made, split, _frame(split.train), None)

    return fit


def _trained(made, split, train, valid, way=None):
    sizes = split.n_users, split.n_movies
    model, _ = training.train(made, sizes, train, valid, split.seed, way)
    return lambda: training.predict(model, _frame(split.valid))


CONTESTANTS = {
    "keras-tensorflow": at_the_posts_setting("plain"),
    "keras-jax": at_the_posts_setting("plain"),
    "ours-tensorflow": at_the_posts_setting(),
    "ours-jax": at_the_posts_setting(),
    "ours-tuned-tensorflow": tuned,
    "ours-tuned-jax": tuned,
    "ours-carried": carried_over,
}
LIBRARIES = ["keras", "tensorflow", "jax", "numpy"]
VERSIONS = {"keras": LIBRARIES, "ours": LIBRARIES}
# The post's setting is the default. The setting that chapter 7 recommends is no trial: it was
# found on ratings that the other splits set aside.
SPACE = {
    "default": {
        **{"dim": 64, "user_dropout": 0.3, "movie_dropout": 0.6},
        **{"vector_penalty": 0.0, "bias_penalty": 0.0},
        **{"batch_size": 32, "learning_rate": 0.001, "falling": False, "epochs": 10},
    },
    "ranges": {
        "dim": [8, 16, 32, 64, 128],
        "user_dropout": [0.0, 0.3],
        "movie_dropout": [0.0, 0.6],
        "vector_penalty": {"log": [0.003, 0.5]},
        "bias_penalty": {"log": [0.0001, 0.05]},
        "batch_size": [256, 512, 1024],
        "learning_rate": {"log": [0.002, 0.05]},
        "falling": [True],
        "epochs": {"whole": [3, 10]},
    },
}
SPACES = {"ours-tuned-jax": SPACE}


def watch_compiling(fit, split):
    """Watch how much of a fit is tracing and compiling.

    On JAX, which reports what it compiles: the time within its reports. On TensorFlow: what a
    second fit takes, of a new model of the same size, to one batch alone.

    Parameters
    ----------
    fit : callable
        ``fit(split)`` trains.
    split : peers.Split

    Returns
    -------
    callable
        Called after all with the time that the fit ended (of ``time.perf_counter``), it gives
        seconds.
    """
    if keras.backend.backend() != "jax":
        return lambda ended: _seconds_of_one_batch(fit, split)
    from jax import monitoring

    spans = []

    def report(event, seconds, **_):
        if "/compile/" in event:
            spans.append((time.perf_counter() - seconds, time.perf_counter()))

    monitoring.register_event_duration_secs_listener(report)
    return lambda ended: covered([span for span in spans if span[1] <= ended])


def covered(spans):
    """Length of the union of spans (start, end): tracing one function may trace others."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _seconds_of_one_batch(fit, split):
    parts = (part.head(BIAS.training.batch_size) for part in split[:2])
    started = time.perf_counter()
    fit(split._replace(**dict(zip(("train", "valid"), parts, strict=True))))
    return time.perf_counter() - started


def _frame(part):
    columns = {"userIdDense": part.users, "movieIdDense": part.movies, "rating": part.ratings}
    return pd.DataFrame(columns)


if __name__ == "__main__":
    import peers  # beside this script

    peers.main()
