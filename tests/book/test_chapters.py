"""The chapters: in step, executed, complete, equal to the shared code, rendered."""

import ast
from base64 import b64decode, b64encode
from io import BytesIO
import os
from pathlib import Path
import re

from jupytext import TextFileContentsManager
from notebooks import NAMES, ROOT, TWINS, code_cells, notebook, outputs
import numpy as np
from PIL import Image
import pytest
import yaml

from embedlens import comparing, models, published, watched
from embedlens.book import chapters
from embedlens.experiments import claims, completion, conclusions, one_hot, verdict

SHARED = {
    "SimpleDot": ("02_dot_model", models),
    "DotWithBias": ("03_bias_model", models),
    "BiasOnly": ("03_bias_model", models),
    "SimpleEmbedding": ("05_own_layer", models),
    "PenalisedDotWithBias": ("07_costs", models),
    "OneHotDense": ("08_one_hot", models),
    "Biases": ("08_one_hot", models),
    "OneHotNetwork": ("08_one_hot", models),
    "EmbeddingNetwork": ("08_one_hot", models),
    "ProductNetwork": ("08_one_hot", models),
    "folded": ("08_one_hot", one_hot),
    "AutoRec": ("09_shapes", models),
    "masked_mse": ("09_shapes", models),
    "low_rank": ("09_shapes", completion),
    "soft_impute": ("09_shapes", completion),
    "train_autorec": ("09_shapes", completion),
    "canonical_correlations": ("09_shapes", comparing),
    "GoesWith": ("09_shapes", models),
    "DotWithFeedback": ("10_how_low", models),
    "DriftingDotWithFeedback": ("10_how_low", models),
    "EvenlyPenalised": ("11_recommendations", models),
    "item_knn": ("11_recommendations", watched),
    "ials": ("11_recommendations", watched),
    "solved": ("11_recommendations", watched),
}
# Settings of the post, rules, and numbers of the examples by hand. Results are glued.
SETTINGS = {"99.9", "0.3", "0.6", "0.05", "0.5", "0.25", "0.99", "3.5", "1.0", "3.0"}
STORED = ROOT / "book/results/verdict.json"
HOLDS = (claims.REPRODUCED, claims.CAVEAT, claims.SHOWN)
# Bullets that say what to do, and so claim nothing.
ADVICE = {
    "One RMSE hides two very different groups. Split it before you judge.",
    "Change one thing at a time, and write the rule down before the result.",
}
NOT_FINDINGS = {  # in bold for another reason: the rules of the verdict
    "A count",
    "The result of one run",
    "A sentence",
    "A finding of our own",
    "That two things are the same",
}
for_each_chapter = pytest.mark.parametrize("twin", TWINS, ids=NAMES)


def glued():
    values = {}
    for twin in TWINS:
        for output in outputs(twin):
            text = output.get("data", {}).get("application/papermill.record/text/plain")
            if text is not None:
                values[output.metadata["scrapbook"]["name"]] = ast.literal_eval(text)
    return values


def test_contents_list_every_chapter():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [Path(entry["file"]) for part in contents["parts"] for entry in part["chapters"]]
    notebooks = [path.stem for path in listed if path.suffix == ".ipynb"]
    assert notebooks == NAMES
    assert len(NAMES) >= 5


@for_each_chapter
def test_text_and_notebook_in_step(twin):
    assert chapters.difference(twin) is None


@for_each_chapter
def test_every_code_cell_was_executed_in_order(twin):
    counts = [cell.execution_count for cell in code_cells(twin)]
    assert counts == list(range(1, len(counts) + 1))


@for_each_chapter
def test_no_error_and_nothing_on_stderr(twin):
    for output in outputs(twin):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text


@for_each_chapter
def test_every_picture_has_caption_and_alternative_text(twin):
    pictures = 0
    for cell in code_cells(twin):
        shown = [o for o in cell.outputs if "image/png" in o.get("data", {})]
        if not shown:
            continue
        pictures += len(shown)
        settings = cell.metadata.get("mystnb", {})
        assert settings.get("figure", {}).get("name", "").startswith("fig-"), cell.source
        assert len(settings["figure"]["caption"]) > 20
        assert len(settings.get("image", {}).get("alt", "")) > 40, cell.source
    assert pictures >= 2


@for_each_chapter
def test_chapter_has_its_parts(twin):
    text = twin.read_text()
    for part in ("You will learn", "## Checks", "## What we learnt", "{exercise}", "dropdown"):
        assert part in text, part
    assert "assert " in text
    assert "published.check(" in text


