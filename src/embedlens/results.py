"""Results of longer runs: kept one by one, stored, refused if they are about something else."""

import json
import os
from pathlib import Path

import numpy as np
from scipy import stats


def read(path, present, command):
    """Read a JSON file of results whose provenance must agree with the present state.

    Parameters
    ----------
    path : path-like
    present : dict
        What the file's ``provenance`` must say, by key; other keys may differ.
    command : str
        What makes the file, for the messages.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no results, or was made for something else.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        found = {key: stored["provenance"][key] for key in present}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file that {command} wrote ({error!r}); run it") from error
    other = [key for key, value in present.items() if found[key] != value]
    if other:
        raise ValueError(f"{path}: made for other {', '.join(other)}; run {command} again")
    return stored


def keep(file, result):
    """Write one finished result as JSON: complete or not at all."""
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(result), encoding="utf-8")
    os.replace(part, file)


def kept(file):
    """Return what `keep` wrote to `file`, or None if there is nothing, or nothing whole."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def as_text(report):
    """Write a report of ``runs`` and ``provenance`` with a line per run: differences can be read.

    Parameters
    ----------
    report : dict

    Returns
    -------
    str
        JSON.
    """
    runs = ",\n".join(json.dumps(run) for run in report["runs"])
    return f'{{"runs": [\n{runs}\n],\n"provenance": {json.dumps(report["provenance"])}}}\n'


def mean_interval(values, level=0.95):
    """Mean of a few runs with its confidence interval (Student's t).

    Parameters
    ----------
    values : array-like, shape (n,)
        One value per seed or split; for a gain, the differences on the same ones.
    level : float, default 0.95

    Returns
    -------
    mean, low, high : float

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    values = np.asarray(values, dtype="float64")
    if values.size < 2:
        raise ValueError(f"an interval needs two values or more, not {values.size}")
    half = stats.t.ppf((1 + level) / 2, values.size - 1) * stats.sem(values)
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)
