"""The bench: train the bias model, plain and ours, beside other libraries, and time it.

Every run is a process of its own (`peers`). A contestant that cannot run is reported as missing,
with the reason, and the others go on; the next bench tries it again.
"""

from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

from embedlens import data, metrics, provenance
from embedlens.experiments import runner
from embedlens.experiments.bench import ours, peers
from embedlens.recipes import BIAS, TUNED

ROOT = provenance.PACKAGE.parents[1]
SPLITS, REPEATS = [0, 1, 2, 3, 4], 1
TIME_LIMIT = 1800  # seconds for one run
MEASURES = {
    "rmse": "RMSE",
    "train_seconds": "train, s",
    "compile_seconds": "compile, s",
    "import_seconds": "import, s",
    "predict_seconds": "predict, s",
    "memory_mb": "memory, MB",
}


@dataclass(frozen=True)
class Contestant:
    """One way to predict ratings.

    Attributes
    ----------
    label : str
        For the table and the figure.
    settings : str or dict
        What decides the result; stored with it.
    command : tuple
        What to run; the name of the contestant and the files are added.
    environment : dict of str to str
        Variables to set.
    """

    label: str
    settings: str | dict
    command: tuple
    environment: dict = field(default_factory=dict)


def _ours(label, recipe, backend):
    command = (sys.executable, peers.__file__, "--module", ours.__name__)
    # Compiling counts: nothing that an earlier process compiled is taken.
    environment = {"KERAS_BACKEND": backend, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    return Contestant(label, recipe.settings(), command, environment)


def _peer(label, settings, library):
    # Isolated (-I): neither our modules nor PYTHONPATH get into the peer's way.
    python = ROOT / f".venv-peers/{library}/bin/python"
    return Contestant(label, settings, (str(python), "-I", peers.__file__))


CONTESTANTS = {
    "keras-tensorflow": _ours("plain Keras, TensorFlow", BIAS, "tensorflow"),
    "keras-jax": _ours("plain Keras, JAX", BIAS, "jax"),
    "ours-tensorflow": _ours("ours, TensorFlow", BIAS, "tensorflow"),
    "ours-jax": _ours("ours, JAX", BIAS, "jax"),
    "ours-tuned-tensorflow": _ours("ours tuned, TensorFlow", TUNED, "tensorflow"),
    "ours-tuned-jax": _ours("ours tuned, JAX", TUNED, "jax"),
    "surprise-baseline": _peer("Surprise BaselineOnly", "defaults; cold: other bias", "surprise"),
    "surprise-svd": _peer("Surprise SVD", "defaults; cold: other bias", "surprise"),
    "surprise-svd-tuned": _peer(
        "Surprise SVD, tuned",
        "100 factors, 40 epochs, learning rate 0.01, regularisation 0.1; cold: other bias",
        "surprise",
    ),
    "surprise-knn": _peer(
        "Surprise KNNBaseline", "pearson_baseline, by items; cold: baseline", "surprise"
    ),
    "lenskit-als": _peer(
        "LensKit biased ALS", "50 features; cold: LensKit's bias model; not clipped", "lenskit"
    ),
    "fastai": _peer(
        "fastai collab",
        "50 factors, 5 epochs (one cycle, 5e-3), weight decay 0.1, batches of 64, y_range 0 to 5.5;"
        " cold: row #na#",
        "fastai",
    ),
    "myfm": _peer("myFM, rank 32", "300 draws; cold: prior; not clipped", "myfm"),
    "myfm-svd++": _peer(
        "myFM SVD++, rank 10",
        "300 draws, SVD++ features both ways; cold: prior; not clipped",
        "myfm",
    ),
}


def parts():
    """Order the runs: round by round, every second round backwards.

    So that a machine that slows down, or warms up, favours nobody. Who is missing in a round
    is not tried in later ones.

    Yields
    ------
    list of dict
        The runs of a round: name of the contestant, split and repeat (from 0).
    """
    names = list(CONTESTANTS)
    for repeat in range(REPEATS):
        for split in SPLITS:
            found = yield [{"name": name, "split": split, "repeat": repeat} for name in names]
            present = zip(names, found, strict=True)
            names = [name for name, run in present if "missing" not in run][::-1]


def write_split(ratings, split, path):
    """Write both parts of a split for the contestants; `peers.read_split` reads it.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`.
    split : int
        Seed of `data.train_valid_split`, and of all that a contestant draws at random.
    path : path-like
        An ``.npz`` file.
    """
    arrays = {}
    for name, part in zip(("train", "valid"), data.train_valid_split(ratings, split), strict=True):
        users, movies = data.inputs(part).T
        arrays[f"{name}_users"], arrays[f"{name}_movies"] = users, movies
        arrays[f"{name}_ratings"] = data.targets(part).ravel()
    n_users, n_movies = data.count_users_and_movies(ratings)
    np.savez(path, **arrays, n_users=n_users, n_movies=n_movies, seed=split)


def measure(name, split, repeat):
    """Run a contestant once, in a process of its own.

    Parameters
    ----------
    name : str
        Key of `CONTESTANTS`.
    split : int
    repeat : int
        Tells runs apart that are the same otherwise.

    Returns
    -------
    dict
        rmse: of the validation part, in stars. fit_seconds: from arrays to a trained model, in a
        process that has trained nothing before; tracing and compiling count. compile_seconds:
        as `ours.compile_seconds` says (None for the peers). import_seconds: from the start of
        the process until all is imported. predict_seconds: the validation part. memory_mb:
        peak, in millions of bytes, after prediction. versions, by name.

    Raises
    ------
    runner.MissingError
        If the run fails, or its predictions are no finite numbers, one per validation rating.
    """
    contestant = CONTESTANTS[name]
    with tempfile.TemporaryDirectory(prefix="embedlens-") as folder:
        split_file, predictions = Path(folder) / "split.npz", Path(folder) / "predictions.npy"
        write_split(data.prepared(), split, split_file)
        call = [*contestant.command, name, "--split", str(split_file)]
        call += ["--predictions", str(predictions), "--started", repr(time.time())]
        try:
            done = subprocess.run(
                call,
                env={**os.environ, **contestant.environment},
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
            )
        except OSError:
            raise runner.MissingError(_why_not_installed(contestant)) from None
        except subprocess.TimeoutExpired:
            raise runner.MissingError(f"not ready after {TIME_LIMIT} s") from None
        if done.returncode:
            raise runner.MissingError(_last_line(done.stderr) or f"exit status {done.returncode}")
        try:
            found = json.loads(_last_line(done.stdout))
            truth = peers.read_split(split_file).valid.ratings
            rmse = metrics.rmse(truth, np.load(predictions))
        except (ValueError, OSError) as error:
            message = f"no usable result: {_last_line(str(error))}"
            raise runner.MissingError(message) from None
    return {"rmse": rmse, **found}


def summary(runs):
    """Say who is missing, and the medians.

    Parameters
    ----------
    runs : list of dict
        Each with name, split and repeat, and as from `measure`, or with ``missing``.

    Returns
    -------
    dict
        ``missing``: why, by name; ``medians``: as from `medians`.
    """
    missing = {run["name"]: run["missing"] for run in runs if "missing" in run}
    return {"missing": missing, "medians": medians(runs)}


def medians(runs):
    """Take the medians over the runs of each contestant.

    Parameters
    ----------
    runs : list of dict
        As in `summary`.

    Returns
    -------
    dict of str to dict
        By name, of those who are not missing: n_runs, and the median of each of `MEASURES`, None
        where nothing was measured. train_seconds is fit_seconds without compile_seconds.
    """
    by_name = {}
    for run in runs:
        if "missing" in run:
            continue
        train_seconds = run["fit_seconds"] - (run["compile_seconds"] or 0)
        by_name.setdefault(run["name"], []).append({**run, "train_seconds": train_seconds})
    return {
        name: {"n_runs": len(own), **{key: _median(own, key) for key in MEASURES}}
        for name, own in by_name.items()
    }


BENCH = runner.Experiment(
    name="bench",
    settings={name: contestant.settings for name, contestant in CONTESTANTS.items()},
    parts=parts,
    measure=measure,
    jobs=1,
    summary=summary,
    files=tuple(sorted((ROOT / "peers").glob("*.lock"))),
)


def table(report):
    """Tabulate the medians, best RMSE first; who is missing comes last, with the reason.

    Parameters
    ----------
    report : dict
        With ``runs``, as from ``BENCH.load``.

    Returns
    -------
    pandas.DataFrame
        Indexed by the contestants' labels; all cells are text.
    """
    found = summary(report["runs"])
    missing = found["missing"]
    rows = {}
    for name, measured in sorted(found["medians"].items(), key=lambda item: item[1]["rmse"]):
        digits = {key: 4 if key == "rmse" else 0 if key == "memory_mb" else 2 for key in MEASURES}
        cells = {
            MEASURES[key]: "" if measured[key] is None else f"{measured[key]:.{digits[key]}f}"
            for key in MEASURES
        }
        library, version = next(
            item
            for run in report["runs"]
            if run["name"] == name and "versions" in run
            for item in run["versions"].items()
        )
        rows[CONTESTANTS[name].label] = {
            **cells,
            "runs": str(measured["n_runs"]),
            "version": f"{library} {version}",
            "missing because": missing.get(name, ""),
        }
    for name, reason in missing.items():
        rows.setdefault(CONTESTANTS[name].label, {"missing because": reason})
    columns = [*MEASURES.values(), "runs", "version", "missing because"]
    shown = pd.DataFrame.from_dict(rows, orient="index", columns=columns).fillna("")
    return shown if missing else shown.drop(columns="missing because")


def draw(report):
    """Draw RMSE against the seconds to train, a labelled point per contestant that ran.

    A thin line reaches to the seconds with compiling.

    Parameters
    ----------
    report : dict
        With ``runs``, as from ``BENCH.load``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    from embedlens import figures

    kinds = {
        "ours": ("ours", "o", figures.OURS),
        "keras": ("plain Keras", "D", figures.POST),
        "peer": ("other libraries", "s", figures.OTHER),
    }
    by_kind = {kind: [] for kind in kinds}
    for name, measured in medians(report["runs"]).items():
        first = name.split("-")[0]
        by_kind[first if first in kinds else "peer"].append((name, measured))
    figures.set_style()
    fig, ax = plt.subplots(figsize=(8.5, 5.5))
    points, labels, lines = [], [], []
    for kind, own in by_kind.items():
        if own:
            legend, marker, color = kinds[kind]
            xy = [(measured["train_seconds"], measured["rmse"]) for _, measured in own]
            ax.plot(*zip(*xy, strict=True), marker, color=color, markersize=8, label=legend)
            for (x, y), (_, measured) in zip(xy, own, strict=True):
                ends = [(x, y), (x + (measured["compile_seconds"] or 0), y)]
                ax.hlines(y, x, ends[1][0], color=color, linewidth=1, alpha=0.5)
                lines.append(ends)
            points += xy
            labels += [CONTESTANTS[name].label for name, _ in own]
    ax.set_xscale("log")
    ax.margins(x=0.2, y=0.12)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(
        xlabel="Seconds to train; the thin line adds compiling (log scale)",
        ylabel="Validation RMSE (stars)",
    )
    ax.set_title("Lower is better, left is faster", loc="left")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    fig.tight_layout()
    _label(ax, points, labels, lines)
    return fig


def _median(runs, key):
    values = [run[key] for run in runs if run[key] is not None]
    return round(float(np.median(values)), 6) if values else None


def _last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _why_not_installed(contestant):
    """The error in the log of the installation, which `make bench` leaves beside the folder."""
    python = Path(contestant.command[0])
    log = Path(f"{python.parents[1]}.log")
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    errors = [line for line in lines if "error" in line.lower()]
    told = errors[0].strip()[:200] if errors else "make bench installs it"
    return f"no interpreter {python.parents[1].name}/bin/python: {told}"


def _label(ax, points, labels, lines):
    """Write each label at the first place beside its point that is still free."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    fig = ax.figure
    fig.canvas.draw()
    renderer, inside = fig.canvas.get_renderer(), ax.get_window_extent()
    pixels = ax.transData.transform(points)
    taken = [Bbox([(x - 7, y - 7), (x + 7, y + 7)]) for x, y in pixels]
    taken += [Bbox(ax.transData.transform(ends)).padded(2) for ends in lines]
    leader = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4}
    for (x, y), point, text in zip(pixels, points, labels, strict=True):
        label = ax.annotate(
            text, point, (0, 0), textcoords="offset points", fontsize=9, arrowprops=leader
        )
        size = Text.get_window_extent(label, renderer)  # without the leader
        for dx, dy in _places(size.width, size.height):
            box = Bbox.from_bounds(x + dx, y + dy, size.width, size.height)
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0
            if within and box.y1 <= inside.y1 and not box.count_overlaps(taken):
                break
        label.xyann = dx * 72 / fig.dpi, dy * 72 / fig.dpi  # points: true at any resolution
        taken.append(box)


def _places(width, height, gap=10):
    """Offsets in pixels to try: right, left, above, below, then farther up and down."""
    yield from [(gap, -height / 2), (-gap - width, -height / 2)]
    for step in range(1, 12):
        for dy in (gap + (step - 1) * height, -gap - step * height):
            yield from [(-width / 2, dy), (gap, dy), (-gap - width, dy)]
