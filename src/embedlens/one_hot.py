"""Embeddings against one-hot vectors: linear, as a network, as a product; for chapter 8.

Run ``python -m embedlens.one_hot --output book/results/one_hot.json`` (about 20 minutes).
All settings are searched on the training ratings of split 0 alone, cut once more.
"""

from functools import cache, partial
import time

from embedlens import audit, commands, data, results, training, tuned
import keras
from keras import ops
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder
from tqdm import tqdm

SETTINGS = {
    "inner": {key: tuned.SEARCH[key] for key in ("split", "inner_splits", "inner_share")},
    "ridge_penalties": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0],
    "trials": 24,
    "batch_size": 1024,
    "learning_rate": [0.001, 0.03],
    "epochs": [2, 10],
    "sizes": [4, 8, 16, 32, 64],
    "layers": [1, 2],
    "penalty": [1e-5, 0.5],
    "bias_penalty": [1e-5, 0.05],
    "splits": [0, 1, 2, 3, 4],
    "seeds": [0, 1],
    "capacities": [1, 4, 16, 64],
    "capacity_splits": [0, 1, 2],
    "bins": [0, 1, 3, 6, 11, 21, 51, 101],
    "step_units": [16, 64],
    "repeats": 3,
}
# By what they add to the biases. "ridge" is the linear model without a sigmoid.
MODELS = [
    "ridge",
    "biases",
    "one-hot network",
    "embedding network",
    "product network",
    "dot product",
]


@keras.saving.register_keras_serializable(package="embedlens")
class OneHotDense(keras.layers.Layer):
    """Make one-hot vectors of ids and multiply them by a matrix of weights.

    Parameters
    ----------
    input_dim : int
        Ids run from 0 to ``input_dim - 1``.
    output_dim : int
        Length of the result for each id.

    Notes
    -----
    Takes the place of keras.layers.Embedding, and does what it does the long way.
    """

    def __init__(self, input_dim, output_dim, **kwargs):
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.dense = keras.layers.Dense(output_dim, use_bias=False, kernel_initializer="uniform")

    def build(self, shape):
        self.dense.build((*shape, self.input_dim))

    def call(self, ids):
        return self.dense(ops.one_hot(ids, self.input_dim))


@keras.saving.register_keras_serializable(package="embedlens")
class Biases(keras.Model):
    """A bias per user and per movie in a sigmoid: what all contestants share.

    Parameters
    ----------
    n_users, n_movies : int
        The tables have one row more: ids start at 1 and row 0 stays unused.
    bias_penalty : float
        Weight of the mean squared bias of the rows that were looked up.
    embedding : type, default keras.layers.Embedding
        The layer class; `OneHotDense` does the same the long way.

    Notes
    -----
    Input: integers of shape (n, 2), dense user id and dense movie id.
    Output: float32 of shape (n, 1), in stars. A subclass adds an `interaction`.
    """

    def __init__(self, n_users, n_movies, bias_penalty=0.0, embedding=keras.layers.Embedding):
        super().__init__()
        self.bias_penalty = bias_penalty
        self.user_bias = embedding(n_users + 1, 1)
        self.movie_bias = embedding(n_movies + 1, 1)

    def interaction(self, users, movies, training):
        return 0.0

    def price(self, weight, rows):
        self.add_loss(weight * ops.mean(ops.sum(rows**2, axis=-1)))

    def call(self, x, training=False):
        users, movies = x[:, 0], x[:, 1]
        user_bias, movie_bias = self.user_bias(users), self.movie_bias(movies)
        if training:
            self.price(self.bias_penalty, user_bias)
            self.price(self.bias_penalty, movie_bias)
        score = user_bias + movie_bias + self.interaction(users, movies, training)
        scale = data.HIGHEST_RATING - data.LOWEST_RATING
        return data.LOWEST_RATING + scale * ops.sigmoid(score)


