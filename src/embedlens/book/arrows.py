"""Users and films as arrows that a reader can move, for chapter 2. Needs the extra "book"."""

import html

from IPython.display import display
from matplotlib.colors import to_hex
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from embedlens import data, figures, training
from embedlens.book import sliders
from embedlens.models import SimpleDot
from embedlens.recipes import Recipe, Training

# Names in the picture, and how the titles begin.
FILMS = {
    "Star Wars": "Star Wars: Episode IV",
    "Matrix": "Matrix, The",
    "Terminator 2": "Terminator 2",
    "Titanic": "Titanic (1997)",
    "Pretty Woman": "Pretty Woman",
    "Pulp Fiction": "Pulp Fiction",
    "Fargo": "Fargo",
    "Toy Story": "Toy Story (1995)",
    "Ace Ventura": "Ace Ventura: Pet",
    "Shawshank": "Shawshank",
    "Independence Day": "Independence Day",
    "Batman": "Batman (1989)",
    "Blade Runner": "Blade Runner (1982)",
}
COLD = "Blade Runner"  # its ratings are held back
USERS = (312, 580, 77)
# Few ratings: longer steps than the chapter's, and longer initial vectors, so that the cold film's
# can be seen, and users' and films' end about as long as each other.
RECIPE = Recipe(SimpleDot, Training(epochs=20, learning_rate=0.02), dim=2, high=1.5)
SEED = 1

# The script draws all the rest, below "fig-{name}". Lab, a reader without JavaScript and the PDF
# have the still picture there.
PAGE = """\
<div id="{name}" class="embedlens-arrows" role="group" aria-label="{alt}">
<p>These arrows can be moved on the book's web page.</p>
</div>
<script id="{name}-data" type="application/json">{content}</script>
<script src="../_static/arrows.js" data-name="{name}"></script>
"""


def vectors(ratings):
    """Train a dot model of two dimensions on a dozen films; one more film stays as drawn.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`.

    Returns
    -------
    pandas.DataFrame
        Indexed by name, users first; columns x and y, to two decimals, and kind: "user", "film",
        or "cold" for the film whose ratings are held back.
    """
    titles = data.movie_table(ratings)["title"]
    ids = {name: titles.index[titles.str.startswith(start)][0] for name, start in FILMS.items()}
    rated = ratings["movieIdDense"].isin([ids[name] for name in FILMS if name != COLD])
    sizes = data.count_users_and_movies(ratings)
    model, _ = training.train(RECIPE, sizes, ratings[rated], None, SEED)
    users = model.user_embedding.get_weights()[0][list(USERS)]
    films = model.movie_embedding.get_weights()[0][list(ids.values())]
    names = [*(f"user {user}" for user in USERS), *FILMS]
    places = np.concatenate([users, films]).astype("float64").round(2)
    found = pd.DataFrame(places, names, ["x", "y"])
    found["kind"] = ["user"] * len(USERS) + ["cold" if n == COLD else "film" for n in FILMS]
    return found


def show(vectors, rate, name, alt):
    """Show arrows that can be moved, and trained on one rating at a time.

    Parameters
    ----------
    vectors : pandas.DataFrame
        As from `vectors`.
    rate : float
        Learning rate.
    name : str
        Id in the page. ``fig-`` and this is the name of the still picture, from `draw`.
    alt : str
        Alternative text.
    """
    content = {
        "arrows": vectors.reset_index(names="name").to_dict("records"),
        "rate": rate,
        "colours": {kind: to_hex(colour) for kind, colour in _colours().items()},
    }
    page = PAGE.format(name=name, alt=html.escape(alt), content=sliders.for_script(content))
    display({"text/html": page, "text/plain": alt}, raw=True)


def draw(vectors, ax=None):
    """Draw the arrows, with their names in a column that keeps them apart.

    Parameters
    ----------
    vectors : pandas.DataFrame
        As from `vectors`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = ax or plt.gca()
    places = vectors[["x", "y"]]
    low, high = min(places.min().min(), 0) - 0.2, places.max().max() + 0.2
    ordered = vectors.sort_values("y")
    ax.grid(visible=False)
    heights = apart(ordered["y"], (high - low) / 18)
    colours = _colours()
    for arrow, height in zip(ordered.itertuples(), heights, strict=True):
        style = {"arrowstyle": "-|>", "color": colours[arrow.kind], "shrinkA": 0, "shrinkB": 0}
        style |= {"linewidth": 3 if arrow.kind == "user" else 1.5}
        style |= {"linestyle": "--" if arrow.kind == "cold" else "-"}
        order = 2 if arrow.kind == "film" else 3
        ax.annotate("", (arrow.x, arrow.y), (0, 0), arrowprops=style, zorder=order)
        leader = [arrow.x, high + 0.1], [arrow.y, height]
        ax.plot(*leader, color="0.5", linewidth=0.5, clip_on=False, zorder=1)
        look = {
            "weight": "bold" if arrow.kind == "user" else "normal",
            "style": "italic" if arrow.kind == "cold" else "normal",
        }
        ax.text(high + 0.15, height, arrow.Index, va="center", fontsize="small", **look)
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    ax.set(xlabel="First number", ylabel="Second number")
    return ax


def apart(places, gap):
    """Move rising places as little as needed, so that each has a gap to the one before.

    Parameters
    ----------
    places : sequence of float
        Rising.
    gap : float

    Returns
    -------
    list of float
    """
    groups = []  # the mean of where a group would begin, and its size
    for number, place in enumerate(places):
        groups.append((place - number * gap, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (one, n), (two, m) = groups[-2:]
            groups[-2:] = [((n * one + m * two) / (n + m), n + m)]
    starts = [start for start, size in groups for _ in range(size)]
    return [start + number * gap for number, start in enumerate(starts)]


def _colours():
    return {"user": figures.OURS, "film": figures.POST, "cold": figures.OTHER}
