"""The verdict: measure every claim over many seeds, and plain `fit` to compare with.

``python -m embedlens reproduce`` runs it. A seed fixes split, initial weights, order of the
ratings and dropout.
"""

from functools import cache, partial
import time

import numpy as np
import pandas as pd

from embedlens import data, factors, metrics, published, recipes, training
from embedlens.experiments import claims, runner
from embedlens.models import SimpleDot, SimpleEmbedding
from embedlens.recipes import Recipe

POSTS_RECIPES = {
    "simple_dot": recipes.SIMPLE_DOT,
    "bias": recipes.BIAS,
    "own_layer": recipes.OWN_LAYER,
}
OUR_RECIPES = {
    "own_layer_positive": Recipe(SimpleDot, embedding=SimpleEmbedding),
    "simple_dot_symmetric": Recipe(SimpleDot, low=-0.05, high=0.05),
    "bias_only": recipes.BIAS_ONLY,
}
RECIPES = {**POSTS_RECIPES, **OUR_RECIPES}


def experiment(seeds=20, plain=2):
    """The experiment for so many seeds.

    Parameters
    ----------
    seeds : int, default 20
    plain : int, default 2
        The first so many are trained by Keras' plain `fit` too, when all seeds are done.

    Returns
    -------
    runner.Experiment
        Its results are about the present claims alone.
    """
    settings = {name: recipe.settings() for name, recipe in RECIPES.items()}
    return runner.Experiment(
        "verdict",
        {"recipes": settings, "claims": claims.digest()},
        partial(_parts, seeds, plain),
        measure,
        summary=lambda runs: {"claims": [_as_json(a) for a in assessments({"runs": runs})]},
    )


def measure(seed=None, compared=None):
    """Measure a seed, or compare row-wise training with plain `fit` on several.

    Parameters
    ----------
    seed : int, optional
    compared : list of int, optional
        Seeds.

    Returns
    -------
    dict of str to float
        For a seed, what the claims are about: RMSE in stars, epochs counted from 1, counts,
        shares, correlations, p-values. Else as from `compare`.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
    """
    if compared is not None:  # in a process where nothing is compiled yet
        return runner.in_own_process(compare, compared, KERAS_BACKEND="jax")
    return _measured(seed)


def compare(seeds):
    """Train the post's models row-wise and by Keras' plain `fit`, one after the other.

    Both get the same initial weights and batches.

    Parameters
    ----------
    seeds : list of int

    Returns
    -------
    dict of str to float
        ``plain_seconds``, ``row_wise_seconds``: all trainings of all seeds.
        ``largest_difference``: of the last validation RMSE, over models and seeds, in stars.
    """
    seconds, differences = {"plain": 0.0, "rowwise": 0.0}, []
    for seed in seeds:
        sizes, train, valid = _split(seed)
        for recipe in POSTS_RECIPES.values():
            last = {}
            for way in seconds:
                started = time.perf_counter()
                _, history = training.train(recipe, sizes, train, valid, seed, way=way)
                seconds[way] += time.perf_counter() - started
                last[way] = history["valid_rmse"].iloc[-1]
            differences.append(abs(last["plain"] - last["rowwise"]))
    return {
        "plain_seconds": seconds["plain"],
        "row_wise_seconds": seconds["rowwise"],
        "largest_difference": float(max(differences)),
    }


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
        "n_often_rated": len(data.often_rated(movies)),
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
    known = data.often_rated(_movies())
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


def by_seed(report):
    """Tabulate the measures of a report: one row per seed (index).

    Parameters
    ----------
    report : dict
        As from `runner.Experiment.run` or `load`.

    Returns
    -------
    pandas.DataFrame
    """
    return pd.DataFrame([run for run in report["runs"] if "seed" in run]).set_index("seed")


