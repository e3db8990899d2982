"""Pictures of the verdict: all claims for chapter 6, and the small figure of the start page."""

import hashlib
import textwrap

from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
import matplotlib.pyplot as plt
import numpy as np

from embedlens.experiments import claims, verdict
from embedlens.figures import OURS, POST, set_style

SMALL_FIGURE = [
    "rmse-simple-dot",
    "rmse-bias",
    "rmse-own-layer",
    "pc1-off-by-one",
    "pc1-is-appreciation",
]


def forest_plot(assessments, width=5.5):
    """Draw a row per assessment, each on a scale of its own, with its verdict.

    Dots: our runs. Thick line: 95 % interval of their mean; thin line: of one more run.
    Diamond: the post.

    Parameters
    ----------
    assessments : list of claims.Assessment
    width : float, default 5.5
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n = len(assessments)
    fig, axes = plt.subplots(n, 1, figsize=(width, 0.95 * n + 0.75), squeeze=False)
    for ax, assessment in zip(axes[:, 0], assessments, strict=True):
        _forest_row(ax, assessment)
    handles = [
        Line2D([], [], marker="o", color=OURS, linestyle="", alpha=0.4, label="our runs"),
        Line2D([], [], color=OURS, linewidth=1, label="95 % of runs"),
        Line2D([], [], color=OURS, linewidth=4, label="95 % for the mean"),
        Line2D([], [], marker="D", color=POST, linestyle="", label="the post"),
    ]
    inches = fig.get_figheight()
    fig.subplots_adjust(left=0.03, right=0.97, top=1 - 0.9 / inches, bottom=0.3 / inches, hspace=2)
    fig.legend(handles=handles, loc="upper center", ncols=2, frameon=False, fontsize=10)
    return fig


def multiverse(worlds):
    """Draw verdicts as a table: a row per claim, a column per branch, coloured by verdict.

    Parameters
    ----------
    worlds : pandas.DataFrame
        As from `verdict.multiverse`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    said = [claims.REPRODUCED, claims.SHOWN, claims.CAVEAT, claims.FAILS, claims.NOT_SHOWN]
    holds, caveat, fails = "#cfe3f3", "#fbe3b5", "#f3c6b4"
    shades = dict(zip(said, (holds, holds, caveat, fails, fails), strict=True))
    n_rows, n_columns = worlds.shape
    fig, ax = plt.subplots(figsize=(0.85 * n_columns + 2.2, 0.34 * n_rows + 1.2))
    for (row, column), a in np.ndenumerate(worlds.to_numpy()):
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=shades[a.verdict], edgecolor="w"))
        text = a.claim.text(a.mean)
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color="k", fontsize=10)
    ax.set(xlim=(0, n_columns), ylim=(n_rows, 0))
    labels = [textwrap.fill(name, 12) for name in worlds.columns]
    ax.set_xticks(np.arange(n_columns) + 0.5, labels, fontsize=10)
    ax.set_yticks(np.arange(n_rows) + 0.5, worlds.index, fontsize=10)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    names = {"holds, or is shown": holds, "with a caveat": caveat, "does not hold": fails}
    handles = [Patch(color=colour, label=name) for name, colour in names.items()]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.4, 0), ncols=3, frameon=False)
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
    fig = forest_plot([a for a in assessments if a.claim.id in SMALL_FIGURE])
    fig.savefig(path, dpi=220, bbox_inches="tight", metadata={"Source": stamp(assessments)})
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
    drawn += [] if claim.published is None else [claim.published]
    room = 0.06 * (max(drawn) - min(drawn)) or 1
    ax.plot(assessment.values, jitter, "o", color=OURS, alpha=0.4, markersize=4, zorder=2)
    ax.plot(assessment.run_interval, [y, y], color=OURS, linewidth=1, zorder=3)
    ax.plot(assessment.interval, [y, y], color=OURS, linewidth=4, zorder=3)
    if claim.published is not None:
        ax.plot(claim.published, y, "D", color=POST, markersize=6, zorder=4)
    ax.locator_params(axis="x", nbins=4)  # before xlim: it would undo it
    ax.set(xlim=(min(drawn) - room, max(drawn) + room), ylim=(-0.6, 0.6), yticks=[])
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", labelsize=9, pad=0)
    title = textwrap.fill(f"{claim.statement}: {assessment.verdict}", 62)
    ax.set_title(title, fontsize=10, loc="left", pad=3)
