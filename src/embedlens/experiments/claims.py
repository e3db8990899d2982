"""What is claimed, by the post and by us, and the rules by which a claim is judged.

The rules were written down before the full run (`make reproduce`):

``exact``
    A count. Reproduced if ours is the same.
``rounds``
    A count that the post gives as about so many. Reproduced if ours, rounded to as many
    leading digits, is the same.
``run``
    The result of one training run. Reproduced if the published value, within its rounding,
    lies in the interval that holds one run of ours with 95 % probability; with a caveat
    if only the 99.9 % interval holds it.
``sentence``
    A statement that each seed meets or not, by a stated criterion. Reproduced if at least
    95 % of the seeds meet it; with a caveat if at least half do.
``finding``
    A statement of ours, by a stated criterion. Shown if at least 95 % of the seeds meet
    it and no p-value, where there is one, exceeds 0.001.

A caveat that stands in the claim itself turns "reproduced" into "with a caveat". Apart
from the verdict, each claim has a bound for the mean of our seeds, so that a change of
the code that moves a result does not go unseen.
"""

from dataclasses import dataclass
import hashlib
import math

import numpy as np

from embedlens import metrics
from embedlens.published import FIGURES

REPRODUCED, CAVEAT, FAILS = "reproduced", "reproduced with a caveat", "does not hold"
SHOWN, NOT_SHOWN = "shown", "not shown"
ENOUGH_SEEDS, HALF_OF_SEEDS, LARGEST_P = 0.95, 0.5, 0.001


@dataclass(frozen=True)
class Claim:
    """A claim and how it is judged.

    Attributes
    ----------
    id : str
        Stable name, in lower case with hyphens.
    statement : str
        What is claimed, for a table.
    where : str
        Place in the post; for a finding of ours, what it is about.
    chapter : str
        Name of the chapter that shows it, such as ``04_factors``.
    measure : str
        Key of the measure, as from `verdict.measure`.
    rule : str
        ``exact``, ``rounds``, ``run``, ``sentence`` or ``finding``: see the module.
    low, high : float
        Bound: the mean of our seeds must lie within, ends included.
    why : str
        Reason for the bound.
    published : float, optional
        The post's value.
    digits : int
        Decimals that the value is printed with; for the rule ``rounds``, leading digits.
    criterion : tuple of float, optional
        For ``sentence`` and ``finding``: what a seed's value must lie within, ends included.
    p, chance : str, optional
        Keys of the p-value that goes with the measure, and of what chance makes of it: its
        mean over all ways to shift the join.
    caveat : str
        What must be said even if the claim holds.
    """

    id: str
    statement: str
    where: str
    chapter: str
    measure: str
    rule: str
    low: float
    high: float
    why: str
    published: float | None = None
    digits: int = 2
    criterion: tuple[float, float] | None = None
    p: str | None = None
    chance: str | None = None
    caveat: str = ""

    def text(self, value):
        """A value of this measure as a string, with the claim's number of decimals."""
        return f"{value:,.{0 if self.rule == 'rounds' else self.digits}f}"

    def published_text(self):
        """The published value as a string; empty if the post gives none."""
        about = "about " if self.rule == "rounds" else ""
        return "" if self.published is None else about + self.text(self.published)


@dataclass(frozen=True)
class Assessment:
    """A claim held against the measures of several seeds.

    Attributes
    ----------
    claim : Claim
    values : tuple of float
        One per seed; a single one if nothing is trained.
    mean, sd : float
        Over the seeds.
    interval : tuple of float
        95 % confidence interval of the mean (Student's t).
    run_interval : tuple of float
        95 % prediction interval of one more run (Student's t).
    largest_p, chance : float or None
        Largest p-value of a seed, and the mean of the chance baseline.
    verdict : str
    in_bound : bool
        Whether the mean lies within the claim's bound.
    """

    claim: Claim
    values: tuple
    mean: float
    sd: float
    interval: tuple
    run_interval: tuple
    largest_p: float | None
    chance: float | None
    verdict: str
    in_bound: bool


