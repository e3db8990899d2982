"""The bench: the bias model, plain and ours, beside other libraries: tuned alike, timed alike.

First every contestant that has settings is tuned, by one protocol (`peers.search`) and with one
budget of seconds: on each split, within its training part alone. Then all train on the training
parts, and predict the validation parts, which nobody saw. Seconds are measured on the first split,
in rounds, each contestant twice in a row: from a fresh cache folder, and with what that left.

Every run is a process of its own (`peers`). A contestant that cannot run is reported as missing,
with the reason, and the others go on; the next bench tries it again.
"""

from dataclasses import dataclass, field, replace
from functools import partial
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

from embedlens import data, experiments, metrics, provenance
from embedlens.experiments import runner, search
from embedlens.experiments.bench import ours, peers
from embedlens.experiments.claims import VALID_SHARE
from embedlens.experiments.conclusions import Conclusion
from embedlens.movielens import synthetic
from embedlens.recipes import BIAS, TUNED

ROOT = provenance.PACKAGE.parents[1]
SPLITS, REPEATS = (0, 1, 2, 3, 4), 3
BUDGET = 50  # seconds to search for, per contestant and split
OURS = "ours-tuned-jax"  # what all others are compared with
TIME_LIMIT = 1800  # seconds for one process
# What a user has set for JAX would be warm at the first start.
NOT_PASSED_ON = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
SECONDS = {
    "first_seconds": "shell, first, s",
    "second_seconds": "shell, second, s",
    "train_seconds": "fit, s",
    "compile_seconds": "compile, s",
    "predict_seconds": "predict, s",
}
MEASURES = (*SECONDS, "import_seconds", "memory_mb")


@dataclass(frozen=True)
class Contestant:
    """One way to predict ratings.

    Attributes
    ----------
    label : str
        For the table and the figure.
    settings : str or dict
        What decides the result; stored with it. Of a tuned one, the space.
    command : tuple
        What to run; the name of the contestant and the files are added.
    environment : dict of str to str
        Variables to set.
    tuned_as : str, optional
        Name of the contestant whose search gives the setting: its own, or that of the same model
        on another backend. Default: not tuned.
    looks : bool, default False
        Whether it gets the ratings of the validation part, to stop early by, as the post does.
    """

    label: str
    settings: str | dict
    command: tuple
    environment: dict = field(default_factory=dict)
    tuned_as: str | None = None
    looks: bool = False


def _ours(label, backend, **options):
    command = (sys.executable, ours.__file__)
    return Contestant(label, BIAS.settings(), command, {"KERAS_BACKEND": backend}, **options)


def _plain(label, backend):
    contestant = _ours(label, backend, looks=True)
    # Keras alone keeps no compiled programs.
    kept = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    return replace(contestant, environment=contestant.environment | kept)


def _ours_tuned(label, backend):
    return replace(_ours(label, backend, tuned_as=OURS), settings=ours.SPACE)


def _peer(label, library, settings="defaults", tuned_as=None):
    # Isolated (-I): neither our modules nor PYTHONPATH get into the peer's way.
    python = ROOT / f".venv-peers/{library}/bin/python"
    command = (str(python), "-I", peers.__file__)
    settings = peers.SPACES[tuned_as] if tuned_as else settings
    return Contestant(label, settings, command, tuned_as=tuned_as)


CONTESTANTS = {
    "keras-tensorflow": _plain("plain Keras, TensorFlow", "tensorflow"),
    "keras-jax": _plain("plain Keras, JAX", "jax"),
    "ours-tensorflow": _ours("ours, TensorFlow", "tensorflow", looks=True),
    "ours-jax": _ours("ours, JAX", "jax", looks=True),
    "ours-tuned-tensorflow": _ours_tuned("ours tuned, TensorFlow", "tensorflow"),
    "ours-tuned-jax": _ours_tuned("ours tuned, JAX", "jax"),
    "surprise-baseline": _peer("Surprise BaselineOnly", "surprise"),
    "surprise-svd": _peer("Surprise SVD", "surprise"),
    "surprise-svd-tuned": _peer("Surprise SVD, tuned", "surprise", tuned_as="surprise-svd-tuned"),
    "surprise-knn": _peer("Surprise KNNBaseline, tuned", "surprise", tuned_as="surprise-knn"),
    "lenskit-als": _peer("LensKit biased ALS, tuned", "lenskit", tuned_as="lenskit-als"),
    "fastai": _peer("fastai collab, tuned", "fastai", tuned_as="fastai"),
    "myfm": _peer("myFM, tuned", "myfm", tuned_as="myfm"),
    "myfm-svd++": _peer("myFM SVD++, tuned", "myfm", tuned_as="myfm-svd++"),
    "cmfrec": _peer("cmfrec biased ALS, tuned", "cmfrec", tuned_as="cmfrec"),
}
# On ten times the ratings, made up: each as it is by default, ours as `recipes.for_size` has it.
CARRIED = "ours-carried"
MADE_UP = {"n_ratings": 1_000_209, "seed": 0, "n_users": 6_040, "n_movies": 3_706}
ON_MADE_UP = (CARRIED, "surprise-svd", "lenskit-als", "cmfrec")
CONTESTANTS[CARRIED] = replace(_ours("ours, carried over", "jax"), settings=TUNED.settings())


