"""Seed, training, prediction: one `train` for all models of the book."""

from dataclasses import replace
import functools
import inspect
import sys
import time

import joblib
import keras
import numpy as np
import pandas as pd

from embedlens import data, metrics, provenance
from embedlens.cache import keep_programs, memory
from embedlens.models import DotWithFeedback
from embedlens.recipes import Recipe, Training

WAYS = ("plain", "compiled", "rowwise")
STEPS_PER_CALL = 100

if keras.backend.backend() == "jax":
    keep_programs()


def set_seed(seed):
    """Seed Python, NumPy and the Keras backend. Call it before a model is made.

    Parameters
    ----------
    seed : int
    """
    # On JAX, Keras would import TensorFlow, only to seed it as well.
    hidden = keras.backend.backend() != "tensorflow" and "tensorflow" not in sys.modules
    if hidden:
        sys.modules["tensorflow"] = None
    try:
        keras.utils.set_random_seed(int(seed))
    finally:
        if hidden:
            del sys.modules["tensorflow"]


def train(
    recipe,
    sizes,
    train_ratings,
    valid_ratings,
    seed,
    way=None,
    inputs=data.inputs,
    callbacks=(),
    progress=False,
    **changes,
):
    """Make a model and train it by Adam on the mean squared error.

    Parameters
    ----------
    recipe : Recipe or callable
        ``recipe(n_users, n_movies)`` gives a keras.Model. What is no `Recipe` is trained with
        the post's settings. The `Recipe` of a model of feedback is also given the training
        ratings' pairs.
    sizes : tuple of int
        Number of users, number of movies: of the whole frame, as from
        `data.count_users_and_movies`, not of a part.
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    valid_ratings : pandas.DataFrame or None
        None: no validation, and all epochs are run.
    seed : int
        Fixes initial weights, dropout and the order of the ratings.
    way : {"plain", "compiled", "rowwise"}, optional
        Keras' `fit`, an epoch a call; `fit` compiled by XLA, with 100 steps a call; or the
        result of the first for models of lookup tables alone, in a fraction of the time (see
        `rowwise`). Default: row-wise for a `Recipe` where it can be, else compiled.
    inputs : callable
        Gives the model's input for a frame of ratings. Default: the two ids.
    callbacks : list of keras.callbacks.Callback
        Not for row-wise training.
    progress : bool, default False
        Show a bar for each long epoch of row-wise training.
    **changes
        Fields of `recipes.Training` that differ from the recipe's.

    Returns
    -------
    model : keras.Model
        With the weights of the last epoch, not of the best, as in the post.
    history : pandas.DataFrame
        One row per epoch: epoch (from 1), train_rmse and valid_rmse in stars, seconds.
        train_rmse is the running value while the weights move, with dropout on. The first
        seconds include compiling. Without validation there is no column valid_rmse.

    Raises
    ------
    ValueError
        If an id lies outside the tables, there is nothing to train on, or the way does not
        suit the model.
    RuntimeError
        If row-wise training is asked for on another backend than TensorFlow and JAX, or for a
        model whose tables are not what their names say.
    """
    settings = replace(getattr(recipe, "training", Training()), **changes)
    if train_ratings.empty or (valid_ratings is not None and valid_ratings.empty):
        raise ValueError("no ratings to train on, or none to validate with")
    for part in (train_ratings, valid_ratings):
        if part is not None:
            data.check_ids(part, sizes)
    set_seed(seed)
    model = made(recipe, sizes, train_ratings)
    way = way or _fastest_way(recipe, model, train_ratings, inputs)
    if way not in WAYS:
        raise ValueError(f"no way {way!r} of training: choose from {', '.join(WAYS)}")
    if way == "rowwise" and (inputs is not data.inputs or callbacks):
        raise ValueError("row-wise training takes the two ids as input, and no callbacks")
    rate = learning_rate(settings, len(train_ratings))
    if way == "compiled":
        return model, _fit_compiled(
            model, train_ratings, valid_ratings, settings, rate, inputs, callbacks
        )
    if way == "plain":
        one_epoch = _plain_epochs(model, train_ratings, settings, rate, inputs, callbacks)
        predict_now = functools.partial(predict, model, inputs=inputs)
        return model, _epochs(
            one_epoch, predict_now, len(train_ratings), valid_ratings, seed, settings
        )
    _build(model, train_ratings, inputs)
    trainer = _row_wise_trainer()(
        recipe, model, tables(model), train_ratings, settings, rate, progress
    )
    history = _epochs(
        trainer.one_epoch, trainer.predict, len(train_ratings), valid_ratings, seed, settings
    )
    trainer.assign()
    return model, history


