"""What another seed keeps, by dimensions."""

from pathlib import Path

import pytest

from embedlens import experiments
from embedlens.experiments import search, seeds, shapes, tuning

RESULTS = Path(__file__).parents[2] / "book/results"


def test_stored_runs_are_complete_and_differ_by_dimensions_alone():
    stored = experiments.table(RESULTS / "seeds.json")
    asked = [(split, dim) for split in search.OUTER for dim in seeds.DIMS]
    assert list(zip(stored["split"], stored["dim"], strict=True)) == asked
    assert stored[["seed", "softimpute"]].stack().between(0.01, 1).all()
    assert stored["rmse"].between(0.85, 0.9).all()
    assert all(len(found) == 16 for found in stored["canonical"])


def test_the_anchors_own_dimensions_agree_with_the_other_experiment():
    stored = experiments.table(RESULTS / "seeds.json", index=["split", "dim"])
    other = experiments.table(RESULTS / "shapes.json", index="split", kind="report")
    for split in search.OUTER:
        dim = dict(tuning.anchor(split).options)["dim"]
        own = stored.loc[(split, dim)]
        assert own["rmse"] == pytest.approx(other.loc[split, "rmse embeddings"], abs=1e-4)
        again = other.loc[split, "agreement embeddings | other seed"]
        assert own["seed"] == pytest.approx(again, abs=0.005)


def test_settings_are_those_that_were_found(monkeypatch, tmp_path):
    for run in shapes.SHAPES.load(RESULTS / "shapes.json")["runs"]:
        if run["kind"] == "report":
            assert seeds.settings(run["split"]) == run["settings"]
    monkeypatch.setattr(seeds, "SHAPES", tmp_path / "missing.json")
    seeds.settings.cache_clear()
    assert seeds.settings(0) == {}
    seeds.settings.cache_clear()
