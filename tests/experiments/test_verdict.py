from dataclasses import replace
import json
from pathlib import Path

from click.testing import CliRunner
import numpy as np
import pandas as pd
import pytest

from embedlens import __main__ as command
from embedlens import data, recipes, training
from embedlens.experiments import claims, verdict

ROOT = Path(__file__).parents[2]
STORED = ROOT / "book/results/verdict.json"
PART = ("split", "seed", "by")
BY_USER = "split within each user"
TOO_MANY = [(split, seed) for split in range(100, 110) for seed in (2, 3)]  # not by user


@pytest.fixture(scope="module")
def stored():
    return verdict.VERDICT.load(STORED)


def test_stored_verdict_is_complete(stored):
    assert [c["id"] for c in stored["claims"]] == [c.id for c in claims.CLAIMS]
    splits = range(verdict.FIRST_SPLIT, verdict.FIRST_SPLIT + verdict.SPLITS)
    every = pd.MultiIndex.from_product([splits, range(verdict.SEEDS)])
    for branch in verdict.BRANCHES:
        cells = verdict.by_cell(stored, branch)
        assert cells.notna().all(axis=None)
        assert list(cells.index) == (list(every) if branch != BY_USER else [*every.drop(TOO_MANY)])
    assert all(c["in_bound"] for c in stored["claims"])
    assert verdict.out_of_bound(stored) == []
    assert verdict.seconds_of_cells(stored) < 40 * 60


