"""What a step costs and where its time goes, batch sizes: for chapter 7.

Seconds are medians over repetitions, each way in turn, so that a slow minute meets all ways
alike.
"""

from functools import partial
import time

import keras
from keras import ops
import numpy as np

from embedlens import data, experiments, training
from embedlens.experiments import runner
from embedlens.models import DotWithBias
from embedlens.recipes import BIAS, SCALE, Recipe

SETTINGS = {
    "recipe": BIAS.settings(),
    "repeats": 5,
    "batch_sizes": [32, 64, 128, 256, 512, 1024, 2048],
    "seeds": [0, 1, 2],
    "dims": [1, 64],
}
# Adam reads weight, two moments and gradient of each parameter, and writes the first three.
BYTES_PER_PARAMETER = 7 * 4
# To catch up a weight and its moments, 8; prediction, dropout and gradient, 8; Adam, 12.
OPERATIONS_PER_PARAMETER = 28


def measure(what, **given):
    """Measure a part of the costs, in a process of its own.

    Parameters
    ----------
    what : str
        Key of `FUNCTIONS`.
    **given
        Arguments of the function behind it.

    Returns
    -------
    dict
    """
    _, backend = FUNCTIONS[what]
    return runner.in_own_process(_measure_here, what, given, KERAS_BACKEND=backend)


def bandwidth(n_floats, seconds=0.5):
    """Measure how fast this machine moves bytes through arrays of `n_floats` float32.

    ``a + 0.5 * b`` into a new array, compiled into one loop: two arrays read, one written.

    Returns
    -------
    float
        Bytes per second; the best of all calls within `seconds`.
    """
    import jax

    add = jax.jit(lambda a, b: a + 0.5 * b)
    a = b = jax.numpy.ones(n_floats)
    add(a, b + 0.0).block_until_ready()
    b = b + 0.0
    fastest, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        add(a, b).block_until_ready()
        fastest = min(fastest, time.perf_counter() - started)
    return 3 * 4 * n_floats / fastest


def operations_per_second(seconds=0.5):
    """Measure additions and multiplications of float32 a second, on 4,096 numbers.

    Sixteen times ``a * 0.999 + 0.001``, compiled into one loop over the numbers.

    Returns
    -------
    float
        The best of all calls within `seconds`.
    """
    import jax

    rounds, steps, size = 1000, 16, 4096

    def step(_, a):
        for _ in range(steps):
            a = a * 0.999 + 0.001
        return a

    repeat = jax.jit(lambda a: jax.lax.fori_loop(0, rounds, step, a))
    a = repeat(jax.numpy.ones(size)).block_until_ready()
    fastest, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        repeat(a).block_until_ready()
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * steps * rounds * size / fastest


class Part(DotWithBias):
    """The bias model with a training step that stops early: TensorFlow backend only.

    Parameters
    ----------
    until : {"nothing", "prediction", "gradients", "update"}
        The last thing that a step does. What it found is returned, so that no compiler may
        leave it out.
    """

    def __init__(self, *args, until, **kwargs):
        super().__init__(*args, **kwargs)
        self.until = until

    def train_step(self, batch):
        import tensorflow as tf

        x, y = batch
        if self.until == "nothing":
            return {"found": ops.sum(y)}
        with tf.GradientTape() as tape:
            loss = ops.mean((self(x, training=True) - y) ** 2)
        if self.until == "prediction":
            return {"found": loss}
        gradients = tape.gradient(loss, self.trainable_variables)
        if self.until == "gradients":
            return {"found": loss + sum(ops.sum(g.values) for g in gradients)}
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"found": loss}


def profile():
    """Take the plain port apart: seconds of an epoch at the post's settings, in turn.

    Returns
    -------
    dict of str to float
        ``nothing``: an epoch whose steps do nothing, so input pipeline and dispatch;
        ``pipeline``: the same batches drawn by a bare loop; ``prediction``, ``gradients``,
        ``update``: an epoch that goes so far; ``validation``: evaluating the validation
        part; ``callbacks``: an epoch of nothing with early stopping, less one without;
        ``fit``: all of it; ``fast``: the same with XLA and 100 steps a call.
    """
    ratings = data.prepared()
    train, valid = data.train_valid_split(ratings, 0)
    x, y = data.inputs(train), data.targets(train)
    held = data.inputs(valid), data.targets(valid)

    def compiled(until, **options):
        model = Recipe(Part, **SCALE, until=until)(*data.count_users_and_movies(ratings))
        model.compile(loss="mse", optimizer="adam", **options)
        return model

    def fit(model, **options):
        model.fit(x, y, batch_size=32, verbose=0, **options)

    stopping = keras.callbacks.EarlyStopping("found", mode="min", patience=99)
    plain, fast = {"jit_compile": False}, {"jit_compile": True, "steps_per_execution": 100}
    models = {
        part: compiled(part, **plain) for part in ("nothing", "prediction", "gradients", "update")
    }
    whole, fast_whole = models["update"], compiled("update", **fast)
    ways = {name: partial(fit, model) for name, model in models.items()} | {
        "pipeline": partial(_draw_batches, x, y),
        "validation": partial(whole.evaluate, *held, batch_size=32, verbose=0),
        "nothing_and_callback": partial(fit, models["nothing"], callbacks=[stopping]),
        "fit": partial(fit, whole, validation_data=held, callbacks=[stopping]),
        "fast": partial(
            fit, fast_whole, validation_data=held, validation_batch_size=4096, callbacks=[stopping]
        ),
    }
    found = _medians(ways)
    found["callbacks"] = found.pop("nothing_and_callback") - found["nothing"]
    return found


