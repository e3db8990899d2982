from matplotlib.colors import to_hex
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from embedlens import figures, published


@pytest.fixture
def ax():
    figures.set_style()
    yield plt.figure().add_subplot()
    plt.close("all")


def test_learning_curves_are_labelled_and_hold_the_history(ax):
    history = pd.DataFrame({"epoch": [1, 2], "train_rmse": [1.2, 1.0], "valid_rmse": [1.1, 1.05]})
    post = published.FIGURES["rmse_bias"]
    assert figures.learning_curves(history, post, ax) is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Epoch", "RMSE (stars)")
    train, valid, line = ax.get_lines()
    assert train.get_ydata().tolist() == [1.2, 1.0]
    assert valid.get_ydata().tolist() == [1.1, 1.05]
    assert set(line.get_ydata()) == {post.value}
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training", "validation", f"the post, at the end: {post.value}"]


def test_palette_is_safe_for_the_colour_blind():
    assert len({to_hex(color) for color in (figures.OURS, figures.POST, figures.OTHER)}) == 3
    assert to_hex(figures.OURS) == "#0173b2"
