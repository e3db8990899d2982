"""What a step costs and where its time goes, batch sizes, lazy updates: for chapter 7.

Run ``python -m embedlens.costs --output book/results/costs.json`` (a few minutes). Seconds
are medians over repetitions, each way in turn, so that a slow minute meets all ways alike.
"""

import argparse
from functools import cache, partial
import json
from pathlib import Path
import socket
import subprocess
import sys
import tempfile
import time

from embedlens import audit, commands, data, results
from embedlens.models import DotWithBias
import keras
from keras import ops
import numpy as np
from tqdm import tqdm

SETTINGS = {
    "repeats": 5,
    "batch_sizes": [32, 64, 128, 256, 512, 1024, 2048],
    "seeds": [0, 1, 2],
    "epochs": 10,
    "lazy_seeds": [0, 1, 2, 3, 4],
    "host_batch_sizes": [32, 1024],
}
# Adam reads weight, two moments and gradient of each parameter, and writes the first three.
BYTES_PER_PARAMETER = 7 * 4


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
        model = _bias_maker(Part, until=until)(*data.count_users_and_movies(ratings))
        model.compile(loss="mse", optimizer="adam", **options)
        return model

    def fit(model, **options):
        model.fit(x, y, batch_size=32, verbose=0, **options)

    stopping = keras.callbacks.EarlyStopping("found", mode="min", patience=99)
    plain, fast = {"jit_compile": False}, {"jit_compile": True, "steps_per_execution": 100}
    models = {
        part: compiled(part, **plain) for part in ("nothing", "prediction", "gradients", "update")
    }
    whole, fast_whole = compiled("update", **plain), compiled("update", **fast)
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


def by_batch_size():
    """Train the bias model at several batch sizes, row-wise, and time dense epochs as well.

    The learning rate grows with the root of the batch size, as Adam asks for [1]_.

    Returns
    -------
    list of dict
        batch_size, learning_rate; rmse: lowest validation RMSE of at most 10 epochs, per
        seed, in stars; seconds of an epoch: dense (Keras' plain `fit` on JAX), row_wise.

    References
    ----------
    .. [1] Malladi, Lyu, Panigrahi and Arora (2022), On the SDEs and scaling rules for
       adaptive gradient algorithms.
    """
    from embedlens import rowwise

    make_model, sizes = _bias_maker(), data.count_users_and_movies(data.prepared())
    rows = []
    for batch_size in tqdm(SETTINGS["batch_sizes"], unit="batch size"):
        rate = 0.001 * (batch_size / 32) ** 0.5
        options = {"batch_size": batch_size, "learning_rate": rate}
        lowest = []
        for seed in SETTINGS["seeds"]:
            train, valid = data.train_valid_split(data.prepared(), seed)
            _, history = rowwise.train(
                make_model, sizes, train, valid, seed, SETTINGS["epochs"], **options
            )
            lowest.append(round(history["valid_rmse"].min(), 5))
        dense = make_model(*sizes)
        dense.compile(loss="mse", optimizer=keras.optimizers.Adam(rate))
        fit = partial(dense.fit, data.inputs(train), data.targets(train), batch_size, verbose=0)
        seconds = {**_medians({"dense": fit}), "row_wise": _row_wise_seconds(train, **options)}
        rows.append({**options, "rmse": lowest, **seconds})
    return rows


def lazy():
    """Train with lazy Adam and with dense Adam's exact result: RMSE per seed, seconds.

    Returns
    -------
    dict of str to dict
        ``exact`` and ``lazy``: valid_rmse (curve of 10 epochs per seed, in stars) and
        seconds (of an epoch).
    """
    from embedlens import rowwise

    make_model, sizes = _bias_maker(), data.count_users_and_movies(data.prepared())
    splits = {s: data.train_valid_split(data.prepared(), s) for s in SETTINGS["lazy_seeds"]}
    found = {}
    for name, is_lazy in [("exact", False), ("lazy", True)]:
        found[name] = {
            "valid_rmse": [
                rowwise.train(
                    make_model, sizes, *parts, seed, SETTINGS["epochs"], patience=99, lazy=is_lazy
                )[1]["valid_rmse"]
                .round(5)
                .to_list()
                for seed, parts in splits.items()
            ]
        }
        found[name]["seconds"] = _row_wise_seconds(splits[0][0], lazy=is_lazy)
    return found


