"""Plain notebooks: the chapters for those who run them, in any Jupyter, Colab or Binder.

From ``book/NAME.ipynb``, ``python -m embedlens plain`` derives ``notebooks/NAME.ipynb``: the same
code, and prose in plain Markdown. Numbers come from the stored run, terms and claims lead to the
published book. Outputs are left out: who runs a chapter makes them.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
import re
import time
from urllib.parse import urlsplit

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pybtex.database import parse_file
import yaml

from embedlens.book import chapters

NOTEBOOKS = Path("notebooks")
GLUED = "application/papermill.record/text/plain"
TOP = (
    "*This is chapter {number} of the book [EmbedLens]({home}{chapter}.html) as a plain notebook, "
    "to run and to change; the numbers in its text are those of the book's stored run. It needs "
    'the package: `pip install "embedlens[book] @ git+{repository}"`; in Colab, the first cell '
    "fetches it.*"
)
IN_WORDS = "{}\n\n<details><summary>The figure in words</summary>\n\n{}\n\n</details>"
ROLE = re.compile(r"\{([a-z:]+)\}`([^`]+)`")
DIRECTIVE = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{(?P<name>[a-z-]+)\} *(?P<title>.*)\n"
    r"(?P<options>(?::\w+:.*\n)*)(?P<body>(?:.*\n)*?)(?P=fence)$",
    re.MULTILINE,
)
LINK = re.compile(r"\]\((?!https?:)([\w./-]*)(#[\w-]+)?\)")
TARGET = re.compile(r"^\([\w-]+\)=\n", re.MULTILINE)
# A heading of its own cell, which Jupyter and Colab can fold with all that follows.
SOLUTION = re.compile(r"^(### Solution to .*)$", re.MULTILINE)
HIDDEN = {"hide-input", "remove-cell", "remove-input"}


def write_all(book=chapters.BOOK, folder=NOTEBOOKS):
    """Write the plain notebook of every chapter.

    One that was run in its place holds outputs: it is kept beside, under a name with its time.

    Returns
    -------
    list of Path
        What was kept.

    Raises
    ------
    ValueError
        If there is no chapter, or one is damaged or has a role or directive not known here.
    """
    twins, kept = chapters.text_twins(book), []
    folder.mkdir(exist_ok=True)
    for twin in twins:
        target, text = folder / f"{twin.stem}.ipynb", as_text(twin)
        before = target.read_text(encoding="utf-8") if target.exists() else ""
        if before == text:
            continue
        if '"output_type"' in before:
            when = time.strftime("%Y%m%d-%H%M%S", time.localtime(target.stat().st_mtime))
            kept.append(target.rename(folder / f"{twin.stem}.kept-{when}.ipynb"))
        target.write_text(text, encoding="utf-8", newline="\n")
    return kept


def as_text(twin):
    """The plain notebook of a chapter, as it is stored.

    Parameters
    ----------
    twin : Path
        The chapter's text twin.

    Returns
    -------
    str
    """
    chapter = chapters.read_notebook(twin).cells
    words = _words(twin, chapter)
    cells = [new_markdown_cell(TOP.format(**vars(words)))]
    for cell in chapter:
        cells += _prose(cell, words) if cell.cell_type == "markdown" else _code(cell, words)
    folded = []
    for place, cell in enumerate(cells):
        cell.id = f"cell-{place}"
        if SOLUTION.match(cell.source):
            cell.metadata = {"id": cell.id, "jp-MarkdownHeadingCollapsed": True}  # Colab, Jupyter
            folded.append(cell.id)
    metadata = {"kernelspec": chapters.KERNEL, "colab": {"collapsed_sections": folded}}
    plain = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(plain)
    return nbformat.writes(plain) + "\n"


def site_of(repository):
    """Address of the published book, from that of the repository."""
    owner, name = urlsplit(repository).path.strip("/").split("/")
    return f"https://{owner}.github.io/{name}/"


@dataclass
class _Words:
    """What the roles and directives of one chapter stand for."""

    chapter: str
    number: int
    repository: str
    home: str
    glued: dict
    claims: set
    figures: dict
    exercises: dict
    terms: dict
    citations: dict

    def resolve(self, text):
        """Markdown without roles, directives and links within the book."""
        text = DIRECTIVE.sub(self._directive, TARGET.sub("", text))
        return LINK.sub(self._link, ROLE.sub(self._role, text))

    def _role(self, match):
        role, content = match[1], " ".join(match[2].split())
        shown, _, target = content.removesuffix(">").partition(" <")
        match role:
            case "glue:text":
                return self._known(self.glued, content)
            case "numref":
                return f"Figure {self._known(self.figures, content)}"
            case "math":
                return f"${content}$"
            case "term":
                term = self._known(self.terms, (target or shown).lower())
                return f"[{shown}](glossary.md#term-{term.replace(' ', '-')})"
            case "cite:p":
                cited = [self._known(self.citations, key.strip()) for key in content.split(",")]
                return f"([{'; '.join(sorted(cited))}](references.md))"
        raise ValueError(f"{self.chapter}: no rule for the role {match[0]}")

    def _directive(self, match):
        title, body = match["title"], match["body"].strip()
        match match["name"]:
            case "admonition":
                return _quoted(title, body)
            case "warning":
                return _quoted("Warning", body)
            case "exercise":
                label = re.search(r"^:label: (.*)$", match["options"], re.MULTILINE)[1]
                return f"### Exercise {self._known(self.exercises, label)}: {title}\n\n{body}"
            case "solution-start":
                return f"### Solution to Exercise {self._known(self.exercises, title)}"
            case "solution-end":
                return ""
        raise ValueError(f"{self.chapter}: no rule for the directive {match['name']}")

    def _link(self, match):
        file, place = match[1], match[2] or ""
        if not file:  # MyST finds a place by its name alone; chapter 6 has the claims of part one
            elsewhere = "claim" in place and place not in self.claims
            file = "06_verdict" if elsewhere else self.chapter
        return f"]({self.home}{Path(file).stem}.html{place})"

    def _known(self, names, name):
        if name not in names:
            raise ValueError(f"{self.chapter}: {name} stands for nothing")
        return names[name]


def _words(twin, cells):
    root, number = twin.parents[2], int(twin.stem.split("_")[0])
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    repository = config["repository"]["url"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    figures = [c.metadata.mystnb.figure.name for c in cells if _figure(c)]
    exercises = re.findall(r"\{exercise\}.*\n:label: (.*)", "\n".join(c.source for c in cells))
    return _Words(
        chapter=twin.stem,
        number=number,
        repository=repository,
        home=f"{site_of(repository)}book/",
        glued=_glued(outputs),
        claims=_claims(outputs),
        figures={name: f"{number}.{place}" for place, name in enumerate(figures, 1)},
        exercises={name: f"{number}.{place}" for place, name in enumerate(exercises, 1)},
        terms={term.lower(): term for term in _terms(root / "book/glossary.md")},
        citations=_citations(root / config["bibtex_bibfiles"][0]),
    )


def _glued(outputs):
    stored = [output for output in outputs if GLUED in output.get("data", {})]
    return {o.metadata.scrapbook.name: str(ast.literal_eval(o.data[GLUED])) for o in stored}


def _claims(outputs):
    """Places of the claims in the chapter's own table, such as ``#claim-long-search``."""
    texts = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    return {place for text in texts for place in re.findall(r"\{(#claim-[\w-]+)\}", text)}


