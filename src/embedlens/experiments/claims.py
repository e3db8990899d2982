"""What is claimed, by the post and by us, and the rules by which a claim is judged.

Rules, criteria, margins and the number of runs were committed before the full run (`make
reproduce`), and its splits had not been looked at. A run is a split with a seed.

``exact``
    A count. Reproduced if ours is the same.
``rounds``
    A count that the post gives as about so many. Reproduced if ours, rounded to as many
    leading digits, is the same.
``run``
    The result of one training run. Reproduced if the published value, within its rounding,
    lies in the interval that holds one more run of ours with 95 % probability; with a caveat
    if only the 99.9 % interval holds it.
``sentence``
    A statement that each run meets or not, by a stated criterion. Reproduced if at least
    95 % of the runs meet it; with a caveat if at least half do.
``finding``
    A statement of ours, by a stated criterion. Shown if at least 95 % of the runs meet
    it and no p-value, where there is one, exceeds 0.001.
``equal``
    A statement of ours that a difference does not matter. Shown if two one-sided tests at 5 %
    on the splits' means, corrected for their overlap, exclude every difference outside of the
    criterion: its margin.

A caveat that stands in the claim itself turns "reproduced" into "with a caveat". Apart
from the verdict, each claim has a bound for the mean of our runs, so that a change of
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
ENOUGH_RUNS, HALF_OF_RUNS, LARGEST_P = 0.95, 0.5, 0.001
VALID_SHARE = 0.2  # of `data.train_valid_split`


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
        ``exact``, ``rounds``, ``run``, ``sentence``, ``finding`` or ``equal``: see the module.
    low, high : float
        Bound: the mean of our runs must lie within, ends included.
    why : str
        Reason for the bound.
    published : float, optional
        The post's value.
    digits : int
        Decimals that the value is printed with; for the rule ``rounds``, leading digits.
    criterion : tuple of float, optional
        For ``sentence`` and ``finding``: what a run's value must lie within, ends included. For
        ``equal``: the margin to either side.
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
        One per split and seed; a single one if nothing is trained.
    mean, sd : float
        Mean of the splits' means; standard deviation of a run on another split, with another
        seed.
    components : dict of str to float
        As from `metrics.variance_components`; empty if nothing is trained.
    interval : tuple of float
        95 % confidence interval of the mean, corrected for splits that share their ratings.
    run_interval : tuple of float
        95 % prediction interval of one more run: another split, another seed.
    largest_p, chance : float or None
        Largest p-value of a run, and the mean of the chance baseline.
    verdict : str
    in_bound : bool
        Whether the mean lies within the claim's bound.
    """

    claim: Claim
    values: tuple
    mean: float
    sd: float
    components: dict
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
        "nearly-empty",
        "the matrix of ratings is nearly empty (share of entries known)",
        "users by movies",
        "01_data",
        "density",
        "finding",
        0.0164,
        0.0165,
        "counted",
        criterion=(0, 0.05),
        digits=3,
    ),
    Claim(
        "long-tail-users",
        "a tenth of the users gives much of the ratings (share)",
        "ratings per user",
        "01_data",
        "share_of_top_tenth_users",
        "finding",
        0.45,
        0.47,
        "counted",
        criterion=(0.3, 1),
    ),
    Claim(
        "long-tail-movies",
        "a tenth of the movies has most of the ratings (share)",
        "ratings per movie",
        "01_data",
        "share_of_top_tenth_movies",
        "finding",
        0.59,
        0.61,
        "counted",
        criterion=(0.5, 1),
    ),
    Claim(
        "filling-matters",
        "what fills a gap decides what an SVD predicts for it (RMSE, zero minus mean)",
        "the dense corner, two factors",
        "01_data",
        "filling_difference",
        "finding",
        1.5,
        1.7,
        "computed: 2.54 and 0.95",
        criterion=(0.5, math.inf),
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
        "the simple model overfits early (epoch after which training is better than validation)",
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
        "simple-turns-early",
        "and its validation error turns early (epoch of its lowest RMSE)",
        "'we're overfitting early'",
        "02_dot_model",
        "simple_dot_turn",
        "sentence",
        9,
        10,
        "splits 0 to 9, seed 0, gave 9 to 10: the lowest is at the end",
        criterion=(1, 5),
        digits=1,
    ),
    Claim(
        "dot-seen-still-falls",
        "on movies seen in training, it gets better to the end (epoch of its lowest RMSE)",
        "movies seen in training",
        "02_dot_model",
        "simple_dot_turn_seen",
        "finding",
        9,
        10,
        "splits 0 to 9, seed 0, gave 10",
        criterion=(9, 10),
        digits=1,
    ),
    Claim(
        "dot-cold-rises",
        "on cold movies, the simple model gets worse (rise of RMSE to epoch ten)",
        "movies never seen in training",
        "02_dot_model",
        "simple_dot_cold_rise",
        "finding",
        0.03,
        0.08,
        "splits 0 to 9, seed 0, gave 0.05 to 0.06",
        criterion=(0.01, math.inf),
    ),
    Claim(
        "dot-gains-nothing",
        "the simple model gains nothing over a constant (RMSE minus the constant's)",
        "the mean training rating for all",
        "02_dot_model",
        "dot_minus_constant",
        "finding",
        0,
        0.03,
        "splits 0 to 9, seed 0, gave 0.002 to 0.024",
        criterion=(-0.005, math.inf),
        digits=3,
    ),
    Claim(
        "dot-better-seen",
        "on movies seen in training, it beats the constant (difference in RMSE)",
        "movies seen in training",
        "02_dot_model",
        "dot_minus_constant_seen",
        "finding",
        -0.15,
        -0.08,
        "splits 0 to 9, seed 0, gave -0.12 to -0.11",
        criterion=(-math.inf, -0.05),
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
        "in the bias model, training overtakes validation later (by so many epochs)",
        "'Not only does it overfit later'",
        "03_bias_model",
        "later_crossing",
        "sentence",
        -0.5,
        0.5,
        "splits 0 to 9, seed 0, gave 0: both after the first epoch",
        criterion=(1, math.inf),
        digits=1,
    ),
    Claim(
        "bias-stops-later",
        "early stopping ends it later (by so many epochs)",
        "'Not only does it overfit later'",
        "03_bias_model",
        "later_stop",
        "sentence",
        0,
        2.5,
        "splits 0 to 9, seed 0, gave -3 to 3, on average 1.2",
        criterion=(1, math.inf),
        digits=1,
    ),
    Claim(
        "bias-turns-later",
        "and its validation error turns later (by so many epochs)",
        "'Not only does it overfit later'",
        "03_bias_model",
        "later_turn",
        "sentence",
        -5,
        -2,
        "splits 0 to 9, seed 0, gave -5 to -1",
        criterion=(1, math.inf),
        digits=1,
    ),
    Claim(
        "bias-turns-first",
        "on movies seen in training, the bias model turns first (epochs earlier)",
        "movies seen in training",
        "03_bias_model",
        "later_turn_seen",
        "finding",
        -5,
        -2,
        "splits 0 to 9, seed 0, gave -4 to -2",
        criterion=(-math.inf, -1),
        digits=1,
    ),
    Claim(
        "bias-gain-seen",
        "on movies seen in training, the bias model is better (RMSE gained)",
        "movies seen in training",
        "03_bias_model",
        "bias_gain_seen",
        "finding",
        0.045,
        0.09,
        "splits 0 to 9, seed 0, gave 0.05 to 0.07",
        criterion=(0.02, math.inf),
    ),
    Claim(
        "cold-share-of-gain",
        "most of the gain is cold movies (share of the drop in squared error)",
        "cold and seen movies apart",
        "03_bias_model",
        "cold_share_of_gain",
        "finding",
        0.6,
        0.8,
        "splits 0 to 9, seed 0, gave 0.67 to 0.76",
        criterion=(0.5, 1),
    ),
    Claim(
        "mean-is-shared",
        "users, movies and dot product all carry the mean rating (the least of three, in score)",
        "where the global mean went",
        "03_bias_model",
        "mean_least",
        "finding",
        0.18,
        0.27,
        "splits 0 to 9, seed 0, gave 0.21 to 0.23",
        criterion=(0.05, math.inf),
    ),
    Claim(
        "mean-surplus",
        "together they carry more than is needed (surplus in score)",
        "where the global mean went",
        "03_bias_model",
        "mean_surplus",
        "finding",
        0.08,
        0.16,
        "splits 0 to 9, seed 0, gave 0.11 to 0.13",
        criterion=(0, math.inf),
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
        "and are uniform there (share within 0.25 of zero)",
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
        "entries-bell-shaped",
        "the entries are bell-shaped (share within 0.25 of zero)",
        "entries of the first 20 movies",
        "04_factors",
        "first_20_within_quarter",
        "finding",
        0.85,
        0.97,
        "half of uniform entries lie there, nearly all of these",
        criterion=(0.75, 1),
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
        caveat="The difference is there in every run. It is the initializer, not the layer.",
    ),
    Claim(
        "off-by-one-printed",
        "one movie back, the printed PC1 follows the mean rating (correlation)",
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
        "joined correctly, PC1 follows the mean rating (correlation)",
        "our vectors, the correct join",
        "04_factors",
        "pc1_rating_correct",
        "finding",
        0.78,
        0.9,
        "splits 0 to 19 gave 0.84",
        criterion=(0.7, 1),
        p="pc1_rating_correct_p",
        chance="pc1_rating_by_chance",
    ),
    Claim(
        "pc1-weights",
        "users differ in how much PC1 counts (correlation of its weight with their ratings' slope)",
        "users' vectors along PC1",
        "04_factors",
        "weight_by_slope",
        "finding",
        0.5,
        0.7,
        "splits 0 to 9, seed 0, gave 0.57 to 0.61",
        criterion=(0.3, 1),
    ),
    Claim(
        "pc2-is-spectacle",
        "PC2 sets action and adventure apart from drama (in standard deviations)",
        "genres along PC2",
        "04_factors",
        "pc2_spectacle",
        "finding",
        0.45,
        0.8,
        "splits 0 to 9, seed 0, gave 0.49 to 0.74",
        criterion=(0.3, math.inf),
    ),
    Claim(
        "pc2-survives",
        "trained twice on a split, PC2 comes out again (correlation)",
        "two seeds on one split",
        "04_factors",
        "pc2_again",
        "finding",
        0.65,
        0.95,
        "splits 0 to 9, seed 0, gave 0.73 to 0.86",
        criterion=(0.5, 1),
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
        "splits 0 to 19 gave 0.05",
        criterion=(0.02, math.inf),
        digits=3,
    ),
    Claim(
        "layer-is-the-same",
        "the layer makes no difference that matters (in RMSE)",
        "two layers by two initializers",
        "05_own_layer",
        "layer_difference",
        "equal",
        -0.001,
        0.001,
        "equal to the bit where the compiler treats both alike",
        criterion=(-0.005, 0.005),
        digits=4,
    ),
    Claim(
        "initializer-cold",
        "on cold movies, the symmetric initializer costs RMSE (difference)",
        "cold movies",
        "05_own_layer",
        "initializer_effect_cold",
        "finding",
        0.45,
        0.6,
        "splits 0 to 9, seed 0, gave 0.49 to 0.54",
        criterion=(0.2, math.inf),
    ),
    Claim(
        "initializer-seen",
        "on movies seen in training, the initializer makes no difference that matters (in RMSE)",
        "movies seen in training",
        "05_own_layer",
        "initializer_effect_seen",
        "equal",
        -0.01,
        0.01,
        "splits 0 to 9, seed 0, gave -0.009 to 0.019",
        criterion=(-0.02, 0.02),
        digits=3,
    ),
    Claim(
        "cold-rows-stay",
        "rows that no rating looks up stay as drawn (largest entry, of at most 0.05)",
        "movies never seen in training",
        "05_own_layer",
        "cold_largest_entry",
        "finding",
        0.0499,
        0.05,
        "drawn between -0.05 and 0.05",
        criterion=(0, 0.05),
        digits=3,
    ),
    Claim(
        "initializer-turns",
        "started with both signs, the simple model turns earlier (on seen movies, in epochs)",
        "movies seen in training",
        "05_own_layer",
        "initializer_turn_seen",
        "finding",
        -6,
        -3,
        "splits 0 to 9, seed 0, gave -5 to -4",
        criterion=(-math.inf, -1),
        digits=1,
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
        "splits 0 to 19 gave 0.885",
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
        "splits 0 to 19 gave 0.93",
        criterion=(0.5, 1.1),
    ),
    Claim(
        "split-share",
        "most of the bias model's scatter belongs to the split (share of variance)",
        "ten splits by four seeds",
        "06_verdict",
        "split_share",
        "finding",
        0.6,
        1,
        "splits 0 to 5, two seeds, gave 0.89",
        criterion=(0.5, 1),
    ),
    Claim(
        "pairing-resolves",
        "paired on the same splits, like models differ more steadily (scatter, by that of one run)",
        "bias model with and without its vectors",
        "06_verdict",
        "paired_by_single",
        "finding",
        0.1,
        0.7,
        "splits 0 to 5, two seeds, gave 0.3",
        criterion=(0, 0.75),
    ),
    Claim(
        "row-wise-is-plain",
        "row-wise training gives what plain fit gives (difference in RMSE)",
        "the post's models, three splits",
        "06_verdict",
        "plain_difference",
        "equal",
        -0.003,
        0.003,
        "equal up to rounding",
        criterion=(-0.005, 0.005),
        digits=4,
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
    measures : pandas.DataFrame
        As from `verdict.by_cell`, a row per split and seed; a single row for what needs no
        training.

    Returns
    -------
    Assessment

    Raises
    ------
    ValueError
        If a value is missing or not a finite number.
    """
    if claim.measure not in measures or not np.isfinite(measures[claim.measure]).all():
        raise ValueError(f"{claim.id}: {claim.measure} is missing or not a finite number")
    values = measures[claim.measure].astype("float64")
    largest_p = float(measures[claim.p].max()) if claim.p else None
    by_split, table = values, None
    if values.index.nlevels == 2:
        by_split = values.groupby(level=0).mean()
        table = values.unstack()
        if min(table.shape) < 2 or table.isna().any(axis=None):
            table = None
    several = len(by_split) > 1
    mean = float(by_split.mean())
    interval = (
        metrics.mean_interval(by_split, valid_share=VALID_SHARE)[1:] if several else [mean] * 2
    )
    components = {} if table is None else metrics.variance_components(table)
    spread = by_split if table is None else table
    return Assessment(
        claim=claim,
        values=tuple(values.tolist()),
        mean=mean,
        sd=math.sqrt(sum(components.values())) if components else _sd(by_split),
        components=components,
        interval=tuple(interval),
        run_interval=metrics.run_interval(spread),
        largest_p=largest_p,
        chance=float(measures[claim.chance].mean()) if claim.chance else None,
        verdict=_verdict(claim, values.to_numpy(), by_split, spread, largest_p),
        in_bound=bool(claim.low <= mean <= claim.high),
    )


def _sd(values):
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _verdict(claim, values, by_split, spread, largest_p):
    if claim.rule == "equal":
        return (
            SHOWN if metrics.is_equivalent(by_split, claim.criterion[1], VALID_SHARE) else NOT_SHOWN
        )
    if claim.rule in ("sentence", "finding"):
        low, high = claim.criterion
        share = np.mean((values >= low) & (values <= high))
    if claim.rule == "finding":
        significant = largest_p is None or largest_p <= LARGEST_P
        return SHOWN if share >= ENOUGH_RUNS and significant else NOT_SHOWN
    if claim.rule == "exact":
        verdict = REPRODUCED if (values == claim.published).all() else FAILS
    elif claim.rule == "rounds":
        rounded = {float(f"{value:.{claim.digits - 1}e}") for value in values}
        verdict = REPRODUCED if rounded == {claim.published} else FAILS
    elif claim.rule == "run":
        verdict = _verdict_of_run(claim, spread)
    elif claim.rule == "sentence":
        passed = share >= ENOUGH_RUNS, share >= HALF_OF_RUNS
        verdict = REPRODUCED if passed[0] else CAVEAT if passed[1] else FAILS
    else:
        raise ValueError(f"{claim.id}: unknown rule {claim.rule!r}")
    return CAVEAT if verdict == REPRODUCED and claim.caveat else verdict


def _verdict_of_run(claim, spread):
    rounding = 0.5 * 10**-claim.digits
    for level, verdict in ((0.95, REPRODUCED), (0.999, CAVEAT)):
        low, high = metrics.run_interval(spread, level)
        if low - rounding <= claim.published <= high + rounding:
            return verdict
    return FAILS