def test_stored_verdicts_follow_from_the_stored_measures(stored):
    anew = json.loads(json.dumps(verdict.VERDICT.summary(stored["runs"])))["claims"]
    for ours, theirs in zip(anew, stored["claims"], strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            exact = value is None or isinstance(value, str | bool) or key == "bound"
            assert ours[key] == (value if exact else pytest.approx(value, rel=1e-9)), key


def test_readme_gives_the_size_of_the_audit(stored):
    size = f"audits {len(claims.CLAIMS)} claims over {len(verdict.by_cell(stored))} runs"
    assert size in " ".join((ROOT / "README.md").read_text().split())


def test_row_wise_training_was_three_times_faster_and_the_same(stored):
    compared = verdict.comparison(stored)
    assert compared["plain_seconds"] > 3 * compared["row_wise_seconds"]
    assert np.abs(compared["differences"]).max() < 0.003
    assert np.shape(compared["differences"]) == (verdict.PLAIN, len(verdict.POSTS_RECIPES))


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


def test_runs_come_first_then_the_comparison():
    parts = verdict.experiment(splits=2, seeds=3, plain=1).parts()
    crossed = [(part["split"], part["seed"], part["by"]) for part in next(parts)]
    assert crossed == [(split, seed, "ratings") for split in (100, 101) for seed in range(3)]
    assert [part["by"] for part in parts.send([])] == ["users"] * 4
    assert parts.send([]) == [{"compared": [100]}]
    assert list(parts) == []
    assert len(list(verdict.experiment(splits=2, plain=0).parts())) == 2


@pytest.fixture
def kept(monkeypatch, stored):
    """The command finds these measures in place of training: a dict by split, seed and kind."""
    found = {
        (run["split"], run["seed"], run["by"]): {k: v for k, v in run.items() if k not in PART}
        for run in stored["runs"]
        if "by" in run
    }

    def in_own_process(function, splits, **environment):
        assert (function, environment) == (verdict.compare, {"KERAS_BACKEND": "jax"})
        differences = [[1.78e-7, 0.0, 0.0] for _ in splits]
        return {"plain_seconds": 60.0, "row_wise_seconds": 10.0, "differences": differences}

    monkeypatch.setattr(verdict, "_measured", lambda *part: found[part])
    monkeypatch.setattr(verdict.runner, "in_own_process", in_own_process)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # the command sets another
    return found


def reproduce(folder, *more):
    arguments = ["reproduce", "--splits", "2", "--seeds", "2", "--jobs", "1", *more]
    return CliRunner().invoke(command.main, [*arguments, "--folder", str(folder)])


def test_command_prints_and_stores_every_claim(kept, tmp_path):
    output, figure = tmp_path / "report.json", tmp_path / "verdict.png"
    result = reproduce(
        tmp_path / "kept", "--plain", "2", "--output", str(output), "--figure", str(figure)
    )
    assert result.exit_code == 0, result.output
    for claim in claims.CLAIMS:
        assert claim.id in result.output
    assert "plain fit: 30 s for the post's three models" in result.output
    assert "6.0 times faster" in result.output
    report = verdict.VERDICT.load(output)
    assert len(verdict.by_cell(report)) == 4
    assert report["runs"][0]["curves"] == kept[100, 0, "ratings"]["curves"]
    assert verdict.comparison(report)["compared"] == [100, 101]
    assert verdict.comparison(report)["differences"][0][0] == 1.78e-7  # not rounded to none
    assert figure.exists()


def test_a_claim_out_of_its_bound_ends_with_status_1(kept, tmp_path):
    for key, measures in kept.items():
        ours = measures["curves"]["bias"]
        worse = {column: [value + 0.5 for value in values] for column, values in ours.items()}
        kept[key] = {**measures, "curves": {**measures["curves"], "bias": worse}}
    result = reproduce(tmp_path / "kept", "--plain", "0")
    assert result.exit_code == 1, result.output
    assert "Out of its bound of 0.85 to 0.89" in result.output


def test_comparison_times_both_ways_of_the_posts_models(monkeypatch):
    trained = []

    def train(recipe, sizes, train_ratings, valid_ratings, seed, way):
        assert seed == 0
        trained.append((recipe, len(train_ratings), way))
        return None, curve[way]

    curve = {
        "plain": pd.DataFrame({"valid_rmse": [2.0, 1.25]}),
        "rowwise": pd.DataFrame({"valid_rmse": [1.25, 1.0]}),
    }
    monkeypatch.setattr(training, "train", train)
    found = verdict.compare([3, 4])
    assert found["differences"] == [[0.25] * 3] * 2
    assert min(found["plain_seconds"], found["row_wise_seconds"]) > 0
    models = verdict.POSTS_RECIPES.values()
    once = [(recipe, 80_003, way) for recipe in models for way in curve]
    assert trained == once * 2


def test_time_of_the_runs_leaves_the_comparison_out(stored):
    compared = verdict.comparison(stored)
    total = stored["provenance"]["seconds"]
    both = compared["plain_seconds"] + compared["row_wise_seconds"]
    assert verdict.seconds_of_cells(stored) == pytest.approx(total - both)
    alone = {**stored, "runs": [run for run in stored["runs"] if "by" in run]}
    assert verdict.seconds_of_cells(alone) == total
    resumed = {**stored, "provenance": {**stored["provenance"], "seconds": None}}
    assert verdict.seconds_of_cells(resumed) is None
    assert "of all models" not in verdict.as_text(resumed)


def run_with(**changed):
    """A run whose models have these curves, by part, and the simple one twice the errors."""
    falling = [2.0 - 0.1 * epoch for epoch in range(10)]
    curves = {part: falling for part in ("train", "all", "seen", "cold", "clipped")} | changed
    doubled = {part: [2 * value for value in values] for part, values in curves.items()}
    shares = {"mean_by_users": 0.1, "mean_by_movies": 0.2, "mean_by_dot": 0.3, "mean_needed": 0.5}
    return {
        **{"split": 100, "seed": 0, "by": "ratings", "cold_share": 0.25},
        **{f"constant_{part}": 1.5 for part in ("train", "all", "seen", "cold")},
        "curves": dict.fromkeys(verdict.RECIPES, curves) | {"simple_dot": doubled},
        "vectors": {str(epochs): {**shares, "epochs": epochs} for epochs in range(1, 11)},
    }


@pytest.mark.parametrize(
    ("branch", "last", "stops"),
    [
        (verdict.AS_IN_THE_POST, 1.4, 5),
        ("stops by seen movies", 1.9, 10),
        ("all ten epochs", 1.9, 10),
        ("clipped to the scale", 1.1, 5),
    ],
)
def test_branches_differ_in_what_is_watched_and_what_is_reported(branch, last, stops):
    turning = [1.3, 1.2, 1.1, 1.3, 1.4, 1.0, 1.7, 1.8, 1.85, 1.9]
    run = run_with(all=turning, clipped=[value - 0.3 for value in turning])
    measures = verdict.by_cell({"runs": [run]}, branch).iloc[0]
    assert measures["bias_last"] == pytest.approx(last)
    assert measures["bias_epochs"] == measures["epochs"] == stops
    assert measures["bias_turn"] == 6  # of all ten epochs, in every branch
    assert measures["bias_turn_seen"] == 10


def test_early_stopping_is_that_of_keras():
    assert verdict._stop({"all": [1.0, 0.9, 0.95, 0.9, 0.8]}, "all") == 4  # equal is no gain
    assert verdict._stop({"all": [1.0, 0.9, 0.95, 0.8, 0.85]}, "all") == 5
    assert verdict._stop({"all": [1.0] * 10}, None) == 10


def test_training_crosses_validation_in_the_first_epoch_that_it_is_better():
    run = run_with(train=[3.0, 1.5, 1.0] + [0.5] * 7, all=[2.0, 1.6] + [1.4] * 8, seen=[0.4] * 10)
    measures = verdict.by_cell({"runs": [run]}).iloc[0]
    assert measures["bias_crossing"] == 2
    assert measures["bias_crossing_seen"] == 11  # never


def test_gain_is_shared_out_by_squared_errors():
    run = run_with()
    run["curves"]["bias"] = {**run["curves"]["bias"], "cold": run["curves"]["simple_dot"]["cold"]}
    measures = verdict.by_cell({"runs": [run]}).iloc[0]
    assert measures["cold_share_of_gain"] == 0
    measures = verdict.by_cell({"runs": [run_with()]}).iloc[0]
    assert measures["cold_share_of_gain"] == pytest.approx(0.25)


def test_each_user_gives_a_fifth_where_the_split_is_per_user():
    sizes, train, valid = verdict._split(3, "users")
    ratings = data.prepared()
    assert len(train) + len(valid) == len(ratings)
    assert train.index.intersection(valid.index).empty
    shares = valid.groupby("userIdDense").size() / ratings.groupby("userIdDense").size()
    assert shares.between(0.17, 0.23).all()
    assert sizes == data.count_users_and_movies(ratings)


def test_scores_say_who_carries_the_mean(tiny_model):
    model, ratings = tiny_model
    found = verdict.score_measures(model, ratings)
    x = data.inputs(ratings)
    score = found["mean_by_users"] + found["mean_by_movies"] + found["mean_by_dot"]
    low, high = model.min_rating, model.max_rating
    share = (training.predict(model, ratings) - low) / (high - low)
    assert score == pytest.approx(np.mean(np.log(share / (1 - share))), abs=1e-4)
    own = model.user_bias.get_weights()[0][x[:, 0], 0].mean()
    assert found["mean_by_users"] == pytest.approx(own)


def test_weights_of_pc1_find_planted_slopes(tiny_model):
    """Users whose vectors hold their slopes where the movies hold their mean ratings."""
    model, ratings = tiny_model
    kept = [layer.get_weights() for layer in (model.user_embedding, model.movie_embedding)]
    rng = np.random.default_rng(0)
    users, movies = (rng.normal(0, 0.01, weights[0].shape) for weights in kept)
    users[1:, 0] = verdict._slopes(ratings)
    movies[1:, 0] += 3.5 - data.movie_table(ratings)["rating"]  # PC1 may point either way
    users[:, 0] *= -1
    users[:, 1] += 10 * rng.normal(size=len(users))
    model.user_embedding.set_weights([users])
    model.movie_embedding.set_weights([movies])
    found = verdict.score_measures(model, ratings)["weight_by_slope"]
    for layer, weights in zip((model.user_embedding, model.movie_embedding), kept, strict=True):
        layer.set_weights(weights)
    assert found > 0.95


@pytest.fixture(scope="module")
def tiny_model():
    ratings = data.prepared()
    model, _ = training.train(
        recipes.BIAS, data.count_users_and_movies(ratings), ratings.head(2000), None, 0, epochs=1
    )
    return model, ratings


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
