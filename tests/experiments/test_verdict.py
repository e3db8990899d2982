from dataclasses import replace
import json
from pathlib import Path

from click.testing import CliRunner
import numpy as np
import pandas as pd
import pytest

from embedlens import __main__ as command
from embedlens import data, training
from embedlens.experiments import claims, verdict

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/verdict.json"


@pytest.fixture(scope="module")
def stored():
    return verdict.VERDICT.load(STORED)


def test_stored_verdict_is_complete(stored):
    assert [c["id"] for c in stored["claims"]] == [c.id for c in claims.CLAIMS]
    assert list(verdict.by_seed(stored).index) == list(range(20))
    assert verdict.by_seed(stored).notna().all(axis=None)
    assert all(c["in_bound"] for c in stored["claims"])
    assert verdict.out_of_bound(stored) == []
    assert verdict.seconds_of_seeds(stored) < 8 * 60


def test_stored_verdicts_follow_from_the_stored_measures(stored):
    anew = json.loads(json.dumps(verdict.VERDICT.summary(stored["runs"])))["claims"]
    for ours, theirs in zip(anew, stored["claims"], strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            exact = value is None or isinstance(value, str | bool) or key == "bound"
            assert ours[key] == (value if exact else pytest.approx(value, rel=1e-9)), key


def test_readme_gives_the_size_of_the_audit(stored):
    size = f"audits {len(claims.CLAIMS)} claims over {len(verdict.by_seed(stored))} seeds"
    assert size in " ".join((ROOT / "README.md").read_text().split())


def test_row_wise_training_was_three_times_faster_and_the_same(stored):
    compared = verdict.comparison(stored)
    per_seed = compared["plain_seconds"] / len(compared["compared"])
    assert per_seed * len(verdict.by_seed(stored)) > 3 * verdict.seconds_of_seeds(stored)
    assert compared["plain_seconds"] > 3 * compared["row_wise_seconds"]
    assert compared["largest_difference"] < 0.003


def test_a_changed_claim_invalidates_the_stored_verdict(monkeypatch):
    first, *others = claims.CLAIMS
    for change in ({"low": first.low - 1}, {"published": 1}, {"statement": "another"}):
        monkeypatch.setattr(claims, "CLAIMS", (replace(first, **change), *others))
        with pytest.raises(ValueError, match=r"verdict.json: made for other settings"):
            verdict.experiment().load(STORED)


def test_other_training_invalidates_the_stored_verdict(monkeypatch):
    other = verdict.RECIPES["bias_only"].with_training(batch_size=64)
    monkeypatch.setitem(verdict.RECIPES, "bias_only", other)
    with pytest.raises(ValueError, match="made for other settings"):
        verdict.experiment().load(STORED)


def test_seeds_come_first_then_the_comparison():
    parts = verdict.experiment(seeds=3, plain=2).parts()
    assert next(parts) == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert parts.send([]) == [{"compared": [0, 1]}]
    assert list(parts) == []
    assert len(list(verdict.experiment(seeds=3, plain=0).parts())) == 1


@pytest.fixture
def kept(monkeypatch, stored):
    """The command finds these measures in place of training: a dict by seed."""
    found = verdict.by_seed(stored).to_dict("index")

    def in_own_process(function, seeds, **environment):
        assert (function, environment) == (verdict.compare, {"KERAS_BACKEND": "jax"})
        return {"plain_seconds": 30.0, "row_wise_seconds": 5.0, "largest_difference": 1.78e-7}

    monkeypatch.setattr(verdict, "_measured", found.get)
    monkeypatch.setattr(verdict.runner, "in_own_process", in_own_process)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # the command sets another
    return found


def reproduce(folder, *more):
    arguments = ["reproduce", "--seeds", "2", "--jobs", "1", "--folder", str(folder), *more]
    return CliRunner().invoke(command.main, arguments)


def test_command_prints_and_stores_every_claim(kept, tmp_path):
    output, figure = tmp_path / "report.json", tmp_path / "verdict.png"
    result = reproduce(
        tmp_path / "kept", "--plain", "1", "--output", str(output), "--figure", str(figure)
    )
    assert result.exit_code == 0, result.output
    for claim in claims.CLAIMS:
        assert claim.id in result.output
    assert "plain fit: 30 s per seed" in result.output
    assert "6.0 times faster" in result.output
    report = verdict.VERDICT.load(output)
    assert verdict.by_seed(report).to_dict("index") == {seed: kept[seed] for seed in (0, 1)}
    assert verdict.comparison(report)["compared"] == [0]
    assert verdict.comparison(report)["largest_difference"] == 1.78e-7  # not rounded to none
    assert figure.exists()


def test_a_claim_out_of_its_bound_ends_with_status_1(kept, tmp_path):
    kept[1]["bias_last"] = 1.5
    result = reproduce(tmp_path / "kept", "--plain", "0")
    assert result.exit_code == 1, result.output
    assert "Out of its bound of 0.85 to 0.89" in result.output


def test_comparison_times_both_ways_of_the_posts_models(monkeypatch):
    trained = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed, way):
        trained.append((recipe, seed, way))
        return None, curve[way]

    curve = {
        "plain": pd.DataFrame({"valid_rmse": [2.0, 1.25]}),
        "rowwise": pd.DataFrame({"valid_rmse": [1.25, 1.0]}),
    }
    monkeypatch.setattr(training, "train", train)
    found = verdict.compare([3, 4])
    assert found["largest_difference"] == 0.25
    assert min(found["plain_seconds"], found["row_wise_seconds"]) > 0
    expected = {
        (recipe, seed, way)
        for recipe in verdict.POSTS_RECIPES.values()
        for seed in (3, 4)
        for way in curve
    }
    assert set(trained) == expected
    assert len(trained) == len(expected)


def test_time_of_the_seeds_leaves_the_comparison_out(stored):
    compared = verdict.comparison(stored)
    total = stored["provenance"]["seconds"]
    both = compared["plain_seconds"] + compared["row_wise_seconds"]
    assert verdict.seconds_of_seeds(stored) == pytest.approx(total - both)
    alone = {**stored, "runs": [run for run in stored["runs"] if "seed" in run]}
    assert verdict.seconds_of_seeds(alone) == total
    resumed = {**stored, "provenance": {**stored["provenance"], "seconds": None}}
    assert verdict.seconds_of_seeds(resumed) is None
    assert "20 seeds of all models" not in verdict.as_text(resumed)


def test_vector_measures_find_planted_appreciation():
    """Vectors that hold the mean rating: the correct join sees it, the other does not."""
    movies = data.movie_table(data.prepared())
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, 0.01, (len(movies) + 1, 4))
    matrix[1:, 0] += movies["rating"] - 3.5
    measures = verdict.vector_measures(matrix)
    assert measures["pc1_rating_correct"] > 0.99
    assert measures["pc1_rating_correct_p"] < 0.001
    assert measures["pc1_rating_off_by_one"] < 0.4
    assert measures["pc2_by_pc1"] < 0.1
    turned = verdict.vector_measures(-matrix)
    assert turned["found_off_by_one"] == measures["found_off_by_one"]
