"""How low can it go: what the literature adds to the bias model, rung by rung.

`SEARCH` finds the settings of each rung, on ratings set aside within the training part of
split 0. `HOW_LOW` measures every rung on the validation ratings of splits 0 to 4.
"""

from functools import cache, partial

import joblib
from keras import ops
import numpy as np
import pandas as pd

from embedlens import data, drift, metrics, recipes, recommend, training
from embedlens.experiments import search
from embedlens.experiments.runner import Experiment
from embedlens.models import DotWithFeedback, DriftingDotWithFeedback

SPLITS = [0, 1, 2, 3, 4]
SEEDS = 8  # models of an ensemble
PASSES = 30  # predictions with dropout on that are averaged
# Found by `SEARCH` (rounded); tests hold them against the stored search.
_DRIFT = {
    "batch_size": 1024,
    "learning_rate": 0.00581,
    "epochs": 6,
    "dim": 16,
    "vector_penalty": 0.2287,
    "bias_penalty": 0.002671,
    "feedback_penalty": 0.01873,
    "feedback_bias_penalty": 0.1241,
    "total_penalty": 0.01765,
}
SETTINGS = {
    "users": {
        "batch_size": 1024,
        "learning_rate": 0.003468,
        "epochs": 10,
        "dim": 32,
        "vector_penalty": 0.01286,
        "bias_penalty": 0.01011,
        "feedback_penalty": 0.1078,
        "feedback_bias_penalty": 0.7283,
        "total_penalty": 0.02725,
    },
    "both": {name: recipes.FEEDBACK.settings()[name] for name in _DRIFT},
    "drift": _DRIFT,
    "dropout": {**_DRIFT, "dropout": 0.1},
}
SPACE = {
    **search.SPLITS,
    "trials": {"users": 30, "both": 40, "drift": 20},
    "batch_size": [512, 1024],
    "learning_rate": [0.002, 0.02],
    "epochs": [4, 12],
    "dim": [8, 16, 32],
    "vector_penalty": [0.003, 0.3],
    "bias_penalty": [0.0001, 0.05],
    "feedback_penalty": [0.01, 3.0],
    "feedback_bias_penalty": [0.01, 3.0],
    "total_penalty": [0.005, 0.3],
    "dropout": [0.0, 0.1, 0.2, 0.3, 0.5],
}
TRAINING = ("batch_size", "learning_rate", "epochs")


def train(rung, train_ratings, seed, settings=None, valid_ratings=None):
    """Train the model of one rung.

    Parameters
    ----------
    rung : {"users", "both", "drift", "dropout"}
        Feedback of users; of movies too; and the user's drift; and dropout.
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`. For "drift" and "dropout" with the columns that
        `drift.with_drift` adds.
    seed : int
        Fixes initial weights, the order of the ratings, and dropout.
    settings : dict, optional
        Default: those of `SETTINGS`.
    valid_ratings : pandas.DataFrame, optional
        Only to have its RMSE in the history.

    Returns
    -------
    model : keras.Model
    history : pandas.DataFrame
        As from `training.train`.
    """
    settings = SETTINGS[rung] if settings is None else settings
    of_training = {name: settings[name] for name in TRAINING}
    of_model = {name: settings[name] for name in settings if name not in TRAINING}
    make = partial(
        DriftingDotWithFeedback if rung in ("drift", "dropout") else DotWithFeedback,
        rated=data.inputs(train_ratings),
        sides=1 if rung == "users" else 2,
        **recipes.SCALE,
        **of_model,
    )
    return training.train(
        make,
        data.count_users_and_movies(data.prepared()),
        train_ratings,
        valid_ratings,
        seed,
        inputs=inputs_of(rung),
        patience=None,
        falling=True,
        **of_training,
    )


def inputs_of(rung):
    """Return the function that makes the input of a rung's model from a frame of ratings."""
    return drift.inputs if rung in ("drift", "dropout") else data.inputs


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


def to_search():
    """Search the rungs one after the other, each from the best of the one before.

    Yields
    ------
    list of dict
        Parts for `judge`: trial after trial, and at last the rates of dropout.
    """
    space = {name: SPACE[name] for name in SETTINGS["both"]}
    before = None
    for rung, trials in SPACE["trials"].items():
        before, *_ = yield from search.ask_and_tell(space, trials, first=before, rung=rung)
    rates = SPACE["dropout"]
    yield [{"rung": "dropout", "setting": {**before, "dropout": rate}} for rate in rates]


def judge(rung, setting):
    """Train a rung at a setting on the inner splits, in parallel.

    Returns
    -------
    dict of str to float
        ``rmse`` in stars, averaged over the inner splits. For "dropout" also
        ``rmse_averaged``, of the predictions averaged with dropout on.
    """
    found = joblib.Parallel(n_jobs=-1)(
        joblib.delayed(_inner_rmse)(rung, setting, split) for split in SPACE["inner_splits"]
    )
    return pd.DataFrame(found).mean().to_dict()


