"""Growth: what an epoch costs, in time and memory, with more and more ratings.

Each way of training runs on each number of made-up ratings, in a process of its own.
"""

import atexit
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
import shutil
import tempfile
import time

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from embedlens import data, recipes, training
from embedlens.experiments import runner
from embedlens.experiments.bench.peers import peak_memory
from embedlens.experiments.conclusions import Conclusion
from embedlens.movielens import synthetic
from embedlens.recipes import BIAS, FEEDBACK, TUNED, Recipe

SIZES = [100_000, 1_000_000, 10_000_000, 25_000_000]
SETTINGS = {"seed": 0, "valid_share": 0.01, "most_valid": 20_000}
BUDGET = 60  # seconds for a way that would take hours
LONG = 600_000  # ratings: with fewer in an epoch, the median of several is taken
WARM_UP = 2  # calls: the first compiles


@dataclass(frozen=True)
class Way:
    """A way of training.

    Attributes
    ----------
    label : str
    backend : str
        Of Keras.
    recipe : recipes.Recipe
    training : str
        As `training.train` calls it.
    carried : bool, default False
        Carry the recipe over to the size of the ratings (`recipes.for_size`).
    """

    label: str
    backend: str
    recipe: Recipe
    training: str
    carried: bool = False


WAYS = {
    "literal": Way("plain fit, as in the post", "tensorflow", BIAS, "plain"),
    "row_wise_tensorflow": Way("row-wise, TensorFlow", "tensorflow", BIAS, "rowwise"),
    "row_wise": Way("row-wise, JAX", "jax", BIAS, "rowwise"),
    "tuned": Way("row-wise, tuned, batches of 1,024, JAX", "jax", TUNED, "rowwise"),
    "feedback": Way("feedback both ways, growing batches, JAX", "jax", FEEDBACK, "compiled", True),
}


def measure(way, size, budget):
    """Time an epoch, and see how much memory it takes, in a process of its own.

    Parameters
    ----------
    way : str
        Key of `WAYS`.
    size : int
        Number of ratings.
    budget : float
        Seconds after which Keras' `fit` is stopped, and the epoch extrapolated.

    Returns
    -------
    dict
        As from `time_epoch`.
    """
    file, backend = str(_made_up(size)), WAYS[way].backend
    return runner.in_own_process(time_epoch, way, file, budget, KERAS_BACKEND=backend)


def time_epoch(way, ratings, budget):
    """Time an epoch in this process, and see how much memory it took at most.

    Parameters
    ----------
    way : str
        Key of `WAYS`; its Keras backend must be the present one.
    ratings : path-like
        A pickled frame as from `synthetic.generate`. It is not made here: that would count.
    budget : float
        As in `measure`.

    Returns
    -------
    dict
        n_users, n_movies, n_train; seconds, steps, steps_timed; extrapolated (bool: less than
        an epoch was trained); idle_gb and peak_gb (10**9 bytes: with all libraries loaded,
        and at most).
    """
    idle, chosen = peak_memory(), WAYS[way]
    ratings = pd.read_pickle(ratings)
    sizes = data.count_users_and_movies(ratings)
    if chosen.carried:
        chosen = replace(chosen, recipe=recipes.for_size(chosen.recipe, sizes, len(ratings)))
    n_valid = min(SETTINGS["most_valid"], int(SETTINGS["valid_share"] * len(ratings)))
    parts = data.train_valid_split(ratings, SETTINGS["seed"], 1 - n_valid / len(ratings))
    del ratings
    time_it = _time_fit if chosen.training == "plain" else _time_epochs
    found = time_it(chosen, sizes, parts, budget)
    return {
        "n_users": sizes[0],
        "n_movies": sizes[1],
        "n_train": len(parts[0]),
        **found,
        "idle_gb": round(idle / 1e3, 3),
        "peak_gb": round(peak_memory() / 1e3, 3),
    }


def settings():
    """What the numbers depend on: ours and the generator's."""
    names = ["RELEASES", "LEAST", "USER_SPREAD", "TOP_SHARE", "DECLINE"]
    return {
        **SETTINGS,
        "ways": {name: way.recipe.settings() for name, way in WAYS.items()},
        **{name.lower(): getattr(synthetic, name) for name in names},
    }


GROWTH = runner.Experiment(
    name="growth",
    settings=settings(),
    parts=[{"way": way, "size": size, "budget": BUDGET} for size in SIZES for way in WAYS],
    measure=measure,
    jobs=1,
    with_data=False,
)


