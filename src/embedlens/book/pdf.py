"""The whole book as one PDF, and the picture for previews of links; a browser prints both.

From the repository root: ``python -m embedlens pdf`` prints the page that ``jupyter-book
build . --builder singlehtml`` wrote into ``_build/embedlens.pdf``; ``python -m embedlens
pdf card`` draws ``book/_static/card.png`` from the cover.
"""

from contextlib import contextmanager
from html import escape
from importlib.resources import files
import os
from pathlib import Path
import shutil

import yaml

PAGES = Path("_build/singlehtml")
TARGET = Path("_build/embedlens.pdf")
STATIC = Path("book/_static")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OFFLINE = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_browser():
    """Path of a Chromium or Chrome.

    Returns
    -------
    str
        ``EMBEDLENS_BROWSER`` if that variable is set, else the first one on the search path.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    named = os.environ.get("EMBEDLENS_BROWSER")
    found = [shutil.which(name) for name in ([named] if named else BROWSERS)]
    for path in found:
        if path:
            return path
    raise FileNotFoundError(
        f"No browser found ({named or ', '.join(BROWSERS)}). Install Chromium or Chrome, "
        "or name one: EMBEDLENS_BROWSER=/path/to/it make pdf"
    )


@contextmanager
def _page(**settings):
    from playwright.sync_api import sync_playwright

    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OFFLINE)
        yield browser.new_page(color_scheme="light", **settings)
        browser.close()


def print_book(pages=PAGES, target=TARGET, root=Path()):
    """Print the page that holds the whole book; its contents get page numbers.

    Parameters
    ----------
    pages : path
        The folder that Sphinx's builder "singlehtml" wrote.
    target : path
        The PDF.
    root : path
        The repository, whose ``_config.yml`` and ``CITATION.cff`` fill the title page.

    Returns
    -------
    path
        `target`.

    Raises
    ------
    FileNotFoundError
        If the page has not been built, or there is no browser.
    """
    with _page() as page:
        page.goto(_at_the_top(pages).resolve().as_uri())
        page.evaluate("() => MathJax.startup.promise")
        page.add_script_tag(content=(files("embedlens.book") / "pdf.js").read_text("utf-8"))
        chapters = page.evaluate("(title) => arrangeBook(title)", title_page(root))
        page.add_style_tag(path=root / STATIC / "print.css")
        page.wait_for_function("[...document.images].every((image) => image.complete)")
        _print(page, target)
        starts = outline(target)
        numbers = [starts[_plain(chapter)] for chapter in chapters]
        page.evaluate("(pages) => numberContents(pages)", numbers)
        _print(page, target)
    return target


def _at_the_top(pages):
    """Sphinx writes the page into a subfolder, with links as if it lay at the top."""
    written, page = pages / "book/index.html", pages / "book.html"
    if not written.exists():
        raise FileNotFoundError(f"{written} is missing; `make pdf` builds it first")
    text = written.read_text(encoding="utf-8")
    page.write_text(text.replace('="../_static/', '="_static/'), encoding="utf-8")
    return page


def _print(page, target):
    page.pdf(
        path=target, prefer_css_page_size=True, print_background=True, outline=True, tagged=True
    )


def _plain(text):
    return " ".join(text.split())


def outline(pdf):
    """Page numbers of all headings in the outline of a PDF.

    Parameters
    ----------
    pdf : path

    Returns
    -------
    dict
        From the heading's text to the page, counted from 1. Of two equal headings the first.
    """
    from pypdf import PdfReader

    reader = PdfReader(pdf)
    pages = {}

    def collect(entries):
        for entry in entries:
            if isinstance(entry, list):
                collect(entry)
            else:
                number = reader.get_destination_page_number(entry) + 1
                pages.setdefault(_plain(entry.title), number)

    collect(reader.outline)
    return pages


def title_page(root=Path()):
    """HTML of the title page, from ``_config.yml`` and ``CITATION.cff``."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    address = escape(config["repository"]["url"])
    subtitle = escape(config["sphinx"]["config"]["book_subtitle"])
    return f"""
    <section class="title-page">
      <img src="_static/cover.svg" alt="">
      <h1>{escape(config["title"])}</h1>
      <p class="subtitle">{subtitle[0].upper()}{subtitle[1:]}</p>
      <p>{escape(config["author"])}<br>
      Version {citation["version"]}, {citation["date-released"]:%-d %B %Y}<br>
      <a href="{address}">{address}</a></p>
      <p class="small">{escape(config["html"]["extra_footer"])}</p>
    </section>
    """


def draw_card(target=STATIC / "card.png", root=Path()):
    """Draw the picture that previews of links show: cover, title, subtitle; 1200 x 630 pixels.

    Returns
    -------
    path
        `target`.

    Raises
    ------
    FileNotFoundError
        If there is no browser.
    """
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    cover = (root / STATIC / "cover.svg").read_text(encoding="utf-8")
    with _page(viewport={"width": 1200, "height": 630}) as page:
        page.set_content(f"""
        <body style="margin: 0; background: #0f2438; color: #fff; text-align: center;
                     font-family: 'DejaVu Sans', sans-serif">
          <div style="padding: 30px 60px 0">{cover}</div>
          <div style="font-size: 76px; font-weight: bold">{escape(config["title"])}</div>
          <div style="font-size: 31px; margin-top: 14px">
            {escape(config["sphinx"]["config"]["book_subtitle"])}</div>
        </body>""")
        page.screenshot(path=target)
    return target
