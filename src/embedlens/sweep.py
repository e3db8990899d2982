"""The sweep: train the bias model over dropout and over dimensions, for chapter 3.

Run ``python -m embedlens.sweep --output book/results/sweep.json`` (about four minutes).
"""

from functools import cache, partial

from embedlens import audit, commands, data, results
from embedlens.models import DotWithBias
import pandas as pd
from tqdm import tqdm

POSTS = {"dim": 64, "movie_dropout": 0.6}
DROPOUTS = [0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9]
DIMS = [1, 2, 4, 8, 16, 32, 64, 128]
SEEDS = [0, 1, 2]
# All epochs, without early stopping: curves of one length can be compared.
SETTINGS = {"epochs": 10, "patience": 10, "batch_size": 32}


def settings():
    """List the settings of the sweep, the post's once.

    Returns
    -------
    list of dict
        Each with dim (int) and movie_dropout (share of entries, 0 to 1).
    """
    by_dropout = [{**POSTS, "movie_dropout": dropout} for dropout in DROPOUTS]
    by_dim = [{**POSTS, "dim": dim} for dim in DIMS]
    return by_dropout + [setting for setting in by_dim if setting != POSTS]


def run(dim, movie_dropout, seed, epochs=SETTINGS["epochs"]):
    """Train the bias model once, row-wise; users get half of the movies' dropout.

    Parameters
    ----------
    dim : int
    movie_dropout : float
    seed : int
        Fixes split, initial weights, order of the ratings and dropout.
    epochs : int

    Returns
    -------
    pandas.DataFrame
        As from `training.train`, without early stopping.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
    """
    from embedlens import rowwise

    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train, valid = data.train_valid_split(ratings, seed)
    options = {**SETTINGS, "epochs": epochs}
    return rowwise.train(_maker(dim, movie_dropout), sizes, train, valid, seed, **options)[1]


def sweep():
    """Train every setting with every seed.

    Returns
    -------
    dict
        ``runs``: a list of dict with the setting, the seed and both curves, in stars;
        ``provenance``: what the numbers depend on.
    """
    todo = [(setting, seed) for setting in settings() for seed in SEEDS]
    runs, provenance = [], audit.provenance(SETTINGS)  # of the code that runs, not of later edits
    for setting, seed in tqdm(todo, unit="training"):
        history = run(**setting, seed=seed)
        curves = {key: history[key].round(5).to_list() for key in ("train_rmse", "valid_rmse")}
        runs.append({**setting, "seed": seed, **curves})
    return {"runs": runs, "provenance": provenance}


def load(path):
    """Read a stored sweep, if it is about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame
        One row per run and epoch: dim, movie_dropout, seed, epoch (from 1), train_rmse and
        valid_rmse in stars.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": SETTINGS}
    stored = results.read(path, present, "make sweep")
    curves = pd.DataFrame(stored["runs"]).explode(["train_rmse", "valid_rmse"])
    curves["epoch"] = curves.groupby(["dim", "movie_dropout", "seed"]).cumcount() + 1
    return curves.astype({"train_rmse": float, "valid_rmse": float}).reset_index(drop=True)


def mean_curves(curves, by):
    """Average the curves over the seeds, along one side of the sweep.

    Parameters
    ----------
    curves : pandas.DataFrame
        As from `load`.
    by : {"movie_dropout", "dim"}
        What varies; the other is the post's.

    Returns
    -------
    pandas.DataFrame
        Indexed by (`by`, epoch): train_rmse and valid_rmse, in stars.
    """
    fixed = {"movie_dropout": "dim", "dim": "movie_dropout"}[by]
    side = curves[curves[fixed] == POSTS[fixed]]
    return side.groupby([by, "epoch"])[["train_rmse", "valid_rmse"]].mean()


def main(arguments=None):
    """Run the sweep and store it; see the module's text."""
    commands.store("embedlens.sweep", __doc__, sweep, arguments)


@cache
def _maker(dim, movie_dropout):
    return partial(
        DotWithBias,
        min_rating=data.LOWEST_RATING,
        max_rating=data.HIGHEST_RATING,
        dim=dim,
        user_dropout=movie_dropout / 2,
        movie_dropout=movie_dropout,
    )


if __name__ == "__main__":
    main()
