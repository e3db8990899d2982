"""Growth: what an epoch costs, in time and memory, with more and more ratings.

Run ``python -m embedlens.growth --sizes 1e5 1e6 1e7 2.5e7 --output book/results/growth.json``.
Each way of training runs on each number of made-up ratings, in a process of its own. What is
finished is kept, so that an interrupted run goes on where it stopped.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import resource
import subprocess
import sys
import tempfile
import time

from embedlens import audit, commands, data, figures, results, synthetic, training, tuned
from embedlens.models import DotWithBias
import keras
from matplotlib import pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

SIZES = [100_000, 1_000_000, 10_000_000, 25_000_000]
SETTINGS = {"dim": 64, "batch_size": 32, "seed": 0, "valid_share": 0.01, "most_valid": 20_000}
BUDGET = 60  # seconds for a way that would take hours
LONG = 600_000  # ratings: with fewer in an epoch, the median of several is taken
WARM_UP = 2  # calls: the first compiles
COLORS, MARKERS = (figures.POST, figures.OTHER, figures.OURS, "C3"), "sDo^"


@dataclass(frozen=True)
class Way:
    """A way of training.

    Attributes
    ----------
    label : str
    backend : str
        Of Keras.
    time_epoch : callable
        Takes training ratings, validation ratings, (n_users, n_movies) and a budget in
        seconds; gives a dict with ``seconds`` per epoch, ``steps`` of an epoch and
        ``steps_timed``.
    """

    label: str
    backend: str
    time_epoch: Callable


WAYS = {
    "literal": Way(
        "plain fit, as in the post",
        "tensorflow",
        lambda *given: _time_fit(*given, fast=False),
    ),
    "fast": Way(
        "fit with XLA, 100 steps per call",
        "tensorflow",
        lambda *given: _time_fit(*given, fast=True),
    ),
    "row_wise": Way(
        "row-wise, batches of 32",
        "jax",
        lambda *given: _time_row_wise(*given),
    ),
    "tuned": Way(
        "row-wise, tuned setting, batches of 1,024", "jax", lambda *given: _time_tuned(*given)
    ),
}


def collect(sizes, ways, folder, budget=BUDGET, measure=None):
    """Measure every way with every number of ratings that is not kept yet; keep each as it comes.

    Parameters
    ----------
    sizes : iterable of int
        Numbers of ratings.
    ways : iterable of str
        Keys of `WAYS`.
    folder : path-like
        Where finished measurements are kept: one JSON file each, complete or not there.
    budget : float, default 60
        Seconds after which Keras' `fit` is stopped, and the epoch extrapolated.
    measure : callable, optional
        Takes way, size, budget and a folder for scratch files, gives a dict. Default: `measure`
        in a process of its own.

    Returns
    -------
    list of dict
        By size, then way: what `measure` gives, with ``way``, ``size``, and ``budget``.
    """
    measure = measure or _in_own_process
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    runs = [{"way": way, "size": size, "budget": budget} for size in sizes for way in ways]
    files = [folder / "{way}-{size}-{budget:g}.json".format(**run) for run in runs]
    with (
        tempfile.TemporaryDirectory(prefix="embedlens-") as scratch,
        tqdm(total=len(runs), unit="measurement") as bar,
    ):
        for run, file in zip(runs, files, strict=True):
            bar.set_description(f"{run['way']}, {run['size']:,} ratings")
            found = results.kept(file)
            if found is None:
                found = measure(run["way"], run["size"], budget, scratch)
                results.keep(file, found)
            run.update(found)
            bar.update()
    return runs


def measure(way, ratings, budget):
    """Time an epoch in this process, and see how much memory it took at most.

    Parameters
    ----------
    way : str
        Key of `WAYS`; its Keras backend must be the present one.
    ratings : path-like
        A pickled frame as from `synthetic.generate`. It is not made here: that would count.
    budget : float
        As in `collect`.

    Returns
    -------
    dict
        n_users, n_movies, n_train; seconds, steps, steps_timed; extrapolated (bool: less than
        an epoch was trained); idle_gb and peak_gb (10**9 bytes: with all libraries loaded,
        and at most).
    """
    idle = _peak_memory()
    ratings = pd.read_pickle(ratings)
    sizes = data.count_users_and_movies(ratings)
    n_valid = min(SETTINGS["most_valid"], int(SETTINGS["valid_share"] * len(ratings)))
    share = 1 - n_valid / len(ratings)
    train, valid = data.train_valid_split(ratings, SETTINGS["seed"], share)
    del ratings
    training.set_seed(SETTINGS["seed"])
    found = WAYS[way].time_epoch(train, valid, sizes, budget)
    return {
        "n_users": sizes[0],
        "n_movies": sizes[1],
        "n_train": len(train),
        **found,
        "idle_gb": round(idle, 3),
        "peak_gb": round(_peak_memory(), 3),
    }


def load(path):
    """Read stored measurements, if they were made with the present settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame
        One row per way and size: as from `collect`, and seconds_per_rating (of the training
        part, in one epoch).

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    stored = results.read(path, {"settings": _all_settings()}, "make growth")
    runs = pd.DataFrame(stored["runs"])
    runs["seconds_per_rating"] = runs["seconds"] / runs["n_train"]
    return runs


