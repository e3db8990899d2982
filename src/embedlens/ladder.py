"""How low can it go: what the literature adds to the bias model, rung by rung.

``python -m embedlens.ladder --search book/results/ladder_search.json`` finds the settings of
each rung, on ratings set aside within the training part of split 0 (about half an hour).
``python -m embedlens.ladder --output book/results/ladder.json`` measures every rung on the
validation ratings of splits 0 to 4 (about ten minutes). Both run on JAX and can be
interrupted: what is finished is kept.
"""

import argparse
from functools import cache, partial

from embedlens import (
    audit,
    commands,
    data,
    drift,
    lists,
    ranking,
    recommend,
    results,
    training,
    tuned,
)
from embedlens.models import DotWithBias, DotWithFeedback, DriftingDotWithFeedback
import joblib
import keras
from keras import ops
import numpy as np
from tqdm import tqdm

SPLITS = [0, 1, 2, 3, 4]
SEEDS = 8  # models of an ensemble
PASSES = 30  # predictions with dropout on that are averaged
# Found by `search` (rounded); tests hold them against the stored search.
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
    "both": {
        "batch_size": 1024,
        "learning_rate": 0.005294,
        "epochs": 6,
        "dim": 16,
        "vector_penalty": 0.1417,
        "bias_penalty": 0.01049,
        "feedback_penalty": 0.02735,
        "feedback_bias_penalty": 0.09412,
        "total_penalty": 0.01871,
    },
    "drift": _DRIFT,
    "dropout": {**_DRIFT, "dropout": 0.1},
}
SEARCH = {
    **{key: tuned.SEARCH[key] for key in ("split", "inner_splits", "inner_share")},
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
        `with_drift` adds.
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
    of_model = {key: value for key, value in settings.items() if key not in TRAINING}
    make = DriftingDotWithFeedback if rung in ("drift", "dropout") else DotWithFeedback
    training.set_seed(seed)
    model = make(
        *data.count_users_and_movies(data.prepared()),
        data.LOWEST_RATING,
        data.HIGHEST_RATING,
        data.inputs(train_ratings),
        sides=1 if rung == "users" else 2,
        **of_model,
    )
    n_steps = -(-len(train_ratings) // settings["batch_size"]) * settings["epochs"]
    history = training.train(
        model,
        train_ratings,
        valid_ratings,
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        patience=settings["epochs"],
        learning_rate=keras.optimizers.schedules.CosineDecay(settings["learning_rate"], n_steps),
        inputs=inputs_of(rung),
    )
    return model, history


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


def search(rungs=("users", "both", "drift")):
    """Search the settings of the rungs, each with the one before as its first trial.

    Returns
    -------
    dict
        ``runs``: a list of dict with rung, setting and RMSE in stars, averaged over the inner
        splits; ``provenance``.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    provenance = audit.provenance(SEARCH)
    folder = audit.folder_for("ladder-search", SEARCH)
    folder.mkdir(parents=True, exist_ok=True)
    runs, before = [], None
    for rung in rungs:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
        if before:
            study.enqueue_trial(before)
        for number in tqdm(range(SEARCH["trials"][rung]), unit="trial", desc=rung):
            trial = study.ask()
            setting = tuned.suggested(trial, {name: SEARCH[name] for name in SETTINGS["both"]})
            file = folder / f"{rung}-{number:03d}.json"
            rmse = results.kept(file)
            if rmse is None:
                rmse = _inner_rmse(rung, setting)
                results.keep(file, rmse)
            study.tell(trial, rmse)
            runs.append({"rung": rung, **setting, "rmse": round(rmse, 5)})
        before = study.best_params
    for rate in SEARCH["dropout"]:
        found = joblib.Parallel(n_jobs=-1)(
            joblib.delayed(_inner_dropout)(split, {**before, "dropout": rate})
            for split in SEARCH["inner_splits"]
        )
        plain, averaged = np.mean(found, axis=0).round(5).tolist()
        runs.append({"rung": "dropout", **before, "dropout": rate, "rmse": plain})
        runs[-1]["rmse_averaged"] = averaged
    return {"runs": runs, "provenance": provenance}


def best(runs, rung):
    """Return the setting with the lowest inner RMSE among the runs of a rung (list of dict).

    For "dropout" the averaged prediction decides, among the rates above zero.
    """
    measure = "rmse_averaged" if rung == "dropout" else "rmse"
    candidates = [run for run in runs if run["rung"] == rung and run.get("dropout") != 0]
    run = min(candidates, key=lambda run: run[measure])
    return {key: run[key] for key in run if key not in ("rung", "rmse", "rmse_averaged")}


def measure(split):
    """Measure every rung, ensembles and averages on the validation ratings of one split.

    Returns
    -------
    dict of str to float
        RMSE in stars: of each rung (one seed), of ensembles of growing size, of averages with
        dropout. And precision, recall and NDCG at 10 of popularity and of two models.
    """
    from embedlens import rowwise

    sizes = data.count_users_and_movies(data.prepared())
    train_ratings, valid_ratings, past_train, past_valid = _outer(split)
    truth = valid_ratings["rating"]
    found = {}

    def note(name, prediction):
        found[name] = training.rmse(truth, prediction)

    predictions = {"factors": [], "both": [], "drift": []}
    for seed in range(SEEDS):
        model, _ = tuned.train(sizes, train_ratings, _seed(split, seed))
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
    scale = {"min_rating": data.LOWEST_RATING, "max_rating": data.HIGHEST_RATING}
    model, _ = rowwise.train(partial(DotWithBias, **scale), sizes, train_ratings, None, split)
    note("post", training.predict(model, valid_ratings))
    silenced = partial(model, training=True)
    note("post_averaged", averaged_with_dropout(silenced, data.inputs(valid_ratings), seed=split))

    popularity = lists.counts(train_ratings["movieIdDense"], sizes[1]).astype("float64")
    same_for_all = np.broadcast_to(popularity, (sizes[0] + 1, len(popularity)))
    return found | _ranked("popularity", same_for_all, train_ratings, valid_ratings)


def evaluate(rung, split):
    """Train one rung on one split and return its validation RMSE, in stars."""
    train_ratings, valid_ratings, *_ = _outer(split)
    model, _ = train(rung, train_ratings, _seed(split, 0))
    return training.rmse(
        valid_ratings["rating"], training.predict(model, valid_ratings, inputs_of(rung))
    )


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


def load(path):
    """Read stored measures, if they are about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame
        One row per split (the index), columns as from `measure`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    return audit.load_splits(path, _measured_settings(), "make ladder")


def load_search(path):
    """Read a stored search, if it is about the present data and search space.

    Returns
    -------
    dict
        As from `search`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": SEARCH}
    return results.read(path, present, "make ladder-search")


def main(arguments=None):
    """Search or measure, and store; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="python -m embedlens.ladder", description=__doc__.splitlines()[0]
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--search", type=commands.file_to_write, help="JSON file for the search")
    chosen.add_argument("--output", type=commands.file_to_write, help="JSON file for the measures")
    chosen.add_argument("--evaluate", choices=SETTINGS, help="print the RMSE of a rung on split 0")
    options = parser.parse_args(arguments)
    commands.restart_on_jax("embedlens.ladder", arguments)
    if options.evaluate:
        print(round(evaluate(options.evaluate, 0), 5))
        return
    report = search() if options.search else measure_all()
    file = options.search or options.output
    file.write_text(results.as_text(report), encoding="utf-8")
    print(f"Written: {file}")


def measure_all():
    """Measure all splits, in parallel.

    Returns
    -------
    dict
        ``runs``: a list of dict with the split and what `measure` gives; ``provenance``.
    """
    return audit.report_on_splits("ladder", SPLITS, measure, _measured_settings())


def _measured_settings():
    return {"settings": SETTINGS, "seeds": SEEDS, "passes": PASSES, "factors": tuned.SETTINGS}


def _seed(split, number):
    return 100 * split + number


def _ranked(name, scored, train_ratings, valid_ratings):
    seen = ranking.seen_matrix(train_ratings, data.count_users_and_movies(data.prepared()))
    measures = ranking.measures_at(ranking.top_n(scored, seen), valid_ratings).mean()
    return {f"{name}_{key}": value for key, value in measures.items()}


def _outer(split):
    """Training and validation ratings with their drift, and with that of the past alone."""
    parts = data.train_valid_split(data.prepared(timestamps=True), split)
    return [*drift.with_drift(*parts), *drift.with_drift(*parts, past_only=True)]


@cache
def _inner(split):
    return drift.with_drift(*tuned.inner_part(split, timestamps=True))


def _inner_rmse(rung, setting):
    found = joblib.Parallel(n_jobs=-1)(
        joblib.delayed(_inner_run)(rung, setting, split) for split in SEARCH["inner_splits"]
    )
    return sum(found) / len(found)


def _inner_run(rung, setting, split):
    train_ratings, valid_ratings = _inner(split)
    _, history = train(rung, train_ratings, split, setting, valid_ratings)
    return float(history["valid_rmse"].iloc[-1])


def _inner_dropout(split, setting):
    """RMSE without and with averaging."""
    train_ratings, valid_ratings = _inner(split)
    model, history = train("dropout", train_ratings, split, setting, valid_ratings)
    silenced = partial(model, silence=True)
    averaged = averaged_with_dropout(silenced, drift.inputs(valid_ratings), seed=split)
    plain = float(history["valid_rmse"].iloc[-1])
    return plain, training.rmse(valid_ratings["rating"], averaged)


if __name__ == "__main__":
    from embedlens import ladder  # joblib's processes find functions of a module, not of __main__

    ladder.main()
