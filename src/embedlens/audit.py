"""The audit: measure every claim over many seeds, in parallel, and report.

``make reproduce`` runs it. A seed fixes split, initial weights, order of the ratings and
dropout. Finished seeds are kept, so that an interrupted audit goes on where it stopped.
"""

from functools import cache, partial
import hashlib
from pathlib import Path
import platform
import subprocess
import time

from embedlens import claims, data, factors, published, results, training
from embedlens.cache import cache_folder
from embedlens.layers import SimpleEmbedding
from embedlens.models import BiasOnly, DotWithBias, SimpleDot
import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

SETTINGS = {"dim": 64, "batch_size": 32, "epochs": 10, "patience": 2}
OPTIONS = {key: SETTINGS[key] for key in ("epochs", "batch_size", "patience")}
SYMMETRIC = {"low": -0.05, "high": 0.05}
SCALE = {"min_rating": data.LOWEST_RATING, "max_rating": data.HIGHEST_RATING}
POSTS_MODELS = {
    "simple_dot": SimpleDot,
    "bias": partial(DotWithBias, **SCALE),
    "own_layer": partial(SimpleDot, embedding=SimpleEmbedding, **SYMMETRIC),
}
OUR_MODELS = {
    "own_layer_positive": partial(SimpleDot, embedding=SimpleEmbedding),
    "simple_dot_symmetric": partial(SimpleDot, **SYMMETRIC),
    "bias_only": partial(BiasOnly, **SCALE),
}
MODELS = {**POSTS_MODELS, **OUR_MODELS}


def measure(seed):
    """Train all models on one seed and measure what the claims are about.

    Parameters
    ----------
    seed : int

    Returns
    -------
    dict of str to float
        RMSE in stars, epochs counted from 1, counts, shares, correlations, p-values.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
    """
    from embedlens import rowwise

    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train, valid = data.train_valid_split(ratings, seed)
    measures = _split_measures(train, valid)
    for name, make_model in MODELS.items():
        model, history = rowwise.train(make_model, sizes, train, valid, seed, **OPTIONS)
        measures |= {f"{name}_{key}": value for key, value in _curve_measures(history).items()}
        if name == "bias":
            measures |= vector_measures(model.movie_embedding.get_weights()[0])
    return measures | _comparisons(measures)


def measure_without_training():
    """Measure what the data and the printed tables say by themselves.

    Returns
    -------
    dict of str to float
    """
    ratings, movies = data.prepared(), _movies()
    n_users, n_movies = data.count_users_and_movies(ratings)
    printed, own = _printed()
    same_mean = (own["rating"] - printed["rating"]).abs() <= 0.005 + 1e-9  # to the last digit
    by_shift = printed_correlations()
    return {
        "n_ratings": len(ratings),
        "n_users": n_users,
        "n_movies": n_movies,
        "n_often_rated": len(factors.often_rated(movies)),
        "printed_counts_equal": int((own["n_ratings"] == printed["n_ratings"]).sum()),
        "printed_means_equal": int(same_mean.sum()),
        "printed_as_is": by_shift[0],
        "printed_as_is_p": factors.p_value(by_shift, 0),
        "printed_one_back": by_shift[1],
        "printed_one_back_p": factors.p_value(by_shift, 1),
        "printed_by_chance": np.mean(by_shift),
    }


def printed_correlations():
    """Correlate the twenty printed PC1 values with mean ratings, for every shift of the join.

    Returns
    -------
    numpy.ndarray, shape (n_movies,)
        Entry d: with the mean ratings of the movies d places before the printed ones.
    """
    printed, own = _printed()
    places = own["movieIdDense"].to_numpy() - 1
    return factors.correlation_by_shift(_movies()["rating"].to_numpy(), places, printed["PC1"])


def vector_measures(matrix):
    """Measure the movie vectors: distribution, components, both joins.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (n_movies + 1, dim)

    Returns
    -------
    dict of str to float
    """
    known = factors.often_rated(_movies())
    places = known.index.to_numpy()
    components = factors.principal_components(matrix)
    pc1 = components.scores[:, 0]
    pc1 = pc1 * factors.sign(pc1[places], known["rating"])
    correlation = factors.correlation_by_shift(pc1, places, known["rating"])
    lowest, highest = factors.found_by_shift(
        pc1,
        places,
        known["title"].isin(published.LOWEST_TEN["title"]).to_numpy(),
        known["title"].isin(published.HIGHEST_TEN["title"]).to_numpy(),
    )
    looked_at, entries = matrix[1:21], matrix[1:]  # The post looks at the first 20 movies.
    return {
        "first_20_within_half": np.mean(np.abs(looked_at) <= 0.5),
        "first_20_within_quarter": np.mean(np.abs(looked_at) <= 0.25),
        "within_quarter": np.mean(np.abs(entries) <= 0.25),
        "pc2_by_pc1": components.shares[1] / components.shares[0],
        "pc1_rating_correct": correlation[0],
        "pc1_rating_correct_p": factors.p_value(correlation, 0),
        "pc1_rating_by_chance": np.mean(correlation),
        "pc1_rating_off_by_one": correlation[1],
        "found_lowest_correct": lowest[0],
        "found_highest_correct": highest[0],
        "found_off_by_one": lowest[1] + highest[1],
        "found_off_by_one_p": factors.p_value(lowest + highest, 1),
        "found_by_chance": np.mean(lowest + highest),
    }