def _figure(key, **options):
    figure = FIGURES[key]
    options = {"low": figure.low, "high": figure.high, "why": figure.why, **options}
    return {"published": figure.value, "where": figure.where, "digits": figure.digits, **options}


CLAIMS = (
    Claim(
        "n-ratings",
        "about 100,000 ratings",
        chapter="01_data",
        measure="n_ratings",
        rule="rounds",
        **_figure("n_ratings", published=100_000, digits=1),
    ),
    Claim(
        "n-users",
        "about 700 users",
        chapter="01_data",
        measure="n_users",
        rule="rounds",
        **_figure("n_users", published=700, digits=1),
    ),
    Claim(
        "n-movies",
        "about 9,900 movies",
        chapter="01_data",
        measure="n_movies",
        rule="rounds",
        **_figure("n_movies", published=9_900, digits=2),
    ),
    Claim(
        "n-often-rated",
        "1,247 movies were rated at least 20 times",
        chapter="04_factors",
        measure="n_often_rated",
        rule="exact",
        caveat="The post's code asks for more than 20 ratings, and so do we.",
        **_figure("n_often_rated"),
    ),
    Claim(
        "printed-counts",
        "rating counts of the 20 printed movies",
        "tables of the section on PCA",
        "04_factors",
        "printed_counts_equal",
        "exact",
        20,
        20,
        "counted: exact",
        published=20,
        digits=0,
    ),
    Claim(
        "printed-means",
        "mean ratings of the 20 printed movies",
        "tables of the section on PCA",
        "04_factors",
        "printed_means_equal",
        "exact",
        20,
        20,
        "equal within the printed digits",
        published=20,
        digits=0,
    ),
    Claim(
        "all-users-train",
        "all users occur in training (users left out)",
        "'probably all users will have been seen'",
        "01_data",
        "users_unseen",
        "sentence",
        0,
        0.5,
        "every user has at least 20 ratings, of which four in five train",
        criterion=(0, 0),
        digits=0,
    ),
    Claim(
        "not-all-movies-train",
        "not all movies occur in training (movies left out)",
        "'very likely, not all movies will have occurred'",
        "01_data",
        "movies_unseen",
        "sentence",
        600,
        750,
        "about a fifth of the movies with one rating, and a few others",
        criterion=(1, math.inf),
        digits=0,
    ),
    Claim(
        "rmse-simple-dot",
        "validation RMSE of the simple dot model",
        chapter="02_dot_model",
        measure="simple_dot_last",
        rule="run",
        **_figure("rmse_simple_dot"),
    ),
    Claim(
        "simple-overfits-early",
        "the simple model overfits early (epoch in which training overtakes validation)",
        "'we're overfitting early'",
        "02_dot_model",
        "simple_dot_crossing",
        "sentence",
        1,
        3,
        "early: in the first three of ten epochs",
        criterion=(1, 3),
        digits=1,
    ),
    Claim(
        "rmse-bias",
        "validation RMSE of the bias model",
        chapter="03_bias_model",
        measure="bias_last",
        rule="run",
        **_figure("rmse_bias"),
    ),
    Claim(
        "bias-better",
        "the bias model is better (RMSE gained)",
        "'a way better RMSE'",
        "03_bias_model",
        "bias_gain",
        "sentence",
        0.15,
        0.25,
        "the post's own difference is 0.20",
        published=0.20,
        criterion=(0.1, math.inf),
    ),
    Claim(
        "bias-overfits-later",
        "the bias model overfits later (by so many epochs)",
        "'Not only does it overfit later'",
        "03_bias_model",
        "later_crossing",
        "sentence",
        0.5,
        3,
        "later: by an epoch or more",
        criterion=(1, math.inf),
        digits=1,
        caveat="Dropout is on while the training RMSE is taken, which delays the crossing.",
    ),
    Claim(
        "entries-range",
        "entries of the first 20 movies lie within 0.5 of zero (share)",
        "'distributed between -0.5 and 0.5'",
        "04_factors",
        "first_20_within_half",
        "sentence",
        0.99,
        1,
        "a share: all but a few",
        criterion=(0.99, 1),
        digits=3,
    ),
    Claim(
        "entries-uniform",
        "and look uniform there (share within 0.25 of zero)",
        "'rather uniformly distributed'",
        "04_factors",
        "first_20_within_quarter",
        "sentence",
        0.85,
        0.97,
        "a uniform distribution has half of its entries there",
        published=0.5,
        criterion=(0.4, 0.6),
    ),
    Claim(
        "pc2-less-than-pc1",
        "PC2 explains much less than PC1 (ratio of their shares)",
        "'the second one already explains much less'",
        "04_factors",
        "pc2_by_pc1",
        "sentence",
        0.25,
        0.5,
        "much less: at most half",
        criterion=(0, 0.5),
    ),
    Claim(
        "pc1-lowest-ten",
        "the ten movies lowest on PC1 (of the post's, found)",
        "first table of the section on PCA",
        "04_factors",
        "found_lowest_correct",
        "sentence",
        0,
        2,
        "chance finds 0.08 of ten",
        published=10,
        criterion=(3, 10),
        digits=1,
    ),
    Claim(
        "pc1-highest-ten",
        "the ten movies highest on PC1 (of the post's, found)",
        "second table of the section on PCA",
        "04_factors",
        "found_highest_correct",
        "sentence",
        0,
        2,
        "chance finds 0.08 of ten",
        published=10,
        criterion=(3, 10),
        digits=1,
    ),
    Claim(
        "rmse-own-layer",
        "validation RMSE with the hand-written layer",
        chapter="05_own_layer",
        measure="own_layer_last",
        rule="run",
        **_figure("rmse_own_layer"),
    ),
    Claim(
        "own-layer-not-far",
        "not far from the simple model (difference in RMSE)",
        "'not far from the 1.08'",
        "05_own_layer",
        "own_minus_simple",
        "sentence",
        0.03,
        0.07,
        "the post's own difference is 0.05",
        published=0.05,
        criterion=(-0.1, 0.1),
        caveat="The difference is there in every seed. It is the initializer, not the layer.",
    ),
    Claim(
        "off-by-one-printed",
        "one movie back, the printed PC1 is the mean rating (correlation)",
        "the post's tables, no training",
        "04_factors",
        "printed_one_back",
        "finding",
        0.95,
        0.98,
        "computed from the printed digits; as printed, the correlation is 0.41",
        criterion=(0.9, 1),
        p="printed_one_back_p",
        chance="printed_by_chance",
    ),
    Claim(
        "off-by-one-trained",
        "joined as in the post, our PC1 finds its movies (of twenty)",
        "our vectors, the post's join",
        "04_factors",
        "found_off_by_one",
        "finding",
        6,
        14,
        "a chance join finds 0.2 of twenty",
        criterion=(4, 20),
        digits=1,
        p="found_off_by_one_p",
        chance="found_by_chance",
    ),
    Claim(
        "pc1-off-by-one",
        "joined as in the post, PC1 hides the mean rating (correlation)",
        "our vectors, the post's join",
        "04_factors",
        "pc1_rating_off_by_one",
        "finding",
        0.15,
        0.35,
        "neighbours have something in common, so that not nothing is left",
        criterion=(-0.5, 0.5),
    ),
    Claim(
        "pc1-is-appreciation",
        "joined correctly, PC1 is the mean rating (correlation)",
        "our vectors, the correct join",
        "04_factors",
        "pc1_rating_correct",
        "finding",
        0.78,
        0.9,
        "seeds 100 and 101 gave 0.83",
        criterion=(0.7, 1),
        p="pc1_rating_correct_p",
        chance="pc1_rating_by_chance",
    ),
    Claim(
        "initializer-effect",
        "the symmetric initializer costs RMSE (difference)",
        "two layers by two initializers",
        "05_own_layer",
        "initializer_effect",
        "finding",
        0.03,
        0.07,
        "seeds 100 and 101 gave 0.05",
        criterion=(0.02, math.inf),
        digits=3,
    ),
    Claim(
        "layer-effect",
        "the layer makes no difference (largest in RMSE)",
        "two layers by two initializers",
        "05_own_layer",
        "layer_effect",
        "finding",
        0,
        0.001,
        "equal to the bit where the compiler treats both alike",
        criterion=(0, 0.003),
        digits=3,
    ),
    Claim(
        "bias-only-rmse",
        "validation RMSE of biases alone",
        "the bias model without its vectors",
        "03_bias_model",
        "bias_only_last",
        "finding",
        0.87,
        0.9,
        "seeds 100 and 101 gave 0.883 and 0.887",
        criterion=(0, 0.95),
    ),
    Claim(
        "bias-share",
        "biases alone make most of the gain over a constant (share)",
        "the bias model without its vectors",
        "03_bias_model",
        "bias_share",
        "finding",
        0.85,
        1,
        "seeds 100 and 101 gave 0.93",
        criterion=(0.5, 1.1),
    ),
)


