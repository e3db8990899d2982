"""What the post published, and how near a reproduction must come.

Source: S. Keydana (2018), Collaborative filtering with embeddings, RStudio AI Blog,
CC BY 4.0. Each value says where it stands in the post. Bounds hold for seed 0 with
room for other processors, and are measured, not guessed; `Figure.why` says how.
"""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Figure:
    """A published number with the bound that our own must keep.

    Attributes
    ----------
    name : str
        What is measured.
    value : float
        As published.
    where : str
        Place in the post.
    low, high : float
        Our number must lie within, ends included.
    why : str
        Reason for the bound.
    digits : int
        Decimals to print.
    source : str
        Who says so: the post, the snapshot where the post gives a round number, or a library.
    """

    name: str
    value: float
    where: str
    low: float
    high: float
    why: str
    digits: int = 2
    source: str = "the post"

    def text(self):
        """The published value as a string, for prose."""
        return f"{self.value:,.{self.digits}f}"


def _count(name, value, where, why, source="the snapshot"):
    return Figure(name, value, where, value, value, why, digits=0, source=source)


FIGURES = {
    "n_ratings": _count(
        "ratings", 100_004, "'~100000 ratings'", "counted by GroupLens in the snapshot's README"
    ),
    "n_users": _count(
        "users", 671, "'~700 users'", "counted by GroupLens in the snapshot's README"
    ),
    "n_movies": _count(
        "rated movies", 9_066, "'~9900 movies'", "counted in the original ratings.csv"
    ),
    "n_often_rated": _count(
        "movies with more than 20 ratings",
        1_247,
        "'A tibble: 1,247 x 6', section on PCA",
        "a count: exact",
        source="the post",
    ),
    "rmse_simple_dot": Figure(
        "RMSE of the simple dot model",
        1.08,
        "'Final RMSE ... around 1.08'",
        1.06,
        1.09,
        "splits 0 to 3 gave 1.064 to 1.074; the mean rating as a constant gives 1.050 on split 0",
    ),
    "rmse_bias": Figure(
        "RMSE of the bias model",
        0.88,
        "'a way better RMSE of 0.88'",
        0.85,
        0.89,
        "splits 0 to 3 gave 0.867 to 0.879",
    ),
    "rmse_own_layer": Figure(
        "RMSE of the dot model on the hand-written layer",
        1.13,
        "'We end up with a RMSE of 1.13'",
        1.11,
        1.14,
        "splits 0 to 3 gave 1.120 to 1.130",
    ),
    "rmse_tuned_svd": Figure(
        "RMSE of the tuned setting on split 0",
        0.866,
        "Surprise: SVD with 100 factors, 40 epochs, rate 0.01, penalty 0.1; not in the post",
        0.855,
        0.867,
        "0.8644 on TensorFlow and 0.8647 on JAX; biases alone reach 0.885",
        digits=3,
        source="Surprise, tuned",
    ),
    "rmse_best_peer": Figure(
        "RMSE past the best other library on split 0",
        0.8366,
        "myFM: Bayesian factorisation machine with SVD++ features both ways; not in the post",
        0.80,
        0.8366,
        "myFM's own run on this split, tuned (`bench`); ours must lie below",
        digits=3,
        source="myFM, SVD++ features",
    ),
    "rmse_librec": Figure(
        "RMSE of LibRec, as the post cites it",
        0.91,
        "'popular benchmarks ... lie around 0.91'",
        0.91,
        0.91,
        "cited for comparison, not reproduced here",
    ),
}


def check(key, measured):
    """Hold `measured` against the published figure `key`.

    Prints one line without our number, so that it stays the same on every processor.

    Raises
    ------
    AssertionError
        If `measured` is out of bounds; the message gives both numbers.
    """
    figure = FIGURES[key]
    if not figure.low <= measured <= figure.high:
        raise AssertionError(
            f"{figure.name}: measured {measured:,.4f}, published {figure.text()}; "
            f"the bound is {figure.low:,g} to {figure.high:,g} ({figure.why})"
        )
    low, high = (f"{bound:,.{figure.digits}f}" for bound in (figure.low, figure.high))
    bound = low if low == high else f"within {low} to {high}"
    print(f"ok: {figure.name}: {bound} ({figure.source}: {figure.text()})")


