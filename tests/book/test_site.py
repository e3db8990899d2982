"""The rendered pages: addresses, descriptions, downloads, the page for a wrong address."""

import ast
from html import unescape
from importlib.metadata import packages_distributions
from pathlib import Path
import re
import subprocess
import sys
import tomllib
from types import SimpleNamespace
from urllib.parse import urlsplit

from notebooks import NAMES, ROOT, TWINS, code_cells
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
import pytest
import yaml

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ADDRESS = CONFIG["repository"]["url"]
OWNER, NAME = urlsplit(ADDRESS).path.strip("/").split("/")
SITE = f"https://{OWNER}.github.io/{NAME}/"
PAGES = ["book/index"] + [
    str(Path(entry["file"]).with_suffix(""))
    for part in CONTENTS["parts"]
    for entry in part["chapters"]
]
for_each_chapter = pytest.mark.parametrize("twin", TWINS, ids=NAMES)
for_each_page = pytest.mark.parametrize("page", PAGES)


def links(page):
    return re.findall(r'href="([^"]+)"', page)


def meta(page, name):
    found = re.findall(rf'<meta (?:name|property)="{name}" content="([^"]*)"', page)
    assert len(found) == 1, f"{name}: {found}"
    return unescape(found[0])


@for_each_page
def test_page_describes_itself_once(built_book, page):
    html = (built_book / f"{page}.html").read_text()
    text = CONFIG["sphinx"]["config"]["page_descriptions"][page]
    assert 50 < len(text) <= 160
    assert meta(html, "description") == text
    assert meta(html, "og:description") == text
    assert meta(html, "og:url") == f"{SITE}{page}.html"
    assert meta(html, "og:image") == f"{SITE}_static/card.png"
    assert f'<link rel="canonical" href="{SITE}{page}.html"' in html


def test_descriptions_and_titles_are_of_their_own(built_book):
    texts = list(CONFIG["sphinx"]["config"]["page_descriptions"].values())
    assert len(set(texts)) == len(texts)
    pages = [(built_book / f"{page}.html").read_text() for page in PAGES]
    titles = [re.search("<title>(.*)</title>", html).group(1) for html in pages]
    assert len(set(titles)) == len(titles)
    assert titles[0].startswith("EmbedLens &#8212; collaborative filtering")


@for_each_page
def test_nothing_is_loaded_from_elsewhere(built_book, page):
    html = (built_book / f"{page}.html").read_text()
    loaded = re.findall(r'<(?:script|img|iframe|source)[^>]* src="([^"]+)"', html)
    loaded += re.findall(r'<link[^>]* rel="(?:stylesheet|preload|icon)"[^>]* href="([^"]+)"', html)
    loaded += re.findall(r'<link href="([^"]+)" rel="stylesheet"', html)
    assert len(loaded) > 10
    assert not [address for address in loaded if "//" in address]


def test_card_has_the_size_that_the_pages_announce(built_book):
    html = (built_book / "book/index.html").read_text()
    with Image.open(built_book / "_static/card.png") as card:
        assert card.size == (int(meta(html, "og:image:width")), int(meta(html, "og:image:height")))
        assert card.convert("L").getextrema() != (0, 0)


@for_each_page
def test_page_has_favicon_and_mark(built_book, page):
    html = (built_book / f"{page}.html").read_text()
    assert re.search(r'<link rel="icon" href="[^"]*_static/favicon.svg"', html)
    assert re.search(r'<img src="[^"]*favicon.svg"[^>]* alt="A lens over', html)


@for_each_chapter
def test_chapter_leads_to_its_text_and_opens_elsewhere(built_book, twin):
    found = links((built_book / f"book/{twin.stem}.html").read_text())
    assert f"{ADDRESS}/edit/main/book/text/{twin.stem}.md" in found
    notebook = f"notebooks/{twin.stem}.ipynb"
    assert f"https://mybinder.org/v2/gh/{OWNER}/{NAME}/main?urlpath=lab/tree/{notebook}" in found
    colab = f"https://colab.research.google.com/github/{OWNER}/{NAME}/blob/main/{notebook}"
    assert colab in found
    (download,) = [link for link in found if link.endswith(f"_sources/book/{twin.stem}.ipynb")]
    plain = built_book / "book" / download
    assert plain.read_bytes() == (ROOT / notebook).read_bytes()
    assert any(link.startswith(f"{ADDRESS}/issues/new") for link in found)


def test_other_pages_lead_to_their_source(built_book):
    for name in ("index", "glossary", "references"):
        found = links((built_book / f"book/{name}.html").read_text())
        assert f"{ADDRESS}/edit/main/book/{name}.md" in found


