from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image
import pytest

from embedlens.experiments import verdict, verdict_figures

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stored():
    return verdict.VERDICT.load(ROOT / "book/results/verdict.json")


def test_small_figure_shows_the_stored_verdict(stored):
    with Image.open(ROOT / "book/_static/verdict.png") as picture:
        stamp = picture.text["Source"]
    assert stamp == verdict_figures.stamp(verdict.assessments(stored)), "run make reproduce"


def test_small_figure_is_stamped_with_what_it_shows(tmp_path, stored):
    verdict_figures.save(stored, tmp_path / "verdict.png")
    with Image.open(tmp_path / "verdict.png") as picture:
        stamp = picture.text["Source"]
    assert stamp == verdict_figures.stamp(verdict.assessments(stored))
    assert stamp != verdict_figures.stamp(verdict.assessments(moved(stored)))


def test_forest_plot_has_a_row_per_claim_and_draws_each_seed(stored):
    some = [a for a in verdict.assessments(stored) if a.claim.id in ("rmse-bias", "n-users")]
    fig = verdict_figures.forest_plot(some)
    assert len(fig.axes) == 2
    for ax, assessment in zip(fig.axes, some, strict=True):
        dots = ax.lines[0].get_xdata()
        assert sorted(dots) == sorted(assessment.values)
        low, high = ax.get_xlim()
        shown = [assessment.claim.published, *assessment.values, *assessment.run_interval]
        assert low < min(shown) <= max(shown) < high
        title = ax.get_title(loc="left").replace("\n", " ")
        assert title == f"{assessment.claim.statement}: {assessment.verdict}"
    plt.close(fig)


def moved(report):
    """The report with a bias model that got worse on one seed."""
    first, *others = report["runs"]
    curves = {**first["curves"], "bias": {**first["curves"]["bias"], "all": [1.5] * 10}}
    vectors = dict.fromkeys(map(str, range(1, 11)), next(iter(first["vectors"].values())))
    return {**report, "runs": [{**first, "curves": curves, "vectors": vectors}, *others]}


def test_table_of_worlds_colours_each_verdict(stored):
    worlds = verdict.multiverse(stored)
    fig = verdict_figures.multiverse(worlds)
    ax = fig.axes[0]
    assert len(ax.patches) == len(ax.texts) == worlds.size
    shades = {}
    for patch, a in zip(ax.patches, worlds.to_numpy().ravel(), strict=True):
        shades.setdefault(a.verdict, set()).add(patch.get_facecolor())
    assert all(len(found) == 1 for found in shades.values())
    fails = [shades[said] for said in ("does not hold", "not shown") if said in shades]
    assert not any(found & shades["reproduced"] for found in fails)
    plt.close(fig)
