import math
from pathlib import Path
import re

import numpy as np
import pytest

from embedlens import metrics
from embedlens.experiments import conclusions
from embedlens.experiments.conclusions import Conclusion

TWINS = sorted(Path("book/text").glob("*.md"))
PART_2 = [twin for twin in TWINS if int(twin.name[:2]) >= 7]
GAINS = [0.010, 0.012, 0.009, 0.011, 0.010]


def conclusion(values, **criterion):
    return Conclusion("a-gain", "It gains", lambda report: report["values"] or values, **criterion)


@pytest.mark.parametrize(
    ("values", "criterion", "shown"),
    [
        (GAINS, {}, True),
        (GAINS, {"low": 0.02}, False),
        (GAINS, {"low": -math.inf, "high": 0.0}, False),
        (GAINS, {"low": -0.02, "high": 0.02}, True),
        (GAINS, {"low": -0.01, "high": 0.01}, False),
        ((0.5, 0.4, 0.6), {"low": 0.35}, True),
        ((0.5, 0.3, 0.6), {"low": 0.35}, False),
    ],
)
def test_the_whole_interval_must_meet_the_criterion(values, criterion, shown):
    *_, found = conclusion(values, **criterion).judge({"values": None})
    assert found is shown


def test_intervals_are_corrected_for_the_overlap_of_splits():
    found = conclusion(GAINS).judge({"values": None})[:3]
    assert found == metrics.mean_interval(GAINS, valid_share=0.2)
    equal = conclusion(GAINS, low=-0.02, high=0.02).judge({"values": None})[:3]
    assert equal == metrics.mean_interval(GAINS, 0.9, valid_share=0.2)
    # shown if splits were independent, not shown as they are
    barely = [0.001, 0.004, 0.009, 0.002, 0.006]
    assert metrics.mean_interval(barely)[1] > 0
    assert not conclusion(barely).judge({"values": None})[-1]


def test_criteria_in_words():
    assert conclusion([]).criterion() == "above 0"
    assert conclusion([], low=-math.inf, high=0.5).criterion() == "below 0.5"
    assert conclusion([], low=-0.005, high=0.005).criterion() == "within \u22120.005 and 0.005"


@pytest.mark.parametrize("chapter", conclusions.CHAPTERS)
def test_conclusions_of_a_chapter(chapter):
    judged = conclusions.judged(chapter)
    table = conclusions.as_markdown(chapter).splitlines()
    assert len(table) == 2 + len(judged)
    for line, (name, (one, mean, low, high, shown)) in zip(table[2:], judged.items(), strict=True):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert f"]{{#claim-{name}}}" in line
        assert line.endswith("| shown |") == shown
        assert low <= mean <= high
        assert np.isfinite([low, high]).all()
        assert one.low < one.high


def test_ids_are_told_apart():
    names = [name for chapter in conclusions.CHAPTERS for name in conclusions.judged(chapter)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("twin", PART_2, ids=[twin.stem for twin in PART_2])
def test_no_interval_over_splits_goes_uncorrected(twin):
    text = twin.read_text()
    asked = re.findall(r"metrics\.mean_interval[^\n]*", text)
    assert set(asked) <= {"metrics.mean_interval, valid_share=0.2)"}
