"""One run of one contestant of the bench, in a process of its own; and the peers' contestants.

``python -I peers.py NAME --split FILE --predictions FILE --started SECONDS`` prints one line
of JSON. Each library has an interpreter of its own, without embedlens: this script imports
nothing of it, and a library only where a contestant asks for it. With ``--module`` it runs the
contestants of another module, such as `ours`.

A contestant is a function that imports what it needs and gives ``fit``, and ``fit(split)``
trains and gives ``predict``, which predicts the validation part.
"""

import argparse
import importlib
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
DRAWS = 300


class Part(NamedTuple):
    """Ratings, arrays of shape (n,): users, movies (int32, from 1), ratings (float32, stars)."""

    users: np.ndarray
    movies: np.ndarray
    ratings: np.ndarray

    def head(self, n):
        return Part(*(column[:n] for column in self))


class Split(NamedTuple):
    """What a contestant gets: both parts, the numbers of users and movies in all, the seed."""

    train: Part
    valid: Part
    n_users: int
    n_movies: int
    seed: int


def read_split(path):
    """Read the file that `bench.write_split` wrote.

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
    """Surprise's algorithms. Unknown users and movies: by the biases that are left; clipped."""

    def contestant():
        import pandas as pd
        import surprise

        def fit(split):
            frame = pd.DataFrame(split.train._asdict())[["users", "movies", "ratings"]]
            reader = surprise.Reader(rating_scale=(LOWEST_RATING, HIGHEST_RATING))
            trainset = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
            algorithm = make(surprise, split.seed).fit(trainset)

            def predict():
                pairs = zip(split.valid.users.tolist(), split.valid.movies.tolist(), strict=True)
                return [algorithm.predict(user, movie).est for user, movie in pairs]

            return predict

        return fit

    return contestant


def baseline_only(library, seed):
    return library.BaselineOnly(verbose=False)


def svd(library, seed):
    return library.SVD(random_state=seed)


def tuned_svd(library, seed):
    return library.SVD(n_factors=100, n_epochs=40, lr_all=0.01, reg_all=0.1, random_state=seed)


def knn_baseline(library, seed):
    similarity = {"name": "pearson_baseline", "user_based": False}
    return library.KNNBaseline(sim_options=similarity, verbose=False)


def lenskit_als():
    """LensKit's biased ALS. Unknown users and movies: by LensKit's bias model; not clipped."""
    from lenskit.als import BiasedMFScorer
    from lenskit.batch import predict as predict_all
    from lenskit.data import from_interactions_df
    from lenskit.pipeline import predict_pipeline
    from lenskit.random import set_global_rng
    from lenskit.training import TrainingOptions
    import pandas as pd

    def fit(split):
        set_global_rng(split.seed)
        names = {"users": "user_id", "movies": "item_id", "ratings": "rating"}
        frame = pd.DataFrame(split.train._asdict()).rename(columns=names)
        pipeline = predict_pipeline(BiasedMFScorer(embedding_size=50))
        pipeline.train(from_interactions_df(frame), TrainingOptions(rng=split.seed))

        def predict():
            asked = pd.DataFrame({"user_id": split.valid.users, "item_id": split.valid.movies})
            found = predict_all(pipeline, asked.copy(), n_jobs=1).to_df()
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

    def fit(split):
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
        loaders = table.dataloaders(bs=64)
        learner = collab_learner(loaders, n_factors=50, y_range=(0, 5.5))
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(5, 5e-3, wd=0.1)

        def predict():
            with learner.no_bar():
                return learner.get_preds(dl=loaders.valid)[0].numpy().ravel()

        return predict

    return fit


