"""The verdict: measure every claim over many splits and seeds, and plain `fit` to compare with.

``python -m embedlens reproduce`` runs it. Every split is trained with every seed: the split fixes
who trains and who validates, the seed fixes initial weights, order of the ratings and dropout.
All models are trained for all ten epochs, and their errors noted after each. Where training would
have stopped, and what that changes, is read from these curves: `BRANCHES`.
"""

from functools import cache, partial
import time

import numpy as np
import pandas as pd

from embedlens import data, factors, metrics, published, recipes, training
from embedlens.experiments import claims, runner
from embedlens.models import SimpleDot, SimpleEmbedding
from embedlens.recipes import Recipe

# Splits 0 to 19 were looked at while the rules were made, so others judge.
FIRST_SPLIT, SPLITS, SEEDS, PLAIN = 100, 10, 4, 3
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
# Which curve early stopping watches, which one is reported, and how the ratings are split.
AS_IN_THE_POST = "as in the post"
BRANCHES = {
    AS_IN_THE_POST: ("all", "all", "ratings"),
    "stops by seen movies": ("seen", "all", "ratings"),
    "all ten epochs": (None, "all", "ratings"),
    "clipped to the scale": ("all", "clipped", "ratings"),
    "split within each user": ("all", "all", "users"),
}
AGAIN = 1000  # added to the seed: a second training on the same split, for what must survive it


def experiment(splits=SPLITS, seeds=SEEDS, plain=PLAIN):
    """The experiment for so many splits and seeds.

    Parameters
    ----------
    splits : int, default 10
    seeds : int, default 4
        Of each split.
    plain : int, default 3
        The first so many splits are trained by Keras' plain `fit` too, when all else is done.

    Returns
    -------
    runner.Experiment
        Its results are about the present claims alone.
    """
    settings = {name: recipe.settings() for name, recipe in RECIPES.items()}
    return runner.Experiment(
        "verdict",
        {"recipes": settings, "claims": claims.digest()},
        partial(_parts, splits, seeds, plain),
        measure,
        summary=lambda runs: {"claims": [_as_json(a) for a in assessments({"runs": runs})]},
    )


def measure(split=None, seed=None, by="ratings", compared=None):
    """Measure one split and seed, or compare row-wise training with plain `fit` on several.

    Parameters
    ----------
    split, seed : int, optional
    by : {"ratings", "users"}, default "ratings"
        What the split takes a fifth of: all ratings, or those of each user.
    compared : list of int, optional
        Splits.

    Returns
    -------
    dict
        Of a split and seed: what needs no model, ``curves`` (by model and part, a value per
        epoch, in stars; "train" without dropout, after the epoch) and ``vectors`` (by number of
        epochs, what the bias model's vectors say). Else as from `compare`.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
    """
    if compared is not None:  # in a process where nothing is compiled yet
        return runner.in_own_process(compare, compared, KERAS_BACKEND="jax")
    return _measured(split, seed, by)


