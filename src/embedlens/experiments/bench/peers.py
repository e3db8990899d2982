"""One contestant of the bench, in a process of its own: run it once, or search its settings.

``python -I peers.py NAME --split FILE --started SECONDS --predictions FILE`` runs it, with
``--search SECONDS`` instead of ``--predictions`` it searches; both print one line of JSON. Each
library has an interpreter of its own, without embedlens: this script imports nothing of it, and
a library only where a contestant asks for it. Another script with contestants, such as `ours`,
calls `main` as well.

A contestant is a function that imports what it needs and gives ``fit``, and ``fit(split,
**setting)`` trains and gives ``predict``, which predicts the validation part. Without a setting
it is as its library has it by default. What can be set is said in `SPACES`.
"""

import argparse
from functools import partial
from importlib import metadata
import json
from pathlib import Path
import platform
import resource
import sys
import time
from typing import NamedTuple

import numpy as np

LOWEST_RATING, HIGHEST_RATING = 0.5, 5.0
DIMENSIONS = [8, 16, 32, 64, 128]


class Part(NamedTuple):
    """Ratings, arrays of shape (n,): users, movies (int32, from 1), ratings (float32, stars)."""

    users: np.ndarray
    movies: np.ndarray
    ratings: np.ndarray

    def head(self, n):
        return Part(*(column[:n] for column in self))

    def hidden(self):
        """The same users and movies without their ratings: NaN."""
        return self._replace(ratings=np.full_like(self.ratings, np.nan))


class Split(NamedTuple):
    """What a contestant gets: both parts, the numbers of users and movies in all, the seed."""

    train: Part
    valid: Part
    n_users: int
    n_movies: int
    seed: int


def read_split(path):
    """Read the file that `bench.write_parts` wrote.

    Parameters
    ----------
    path : path-like
        An ``.npz`` with users, movies and ratings of both parts (``train_users``, ...), and
        n_users, n_movies and seed.

    Returns
    -------
    Split
    """
    with np.load(path) as stored:
        parts = [
            Part(*(stored[f"{part}_{column}"] for column in Part._fields))
            for part in ("train", "valid")
        ]
        return Split(*parts, *(int(stored[key]) for key in ("n_users", "n_movies", "seed")))


def surprise(make):
    """Surprise's algorithms. Unknown users and movies: by the biases that are left."""

    def contestant():
        import pandas as pd
        import surprise

        def fit(split, **setting):
            frame = pd.DataFrame(split.train._asdict())[["users", "movies", "ratings"]]
            reader = surprise.Reader(rating_scale=(LOWEST_RATING, HIGHEST_RATING))
            trainset = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
            algorithm = make(surprise, split.seed, **setting).fit(trainset)

            def predict():
                pairs = zip(split.valid.users.tolist(), split.valid.movies.tolist(), strict=True)
                return [algorithm.predict(user, movie).est for user, movie in pairs]

            return predict

        return fit

    return contestant


def baseline_only(library, seed):
    return library.BaselineOnly(verbose=False)


def svd(library, seed, **setting):
    return library.SVD(random_state=seed, **setting)


def knn_baseline(library, seed, k=40, min_k=1, **similarity):
    return library.KNNBaseline(k, min_k, sim_options=similarity, verbose=False)


def lenskit_als():
    """LensKit's biased ALS. Unknown users and movies: by LensKit's bias model."""
    from lenskit.als import BiasedMFScorer
    from lenskit.batch import predict as predict_all
    from lenskit.data import ItemListCollection, from_interactions_df
    from lenskit.pipeline import predict_pipeline
    from lenskit.random import set_global_rng
    from lenskit.training import TrainingOptions
    import pandas as pd

    def fit(split, **setting):
        set_global_rng(split.seed)
        names = {"users": "user_id", "movies": "item_id", "ratings": "rating"}
        frame = pd.DataFrame(split.train._asdict()).rename(columns=names)
        pipeline = predict_pipeline(BiasedMFScorer(**setting))
        pipeline.train(from_interactions_df(frame), TrainingOptions(rng=split.seed))

        def predict():
            asked = pd.DataFrame({"user_id": split.valid.users, "item_id": split.valid.movies})
            lists = ItemListCollection.from_df(asked, "user_id")
            found = predict_all(pipeline, lists, n_jobs=1).to_df()
            return asked.merge(found, on=["user_id", "item_id"], how="left")["score"]

        return predict

    return fit