@keras.saving.register_keras_serializable(package="embedlens")
class OneHotNetwork(Biases):
    """Add hidden layers on the one-hot vectors of user and movie.

    Parameters
    ----------
    n_users, n_movies, bias_penalty, embedding
        As in `Biases`.
    units : int
        Width of each hidden layer.
    layers : int, default 1
        Hidden layers.
    penalty : float
        As `bias_penalty`, for the rows of the first hidden layer's weights; of the other
        layers' weights it is the whole sum of squares that pays.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        units,
        layers=1,
        penalty=0.0,
        bias_penalty=0.0,
        embedding=keras.layers.Embedding,
    ):
        super().__init__(n_users, n_movies, bias_penalty, embedding)
        self.penalty = penalty
        self.user_rows = embedding(n_users + 1, units)
        self.movie_rows = embedding(n_movies + 1, units)
        self.offset = self.add_weight(shape=(units,), initializer="zeros")
        priced = {"kernel_regularizer": keras.regularizers.L2(penalty)}
        self.more = [keras.layers.Dense(units, "relu", **priced) for _ in range(layers - 1)]
        self.end = keras.layers.Dense(1, use_bias=False, **priced)

    def interaction(self, users, movies, training):
        user_rows, movie_rows = self.user_rows(users), self.movie_rows(movies)
        if training:
            self.price(self.penalty, user_rows)
            self.price(self.penalty, movie_rows)
        hidden = ops.relu(user_rows + movie_rows + self.offset)
        for layer in self.more:
            hidden = layer(hidden)
        return self.end(hidden)


@keras.saving.register_keras_serializable(package="embedlens")
class EmbeddingNetwork(Biases):
    """Add hidden layers on the embeddings of user and movie: concatenated, or multiplied.

    Parameters
    ----------
    n_users, n_movies, bias_penalty
        As in `Biases`.
    dim : int
        Length of the embeddings.
    product : bool, default False
        Multiply the two embeddings entry by entry, instead of concatenating them.
    units, layers
        As in `OneHotNetwork`.
    penalty : float
        As in `OneHotNetwork`, for the embeddings and all layers.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        dim,
        units,
        layers=1,
        penalty=0.0,
        bias_penalty=0.0,
        product=False,
    ):
        super().__init__(n_users, n_movies, bias_penalty)
        self.product = product
        self.penalty = penalty
        self.user_vectors = keras.layers.Embedding(n_users + 1, dim)
        self.movie_vectors = keras.layers.Embedding(n_movies + 1, dim)
        priced = {"kernel_regularizer": keras.regularizers.L2(penalty)}
        self.hidden = [keras.layers.Dense(units, "relu", **priced) for _ in range(layers)]
        self.end = keras.layers.Dense(1, use_bias=False, **priced)

    def interaction(self, users, movies, training):
        user_vectors = self.user_vectors(users)
        movie_vectors = self.movie_vectors(movies)
        if training:
            self.price(self.penalty, user_vectors)
            self.price(self.penalty, movie_vectors)
        if self.product:
            hidden = user_vectors * movie_vectors
        else:
            hidden = ops.concatenate([user_vectors, movie_vectors], axis=-1)
        for layer in self.hidden:
            hidden = layer(hidden)
        return self.end(hidden)


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
    train_ratings : pandas.DataFrame
    penalty : float
        Weight of the squared coefficients against the sum of squared errors.

    Returns
    -------
    callable
        Takes ratings as from `data.prepare`, gives predictions in stars, shape (n,).
    """
    mean, user_biases, movie_biases = ridge_biases(sizes, train_ratings, penalty)

    def predict(ratings):
        users, movies = data.inputs(ratings).T
        return mean + user_biases[users] + movie_biases[movies]

    return predict


def make(name, sizes, settings):
    """Make a model of `MODELS`, but ridge, at these settings."""
    priced = {"bias_penalty": settings["bias_penalty"]}
    if name == "dot product":
        return tuned.maker(settings["dim"], settings["vector_penalty"], **priced)(*sizes)
    if name == "biases":
        return Biases(*sizes, **priced)
    priced |= {key: settings[key] for key in ("units", "layers", "penalty")}
    if name == "one-hot network":
        return OneHotNetwork(*sizes, **priced)
    return EmbeddingNetwork(*sizes, settings["dim"], product=name == "product network", **priced)


def train(name, sizes, train_ratings, seed, settings):
    """Train a model of `MODELS`; all but ridge by Adam, with a rate that falls along a cosine.

    Parameters
    ----------
    name : str
    sizes : tuple of int
    train_ratings : pandas.DataFrame
    seed : int
        Fixes initial weights and the order of the ratings.
    settings : dict
        As `best` gives them.

    Returns
    -------
    predict : callable
        Takes ratings as from `data.prepare`, gives predictions in stars, shape (n,).
    parameters : int
    seconds : float
        To train; on JAX without compiling.

    Raises
    ------
    ValueError
        If there is no such model.

    Notes
    -----
    On JAX, a model compiles once for all splits and seeds. There an epoch leaves out the few
    ratings that its order puts last and that fill no batch.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}")
    if name == "ridge":
        started = time.perf_counter()
        predict = ridge(sizes, train_ratings, settings["penalty"])
        return predict, sum(sizes) + 1, time.perf_counter() - started
    run = _train_on_jax if keras.backend.backend() == "jax" else _train_by_fit
    started = time.perf_counter()
    model, seconds = run(name, sizes, train_ratings, seed, settings)
    seconds = seconds or time.perf_counter() - started
    return partial(training.predict, model), model.count_params(), seconds