@for_each_chapter
def test_no_result_is_typed_in_prose(twin):
    cells = notebook(twin).cells
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    shown = [c.metadata["mystnb"] for c in cells if "figure" in c.metadata.get("mystnb", {})]
    prose += [text for s in shown for text in (s["figure"]["caption"], s["image"]["alt"])]
    typed = re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", "\n".join(prose))
    assert not set(typed) - SETTINGS


def stripped(node):
    node.decorator_list = []
    for part in ast.walk(node):
        if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part):
            part.body = part.body[1:]
    return ast.dump(node)


def definition_in(source, name):
    found = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
    ]
    return found[0] if found else None


@pytest.mark.parametrize("name", SHARED)
def test_code_in_chapter_is_the_shared_code(name):
    chapter, module = SHARED[name]
    shared = definition_in(Path(module.__file__).read_text(), name)
    shown = [definition_in(c.source, name) for c in code_cells(ROOT / f"book/text/{chapter}.md")]
    shown = [node for node in shown if node is not None]
    assert len(shown) == 1
    assert stripped(shown[0]) == stripped(shared)


def test_results_in_the_readme_are_those_of_the_chapters():
    rows = re.findall(r"^\| (.*) \|$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    table = {row.split(" | ")[0]: row.split(" | ")[1:] for row in rows}
    values = glued()
    for model, figure, key in [
        ("simple dot model", "rmse_simple_dot", "dot_last_rmse"),
        ("bias model", "rmse_bias", "bias_last_rmse"),
        ("dot model on the hand-written layer", "rmse_own_layer", "own_last_rmse"),
    ]:
        post = published.FIGURES[figure]
        bound = f"{post.low:.2f} to {post.high:.2f}"
        assert table[model] == [post.text(), values[key], bound]


def test_a_name_is_glued_once():
    names = [
        o.metadata["scrapbook"]["name"]
        for t in TWINS
        for o in outputs(t)
        if "scrapbook" in o.get("metadata", {})
    ]
    assert len(names) == len(set(names))


def test_every_source_is_cited_and_every_citation_has_a_source():
    sources = re.findall(r"^@\w+\{(\w+),", (ROOT / "book/references.bib").read_text(), re.MULTILINE)
    pages = [*TWINS, *(ROOT / "book").glob("*.md")]
    cited = re.findall(r"\{cite:\w+\}`([^`]+)`", "\n".join(page.read_text() for page in pages))
    keys = [key.strip() for group in cited for key in group.split(",")]
    assert sorted(sources) == sorted(set(keys))
    assert len(sources) == len(set(sources))


def test_strict_build_renders_every_chapter(built_book):
    pages = built_book / "book"
    for twin in TWINS:
        page = (pages / f"{twin.stem}.html").read_text()
        assert page.count("<img") >= 2, twin.stem
        assert "What we learnt" in page
        assert len(page) > 20_000
    start = (pages / "index.html").read_text()
    assert "<td><p>1.08</p></td>" in start, "the table of results is missing"


@for_each_chapter
def test_saving_in_lab_changes_the_twin_by_the_edit_alone(twin, tmp_path):
    for file in (ROOT / "pyproject.toml", twin, chapters.notebook_of(twin)):
        copied = tmp_path / file.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(file.read_bytes())
    target = str(chapters.notebook_of(twin).relative_to(ROOT))
    later = (tmp_path / target).stat().st_mtime + 600
    os.utime(tmp_path / target, (later, later))
    lab = TextFileContentsManager(root_dir=str(tmp_path))
    model = lab.get(target)
    model["content"]["cells"][0]["source"] += "\n\nEdited in Lab."
    lab.save(model, target)
    saved = (tmp_path / twin.relative_to(ROOT)).read_text()
    assert saved.replace("\n\nEdited in Lab.", "", 1) == twin.read_text()
    assert "Edited in Lab." in (tmp_path / target).read_text()


CELLS = """---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---

# A chapter

```{code-cell}
import random
random.seed(0)
print(random.random())
```
"""


@pytest.fixture
def small_twin(tmp_path):
    twin = tmp_path / "text" / "01_small.md"
    twin.parent.mkdir()
    twin.write_text(CELLS)
    return twin


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """What `execute` stores of the small chapter."""
    twin = tmp_path_factory.mktemp("executed") / "text" / "01_small.md"
    twin.parent.mkdir()
    twin.write_text(CELLS)
    chapters.execute(twin)
    return chapters.notebook_of(twin).read_bytes()


@pytest.fixture
def stored(small_twin, executed):
    """The twin and its notebook, in step."""
    chapters.notebook_of(small_twin).write_bytes(executed)
    return small_twin


def test_executing_twice_writes_the_same_bytes(small_twin, executed):
    chapters.execute(small_twin)
    assert chapters.notebook_of(small_twin).read_bytes() == executed
    assert b"0.844" in executed
    assert chapters.difference(small_twin) is None


def test_stored_pictures_are_light_and_as_large_as_drawn():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 1)).repeat(4, axis=-1)
    pixels[..., 3] = 255
    drawn = BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(drawn, "png")
    stored = b64decode(chapters.lighter(b64encode(drawn.getvalue()).decode()))
    assert len(stored) < len(drawn.getvalue()) / 2
    picture = Image.open(BytesIO(stored))
    assert picture.size == (60, 40)
    off = np.abs(np.asarray(picture.convert("RGB"), "int") - pixels[..., :3])
    assert off.max() <= 8