def _printed():
    """The twenty printed rows, and what the data say of these movies; both by title."""
    printed = pd.concat([published.LOWEST_TEN, published.HIGHEST_TEN]).set_index("title")
    return printed, _movies().reset_index().set_index("title").loc[printed.index]


def _split_measures(train, valid):
    constant = np.full(len(valid), train["rating"].mean())
    ratings = data.prepared()
    return {
        "users_unseen": int((~ratings["userIdDense"].isin(train["userIdDense"])).sum()),
        "movies_unseen": ratings["movieIdDense"].nunique() - train["movieIdDense"].nunique(),
        "constant_last": training.rmse(valid["rating"], constant),
    }


def _curve_measures(history):
    below = history["train_rmse"] < history["valid_rmse"]
    return {
        "last": history["valid_rmse"].iloc[-1],
        "best": history["valid_rmse"].min(),
        "best_epoch": int(history["valid_rmse"].idxmin()) + 1,
        "epochs": len(history),
        "crossing": int(below.idxmax()) + 1 if below.any() else len(history) + 1,
    }


def _comparisons(m):
    by_initializer = [
        m["own_layer_last"] - m["own_layer_positive_last"],
        m["simple_dot_symmetric_last"] - m["simple_dot_last"],
    ]
    by_layer = [
        m["own_layer_last"] - m["simple_dot_symmetric_last"],
        m["own_layer_positive_last"] - m["simple_dot_last"],
    ]
    return {
        "bias_gain": m["simple_dot_last"] - m["bias_last"],
        "later_crossing": m["bias_crossing"] - m["simple_dot_crossing"],
        "later_best": m["bias_best_epoch"] - m["simple_dot_best_epoch"],
        "own_minus_simple": m["own_layer_last"] - m["simple_dot_last"],
        "initializer_effect": np.mean(by_initializer),
        "layer_effect": np.max(np.abs(by_layer)),
        "bias_share": (m["constant_last"] - m["bias_only_last"])
        / (m["constant_last"] - m["bias_last"]),
    }


@cache
def _movies():
    return factors.movie_table(data.prepared())


def collect(seeds, folder, measure=measure, jobs=-1):
    """Measure every seed that is not kept yet, in parallel; keep each as it comes.

    joblib does the work, so a backend that the caller has configured is used:
    ``with joblib.parallel_config(backend="dask"): ...``. Then `jobs` is up to it.

    Parameters
    ----------
    seeds : iterable of int
    folder : path-like
        Where finished seeds are kept: one JSON file each, complete or not there.
    measure : callable
        Takes a seed, gives a dict of numbers.
    jobs : int or None, default -1
        Processes; -1 means one per core, None what the configured backend says.

    Returns
    -------
    dict of int to dict
        Measures by seed, in the order of `seeds`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = list(dict.fromkeys(seeds))
    kept = {seed: results.kept(_file(folder, seed)) for seed in seeds}
    missing = [seed for seed in seeds if kept[seed] is None]
    pool = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    measured = pool(joblib.delayed(_measured)(measure, seed) for seed in missing)
    with tqdm(total=len(seeds), initial=len(seeds) - len(missing), unit="seed") as bar:
        for seed, measures in measured:
            results.keep(_file(folder, seed), measures)
            kept[seed] = measures
            bar.update()
    return kept


def compare_with_plain_fit(seeds):
    """Train the post's models by Keras' plain `fit`, one after the other, and row-wise.

    Both get the same initial weights and batches.

    Returns
    -------
    dict
        ``plain_seconds``, ``row_wise_seconds``: all trainings of all `seeds`, in this process.
        ``largest_difference``: of the last validation RMSE, over models and seeds, in stars.
    """
    from embedlens import rowwise

    seconds, differences = {"plain": 0.0, "row_wise": 0.0}, []
    runs = [(seed, name) for seed in seeds for name in POSTS_MODELS]
    sizes = data.count_users_and_movies(data.prepared())
    for seed, name in tqdm(runs, unit="model", desc="plain fit, to compare"):
        train, valid = data.train_valid_split(data.prepared(), seed)
        started = time.perf_counter()
        _, ours = rowwise.train(MODELS[name], sizes, train, valid, seed, **OPTIONS)
        seconds["row_wise"] += time.perf_counter() - started
        started = time.perf_counter()
        training.set_seed(seed)
        plain = rowwise.plain_fit(MODELS[name](*sizes), train, valid, seed, **OPTIONS)
        seconds["plain"] += time.perf_counter() - started
        differences.append(abs(ours["valid_rmse"].iloc[-1] - plain["valid_rmse"].iloc[-1]))
    return {
        "seeds": list(seeds),
        "plain_seconds": seconds["plain"],
        "row_wise_seconds": seconds["row_wise"],
        "largest_difference": float(max(differences)),
    }


def assess_all(measures_by_seed):
    """Hold every claim against the measures of all seeds; see `claims.assess`.

    Returns
    -------
    list of claims.Assessment
    """
    trained, untrained = list(measures_by_seed.values()), [measure_without_training()]
    return [
        claims.assess(claim, untrained if claim.measure in untrained[0] else trained)
        for claim in claims.CLAIMS
    ]


def report(measures_by_seed, seconds, comparison=None):
    """Put an audit together for a JSON file.

    Parameters
    ----------
    measures_by_seed : dict of int to dict
        As from `collect`.
    seconds : float
        Wall time of the seeds that this call measured; None if some were kept from before.
    comparison : dict, optional
        As from `compare_with_plain_fit`.

    Returns
    -------
    dict
    """
    return {
        "claims": [_as_json(assessment) for assessment in assess_all(measures_by_seed)],
        "seeds": {str(seed): measures for seed, measures in measures_by_seed.items()},
        "seconds": seconds,
        "comparison": comparison,
        "provenance": {**provenance(SETTINGS), "claims": claims.digest()},
    }


def provenance(settings):
    """Say what numbers depend on: data, these settings, versions, machine, commit."""
    return {
        "data": dataset_digest(),
        "settings": settings,
        "versions": training.versions(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": joblib.cpu_count(),
        "commit": _commit(),
    }


def load(path):
    """Read a stored report, if it is about the present claims, settings and data.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        As from `report`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": dataset_digest(), "claims": claims.digest(), "settings": SETTINGS}
    return results.read(path, present, "make reproduce")