def digest():
    """Digest of all claims, their bounds and rules: a stored verdict holds for these only."""
    return hashlib.sha256(f"{CLAIMS} {__doc__}".encode()).hexdigest()


def assess(claim, measures):
    """Hold a claim against measures.

    Parameters
    ----------
    claim : Claim
    measures : list of dict
        As from `verdict.measure`, one per seed; a single one for what needs no training.

    Returns
    -------
    Assessment

    Raises
    ------
    ValueError
        If a value is missing or not a finite number.
    """
    values = np.array([m.get(claim.measure, math.nan) for m in measures], dtype="float64")
    if not (values.size and np.isfinite(values).all()):
        raise ValueError(f"{claim.id}: {claim.measure} is missing or not a finite number")
    mean = float(values.mean())
    several = len(values) > 1
    largest_p = max(m[claim.p] for m in measures) if claim.p else None
    return Assessment(
        claim=claim,
        values=tuple(values.tolist()),
        mean=mean,
        sd=float(values.std(ddof=1)) if several else 0.0,
        interval=metrics.mean_interval(values)[1:] if several else (mean, mean),
        run_interval=metrics.run_interval(values),
        largest_p=largest_p,
        chance=float(np.mean([m[claim.chance] for m in measures])) if claim.chance else None,
        verdict=_verdict(claim, values, largest_p),
        in_bound=bool(claim.low <= mean <= claim.high),
    )