def times_linear(runs):
    """Cost per rating as a multiple of that with the fewest ratings: 1 is linear growth.

    Parameters
    ----------
    runs : pandas.DataFrame
        As from `load`.

    Returns
    -------
    pandas.DataFrame
        A row per size, a column per way; each way is compared with its smallest size.
    """
    cost = runs.pivot(index="size", columns="way", values="seconds_per_rating").sort_index()
    return cost / cost.bfill().iloc[0]


def draw(runs, ax=None):
    """Draw the time of an epoch against the number of ratings, both in logarithms.

    Parameters
    ----------
    runs : pandas.DataFrame
        As from `load`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = ax or plt.gca()
    sizes = np.array([runs["size"].min(), runs["size"].max()])
    for slope in (1, 2):
        guide = runs["seconds"].min() / 3 * (sizes / sizes[0]) ** slope
        ax.plot(sizes, guide, ":", color="0.5", zorder=1)
        place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(f"slope {slope}", (sizes[1], guide[1]), **place)
    for (way, marker), color in zip(zip(WAYS, MARKERS, strict=False), COLORS, strict=False):
        some = runs[runs["way"] == way].sort_values("size")
        ax.plot(some["size"], some["seconds"], color=color, marker=marker, label=WAYS[way].label)
        guessed = some[some["extrapolated"]]
        ax.plot(guessed["size"], guessed["seconds"], marker, color=color, mfc="white", zorder=3)
    hollow = {"marker": "o", "color": "0.4", "mfc": "white", "linestyle": ""}
    ax.plot([], [], **hollow, label="extrapolated from a part")
    ax.set(xscale="log", yscale="log", xlabel="Ratings", ylabel="Seconds per epoch")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return ax


def main(arguments=None):
    """Measure and store; exit status 130 if interrupted. See the module's text."""
    parser = argparse.ArgumentParser(
        prog="python -m embedlens.growth", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--sizes", type=_number_of_ratings, nargs="+", default=SIZES, help="numbers of ratings"
    )
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS), help="(all)")
    parser.add_argument(
        "--budget", type=float, default=BUDGET, help="seconds for each use of Keras' fit (60)"
    )
    parser.add_argument(
        "--output", type=commands.file_to_write, required=True, help="JSON file to write"
    )
    parser.add_argument("--folder", type=Path, help="where finished measurements are kept")
    options = parser.parse_args(arguments)
    folder = options.folder or _default_folder()
    provenance = _provenance()  # of the code that runs, not of later edits
    print(f"Finished measurements are kept in {folder}")
    try:
        runs = collect(options.sizes, options.ways, folder, options.budget)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from the finished measurements.")
        return 130
    report = {"runs": runs, "provenance": provenance}
    options.output.write_text(results.as_text(report), encoding="utf-8")
    print(times_linear(load(options.output)).round(2).to_string())
    print(f"Written: {options.output}")
    return 0