def assessments(stored):
    """Assess the measures of a stored report anew: its verdicts are never taken on trust."""
    return assess_all(stored["seeds"])


def dataset_digest():
    """SHA-256 of ratings and titles, as joined and numbered."""
    columns = ["userIdDense", "movieIdDense", "rating", "title"]
    rows = pd.util.hash_pandas_object(data.prepared()[columns], index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def default_folder():
    """Where finished seeds are kept."""
    return folder_for("audit", SETTINGS)


def folder_for(name, settings):
    """Where finished parts are kept: a folder for each state of code, data and settings."""
    key = hashlib.sha256(f"{training.fingerprint()} {dataset_digest()} {settings}".encode())
    return cache_folder() / name / key.hexdigest()[:16]


def report_on_splits(name, splits, measure, settings):
    """Measure every split as `collect` does, and put a report together.

    Parameters
    ----------
    name : str
        Of the folder for finished splits.
    splits : iterable of int
    measure : callable
        Takes a split, gives a dict of numbers.
    settings : dict
        What the numbers depend on; `load_splits` asks for the same.

    Returns
    -------
    dict
        ``runs``: a list of dict with the split and its measures; ``provenance``.
    """
    stands_for = provenance(settings)  # the code that runs, not later edits
    measured = collect(splits, folder_for(name, settings), measure)
    runs = [{"split": split, **measures} for split, measures in measured.items()]
    return {"runs": runs, "provenance": stands_for}


def load_splits(path, settings, command):
    """Read a stored report on splits, if it is about the present data and these settings.

    Parameters
    ----------
    path : path-like
    settings : dict
        As in `report_on_splits`.
    command : str
        What makes the file, for the messages.

    Returns
    -------
    pandas.DataFrame
        One row per split (index), one column per measure.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": dataset_digest(), "settings": settings}
    return pd.DataFrame(results.read(path, present, command)["runs"]).set_index("split")


def _as_json(assessment):
    claim = assessment.claim
    return {
        "id": claim.id,
        "statement": claim.statement,
        "rule": claim.rule,
        "published": claim.published,
        "values": assessment.values,
        "mean": assessment.mean,
        "sd": assessment.sd,
        "interval": assessment.interval,
        "run_interval": assessment.run_interval,
        "largest_p": assessment.largest_p,
        "chance": assessment.chance,
        "bound": [value if np.isfinite(value) else None for value in (claim.low, claim.high)],
        "in_bound": assessment.in_bound,
        "verdict": assessment.verdict,
    }


def _measured(measure, seed):
    measures = measure(seed)
    return seed, {key: round(float(value), 6) for key, value in measures.items()}


def _file(folder, seed):
    return folder / f"seed-{seed:05d}.json"


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit():
    """The commit, with a plus if the working tree differs; None outside a checkout."""
    here = Path(__file__).parent
    commands = ["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "-uno"]
    try:
        head, changes = (
            subprocess.run(c, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for c in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")