def parts(budget, splits, repeats):
    """Plan the searches, a stage per split, and then the runs, a stage per round.

    Every second stage runs backwards, so that a machine that slows down, or warms up, favours
    nobody. Who is missing in a stage is not tried in later ones.

    Parameters
    ----------
    budget : float
        Seconds of each search.
    splits : tuple of int
    repeats : int
        Rounds on the first split, with two starts each; on the others, one round with one.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    names, settings = [name for name in CONTESTANTS if name != CARRIED], {}
    for split in splits:
        tuned = [name for name in names if CONTESTANTS[name].tuned_as == name]
        part = {"kind": "search", "split": split, "budget": budget}
        found = yield [{**part, "name": name} for name in tuned]
        for name, one in zip(tuned, found, strict=True):
            settings[name, split] = one.get("setting")
        gone = [name for name, one in zip(tuned, found, strict=True) if "missing" in one]
        names = [name for name in names if CONTESTANTS[name].tuned_as not in gone][::-1]
    rounds = [(splits[0], repeat, 2) for repeat in range(repeats)]
    for split, repeat, starts in [*rounds, *((split, 0, 1) for split in splits[1:])]:
        part = {"kind": "run", "split": split, "repeat": repeat, "n_starts": starts}
        stage = [
            {**part, "name": name, "setting": settings.get((CONTESTANTS[name].tuned_as, split))}
            for name in names
        ]
        found = yield stage
        present = zip(names, found, strict=True)
        names = [name for name, run in present if "missing" not in run][::-1]
    there = [name for name in ON_MADE_UP if name in {*names, CARRIED} & CONTESTANTS.keys()]
    if there:
        yield [{"kind": "made up", "name": name, "split": splits[0]} for name in there]


def write_parts(train, valid, sizes, seed, path, hidden=False):
    """Write two parts of the ratings for the contestants; `peers.read_split` reads them.

    Parameters
    ----------
    train, valid : pandas.DataFrame
        To train on, and to predict.
    sizes : tuple of int
        Numbers of users and of movies in all.
    seed : int
        Of all that a contestant draws at random.
    path : path-like
        An ``.npz`` file.
    hidden : bool, default False
        Write NaN for the ratings to predict.
    """
    arrays = {}
    for name, part in (("train", train), ("valid", valid)):
        users, movies = data.inputs(part).T
        arrays[f"{name}_users"], arrays[f"{name}_movies"] = users, movies
        arrays[f"{name}_ratings"] = data.targets(part).ravel()
    if hidden:
        arrays["valid_ratings"] = np.full_like(arrays["valid_ratings"], np.nan)
    np.savez(path, **arrays, n_users=sizes[0], n_movies=sizes[1], seed=seed)


def measure(kind, name, split, budget=None, setting=None, repeat=0, n_starts=1):
    """Search the setting of a contestant, or run it, in processes of its own.

    Parameters
    ----------
    kind : {"search", "run", "made up"}
        "made up": a run without a setting, on `MADE_UP`.
    name : str
        Key of `CONTESTANTS`.
    split : int
        Seed of `data.train_valid_split`, and of all that a contestant draws at random.
    budget : float, optional
        Of a search, in seconds.
    setting : dict, optional
        Of a run. Default: the contestant has none.
    repeat : int, default 0
        Tells runs apart that are the same otherwise.
    n_starts : int, default 1
        Of a run: how many processes, one after the other, with one cache folder that is empty
        at first.

    Returns
    -------
    dict
        Of a search, as from `peers.search`, on an inner split of the training part; it never gets
        to see the rest. Of a run: rmse of the validation part, in stars; versions, by name;
        starts: a list of dict with what `peers.main` says of each.

    Raises
    ------
    runner.MissingError
        If a process fails, or its predictions are no finite numbers, one per rating asked for.
    """
    contestant = CONTESTANTS[name]
    ratings = synthetic.generate(**MADE_UP)[0] if kind == "made up" else data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train, valid = data.train_valid_split(ratings, split)
    with tempfile.TemporaryDirectory(prefix="embedlens-") as folder:
        folder = Path(folder)
        run = partial(_in_process, contestant, name, folder)
        if kind == "search":
            inner = data.train_valid_split(train, split, search.SPLITS["inner_share"])
            write_parts(*inner, sizes, split, folder / "split.npz")
            return run("--search", str(budget))
        hidden = not contestant.looks
        write_parts(train, valid, sizes, split, folder / "split.npz", hidden)
        asked = ["--setting", json.dumps(setting or {})]
        found = [
            run(*asked, "--predictions", str(folder / "predictions.npy")) for _ in range(n_starts)
        ]
        try:
            rmse = metrics.rmse(valid["rating"], np.load(folder / "predictions.npy"))
        except (ValueError, OSError) as error:
            raise runner.MissingError(_no_result(error)) from None
    versions = [one.pop("versions") for one in found]
    return {"rmse": rmse, "versions": versions[-1], "starts": found}


def _in_process(contestant, name, folder, *options):
    """Run the contestant's command; what it says, from its last line."""
    environment = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON}
    caches = {"EMBEDLENS_CACHE": folder / "cache", "NUMBA_CACHE_DIR": folder / "cache/numba"}
    environment |= {key: str(place) for key, place in caches.items()} | contestant.environment
    call = [*contestant.command, name, "--split", str(folder / "split.npz"), *options]
    try:
        done = subprocess.run(
            [*call, "--started", repr(time.time())],
            env=environment,
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
        return json.loads(_last_line(done.stdout, None))
    except ValueError as error:
        raise runner.MissingError(_no_result(error)) from None


def summary(runs):
    """Say who is missing, and what was measured.

    Parameters
    ----------
    runs : list of dict
        Each as a part of `parts` with what `measure` gives, or with ``missing``.

    Returns
    -------
    dict
        ``missing``: why, by name; ``medians``: as from `medians`; ``rmse``: as from `rmse`.
    """
    missing = {run["name"]: run["missing"] for run in runs if "missing" in run}
    return {"missing": missing, "medians": medians(runs), "rmse": rmse(runs)}


def medians(runs):
    """Take the medians over the repetitions of each contestant, on the first split alone.

    Parameters
    ----------
    runs : list of dict
        As in `summary`.

    Returns
    -------
    dict of str to dict
        By name, of those who ran: n_runs, and the median of each of `MEASURES`, None where nothing
        was measured. first_seconds and second_seconds: from the shell to predictions, at the
        first and the second start. compile_seconds: of the first starts. All others: of all
        starts; train_seconds is fit_seconds without compile_seconds.
    """
    first_split = next((run["split"] for run in runs if run["kind"] == "run"), None)
    by_name = {}
    for run in _ran(runs):
        if run["split"] == first_split:
            by_name.setdefault(run["name"], []).append(run["starts"])
    return {
        name: {"n_runs": len(own), **{key: _median(_values(own, key)) for key in MEASURES}}
        for name, own in by_name.items()
    }


def rmse(runs):
    """Compare the RMSE of all contestants over the splits.

    The intervals are those of `metrics.mean_interval` for splits of the same ratings.

    Parameters
    ----------
    runs : list of dict
        As in `summary`.

    Returns
    -------
    dict of str to dict
        By name, of those who ran: mean, low, high, in stars, and the same of the difference to
        `OURS` on the same splits, as difference, difference_low, difference_high. None where
        there are too few splits.
    """
    by_split = _by_split(runs)
    found = {}
    for name, values in by_split.items():
        gap = (values - by_split[OURS]).dropna() if OURS in by_split else values[:0]
        found[name] = dict(zip(("mean", "low", "high"), _interval(values.dropna()), strict=True))
        keys = "difference", "difference_low", "difference_high"
        found[name] |= dict(zip(keys, _interval(gap), strict=True))
    return found


def experiment(budget=BUDGET, splits=SPLITS, repeats=REPEATS):
    """The bench with these seconds for each search, these splits and repetitions.

    Parameters
    ----------
    budget : float, default 50
    splits : tuple of int, default 0 to 4
        Seconds are measured on the first.
    repeats : int, default 3

    Returns
    -------
    runner.Experiment
        Its report says in its runs what they were: `protocol` reads it.
    """
    return runner.Experiment(
        name="bench",
        settings={
            "inner_share": search.SPLITS["inner_share"],
            "made_up": MADE_UP,
            **{name: contestant.settings for name, contestant in CONTESTANTS.items()},
        },
        parts=partial(parts, budget, splits, repeats),
        measure=measure,
        jobs=1,
        summary=lambda runs: runner.as_json(summary(runs)),
        files=tuple(sorted((ROOT / "peers").glob("*.lock"))),
    )


BENCH = experiment()


def protocol(report):
    """Say what was run: budget (seconds of each search), splits and repeats."""
    runs = report["runs"]
    return {
        "budget": max(run["budget"] for run in runs if run["kind"] == "search"),
        "splits": sorted({run["split"] for run in runs}),
        "repeats": 1 + max(run["repeat"] for run in runs if run["kind"] == "run"),
    }


def table(report):
    """Tabulate what was measured, best RMSE first; who is missing comes last, with the reason.

    Parameters
    ----------
    report : dict
        With ``runs``, as from ``BENCH.load``.

    Returns
    -------
    pandas.DataFrame
        Indexed by the contestants' labels; all cells are text. Intervals are of 95 %.
    """
    runs = report["runs"]
    found = summary(runs)
    rows = {}
    for name, errors in sorted(found["rmse"].items(), key=lambda item: item[1]["mean"]):
        seconds = found["medians"].get(name, dict.fromkeys(MEASURES))
        versions = next(run["versions"] for run in _ran(runs) if run["name"] == name)
        library, version = next(iter(versions.items()))
        difference = [errors[f"difference{end}"] for end in ("", "_low", "_high")]
        rows[CONTESTANTS[name].label] = {
            "RMSE": _with_interval(errors["mean"], errors["low"], errors["high"]),
            "minus ours": "" if name == OURS else _with_interval(*difference, sign="+"),
            **{label: _text(seconds[key], ".2f") for key, label in SECONDS.items()},
            "memory, MB": _text(seconds["memory_mb"], ".0f"),
            "version": f"{library} {version}",
            "missing because": found["missing"].get(name, ""),
        }
    for name, reason in found["missing"].items():
        rows.setdefault(CONTESTANTS[name].label, {"missing because": reason})
    columns = ["RMSE", "minus ours", *SECONDS.values(), "memory, MB", "version", "missing because"]
    shown = pd.DataFrame.from_dict(rows, orient="index", columns=columns).fillna("")
    return shown if found["missing"] else shown.drop(columns="missing because")


def on_made_up(report):
    """RMSE of the contestants on made-up ratings of ml-1m's shape: Series by label, best first."""
    runs = [run for run in report["runs"] if run["kind"] == "made up" and "missing" not in run]
    found = {CONTESTANTS[run["name"]].label: run["rmse"] for run in runs}
    return pd.Series(found, dtype="float64", name="RMSE").sort_values()


def spaces(report):
    """Tabulate what each tuned contestant could choose from, and what was tried.

    Parameters
    ----------
    report : dict
        As in `table`.

    Returns
    -------
    pandas.DataFrame
        Indexed by labels; all cells are text. trials and seconds: fewest to most of a split.
        default, recommended: on how many splits that trial was the best.
    """
    rows = {}
    for name, own in _searches(report["runs"]).items():
        space = CONTESTANTS[name].settings
        trials = [len(run["trials"]) for run in own]
        seconds = [run["seconds"] for run in own]
        best = [run["best"] for run in own]
        recommended = best.count(1) if "recommended" in space else None
        rows[CONTESTANTS[name].label] = {
            "space": ", ".join(_range(*item) for item in space["ranges"].items()),
            "recommended by": space.get("source", ""),
            "trials": f"{min(trials)} to {max(trials)}",
            "seconds": f"{min(seconds):.0f} to {max(seconds):.0f}",
            "default best": f"{best.count(0)} of {len(own)}",
            "recommended best": _text(recommended, "d") and f"{recommended} of {len(own)}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def settings(report):
    """Tabulate the settings found.

    Parameters
    ----------
    report : dict
        As in `table`.

    Returns
    -------
    pandas.DataFrame
        Indexed by label and split; all cells are text.
    """
    rows = {
        (CONTESTANTS[name].label, run["split"]): {
            "setting": ", ".join(f"{key} {_shown(v)}" for key, v in run["setting"].items()),
            "trial": f"{run['best'] + 1} of {len(run['trials'])}",
            "inner RMSE": f"{run['inner_rmse']:.4f}",
        }
        for name, own in _searches(report["runs"]).items()
        for run in own
    }
    index = pd.MultiIndex.from_tuples(rows, names=["contestant", "split"])
    return pd.DataFrame(list(rows.values()), index)


def draw(report):
    """Draw RMSE against the seconds from the shell to predictions, a point per contestant.

    The point is the second start; a thin line reaches to the first.

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
    errors = rmse(report["runs"])
    for name, measured in medians(report["runs"]).items():
        first = name.split("-")[0]
        x = measured["second_seconds"], measured["first_seconds"]
        by_kind[first if first in kinds else "peer"].append((name, *x, errors[name]["mean"]))
    figures.set_style()
    fig, ax = plt.subplots(figsize=(8.5, 5.5))
    points, labels, lines = [], [], []
    for kind, own in by_kind.items():
        if own:
            legend, marker, color = kinds[kind]
            xy = [(second, y) for _, second, _, y in own]
            ax.plot(*zip(*xy, strict=True), marker, color=color, markersize=8, label=legend)
            for _, second, first, y in own:
                ax.hlines(y, second, first, color=color, linewidth=1, alpha=0.5)
                lines.append([(min(first, second), y), (max(first, second), y)])
            points += xy
            labels += [CONTESTANTS[name].label for name, *_ in own]
    ax.set_xscale("log")
    ax.margins(x=0.2, y=0.12)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(
        xlabel="Seconds from the shell to predictions; the thin line ends at the first time (log)",
        ylabel="Validation RMSE (stars)",
    )
    ax.set_title("Lower is better, left is faster", loc="left")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    fig.tight_layout()
    _label(ax, points, labels, lines)
    return fig


def _by_split(runs):
    ran = pd.DataFrame(
        [{key: run[key] for key in ("name", "split", "rmse")} for run in _ran(runs)],
        columns=["name", "split", "rmse"],
    )
    return ran.groupby(["split", "name"])["rmse"].median().unstack()


def _ran(runs):
    return [run for run in runs if run["kind"] == "run" and "missing" not in run]


def _searches(runs):
    """The searches by name, in the order of `CONTESTANTS`, without the missing."""
    done = [run for run in runs if run["kind"] == "search" and "missing" not in run]
    by_name = {name: [run for run in done if run["name"] == name] for name in CONTESTANTS}
    return {name: own for name, own in by_name.items() if own}


def _values(runs, key):
    """Values of a measure: of the starts of these runs that it is about."""
    if key == "first_seconds":
        return [starts[0]["shell_seconds"] for starts in runs]
    if key == "second_seconds":
        return [starts[1]["shell_seconds"] for starts in runs if len(starts) > 1]
    if key == "compile_seconds":
        return [starts[0][key] for starts in runs]
    every = [start for starts in runs for start in starts]
    if key == "train_seconds":
        return [start["fit_seconds"] - (start["compile_seconds"] or 0) for start in every]
    return [start[key] for start in every]


def _median(values):
    values = [value for value in values if value is not None]
    return float(np.median(values)) if values else None


def _interval(values):
    """Mean, low and high; None where there are too few values."""
    if len(values) > 1:
        return metrics.mean_interval(values, valid_share=VALID_SHARE)
    return (float(values.iloc[0]) if len(values) else None), None, None


def _text(value, form):
    return "" if value is None else format(value, form)


def _with_interval(mean, low, high, sign=""):
    form = f"{sign}.4f"
    interval = "" if low is None else f" ({low:{form}} to {high:{form}})"
    return _text(mean, form) + interval


def _shown(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _range(name, values):
    if isinstance(values, list):
        return (
            f"{name} {_shown(values[0]) if len(values) == 1 else ' or '.join(map(_shown, values))}"
        )
    [(scale, (low, high))] = values.items()
    return f"{name} {_shown(low)} to {_shown(high)}" + (" (log)" if scale == "log" else "")


def _last_line(text, length=300):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:length] if lines else ""


def _no_result(error):
    return f"no usable result: {_last_line(str(error))}"


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


def _gain(before, after):
    return lambda report: _by_split(report["runs"]).eval(f"`{before}` - `{after}`")


def _gain_by_long_search(report):
    anchors = experiments.load("results/anchors.json")["runs"]
    long = pd.Series({run["split"]: run["rmse"] for run in anchors if run.get("reported")})
    return _by_split(report["runs"])["ours-jax"] - long


CONCLUSIONS = {
    "bench": [
        Conclusion("myfm-better", "myFM predicts better than our bias model", _gain(OURS, "myfm")),
        Conclusion(
            "myfm-svd-better",
            "myFM with SVD++ features predicts better than our bias model",
            _gain(OURS, "myfm-svd++"),
        ),
        Conclusion(
            "long-search",
            "A search of forty settings on each split ends below the post's setting",
            _gain_by_long_search,
        ),
    ]
}