class _Clock(keras.callbacks.Callback):
    """Times the steps of `fit` after a warm-up, and ends it when the budget is spent."""

    def __init__(self, n_steps, budget):
        super().__init__()
        self.n_steps, self.budget = n_steps, budget
        self.bar = tqdm(total=n_steps, unit="step", leave=False)
        self.calls = []  # steps done, time
        self.stopped = False

    def on_train_batch_end(self, batch, logs=None):
        done = batch + 1
        if done > self.n_steps:
            return  # a last call with fewer steps, compiled for itself
        self.calls.append((done, time.perf_counter()))
        self.bar.update(done - self.bar.n)
        if (
            len(self.calls) > WARM_UP
            and self.calls[-1][1] - self.calls[WARM_UP - 1][1] > self.budget
        ):
            self.stopped = self.model.stop_training = True

    def found(self):
        self.bar.close()
        if len(self.calls) <= WARM_UP:
            raise ValueError("too few ratings to time a step after the warm-up")
        (first, started), (last, ended) = self.calls[WARM_UP - 1], self.calls[-1]
        return {
            "seconds": (ended - started) / (last - first) * self.n_steps,
            "steps": self.n_steps,
            "steps_timed": last - first,
            "extrapolated": self.stopped,
        }


def _time_fit(train, valid, sizes, budget, fast):
    batch_size = SETTINGS["batch_size"]
    clock = _Clock(-(-len(train) // batch_size), budget)
    model = _make_model(*sizes)
    training.train(model, train, valid, 1, batch_size, fast=fast, callbacks=[clock])
    return clock.found()


def _time_row_wise(train, valid, sizes, budget):
    return _time_epochs(_make_model, sizes, train, valid, SETTINGS["batch_size"])


def _time_tuned(train, valid, sizes, budget):
    found = tuned.SETTINGS
    make_model = tuned.maker(found["dim"], found["vector_penalty"], found["bias_penalty"])
    return _time_epochs(make_model, sizes, train, valid, found["batch_size"])


def _time_epochs(make_model, sizes, train, valid, batch_size):
    """Whole epochs, with validation, after a first that compiles; several if they are short."""
    from embedlens import rowwise

    epochs = 2 + LONG // len(train)
    options = {"epochs": epochs, "patience": epochs, "batch_size": batch_size, "progress": True}
    _, history = rowwise.train(make_model, sizes, train, valid, SETTINGS["seed"], **options)
    steps = -(-len(train) // batch_size)
    return {
        "seconds": float(history["seconds"].iloc[1:].median()),
        "steps": steps,
        "steps_timed": steps * (epochs - 1),
        "extrapolated": False,
    }


def _make_model(n_users, n_movies):
    return DotWithBias(
        n_users, n_movies, data.LOWEST_RATING, data.HIGHEST_RATING, dim=SETTINGS["dim"]
    )


GENERATE = """
import sys
from embedlens import synthetic
synthetic.generate(int(sys.argv[1]), int(sys.argv[2]))[0].to_pickle(sys.argv[3])
"""
MEASURE = """
import json, sys
from embedlens import growth
print(json.dumps(growth.measure(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
"""


def _in_own_process(way, size, budget, scratch):
    ratings = Path(scratch) / f"{size}.pkl"
    if not ratings.exists():
        _python(GENERATE, size, SETTINGS["seed"], ratings)
    printed = _python(MEASURE, way, ratings, budget, KERAS_BACKEND=WAYS[way].backend)
    return json.loads(printed.splitlines()[-1])


def _python(code, *arguments, **environment):
    """Run `code`, with its progress bar on our screen, and return what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RuntimeError(
            f"exit status {done.returncode} (-9: out of memory, most likely) with "
            f"{', '.join(map(str, arguments))}; its message stands above. What was finished before "
            "is kept; leave this out with --sizes or --ways"
        )
    return done.stdout


def _peak_memory():
    """In 10**9 bytes; of this process alone."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def _number_of_ratings(text):
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number.is_integer() and number >= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1e4 on")
    return int(number)


def _all_settings():
    """Ours and the generator's, as they come out of JSON."""
    names = ["RELEASES", "LEAST", "USER_SPREAD", "TOP_SHARE", "DECLINE"]
    return {
        **SETTINGS,
        "tuned": tuned.SETTINGS,
        **{name.lower(): getattr(synthetic, name) for name in names},
    }


def _provenance():
    found = audit.provenance(_all_settings())
    del found["data"]  # the data are made up
    return found


def _default_folder():
    """A folder of its own for each state of code and machine."""
    present = [training.fingerprint(), _provenance()]
    del present[1]["commit"]
    key = hashlib.sha256(repr(present).encode()).hexdigest()
    return training.cache_folder() / "growth" / key[:16]


if __name__ == "__main__":
    sys.exit(main())
