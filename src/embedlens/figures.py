"""One look for all figures, and the picture that several chapters draw."""

import sys

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

OURS, POST, OTHER = sns.color_palette("colorblind")[:3]


def set_style():
    """Set size, font and a colour-blind-safe palette for all figures, and show titles whole.

    In a notebook, figures get twice the pixels, for screens that show them.
    """
    pd.set_option("display.max_colwidth", None)
    sns.set_theme(style="whitegrid", palette="colorblind", context="notebook")
    plt.rcParams.update({"figure.figsize": (6, 3.8), "figure.dpi": 110, "axes.titlesize": "medium"})
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    if "ipykernel" in sys.modules:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")


def learning_curves(history, published, ax=None):
    """Draw training and validation RMSE per epoch, with the post's final RMSE.

    Parameters
    ----------
    history : pandas.DataFrame
        As from `training.train`.
    published : Figure
        From `published.FIGURES`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = ax or plt.gca()
    ax.plot(history["epoch"], history["train_rmse"], "o--", color=OTHER, label="training")
    ax.plot(history["epoch"], history["valid_rmse"], "s-", color=OURS, label="validation")
    ax.axhline(
        published.value, color=POST, linestyle=":", label=f"the post, at the end: {published.value}"
    )
    ax.set(xlabel="Epoch", ylabel="RMSE (stars)")
    ax.set_xticks(history["epoch"])
    ax.legend()
    return ax
