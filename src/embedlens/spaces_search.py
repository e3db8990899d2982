"""Search the settings of the ways in `spaces`, on inner splits, for chapter 9.

Run ``python -m embedlens.spaces_search --output book/results/three_ways_search.json`` (about
fifteen minutes). It sees the training ratings of split 0 alone, and cuts them as
`tuned.search` does: the ratings that chapter 9 reports on for split 0 stay unseen.
"""

from itertools import product

from embedlens import audit, commands, data, results, spaces, tuned
import numpy as np
from tqdm import tqdm

AUTOREC = {
    "dim": [64, 128],
    "dropout": [0.5, 0.6, 0.7],
    "penalty": [0.0003, 0.001, 0.003],
    "learning_rate": [0.002, 0.004],
    "epochs": [30],
}
SEARCH = {
    "split": tuned.SEARCH["split"],
    "inner_splits": tuned.SEARCH["inner_splits"],
    "inner_share": tuned.SEARCH["inner_share"],
    "trials": 12,  # of each autoencoder; the other grids are tried in full
    "biases": {"ridge": [1, 2, 3, 4, 6]},
    "filled": {"rank": [4, 8, 16, 32, 64], "shrink": [0, 1, 2]},
    "residual": {"rank": [4, 8, 16, 32, 64], "shrink": [0, 1, 2]},
    "refilled": {"rank": [32, 64], "shrink": [10, 12, 14], "rounds": [15]},
    "autorec": {**AUTOREC, "batch_size": [512]},
    "autorec_users": {**AUTOREC, "batch_size": [32]},
}
WAYS = {
    "biases": spaces.biases,
    "filled": spaces.filled_svd,
    "residual": spaces.residual_svd,
    "refilled": spaces.refilled_svd,
    "autorec": spaces.autorec,
    "autorec_users": spaces.autorec_users,
}


def judged(way, setting):
    """Fit one way at a setting on the inner splits.

    Returns
    -------
    float
        RMSE in stars, averaged over the inner splits.
    """
    sizes = data.count_users_and_movies(data.prepared())
    found = []
    for seed, split in enumerate(SEARCH["inner_splits"]):
        train, valid = tuned.inner_part(split)
        seeds = (seed,) if way.startswith("autorec") else ()
        found.append(WAYS[way](train, sizes, *seeds, settings=setting).rmse(valid))
    return sum(found) / len(found)


def settings_to_try(way):
    """List all settings of a grid; of an autoencoder's, a part drawn at random (seed 0)."""
    grid = SEARCH[way]
    every = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if way.startswith("autorec"):
        drawn = np.random.default_rng(0).choice(len(every), SEARCH["trials"], replace=False)
        every = [every[i] for i in sorted(drawn)]
    return every


def search():
    """Try the settings of every way.

    Returns
    -------
    dict
        ``runs``: a list of dict with way, setting and rmse in stars; ``provenance``: what
        the numbers depend on.
    """
    provenance = audit.provenance(SEARCH)
    todo = [(way, s) for way in WAYS for s in settings_to_try(way)]
    runs = [
        {"way": way, "setting": setting, "rmse": round(judged(way, setting), 5)}
        for way, setting in tqdm(todo, unit="setting")
    ]
    return {"runs": runs, "provenance": provenance}


def load(path):
    """Read a stored search, if it is about the present data and grids.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    list of dict
        ``runs`` of `search`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": SEARCH}
    return results.read(path, present, "make three-ways-search")["runs"]


def best(runs):
    """Take the setting with the lowest RMSE of each way: dict by way."""
    lowest = {}
    for run in runs:
        if run["way"] not in lowest or run["rmse"] < lowest[run["way"]]["rmse"]:
            lowest[run["way"]] = run
    return {way: run["setting"] for way, run in lowest.items()}


def main(arguments=None):
    """Run the search and store it; see the module's text."""
    commands.store("embedlens.spaces_search", __doc__, search, arguments)


if __name__ == "__main__":
    main()
