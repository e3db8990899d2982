"""How low can it go: what the literature adds to the bias model, rung by rung. For chapter 10.

Every setting is searched within the training part of the cut that it is reported on: five random
splits, a cut at a date, and a cut before each user's last ratings.
"""

from functools import cache, partial
import math

from keras import ops
import numpy as np
import pandas as pd

from embedlens import data, drift, experiments, metrics, provenance, recipes, training
from embedlens.experiments import search, tuning
from embedlens.experiments.conclusions import Conclusion
from embedlens.experiments.runner import Experiment
from embedlens.models import DotWithFeedback, DriftingDotWithFeedback

IN_TIME = {"date": data.split_at_date, "last": data.split_off_last}
CUTS = [*search.OUTER, *IN_TIME]
SEEDS = 5  # models of an ensemble
PASSES = 30  # predictions with dropout on that are averaged
SILENCED = 0.2  # share of entries, for the rung with dropout
SPACE = {
    "batch_size": [512, 1024],
    "learning_rate": [0.003, 0.02],
    "epochs": [5, 12],
    "dim": [16, 32, 64],
    "vector_penalty": [0.03, 0.5],
    "bias_penalty": [0.0003, 0.03],
    "feedback_penalty": [0.003, 0.3],
    "feedback_bias_penalty": [0.01, 1.0],
    "total_penalty": [0.003, 0.1],
}
# Users' feedback alone and drift are searched on from the setting that was best both ways.
TRIALS = {"factors": 16, "both": 16, "users": 8, "drift": 8}
BINS = {  # training ratings, up to
    "userIdDense": [30, 60, 120, 240, 480, 3000],
    "movieIdDense": [0, 3, 10, 30, 100, 400],
}


def recipe(rung, setting):
    """Make the recipe of a rung.

    Parameters
    ----------
    rung : {"factors", "users", "both", "drift", "past", "dropout"}
        The tuned bias model; with feedback of users; of movies too; and with the user's drift,
        from all ratings or from earlier ones alone; and with dropout.
    setting : dict
        A value for each name in `SPACE`; of "factors", in `tuning.SPACE`.

    Returns
    -------
    recipes.Recipe
    """
    if rung == "factors":
        return tuning.recipe(setting)
    names = ("batch_size", "learning_rate", "epochs")
    trained_so = recipes.Training(
        patience=None, falling=True, **{name: setting[name] for name in names}
    )
    model = DotWithFeedback if rung in ("users", "both") else DriftingDotWithFeedback
    options = {name: value for name, value in setting.items() if name not in names}
    options |= {"users": {"sides": 1}, "dropout": {"dropout": SILENCED}}.get(rung, {})
    return recipes.Recipe(model, trained_so, **recipes.SCALE, **options)


def inputs_of(rung):
    """Return the function that makes the input of a rung's model from a frame of ratings."""
    return drift.inputs if rung in ("drift", "past", "dropout") else data.inputs


@cache
def parts_of(cut, inner=False, past_only=None):
    """Training and validation ratings of a cut, or what a search of it may see.

    Parameters
    ----------
    cut : int or str
        One of `CUTS`: the seed of a random split, or a key of `IN_TIME`.
    inner : bool, default False
        Cut the training part once more in the same way, and give that.
    past_only : bool, optional
        Add columns of drift, by earlier ratings alone or by all. Default: no such columns.

    Returns
    -------
    list of pandas.DataFrame
    """
    parts = _cut(data.prepared(timestamps=True), cut)
    if inner:
        if cut in IN_TIME:
            parts = IN_TIME[cut](parts[0], search.SPLITS["inner_share"])
        else:
            parts = search.inner_part(search.SPLITS["inner_splits"][0], timestamps=True, split=cut)
    return list(parts) if past_only is None else drift.with_drift(*parts, past_only=past_only)


def described(rung, cut, inner=False):
    """The parts of a cut, with the columns that the rung's model takes."""
    if inputs_of(rung) is data.inputs:
        return parts_of(cut, inner)
    return parts_of(cut, inner, past_only=rung == "past" or cut in IN_TIME)