def made(recipe, sizes, train_ratings):
    """Make the model of a recipe; one of feedback is also given who rated what.

    Parameters
    ----------
    recipe, sizes, train_ratings
        As in `train`.

    Returns
    -------
    keras.Model
        Not built yet.
    """
    if isinstance(recipe, Recipe) and issubclass(recipe.model, DotWithFeedback):
        return recipe(*sizes, rated=data.inputs(train_ratings))
    return recipe(*sizes)


def trained(recipe, ratings, seed=0):
    """Train on the split of this seed, or take the result from the cache.

    A cached result is used only where the code that trains, the recipe, the ratings, the seed,
    the library versions and the backend are all the same. See `cache.memory` for its place.

    Parameters
    ----------
    recipe : Recipe
    ratings : pandas.DataFrame
        As from `data.prepare`.
    seed : int
        Fixes split, initial weights, order of the batches and dropout.

    Returns
    -------
    model, history
        As from `train`.
    """
    cached = memory("training").cache(_weights_and_history, ignore=["ratings"])
    content = joblib.hash((data.inputs(ratings), data.targets(ratings)))
    code = inspect.getsource(recipe.model) + provenance.fingerprint(__file__)
    weights, history = cached(ratings, recipe, seed, content, code)
    train_ratings, _ = data.train_valid_split(ratings, seed)
    model = made(recipe, data.count_users_and_movies(ratings), train_ratings)
    _build(model, ratings)
    model.set_weights(weights)
    return model, history


def predict(model, ratings, inputs=data.inputs):
    """Predict every row of `ratings`.

    Parameters
    ----------
    model : keras.Model
    ratings : pandas.DataFrame
        With the columns that `inputs` needs.
    inputs : callable
        As in `train`.

    Returns
    -------
    numpy.ndarray of float32, shape (len(ratings),)
        In stars.

    Raises
    ------
    ValueError
        If an id lies outside the model's tables.
    """
    if ratings.empty:
        return np.empty(0, "float32")
    _build(model, ratings, inputs)
    data.check_ids(ratings, _sizes_of(model))
    size = data.RATINGS_PER_PREDICTION
    if keras.backend.backend() != "tensorflow":  # to call it would compile each operation
        return model.predict(inputs(ratings), batch_size=size, verbose=0).ravel()
    # `Model.predict` would trace each model anew, which takes longer than to call it.
    chunks = (inputs(ratings.iloc[start : start + size]) for start in range(0, len(ratings), size))
    return np.concatenate([keras.ops.convert_to_numpy(model(chunk)).ravel() for chunk in chunks])