def limits():
    """Work out what the update of one step must cost at least: bytes over bandwidth.

    Returns
    -------
    dict
        parameters (count); bytes of a step, dense and row-wise; bandwidth in bytes per
        second through arrays as large as the model, and larger than any cache.
    """
    n_users, n_movies = data.count_users_and_movies(data.prepared())
    parameters = (n_users + 1 + n_movies + 1) * (64 + 1)
    looked_up = 32 * 2 * (64 + 1)  # a user row and a movie row per rating, at most
    return {
        "parameters": parameters,
        "dense_bytes": parameters * BYTES_PER_PARAMETER,
        "row_wise_bytes": looked_up * BYTES_PER_PARAMETER,
        "bandwidth_model": bandwidth(parameters),
        "bandwidth_memory": bandwidth(100_000_000),
    }


def hosts():
    """Train by `distribute` on one local process and on two: seconds of the second epoch.

    Two processes share the cores of this machine, so this shows what talking costs, not
    what a second machine would bring.

    Returns
    -------
    list of dict
        batch_size (of all hosts together), hosts, seconds.
    """
    return [
        {"batch_size": size, "hosts": n, "seconds": _distributed_seconds(n, size)}
        for size in tqdm(SETTINGS["host_batch_sizes"], unit="batch size")
        for n in (1, 2)
    ]


# Each part runs in a process of its own, on its backend.
PARTS = {
    "profile": (profile, "tensorflow"),
    "limits": (limits, "jax"),
    "batch_sizes": (by_batch_size, "jax"),
    "lazy": (lazy, "jax"),
    "hosts": (hosts, "jax"),
}


def load(path):
    """Read stored costs, if they are about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        By part: see `profile`, `limits`, `by_batch_size`, `lazy` and `hosts`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": SETTINGS}
    return results.read(path, present, "make costs")


def main(arguments=None):
    """Measure all parts and store them; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="python -m embedlens.costs", description=__doc__.splitlines()[0]
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--output", type=commands.file_to_write, help="JSON file to write")
    chosen.add_argument("--part", choices=PARTS, help="print this part alone, as JSON")
    options = parser.parse_args(arguments)
    if options.part:
        print(json.dumps(PARTS[options.part][0]()))
        return
    found = {"provenance": audit.provenance(SETTINGS)}
    for part, (_, backend) in tqdm(PARTS.items(), unit="part"):
        found[part] = commands.in_own_process(
            ["embedlens.costs", "--part", part], KERAS_BACKEND=backend
        )
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")


@cache
def _bias_maker(model=DotWithBias, **options):
    return partial(model, min_rating=data.LOWEST_RATING, max_rating=data.HIGHEST_RATING, **options)


def _distributed_seconds(n_hosts, batch_size):
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        history = Path(folder) / "history.json"
        command = [sys.executable, "-m", "embedlens.distribute", "--address", address]
        command += ["--hosts", str(n_hosts), "--batch-size", str(batch_size)]
        command += ["--output", str(history)]
        free.close()
        running = [
            subprocess.Popen([*command, "--host", str(host)], stdout=subprocess.DEVNULL)
            for host in range(n_hosts)
        ]
        if any(process.wait() for process in running):
            raise RuntimeError(f"{' '.join(command)} failed; it says why above")
        return json.loads(history.read_text())["epochs"][-1]["seconds"]


def _draw_batches(x, y):
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(32)
    for _ in batches.prefetch(tf.data.AUTOTUNE):
        pass


def _row_wise_seconds(train_ratings, **options):
    """Median seconds of an epoch; the first compiles."""
    from embedlens import rowwise

    sizes = data.count_users_and_movies(data.prepared())
    epochs = 1 + SETTINGS["repeats"]
    _, history = rowwise.train(
        _bias_maker(), sizes, train_ratings, None, 0, epochs=epochs, **options
    )
    return float(history["seconds"].iloc[1:].median())


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


if __name__ == "__main__":
    main()