def search(name, trials=SETTINGS["trials"]):
    """Search the settings of a model on inner splits of the training part of split 0.

    The dot product keeps those of `tuned`, found in the same way.

    Parameters
    ----------
    name : str
        One of `MODELS` but the dot product.
    trials : int
        Of Optuna's seeded sampler; ridge tries a list of penalties instead.

    Returns
    -------
    list of dict
        ``settings`` and ``rmse``: in stars, averaged over the inner splits.
    """
    import optuna

    sizes = data.count_users_and_movies(data.prepared())
    parts = [tuned.inner_part(split) for split in SETTINGS["inner"]["inner_splits"]]

    def judged(settings):
        found = []
        for seed, (part, judge) in enumerate(parts):
            predict, _, _ = train(name, sizes, part, seed, settings)
            found.append(training.rmse(judge["rating"], predict(judge)))
        return float(np.mean(found))

    if name == "ridge":
        tried = [{"penalty": penalty} for penalty in SETTINGS["ridge_penalties"]]
        return [{"settings": s, "rmse": round(judged(s), 5)} for s in tried]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
    runs = []
    for _ in tqdm(range(trials), unit="trial", desc=name):
        trial = study.ask()
        settings = _suggested(trial, name)
        rmse = judged(settings)
        study.tell(trial, rmse)
        runs.append({"settings": settings, "rmse": round(rmse, 5)})
    return runs


def best(runs, name):
    """Return the settings of a model that did best in the search; the dot product's are `tuned`'s.

    Parameters
    ----------
    runs : list of dict
        As in a stored file: those of kind "search" are looked at.
    name : str

    Returns
    -------
    dict
    """
    if name == "dot product":
        return dict(tuned.SETTINGS)
    trials = [run for run in runs if run["kind"] == "search" and run["model"] == name]
    if not trials:
        raise ValueError(f"no search of {name!r} among the runs")
    return min(trials, key=lambda run: run["rmse"])["settings"]