def learning_rate(settings, n_examples):
    """Learning rate of these settings: the number, or the half cosine along which it falls.

    Parameters
    ----------
    settings : recipes.Training
    n_examples : int
        Ratings, or whatever is trained on, an epoch.

    Returns
    -------
    float or keras.optimizers.schedules.LearningRateSchedule
    """
    if not settings.falling:
        return settings.learning_rate
    n_steps = -(-n_examples // settings.batch_size) * settings.epochs
    return keras.optimizers.schedules.CosineDecay(settings.learning_rate, n_steps)


def tables(model):
    """Which column of the input each lookup table of a model belongs to.

    Parameters
    ----------
    model : keras.Model
        Built. All its trainable weights are tables of rows, in layers of their own whose names
        begin with ``user_`` or ``movie_``.

    Returns
    -------
    list of int
        0 for users or 1 for movies, per trainable weight.

    Raises
    ------
    ValueError
        If a weight is no such table, or all of its rows move in every step.
    """
    columns = []
    for weights in model.trainable_variables:
        layer = weights.path.split("/")[-2]
        column = _column_of(layer)
        if column is None or len(weights.shape) != 2:
            raise ValueError(
                f"{weights.path}: row-wise training needs lookup tables alone, in layers whose "
                "names begin with user_ or movie_; name the layer so, or train with way='compiled'"
            )
        if weights.regularizer is not None or weights.constraint is not None:
            raise ValueError(
                f"{weights.path}: a regularizer or constraint of the layer moves rows that are not "
                "looked up; let the model's call price the rows it looks up, as in chapter 7, or "
                "train with way='compiled'"
            )
        columns.append(column)
    return columns


def _column_of(layer):
    return {"user": 0, "movie": 1}.get(layer.split("_")[0]) if "_" in layer else None


def _sizes_of(model):
    """Ids that a model has rows for, users and movies; any where its names do not say."""
    sizes = [np.iinfo("int32").max] * 2
    for layer in model.layers:
        column = _column_of(layer.name)
        if column is not None and layer.weights:
            sizes[column] = min(layer.weights[0].shape[0] - 1, sizes[column])
    return tuple(sizes)


def _build(model, ratings, inputs=data.inputs):
    """Let a model make its weights for inputs as of `ratings`; nothing is computed or compiled."""
    if not model.built:
        model(keras.tree.map_structure(_symbol, inputs(ratings.iloc[:1])))


def _symbol(part):
    return keras.KerasTensor((None, *part.shape[1:]), dtype=str(part.dtype))


def _fastest_way(recipe, model, train_ratings, inputs):
    if not isinstance(recipe, Recipe) or inputs is not data.inputs:
        return "compiled"
    _build(model, train_ratings, inputs)
    try:
        tables(model)
    except ValueError:
        return "compiled"
    return "rowwise"


def _row_wise_trainer():
    """The class for this backend; importing the other would import the other backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from embedlens.rowwise_tensorflow import TensorFlowTrainer

        return TensorFlowTrainer
    if backend == "jax":
        from embedlens.rowwise_jax import JaxTrainer

        return JaxTrainer
    raise RuntimeError(
        f"row-wise training runs on TensorFlow and JAX, not on {backend}: set the environment "
        "variable KERAS_BACKEND"
    )


class _Clock(keras.callbacks.Callback):
    """Notes when each epoch ends, validation included."""

    def __init__(self):
        super().__init__()
        self.times = [time.perf_counter()]

    def on_epoch_end(self, epoch, logs=None):
        self.times.append(time.perf_counter())


def _fit_compiled(model, train_ratings, valid_ratings, settings, rate, inputs, callbacks):
    clock = _Clock()
    validation = {}
    if valid_ratings is not None:
        validation = {
            "validation_data": (inputs(valid_ratings), data.targets(valid_ratings)),
            "validation_batch_size": 4096,
        }
        if settings.patience is not None:
            callbacks = [keras.callbacks.EarlyStopping(patience=settings.patience), *callbacks]
    model.compile(
        loss="mse",
        optimizer=keras.optimizers.Adam(rate),
        metrics=["mse"],
        jit_compile=True,
        steps_per_execution=STEPS_PER_CALL,
    )
    history = model.fit(
        inputs(train_ratings),
        data.targets(train_ratings),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        verbose=0,
        callbacks=[*callbacks, clock],
        **validation,
    ).history
    curves = {"train_rmse": "mse", "valid_rmse": "val_mse"}
    return pd.DataFrame(
        {
            "epoch": np.arange(1, len(history["mse"]) + 1),
            **{name: np.sqrt(history[key]) for name, key in curves.items() if key in history},
            "seconds": np.diff(clock.times),
        }
    )


def _plain_epochs(model, train_ratings, settings, rate, inputs, callbacks):
    # On TensorFlow, Keras would compile by XLA where it can; the plain way does not.
    jit = "auto" if keras.backend.backend() == "jax" else False
    adam = keras.optimizers.Adam(rate)
    model.compile(loss="mse", optimizer=adam, metrics=["mse"], jit_compile=jit)
    x, y = inputs(train_ratings), data.targets(train_ratings)

    def one_epoch(number, order):
        shuffled = keras.tree.map_structure(lambda part: part[order], x)
        fitted = model.fit(
            shuffled,
            y[order],
            settings.batch_size,
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        )
        return np.sqrt(fitted.history["mse"][0])

    return one_epoch


def _epochs(one_epoch, predict_now, n, valid_ratings, seed, settings):
    """Train epoch by epoch, with early stopping as in keras.callbacks.EarlyStopping."""
    orders = np.random.default_rng(seed)
    rows, best = [], 0
    for number in range(settings.epochs):
        started = time.perf_counter()
        order = orders.permutation(np.arange(n, dtype="int32"))
        row = {"epoch": number + 1, "train_rmse": one_epoch(number, order)}
        if valid_ratings is not None:
            row["valid_rmse"] = metrics.rmse(valid_ratings["rating"], predict_now(valid_ratings))
            if number == 0 or row["valid_rmse"] < rows[best]["valid_rmse"]:
                best = number
        rows.append({**row, "seconds": time.perf_counter() - started})
        stops = valid_ratings is not None and settings.patience is not None
        if stops and number - best >= settings.patience:
            break
    return pd.DataFrame(rows)


def _weights_and_history(ratings, recipe, seed, content, code):
    sizes = data.count_users_and_movies(ratings)
    parts = data.train_valid_split(ratings, seed)
    model, history = train(recipe, sizes, *parts, seed)
    return model.get_weights(), history
