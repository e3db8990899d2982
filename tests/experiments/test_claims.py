from dataclasses import replace
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from embedlens import metrics, published
from embedlens.book import chapters
from embedlens.experiments import claims
from embedlens.experiments.claims import (
    CAVEAT,
    FAILS,
    NOT_SHOWN,
    REPRODUCED,
    SHOWN,
    Claim,
    assess,
)


def claim(rule, **options):
    basics = {"id": "x", "statement": "s", "where": "w", "chapter": "c", "measure": "m"}
    return Claim(**{**basics, "rule": rule, "low": 0, "high": 10, "why": "y", **options})


def verdict(claim, *values, **others):
    return assess(claim, pd.DataFrame({"m": values, **others})).verdict


def crossed(table):
    """Measures of a table of splits by seeds."""
    return pd.DataFrame({"m": pd.DataFrame(table).stack()})


def test_ids_are_unique_and_chapters_exist():
    ids = [c.id for c in claims.CLAIMS]
    assert len(ids) == len(set(ids))
    names = {twin.stem for twin in chapters.text_twins()}
    assert {c.chapter for c in claims.CLAIMS} <= names


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.id)
def test_claim_is_well_formed(claim):
    assert claim.low <= claim.high
    assert claim.where
    assert claim.why
    assert claim.rule in ("exact", "rounds", "run", "sentence", "finding", "equal")
    by_criterion = claim.rule in ("sentence", "finding", "equal")
    assert (claim.criterion is not None) == by_criterion
    assert (claim.published is not None) or by_criterion
    if claim.rule in ("finding", "equal"):
        low, high = claim.criterion
        assert low <= claim.low <= claim.high <= high, "the bound is wider than the finding"
    if claim.rule == "equal":
        assert low == -high


def test_figures_of_the_post_are_claims():
    values = {c.published for c in claims.CLAIMS}
    keys = ["rmse_simple_dot", "rmse_bias", "rmse_own_layer", "n_often_rated"]
    assert {published.FIGURES[key].value for key in keys} <= values


def test_exact():
    count = claim("exact", published=7)
    assert verdict(count, 7) == REPRODUCED
    assert verdict(count, 7, 8) == FAILS
    assert verdict(replace(count, caveat="but"), 7) == CAVEAT
    assert verdict(replace(count, caveat="but"), 8) == FAILS


@pytest.mark.parametrize(
    ("published", "digits", "ours", "expected"),
    [
        (700, 1, 671, REPRODUCED),
        (700, 1, 649, FAILS),
        (9_900, 2, 9_066, FAILS),
        (9_100, 2, 9_066, REPRODUCED),
    ],
)
def test_rounds(published, digits, ours, expected):
    assert verdict(claim("rounds", published=published, digits=digits), ours) == expected


def test_run_follows_the_two_intervals():
    values = np.random.default_rng(0).normal(1, 0.1, 20)
    middle, sd = values.mean(), values.std(ddof=1)
    for level, inside, outside in ((0.975, REPRODUCED, CAVEAT), (0.9995, CAVEAT, FAILS)):
        half = stats.t.ppf(level, 19) * sd * math.sqrt(1 + 1 / 20)
        for sign in (-1, 1):
            edge = middle + sign * (half + 0.005)  # half a unit of the second decimal
            near, far = edge - sign * 1e-6, edge + sign * 1e-6
            assert verdict(claim("run", published=near), *values) == inside
            assert verdict(claim("run", published=far), *values) == outside


def test_sentence_counts_seeds():
    sentence = claim("sentence", criterion=(1, 2))
    assert verdict(sentence, *[1] * 19, 0) == REPRODUCED
    assert verdict(sentence, *[2] * 18, 0, 3) == CAVEAT
    assert verdict(sentence, *[1] * 10, *[0] * 10) == CAVEAT
    assert verdict(sentence, *[1] * 9, *[0] * 11) == FAILS
    assert verdict(replace(sentence, caveat="but"), 1, 1) == CAVEAT