def test_edits_in_the_notebook_alone_are_not_overwritten(stored):
    target = chapters.notebook_of(stored)
    edited = target.read_text().replace("random.seed(0)", "random.seed(1)")
    target.write_text(edited)
    later = stored.stat().st_mtime + 10
    os.utime(target, (later, later))
    with pytest.raises(RuntimeError, match="edited without its twin"):
        chapters.execute(stored)
    assert target.read_text() == edited


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise ValueError('planted')", "01_small.md does not run through.*planted"),
        ("import os; os._exit(1)", "kernel died while it ran .*01_small.md"),
    ],
)
def test_a_failing_cell_leaves_the_stored_notebook(stored, code, told):
    before = chapters.notebook_of(stored).read_bytes()
    stored.write_text(CELLS.replace("random.seed(0)", code))
    with pytest.raises(RuntimeError, match=f"(?s){told}"):
        chapters.execute(stored)
    assert chapters.notebook_of(stored).read_bytes() == before


@pytest.mark.parametrize("name", ["01_small.ipynb", "text/01_small.md"])
def test_edits_while_the_chapter_runs_are_not_overwritten(stored, name):
    edit = f"open('{name}', 'a').write(' ')"
    stored.write_text(CELLS.replace("random.seed(0)", edit))
    os.utime(stored, (2e9, 2e9))
    with pytest.raises(RuntimeError, match="edited while the chapter ran"):
        chapters.execute(stored)
    edited = stored.parent.parent / name
    assert edited.read_text().endswith(" ")
    assert sorted(p.name for p in edited.parent.iterdir() if p.name.startswith(".")) == []


def test_difference_tells_an_edited_twin(stored):
    stored.write_text(CELLS.replace("# A chapter", "# Another chapter"))
    assert "chapter" in chapters.difference(stored)


CONFLICT = "<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n"
NO_NOTEBOOKS = {
    "empty": "",
    "blank": "\n \n",
    "conflict": CONFLICT,
    "conflict within": '{"cells": [],\n' + CONFLICT + '"nbformat": 4}',
    "cut off": '{"cells": [',
    "no text": "\udcff",
    "object": "{}",
    "list": "[]",
    "number": "4",
    "another version": '{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}',
    "no cells": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells of no kind": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}',
}


@pytest.mark.parametrize("age", [-10, 10], ids=["older", "newer"])
@pytest.mark.parametrize("kind", NO_NOTEBOOKS)
def test_a_damaged_notebook_is_named_and_left(small_twin, kind, age):
    target = chapters.notebook_of(small_twin)
    target.write_text(NO_NOTEBOOKS[kind], errors="surrogateescape")
    before, now = target.read_bytes(), small_twin.stat().st_mtime
    os.utime(target, (now + age, now + age))
    advice = "01_small.ipynb.*Delete it.*python -m embedlens execute 01_small"
    assert re.search(advice, chapters.difference(small_twin), flags=re.DOTALL)
    with pytest.raises(ValueError, match=f"(?s){advice}"):
        chapters.execute(small_twin)
    assert target.read_bytes() == before


def test_a_deleted_notebook_is_made_again(small_twin):
    target = chapters.notebook_of(small_twin)
    assert "01_small.ipynb is missing" in chapters.difference(small_twin)
    target.write_text("")
    target.unlink()
    chapters.execute(small_twin)
    assert chapters.difference(small_twin) is None