def _terms(file):
    glossary = file.read_text(encoding="utf-8").partition(":::{glossary}\n")[2]
    return re.findall(r"^(\S.*)\n  ", glossary, re.MULTILINE)


def _citations(file):
    """Author and year of each source, by its key."""
    found = {}
    for key, entry in parse_file(file).entries.items():
        persons = entry.persons.get("author") or entry.persons["editor"]
        people = [
            " ".join(map(str, person.rich_prelast_names + person.rich_last_names))
            for person in persons
        ]
        names = " and ".join(people) if len(people) < 3 else f"{people[0]} et al."
        found[key] = f"{names}, {entry.fields['year']}"
    return found


def _figure(cell):
    return cell.metadata.get("mystnb", {}).get("figure")


def _quoted(title, body):
    return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *body.splitlines()])


def _prose(cell, words):
    parts = SOLUTION.split(words.resolve(cell.source))
    return [new_markdown_cell(part.strip()) for part in parts if part.strip()]


def _code(cell, words):
    hidden = HIDDEN & set(cell.metadata.get("tags", []))
    metadata = {"jupyter": {"source_hidden": True}} if hidden else {}
    cells = [new_code_cell(cell.source, metadata=metadata)]
    if figure := _figure(cell):
        caption = f"**Figure {words.figures[figure.name]}.** {words.resolve(figure.caption)}"
        cells.append(new_markdown_cell(IN_WORDS.format(caption, cell.metadata.mystnb.image.alt)))
    return cells
