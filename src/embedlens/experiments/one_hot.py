"""Embeddings against one-hot vectors: linear, as a network, as a product. For chapter 8.

All settings are searched on the training ratings of split 0 alone, cut once more.
"""

from dataclasses import fields
from functools import cache, partial
import time

import keras
from keras import ops
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder

from embedlens import data, metrics, recipes, training
from embedlens.experiments import search
from embedlens.experiments.runner import Experiment
from embedlens.models import Biases, EmbeddingNetwork, OneHotDense, OneHotNetwork

# By what they add to the biases; their settings are searched, but for the dot product's.
NETWORKS = {
    "biases": recipes.Recipe(Biases),
    "one-hot network": recipes.Recipe(OneHotNetwork),
    "embedding network": recipes.Recipe(EmbeddingNetwork),
    "product network": recipes.Recipe(EmbeddingNetwork, product=True),
    "dot product": recipes.TUNED,
}
MODELS = ["ridge", *NETWORKS]  # ridge: the linear model, without a sigmoid
BATCH_SIZE = 1024
SIZES = [4, 8, 16, 32, 64]
OF_ALL = {
    "batch_size": BATCH_SIZE,
    "learning_rate": [0.001, 0.03],
    "epochs": [2, 10],
    "bias_penalty": [1e-5, 0.05],
}
OF_NETWORKS = {**OF_ALL, "units": SIZES, "layers": [1, 2], "penalty": [1e-5, 0.5]}
SETTINGS = {
    **search.SPLITS,
    "ridge_penalties": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0],
    "trials": 24,
    "spaces": {
        "biases": OF_ALL,
        "one-hot network": OF_NETWORKS,
        "embedding network": {**OF_NETWORKS, "dim": SIZES},
        "product network": {**OF_NETWORKS, "dim": SIZES},
    },
    "dot product": recipes.TUNED.settings(),
    "splits": [0, 1, 2, 3, 4],
    "seeds": [0, 1],
    "capacities": [1, 4, 16, 64],
    "capacity_splits": [0, 1, 2],
    "bins": [0, 1, 3, 6, 11, 21, 51, 101],
    "step_units": [16, 64],
    "repeats": 3,
}
# What the sweep over capacity varies, and what it sets to zero.
CAPACITY = {
    "one-hot network": ("units", "penalty"),
    "embedding network": ("dim", "penalty"),
    "product network": ("dim", "penalty"),
    "dot product": ("dim", "vector_penalty"),
}


def encoder(sizes):
    """Make the encoder of (user, movie) rows: one column per user, one per movie.

    Parameters
    ----------
    sizes : tuple of int
        Number of users, number of movies.

    Returns
    -------
    sklearn.preprocessing.OneHotEncoder
        Takes integers of shape (n, 2), as from `data.inputs`, and gives a sparse matrix of
        shape (n, n_users + n_movies). An unknown id raises ValueError.
    """
    columns = [np.arange(1, size + 1) for size in sizes]
    return OneHotEncoder(categories=columns).fit(np.ones((1, 2), "int32"))


def ridge_biases(sizes, train_ratings, penalty):
    """Fit ridge regression on one-hot vectors (Hoerl and Kennard, 1970); see `ridge`.

    Returns
    -------
    mean : float
        The intercept, in stars.
    user_biases, movie_biases : numpy.ndarray, shape (n_users + 1,), (n_movies + 1,)
        By dense id, in stars; 0 for whoever has no rating.
    """
    data.check_ids(train_ratings, sizes)
    encode = encoder(sizes)
    model = Ridge(penalty, solver="sparse_cg", tol=1e-6)
    model.fit(encode.transform(data.inputs(train_ratings)), train_ratings["rating"])
    user_biases, movie_biases = np.split(model.coef_, [sizes[0]])
    return float(model.intercept_), np.r_[0, user_biases], np.r_[0, movie_biases]


def ridge(sizes, train_ratings, penalty):
    """Predict by the biases that ridge regression on one-hot vectors finds.

    Parameters
    ----------
    sizes : tuple of int
        Number of users, number of movies.
    train_ratings : pandas.DataFrame
    penalty : float
        Weight of the squared coefficients against the sum of squared errors.

    Returns
    -------
    callable
        Takes ratings as from `data.prepare`, gives predictions in stars, shape (n,). There,
        as here, a ValueError says which ids lie outside `sizes`.
    """
    mean, user_biases, movie_biases = ridge_biases(sizes, train_ratings, penalty)

    def predict(ratings):
        data.check_ids(ratings, sizes)
        users, movies = data.inputs(ratings).T
        return mean + user_biases[users] + movie_biases[movies]

    return predict


