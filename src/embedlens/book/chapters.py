"""The chapters on disk: text twins, notebooks, execution.

A chapter is a pair: ``book/text/NAME.md`` (the text twin, edited and reviewed) and
``book/NAME.ipynb`` (the same cells with their outputs). From the repository root,
``python -m embedlens execute [NAME ...]`` runs the twins and stores the notebooks.
"""

from base64 import b64decode, b64encode
from io import BytesIO
import json
import os
from pathlib import Path
import re
import sys

import jupytext
from jupytext.compare import NotebookDifference, compare_notebooks
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
import nbformat
from PIL import Image
from tqdm import tqdm

BOOK = Path("book")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def text_twins(book=BOOK):
    """Paths of all text twins, in the order of the book.

    Raises
    ------
    ValueError
        If there is none.
    """
    twins = sorted((book / "text").glob("*.md"))
    if not twins:
        raise ValueError(f"no chapter in {book / 'text'}: run this from the repository root")
    return twins


def notebook_of(twin):
    """Path of the notebook that belongs to a text twin."""
    return twin.parent.parent / f"{twin.stem}.ipynb"


def read_twin(twin):
    """Read a text twin.

    Returns
    -------
    nbformat.NotebookNode

    Raises
    ------
    ValueError
        If it is missing, or no chapter: empty, with conflict markers, or not to be parsed.
    """
    target = notebook_of(twin)
    again = (
        f"Mend it, or bring it back with git. If {target} has the same cells, they can be had "
        f"from there: jupytext --to md:myst -o {twin} {target}"
    )
    text = _text(twin, again)
    try:
        notebook = jupytext.reads(text, fmt="md:myst")
    except Exception as error:  # of jupytext, its parser, or YAML
        raise ValueError(f"{twin} cannot be read as a chapter ({error}). {again}") from error
    if "kernelspec" not in notebook.metadata:
        raise ValueError(f"{twin} is no chapter: it does not start with its kernel. {again}")
    return notebook


def read_notebook(twin):
    """Read the stored notebook of a text twin.

    Returns
    -------
    nbformat.NotebookNode

    Raises
    ------
    ValueError
        If it is missing, or no notebook: empty, with conflict markers, no JSON, or JSON of
        another kind.
    """
    target = notebook_of(twin)
    again = f"Delete it, and make it again from {twin}: python -m embedlens execute {twin.stem}"
    text = _text(target, again)
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("nbformat") != 4:
            raise ValueError("its format is not 4")
        notebook = jupytext.reads(text, fmt="ipynb")
        nbformat.validate(notebook)
    except (ValueError, nbformat.ValidationError) as error:
        told = str(error).splitlines()[0]
        raise ValueError(f"{target} is no notebook ({told}). {again}") from error
    return notebook


def _text(path, again):
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing. {again}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}). {again}") from error
    if not text.strip():
        raise ValueError(f"{path} is empty. {again}")
    if re.search(r"^(<{7}|>{7}|\|{7})( |$)", text, flags=re.MULTILINE):
        raise ValueError(f"{path} has git's conflict markers in it. {again}")
    return text


def difference(twin):
    """Say why a text twin and its notebook do not agree in their cells; None if they do.

    A file that is missing or damaged is named, with how to make it again.
    """
    try:
        compare_notebooks(
            read_notebook(twin),
            read_twin(twin),
            fmt="md:myst",
            compare_outputs=False,
            compare_ids=False,
        )
    except (NotebookDifference, ValueError) as error:
        return str(error)
    return None


def execute(twin):
    """Run a chapter from its text twin and store the notebook with its outputs.

    Two runs on one machine write the same bytes: no timing, no random cell ids. The notebook
    is replaced as a whole, at the end.

    Raises
    ------
    ValueError
        If the twin or the stored notebook is damaged.
    RuntimeError
        If a cell fails or takes 20 minutes, or the kernel dies; if the notebook was edited
        alone and is newer, or either was edited while the chapter ran, so that edits would be
        lost. The stored notebook is left as it was.
    """
    target = notebook_of(twin)
    before = _contents(twin, target)
    notebook = read_twin(twin)
    if target.exists():
        read_notebook(twin)
        if target.stat().st_mtime > twin.stat().st_mtime and difference(twin):
            raise RuntimeError(
                f"{target} was edited without its twin {twin}. To keep the edits: "
                f"jupytext --to md:myst -o {twin} {target}. To drop them: touch {twin}"
            )
    _run(notebook, twin)
    notebook.metadata = {"kernelspec": KERNEL}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = lighter(output.data["image/png"])
    nbformat.validate(notebook)
    if _contents(twin, target) != before:
        raise RuntimeError(f"{twin} or {target} was edited while the chapter ran. Run it again")
    _replace(target, nbformat.writes(notebook) + "\n")


def lighter(png):
    """A picture with a palette of 128 colours: fewer bytes, as sharp as before.

    Parameters
    ----------
    png : str
        Base64, as notebooks store it.

    Returns
    -------
    str
        The same.
    """
    picture = Image.open(BytesIO(b64decode(png))).convert("RGB").quantize(128, dither=0)
    written = BytesIO()
    picture.save(written, "png", optimize=True)
    return b64encode(written.getvalue()).decode()


def _run(notebook, twin):
    client = NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # a busy machine may send one text in several pieces
        resources={"metadata": {"path": str(twin.parent.parent)}},
    )
    try:
        client.execute()
    except DeadKernelError as error:
        raise RuntimeError(
            f"The kernel died while it ran {twin}: often for want of memory. "
            f"{notebook_of(twin)} is left as it was"
        ) from error
    except (CellExecutionError, CellTimeoutError) as error:
        raise RuntimeError(f"{twin} does not run through: {error}") from error


def _contents(*paths):
    return [path.read_bytes() if path.exists() else None for path in paths]


def _replace(path, text):
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


def execute_all(names=(), book=BOOK):
    """Run chapters one after the other, with a bar of progress.

    Parameters
    ----------
    names : sequence of str
        Such as "02_dot_model"; none: all chapters, in the order of the book.
    book : path
        The folder of the notebooks.

    Raises
    ------
    ValueError
        If there is no such chapter; then none is run. Else as `execute`.
    """
    twins = {twin.stem: twin for twin in text_twins(book)}
    unknown = [name for name in names if name not in twins]
    if unknown:
        raise ValueError(f"no chapter {', '.join(unknown)}; there are {', '.join(twins)}")
    for name in tqdm(names or list(twins), unit="chapter", file=sys.stdout):
        execute(twins[name])
