"""Write ``engine.json``: row-wise training on JAX, to hold the page's engine against.

``KERAS_BACKEND=jax python tests/book/engine_fixture.py`` from the repository. `test_again` makes a
part of it anew.
"""

import json
from pathlib import Path

import numpy as np

from embedlens import data, models, recipes, training
from embedlens.movielens import synthetic
from embedlens.recipes import Recipe

FILE = Path(__file__).with_name("engine.json")
SETTINGS = {"dim": 3, "batch": 32, "epochs": 4, "rate": 0.005, "seed": 0}
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
    """A few hundred ratings; the last batch is not whole."""
    return synthetic.generate(950, seed=3, n_users=40, n_movies=60)[0]


def small(name):
    """Weights before and after row-wise training, orders of the ratings, RMSE."""
    ratings = small_ratings()
    sizes = data.count_users_and_movies(ratings)
    training.set_seed(SETTINGS["seed"])
    before = MODELS[name](*sizes)
    before(data.inputs(ratings.head(1)))
    trained_so = {"epochs": SETTINGS["epochs"], "learning_rate": SETTINGS["rate"]}
    model, history = training.train(
        MODELS[name], sizes, ratings, None, SETTINGS["seed"], way="rowwise", **trained_so
    )
    orders = np.random.default_rng(SETTINGS["seed"])
    return {
        "before": tables(before),
        "after": tables(model),
        "orders": [
            orders.permutation(np.arange(len(ratings), dtype="int32")).tolist()
            for _ in range(SETTINGS["epochs"])
        ],
        "rmse": float(
            np.sqrt(np.mean((training.predict(model, ratings) - ratings["rating"]) ** 2))
        ),
    }


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