NO_TWINS = {
    "missing": None,
    "empty": "",
    "conflict": CELLS.replace("# A chapter", "<<<<<<< HEAD\n# A\n=======\n# B\n>>>>>>> other"),
    "no text": "\udcff" + CELLS,
    "no start": CELLS.split("---\n")[2],
    "start that is no YAML": CELLS.replace("kernelspec:", "kernelspec: ["),
    "settings that are no YAML": CELLS.replace("import random", ":tags: [a\nimport random"),
}


@pytest.mark.parametrize("kind", NO_TWINS)
def test_a_damaged_twin_is_named_and_the_notebook_left(stored, kind):
    before = chapters.notebook_of(stored).read_bytes()
    stored.unlink()
    if NO_TWINS[kind] is not None:
        stored.write_text(NO_TWINS[kind], errors="surrogateescape")
    advice = "01_small.md.*jupytext --to md:myst -o .*01_small.md .*01_small.ipynb"
    assert re.search(advice, chapters.difference(stored), flags=re.DOTALL)
    with pytest.raises(ValueError, match=f"(?s){advice}"):
        chapters.execute(stored)
    assert chapters.notebook_of(stored).read_bytes() == before


def test_all_chapters_or_those_named_are_executed(small_twin, monkeypatch):
    book, done = small_twin.parent.parent, []
    (book / "text/02_other.md").write_text(CELLS)
    monkeypatch.setattr(chapters, "execute", lambda twin: done.append(twin.stem))
    chapters.execute_all(book=book)
    chapters.execute_all(["02_other"], book)
    assert done == ["01_small", "02_other", "02_other"]
    with pytest.raises(ValueError, match="no chapter 03_more; there are 01_small, 02_other"):
        chapters.execute_all(["01_small", "03_more"], book)
    with pytest.raises(ValueError, match="run this from the repository root"):
        chapters.execute_all(book=book / "text")
    assert len(done) == 3


def learnt(twin):
    """The bullets under "What we learnt", a string each."""
    section = twin.read_text().split("## What we learnt")[1]
    section = re.split(r"\n## |\n```", section)[0]
    return [" ".join(bullet.split()) for bullet in re.split(r"^- ", section, flags=re.M)[1:]]


@pytest.fixture(scope="module")
def judged():
    found = {a.claim.id: a.verdict for a in verdict.assessments(verdict.VERDICT.load(STORED))}
    for chapter in conclusions.CHAPTERS:
        for name, (*_, shown) in conclusions.judged(chapter).items():
            assert name not in found, f"two claims are called {name}"
            found[name] = claims.SHOWN if shown else claims.NOT_SHOWN
    return found


@pytest.mark.parametrize("chapter", conclusions.CHAPTERS)
def test_links_to_a_conclusion_have_a_target_and_the_table_is_shown(chapter, judged):
    text = (ROOT / f"book/text/{chapter}.md").read_text()
    assert f'conclusions.as_markdown("{chapter}")' in text
    assert set(re.findall(r"\(#claim-([\w-]+)\)", text)) <= set(judged)


@for_each_chapter
def test_what_we_learnt_was_tested(twin, judged):
    bullets = learnt(twin)
    assert len(bullets) >= 3
    for bullet in bullets:
        named = re.findall(r"\(#claim-([\w-]+)\)", bullet)
        assert named or bullet in ADVICE, f"no claim behind: {bullet}"
        for name in named:
            assert judged[name] in HOLDS, f"{name}: {judged[name]}, yet {twin.stem} says: {bullet}"


@for_each_chapter
def test_no_title_is_cut_in_a_table(twin):
    tables = [o.data["text/html"] for o in outputs(twin) if "text/html" in o.get("data", {})]
    assert re.findall(r"<t[dh]>([^<]+\.\.\.)</t[dh]>", "".join(tables)) == []


@for_each_chapter
def test_every_figure_is_mentioned(twin):
    text = twin.read_text()
    names = re.findall(r"^    name: (fig-[\w-]+)$", text, flags=re.M)
    assert len(names) >= 2
    assert [name for name in names if f"{{numref}}`{name}`" not in text] == []


@for_each_chapter
def test_findings_in_bold_were_tested(twin, judged):
    cells = [cell.source for cell in notebook(twin).cells if cell.cell_type == "markdown"]
    for paragraph in re.split(r"\n\n", "\n\n".join(cells)):
        for found in re.findall(r"\*\*([^*]+)\*\*", paragraph):
            named = re.findall(r"\(#claim-([\w-]+)\)", paragraph)
            assert named or found in NOT_FINDINGS, f"{twin.stem}: no claim behind: {found}"
            assert all(name in judged for name in named)