def assessments(report):
    """Assess the measures of a report anew: stored verdicts are never taken on trust.

    Returns
    -------
    list of claims.Assessment
        In the order of `claims.CLAIMS`.
    """
    trained, untrained = by_seed(report).to_dict("records"), [measure_without_training()]
    return [
        claims.assess(claim, untrained if claim.measure in untrained[0] else trained)
        for claim in claims.CLAIMS
    ]


def comparison(report):
    """What `compare` found, and the seeds as ``compared``; None if it was not asked."""
    return next((run for run in report["runs"] if "compared" in run), None)


def seconds_of_seeds(report):
    """Wall time of all seeds, without the comparison; None if some were kept from before."""
    total, compared = report["provenance"]["seconds"], comparison(report)
    if total is None or compared is None:
        return total
    return total - compared["plain_seconds"] - compared["row_wise_seconds"]


def table(assessments):
    """Tabulate assessments: published value, mean and spread of ours, verdict.

    Parameters
    ----------
    assessments : list of claims.Assessment

    Returns
    -------
    pandas.DataFrame
        Indexed by the claims' ids; all cells are text.
    """
    rows = []
    for a in assessments:
        low, high = (a.claim.text(end) for end in a.run_interval)
        rows.append(
            {
                "claim": a.claim.statement,
                "the post": a.claim.published_text(),
                "ours": a.claim.text(a.mean),
                "one run, 95 %": "" if a.sd == 0 else f"{low} to {high}",
                "verdict": a.verdict,
            }
        )
    return pd.DataFrame(rows, index=[a.claim.id for a in assessments])


def as_text(report):
    """The verdicts of a report, its speed and what is out of bound, for a terminal: a string."""
    parts = [
        table(assessments(report)).to_string(max_colwidth=60),
        *_speed(report),
        *out_of_bound(report),
    ]
    return "\n".join(parts)


def out_of_bound(report):
    """Name each claim whose mean leaves its bound: a list of lines, best empty."""
    return [
        f"Out of its bound of {a.claim.low:g} to {a.claim.high:g} ({a.claim.why}): {a.claim.id}"
        for a in assessments(report)
        if not a.in_bound
    ]


def _parts(n_seeds, n_plain):
    yield [{"seed": seed} for seed in range(n_seeds)]
    if n_plain:
        yield [{"compared": list(range(min(n_plain, n_seeds)))}]


def _measured(seed):
    sizes, train, valid = _split(seed)
    measures = _split_measures(train, valid)
    for name, recipe in RECIPES.items():
        model, history = training.train(recipe, sizes, train, valid, seed, way="rowwise")
        measures |= {f"{name}_{key}": value for key, value in _curve_measures(history).items()}
        if name == "bias":
            measures |= vector_measures(model.movie_embedding.get_weights()[0])
    return measures | _comparisons(measures)


def _split(seed):
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    return sizes, *data.train_valid_split(ratings, seed)


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
        "constant_last": metrics.rmse(valid["rating"], constant),
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


def _speed(report):
    compared, all_seconds, n_seeds = (
        comparison(report),
        seconds_of_seeds(report),
        len(by_seed(report)),
    )
    lines = []
    if all_seconds is not None:
        lines.append(f"{n_seeds} seeds of all models: {all_seconds:.0f} s")
    if compared:
        per_seed = compared["plain_seconds"] / len(compared["compared"])
        ratio = compared["plain_seconds"] / compared["row_wise_seconds"]
        lines.append(
            f"plain fit: {per_seed:.0f} s per seed for the post's three models; row-wise in the "
            f"same process: {ratio:.1f} times faster, "
            f"RMSE equal within {compared['largest_difference']:.5f}"
        )
    if compared and all_seconds is not None:
        loop = per_seed * n_seeds
        lines.append(
            f"plain fit in a loop over {n_seeds} seeds: {loop:.0f} s, "
            f"{loop / all_seconds:.1f} times as long as all of ours"
        )
    return lines


@cache
def _movies():
    return data.movie_table(data.prepared())


VERDICT = experiment()
