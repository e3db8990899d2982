"""Write ``engine.json``: row-wise training on JAX, to hold the page's engine against.

``KERAS_BACKEND=jax python tests/book/engine_fixture.py`` from the repository. A test makes a part
of it again. On JAX, because there Adam adds up the gradients of a row before it squares them, as
the engine does; TensorFlow's squares first.
"""

import json
from pathlib import Path

import numpy as np

from embedlens import data, metrics, models, recipes, training
from embedlens.movielens import synthetic
from embedlens.recipes import Recipe

FILE = Path(__file__).with_name("engine.json")
SETTINGS = {"dim": 3, "batch": 32, "epochs": 6, "rate": 0.02, "seed": 0}
MODELS = {
    "dot": Recipe(models.SimpleDot, dim=3),
    "bias": recipes.BIAS.with_options(dim=3, user_dropout=0.0, movie_dropout=0.0),
}
# The page's settings that are trained with dropout, over seeds.
SEEDS = 20
WITH_DROPOUT = {
    "model": "bias",
    "low": -0.05,
    "high": 0.05,
    "dim": 16,
    "userDropout": 0.3,
    "movieDropout": 0.6,
    "rate": 0.001,
    "batch": 32,
    "epochs": 5,
}


def small_ratings():
    """Ratings of movies most of which a batch leaves alone; the last batch is not whole."""
    return synthetic.generate(1_200, seed=3, n_users=30, n_movies=300)[0]


def orders():
    """Order of these ratings in each epoch, as `training.train` has it."""
    rng = np.random.default_rng(SETTINGS["seed"])
    rows = np.arange(len(small_ratings()), dtype="int32")
    return [rng.permutation(rows).tolist() for _ in range(SETTINGS["epochs"])]


def small(name):
    """Weights before and after row-wise training, and the RMSE after it."""
    ratings = small_ratings()
    sizes = data.count_users_and_movies(ratings)
    training.set_seed(SETTINGS["seed"])
    before = MODELS[name](*sizes)
    before(data.inputs(ratings.head(1)))
    trained_so = {"epochs": SETTINGS["epochs"], "learning_rate": SETTINGS["rate"]}
    model, _ = training.train(
        MODELS[name], sizes, ratings, None, SETTINGS["seed"], way="rowwise", **trained_so
    )
    error = metrics.rmse(ratings["rating"], training.predict(model, ratings))
    return {"before": tables(before), "after": tables(model), "rmse": error}


def tables(model):
    """Rows as the page has them: a vector, and a bias if there is one; one list for each side."""
    sides = {}
    for side in ("user", "movie"):
        parts = [getattr(model, f"{side}_embedding").get_weights()[0]]
        if hasattr(model, f"{side}_bias"):
            parts.append(getattr(model, f"{side}_bias").get_weights()[0])
        sides[f"{side}s"] = np.concatenate(parts, axis=1).ravel().round(8).tolist()
    return sides


def last_rmse(seed):
    """Validation RMSE of split 0 with dropout, as trained in Python with this seed."""
    ratings = data.prepared()
    recipe = recipes.BIAS.with_options(dim=WITH_DROPOUT["dim"])
    sizes = data.count_users_and_movies(ratings)
    parts = data.train_valid_split(ratings, 0)
    epochs = WITH_DROPOUT["epochs"]
    _, history = training.train(recipe, sizes, *parts, seed, epochs=epochs, patience=None)
    return round(float(history["valid_rmse"].iloc[-1]), 6)


if __name__ == "__main__":
    found = {name: small(name) for name in MODELS}
    found["with_dropout"] = [last_rmse(seed) for seed in range(SEEDS)]
    FILE.write_text(json.dumps(found) + "\n")