def fastai_collab():
    """The `collab_learner` of fastai. Unknown users and movies: by its row ``#na#``."""
    from fastai.collab import TabularCollab, collab_learner
    from fastai.data.block import TransformBlock
    from fastai.tabular.core import Categorify
    from fastai.torch_core import set_seed
    import pandas as pd

    def fit(split, n_factors=50, y_range=None, epochs=5, bs=64, **schedule):
        set_seed(split.seed)
        frame = pd.concat([pd.DataFrame(part._asdict()) for part in split[:2]], ignore_index=True)
        n_train, rows = len(split.train.users), list(range(len(frame)))
        table = TabularCollab(
            frame,
            [Categorify],
            ["users", "movies"],
            y_names=["ratings"],
            y_block=TransformBlock(),
            splits=(rows[:n_train], rows[n_train:]),
        )
        loaders = table.dataloaders(bs=bs)
        learner = collab_learner(loaders, n_factors=n_factors, y_range=y_range)
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(epochs, **schedule)

        def predict():
            with learner.no_bar():
                return learner.get_preds(dl=loaders.valid)[0].numpy().ravel()

        return predict

    return fit


def myfm_one_hot():
    """Bayesian FM on users and movies alone. Unknown ones: by the prior."""
    import myfm
    from scipy import sparse

    def fit(split, **setting):
        def features(part):
            columns = np.stack([part.users - 1, split.n_users + part.movies - 1], axis=1).ravel()
            starts = np.arange(0, len(columns) + 1, 2)
            shape = len(part.users), split.n_users + split.n_movies
            return sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape)

        groups = [split.n_users, split.n_movies]
        model = _drawn(myfm, split, groups, setting, features(split.train))
        return lambda: model.predict(features(split.valid))

    return fit


def myfm_svd_plus_plus():
    """Bayesian FM with the features of SVD++, both ways. Unknown ones: by the prior."""
    import myfm

    def fit(split, **setting):
        users, movies = svd_plus_plus_features(split.train, split.n_users, split.n_movies)

        def blocks(part):
            return [
                myfm.RelationBlock(part.users.astype("int64") - 1, users),
                myfm.RelationBlock(part.movies.astype("int64") - 1, movies),
            ]

        sizes = [split.n_users, split.n_movies]
        groups = [*sizes, *reversed(sizes)]
        model = _drawn(myfm, split, groups, setting, None, X_rel=blocks(split.train))
        return lambda: model.predict(None, blocks(split.valid))

    return fit


def _drawn(myfm, split, groups, setting, *features, **blocks):
    """Draw from the posterior. myFM has no default rank: the tutorial's."""
    setting = {"rank": 10, "grouped": False, **setting}
    grouped = {"group_shapes": groups} if setting.pop("grouped") else {}
    model = myfm.MyFMRegressor(setting.pop("rank"), random_seed=split.seed)
    return model.fit(*features, split.train.ratings, **blocks, **grouped, **setting)


def cmfrec_als():
    """Biased ALS of cmfrec. Unknown users and movies: by the biases that are left."""
    from cmfrec import CMF
    import pandas as pd

    def fit(split, **setting):
        # As a matrix of all users and movies, cmfrec gives unknown ones a bias of 1.
        names = {"users": "UserId", "movies": "ItemId", "ratings": "Rating"}
        frame = pd.DataFrame(split.train._asdict()).rename(columns=names)
        model = CMF(random_state=split.seed, verbose=False, **setting).fit(frame)
        return lambda: model.predict(split.valid.users, split.valid.movies)

    return fit