_COLUMNS = ["title", "PC1", "PC2", "rating", "n_ratings"]

# The two tables of the section on PCA, titles completed where the post cut them.
LOWEST_TEN = pd.DataFrame(
    [
        ("Starman (1984)", -1.15, -0.400, 3.45, 22),
        ("Bulworth (1998)", -0.820, 0.218, 3.29, 31),
        ("Cable Guy, The (1996)", -0.801, -0.00333, 2.55, 59),
        ("Species (1995)", -0.772, -0.126, 2.81, 55),
        ("Save the Last Dance (2001)", -0.765, 0.0302, 3.36, 21),
        ("Spanish Prisoner, The (1997)", -0.760, 0.435, 3.91, 23),
        ("Sgt. Bilko (1996)", -0.757, 0.249, 2.76, 29),
        ("Naked Gun 2 1/2: The Smell of Fear, The (1991)", -0.749, 0.140, 3.44, 27),
        ("Swordfish (2001)", -0.694, 0.328, 2.92, 33),
        ("Addams Family Values (1993)", -0.693, 0.251, 3.15, 73),
    ],
    columns=_COLUMNS,
)
HIGHEST_TEN = pd.DataFrame(
    [
        ("Graduate, The (1967)", 1.41, 0.0432, 4.12, 89),
        ("Vertigo (1958)", 1.38, -0.0000246, 4.22, 69),
        ("Breakfast at Tiffany's (1961)", 1.28, 0.278, 3.59, 44),
        ("Treasure of the Sierra Madre, The (1948)", 1.28, -0.496, 4.30, 30),
        ("Boot, Das (Boat, The) (1981)", 1.26, 0.238, 4.17, 51),
        ("Flintstones, The (1994)", 1.18, 0.762, 2.21, 39),
        ("Rock, The (1996)", 1.17, -0.269, 3.74, 135),
        ("In the Heat of the Night (1967)", 1.15, -0.110, 3.91, 22),
        ("Quiz Show (1994)", 1.14, -0.166, 3.75, 90),
        ("Striptease (1996)", 1.14, -0.681, 2.46, 39),
    ],
    columns=_COLUMNS,
)

IDS, LISTS, SIDE, TIME = "ids", "lists of rated movies", "side information", "time"
FIXED, UNSAID = "fixed beforehand", "not said for this fold"
# RMSE on fold u1 of ml-100k: system, key in the bibliography, RMSE, what it uses, and how its
# number of epochs or samples was chosen, as the authors' repositories show it (read in November
# 2026; the numbers of GC-MC and IGMC are those of their papers).
ON_U1 = [
    ("myFM, ordinal", "ohtsuki2023", 0.8808, (IDS, LISTS, SIDE, TIME), FIXED),
    ("myFM", "ohtsuki2023", 0.8833, (IDS, LISTS, SIDE, TIME), FIXED),
    ("GLocal-K", "han2021", 0.8889, (IDS,), "best on the test part"),
    ("MG-GAT", "leng2020", 0.890, (IDS, SIDE), "cross-validated within the base"),
    ("IMC-GAE", "shen2021", 0.8967, (IDS,), "a part of the base set aside"),
    ("GraphRec, attributes", "rashed2019", 0.897, (IDS, SIDE), UNSAID),
    ("GraphRec", "rashed2019", 0.904, (IDS,), UNSAID),
    ("GC-MC, features", "berg2018", 0.905, (IDS, SIDE), FIXED),
    ("IGMC", "zhang2020", 0.905, (IDS,), FIXED),
    ("GC-MC", "berg2018", 0.910, (IDS,), FIXED),
]