def _verdict(claim, values, largest_p):
    if claim.rule in ("sentence", "finding"):
        low, high = claim.criterion
        share = np.mean((values >= low) & (values <= high))
    if claim.rule == "finding":
        significant = largest_p is None or largest_p <= LARGEST_P
        return SHOWN if share >= ENOUGH_SEEDS and significant else NOT_SHOWN
    if claim.rule == "exact":
        verdict = REPRODUCED if (values == claim.published).all() else FAILS
    elif claim.rule == "rounds":
        rounded = {float(f"{value:.{claim.digits - 1}e}") for value in values}
        verdict = REPRODUCED if rounded == {claim.published} else FAILS
    elif claim.rule == "run":
        verdict = _verdict_of_run(claim, values)
    elif claim.rule == "sentence":
        passed = share >= ENOUGH_SEEDS, share >= HALF_OF_SEEDS
        verdict = REPRODUCED if passed[0] else CAVEAT if passed[1] else FAILS
    else:
        raise ValueError(f"{claim.id}: unknown rule {claim.rule!r}")
    return CAVEAT if verdict == REPRODUCED and claim.caveat else verdict


def _verdict_of_run(claim, values):
    rounding = 0.5 * 10**-claim.digits
    for level, verdict in ((0.95, REPRODUCED), (0.999, CAVEAT)):
        low, high = metrics.run_interval(values, level)
        if low - rounding <= claim.published <= high + rounding:
            return verdict
    return FAILS
