"""The plain notebooks: as derived, plain, with the words and numbers of the built book."""

import os
from pathlib import Path
import re

from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbclient import NotebookClient
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebooks import NAMES, ROOT, TWINS, code_cells
import pytest
import yaml

from embedlens.book import chapters, plain

SITE = plain.site_of(yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"])
RAW = re.compile(
    r"\{[\w:.+-]+\}`|^\s*>?\s*(?::{3,}|`{3,}\{)|^\([\w-]+\)=|\{(?:glue|term)", re.MULTILINE
)
MARKDOWN = MarkdownIt("commonmark").use(dollarmath_plugin)
for_each_chapter = pytest.mark.parametrize("twin", TWINS, ids=NAMES)


def stored(twin):
    return ROOT / "notebooks" / f"{twin.stem}.ipynb"


def cells(twin, kind):
    notebook = nbformat.read(stored(twin), 4)
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def prose(twin):
    return "\n\n".join(cells(twin, "markdown"))


@for_each_chapter
def test_stored_is_what_follows_from_the_chapter(twin):
    assert stored(twin).read_text() == plain.as_text(twin), "stale: run make book"


def test_there_is_one_for_each_chapter():
    files = (ROOT / "notebooks").glob("*.ipynb")
    assert sorted(file.stem for file in files if ".kept-" not in file.name) == NAMES


@for_each_chapter
def test_no_raw_role_directive_or_local_link(twin):
    text = prose(twin)
    assert not RAW.findall(text)
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) > 10
    assert not [link for link in links if not link.startswith("https://")]


@for_each_chapter
def test_code_is_that_of_the_chapter_without_outputs(twin):
    assert cells(twin, "code") == [cell.source for cell in code_cells(twin)]
    assert '"output_type"' not in stored(twin).read_text()


@for_each_chapter
def test_first_line_says_what_it_is(twin):
    first = cells(twin, "markdown")[0]
    assert first.startswith(f"*This is chapter {int(twin.stem[:2])} of the book [EmbedLens]({SITE}")
    assert "stored run" in first
    assert "\n" not in first


PROSE = "p:not(.cell_output p, .admonition-title), figcaption p"
SPELLINGS = [
    ("\u201c", '"'),
    ("\u201d", '"'),
    ("\u2018", "'"),
    ("\u2019", "'"),
    ("Fig. ", "Figure "),
]
SPELLINGS += [("[", "("), ("]", ")"), ("\u2013", "--"), ("\u2026", "...")]


def words(text):
    """Text in one spelling: straight quotes, round brackets, "Figure", bare formulas."""
    for old, new in SPELLINGS:
        text = text.replace(old, new)
    text = re.sub(r"\\[()\[\]]|\$", "", text)
    text = re.sub(r"(Figure \d+\.\d+)\.", r"\1", text)
    return " ".join(re.sub(r"(?<=, \d{4}), (?=[^,]+, \d{4}\b)", "; ", text).split())


@for_each_chapter
def test_words_and_numbers_are_those_of_the_built_book(built_book, twin):
    """Sphinx has resolved the same text its own way: each of its paragraphs must be there."""
    page = BeautifulSoup((built_book / f"book/{twin.stem}.html").read_text(), "html.parser")
    article = page.select_one("article.bd-article")
    for part in article.select(".cell_input, .output, table, .headerlink"):
        part.decompose()
    shown = BeautifulSoup(MARKDOWN.render(prose(twin)), "html.parser").get_text()
    ours = words(shown)
    theirs = [words(p.get_text()) for p in article.select(PROSE)]
    assert len(theirs) > 20
    assert not [text for text in theirs if text not in ours]


@for_each_chapter
def test_links_lead_to_places_in_the_built_book(built_book, twin):
    for link in re.findall(rf"\]\({SITE}([^)]*)\)", prose(twin)):
        path, _, place = link.partition("#")
        page = (built_book / path).read_text()
        assert not place or f'id="{place}"' in page, link


@for_each_chapter
def test_only_the_solution_is_folded_away(twin):
    notebook = nbformat.read(stored(twin), 4)
    heading = [c for c in notebook.cells if c.metadata.get("jp-MarkdownHeadingCollapsed")]
    assert [c.source[:15] for c in heading] == ["### Solution to"]
    assert notebook.metadata.colab.collapsed_sections == [heading[0].metadata.id]
    assert twin.read_text().rstrip().endswith("```{solution-end}\n```")
    later = notebook.cells[notebook.cells.index(heading[0]) + 1 :]
    assert 1 <= len(later) < 6
    assert not [c for c in later if c.source.startswith("#") and c.cell_type == "markdown"]


