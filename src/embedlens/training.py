"""Seed, training, RMSE, prediction; the bias model that several chapters share."""

import hashlib
from importlib import metadata
from pathlib import Path

from embedlens import data
from embedlens.cache import cache_folder
from embedlens.models import DotWithBias
import joblib
import keras
import numpy as np
import pandas as pd


def set_seed(seed):
    """Seed Python, NumPy and the Keras backend. Call it before a model is made."""
    keras.utils.set_random_seed(seed)


def rmse(truth, prediction):
    """Root mean squared error, in stars.

    Raises
    ------
    ValueError
        If the two differ in length, are empty, or hold a value that is not finite.
    """
    truth = np.asarray(truth, dtype="float64").ravel()
    prediction = np.asarray(prediction, dtype="float64").ravel()
    if truth.shape != prediction.shape:
        raise ValueError(f"{truth.size:,} true ratings against {prediction.size:,} predictions")
    if truth.size == 0:
        raise ValueError("no ratings to compare")
    if not (np.isfinite(truth).all() and np.isfinite(prediction).all()):
        raise ValueError("a rating or a prediction is not a finite number")
    return float(np.sqrt(np.mean((truth - prediction) ** 2)))


def predict(model, ratings, inputs=data.inputs):
    """Predict every row of `ratings`: float32 array of shape (n,), in stars."""
    return model.predict(inputs(ratings), batch_size=4096, verbose=0).ravel()


def train(
    model,
    train_ratings,
    valid_ratings,
    epochs=10,
    batch_size=32,
    patience=2,
    learning_rate=0.001,
    fast=True,
    callbacks=(),
    inputs=data.inputs,
):
    """Train with the post's settings: Adam, MSE, early stopping on the validation loss.

    Parameters
    ----------
    model : keras.Model
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    valid_ratings : pandas.DataFrame or None
        None: no validation, and all epochs are run.
    epochs, batch_size, patience : int
        The post's: at most 10 epochs of batches of 32, patience 2.
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
        The post's by default, which is Keras' default.
    fast : bool, default True
        Compile with XLA and run 100 steps per call from Python. The arithmetic is the
        same but for the random bits of dropout; False is Keras' plain path, kept for
        comparison.
    callbacks : list of keras.callbacks.Callback
        Besides early stopping.
    inputs : callable
        Gives the input of the model for a frame of ratings. Default: the two ids.

    Returns
    -------
    pandas.DataFrame
        One row per epoch: epoch (from 1), train_rmse and valid_rmse in stars.
        train_rmse is the running value while the weights move, with dropout on.
        Without validation there is no column valid_rmse.

    Notes
    -----
    As in the post, the weights are those of the last epoch, not of the best.
    """
    speed = {"jit_compile": True, "steps_per_execution": 100} if fast else {"jit_compile": False}
    validation = {"callbacks": [*callbacks]}
    if valid_ratings is not None:
        validation = {
            "validation_data": (inputs(valid_ratings), data.targets(valid_ratings)),
            "validation_batch_size": 4096 if fast else None,
            "callbacks": [keras.callbacks.EarlyStopping(patience=patience), *callbacks],
        }
    adam = keras.optimizers.Adam(learning_rate)
    model.compile(loss="mse", optimizer=adam, metrics=["mse"], **speed)
    history = model.fit(
        inputs(train_ratings),
        data.targets(train_ratings),
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
        **validation,
    ).history
    curves = {"train_rmse": "mse", "valid_rmse": "val_mse"}
    return pd.DataFrame(
        {
            "epoch": np.arange(1, len(history["mse"]) + 1),
            **{name: np.sqrt(history[key]) for name, key in curves.items() if key in history},
        }
    )


def trained_bias_model(ratings, seed=0):
    """Train the bias model on the split of this seed, or take it from the cache.

    A cached result is used only where the package's code, the ratings, the seed, the
    library versions and the backend are all the same. The cache lies in the folder
    named by the environment variable EMBEDLENS_CACHE, or where the platform keeps caches.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`.
    seed : int
        Fixes split, initial weights, order of the batches and dropout.

    Returns
    -------
    model : DotWithBias
    history : pandas.DataFrame
        As from `train`.
    """
    cached = joblib.Memory(cache_folder(), verbose=0).cache(
        _bias_weights_and_history, ignore=["ratings"]
    )
    content = joblib.hash((data.inputs(ratings), data.targets(ratings)))
    weights, history = cached(ratings, seed, content, fingerprint())
    model = _bias_model(ratings)
    model.set_weights(weights)
    return model, history


def fingerprint():
    """Digest of all that decides a training result but data and seed."""
    code = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        code.update(source.name.encode() + source.read_bytes())
    installed = [f"{name} {version}" for name, version in versions().items()]
    return "; ".join([code.hexdigest(), keras.backend.backend(), *installed])


def versions():
    """Versions of the libraries that a training result depends on, by name."""
    names = ["keras", "tensorflow", "jax", "numpy", "pandas", "scikit-learn", "scipy"]
    return {name: metadata.version(name) for name in names}


def _bias_model(ratings):
    n_users, n_movies = data.count_users_and_movies(ratings)
    lowest, highest = float(ratings["rating"].min()), float(ratings["rating"].max())
    model = DotWithBias(n_users, n_movies, lowest, highest)
    model(data.inputs(ratings.iloc[:1]))
    return model


def _bias_weights_and_history(ratings, seed, content, fingerprint):
    set_seed(seed)
    model = _bias_model(ratings)
    history = train(model, *data.train_valid_split(ratings, seed))
    return model.get_weights(), history
