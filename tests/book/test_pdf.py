"""The book as one PDF: printed once, then read."""

from pathlib import Path
import re

import jupytext
from pypdf import PdfReader
import pytest

from embedlens.book import chapters, pdf

ROOT = Path(__file__).parents[2]
TWINS = chapters.text_twins(ROOT / "book")


def squeezed(text):
    """Without white space: a PDF breaks lines where it likes."""
    return "".join(text.split())


@pytest.fixture(scope="module")
def printed(browser_path, built_book, builder, tmp_path_factory):
    """Path of the printed book."""
    target = tmp_path_factory.mktemp("pdf") / "embedlens.pdf"
    return pdf.print_book(builder("singlehtml"), target, ROOT)


@pytest.fixture(scope="module")
def texts(printed):
    """Text of each page."""
    return [page.extract_text() for page in PdfReader(printed).pages]


def titles():
    """Heading of each chapter, as printed."""
    for number, twin in enumerate(TWINS, start=1):
        heading = re.search("^# (.*)$", jupytext.read(twin).cells[0].source, flags=re.MULTILINE)
        yield f"{number}. {heading.group(1)}"


def test_length_is_plausible(texts):
    assert 100 <= len(texts) <= 250
    assert all(text.strip() for text in texts), "an empty page"


def test_first_page_is_a_title_page(texts):
    assert "EmbedLens" in texts[0]
    assert "reproduced step by step" in " ".join(texts[0].split())
    assert len(texts[0]) < 500
    assert "Contents" in texts[1]


def test_outline_and_contents_name_every_chapter_with_its_page(printed, texts):
    starts = pdf.outline(printed)
    for title in titles():
        assert title in starts
        assert squeezed(title) in squeezed(texts[starts[title] - 1])
        assert f"{squeezed(title)}{starts[title]}" in squeezed(texts[1])
    assert starts["Glossary"] < starts["References"] <= len(texts)


def test_pages_are_numbered_but_for_the_first(texts):
    for number, text in enumerate(texts[1:], start=2):
        assert text.startswith(f"{number}\n"), f"page {number}: {text[:40]!r}"
    assert not texts[0].startswith("1\n")


def test_no_navigation_is_printed(texts):
    whole = "\n".join(texts)
    for word in ("Skip to main content", "Search", "Click to show", "Show code cell", "Ctrl"):
        assert word not in texts[0]
        if word != "Search":  # the text says it, too
            assert not re.search(rf"(^|\n)\s*{word}", whole), word


def test_solutions_are_unfolded_and_hidden_code_is_shown(texts):
    whole = squeezed("".join(texts))
    for twin in TWINS:
        solution = re.search(r"```\{solution-start\}.*", twin.read_text(), flags=re.DOTALL)
        code = re.search(r"```\{code-cell\}\n(.*?)\n", solution.group(0), flags=re.DOTALL)
        assert squeezed(code.group(1)) in whole, twin.stem
    assert squeezed("picture = ax.imshow(part, cmap=colours") in whole


def test_formulas_are_set(texts):
    whole = "".join(texts)
    for command in ("mathbf", "frac", "sqrt", "top", "hat"):
        assert f"\\{command}" not in whole, command


def test_links_within_the_book_are_internal(printed):
    reader = PdfReader(printed)
    addresses = [
        note["/A"]["/URI"]
        for page in reader.pages
        for note in page.get("/Annots", [])
        if "/URI" in note.get("/A", {})
    ]
    assert len(addresses) > 5
    assert not [address for address in addresses if address.startswith("file:")]


def test_a_missing_browser_is_named(monkeypatch):
    monkeypatch.setenv("EMBEDLENS_BROWSER", "no-such-browser")
    with pytest.raises(FileNotFoundError, match=r"no-such-browser.*EMBEDLENS_BROWSER="):
        pdf.find_browser()


def test_a_browser_can_be_named(monkeypatch, tmp_path):
    named = tmp_path / "browser"
    named.write_text("")
    named.chmod(0o755)
    monkeypatch.setenv("EMBEDLENS_BROWSER", str(named))
    assert pdf.find_browser() == str(named)


def test_a_missing_page_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="make pdf"):
        pdf.print_book(tmp_path, tmp_path / "book.pdf", ROOT)
