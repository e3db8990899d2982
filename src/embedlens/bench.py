"""The bench: train the bias model, plain and ours, beside other libraries, and time it.

Run ``make bench``. Every run is a process of its own (`ours`, `peers`). Finished runs are kept,
so that an interrupted bench goes on where it stopped. A contestant that cannot run is reported
as missing, with the reason, and the others go on.
"""

import argparse
from dataclasses import dataclass, field
import hashlib
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

from embedlens import audit, commands, data, figures, results, training, tuned
import matplotlib.pyplot as plt
from matplotlib.text import Text
from matplotlib.transforms import Bbox
import numpy as np
import pandas as pd
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
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
    settings : str
        What decides the result, in words; stored with it.
    command : tuple
        What to run; the name of the contestant and the files are added.
    environment : dict of str to str
        Variables to set.
    """

    label: str
    settings: str
    command: tuple
    environment: dict = field(default_factory=dict)


class MissingError(Exception):
    """A contestant cannot run; the message is the reason, in one line."""


def _ours(label, settings, backend):
    command = (sys.executable, "-m", "embedlens.ours")
    return Contestant(label, settings, command, {"KERAS_BACKEND": backend})


def _peer(label, settings, library):
    # Isolated (-I): neither our modules nor PYTHONPATH get into the peer's way.
    python = ROOT / f".venv-peers/{library}/bin/python"
    command = (str(python), "-I", str(Path(__file__).with_name("peers.py")))
    return Contestant(label, settings, command)


_POSTS = "the post's: 64 dimensions, batches of 32, at most 10 epochs, patience 2"
CONTESTANTS = {
    "keras-tensorflow": _ours("plain Keras, TensorFlow", _POSTS, "tensorflow"),
    "keras-jax": _ours("plain Keras, JAX", _POSTS, "jax"),
    "ours-tensorflow": _ours("ours, TensorFlow", _POSTS, "tensorflow"),
    "ours-jax": _ours("ours, JAX", _POSTS, "jax"),
    "ours-tuned-tensorflow": _ours("ours tuned, TensorFlow", str(tuned.SETTINGS), "tensorflow"),
    "ours-tuned-jax": _ours("ours tuned, JAX", str(tuned.SETTINGS), "jax"),
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


def schedule(names, splits, repeats):
    """Order the runs: round by round, every second round backwards.

    So that a machine that slows down, or warms up, favours nobody.

    Parameters
    ----------
    names : list of str
    splits : list of int
    repeats : int

    Returns
    -------
    list of tuple
        Name, split and repetition (from 0) of each run.
    """
    rounds = [(split, repeat) for repeat in range(repeats) for split in splits]
    return [
        (name, *one_round)
        for number, one_round in enumerate(rounds)
        for name in (reversed(names) if number % 2 else names)
    ]


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


def measure(name, contestant, split_file):
    """Run a contestant once, in a process of its own.

    Parameters
    ----------
    name : str
    contestant : Contestant
    split_file : path-like
        As from `write_split`.

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
    MissingError
        If the run fails, or its predictions are no finite numbers, one per validation rating.
    """
    with tempfile.TemporaryDirectory() as folder:
        predictions = Path(folder) / "predictions.npy"
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
            raise MissingError(_why_not_installed(contestant)) from None
        except subprocess.TimeoutExpired:
            raise MissingError(f"not ready after {TIME_LIMIT} s") from None
        if done.returncode:
            raise MissingError(_last_line(done.stderr) or f"exit status {done.returncode}")
        try:
            found = json.loads(_last_line(done.stdout))
            with np.load(split_file) as stored:
                rmse = training.rmse(stored["valid_ratings"], np.load(predictions))
        except (ValueError, OSError) as error:
            raise MissingError(f"no usable result: {_last_line(str(error))}") from None
    return {"rmse": round(rmse, 6), **found}


def bench(contestants, runs, folder, ratings):
    """Measure every run that is not kept yet; keep each as it comes.

    Parameters
    ----------
    contestants : dict of str to Contestant
    runs : list of tuple
        As from `schedule`.
    folder : path-like
        Where finished runs are kept: one JSON file each, complete or not there.
    ratings : pandas.DataFrame
        As from `data.prepare`.

    Returns
    -------
    dict
        ``runs``: a list of dict as from `measure`, with name, split and repeat. ``missing``: why,
        by name; such a contestant is not tried again. ``medians``: of its runs, by name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found, missing = [], {}
    with tempfile.TemporaryDirectory() as split_files, tqdm(runs, unit="run") as bar:
        for name, split, repeat in bar:
            bar.set_postfix_str(name)
            file = run_file(folder, name, split, repeat)
            measured = results.kept(file)
            if measured is None and name not in missing:
                split_file = Path(split_files) / f"{split}.npz"
                if not split_file.exists():
                    write_split(ratings, split, split_file)
                try:
                    measured = measure(name, contestants[name], split_file)
                except MissingError as reason:
                    missing[name] = str(reason)
                else:
                    results.keep(file, measured)
            if measured is not None:
                found.append({"name": name, "split": split, "repeat": repeat, **measured})
    return {"runs": found, "missing": missing, "medians": medians(found)}


def run_file(folder, name, split, repeat):
    """Name the file in `folder` that keeps a run."""
    return Path(folder) / f"{name}-split-{split}-repeat-{repeat}.json"


