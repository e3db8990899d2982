"""What Part II concludes: each conclusion with its measure, and the criterion that it must meet.

Criteria are stated here, before the chapters' text; a test holds each bullet of "What we learnt"
against them. They stand in the modules that measure, as ``CONCLUSIONS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
import importlib
import math

import numpy as np

from embedlens import experiments, metrics
from embedlens.experiments.claims import VALID_SHARE

# Experiments whose conclusions a chapter draws.
CHAPTERS = {
    "07_costs": ["growth", "carry_over", "bench"],
    "08_one_hot": ["one_hot"],
    "09_shapes": ["shapes", "seeds"],
    "10_how_low": ["how_low", "canonical"],
    "11_recommendations": ["recommendations"],
}


@dataclass(frozen=True)
class Conclusion:
    """A conclusion and how it is judged.

    Attributes
    ----------
    id : str
        Stable name, in lower case with hyphens.
    statement : str
        What is concluded, for a table.
    measure : callable
        Takes the stored report. Gives an array with one value per split (for a difference: of the
        same split), whose interval is corrected for the overlap of the splits; or mean, low and
        high, as from `metrics.user_interval`, as a tuple.
    low, high : float
        The criterion: the interval must lie between them. Two finite ends make an equivalence
        test, which takes the interval of 90 % (Schuirmann 1987), else that of 95 %.
    unit : str
        Of the measure.
    digits : int
        Decimals to print.
    """

    id: str
    statement: str
    measure: Callable
    low: float = 0.0
    high: float = math.inf
    unit: str = "stars"
    digits: int = 3

    def judge(self, report):
        """Judge by a stored report: mean, low and high of the interval, whether it is shown."""
        found = self.measure(report)
        if not isinstance(found, tuple):
            level = 0.9 if math.isfinite(self.low) and math.isfinite(self.high) else 0.95
            found = metrics.mean_interval(np.asarray(found, "float64"), level, VALID_SHARE)
        _, low, high = found
        return *found, bool(self.low < low <= high < self.high)

    def criterion(self):
        """The criterion in words."""
        ends = [f"{end:g}".replace("-", "\N{MINUS SIGN}") for end in (self.low, self.high)]
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"within {ends[0]} and {ends[1]}"
        return f"above {ends[0]}" if math.isfinite(self.low) else f"below {ends[1]}"


def judged(chapter):
    """Judge all conclusions of a chapter.

    Parameters
    ----------
    chapter : str
        Such as ``08_one_hot``.

    Returns
    -------
    dict
        By id: the `Conclusion`, mean, low, high, and whether it is shown.
    """
    found = {}
    for name in CHAPTERS[chapter]:
        report = experiments.load(f"results/{name}.json")
        module = experiments.EXPERIMENTS[name].place.split(":")[0]
        for one in importlib.import_module(f"{experiments.__name__}.{module}").CONCLUSIONS[name]:
            found[one.id] = (one, *one.judge(report))
    return found


def as_markdown(chapter):
    """A table of a chapter's conclusions, to which its text can link: ``(#claim-ID)``."""
    lines = ["| conclusion | measured (interval) | criterion | |", "| --- | --- | --- | --- |"]
    for one, *interval, shown in judged(chapter).values():
        mean, low, high = (f"{value:.{one.digits}f}" for value in interval)
        measured = f"{mean} ({low} to {high}) {one.unit}".rstrip().replace("-", "\N{MINUS SIGN}")
        verdict = "shown" if shown else "not shown"
        lines.append(
            f"| [{one.statement}]{{#claim-{one.id}}} | {measured} | {one.criterion()} | {verdict} |"
        )
    return "\n".join(lines)