def svd_plus_plus_features(train, n_users, n_movies):
    """Say who rated what, as features of the users and of the movies.

    Parameters
    ----------
    train : Part
    n_users, n_movies : int

    Returns
    -------
    users : scipy.sparse.csr_matrix, shape (n_users, n_users + n_movies)
        Row u: a one for the user, then for each movie that the user rated 1 / sqrt(their number).
    movies : scipy.sparse.csr_matrix, shape (n_movies, n_movies + n_users)
        The same for each movie and those who rated it.
    """
    from scipy import sparse

    ones = np.ones(len(train.users))
    rated = sparse.csr_matrix((ones, (train.users - 1, train.movies - 1)), (n_users, n_movies))

    def with_own(rated):
        counts = np.maximum(rated.getnnz(axis=1), 1)
        weighted = sparse.diags(1 / np.sqrt(counts)) @ rated
        return sparse.csr_matrix(sparse.hstack([sparse.identity(rated.shape[0]), weighted]))

    return with_own(rated), with_own(sparse.csr_matrix(rated.T))


CONTESTANTS = {
    "surprise-baseline": surprise(baseline_only),
    "surprise-svd": surprise(svd),
    "surprise-svd-tuned": surprise(svd),
    "surprise-knn": surprise(knn_baseline),
    "lenskit-als": lenskit_als,
    "fastai": fastai_collab,
    "myfm": myfm_one_hot,
    "myfm-svd++": myfm_svd_plus_plus,
    "cmfrec": cmfrec_als,
}
VERSIONS = {
    "surprise": ["scikit-surprise", "numpy"],
    "lenskit": ["lenskit", "torch", "numpy"],
    "fastai": ["fastai", "torch", "numpy"],
    "myfm": ["myfm", "numpy"],
    "cmfrec": ["cmfrec", "numpy"],
}
# By contestant: `default`, the library's, is the first trial, and `recommended`, where the
# library's documentation (`source`) names a setting, the second. All others draw a value for each
# of `ranges`: of a list, one of these; "whole": a whole number between both ends; "log": between
# them on a logarithmic scale.
SPACES = {
    "surprise-svd-tuned": {
        "default": {"n_factors": 100, "n_epochs": 20, "lr_all": 0.005, "reg_all": 0.02},
        "recommended": {"n_factors": 100, "n_epochs": 10, "lr_all": 0.005, "reg_all": 0.4},
        "source": "user guide, Getting Started: found by grid search on ml-100k",
        "ranges": {
            "n_factors": DIMENSIONS,
            "n_epochs": {"whole": [10, 80]},
            "lr_all": {"log": [0.002, 0.05]},
            "reg_all": {"log": [0.02, 0.5]},
        },
    },
    "surprise-knn": {
        "default": {"k": 40, "min_k": 1, "name": "msd", "user_based": True},
        "recommended": {"k": 40, "min_k": 1, "name": "pearson_baseline", "user_based": True},
        "source": "reference of KNNBaseline: pearson_baseline",
        "ranges": {
            "k": {"whole": [10, 160]},
            "min_k": {"whole": [1, 10]},
            "name": ["msd", "pearson_baseline"],
            "user_based": [True, False],
            "min_support": {"whole": [1, 10]},
        },
    },
    "lenskit-als": {
        "default": {"embedding_size": 64, "epochs": 10, "regularization": 0.1, "damping": 5.0},
        "ranges": {
            "embedding_size": DIMENSIONS,
            "epochs": {"whole": [5, 40]},
            "regularization": {"log": [0.01, 1.0]},
            "damping": {"log": [1.0, 50.0]},
        },
    },
    "fastai": {
        # Epochs have no default: the tutorial's.
        "default": {"n_factors": 50, "y_range": None, "epochs": 5, "bs": 64},
        "recommended": {
            **{"n_factors": 50, "y_range": [0, 5.5], "epochs": 5, "bs": 64},
            **{"lr_max": 0.005, "wd": 0.1},
        },
        "source": "the book of fastai, chapter 8, on ml-100k",
        "ranges": {
            "n_factors": DIMENSIONS,
            "y_range": [[0, 5.5]],
            "epochs": {"whole": [3, 10]},
            "bs": [64, 256, 1024],
            "lr_max": {"log": [0.002, 0.05]},
            "wd": {"log": [0.01, 0.5]},
        },
    },
    "myfm": {
        # The rank has no default: the tutorial's.
        "default": {"rank": 10, "n_iter": 100, "grouped": False},
        "recommended": {"rank": 10, "n_iter": 200, "n_kept_samples": 200, "grouped": True},
        "source": "tutorial with MovieLens, on ml-100k",
        "ranges": {
            "rank": [4, 8, 16, 32],
            "n_iter": {"whole": [100, 300]},
            "grouped": [True, False],
        },
    },
    "myfm-svd++": {
        "default": {"rank": 10, "n_iter": 100, "grouped": False},
        "recommended": {"rank": 10, "n_iter": 300, "n_kept_samples": 300, "grouped": False},
        "source": "tutorial with relation blocks, on ml-100k",
        "ranges": {
            "rank": [4, 8, 16, 32],
            "n_iter": {"whole": [100, 300]},
            "grouped": [True, False],
        },
    },
    "cmfrec": {
        "default": {"k": 40, "lambda_": 10.0, "niter": 10},
        "recommended": {
            **{"k": 50, "lambda_": 0.05, "scale_lam": True, "niter": 15, "use_cg": False},
        },
        "source": "reference of CMF and the repository's benchmark, on ml-10m",
        "ranges": {
            "k": DIMENSIONS,
            "lambda_": {"log": [0.01, 0.5]},
            "scale_lam": [True],
            "niter": {"whole": [6, 30]},
            "use_cg": [True, False],
            "add_implicit_features": [True, False],
        },
    },
}


