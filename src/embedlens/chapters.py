"""The chapters on disk: text twins, notebooks, execution.

A chapter is a pair: ``book/text/NAME.md`` (the text twin, edited and reviewed) and
``book/NAME.ipynb`` (the same cells with their outputs). Run from the repository root:
``python -m embedlens.chapters execute [NAME ...]``.
"""

import argparse
from pathlib import Path
import sys

import jupytext
from jupytext.compare import NotebookDifference, compare_notebooks
from nbclient import NotebookClient
import nbformat
from tqdm import tqdm

BOOK = Path("book")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def text_twins(book=BOOK):
    """Paths of all text twins, in the order of the book."""
    return sorted((book / "text").glob("*.md"))


def notebook_of(twin):
    """Path of the notebook that belongs to a text twin."""
    return twin.parent.parent / f"{twin.stem}.ipynb"


def difference(twin):
    """Say how a text twin and its notebook differ in their cells; None if they agree."""
    try:
        compare_notebooks(
            jupytext.read(notebook_of(twin)),
            jupytext.read(twin),
            fmt="md:myst",
            compare_outputs=False,
            compare_ids=False,
        )
    except (NotebookDifference, FileNotFoundError) as error:
        return str(error)
    return None


def execute(twin):
    """Run a chapter from its text twin and store the notebook with its outputs.

    Two runs on one machine write the same bytes: no timing, no random cell ids.

    Raises
    ------
    RuntimeError
        If the notebook was edited alone and is newer, so that its edits would be lost.
    nbclient.exceptions.CellExecutionError
        If a cell fails; the stored notebook is left as it was.
    """
    target = notebook_of(twin)
    if target.exists() and target.stat().st_mtime > twin.stat().st_mtime and difference(twin):
        raise RuntimeError(
            f"{target} was edited without its twin {twin}. To keep the edits: "
            f"jupytext --to md:myst -o {twin} {target}. To drop them: touch {twin}"
        )
    notebook = jupytext.read(twin)
    NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(target.parent)}},
    ).execute()
    notebook.metadata = {"kernelspec": KERNEL}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
    nbformat.validate(notebook)
    nbformat.write(notebook, target)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["execute"])
    parser.add_argument("names", nargs="*", help="chapters, such as 02_dot_model; default: all")
    options = parser.parse_args(arguments)
    twins = {twin.stem: twin for twin in text_twins()}
    unknown = [name for name in options.names if name not in twins]
    if unknown:
        parser.error(f"no chapter {', '.join(unknown)}; there are {', '.join(twins)}")
    for name in tqdm(options.names or list(twins), unit="chapter", file=sys.stdout):
        execute(twins[name])


if __name__ == "__main__":
    main()