def test_finding_needs_seeds_and_significance():
    finding = claim("finding", criterion=(1, 2), p="p")
    assert verdict(finding, 1, 2, p=0.001) == SHOWN
    assert verdict(finding, 1, 2, p=0.0011) == NOT_SHOWN
    assert verdict(finding, 1, 0, p=0.0001) == NOT_SHOWN
    assert verdict(replace(finding, p=None), 1, 2) == SHOWN


def test_summary_of_known_values():
    a = assess(claim("sentence", criterion=(0, 9)), pd.DataFrame({"m": [1.0, 2.0, 3.0]}))
    assert (a.mean, a.sd, a.components) == (2, 1, {})
    t = stats.t.ppf(0.975, 2)
    half = t * math.sqrt(1 / 3 + 0.2 / 0.8)  # a fifth of the ratings validates
    assert a.interval == pytest.approx((2 - half, 2 + half))
    assert a.run_interval == pytest.approx((2 - t * math.sqrt(4 / 3), 2 + t * math.sqrt(4 / 3)))
    assert a.in_bound


def test_equal_needs_the_interval_within_the_margin():
    same = claim("equal", criterion=(-0.01, 0.01))
    near = [[0.001, 0.002], [-0.001, 0.0], [0.0, 0.001]]
    assert assess(same, crossed(near)).verdict == SHOWN
    assert assess(same, crossed(np.add(near, 0.009))).verdict == NOT_SHOWN
    assert assess(same, crossed(np.multiply(near, 20))).verdict == NOT_SHOWN  # no sign of either


def test_a_run_scatters_by_split_and_by_seed():
    """A seed that moves all splits alike widens the range of a run, not that of the mean."""
    table = np.add.outer([1.0, 2.0, 3.0], [-5.0, 5.0])
    a = assess(claim("run", published=2), crossed(table))
    assert a.components == pytest.approx({"split": 1, "seed": 50, "rest": 0}, abs=1e-9)
    assert a.sd == pytest.approx(math.sqrt(51))
    half = stats.t.ppf(0.975, 2)
    assert a.run_interval[1] - 2 == pytest.approx(half * math.sqrt(51 * 4 / 3))
    assert a.interval[1] - 2 == pytest.approx(half * math.sqrt(1 / 3 + 0.25))


def test_a_single_value_has_no_spread():
    a = assess(claim("exact", published=7), pd.DataFrame({"m": [7]}))
    assert (a.mean, a.sd, a.interval, a.run_interval) == (7, 0, (7, 7), (7, 7))


def test_interval_of_a_run_holds_new_runs_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for runs in (1, 2):
        held = 0
        for _ in range(2000):
            low, high = metrics.run_interval(rng.normal(size=10), 0.9, runs)
            held += low <= rng.normal(size=runs).mean() <= high
        assert 0.88 < held / 2000 < 0.92


@pytest.mark.parametrize(
    ("value", "inside"), [(0, True), (10, True), (-0.01, False), (10.01, False)]
)
def test_bound(value, inside):
    assert assess(claim("exact", published=1), pd.DataFrame({"m": [value]})).in_bound == inside


@pytest.mark.parametrize("measures", [{}, {"n": [1.0]}, {"m": [1.0, math.nan]}])
def test_missing_values_are_refused(measures):
    with pytest.raises(ValueError, match="x: m is missing or not a finite number"):
        assess(claim("exact", published=1), pd.DataFrame(measures))


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="unknown rule"):
        verdict(claim("whatever", published=1), 1)


def test_digest_follows_every_part_of_a_claim(monkeypatch):
    digests = {claims.digest()}
    first, *others = claims.CLAIMS
    changes = [{"high": 1e6}, {"published": 3}, {"statement": "another"}, {"rule": "exact"}]
    for change in changes:
        monkeypatch.setattr(claims, "CLAIMS", (replace(first, **change), *others))
        digests.add(claims.digest())
    assert len(digests) == len(changes) + 1