def search(trial, inner, space, budget, clock=time.perf_counter):
    """Search a setting: the library's default, what it recommends, then at random.

    No trial begins that would overrun the budget if it took the median of those before; but the
    default and the recommended setting are tried in any case. If they fail, the search ends.

    Parameters
    ----------
    trial : callable
        ``trial(setting, inner)`` trains and gives the predictions of the validation part, an
        array of shape (n,) in stars. It does not get the ratings of that part. A trial that
        fails counts as one, and takes its time.
    inner : Split
        Cut from a training part, both parts of it. Its seed is the seed of the settings drawn.
    space : dict
        As in `SPACES`.
    budget : float
        Seconds, for training and predicting in all trials.
    clock : callable
        Gives seconds.

    Returns
    -------
    dict
        setting: that of the lowest RMSE, of equals the first; best: its place, from 0; inner_rmse:
        in stars; seconds: of all trials; trials: a list of dict with setting, seconds and rmse,
        or why it failed.

    Raises
    ------
    RuntimeError
        If no trial succeeds.
    """
    blind = inner._replace(valid=inner.valid.hidden())
    trials, spent = [], []
    for number, setting in enumerate(settings(space, inner.seed)):
        named = number <= ("recommended" in space)
        succeeded = any("rmse" in one for one in trials)
        if not named and (not succeeded or sum(spent) + np.median(spent) > budget):
            break
        started = clock()
        try:
            predictions = clipped(trial(setting, blind))
            found = {"rmse": _rmse(inner.valid.ratings, predictions)}
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"[:200]}
        spent.append(clock() - started)
        trials.append({"setting": setting, "seconds": spent[-1], **found})
    places = [place for place, one in enumerate(trials) if "rmse" in one]
    if not places:
        raise RuntimeError(f"no trial succeeded: {trials[0]['failed']}")
    best = min(places, key=lambda place: trials[place]["rmse"])
    return {
        "setting": trials[best]["setting"],
        "best": best,
        "inner_rmse": trials[best]["rmse"],
        "seconds": sum(spent),
        "trials": trials,
    }