def train(rung, setting, train_ratings, seed):
    """Train the model of a rung, as `training.train`, on ratings as from `described`."""
    sizes = data.count_users_and_movies(data.prepared())
    return training.train(
        recipe(rung, setting), sizes, train_ratings, None, seed, inputs=inputs_of(rung)
    )[0]


def search_one(cut):
    """Choose the settings of a cut within its training part, then report on the rest.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    about = {"kind": "search", "cut": cut, "samplers": (CUTS.index(cut),)}
    climb = partial(search.ask_and_tell, SPACE, **about)
    in_time = cut in IN_TIME
    if in_time:
        factors, *_ = yield from search.ask_and_tell(
            tuning.SPACE, TRIALS["factors"], rung="factors", **about
        )
    else:
        factors = tuning.anchor_setting(cut)
    both, *_ = yield from climb(TRIALS["both"], rung="both")
    drifting, *_ = yield from climb(TRIALS["drift"], first=both, rung="drift")
    found = {"factors": factors, "both": both, "drift": drifting}
    if not in_time:
        users, *_ = yield from climb(TRIALS["users"], first=both, rung="users")
        found |= {"users": users, "past": drifting, "dropout": drifting, "post": None}
    yield [
        {"kind": "report", "cut": cut, "rung": rung, "setting": setting}
        for rung, setting in found.items()
    ]


def measure(kind, cut, rung, setting):
    """Measure a setting within the training part of a cut, or report on it.

    Parameters
    ----------
    kind : {"search", "report"}
    cut : int or str
    rung : str
        As in `recipe`; or "post", the post's bias model, without a setting.
    setting : dict or None

    Returns
    -------
    dict
        rmse, in stars. Of a report more, see `report`.
    """
    if kind == "search":
        train_ratings, aside = described(rung, cut, inner=True)
        model = train(rung, setting, train_ratings, seed=CUTS.index(cut))
        return {"rmse": metrics.rmse(aside["rating"], _predict(model, aside, rung))}
    if rung in ("post", "dropout"):
        return report_on_dropout(cut, rung, setting)
    return report(cut, rung, setting)


def report(cut, rung, setting):
    """Train the model of a rung, or an ensemble, and measure on the validation ratings.

    Returns
    -------
    dict
        rmse: of one model, in stars; ensemble: of the mean over the first 1, 2, ... models.
        On a random split, userIdDense and movieIdDense: mean squared error of one model by the
        training ratings of user and movie, in `BINS`. On a cut in time, users: for each user of
        the validation ratings, their number and the sum of the squared errors.
    """
    train_ratings, valid = described(rung, cut)
    several = SEEDS if rung in ("factors", "both", "drift") and cut not in IN_TIME else 1
    predictions = [
        _predict(train(rung, setting, train_ratings, seed), valid, rung)
        for seed in (100 * CUTS.index(cut) + number for number in range(several))
    ]
    means = np.cumsum(predictions, axis=0) / np.arange(1, several + 1)[:, None]
    errors = [metrics.rmse(valid["rating"], mean) for mean in means]
    squares = (valid["rating"] - predictions[0]) ** 2
    found = {"rmse": errors[0], "ensemble": errors}
    if cut in IN_TIME:
        return found | {"users": squares.groupby(valid["userIdDense"]).agg(["size", "sum"]).values}
    for ids, last in BINS.items():
        counts = valid[ids].map(train_ratings[ids].value_counts()).fillna(0)
        by_bin = squares.groupby(np.searchsorted(last, counts)).mean()
        found[ids] = by_bin.reindex(range(len(last))).to_numpy()
    return found


def report_on_dropout(cut, rung, setting):
    """Measure a model plainly, and with dropout on in prediction, averaged.

    Returns
    -------
    dict of str to float
        rmse, averaged: in stars.
    """
    train_ratings, valid = described(rung, cut)
    seed = 100 * CUTS.index(cut)
    if rung == "post":
        sizes = data.count_users_and_movies(data.prepared())
        model, _ = training.train(recipes.BIAS, sizes, train_ratings, valid, seed)
        drawn = partial(model, training=True)
    else:
        model = train(rung, setting, train_ratings, seed)
        drawn = partial(model, silence=True)
    averaged = averaged_with_dropout(drawn, inputs_of(rung)(valid), seed)
    return {
        "rmse": metrics.rmse(valid["rating"], _predict(model, valid, rung)),
        "averaged": metrics.rmse(valid["rating"], averaged),
    }


def averaged_with_dropout(draw, inputs, seed, passes=PASSES):
    """Predict with dropout on, again and again, and average.

    Parameters
    ----------
    draw : callable
        Predicts `inputs` with dropout on, otherwise each time: for our first models, the
        model called with ``training=True``; for `DotWithFeedback`, with ``silence=True``.
    inputs : array or tuple of arrays
        As the model takes them.
    seed : int
    passes : int

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        In stars.

    Notes
    -----
    Gal and Ghahramani (2016): each pass is a draw from an approximate posterior.
    """
    training.set_seed(seed)
    drawn = (ops.convert_to_numpy(draw(inputs)).ravel() for _ in range(passes))
    return sum(prediction.astype("float64") for prediction in drawn) / passes


def scores(model):
    """Score every movie for every user, without the sigmoid: the order is that of the stars.

    Parameters
    ----------
    model : DotWithFeedback

    Returns
    -------
    numpy.ndarray of float32, shape (n_users + 1, n_movies + 1)
    """
    n_users, n_movies = len(model.n_rated), len(model.n_raters)
    users = ops.convert_to_numpy(model.user_rows(np.arange(n_users)))
    movies = ops.convert_to_numpy(model.movie_rows(np.arange(n_movies)))
    return users[:, :-1] @ movies[:, :-1].T + users[:, -1:] + movies[:, -1]


def _cut(ratings, cut):
    return IN_TIME[cut](ratings) if cut in IN_TIME else data.train_valid_split(ratings, cut)


def _predict(model, ratings, rung):
    """Predict as `training.predict`, which would compile anew for each model on JAX."""
    return ops.convert_to_numpy(model(inputs_of(rung)(ratings))).ravel()


HOW_LOW = Experiment(
    "how_low",
    {
        "cuts": CUTS,
        **search.SPLITS,
        "trials": TRIALS,
        "space": SPACE,
        "factors": tuning.SPACE,
        "seeds": SEEDS,
        "passes": PASSES,
        "silenced": SILENCED,
        "bins": BINS,
        "anchors": tuning.anchors(),
        "post": recipes.BIAS.settings(),
    },
    partial(search.each_split, search_one, CUTS),
    measure,
    files=(provenance.PACKAGE / "results/anchors.json",),
)


def reports(report, cuts=search.OUTER):
    """The reports of a stored run on some cuts, the random splits by default: a frame.

    A row per cut and rung.
    """
    runs = [run for run in report["runs"] if run["kind"] == "report" and run["cut"] in cuts]
    return pd.DataFrame(runs).set_index(["cut", "rung"])


def errors(report, measure="rmse"):
    """RMSE on the random splits, in stars: a row per split, a column per rung.

    Parameters
    ----------
    report : dict
        As from ``HOW_LOW.run``.
    measure : {"rmse", "averaged", "ensemble"}
        Of one model; with dropout, averaged; of all models of an ensemble.
    """
    found = reports(report)[measure].dropna()
    if measure == "ensemble":
        found = found.map(lambda by_number: by_number[-1])
    return found.astype("float64").unstack()


def gain_by_count(report, ids, before="factors", after="both"):
    """How far the RMSE of a rung lies below another's, by the training ratings of user or movie.

    Parameters
    ----------
    report : dict
    ids : {"userIdDense", "movieIdDense"}
    before, after : str

    Returns
    -------
    pandas.DataFrame
        In stars; a row per split, a column per bin of `BINS`.
    """
    squares = reports(report)[ids]
    roots = {
        split: np.subtract(*(np.sqrt(squares[split, rung]) for rung in (before, after)))
        for split in search.OUTER
    }
    return pd.DataFrame(roots).T


def gain_in_time(report, cut, before, after):
    """How far the RMSE of a rung lies below another's on a cut in time; interval over users.

    Parameters
    ----------
    report : dict
    cut : {"date", "last"}
    before, after : str

    Returns
    -------
    mean, low, high : float
        In stars, as from `metrics.user_interval`.
    """
    users = reports(report, [cut])["users"]
    (number, first), (_, second) = (np.transpose(users[cut, rung]) for rung in (before, after))

    def gain(sums):
        n, *squares = np.moveaxis(sums, -1, 0)
        return np.subtract(*(np.sqrt(part / n) for part in squares))

    return metrics.user_interval(np.column_stack([number, first, second]), gain)


def gain_over_peer(report):
    """How far our ensemble with feedback both ways lies below the bench's best other library.

    Returns
    -------
    pandas.Series
        In stars, by split.
    """
    return best_peer() - errors(report, "ensemble")["both"]


def best_peer():
    """RMSE of the other library of the bench with the lowest mean, by split, in stars."""
    runs = experiments.table("results/bench.json", kind="run")
    by_split = runs.groupby(["name", "split"])["rmse"].median().unstack(0)
    others = by_split.loc[search.OUTER, ~by_split.columns.str.startswith("ours")]
    return others[others.mean().idxmin()]


def _gain(before, after, first="rmse", then="rmse"):
    """Measure of a conclusion: how far one error lies below another, by split."""
    return lambda report: errors(report, first)[before] - errors(report, then)[after]


def _in_time(cut, before, after):
    return lambda report: gain_in_time(report, cut, before, after)


# Stated before the run that is stored. A difference of `MATTERS` stars or more would matter.
MATTERS = 0.005
NOTHING = 0.002  # what averaging over dropout may gain and yet be called nothing
CONCLUSIONS = {
    "how_low": [
        Conclusion(
            "low-users", "feedback of users gains over the tuned model", _gain("factors", "users")
        ),
        Conclusion(
            "low-movies", "feedback of movies gains beside that of users", _gain("users", "both")
        ),
        Conclusion(
            "low-both",
            "feedback both ways gains over the tuned model",
            _gain("factors", "both"),
            MATTERS,
        ),
        Conclusion(
            "low-cold",
            "it gains for movies without training ratings",
            lambda report: gain_by_count(report, "movieIdDense")[0],
        ),
        Conclusion(
            "low-often",
            "it gains for movies with over a hundred",
            lambda report: gain_by_count(report, "movieIdDense")[5],
        ),
        Conclusion(
            "low-few",
            "it gains for users with at most thirty",
            lambda report: gain_by_count(report, "userIdDense")[0],
        ),
        Conclusion("low-drift", "drift gains on random splits", _gain("both", "drift"), MATTERS),
        Conclusion(
            "low-drift-past",
            "drift by earlier ratings alone gains there",
            _gain("both", "past"),
        ),
        Conclusion(
            "low-drift-later",
            "later ratings add to that",
            _gain("past", "drift"),
        ),
        Conclusion(
            "low-both-last",
            "on users' last ratings, feedback both ways gains",
            _in_time("last", "factors", "both"),
        ),
        Conclusion(
            "low-drift-last",
            "on users' last ratings, drift gains",
            _in_time("last", "both", "drift"),
        ),
        Conclusion(
            "low-both-date",
            "after a date, feedback both ways gains",
            _in_time("date", "factors", "both"),
        ),
        Conclusion(
            "low-drift-date",
            "after a date, drift gains",
            _in_time("date", "both", "drift"),
        ),
        Conclusion(
            "low-ensemble",
            "an ensemble of five gains over one model with drift",
            _gain("drift", "drift", "rmse", "ensemble"),
        ),
        Conclusion(
            "low-dropout-post",
            "averaging over dropout gains nothing for the post's model",
            _gain("post", "post", "rmse", "averaged"),
            -math.inf,
            NOTHING,
        ),
        Conclusion(
            "low-dropout",
            "nor for the model with drift",
            _gain("dropout", "dropout", "rmse", "averaged"),
            -math.inf,
            NOTHING,
        ),
        Conclusion(
            "low-peer",
            "five models with feedback both ways lie below the best other library",
            gain_over_peer,
        ),
    ]
}
