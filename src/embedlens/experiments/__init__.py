"""What makes the files in ``book/results``: one experiment each.

To know them takes no import of Keras: an experiment's module is imported when it is run, or
when its file is read.
"""

from dataclasses import dataclass
import importlib
import json
from pathlib import Path

from embedlens import provenance


@dataclass(frozen=True)
class Entry:
    """Where an experiment stands.

    Attributes
    ----------
    place : str
        Module in this package and name of the `runner.Experiment` in it.
    what : str
        What it does, in a few words.
    minutes : int
        About so long on two cores.
    backend : str
        Of Keras.
    """

    place: str
    what: str
    minutes: int
    backend: str = "jax"

    @property
    def file(self):
        """Path of the module."""
        module = Path(__file__).parent / self.place.split(":")[0]
        return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


EXPERIMENTS = {
    "verdict": Entry("verdict:VERDICT", "audit every claim over 40 runs", 25),
    "sweep": Entry("sweep:SWEEP", "train the bias model over dropout and dimensions", 4),
    "tuning": Entry("tuning:SEARCH", "search a setting of the bias model", 15),
    "anchors": Entry("tuning:ANCHORS", "search the bias model's setting within each split", 15),
    "carry_over": Entry("carry_over:CARRY_OVER", "find the penalty that other data want", 5),
    "costs": Entry("costs:COSTS", "take a step apart; on paper; batch sizes", 8),
    "growth": Entry("growth:GROWTH", "epochs of up to 25 million made-up ratings", 20),
    "bench": Entry("bench:BENCH", "tune and time other libraries beside ours (make bench)", 75),
    "one_hot": Entry("one_hot:ONE_HOT", "compare embeddings with one-hot vectors", 10),
    "shapes": Entry("shapes:SHAPES", "compare movie vectors of five methods and three tasks", 15),
    "seeds": Entry("seeds:SEEDS", "train embeddings with other seeds and dimensions", 4),
    "how_low": Entry(
        "how_low:HOW_LOW", "search and measure what lowers the error, rung by rung", 50
    ),
    "canonical": Entry("canonical:CANONICAL", "ml-100k's folds u1 to u5, as papers do", 25),
    "recommendations": Entry(
        "recommendations:RECOMMENDATIONS", "lists, new users and new movies", 25
    ),
}


def get(name):
    """The `runner.Experiment` of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    module, attribute = EXPERIMENTS[name].place.split(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def load(path):
    """Read a stored report, if it is about the present data and settings.

    Parameters
    ----------
    path : path-like
        Its name says which experiment it is of.

    Returns
    -------
    dict
        ``runs``: a list of dict; ``provenance``; perhaps more.

    Raises
    ------
    FileNotFoundError, ValueError
        As `runner.Experiment.load`, which refuses a file that was made for something else.
    """
    return get(Path(path).stem).load(path)


def table(path, index=None, kind=None):
    """Tabulate the runs of a stored report.

    Parameters
    ----------
    path : path-like
        As in `load`.
    index : str or list of str, optional
        Columns that identify a run, such as ``"split"``.
    kind : str, optional
        Take the runs of this kind alone, where a report has several.

    Returns
    -------
    pandas.DataFrame
        One row per run; with `kind`, without that column.
    """
    import pandas as pd

    runs = load(path)["runs"]
    if kind is not None:
        runs = [
            {k: v for k, v in run.items() if k != "kind"} for run in runs if run["kind"] == kind
        ]
    frame = pd.DataFrame(runs)
    return frame if index is None else frame.set_index(index)


def changed_sources(name, path):
    """Say which sources have changed since a report was stored.

    Parameters
    ----------
    name : str
    path : path-like
        The stored report.

    Returns
    -------
    list of str or None
        Paths within the package; empty if it is fresh. None if there is no readable report.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))["provenance"]["sources"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    present = provenance.sources(EXPERIMENTS[name].file)
    return sorted(
        file for file in stored.keys() | present.keys() if stored.get(file) != present.get(file)
    )