def test_a_plain_notebook_runs_alone(tmp_path):
    """Outside the repository; this chapter reads a stored result, which the package brings."""
    notebook = nbformat.read(ROOT / "notebooks/06_verdict.ipynb", 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert figures == len(re.findall(r"^\*\*Figure", prose(TWINS[5]), re.MULTILINE)) >= 2
    assert not [output for output in outputs if output.get("name") == "stderr"]


FIGURE = {"figure": {"name": "fig-a", "caption": "A, {glue:text}`x`."}, "image": {"alt": "Dots."}}
RESOLVED = {
    "{glue:text}`x` stars": "1.07 stars",
    "{term}`cold\nstart`": "[cold start](glossary.html#term-cold-start)",
    "{term}`Cold <Cold start>`": "[Cold](glossary.html#term-cold-start)",
    "{cite:p}`one`": "([One, 2001](references.html))",
    "{cite:p}`many, two`": "([One and Two, 2002; Three et al., 2003](references.html))",
    "{numref}`fig-a`": "Figure 2.1",
    "{math}`a`": "$a$",
    "[w](#claim-a)": "[w](06_verdict.html#claim-a)",
    "[w](#all-claims)": "[w](06_verdict.html#all-claims)",
    "[w](07_costs.ipynb)": "[w](07_costs.html)",
    "[w](map.md)": "[w](map.html)",
    "[w](https://a.b/c)": "[w](https://a.b/c)",
    "(all-claims)=\n## All": "## All",
    ":::{warning}\nOne {glue:text}`x`.\n\nTwo.\n:::": "> **Warning**\n>\n> One 1.07.\n>\n> Two.",
    "```{exercise} Why?\n:label: ex-b\n\nSay.\n```": "### Exercise 2.1: Why?\n\nSay.",
    "```{solution-start} ex-a\n:class: dropdown\n```": "### Solution to Exercise 2.1",
}
UNKNOWN = [
    "{glue:text}`y`",
    "{cite:p}`three`",
    "{numref}`fig-b`",
    "{term}`warm`",
    "{eq}`a`",
    ":::{note}\nA.\n:::",
    "```{solution-start} ex-c\n```",
]
SOURCES = """
@misc{one, author = {One, A.}, year = 2001}
@misc{two, author = {One, A. and Two, B.}, year = 2002}
@misc{many, editor = {Three, A. and Four, B. and Five, C.}, year = 2003}
"""


@pytest.fixture
def small(tmp_path):
    """A function that writes a chapter with a number, a figure, an exercise and the given prose."""
    (tmp_path / "book").mkdir()
    (tmp_path / "refs.bib").write_text(SOURCES)
    (tmp_path / "book/glossary.md").write_text(
        "# G\n\n:::{glossary}\ncold start\n  No rating.\n:::"
    )
    config = {"repository": {"url": "https://github.com/a/b"}, "bibtex_bibfiles": ["refs.bib"]}
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))

    def write(text):
        glued = new_output("display_data", {plain.GLUED: "'1.07'"})
        glued.metadata = {"scrapbook": {"name": "x"}}
        metadata = {"tags": ["hide-input"], "mystnb": FIGURE}
        code = new_code_cell("1", outputs=[glued], metadata=metadata, execution_count=1)
        exercise = new_markdown_cell("```{exercise} Other\n:label: ex-a\n\nDo.\n```")
        notebook = new_notebook(cells=[new_markdown_cell(text), code, exercise])
        nbformat.write(notebook, tmp_path / "book/02_small.ipynb")
        return tmp_path / "book/text/02_small.md"

    return write


@pytest.mark.parametrize("text", RESOLVED)
def test_resolves(small, text):
    cell = nbformat.reads(plain.as_text(small(text)), 4).cells[1]
    assert cell.source.replace("https://a.github.io/b/book/", "") == RESOLVED[text]


def test_figure_has_its_caption_and_its_words(small):
    code, caption = nbformat.reads(plain.as_text(small("A.")), 4).cells[2:4]
    assert code.metadata == {"jupyter": {"source_hidden": True}}
    assert caption.source.startswith("**Figure 2.1.** A, 1.07.\n\n<details>")
    assert "\n\nDots.\n\n</details>" in caption.source


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_is_not_known_is_named(small, text):
    with pytest.raises(ValueError, match=r"^02_small: "):
        plain.as_text(small(text))


def test_one_that_was_run_in_its_place_is_kept(small, tmp_path):
    twin, folder = small("A."), tmp_path / "notebooks"
    twin.parent.mkdir()
    twin.touch()
    assert plain.write_all(tmp_path / "book", folder) == []
    target = folder / "02_small.ipynb"
    os.utime(target, (1, 1))
    assert plain.write_all(tmp_path / "book", folder) == []
    assert target.stat().st_mtime == 1, "written again although nothing has changed"
    ran = target.read_text().replace('"outputs": []', '"outputs": [{"output_type": "stream"}]')
    target.write_text(ran)
    (kept,) = plain.write_all(tmp_path / "book", folder)
    assert kept.read_text() == ran
    assert target.read_text() == plain.as_text(twin)


def test_results_are_part_of_the_package():
    linked = Path(chapters.__file__).parents[1] / "results"
    assert linked.samefile(ROOT / "book/results")
