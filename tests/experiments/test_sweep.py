from pathlib import Path

import pytest

from embedlens import experiments
from embedlens.experiments import sweep, verdict

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/sweep.json"


@pytest.fixture(scope="module")
def curves():
    return sweep.curves(STORED)


def test_stored_sweep_is_complete(curves):
    runs = {tuple(part.values()) for part in sweep.parts()}
    assert len(runs) == len(sweep.parts()) == (7 + 8 - 1) * 3
    lengths = curves.groupby(["dim", "movie_dropout", "seed"])["epoch"].agg(list)
    assert set(lengths.index) == runs
    assert (lengths.map(tuple) == tuple(range(1, 11))).all()
    assert curves[["train_rmse", "valid_rmse"]].stack().between(0.1, 1.5).all()


def test_the_posts_setting_agrees_with_the_verdict(curves):
    """The verdict trained the same model on other splits, for all ten epochs too."""
    others = verdict.curves(experiments.load(ROOT / "book/results/verdict.json"), "bias")["all"]
    post = curves.query("dim == 64 and movie_dropout == 0.6").groupby("epoch")["valid_rmse"]
    assert post.mean().to_list() == pytest.approx(others.groupby("epoch").mean(), abs=0.006)


def test_means_are_over_the_seeds_of_one_side(curves):
    means = sweep.mean_curves(curves, "dim")
    assert list(means.index.unique(0)) == sweep.DIMS
    some = curves.query("dim == 8 and epoch == 3")["valid_rmse"]
    assert len(some) == 3
    assert means.loc[(8, 3), "valid_rmse"] == pytest.approx(some.mean())
    assert list(sweep.mean_curves(curves, "movie_dropout").index.unique(0)) == sweep.DROPOUTS
