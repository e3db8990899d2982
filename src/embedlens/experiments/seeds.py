"""How much of an embedding another seed keeps, by its number of dimensions. For chapter 9.

Asked after `shapes` had been run: there, the embeddings' settings differ by split, and so does what
another seed keeps. Here, nothing but the dimensions changes.
"""

from functools import cache
from itertools import product

import numpy as np

from embedlens import data, provenance
from embedlens.experiments import completion, search, shapes, tuning
from embedlens.experiments.conclusions import Conclusion
from embedlens.experiments.runner import Experiment

DIMS = [16, 32, 64, 128]
SHAPES = provenance.PACKAGE / "results/shapes.json"


@cache
def settings(split):
    """The settings that `shapes` found for a split: a dict by way, empty before it has been run."""
    try:
        runs = shapes.SHAPES.load(SHAPES)["runs"]
    except FileNotFoundError:
        return {}
    return next(r["settings"] for r in runs if r["kind"] == "report" and r["split"] == split)


def measure(split, dim):
    """Train `tuning.anchor` with so many dimensions and two seeds.

    Parameters
    ----------
    split, dim : int

    Returns
    -------
    dict
        ``rmse``: of the first seed, in stars; ``seed`` and ``softimpute``: share of a movie's ten
        nearest that the first seed has in common with the other, and with SoftImpute;
        ``canonical``: correlations of the two seeds, a list.
    """
    train, valid = data.train_valid_split(data.prepared(), split)
    sizes = data.count_users_and_movies(data.prepared())
    recipe = tuning.anchor(split).with_options(dim=dim)
    fitted = [
        completion.embeddings(train, sizes, seed, recipe) for seed in (split, split + shapes.OTHER)
    ]
    soft = shapes.fit("softimpute", train, split, split, settings(split))
    ours, again, theirs = (shapes.components(one)[0] for one in [*fitted, soft])
    seeds = shapes.compare("", ours, again)
    return {
        "rmse": fitted[0].rmse(valid),
        "seed": seeds["agreement "],
        "softimpute": shapes.compare("", ours, theirs)["agreement "],
        "canonical": seeds["canonical "],
    }


SEEDS = Experiment(
    "seeds",
    {
        "splits": search.OUTER,
        "dims": DIMS,
        "anchors": tuning.anchors(),
        "softimpute": [settings(split).get("softimpute") for split in search.OUTER],
    },
    [{"split": split, "dim": dim} for split, dim in product(search.OUTER, DIMS)],
    measure,
    files=(provenance.PACKAGE / "results/anchors.json", SHAPES),
)


def _gain(key):
    """What 128 dimensions gain over 16, on each split."""

    def by_split(report):
        found = {(run["split"], run["dim"]): run[key] for run in report["runs"]}
        return np.array([found[split, 128] - found[split, 16] for split in search.OUTER])

    return by_split


CONCLUSIONS = {
    "seeds": [
        Conclusion(
            "dimensions-tame-luck",
            "With 128 dimensions, another seed keeps more neighbours than with 16, all else equal",
            _gain("seed"),
            **shapes.SHARE,
        ),
        Conclusion(
            "dimensions-near-softimpute",
            "With 128 dimensions, embeddings share more neighbours with SoftImpute than with 16",
            _gain("softimpute"),
            **shapes.SHARE,
        ),
    ]
}
