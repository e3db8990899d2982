"""Experiments: measured part by part, resumed, stored, refused if about something else."""

from collections.abc import Callable
from dataclasses import dataclass
import importlib
import inspect
import json
import os
from pathlib import Path
import subprocess
import sys
import time

import joblib
import numpy as np
from tqdm import tqdm

from embedlens import cache, provenance


class MissingError(Exception):
    """Raised by a measure that has no result for now; the message says why, in one line.

    The result is then ``{"missing": message}``. It is not kept: the next run tries again.
    """


@dataclass(frozen=True)
class Experiment:
    """Something to measure in parts, and to store.

    Attributes
    ----------
    name : str
        Of the stored file, ``book/results/NAME.json``.
    settings : dict
        What the numbers depend on, beside code and data; ready for JSON.
    parts : list of dict, or callable
        What to measure: keyword arguments of `measure`. A generator function yields lists of
        parts, stage by stage, and is sent the results of each stage as a list of dict.
    measure : callable
        ``measure(**part)`` gives a dict ready for JSON, but for NumPy's numbers. A function
        of a module, so that other processes find it.
    jobs : int, default -1
        Processes; -1: one per core. 1 for what measures seconds.
    summary : callable, optional
        Gets all runs, gives further keys of the report.
    with_data : bool, default True
        Whether it uses the embedded ratings.
    files : tuple of path-like, optional
        Further files that a finished part depends on.
    """

    name: str
    settings: dict
    parts: list | Callable
    measure: Callable
    jobs: int = -1
    summary: Callable | None = None
    with_data: bool = True
    files: tuple = ()

    @property
    def file(self):
        """The module that measures."""
        return inspect.getfile(self.measure)

    def run(self, folder=None, jobs=None):
        """Measure all parts; those that were finished before are taken from the cache.

        Parameters
        ----------
        folder : path-like, optional
            Where finished parts are kept. Default: a place in the cache folder of its own for
            each state of code, data, settings and libraries.
        jobs : int, optional
            Processes, instead of the experiment's.

        Returns
        -------
        dict
            ``runs``: a list of dict, each part with what was found; further keys as from
            `summary`; ``provenance``: what the numbers depend on, and ``seconds``: the time of
            all parts, None if some had been finished before.
        """
        stands_for = provenance.provenance(self.settings, self.file, self.with_data)
        memory = joblib.Memory(folder, verbose=0) if folder else self.memory()
        keep = memory.cache(self.measure)
        runs, started, all_new = [], time.perf_counter(), True
        with tqdm(unit="part", desc=self.name) as bar:
            for stage, answer in _stages(self.parts):
                all_new &= not any(keep.check_call_in_cache(**part) for part in stage)
                found = collect(keep, stage, self.jobs if jobs is None else jobs, bar)
                answer(found)
                runs += [{**part, **one} for part, one in zip(stage, found, strict=True)]
        seconds = round(time.perf_counter() - started, 1) if all_new else None
        report = {"runs": runs, **(self.summary(runs) if self.summary else {})}
        return {**report, "provenance": {**stands_for, "seconds": seconds}}

    def memory(self):
        """Where finished parts are kept: a place for each state of code, data and settings."""
        state = [provenance.fingerprint(self.file), self.settings]
        state += [provenance.dataset_digest()] if self.with_data else []
        state += [Path(file).read_bytes() for file in self.files]
        return cache.memory("experiments", self.name, joblib.hash(state)[:16])

    def load(self, path):
        """Read a stored report, if it is about the present data and settings.

        Parameters
        ----------
        path : path-like
            If it is not there, as for a chapter that runs outside the repository: within the
            package, which brings ``results/NAME.json`` with it.

        Returns
        -------
        dict
            As from `run`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no results, or was made for something else.
        """
        command = f"python -m embedlens run {self.name}"
        present = {"settings": json.loads(json.dumps(self.settings))}
        if self.with_data:
            present["data"] = provenance.dataset_digest()
        if not Path(path).exists():
            path = provenance.PACKAGE / path
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            found = {key: stored["provenance"][key] for key in present}
            stored["runs"][0].items()
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(
                f"{path}: not a file that {command} wrote ({error!r}); run it"
            ) from error
        other = [key for key, value in present.items() if found[key] != value]
        if other:
            raise ValueError(f"{path}: made for other {', '.join(other)}; {command} makes it anew")
        return stored


def collect(measure, parts, jobs=-1, bar=None):
    """Measure parts in parallel.

    joblib does the work, so a backend that the caller has configured is used:
    ``with joblib.parallel_config(backend="dask"): ...``. Then `jobs` is up to it (None).

    Parameters
    ----------
    measure : callable
        ``measure(**part)`` gives a dict; as from ``joblib.Memory(folder).cache(function)``, to
        keep what is finished.
    parts : list of dict
    jobs : int or None, default -1
    bar : tqdm.tqdm, optional
        To move. Default: one of its own.

    Returns
    -------
    list of dict
        What was found, in the order of `parts`; equal parts are measured once.
    """
    keys = [joblib.hash(part) for part in parts]
    todo = dict(zip(keys, parts, strict=True))
    bar = tqdm(unit="part") if bar is None else bar
    bar.total = (bar.total or 0) + len(todo)
    bar.refresh()
    pool = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    found = {}
    for key, one in pool(joblib.delayed(_measured)(measure, *item) for item in todo.items()):
        found[key] = one
        bar.update()
    return [found[key] for key in keys]


def write(report, path):
    """Write a report as JSON, a line per run, so that differences can be read."""
    runs = ",\n".join(json.dumps(run) for run in report["runs"])
    rest = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in report.items()]
    rest = [line for line in rest if not line.startswith('"runs": ')]
    text = f'{{"runs": [\n{runs}\n],\n' + ",\n".join(rest) + "}\n"
    part = Path(path).with_suffix(f".{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def in_own_process(function, *arguments, **environment):
    """Call a function in a new Python process.

    Parameters
    ----------
    function : callable
        Of a module.
    *arguments
        Ready for JSON.
    **environment : str
        Variables to set, such as KERAS_BACKEND.

    Returns
    -------
    object
        What it returns, by way of JSON.

    Raises
    ------
    RuntimeError
        If it fails. What it says on stderr is shown as it comes.
    """
    call = [function.__module__, function.__qualname__, json.dumps(arguments)]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *call],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f"{call[0]}.{call[1]}{arguments}: exit status {done.returncode} (-9: out of memory, "
            "most likely); it says why above"
        )
    return json.loads(done.stdout.splitlines()[-1])


def as_json(value):
    """Make plain numbers of NumPy's; containers likewise.

    Rounds to six decimals, or to three digits where six decimals would leave fewer.
    """
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [as_json(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        value = float(value)
        return round(value, 6) if abs(value) >= 0.001 else float(f"{value:.3g}")
    return value


def _stages(parts):
    """Yield each stage, and a function that takes its results."""
    if not callable(parts):
        yield parts, lambda found: None
        return
    plan, answers = parts(), []
    stage = next(plan, None)
    while stage is not None:
        yield stage, answers.append
        try:
            stage = plan.send(answers.pop())
        except StopIteration:
            return


def _measured(measure, key, part):
    try:
        return key, as_json(measure(**part))
    except MissingError as reason:
        return key, {"missing": str(reason)}


if __name__ == "__main__":
    module, name, given = sys.argv[1:]
    print(json.dumps(getattr(importlib.import_module(module), name)(*json.loads(given))))