def at_batch_size(batch_size):
    """Train the bias model at a batch size, row-wise, and time dense epochs as well.

    The learning rate grows with the root of the batch size, as Adam asks for [1]_.

    Parameters
    ----------
    batch_size : int

    Returns
    -------
    dict
        learning_rate; rmse: lowest validation RMSE of at most 10 epochs, per seed, in stars;
        seconds of an epoch: dense (Keras' plain `fit` on JAX), row_wise.

    References
    ----------
    .. [1] Malladi, Lyu, Panigrahi and Arora (2022), On the SDEs and scaling rules for
       adaptive gradient algorithms.
    """
    rate = 0.001 * (batch_size / 32) ** 0.5
    options = {"batch_size": batch_size, "learning_rate": rate}
    return {
        "learning_rate": rate,
        "rmse": [_train(seed, **options)["valid_rmse"].min() for seed in SETTINGS["seeds"]],
        "dense": _seconds("plain", **options),
        "row_wise": _seconds("rowwise", **options),
    }


def limits():
    """Say what the update of one step asks for, and what this machine gives: a guide, no bound.

    Returns
    -------
    dict
        parameters (count); bytes of a step, dense and row-wise; operations of a row-wise step;
        bandwidth in bytes per second through arrays as large as the model, and larger than any
        cache; operations per second of this machine, on arrays that lie in its cache.
    """
    n_users, n_movies = data.count_users_and_movies(data.prepared())
    parameters = (n_users + 1 + n_movies + 1) * (64 + 1)
    looked_up = 32 * 2 * (64 + 1)  # a user row and a movie row per rating, at most
    return {
        "row_wise_operations": looked_up * OPERATIONS_PER_PARAMETER,
        "operations_per_second": operations_per_second(),
        "parameters": parameters,
        "dense_bytes": parameters * BYTES_PER_PARAMETER,
        "row_wise_bytes": looked_up * BYTES_PER_PARAMETER,
        "bandwidth_model": bandwidth(parameters),
        "bandwidth_memory": bandwidth(100_000_000),
    }


def by_dim(way, dim, dropout=True):
    """Time an epoch of the bias model with vectors of this length, with or without dropout.

    With a length of 1 hardly any arithmetic is left: that epoch is what its steps cost anyway.

    Parameters
    ----------
    way : {"plain", "rowwise"}
        As in `training.train`.
    dim : int
    dropout : bool, default True
        The post's, or none.

    Returns
    -------
    dict
        seconds.
    """
    without = {} if dropout else {"user_dropout": 0.0, "movie_dropout": 0.0}
    return {"seconds": _seconds(way, BIAS.with_options(dim=dim, **without))}


FUNCTIONS = {
    "profile": (profile, "tensorflow"),
    "limits": (limits, "jax"),
    "batch_sizes": (at_batch_size, "jax"),
    "tensorflow": (by_dim, "tensorflow"),
    "jax": (by_dim, "jax"),
}
PARTS = [
    {"what": "profile"},
    {"what": "limits"},
    *({"what": "batch_sizes", "batch_size": size} for size in SETTINGS["batch_sizes"]),
    *(
        {"what": backend, "way": way, "dim": dim}
        for way in ("plain", "rowwise")
        for dim in SETTINGS["dims"]
        for backend in ("tensorflow", "jax")
    ),
    *(
        {"what": backend, "way": "rowwise", "dim": 64, "dropout": False}
        for backend in ("tensorflow", "jax")
    ),
]
COSTS = runner.Experiment("costs", SETTINGS, PARTS, measure, jobs=1)


def by_part(path):
    """Read stored costs, part by part.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        ``profile``, ``limits``: as from the functions; ``batch_sizes``: a list of
        dict, arguments included; ``by_dim``: seconds by backend, way and length of the vectors;
        ``without_dropout``: seconds of row-wise training at the post's length, by backend.

    Raises
    ------
    FileNotFoundError, ValueError
        As `runner.Experiment.load`, which refuses a file that was made for something else.
    """
    parts = {}
    for run in experiments.load(path)["runs"]:
        parts.setdefault(run.pop("what"), []).append(run)
    return {
        "profile": parts["profile"][0],
        "limits": parts["limits"][0],
        "batch_sizes": parts["batch_sizes"],
        "by_dim": {
            (backend, run["way"], run["dim"]): run["seconds"]
            for backend in ("tensorflow", "jax")
            for run in parts[backend]
            if run.get("dropout", True)
        },
        "without_dropout": {
            backend: next(r["seconds"] for r in parts[backend] if not r.get("dropout", True))
            for backend in ("tensorflow", "jax")
        },
    }


def _measure_here(what, given):
    return FUNCTIONS[what][0](**given)


def _train(seed, **options):
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    parts = data.train_valid_split(ratings, seed)
    return training.train(BIAS, sizes, *parts, seed, way="rowwise", **options)[1]


def _seconds(way, recipe=BIAS, **options):
    """Median seconds of an epoch on the training part of split 0; the first compiles."""
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train, _ = data.train_valid_split(ratings, 0)
    epochs = 1 + SETTINGS["repeats"]
    _, history = training.train(recipe, sizes, train, None, 0, way=way, epochs=epochs, **options)
    return float(history["seconds"].iloc[1:].median())


def _draw_batches(x, y):
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(32)
    for _ in batches.prefetch(tf.data.AUTOTUNE):
        pass


def _medians(ways):
    """Run each way once to compile it, then all in turn: median seconds by name."""
    for run in ways.values():
        run()
    seconds = {name: [] for name in ways}
    for _ in range(SETTINGS["repeats"]):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in seconds.items()}