def runs(path):
    """Tabulate stored measurements.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame
        One row per way and size: as from `time_epoch`, and seconds_per_rating (of the training
        part, in one epoch).

    Raises
    ------
    FileNotFoundError, ValueError
        As `runner.Experiment.load`, which refuses a file that was made for something else.
    """
    found = pd.DataFrame(GROWTH.load(path)["runs"])
    return found.assign(seconds_per_rating=found["seconds"] / found["n_train"])


def update_price(report):
    """What a plain step costs for each row of the tables, all as long, by its mean over the sizes.

    Returns
    -------
    mean, low, high : float
        1, and the lowest and highest of the sizes.
    """
    runs = [run for run in report["runs"] if run["way"] == "literal"]
    rows = np.array([run["n_users"] + run["n_movies"] for run in runs])
    prices = np.array([run["seconds"] / run["steps"] for run in runs]) / rows
    prices /= prices.mean()
    return 1.0, prices.min(), prices.max()


def row_wise_gain(report):
    """How many times as long as row-wise training on JAX plain fit takes: mean, lowest, highest."""
    seconds = pd.DataFrame(report["runs"]).pivot(index="size", columns="way", values="seconds")
    times = (seconds["literal"] / seconds["row_wise"]).to_numpy()
    return times.mean(), times.min(), times.max()


# Each size was timed once: instead of an interval, these have the range over the sizes.
CONCLUSIONS = {
    "growth": [
        Conclusion(
            "growth-price",
            "a plain step costs as much for each parameter at all sizes, within a factor of two",
            update_price,
            0.5,
            2,
            unit="of the mean",
            digits=2,
        ),
        Conclusion(
            "growth-row-wise",
            "plain fit takes over ten times as long as row-wise training, at all sizes",
            row_wise_gain,
            10,
            unit="times",
            digits=0,
        ),
    ]
}


def times_linear(runs):
    """Cost per rating as a multiple of that with the fewest ratings: 1 is linear growth.

    Parameters
    ----------
    runs : pandas.DataFrame
        As from `runs`.

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
        As from `runs`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    import matplotlib.pyplot as plt

    from embedlens import figures

    ax = ax or plt.gca()
    sizes = np.array([runs["size"].min(), runs["size"].max()])
    for slope in (1, 2):
        guide = runs["seconds"].min() / 3 * (sizes / sizes[0]) ** slope
        ax.plot(sizes, guide, ":", color="0.5", zorder=1)
        place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(f"slope {slope}", (sizes[1], guide[1]), **place)
    colors = figures.POST, figures.OTHER, figures.OURS, "C3", "C4"
    for (name, way), color, marker in zip(WAYS.items(), colors, "sDo^v", strict=True):
        some = runs[runs["way"] == name].sort_values("size")
        ax.plot(some["size"], some["seconds"], color=color, marker=marker, label=way.label)
        guessed = some[some["extrapolated"]]
        ax.plot(guessed["size"], guessed["seconds"], marker, color=color, mfc="white", zorder=3)
    hollow = {"marker": "o", "color": "0.4", "mfc": "white", "linestyle": ""}
    ax.plot([], [], **hollow, label="extrapolated from a part")
    ax.set(xscale="log", yscale="log", xlabel="Ratings", ylabel="Seconds per epoch")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return ax


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


def _time_fit(way, sizes, parts, budget):
    clock = _Clock(_steps(way, parts), budget)
    options = {"way": way.training, "callbacks": [clock], "epochs": 1}
    training.train(way.recipe, sizes, *parts, SETTINGS["seed"], **options)
    return clock.found()


def _time_epochs(way, sizes, parts, budget):
    """Whole epochs, with validation, after a first that compiles; several if they are short."""
    epochs = 2 + LONG // len(parts[0])
    options = {"way": way.training, "epochs": epochs, "patience": None}
    options["progress"] = way.training == "rowwise"
    _, history = training.train(way.recipe, sizes, *parts, SETTINGS["seed"], **options)
    steps = _steps(way, parts)
    return {
        "seconds": float(history["seconds"].iloc[1:].median()),
        "steps": steps,
        "steps_timed": steps * (epochs - 1),
        "extrapolated": False,
    }


def _steps(way, parts):
    return -(-len(parts[0]) // way.recipe.training.batch_size)


@cache
def _made_up(size):
    """File of so many ratings: made once, in a process of its own, which takes memory."""
    file = _scratch() / f"{size}.pkl"
    runner.in_own_process(_make_up, size, str(file))
    return file


@cache
def _scratch():
    folder = tempfile.mkdtemp(prefix="embedlens-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _make_up(size, file):
    synthetic.generate(size, SETTINGS["seed"])[0].to_pickle(file)
