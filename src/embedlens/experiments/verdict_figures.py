"""Pictures of the verdict: all claims for chapter 6, and the small figure of the start page."""

import hashlib
import textwrap

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
import matplotlib.pyplot as plt
import numpy as np

from embedlens.experiments import verdict
from embedlens.figures import OURS, POST, set_style

SMALL_FIGURE = [
    "rmse-simple-dot",
    "rmse-bias",
    "rmse-own-layer",
    "pc1-off-by-one",
    "pc1-is-appreciation",
]


def forest_plot(assessments, width=8.5):
    """Draw a row per assessment, each on a scale of its own.

    Dots: our seeds. Thick line: 95 % interval of their mean; thin line: of one more run.
    Diamond: the post. Grey band: the bound.

    Parameters
    ----------
    assessments : list of claims.Assessment
    width : float, default 8.5
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n = len(assessments)
    fig, axes = plt.subplots(n, 1, figsize=(width, 0.55 * n + 0.75), squeeze=False)
    for ax, assessment in zip(axes[:, 0], assessments, strict=True):
        _forest_row(ax, assessment)
    handles = [
        Patch(color="0.88", label="bound"),
        Line2D([], [], marker="o", color=OURS, linestyle="", alpha=0.4, label="our seeds"),
        Line2D([], [], color=OURS, linewidth=1, label="95 % of runs"),
        Line2D([], [], color=OURS, linewidth=4, label="95 % for the mean"),
        Line2D([], [], marker="D", color=POST, linestyle="", label="the post"),
    ]
    inches = fig.get_figheight()
    fig.subplots_adjust(left=0.5, right=0.83, top=1 - 0.45 / inches, bottom=0.25 / inches, hspace=1)
    fig.legend(handles=handles, loc="upper center", ncols=5, frameon=False, fontsize=9)
    return fig


def save(report, path):
    """Save the small figure of the start page, stamped with the values that it shows.

    Parameters
    ----------
    report : dict
        As from `verdict.VERDICT.load`.
    path : path-like
        Of the PNG file.
    """
    set_style()
    assessments = verdict.assessments(report)
    fig = forest_plot([a for a in assessments if a.claim.id in SMALL_FIGURE], width=7.5)
    fig.savefig(path, dpi=150, bbox_inches="tight", metadata={"Source": stamp(assessments)})
    plt.close(fig)


def stamp(assessments):
    """Digest of what the small figure shows."""
    shown = [(a.claim.id, a.values, a.verdict) for a in assessments if a.claim.id in SMALL_FIGURE]
    return hashlib.sha256(repr(shown).encode()).hexdigest()


def _forest_row(ax, assessment):
    claim, y = assessment.claim, 0
    rng = np.random.default_rng(0)
    jitter = rng.uniform(-0.25, 0.25, len(assessment.values))
    drawn = [*assessment.values, *assessment.run_interval]
    drawn += [v for v in (claim.low, claim.high, claim.published) if v is not None]
    room = 0.06 * (max(drawn) - min(drawn)) or 1
    ax.axvspan(claim.low, claim.high, color="0.88", zorder=0)
    ax.plot(assessment.values, jitter, "o", color=OURS, alpha=0.4, markersize=4, zorder=2)
    ax.plot(assessment.run_interval, [y, y], color=OURS, linewidth=1, zorder=3)
    ax.plot(assessment.interval, [y, y], color=OURS, linewidth=4, zorder=3)
    if claim.published is not None:
        ax.plot(claim.published, y, "D", color=POST, markersize=6, zorder=4)
    ax.locator_params(axis="x", nbins=4)  # before xlim: it would undo it
    ax.set(xlim=(min(drawn) - room, max(drawn) + room), ylim=(-0.6, 0.6), yticks=[])
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", labelsize=8, pad=0)
    label = textwrap.fill(claim.statement, 52)
    ax.text(-0.03, 0.5, label, transform=ax.transAxes, ha="right", va="center", fontsize=9)
    verdict = textwrap.fill(assessment.verdict, 16)
    ax.text(1.03, 0.5, verdict, transform=ax.transAxes, ha="left", va="center", fontsize=9)