def compare(splits):
    """Train the post's models row-wise and by Keras' plain `fit`, one after the other.

    Both get the same initial weights and batches.

    Parameters
    ----------
    splits : list of int

    Returns
    -------
    dict
        ``plain_seconds``, ``row_wise_seconds``: all trainings of all splits. ``differences``: of
        the last validation RMSE, plain minus row-wise, in stars: a list per split, by model.
    """
    seconds, differences = {"plain": 0.0, "rowwise": 0.0}, []
    for split in splits:
        sizes, train, valid = _split(split)
        own = []
        for recipe in POSTS_RECIPES.values():
            last = {}
            for way in seconds:
                started = time.perf_counter()
                _, history = training.train(recipe, sizes, train, valid, 0, way=way)
                seconds[way] += time.perf_counter() - started
                last[way] = history["valid_rmse"].iloc[-1]
            own.append(last["plain"] - last["rowwise"])
        differences.append(own)
    return {
        "plain_seconds": seconds["plain"],
        "row_wise_seconds": seconds["rowwise"],
        "differences": differences,
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
    zero, mean = corner_errors(ratings)
    return {
        "n_ratings": len(ratings),
        "n_users": n_users,
        "n_movies": n_movies,
        "n_often_rated": len(data.often_rated(movies)),
        "density": len(ratings) / (n_users * n_movies),
        "share_of_top_tenth_users": _share_of_top_tenth(ratings["userIdDense"]),
        "share_of_top_tenth_movies": _share_of_top_tenth(ratings["movieIdDense"]),
        "filling_difference": zero - mean,
        "printed_counts_equal": int((own["n_ratings"] == printed["n_ratings"]).sum()),
        "printed_means_equal": int(same_mean.sum()),
        "printed_as_is": by_shift[0],
        "printed_as_is_p": factors.p_value(by_shift, 0),
        "printed_one_back": by_shift[1],
        "printed_one_back_p": factors.p_value(by_shift, 1),
        "printed_by_chance": np.mean(by_shift),
    }


def corner_errors(ratings, rank=2):
    """Hide each rating of the dense corner of chapter 1 in turn, fill it, predict it by an SVD.

    Parameters
    ----------
    ratings : pandas.DataFrame
    rank : int, default 2

    Returns
    -------
    zero, mean : float
        RMSE over all cells, in stars: filled with 0, and with the mean of the movie's others.
    """
    top = ratings["movieIdDense"].value_counts().sort_index().nlargest(10).index
    rows = ratings[ratings["movieIdDense"].isin(top)]
    corner = rows.pivot(index="userIdDense", columns="title", values="rating").dropna().head(12)
    corner = corner.to_numpy()
    errors = []
    for place in np.ndindex(corner.shape):
        others = np.delete(corner[:, place[1]], place[0])
        for filling in (0.0, others.mean()):
            filled = corner.copy()
            filled[place] = filling
            u, s, vt = np.linalg.svd(filled, full_matrices=False)
            errors.append((u[:, :rank] * s[:rank] @ vt[:rank])[place] - corner[place])
    squares = np.square(errors).reshape(-1, 2)
    return tuple(np.sqrt(squares.mean(axis=0)).tolist())


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
    looked_at = matrix[1:21]  # The post looks at the first 20 movies.
    return {
        "first_20_within_half": np.mean(np.abs(looked_at) <= 0.5),
        "first_20_within_quarter": np.mean(np.abs(looked_at) <= 0.25),
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
        "pc2_spectacle": spectacle(components.scores[places, 1], known),
    }


def spectacle(pc2, known):
    """How far PC2 sets action and adventure apart from drama, in its standard deviations.

    Parameters
    ----------
    pc2 : numpy.ndarray, shape (n,)
    known : pandas.DataFrame
        The movies, as from `data.often_rated`.

    Returns
    -------
    float
        Mean of the films of action or adventure less that of dramas that are neither; PC2 is
        turned so that it grows with the year.
    """
    pc2 = pc2 * factors.sign(pc2, data.years(known["title"]))
    loud = known["genres"].str.contains("Action|Adventure").to_numpy()
    drama = known["genres"].str.contains("Drama").to_numpy() & ~loud
    return (pc2[loud].mean() - pc2[drama].mean()) / pc2.std(ddof=1)


def score_measures(model, ratings):
    """Measure who carries the mean rating in the bias model, and what users make of PC1.

    Parameters
    ----------
    model : models.DotWithBias
    ratings : pandas.DataFrame
        All, training and validation.

    Returns
    -------
    dict of str to float
        mean_needed: score of the mean rating. mean_by_users, mean_by_movies, mean_by_dot: means
        over the ratings. weight_by_slope: correlation, over users, of the weight that a user's
        vector gives to PC1 with how steeply the user's ratings follow the movies' means.
    """
    users, movies = (
        layer.get_weights()[0] for layer in (model.user_embedding, model.movie_embedding)
    )
    user_bias, movie_bias = (
        layer.get_weights()[0][:, 0] for layer in (model.user_bias, model.movie_bias)
    )
    rows, columns = data.inputs(ratings).T
    low, high = model.min_rating, model.max_rating
    share = (ratings["rating"].mean() - low) / (high - low)
    components = factors.principal_components(movies)
    known = data.often_rated(_movies()).index.to_numpy()
    turn = factors.sign(components.scores[known, 0], _movies().loc[known, "rating"])
    weights = turn * users[1:] @ components.axes[0]
    return {
        "mean_needed": np.log(share / (1 - share)),
        "mean_by_users": user_bias[rows].mean(),
        "mean_by_movies": movie_bias[columns].mean(),
        "mean_by_dot": np.einsum("ij,ij->i", users[rows], movies[columns]).mean(),
        "weight_by_slope": np.corrcoef(weights, _slopes(ratings))[0, 1],
    }


def by_cell(report, branch=AS_IN_THE_POST):
    """Tabulate the measures of a report, as they come out in one branch.

    Parameters
    ----------
    report : dict
        As from `runner.Experiment.run` or `load`.
    branch : str
        Key of `BRANCHES`.

    Returns
    -------
    pandas.DataFrame
        A row per split and seed (index); RMSE in stars, epochs from 1.
    """
    watched, scored, by = BRANCHES[branch]
    runs = [run for run in report["runs"] if run.get("by") == by]
    rows = [_measures(run, watched, scored) for run in runs]
    index = pd.MultiIndex.from_tuples(
        [(run["split"], run["seed"]) for run in runs], names=["split", "seed"]
    )
    return pd.DataFrame(rows, index)


def curves(report, model):
    """The curves of a model: by split, seed and epoch, a column per part, in stars."""
    rows = {
        (run["split"], run["seed"], epoch): dict(zip(own, values, strict=True))
        for run in report["runs"]
        if run.get("by") == "ratings"
        for own in [run["curves"][model]]
        for epoch, values in enumerate(zip(*own.values(), strict=True), start=1)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["split", "seed", "epoch"])


def scatter(report):
    """What a claim says of the scatter of runs, not of single ones: measures by name."""
    cells = by_cell(report)
    parts = metrics.variance_components(cells["bias_last"].unstack())
    paired = metrics.variance_components(cells["vectors_gain"].unstack())
    found = {
        "split_share": parts["split"] / sum(parts.values()),
        "paired_by_single": np.sqrt(sum(paired.values()) / sum(parts.values())),
    }
    compared = comparison(report)
    if compared:
        found["plain_difference"] = np.mean(compared["differences"])
    return found


def assessments(report, branch=AS_IN_THE_POST):
    """Assess the measures of a report anew: stored verdicts are never taken on trust.

    Returns
    -------
    list of claims.Assessment
        In the order of `claims.CLAIMS`; without what was not measured, or depends on no branch
        but the first.
    """
    cells = by_cell(report, branch)
    found = []
    single = {**measure_without_training(), **scatter(report)}
    plain = comparison(report)
    for claim in claims.CLAIMS:
        if claim.measure in cells:
            found.append(claims.assess(claim, cells))
        elif branch != AS_IN_THE_POST:
            continue
        elif claim.measure == "plain_difference":
            if plain:
                splits = pd.MultiIndex.from_product([plain["compared"], [0]])
                values = np.mean(plain["differences"], axis=1)
                found.append(claims.assess(claim, pd.DataFrame({claim.measure: values}, splits)))
        else:
            found.append(claims.assess(claim, pd.DataFrame([single])))
    return found


def multiverse(report):
    """Judge what depends on training anew in every branch.

    Returns
    -------
    pandas.DataFrame of claims.Assessment
        A row per claim (id), a column per branch.
    """
    columns = {branch: {a.claim.id: a for a in assessments(report, branch)} for branch in BRANCHES}
    return pd.DataFrame(columns).dropna()


def comparison(report):
    """What `compare` found, and the splits as ``compared``; None if it was not asked."""
    return next((run for run in report["runs"] if "compared" in run), None)


def seconds_of_cells(report):
    """Wall time of all splits and seeds, without the comparison; None if some were kept."""
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


def _parts(n_splits, n_seeds, n_plain):
    splits = [FIRST_SPLIT + place for place in range(n_splits)]
    cells = [(split, seed) for split in splits for seed in range(n_seeds)]
    yield [{"split": split, "seed": seed, "by": "ratings"} for split, seed in cells]
    yield [{"split": split, "seed": seed, "by": "users"} for split, seed in cells if seed < 2]
    if n_plain:
        yield [{"compared": splits[:n_plain]}]


def _measured(split, seed, by):
    sizes, train, valid = _split(split, by)
    cold = data.cold_movies(train, valid)
    parts = {"train": train, "all": valid, "seen": valid[~cold], "cold": valid[cold]}
    found = {"curves": {}, "vectors": {}, **_split_measures(train, parts)}
    for name, recipe in RECIPES.items():
        _, history = training.train(
            recipe, sizes, train, None, seed, way="rowwise", each_epoch=partial(_errors, parts)
        )
        found["curves"][name] = history[[*parts, "clipped"]].round(5).to_dict("list")
    own = found["curves"]["bias"]
    for epochs in {_stop(own, watched) for watched, _, kind in BRANCHES.values() if kind == by}:
        found["vectors"][str(epochs)] = _of_vectors(sizes, train, seed, epochs)
    return found


def _errors(parts, predict):
    predictions = {name: predict(part) for name, part in parts.items()}
    scale = data.LOWEST_RATING, data.HIGHEST_RATING
    clipped = metrics.rmse(parts["all"]["rating"], np.clip(predictions["all"], *scale))
    errors = {name: metrics.rmse(part["rating"], predictions[name]) for name, part in parts.items()}
    return {**errors, "clipped": clipped}


def _of_vectors(sizes, train, seed, epochs):
    """What the bias model's vectors say after so many epochs."""
    model, again = (
        training.train(recipes.BIAS, sizes, train, None, s, way="rowwise", epochs=epochs)[0]
        for s in (seed, seed + AGAIN)
    )
    matrix, other = (m.movie_embedding.get_weights()[0] for m in (model, again))
    trained = np.zeros(len(matrix), bool)
    trained[train["movieIdDense"]] = True
    known = data.often_rated(_movies()).index.to_numpy()
    scores = [factors.principal_components(table).scores[known] for table in (matrix, other)]
    alike = [abs(np.corrcoef(scores[0][:, k], scores[1][:, k])[0, 1]) for k in range(3)]
    return {
        **vector_measures(matrix),
        **score_measures(model, data.prepared()),
        **{f"pc{k + 1}_again": value for k, value in enumerate(alike)},
        "cold_largest_entry": np.abs(matrix[~trained]).max(),
    }


def _split(split, by="ratings"):
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    if by == "ratings":
        return sizes, *data.train_valid_split(ratings, split)
    valid = ratings.groupby("userIdDense").sample(frac=0.2, random_state=split)
    return sizes, ratings.drop(valid.index), valid


def _split_measures(train, parts):
    ratings, constant = data.prepared(), train["rating"].mean()
    valid = parts["all"]
    return {
        "users_unseen": int((~ratings["userIdDense"].isin(train["userIdDense"])).sum()),
        "movies_unseen": ratings["movieIdDense"].nunique() - train["movieIdDense"].nunique(),
        "cold_share": len(parts["cold"]) / len(valid),
        **{
            f"constant_{name}": metrics.rmse(part["rating"], np.full(len(part), constant))
            for name, part in parts.items()
        },
    }


def _stop(curves, watched, patience=2):
    """Epoch after which early stopping on a curve ends training, as Keras has it."""
    errors = curves[watched or "all"]
    if watched is None:
        return len(errors)
    best = 0
    for place, error in enumerate(errors):
        if error < errors[best]:
            best = place
        if place - best >= patience:
            return place + 1
    return len(errors)


def _measures(run, watched, scored):
    """The measures of one run, in the branch with this curve watched, and this one reported."""
    found = {k: value for k, value in run.items() if isinstance(value, int | float)}
    stops = {name: _stop(own, watched) for name, own in run["curves"].items()}
    for name, own in run["curves"].items():
        at_end = {part: values[stops[name] - 1] for part, values in own.items()}
        below = {part: np.less(own["train"], own[part]) for part in ("all", "seen")}
        found |= {
            f"{name}_last": at_end[scored],
            f"{name}_seen": at_end["seen"],
            f"{name}_cold": at_end["cold"],
            f"{name}_best": min(own[scored]),
            f"{name}_epochs": stops[name],
            f"{name}_turn": int(np.argmin(own["all"])) + 1,
            f"{name}_turn_seen": int(np.argmin(own["seen"])) + 1,
            f"{name}_cold_rise": own["cold"][-1] - min(own["cold"]),
            f"{name}_crossing": _first(below["all"]),
            f"{name}_crossing_seen": _first(below["seen"]),
        }
    found |= run["vectors"][str(stops["bias"])]
    return found | _comparisons(found)


def _first(flags):
    """The first epoch that a flag is up from; one past the end if it never is."""
    return int(np.argmax(flags)) + 1 if flags.any() else len(flags) + 1


def _comparisons(m):
    def by_initializer(part):
        pairs = ("own_layer", "own_layer_positive"), ("simple_dot_symmetric", "simple_dot")
        return np.mean([m[f"{one}_{part}"] - m[f"{other}_{part}"] for one, other in pairs])

    by_layer = [
        m["own_layer_last"] - m["simple_dot_symmetric_last"],
        m["own_layer_positive_last"] - m["simple_dot_last"],
    ]
    # Squared errors add up over the parts, so their drop can be shared out.
    drop = {p: m[f"simple_dot_{p}"] ** 2 - m[f"bias_{p}"] ** 2 for p in ("seen", "cold")}
    cold = m["cold_share"] * drop["cold"]
    carried = m["mean_by_users"] + m["mean_by_movies"] + m["mean_by_dot"]
    return {
        "bias_gain": m["simple_dot_last"] - m["bias_last"],
        "bias_gain_seen": m["simple_dot_seen"] - m["bias_seen"],
        "cold_share_of_gain": cold / (cold + (1 - m["cold_share"]) * drop["seen"]),
        "later_crossing": m["bias_crossing"] - m["simple_dot_crossing"],
        "later_stop": m["bias_epochs"] - m["simple_dot_epochs"],
        "later_turn": m["bias_turn"] - m["simple_dot_turn"],
        "later_turn_seen": m["bias_turn_seen"] - m["simple_dot_turn_seen"],
        "dot_minus_constant": m["simple_dot_last"] - m["constant_all"],
        "dot_minus_constant_seen": m["simple_dot_seen"] - m["constant_seen"],
        "own_minus_simple": m["own_layer_last"] - m["simple_dot_last"],
        "initializer_effect": by_initializer("last"),
        "initializer_effect_seen": by_initializer("seen"),
        "initializer_effect_cold": by_initializer("cold"),
        "initializer_turn_seen": m["own_layer_turn_seen"] - m["own_layer_positive_turn_seen"],
        "layer_difference": np.mean(by_layer),
        "vectors_gain": m["bias_only_last"] - m["bias_last"],
        "bias_share": (m["constant_all"] - m["bias_only_last"])
        / (m["constant_all"] - m["bias_last"]),
        "mean_carried": carried,
        "mean_least": min(m["mean_by_users"], m["mean_by_movies"], m["mean_by_dot"]),
        "mean_surplus": carried - m["mean_needed"],
    }


def _share_of_top_tenth(ids):
    counts = ids.value_counts()
    return counts.head(-(-len(counts) // 10)).sum() / len(ids)


def _slopes(ratings):
    """Per user, by dense id: slope of the user's ratings over the movies' mean ratings."""
    means = _movies()["rating"].reindex(ratings["movieIdDense"]).to_numpy()
    users, own = ratings["userIdDense"].to_numpy(), ratings["rating"].to_numpy()
    n = np.bincount(users)[1:]

    def mean_by_user(values):
        return np.bincount(users, values)[1:] / n

    x, y = mean_by_user(means), mean_by_user(own)
    spread = mean_by_user(means**2) - x**2
    return (mean_by_user(means * own) - x * y) / spread


def _printed():
    """The twenty printed rows, and what the data say of these movies; both by title."""
    printed = pd.concat([published.LOWEST_TEN, published.HIGHEST_TEN]).set_index("title")
    return printed, _movies().reset_index().set_index("title").loc[printed.index]


def _as_json(assessment):
    claim = assessment.claim
    return {
        "id": claim.id,
        "statement": claim.statement,
        "rule": claim.rule,
        "published": claim.published,
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
    compared, seconds = comparison(report), seconds_of_cells(report)
    n_cells = sum("curves" in run for run in report["runs"])
    lines = []
    if seconds is not None:
        lines.append(f"{n_cells} splits and seeds of all models: {seconds:.0f} s")
    if compared:
        ratio = compared["plain_seconds"] / compared["row_wise_seconds"]
        largest = np.abs(compared["differences"]).max()
        lines.append(
            f"plain fit: {compared['plain_seconds'] / len(compared['compared']):.0f} s for the "
            f"post's three models; row-wise in the same process: {ratio:.1f} times faster, "
            f"RMSE equal within {largest:.5f}"
        )
    return lines


@cache
def _movies():
    return data.movie_table(data.prepared())


VERDICT = experiment()
