"""Embeddings against one-hot vectors: linear, as a network, as a product. For chapter 8.

All settings are searched on each split's own training ratings, cut once more.
"""

from dataclasses import fields
from functools import cache, partial
import math
import time

import keras
from keras import ops
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder

from embedlens import data, metrics, provenance, recipes, training
from embedlens.experiments import search, tuning
from embedlens.experiments.conclusions import Conclusion
from embedlens.experiments.runner import Experiment
from embedlens.models import (
    Biases,
    EmbeddingNetwork,
    OneHotDense,
    OneHotNetwork,
    PenalisedDotWithBias,
    ProductNetwork,
)

# By what they add to the biases.
NETWORKS = {
    "biases": recipes.Recipe(Biases),
    "one-hot network": recipes.Recipe(OneHotNetwork),
    "embedding network": recipes.Recipe(EmbeddingNetwork),
    "product network": recipes.Recipe(ProductNetwork),
    "dot product": recipes.Recipe(PenalisedDotWithBias, **recipes.SCALE),
}
MODELS = ["ridge", *NETWORKS]  # ridge: the linear model, without a sigmoid
ANCHOR = "dot product of chapter 7"
BATCH_SIZE = 1024
LENGTHS = [8, 16, 32, 64, 128]
OF_ALL = {
    "batch_size": BATCH_SIZE,
    "learning_rate": [0.0005, 0.03],
    "epochs": [2, 20],
    "bias_penalty": [1e-4, 0.05],
}
PENALTY = [0.001, 1.0]
OF_NETWORKS = {
    **OF_ALL,
    "penalty": PENALTY,
    "kernel_penalty": [1e-4, 3.0],
    "dim": LENGTHS,
    "units": [16, 64],
}
# A network on embeddings needs a hidden layer: without one, it would be linear.
SEARCHED = {
    "biases": OF_ALL,
    "one-hot network": {**OF_NETWORKS, "layers": [0, 1]},
    "embedding network": {**OF_NETWORKS, "layers": [1, 2]},
    "product network": {**OF_NETWORKS, "layers": [0, 1]},
    "dot product": {**OF_ALL, "vector_penalty": PENALTY, "dim": LENGTHS},
}
# For the test that isolates what is made of the two rows: all else is alike, with no hidden layer
# more than there must be.
ALIKE = {
    name: {**space, "dim": 32}
    | ({"units": 32, "layers": space["layers"][0]} if "layers" in space else {})
    for name, space in SEARCHED.items()
    if name != "biases"
}
SPACES = {"searched": SEARCHED, "alike": ALIKE}  # by how the sizes are chosen
SETTINGS = {
    "split": search.OUTER,
    "inner_split": search.SPLITS["inner_splits"][0],
    "inner_share": search.SPLITS["inner_share"],
    "ridge_penalties": [0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0],
    "trials": 20,
    "spaces": SPACES,
    "anchors": tuning.anchors(),
    "seeds": [0, 1],
    "bins": [0, 1, 3, 6, 11, 21, 51, 101],
    "units": 16,
    "repeats": 3,
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


def folded(network):
    """Turn a network on embeddings into one on one-hot vectors, which predicts the same.

    Parameters
    ----------
    network : models.EmbeddingNetwork
        Built, with one hidden layer or more.

    Returns
    -------
    models.OneHotNetwork
        With a hidden layer less: the first one is in its tables.
    """
    user_bias, movie_bias, users, movies, kernel, offset, *rest = network.get_weights()
    dim, units = users.shape[1], len(offset)
    n_users, n_movies, layers = len(users) - 1, len(movies) - 1, len(rest) // 2
    made = OneHotNetwork(n_users, n_movies, units, units, layers)
    made(np.ones((1, 2), "int32"))
    tables = [users @ kernel[:dim] + offset, movies @ kernel[dim:]]
    made.set_weights([user_bias, movie_bias, *tables, *rest])
    return made


def recipe(name, setting):
    """Recipe of a network at a setting: options of its model, and how it is trained.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    setting : dict
        As from `setting_of`.

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


def setting_of(compared, name, split, sizes="searched"):
    """Take the setting that was found for a model within the training part of a split.

    Parameters
    ----------
    compared : pandas.DataFrame
        Runs of kind "comparison".
    name : str
        One of `MODELS`.
    split : int
        One of `search.OUTER`.
    sizes : str
        One of `SPACES`.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such run.
    """
    runs = compared.query("model == @name and split == @split and sizes == @sizes")
    if runs.empty:
        raise ValueError(f"no run of {name!r} on split {split} with sizes {sizes}")
    return runs["setting"].iloc[0]


def at_edge(space, setting):
    """Name what lies at an end of its space, or within a twentieth of it on a logarithmic scale.

    Parameters
    ----------
    space : dict
        As in `SPACES`. Of two sizes to choose from each is an end, so these are left out.
    setting : dict

    Returns
    -------
    list of str
    """
    ranges = {k: v for k, v in space.items() if isinstance(v, list)}
    ranges = {k: v for k, v in ranges.items() if k not in search.CHOICES or len(v) > 2}
    place = {k: math.log(setting[k] / v[0]) / math.log(v[-1] / v[0]) for k, v in ranges.items()}
    return [name for name, at in place.items() if not 0.05 < at < 0.95]


def train(name, setting, sizes, train_ratings, seed):
    """Train a model of `MODELS`, networks on JAX.

    Parameters
    ----------
    name : str
    setting : dict
        As from `setting_of`.
    sizes : tuple of int
        Number of users, number of movies.
    train_ratings : pandas.DataFrame
    seed : int
        Fixes initial weights and the order of the ratings.

    Returns
    -------
    predict : callable
        Takes ratings as from `data.prepare`, gives predictions in stars, shape (n,).
    model : keras.Model or None
        None for ridge.

    Raises
    ------
    ValueError
        If there is no such model, an id lies outside `sizes`, or no batch is full.
    RuntimeError
        On another backend than JAX.

    Notes
    -----
    Networks of one shape compile once for all splits, seeds, rates and penalties. An epoch leaves
    out the few ratings that its order puts last and that fill no batch. `training.train` trains
    the same recipes on both backends and leaves out none.
    """
    if name == "ridge":
        return ridge(sizes, train_ratings, setting["penalty"]), None
    model = _train_on_jax(recipe(name, setting), sizes, train_ratings, seed)
    return partial(_predict, model), model


def parts():
    """Time a lookup; search on each split, sizes searched and alike; compare on each split."""
    yield [{"kind": "lookup", "units": SETTINGS["units"]}]
    asked = [("searched", "ridge", split) for split in search.OUTER]
    asked += [(s, name, split) for s in SPACES for name in SPACES[s] for split in search.OUTER]
    settings = yield from search.each_split(search_one, asked)
    compared = [
        {"kind": "comparison", "sizes": sizes, "model": name, "setting": setting, "split": split}
        for (sizes, name, split), setting in settings.items()
    ]
    compared += [
        {"kind": "comparison", "model": ANCHOR, "setting": SETTINGS["anchors"][str(split)]}
        | {"sizes": "searched", "split": split}
        for split in search.OUTER
    ]
    yield [
        {**part, "seed": seed}
        for part in compared
        for seed in SETTINGS["seeds"][: 1 if part["model"] == "ridge" else None]
    ]


def search_one(asked):
    """Search a model's setting within the training part of a split.

    Parameters
    ----------
    asked : tuple
        One of `SPACES`, of `MODELS`, of `search.OUTER`.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    sizes, name, split = asked
    fixed = {"kind": "search", "sizes": sizes, "model": name, "split": split}
    if name != "ridge":
        space, trials = SPACES[sizes][name], SETTINGS["trials"]
        best, *_ = yield from search.ask_and_tell(space, trials, samplers=(split,), **fixed)
        return best
    tried = [{"penalty": penalty} for penalty in SETTINGS["ridge_penalties"]]
    found = yield [{**fixed, "setting": setting} for setting in tried]
    return tried[int(np.argmin([one["rmse"] for one in found]))]


def measure(kind, **part):
    """Measure a part: see `lookup`, `judge`, and for comparisons `evaluate`."""
    return {"lookup": lookup, "search": judge, "comparison": evaluate}[kind](**part)


def judge(model, setting, split, **labels):
    """Measure a setting within the training part of a split: ``rmse``, in stars."""
    sizes = data.count_users_and_movies(data.prepared())
    part, aside = search.inner_part(SETTINGS["inner_split"], split=split)
    predict, _ = train(model, setting, sizes, part, seed=0)
    return {"rmse": metrics.rmse(aside["rating"], predict(aside))}


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
        for the bins that start at ``SETTINGS["bins"]``; ``parameters``; and for a network on
        embeddings ``fold_gap``: how far the predictions of its `folded` network lie from its own
        at most, in stars, else None.
    """
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train_ratings, valid = data.train_valid_split(ratings, split)
    if model == ANCHOR:
        trained, _ = training.train(tuning.anchor(split), sizes, train_ratings, None, seed)
        predict = partial(_predict, trained)
    else:
        predict, trained = train(model, setting, sizes, train_ratings, seed)
    prediction = predict(valid)
    fold_gap = None
    if model == "embedding network":
        fold_gap = np.abs(_predict(folded(trained), valid) - prediction).max()
    bins = frequency_bins(train_ratings, valid)
    truth = valid["rating"].to_numpy()
    return {
        "rmse": metrics.rmse(truth, prediction),
        "by_bin": [
            metrics.rmse(truth[bins == b], prediction[bins == b])
            for b in range(len(SETTINGS["bins"]))
        ],
        "parameters": sum(sizes) + 1 if trained is None else trained.count_params(),
        "fold_gap": fold_gap,
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


def lookup(units):
    """Hold a lookup against a product with one-hot vectors, in a one-hot network.

    Parameters
    ----------
    units : int

    Returns
    -------
    dict
        ``gap``: how far the outputs of the two lie apart at most, with the same weights, in
        stars. ``times``: how many times as long an epoch takes with products, for each of
        ``SETTINGS["repeats"]`` turns, after one to compile.
    """
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    part, _ = data.train_valid_split(ratings, 0)
    x, y = data.inputs(part), data.targets(part)
    twins = [
        OneHotNetwork(*sizes, units, embedding=layer)
        for layer in (keras.layers.Embedding, OneHotDense)
    ]
    for model in twins:
        model(x[:1])
        model.set_weights(twins[0].get_weights())
        model.compile(loss="mse", optimizer="adam", jit_compile=True)
    gap = np.abs(np.subtract(*(model(x[:BATCH_SIZE]) for model in twins))).max()
    times = []
    for _ in range(SETTINGS["repeats"] + 1):
        seconds = []
        for model in twins:
            started = time.perf_counter()
            model.fit(x, y, BATCH_SIZE, verbose=0)
            seconds.append(time.perf_counter() - started)
        times.append(seconds[1] / seconds[0])
    return {"gap": gap, "times": times[1:]}


def _predict(model, ratings):
    """Predict as `training.predict`, which would compile anew for each model on JAX."""
    return ops.convert_to_numpy(model(data.inputs(ratings))).ravel()


def _train_on_jax(made, sizes, train_ratings, seed):
    if keras.backend.backend() != "jax":
        raise RuntimeError("this trains on JAX: set the environment variable KERAS_BACKEND=jax")
    import jax

    data.check_ids(train_ratings, sizes)
    x, y = data.inputs(train_ratings), data.targets(train_ratings)
    how = made.training
    n_steps = len(x) // how.batch_size
    if not n_steps:
        raise ValueError(
            f"{len(x)} ratings do not fill a batch of {how.batch_size}: make it smaller"
        )
    prices = {key: np.float32(v) for key, v in made.options if key.endswith("penalty")}
    shape = {key: value for key, value in made.options if key not in prices}
    one_epoch, adam = _compiled(recipes.Recipe(made.model, **shape), sizes)
    training.set_seed(seed)
    model = made(*sizes)
    model(x[:1])
    weights = [jax.numpy.array(v.value) for v in model.trainable_variables]
    state = weights, [jax.numpy.array(v.value) for v in adam.variables]
    falling = (1 + np.cos(np.pi * np.linspace(0, 1, n_steps * how.epochs, endpoint=False))) / 2
    rng = np.random.default_rng(seed)
    for rates in how.learning_rate * falling.reshape(how.epochs, n_steps):
        order = rng.permutation(len(x))[: n_steps * how.batch_size].reshape(n_steps, -1)
        state = one_epoch(*state, prices, x[order], y[order], rates.astype("float32"))
    for variable, value in zip(model.trainable_variables, state[0], strict=True):
        variable.assign(value)
    return model


@cache
def _compiled(made, sizes):
    """Compile an epoch of a model: one model and one Adam, without their state.

    Penalties and rates are arguments, so that a search need not compile for each.
    """
    import jax

    model = made(*sizes)
    model(np.zeros((1, 2), "int32"))
    adam = keras.optimizers.Adam()
    adam.build(model.trainable_variables)
    fixed = [v.value for v in model.non_trainable_variables]

    def loss(weights, prices, x, y):
        for name, price in prices.items():
            setattr(model, name, price)
        prediction, _, penalties = model.stateless_call(
            weights, fixed, x, training=True, return_losses=True
        )
        return ops.mean((prediction - y) ** 2) + sum(penalties)

    @jax.jit
    def one_epoch(weights, moments, prices, x, y, rates):
        def step(state, batch):
            weights, (steps, _, *moments) = state
            *ratings, rate = batch
            gradients = jax.grad(loss)(weights, prices, *ratings)
            return adam.stateless_apply([steps, rate, *moments], gradients, weights), None

        return jax.lax.scan(step, (weights, moments), (x, y, rates))[0]

    return one_epoch, adam


ONE_HOT = Experiment(
    "one_hot",
    SETTINGS,
    parts,
    measure,
    files=(provenance.PACKAGE / "results/anchors.json",),
)


def rmse(report, sizes="searched"):
    """RMSE of the models on each split, averaged over seeds.

    Parameters
    ----------
    report : dict
        As from ``ONE_HOT.run``.
    sizes : str
        One of `SPACES`.

    Returns
    -------
    pandas.DataFrame
        In stars; a row per split, a column per model.
    """
    runs = _compared(report, sizes)
    return runs.groupby(["split", "model"])["rmse"].mean().unstack()


def gain_by_bin(report, model):
    """How far a model's RMSE lies below that of biases, by the ratings of the movie.

    Parameters
    ----------
    report : dict
    model : str

    Returns
    -------
    pandas.DataFrame
        In stars; a row per split, a column per bin.
    """
    runs = _compared(report, "searched")
    bins = pd.DataFrame(runs["by_bin"].to_list(), index=runs.index)
    means = bins.groupby([runs["model"], runs["split"]]).mean()
    return means.loc["biases"] - means.loc[model]


def _compared(report, sizes):
    runs = pd.DataFrame([run for run in report["runs"] if run["kind"] == "comparison"])
    return runs[runs["sizes"] == sizes]


def _gain(model, other, sizes="searched"):
    """Measure of a conclusion: how far the RMSE of a model lies below another's, by split."""

    def measured(report):
        means = rmse(report, sizes)
        return means[other] - means[model]

    return measured


def _largest(key):
    """Measure of a conclusion: the largest value of this key in any run, which has no interval."""
    return lambda report: (max(run[key] for run in report["runs"] if run.get(key) is not None),) * 3


# Stated before the run that is stored. A difference of `MATTERS` stars or more would matter.
MATTERS = 0.005
ALIKE_ENOUGH = {"low": -MATTERS, "high": MATTERS}
CONCLUSIONS = {
    "one_hot": [
        Conclusion(
            "one-hot-lookup",
            "a lookup gives what the product with one-hot vectors gives (largest gap)",
            _largest("gap"),
            -math.inf,
            1e-6,
            digits=7,
        ),
        Conclusion(
            "one-hot-times",
            "an epoch takes longer with products than with lookups",
            lambda report: metrics.mean_interval(report["runs"][0]["times"]),
            10,
            unit="times",
            digits=0,
        ),
        Conclusion(
            "one-hot-fold",
            "a trained network on embeddings is one on one-hot vectors (largest gap)",
            _largest("fold_gap"),
            -math.inf,
            1e-4,
            digits=6,
        ),
        Conclusion(
            "one-hot-linear",
            "ridge regression predicts no worse and no better than the biases (gain)",
            _gain("ridge", "biases"),
            **ALIKE_ENOUGH,
        ),
        Conclusion(
            "one-hot-network",
            "a network on one-hot vectors gains over the biases",
            _gain("one-hot network", "biases"),
        ),
        Conclusion(
            "one-hot-embeddings",
            "on embeddings, a network predicts no worse and no better (gain)",
            _gain("embedding network", "one-hot network"),
            **ALIKE_ENOUGH,
        ),
        Conclusion(
            "one-hot-embeddings-lose",
            "on embeddings, a network predicts worse than on one-hot vectors (loss)",
            _gain("one-hot network", "embedding network"),
        ),
        Conclusion(
            "one-hot-embedding-network",
            "a network on embeddings gains over the biases",
            _gain("embedding network", "biases"),
        ),
        Conclusion(
            "one-hot-dot-linear",
            "the dot product gains over ridge regression on one-hot vectors",
            _gain("dot product", "ridge"),
            MATTERS,
        ),
        Conclusion(
            "one-hot-dot-network",
            "the dot product gains over a network on one-hot vectors",
            _gain("dot product", "one-hot network"),
            MATTERS,
        ),
        Conclusion(
            "one-hot-combine",
            "alike in all else, the dot product gains over the network on one-hot vectors",
            _gain("dot product", "one-hot network", "alike"),
            MATTERS,
        ),
        Conclusion(
            "one-hot-multiply",
            "of it, to multiply the rows, not add and clip them, gains",
            _gain("product network", "one-hot network", "alike"),
        ),
        Conclusion(
            "one-hot-sum",
            "of it, to sum the products up without further weights gains",
            _gain("dot product", "product network", "alike"),
        ),
        Conclusion(
            "one-hot-anchor",
            "chapter 7's longer search, with dropout, predicts no worse and no better (gain)",
            _gain(ANCHOR, "dot product"),
            **ALIKE_ENOUGH,
        ),
        Conclusion(
            "one-hot-cold",
            "the dot product gains nothing that matters for movies without training ratings",
            lambda report: gain_by_bin(report, "dot product")[0],
            -math.inf,
            MATTERS,
        ),
        Conclusion(
            "one-hot-often",
            "it gains more for movies with over 100 training ratings than for those with 1 or 2",
            lambda report: gain_by_bin(report, "dot product").pipe(
                lambda g: g[g.columns[-1]] - g[1]
            ),
        ),
    ]
}