def best(runs, rung):
    """Return the setting with the lowest inner RMSE among the runs of a rung (list of dict).

    For "dropout" the averaged prediction decides, among the rates above zero.
    """
    measure = "rmse_averaged" if rung == "dropout" else "rmse"
    candidates = [run for run in runs if run["rung"] == rung and run["setting"].get("dropout") != 0]
    return min(candidates, key=lambda run: run[measure])["setting"]


def measure(split):
    """Measure every rung, ensembles and averages on the validation ratings of one split.

    Returns
    -------
    dict of str to float
        RMSE in stars: of each rung (one seed), of ensembles of growing size, of averages with
        dropout. And precision, recall and NDCG at 10 of popularity and of two models.
    """
    sizes = data.count_users_and_movies(data.prepared())
    train_ratings, valid_ratings, past_train, past_valid = _outer(split)
    truth = valid_ratings["rating"]
    found = {}

    def note(name, prediction):
        found[name] = metrics.rmse(truth, prediction)

    predictions = {"factors": [], "both": [], "drift": []}
    for seed in range(SEEDS):
        model, _ = training.train(recipes.TUNED, sizes, train_ratings, None, _seed(split, seed))
        predictions["factors"].append(training.predict(model, valid_ratings))
        if seed == 0:
            found |= _ranked("factors", recommend.scores(model)[0], train_ratings, valid_ratings)
        for rung in ("both", "drift"):
            model, _ = train(rung, train_ratings, _seed(split, seed))
            predictions[rung].append(training.predict(model, valid_ratings, inputs_of(rung)))
            if seed == 0 and rung == "both":
                found |= _ranked("both", scores(model), train_ratings, valid_ratings)
    for name, of_seeds in predictions.items():
        note(name, of_seeds[0])
        for n in range(2, SEEDS + 1):
            note(f"{name}_ensemble_{n}", np.mean(of_seeds[:n], axis=0))

    model, _ = train("users", train_ratings, _seed(split, 0))
    note("users", training.predict(model, valid_ratings))
    model, _ = train("drift", past_train, _seed(split, 0))
    note("drift_past", training.predict(model, past_valid, drift.inputs))
    model, _ = train("dropout", train_ratings, _seed(split, 0))
    note("dropout", training.predict(model, valid_ratings, drift.inputs))
    silenced = partial(model, silence=True)
    averaged = averaged_with_dropout(silenced, drift.inputs(valid_ratings), seed=split)
    note("dropout_averaged", averaged)
    model, _ = training.train(recipes.BIAS, sizes, train_ratings, None, split)
    note("post", training.predict(model, valid_ratings))
    silenced = partial(model, training=True)
    note("post_averaged", averaged_with_dropout(silenced, data.inputs(valid_ratings), seed=split))

    popularity = metrics.counts(train_ratings["movieIdDense"], sizes[1]).astype("float64")
    same_for_all = np.broadcast_to(popularity, (sizes[0] + 1, len(popularity)))
    return found | _ranked("popularity", same_for_all, train_ratings, valid_ratings)


def evaluate(rung, split):
    """Train one rung on one split and return its validation RMSE, in stars."""
    with_time = inputs_of(rung) is drift.inputs
    parts = data.train_valid_split(data.prepared(timestamps=with_time), split)
    train_ratings, valid_ratings = drift.with_drift(*parts) if with_time else parts
    model, _ = train(rung, train_ratings, _seed(split, 0))
    predicted = training.predict(model, valid_ratings, inputs_of(rung))
    return metrics.rmse(valid_ratings["rating"], predicted)


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


def _seed(split, number):
    return 100 * split + number


def _ranked(name, scored, train_ratings, valid_ratings):
    seen = recommend.seen_matrix(train_ratings, data.count_users_and_movies(data.prepared()))
    measures = metrics.measures_at(recommend.top_n(scored, seen), valid_ratings).mean()
    return {f"{name}_{key}": value for key, value in measures.items()}


def _outer(split):
    """Training and validation ratings with their drift, and with that of the past alone."""
    parts = data.train_valid_split(data.prepared(timestamps=True), split)
    return [*drift.with_drift(*parts), *drift.with_drift(*parts, past_only=True)]


@cache
def _inner(split):
    return drift.with_drift(*search.inner_part(split, timestamps=True))


def _inner_rmse(rung, setting, split):
    train_ratings, valid_ratings = _inner(split)
    model, history = train(rung, train_ratings, split, setting, valid_ratings)
    found = {"rmse": history["valid_rmse"].iloc[-1]}
    if rung == "dropout":
        silenced = partial(model, silence=True)
        averaged = averaged_with_dropout(silenced, drift.inputs(valid_ratings), seed=split)
        found["rmse_averaged"] = metrics.rmse(valid_ratings["rating"], averaged)
    return found


# One process: each trial trains in two, one per inner split.
SEARCH = Experiment(name="how_low_search", settings=SPACE, parts=to_search, measure=judge, jobs=1)
HOW_LOW = Experiment(
    name="how_low",
    settings={
        "splits": SPLITS,
        "settings": SETTINGS,
        "seeds": SEEDS,
        "passes": PASSES,
        "factors": recipes.TUNED.settings(),
        "post": recipes.BIAS.settings(),
    },
    parts=[{"split": split} for split in SPLITS],
    measure=measure,
)