def recipe(name, setting):
    """Recipe of a network at a setting: options of its model, and how it is trained.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    setting : dict
        As from `best`.

    Returns
    -------
    recipes.Recipe
        Its rate falls along a cosine, and all epochs are run.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    if name not in NETWORKS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}")
    names = {field.name for field in fields(recipes.Training)}
    how = {key: value for key, value in setting.items() if key in names}
    options = {key: value for key, value in setting.items() if key not in names}
    whole = NETWORKS[name].with_training(falling=True, patience=None, **how)
    return whole.with_options(**options)


def train(name, setting, sizes, train_ratings, seed):
    """Train a model of `MODELS`, networks on JAX.

    Parameters
    ----------
    name : str
    setting : dict
        As from `best`.
    sizes : tuple of int
        Number of users, number of movies.
    train_ratings : pandas.DataFrame
    seed : int
        Fixes initial weights and the order of the ratings.

    Returns
    -------
    predict : callable
        Takes ratings as from `data.prepare`, gives predictions in stars, shape (n,).
    parameters : int
    seconds : float
        To train; without compiling.

    Raises
    ------
    ValueError
        If there is no such model, an id lies outside `sizes`, or no batch is full.
    RuntimeError
        On another backend than JAX.

    Notes
    -----
    A network compiles once for all splits and seeds. An epoch leaves out the few ratings that
    its order puts last and that fill no batch. `training.train` trains the same recipes on both
    backends and leaves out none.
    """
    if name == "ridge":
        started = time.perf_counter()
        predict = ridge(sizes, train_ratings, setting["penalty"])
        return predict, sum(sizes) + 1, time.perf_counter() - started
    model, seconds = _train_on_jax(recipe(name, setting), sizes, train_ratings, seed)
    return partial(training.predict, model), model.count_params(), seconds


def best(searched, name):
    """Take the setting of a model that did best in its search; the dot product's is the tuned.

    Parameters
    ----------
    searched : pandas.DataFrame
        Runs of kind "search": model, setting, rmse.
    name : str
        One of `MODELS`.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no run of this model.
    """
    if name == "dot product":
        tuned = recipes.TUNED.settings()
        return {key: tuned[key] for key in (*OF_ALL, "dim", "vector_penalty")}
    runs = searched[searched["model"] == name]
    if runs.empty:
        raise ValueError(f"no search of {name!r} among the runs")
    return runs.loc[runs["rmse"].idxmin(), "setting"]


def parts():
    """Time both ways of an epoch; search; compare over splits and seeds; sweep capacity."""
    yield [{"kind": "seconds", "units": units} for units in SETTINGS["step_units"]]
    of_ridge = {"kind": "search", "model": "ridge"}
    tried = [{**of_ridge, "setting": {"penalty": p}} for p in SETTINGS["ridge_penalties"]]
    found = yield tried
    searched = pd.DataFrame([{**run, **one} for run, one in zip(tried, found, strict=True)])
    settings = {name: best(searched, name) for name in ("ridge", "dot product")}
    for name, space in SETTINGS["spaces"].items():
        settings[name], *_ = yield from search.ask_and_tell(
            space, SETTINGS["trials"], kind="search", model=name
        )
    yield [
        {"kind": "comparison", "model": name, "setting": settings[name], "split": split, "seed": s}
        for name in MODELS
        for split in SETTINGS["splits"]
        for s in SETTINGS["seeds"][: 1 if name == "ridge" else None]
    ]
    yield capacity_parts(settings)


def capacity_parts(settings):
    """List the runs of the sweep over capacity, from the settings found, by model.

    Returns
    -------
    list of dict
        Beside what `evaluate` takes: ``priced`` (bool: with the penalty found, or with none)
        and ``size``.
    """
    return [
        {
            "kind": "capacity",
            "model": name,
            "setting": {**settings[name], size_key: size} | ({} if priced else {penalty: 0.0}),
            "priced": priced,
            "size": size,
            "split": split,
            "seed": split,
        }
        for name, (size_key, penalty) in CAPACITY.items()
        for priced in (True, False)
        for size in SETTINGS["capacities"]
        for split in SETTINGS["capacity_splits"]
    ]


def measure(kind, **part):
    """Measure a part: see `epoch_seconds`, `judge`, and for the other kinds `evaluate`."""
    measures = {"seconds": epoch_seconds, "search": judge}
    return measures.get(kind, evaluate)(**part)


def judge(model, setting):
    """Measure a setting on the inner splits: ``rmse`` in stars, their average."""
    sizes = data.count_users_and_movies(data.prepared())
    found = []
    for seed, inner_split in enumerate(SETTINGS["inner_splits"]):
        part, aside = search.inner_part(inner_split)
        predict, _, _ = train(model, setting, sizes, part, seed)
        found.append(metrics.rmse(aside["rating"], predict(aside)))
    return {"rmse": np.mean(found)}


def evaluate(model, setting, split, seed, **labels):
    """Train on one split and measure on its validation part.

    Parameters
    ----------
    model : str
    setting : dict
    split, seed : int
    **labels
        What the run shows, for tables.

    Returns
    -------
    dict
        ``rmse`` in stars; ``by_bin``: the same by the number of the movie's training ratings,
        for the bins that start at ``SETTINGS["bins"]``; ``parameters``; ``seconds``.
    """
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train_ratings, valid = data.train_valid_split(ratings, split)
    predict, parameters, seconds = train(model, setting, sizes, train_ratings, seed)
    prediction = predict(valid)
    bins = frequency_bins(train_ratings, valid)
    truth = valid["rating"].to_numpy()
    return {
        "rmse": metrics.rmse(truth, prediction),
        "by_bin": [
            metrics.rmse(truth[bins == b], prediction[bins == b])
            for b in range(len(SETTINGS["bins"]))
        ],
        "parameters": parameters,
        "seconds": seconds,
    }


def frequency_bins(train_ratings, valid):
    """For each row of `valid`: the bin of its movie's number of ratings in `train_ratings`.

    Returns
    -------
    numpy.ndarray of int, shape (len(valid),)
        Place in ``SETTINGS["bins"]``, which lists where the bins start.
    """
    counts = train_ratings["movieIdDense"].value_counts()
    seen = valid["movieIdDense"].map(counts).fillna(0).to_numpy()
    return np.searchsorted(SETTINGS["bins"], seen, side="right") - 1


def epoch_seconds(units):
    """Time an epoch of the one-hot network with products and with lookups, in turn.

    Parameters
    ----------
    units : int

    Returns
    -------
    dict
        ``lookup`` and ``product``: median seconds of ``SETTINGS["repeats"]`` epochs of each,
        after one to compile.
    """
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    part, _ = data.train_valid_split(ratings, 0)
    x, y = data.inputs(part), data.targets(part)
    layers = {"lookup": keras.layers.Embedding, "product": OneHotDense}
    seconds = {name: [] for name in layers}
    models = {}
    for name, layer in layers.items():
        models[name] = OneHotNetwork(*sizes, units, embedding=layer)
        models[name].compile(loss="mse", optimizer="adam", jit_compile=True)
    for repeat in range(SETTINGS["repeats"] + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model.fit(x, y, BATCH_SIZE, verbose=0)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return {name: np.median(values) for name, values in seconds.items()}


def _train_on_jax(made, sizes, train_ratings, seed):
    if keras.backend.backend() != "jax":
        raise RuntimeError("this trains on JAX: set the environment variable KERAS_BACKEND=jax")
    import jax

    data.check_ids(train_ratings, sizes)
    x, y = data.inputs(train_ratings), data.targets(train_ratings)
    one_epoch, adam = _compiled(made, sizes, len(x))
    training.set_seed(seed)
    model = made(*sizes)
    model(x[:1])
    weights = [jax.numpy.array(v.value) for v in model.trainable_variables]
    state = weights, [jax.numpy.array(v.value) for v in adam.variables]
    rng, batch_size = np.random.default_rng(seed), made.training.batch_size
    n_steps = len(x) // batch_size
    if not n_steps:
        raise ValueError(f"{len(x)} ratings do not fill a batch of {batch_size}: make it smaller")
    orders = [
        rng.permutation(len(x))[: n_steps * batch_size].reshape(n_steps, batch_size)
        for _ in range(made.training.epochs)
    ]
    one_epoch(*state, x[orders[0]], y[orders[0]])  # compiles
    started = time.perf_counter()
    for order in orders:
        state = one_epoch(*state, x[order], y[order])
    jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    for variable, value in zip(model.trainable_variables, state[0], strict=True):
        variable.assign(value)
    return model, seconds


@cache
def _compiled(made, sizes, n_ratings):
    """Compile an epoch of this recipe: one model and one Adam, without their state."""
    import jax

    model = made(*sizes)
    model(np.zeros((1, 2), "int32"))
    adam = keras.optimizers.Adam(training.learning_rate(made.training, n_ratings))
    adam.build(model.trainable_variables)
    fixed = [v.value for v in model.non_trainable_variables]

    def loss(weights, x, y):
        prediction, _, penalties = model.stateless_call(
            weights, fixed, x, training=True, return_losses=True
        )
        return ops.mean((prediction - y) ** 2) + sum(penalties)

    def step(state, batch):
        weights, moments = state
        gradients = jax.grad(loss)(weights, *batch)
        return adam.stateless_apply(moments, gradients, weights), None

    @jax.jit
    def one_epoch(weights, moments, x, y):
        return jax.lax.scan(step, (weights, moments), (x, y))[0]

    return one_epoch, adam


ONE_HOT = Experiment("one_hot", SETTINGS, parts, measure, jobs=1)