def myfm_one_hot():
    """Bayesian FM on users and movies alone. Unknown ones: by the prior; not clipped."""
    import myfm
    from scipy import sparse

    def fit(split):
        def features(part):
            columns = np.stack([part.users - 1, split.n_users + part.movies - 1], axis=1).ravel()
            starts = np.arange(0, len(columns) + 1, 2)
            shape = len(part.users), split.n_users + split.n_movies
            return sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape)

        model = myfm.MyFMRegressor(rank=32, random_seed=split.seed)
        groups = [split.n_users, split.n_movies]
        _fit_quietly(model, features(split.train), split.train.ratings, group_shapes=groups)
        return lambda: model.predict(features(split.valid))

    return fit


def myfm_svd_plus_plus():
    """Bayesian FM with the features of SVD++, both ways. Unknown: by the prior; not clipped."""
    import myfm

    def fit(split):
        users, movies = svd_plus_plus_features(split.train, split.n_users, split.n_movies)

        def blocks(part):
            return [
                myfm.RelationBlock(part.users.astype("int64") - 1, users),
                myfm.RelationBlock(part.movies.astype("int64") - 1, movies),
            ]

        model = myfm.MyFMRegressor(rank=10, random_seed=split.seed)
        sizes = [split.n_users, split.n_movies]
        _fit_quietly(
            model,
            None,
            split.train.ratings,
            X_rel=blocks(split.train),
            group_shapes=[*sizes, *reversed(sizes)],
        )
        return lambda: model.predict(None, blocks(split.valid))

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
    "surprise-svd-tuned": surprise(tuned_svd),
    "surprise-knn": surprise(knn_baseline),
    "lenskit-als": lenskit_als,
    "fastai": fastai_collab,
    "myfm": myfm_one_hot,
    "myfm-svd++": myfm_svd_plus_plus,
}
VERSIONS = {
    "surprise": ["scikit-surprise", "numpy"],
    "lenskit": ["lenskit", "torch", "numpy"],
    "fastai": ["fastai", "torch", "numpy"],
    "myfm": ["myfm", "numpy"],
}


def main(arguments=None):
    """Run one contestant and print a line of JSON about it.

    The line holds import_seconds (from the start of the process until all is imported),
    fit_seconds (from arrays to a trained model), predict_seconds, compile_seconds (null if the
    module cannot say), memory_mb (the process's peak until then) and versions.

    The module has CONTESTANTS by name; VERSIONS: lists of distributions to report, by the
    first part of a contestant's name; and perhaps compile_seconds, which gets ``fit``, the split
    and a function that runs ``fit(split)``, and gives the seconds of it that went into tracing
    and compiling.

    Parameters
    ----------
    arguments : list of str, optional
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--module", type=importlib.import_module, default="__main__")
    parser.add_argument("--split", type=Path, required=True, help=".npz file with the ratings")
    parser.add_argument("--predictions", type=Path, required=True, help=".npy file to write")
    parser.add_argument("--started", type=float, required=True, help="time.time() at the start")
    options = parser.parse_args(arguments)
    fit = options.module.CONTESTANTS[options.name]()
    imported = time.time()
    split = read_split(options.split)
    fitted = []

    def run():
        fitted.extend(_timed(lambda: fit(split)))

    compiling = getattr(options.module, "compile_seconds", None)
    compile_seconds = compiling(fit, split, run) if compiling else run()
    predict, fit_seconds = fitted
    predictions, predict_seconds = _timed(predict)
    np.save(options.predictions, np.asarray(predictions, "float64"))
    found = {
        "import_seconds": imported - options.started,
        "fit_seconds": fit_seconds,
        "predict_seconds": predict_seconds,
        "memory_mb": peak_memory(),
        "compile_seconds": compile_seconds,
    }
    found = {key: value and round(value, 6) for key, value in found.items()}
    names = options.module.VERSIONS[options.name.split("-")[0]]
    found["versions"] = {name: metadata.version(name) for name in names}
    found["versions"]["python"] = platform.python_version()
    print(json.dumps(found))


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


def _fit_quietly(model, *data, **options):
    """Draw from the posterior; myfm's bar would cover the bench's."""
    model.fit(*data, n_iter=DRAWS, **options)


if __name__ == "__main__":
    main()