def evaluate(name, split, seed, settings):
    """Train on one split and measure on its validation part.

    Returns
    -------
    dict
        ``rmse`` in stars; ``by_bin``: the same by the number of the movie's training ratings,
        for the bins that start at ``SETTINGS["bins"]``; ``parameters``; ``seconds``.
    """
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train_ratings, valid = data.train_valid_split(ratings, split)
    predict, parameters, seconds = train(name, sizes, train_ratings, seed, settings)
    prediction = predict(valid)
    bins = frequency_bins(train_ratings, valid)
    truth = valid["rating"].to_numpy()
    by_bin = [
        round(training.rmse(truth[bins == b], prediction[bins == b]), 5)
        for b in range(len(SETTINGS["bins"]))
    ]
    return {
        "rmse": round(training.rmse(truth, prediction), 5),
        "by_bin": by_bin,
        "parameters": parameters,
        "seconds": round(seconds, 3),
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


def capacity_settings(runs):
    """List model and settings for each curve and size of the sweep over capacity.

    Returns
    -------
    list of dict
        ``model``, ``priced`` (bool: with the penalty found, or with none), ``size``,
        ``settings``.
    """
    listed = []
    for name, key, penalty in [
        ("one-hot network", "units", "penalty"),
        ("embedding network", "dim", "penalty"),
        ("product network", "dim", "penalty"),
        ("dot product", "dim", "vector_penalty"),
    ]:
        found = best(runs, name)
        for priced in (True, False):
            for size in SETTINGS["capacities"]:
                settings = {**found, key: size} | ({} if priced else {penalty: 0.0})
                listed.append({"model": name, "priced": priced, "size": size, "settings": settings})
    return listed


def epoch_seconds(units, repeats=SETTINGS["repeats"]):
    """Time an epoch of the one-hot network with products and with lookups, in turn.

    Parameters
    ----------
    units : int
    repeats : int
        Epochs of each, after one to compile.

    Returns
    -------
    dict
        ``lookup`` and ``product``: median seconds.
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
    for repeat in range(repeats + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model.fit(x, y, SETTINGS["batch_size"], verbose=0)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return {name: round(float(np.median(values)), 4) for name, values in seconds.items()}


def measure():
    """Search, compare over splits and seeds, sweep capacity, time an epoch.

    Returns
    -------
    dict
        ``runs``: a list of dict, each of a ``kind``: "search", "comparison", "capacity",
        "seconds"; ``provenance``.
    """
    runs, provenance = [], audit.provenance(SETTINGS)  # of the code that runs, not of later edits
    for units in SETTINGS["step_units"]:
        runs.append({"kind": "seconds", "units": units, **epoch_seconds(units)})
    for name in MODELS[:-1]:
        runs += [{"kind": "search", "model": name, **trial} for trial in search(name)]
    for name in tqdm(MODELS, unit="model", desc="comparison"):
        for split in SETTINGS["splits"]:
            for seed in SETTINGS["seeds"][: 1 if name == "ridge" else None]:
                found = evaluate(name, split, seed, best(runs, name))
                run = {"kind": "comparison", "model": name, "split": split, "seed": seed}
                runs.append(run | found)
    for entry in tqdm(capacity_settings(runs), unit="setting", desc="capacity"):
        for split in SETTINGS["capacity_splits"]:
            found = evaluate(entry["model"], split, split, entry["settings"])
            run = {"kind": "capacity", **entry, "split": split, **found}
            runs.append({key: value for key, value in run.items() if key != "settings"})
    return {"runs": runs, "provenance": provenance}


def load(path):
    """Read stored measurements, if they are about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    list of dict
        The runs, as from `measure`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": SETTINGS}
    return results.read(path, present, "make one-hot")["runs"]


def frame(runs, kind):
    """Tabulate the runs of one kind.

    Returns
    -------
    pandas.DataFrame
        A row per run, without ``kind``.
    """
    return pd.DataFrame([run for run in runs if run["kind"] == kind]).drop(columns="kind")


def main(arguments=None):
    """Measure and store; see the module's text."""
    commands.store("embedlens.one_hot", __doc__, measure, arguments)


def _train_by_fit(name, sizes, train_ratings, seed, settings):
    training.set_seed(seed)
    model = make(name, sizes, settings)
    training.train(
        model,
        train_ratings,
        None,
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        learning_rate=_falling_rate(len(train_ratings), settings),
    )
    return model, None


def _falling_rate(n_ratings, settings):
    n_steps = -(-n_ratings // settings["batch_size"]) * settings["epochs"]
    return keras.optimizers.schedules.CosineDecay(settings["learning_rate"], n_steps)


def _train_on_jax(name, sizes, train_ratings, seed, settings):
    import jax

    x, y = data.inputs(train_ratings), data.targets(train_ratings)
    one_epoch, adam = _compiled(name, sizes, tuple(settings.items()), len(x))
    training.set_seed(seed)
    model = make(name, sizes, settings)
    model(x[:1])
    weights = [jax.numpy.array(v.value) for v in model.trainable_variables]
    state = weights, [jax.numpy.array(v.value) for v in adam.variables]
    rng, batch_size = np.random.default_rng(seed), settings["batch_size"]
    n_steps = len(x) // batch_size
    orders = [
        rng.permutation(len(x))[: n_steps * batch_size].reshape(n_steps, batch_size)
        for _ in range(settings["epochs"])
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
def _compiled(name, sizes, settings, n_ratings):
    """Compile an epoch at these settings: one model and one Adam, without their state."""
    import jax

    model = make(name, sizes, dict(settings))
    model(np.zeros((1, 2), "int32"))
    adam = keras.optimizers.Adam(_falling_rate(n_ratings, dict(settings)))
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


def _suggested(trial, name):
    def between(key):
        return trial.suggest_float(key, *SETTINGS[key], log=True)

    settings = {
        "batch_size": SETTINGS["batch_size"],
        "learning_rate": between("learning_rate"),
        "epochs": trial.suggest_int("epochs", *SETTINGS["epochs"]),
        "bias_penalty": between("bias_penalty"),
    }
    if name == "biases":
        return settings
    settings["units"] = trial.suggest_categorical("units", SETTINGS["sizes"])
    settings["layers"] = trial.suggest_categorical("layers", SETTINGS["layers"])
    settings["penalty"] = between("penalty")
    if name != "one-hot network":
        settings["dim"] = trial.suggest_categorical("dim", SETTINGS["sizes"])
    return settings


if __name__ == "__main__":
    main()