def medians(runs):
    """Take the medians over the runs of each contestant.

    Parameters
    ----------
    runs : list of dict
        As from `bench`.

    Returns
    -------
    dict of str to dict
        By name: n_runs, and the median of each of `MEASURES`, None where nothing was measured.
        train_seconds is fit_seconds without compile_seconds.
    """
    by_name = {}
    for run in runs:
        train_seconds = run["fit_seconds"] - (run["compile_seconds"] or 0)
        by_name.setdefault(run["name"], []).append({**run, "train_seconds": train_seconds})
    return {
        name: {"n_runs": len(own), **{key: _median(own, key) for key in MEASURES}}
        for name, own in by_name.items()
    }


def table(report, contestants):
    """Tabulate the medians, best RMSE first; who is missing comes last, with the reason.

    Parameters
    ----------
    report : dict
        As from `bench` or `load`.
    contestants : dict of str to Contestant

    Returns
    -------
    pandas.DataFrame
        Indexed by the contestants' labels; all cells are text.
    """
    rows = {}
    for name, measured in sorted(report["medians"].items(), key=lambda item: item[1]["rmse"]):
        digits = {key: 4 if key == "rmse" else 0 if key == "memory_mb" else 2 for key in MEASURES}
        cells = {
            MEASURES[key]: "" if measured[key] is None else f"{measured[key]:.{digits[key]}f}"
            for key in MEASURES
        }
        library, version = next(
            item
            for run in report["runs"]
            if run["name"] == name
            for item in run["versions"].items()
        )
        rows[contestants[name].label] = {
            **cells,
            "runs": str(measured["n_runs"]),
            "version": f"{library} {version}",
            "missing because": report["missing"].get(name, ""),
        }
    for name, reason in report["missing"].items():
        rows.setdefault(contestants[name].label, {"missing because": reason})
    columns = [*MEASURES.values(), "runs", "version", "missing because"]
    shown = pd.DataFrame.from_dict(rows, orient="index", columns=columns).fillna("")
    return shown if report["missing"] else shown.drop(columns="missing because")


def load(path):
    """Read a stored bench, if it is about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        As from `bench`, with ``provenance``; the medians are taken anew from the runs.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": _settings()}
    stored = results.read(path, present, "make bench")
    return {**stored, "medians": medians(stored["runs"])}


def draw(report, contestants):
    """Draw RMSE against the seconds to train, a labelled point per contestant that ran.

    A thin line reaches to the seconds with compiling.

    Parameters
    ----------
    report : dict
        As from `bench` or `load`.
    contestants : dict of str to Contestant

    Returns
    -------
    matplotlib.figure.Figure
    """
    kinds = {
        "ours": ("ours", "o", figures.OURS),
        "keras": ("plain Keras", "D", figures.POST),
        "peer": ("other libraries", "s", figures.OTHER),
    }
    by_kind = {kind: [] for kind in kinds}
    for name, measured in report["medians"].items():
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
            labels += [contestants[name].label for name, _ in own]
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


def default_folder():
    """Where finished runs are kept: a folder of its own for each state of code, data and locks."""
    locks = b"".join(file.read_bytes() for file in sorted((ROOT / "peers").glob("*.lock")))
    state = f"{training.fingerprint()} {audit.dataset_digest()} {_settings()}".encode()
    return training.cache_folder() / "bench" / hashlib.sha256(state + locks).hexdigest()[:16]


def main(arguments=None):
    """Run the bench, print its table and store it; exit status 130 if interrupted."""
    options = _parser().parse_args(arguments)
    names = [name for name in CONTESTANTS if name in (options.only or CONTESTANTS)]
    runs = schedule(names, list(dict.fromkeys(options.splits)), options.repeats)
    folder = default_folder()
    if options.fresh:
        for run in runs:
            run_file(folder, *run).unlink(missing_ok=True)
    print(f"{len(runs)} runs; finished ones are kept in {folder}")
    provenance = audit.provenance(_settings())  # of the code that runs, not of later edits
    try:
        report = bench(CONTESTANTS, runs, folder, data.prepare(data.load_movielens()))
    except KeyboardInterrupt:
        print("\nInterrupted. Finished runs are kept: the same command goes on from there.")
        return 130
    report["provenance"] = provenance
    print(table(report, CONTESTANTS).to_string(max_colwidth=80))
    if options.output:
        options.output.write_text(_as_text(report), encoding="utf-8")
        print(f"Written: {options.output}")
    if options.figure:
        fig = draw(report, CONTESTANTS)
        fig.savefig(options.figure, dpi=150, bbox_inches="tight")
        plt.close(fig)
        print(f"Written: {options.figure}")
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m embedlens.bench", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--repeats", type=commands.at_least(1), default=3, help="rounds (3)")
    parser.add_argument(
        "--splits", type=commands.at_least(0), nargs="+", default=[0], help="seeds of splits (0)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help=", ".join(CONTESTANTS)
    )
    parser.add_argument("--output", type=commands.file_to_write, help="JSON file to write")
    parser.add_argument("--figure", type=commands.file_to_write, help="PNG file to write")
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept")
    return parser


def _settings():
    return {name: contestant.settings for name, contestant in CONTESTANTS.items()}


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


def _as_text(report):
    """Write JSON with a line per run, so that a difference can be read."""
    lines = ",\n".join(json.dumps(run) for run in report["runs"])
    rest = {key: value for key, value in report.items() if key != "runs"}
    return f'{{"runs": [\n{lines}\n],\n{json.dumps(rest, indent=1)[2:]}\n'


def _label(ax, points, labels, lines):
    """Write each label at the first place beside its point that is still free."""
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


if __name__ == "__main__":
    sys.exit(main())