def settings(space, seed):
    """Yield the settings to try, as `search` does, without end: dicts by the names in `space`."""
    yield space["default"]
    if "recommended" in space:
        yield space["recommended"]
    random = np.random.default_rng(seed)
    while True:
        yield {name: _draw(values, random) for name, values in space["ranges"].items()}


def clipped(predictions):
    """Predictions within the scale of the ratings, for all contestants alike."""
    return np.clip(np.asarray(predictions, "float64"), LOWEST_RATING, HIGHEST_RATING)


def main(arguments=None, script="__main__"):
    """Run one contestant, or search its settings, and print a line of JSON about it.

    Of a run, it holds shell_seconds (from the start of the process until the predictions are
    written), import_seconds (until all is imported), fit_seconds (from arrays to a trained
    model), predict_seconds, compile_seconds (of fit_seconds; null if the script cannot say),
    memory_mb (the process's peak until the predictions are written) and versions. Of a search,
    what `search` gives.

    The script has CONTESTANTS by name; SPACES; VERSIONS: lists of distributions to report, by the
    first part of a contestant's name; and perhaps watch_compiling, which gets ``fit`` (at the
    setting) and the split before all. It gives a function that gets the time at which the fit
    ended (of ``time.perf_counter``), and says how many seconds of it were tracing and compiling.

    Parameters
    ----------
    arguments : list of str, optional
    script : str
        Name of the module with the contestants.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--split", type=Path, required=True, help=".npz file with the ratings")
    parser.add_argument("--started", type=float, required=True, help="time.time() at the start")
    parser.add_argument("--setting", type=json.loads, default={}, help="JSON; default: none")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--predictions", type=Path, help=".npy file to write")
    task.add_argument("--search", type=float, help="seconds to search for")
    options = parser.parse_args(arguments)
    script = sys.modules[script]
    fit = script.CONTESTANTS[options.name]()
    imported = time.time()
    split = read_split(options.split)
    if options.search is None:
        watch = getattr(script, "watch_compiling", lambda fit, split: lambda ended: None)
        found = _run(partial(fit, **options.setting), split, watch, options)
        found["import_seconds"] = imported - options.started
    else:
        space = script.SPACES[options.name]
        found = search(lambda setting, inner: fit(inner, **setting)(), split, space, options.search)
    names = script.VERSIONS[options.name.split("-")[0]]
    found["versions"] = {name: metadata.version(name) for name in names}
    found["versions"]["python"] = platform.python_version()
    print(json.dumps(found))


def _run(fit, split, watch, options):
    compiling = watch(fit, split)
    predict, fit_seconds = _timed(lambda: fit(split))
    ended = time.perf_counter()
    predictions, predict_seconds = _timed(predict)
    np.save(options.predictions, clipped(predictions))
    found = {
        "shell_seconds": time.time() - options.started,
        "fit_seconds": fit_seconds,
        "predict_seconds": predict_seconds,
        "memory_mb": peak_memory(),
    }
    return {**found, "compile_seconds": compiling(ended)}


def peak_memory():
    """Peak of the memory that this process held, in MB (millions of bytes).

    Linux' ``ru_maxrss`` starts at what the parent held when it made this process, which can be
    more than all that this one needs; /proc knows its own peak.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        (peak,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6
    except (OSError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _timed(call):
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def _rmse(truth, predictions):
    if predictions.shape != truth.shape or not np.isfinite(predictions).all():
        raise ValueError("predictions are not finite numbers, one per rating")
    return float(np.sqrt(np.mean((truth - predictions) ** 2)))


def _draw(values, random):
    """One value, ready for JSON; three digits of what lies on a logarithmic scale."""
    if isinstance(values, list):
        return values[random.integers(len(values))]
    [(scale, (low, high))] = values.items()
    if scale == "whole":
        return int(random.integers(low, high, endpoint=True))
    return float(f"{np.exp(random.uniform(np.log(low), np.log(high))):.3g}")


if __name__ == "__main__":
    main()
