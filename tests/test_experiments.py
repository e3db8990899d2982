"""The registry of the stored results."""

import json
from pathlib import Path

import pytest

from embedlens import experiments, provenance

RESULTS = Path(__file__).parent.parent / "book/results"
NAMES = list(experiments.EXPERIMENTS)


def stored(name):
    return RESULTS / f"{name}.json"


@pytest.mark.parametrize("name", NAMES)
def test_name_module_and_file_belong_together(name):
    experiment = experiments.get(name)
    assert experiment.name == name
    assert Path(experiment.file) == experiments.EXPERIMENTS[name].file


def test_runs_as_a_table():
    table = experiments.table(stored("shapes"), index="split", kind="report")
    assert table.index.to_list() == [0, 1, 2, 3, 4]
    assert table.index.name == "split"
    assert len(experiments.table(stored("sweep"))) == 42


def test_fresh_and_stale_are_told_apart(monkeypatch, tmp_path):
    name = NAMES[0]
    present = provenance.sources(experiments.EXPERIMENTS[name].file)
    file = tmp_path / "stored.json"
    file.write_text(json.dumps({"provenance": {"sources": present}}))
    assert experiments.changed_sources(name, file) == []
    older = {**present, "data.py": "other", "gone.py": "x"}
    file.write_text(json.dumps({"provenance": {"sources": older}}))
    assert experiments.changed_sources(name, file) == ["data.py", "gone.py"]
    for content in ("", "[]", "{}", '{"provenance": {}}'):
        file.write_text(content)
        assert experiments.changed_sources(name, file) is None
    assert experiments.changed_sources(name, tmp_path / "missing.json") is None


def test_stale_results_are_printed(capsys):
    """Not a failure: a stale result fails where measuring a part again disagrees."""
    with capsys.disabled():
        for name in NAMES:
            changed = experiments.changed_sources(name, stored(name))
            assert changed is not None, f"{name}.json does not say what it was made from"
            if changed:
                print(f"\nstale: {name}.json; changed since: {', '.join(changed)}")


def test_unknown_experiment(tmp_path):
    with pytest.raises(ValueError, match="no experiment 'other'; there are verdict"):
        experiments.load(tmp_path / "other.json")
