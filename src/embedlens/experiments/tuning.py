"""The search that found the tuned setting of the bias model, for chapter 7.

It sees the training ratings of split 0 alone, cuts them once more, and judges each setting by
the inner validation parts. The ratings that chapter 7 reports on stay unseen.
"""

from functools import partial

import numpy as np

from embedlens import data, recipes, training
from embedlens.experiments import search
from embedlens.experiments.runner import Experiment
from embedlens.models import PenalisedDotWithBias
from embedlens.recipes import Recipe, Training

TRIALS = 80
SPACE = {
    "batch_size": [256, 512, 1024],
    "learning_rate": [0.002, 0.05],
    "epochs": [3, 10],
    "dim": [8, 16, 32, 64],
    "vector_penalty": [0.01, 0.5],
    "bias_penalty": [0.0001, 0.05],
}
OPTIONS = ("dim", "vector_penalty", "bias_penalty")  # of the model; the others: of training


def measure(setting):
    """Train at a setting within the training part of the search's split.

    Parameters
    ----------
    setting : dict
        A value for each name in `SPACE`.

    Returns
    -------
    dict
        rmse: in stars, averaged over the inner splits.
    """
    options = {name: setting[name] for name in OPTIONS}
    others = {name: value for name, value in setting.items() if name not in OPTIONS}
    trained_so = Training(patience=None, falling=True, **others)
    recipe = Recipe(PenalisedDotWithBias, trained_so, **recipes.SCALE, **options)
    sizes = data.count_users_and_movies(data.prepared())
    inner = []
    for seed, split in enumerate(search.SPLITS["inner_splits"]):
        _, history = training.train(recipe, sizes, *search.inner_part(split), seed)
        inner.append(history["valid_rmse"].iloc[-1])
    return {"rmse": np.mean(inner)}


SEARCH = Experiment(
    "tuning",
    {**search.SPLITS, "trials": TRIALS, **SPACE},
    partial(search.ask_and_tell, SPACE, TRIALS),
    measure,
    jobs=1,  # a trial after the other
)


def best(report):
    """The setting with the lowest RMSE in a stored search: a dict by the names in `SPACE`."""
    return min(report["runs"], key=lambda run: run["rmse"])["setting"]


def found():
    """What the search found, as `recipes.TUNED` has it: a dict by the names in `SPACE`."""
    settings = recipes.TUNED.settings()
    return {name: settings[name] for name in SPACE}
