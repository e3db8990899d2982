from pathlib import Path
import subprocess

import pytest

from embedlens import data, provenance


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A small package under the name of ours."""
    root = tmp_path / "embedlens"
    (root / "parts").mkdir(parents=True)
    files = {
        "__init__.py": '"""Text."""\n',
        "parts/__init__.py": "",
        "parts/one.py": "from embedlens import two\nimport os\n",
        "two.py": "def f():\n    from embedlens.three import g\n    return g\n",
        "three.py": '"""Says g."""\n\nfrom embedlens.parts import one  # a circle\n\ng = 1\n',
        "four.py": "import embedlens.two\n",
        "apart.py": "x = 1\n",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    monkeypatch.setattr(provenance, "PACKAGE", root)
    return root


def test_sources_are_followed_through_every_import(package):
    found = provenance.sources(package / "parts/one.py")
    assert list(found) == ["__init__.py", "parts/__init__.py", "parts/one.py", "three.py", "two.py"]
    assert "two.py" in provenance.sources(package / "four.py")
    assert provenance.imports(package / "four.py") == [package / "__init__.py", package / "two.py"]


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        (
            "three.py",
            "\n\n# comment\nfrom embedlens.parts import one  # a circle\n\ng = 1\n",
            False,
        ),
        ("three.py", '"""Says h."""\nfrom embedlens.parts import one  # a circle\ng = 1\n', False),
        ("three.py", "from embedlens.parts import one\n\ng = 1  # one\n# more", False),
        ("three.py", "from embedlens.parts import one  # a circle\ng = 2\n", True),
        ("apart.py", "x = 2\n", False),
    ],
)
def test_only_a_change_of_code_that_is_imported_counts(package, file, text, changes):
    before = provenance.sources(package / "parts/one.py")
    (package / file).write_text(text)
    assert (provenance.sources(package / "parts/one.py") != before) == changes


def test_a_string_that_is_no_docstring_is_code(package):
    (package / "apart.py").write_text('x = """a\n\n# b\n"""\n')
    before = provenance.sources(package / "apart.py")
    (package / "apart.py").write_text('x = """a\n\n# c\n"""\n')
    assert provenance.sources(package / "apart.py") != before


def test_fingerprint_depends_on_code_backend_and_versions(package, monkeypatch):
    def now():
        return provenance.fingerprint(package / "apart.py")

    first = now()
    assert now() == first
    monkeypatch.setenv("KERAS_BACKEND", "another")
    second = now()
    (package / "apart.py").write_text("x = 3\n")
    third = now()
    monkeypatch.setattr(provenance, "versions", lambda: {"keras": "9"})
    assert len({first, second, third, now()}) == 4


def test_digest_of_the_data_is_that_of_ratings_and_titles(monkeypatch):
    before = provenance.dataset_digest()
    assert len(before) == 64
    for column, value in [("rating", 5.0), ("title", "Another"), ("movieIdDense", 9)]:
        changed = data.prepared().copy()
        changed.loc[5, column] = value
        monkeypatch.setattr(data, "prepared", lambda changed=changed: changed)
        assert provenance.dataset_digest() != before


def test_digest_of_other_ratings_is_by_their_rows_alone():
    ratings = data.prepared().head(100)
    found = provenance.dataset_digest(ratings)
    assert found != provenance.dataset_digest()
    assert found == provenance.dataset_digest(ratings.set_index(ratings.index + 7))
    assert found != provenance.dataset_digest(ratings[::-1])


def test_processor_is_named_by_the_first_line_that_does(monkeypatch):
    text = "vendor_id : x\nmodel name\t: One: fast\nflags : a\nmodel name\t: Another\n"
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    assert provenance.processor() == "One: fast"


def test_a_module_does_not_import_itself(package):
    (package / "apart.py").write_text("from embedlens import apart, two\n")
    assert provenance.imports(package / "apart.py") == [package / "__init__.py", package / "two.py"]


def test_provenance_says_what_matters():
    found = provenance.provenance({"a": 1}, provenance.__file__)
    assert found["settings"] == {"a": 1}
    assert found["versions"]["jax"]
    assert found["processor"]
    assert found["cores"] >= 1
    assert "provenance.py" in found["sources"]
    assert "data.py" in found["sources"]
    assert len(found["data"]) == 64
    assert "data" not in provenance.provenance({}, provenance.__file__, with_data=False)


def test_commit_tells_a_changed_tree(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() is None
    file = Path(tmp_path / "file")
    file.write_text("a")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for call in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *call], check=True)
    clean = provenance.commit()
    assert len(clean) == 40
    file.write_text("b")
    assert provenance.commit() == clean + "+"