@for_each_chapter
def test_chapter_can_be_downloaded_as_a_script(built_book, twin):
    page = built_book / f"book/{twin.stem}.html"
    (link,) = {link for link in links(page.read_text()) if link.endswith(".py")}
    script = (page.parent / link).resolve().read_text()
    compile(script, twin.stem, "exec")
    code = [cell.source for cell in code_cells(twin)]
    assert all(source in script for source in code)
    assert ast.dump(ast.parse(script)) == ast.dump(ast.parse("\n".join(code)))


def test_page_for_a_wrong_address_works_in_any_folder(built_book):
    html = (built_book / "404.html").read_text()
    local = [
        address
        for address in links(html) + re.findall(r' src="([^"]+)"', html)
        if not address.startswith(("http", "#", "data:"))
    ]
    assert len(local) > 20
    for address in local:
        assert address.startswith(f"/{NAME}/"), address
        target = urlsplit(address.removeprefix(f"/{NAME}/")).path
        assert (built_book / target).exists(), address
    assert "There is no page at this address" in html


@for_each_chapter
@pytest.mark.parametrize("colab", [True, False], ids=["colab", "elsewhere"])
def test_first_cell_fetches_and_installs_the_book_in_colab_alone(twin, colab, monkeypatch):
    called = []
    shell = SimpleNamespace(
        system=called.append, run_line_magic=lambda name, line: called.append(f"%{name} {line}")
    )
    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "embedlens.quiet", SimpleNamespace())
    cell = code_cells(twin)[0]
    assert cell.metadata["tags"] == ["remove-cell"]
    assert cell.source == code_cells(TWINS[0])[0].source
    assert cell.source.splitlines()[-1].startswith("import embedlens.quiet")
    exec(cell.source, {"get_ipython": lambda: shell})
    clone = f"git clone --quiet --depth 1 {ADDRESS} embedlens"
    steps = [clone, "%cd embedlens/book", "%pip install --quiet .. myst-nb"]
    assert called == (steps if colab else [])


def test_colab_gets_all_that_the_chapters_import():
    names = set()
    for twin in TWINS:
        for cell in code_cells(twin):
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add(node.module.split(".")[0])
    assert {"embedlens", "keras", "myst_nb"} <= names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = {Requirement(text).name for text in project["dependencies"]}
    installed |= {"embedlens", "myst-nb"}
    in_colab_anyway = {"ipython", "plotly"}
    providers = packages_distributions()
    for name in names - sys.stdlib_module_names - {"embedlens"}:
        found = {canonicalize_name(package) for package in providers[name]}
        assert found & (installed | in_colab_anyway), name


def tracked_texts():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.split("\0")[:-1]:
        file = ROOT / name
        if file.is_file() and file.suffix not in {".png", ".woff"} and "mathjax" not in name:
            yield name, file.read_text()


def test_the_address_is_the_same_everywhere():
    """Any address of a repository that carries our name is the one of `_config.yml`."""
    places = {}
    for name, text in tracked_texts():
        found = re.findall(rf"https://github\.com/[\w.-]+/{NAME}\b(?![\w-])", text)
        if found:
            places[name] = set(found)
    if not places:
        pytest.skip("not a git checkout")
    assert "_config.yml" in places
    assert set.union(*places.values()) == {ADDRESS}
    assert CITATION["repository-code"] == ADDRESS
    assert CITATION["url"] == SITE


def test_citation_on_the_start_page_is_that_of_the_file():
    start = " ".join((ROOT / "book/index.md").read_text().split())
    bibtex = (ROOT / "book/index.md").read_text().split("```bibtex\n")[1].split("```")[0]
    field = dict(re.findall(r"(\w+)\s*= \{(.*)\}", bibtex))
    plain = {key: value.replace("{", "").replace("}", "") for key, value in field.items()}
    author, version = CITATION["authors"][0]["name"], CITATION["version"]
    year = str(CITATION["date-released"].year)
    assert plain == {
        "author": author,
        "title": CITATION["title"],
        "year": year,
        "note": f"Version {version}",
        "url": CITATION["repository-code"],
    }
    text = f"{author} ({year}). *{CITATION['title']}.* Version {version}."
    assert f"{text} [{ADDRESS.removeprefix('https://')}]({ADDRESS})" in start


def test_subtitle_is_that_of_the_citation():
    subtitle = CONFIG["sphinx"]["config"]["book_subtitle"]
    assert CITATION["title"] == f"{CONFIG['title']}: {subtitle}"
