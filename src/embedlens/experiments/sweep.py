"""The sweep: train the bias model over dropout and over dimensions, for chapter 3."""

from embedlens import data, experiments, training
from embedlens.experiments.runner import Experiment
from embedlens.recipes import BIAS

POSTS = {"dim": 64, "movie_dropout": 0.6}
DROPOUTS = [0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9]
DIMS = [1, 2, 4, 8, 16, 32, 64, 128]
SEEDS = [0, 1, 2]
# All epochs, without early stopping: curves of one length can be compared.
RECIPE = BIAS.with_training(patience=None)


def parts():
    """List the settings of the sweep, the post's once, each with all seeds.

    Returns
    -------
    list of dict
        Arguments of `measure`.
    """
    by_dropout = [{**POSTS, "movie_dropout": dropout} for dropout in DROPOUTS]
    by_dim = [{**POSTS, "dim": dim} for dim in DIMS]
    settings = by_dropout + [setting for setting in by_dim if setting != POSTS]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def measure(dim, movie_dropout, seed):
    """Train the bias model once, row-wise; users get half of the movies' dropout.

    Parameters
    ----------
    dim : int
    movie_dropout : float
        Share of entries, 0 to 1.
    seed : int
        Fixes split, initial weights, order of the ratings and dropout.

    Returns
    -------
    dict
        train_rmse, valid_rmse: a value per epoch, in stars.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
    """
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    train, valid = data.train_valid_split(ratings, seed)
    recipe = RECIPE.with_options(
        dim=dim, user_dropout=movie_dropout / 2, movie_dropout=movie_dropout
    )
    _, history = training.train(recipe, sizes, train, valid, seed, way="rowwise")
    return {key: history[key].to_list() for key in ("train_rmse", "valid_rmse")}


SWEEP = Experiment("sweep", RECIPE.settings(), parts(), measure)


def curves(path):
    """Read the curves of a stored sweep.

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
        As `runner.Experiment.load`, which refuses a file that was made for something else.
    """
    found = experiments.table(path).explode(["train_rmse", "valid_rmse"])
    found["epoch"] = found.groupby(["dim", "movie_dropout", "seed"]).cumcount() + 1
    return found.astype({"train_rmse": float, "valid_rmse": float}).reset_index(drop=True)


def mean_curves(curves, by):
    """Average the curves over the seeds, along one side of the sweep.

    Parameters
    ----------
    curves : pandas.DataFrame
        As from `curves`.
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
