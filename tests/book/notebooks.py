"""The chapters' stored notebooks, each read once in a process."""

from functools import cache
from pathlib import Path

from embedlens.book import chapters

ROOT = Path(__file__).parents[2]
TWINS = chapters.text_twins(ROOT / "book")
NAMES = [twin.stem for twin in TWINS]


@cache
def notebook(twin):
    return chapters.read_notebook(twin)


def code_cells(twin):
    return [cell for cell in notebook(twin).cells if cell.cell_type == "code"]


def outputs(twin):
    return [output for cell in code_cells(twin) for output in cell.outputs]
