"""Parts of the stored results, measured again: run by `test_again.py` on JAX, in one process.

Each ``again_...`` asserts by itself that it agrees with what is stored.
"""

import json
from pathlib import Path
import traceback

import numpy as np
import pandas as pd

from embedlens import data, experiments, metrics, recipes, recommend, training
from embedlens.experiments import (
    claims,
    how_low,
    one_hot,
    recommendations,
    seeds,
    shapes,
    sweep,
    verdict,
)

RESULTS = Path(__file__).parents[2] / "book/results"


def again_verdict():
    """The first run: its curves, and every measure within the range of one more run."""
    stored = experiments.load(RESULTS / "verdict.json")
    first = stored["runs"][0]
    part = {key: first[key] for key in ("split", "seed", "by")}
    again = {**part, **verdict.measure(**part)}
    for name, curves in first["curves"].items():
        for column, values in curves.items():
            within = 0.03 if column == "cold" else 0.005
            np.testing.assert_allclose(again["curves"][name][column], values, rtol=0, atol=within)
    cells, ours = verdict.by_cell(stored), verdict.by_cell({"runs": [again]}).iloc[0]
    trained = [claim for claim in claims.CLAIMS if claim.measure in cells]
    assert len(trained) > 30
    for claim in trained:
        low, high = metrics.run_interval(cells[claim.measure].unstack(), level=0.99)
        assert low - 1e-6 <= ours[claim.measure] <= high + 1e-6, (claim.id, low, high)


def again_sweep():
    stored = sweep.curves(RESULTS / "sweep.json").query("dim == 1 and seed == 0")
    again = sweep.measure(dim=1, movie_dropout=0.6, seed=0)
    for column, ours in again.items():
        np.testing.assert_allclose(ours, stored[column], rtol=0, atol=0.003)


def again_tuning():
    """The tuned setting keeps to the target that it was searched for."""
    ratings = data.prepared()
    sizes = data.count_users_and_movies(ratings)
    parts = data.train_valid_split(ratings, seed=0)
    _, history = training.train(recipes.TUNED, sizes, *parts, seed=0)
    assert 0.855 < history["valid_rmse"].iloc[-1] <= 0.866


def again_how_low():
    """Users' feedback on a random split, and drift on users' last ratings, from earlier ones."""
    stored = how_low.reports(experiments.load(RESULTS / "how_low.json"), how_low.CUTS)
    for cut, rung in [(3, "users"), ("last", "drift")]:
        again = how_low.report(cut, rung, stored["setting"][cut, rung])
        assert abs(again["rmse"] - stored["rmse"][cut, rung]) < 0.002, (cut, again["rmse"])


def again_recommendations():
    """Split 0: new users, movies by their ratings, and lists by the models of ratings and EASE."""
    stored = recommendations.on_splits(experiments.load(RESULTS / "recommendations.json")).loc[0]
    train, valid = how_low.parts_of(0)
    new = recommendations.new_users(0)
    _, given, asked = recommendations.part(train, valid, new)
    space = recommendations.space_without("tuned", 0, train, valid, new)
    ridge = {"clip": 0.1} | {key: stored[f"tuned_ridge_{key}"] for key in ("vector", "bias")}
    again = {
        f"tuned_folded_{n}": recommendations.folded_rmse(space, given, asked, n, ridge)
        for n in (0, 5, recommendations.ALL)
    }
    model = recommendations.fit("tuned", 0, train, valid, 0)
    again |= recommendations.by_movie_group({"tuned": model}, train, valid)
    sizes = data.count_users_and_movies(data.prepared())
    popularity = metrics.counts(train["movieIdDense"], sizes[1])
    seen = recommend.seen_matrix(train, sizes)
    scores = {
        "tuned": recommend.scores(model)[0],
        "ease": recommendations.score_lists("ease", stored["chosen"]["ease"], train, None),
    }
    for name, score in scores.items():
        listed, _ = recommendations.list_measures(score, seen, popularity, valid)
        again |= {f"{name}_{key}": value for key, value in listed.items()}
    assert len(again) == 3 + 2 * 9 + 2 * 10
    for key, value in again.items():
        within = 1 if key.endswith("popularity") else 0.002
        assert abs(value - stored[key]) < within, (key, value, stored[key])


def again_one_hot():
    """Ridge, and a network by the setting that was found on split 1."""
    stored = pd.DataFrame(experiments.load(RESULTS / "one_hot.json")["runs"])
    stored = stored.query("kind == 'comparison' and split == 1 and seed == 0").set_index("model")
    for model, tolerance in [("ridge", 1e-4), ("one-hot network", 0.002)]:
        first = stored.loc[[model]].query("sizes == 'searched'").iloc[0]
        again = one_hot.evaluate(model, first["setting"], 1, 0)
        assert abs(again["rmse"] - first["rmse"]) < tolerance, (model, again)
        np.testing.assert_allclose(again["by_bin"], first["by_bin"], atol=10 * tolerance)
        assert again["parameters"] == first["parameters"]


def again_one_hot_steps():
    """What compiles once for all rates and penalties gives what Keras' fit gives with each."""
    ratings = data.prepared().iloc[:512]  # all in one batch, so that their order does not matter
    sizes = data.count_users_and_movies(data.prepared())
    setting = {"batch_size": 512, "epochs": 3, "dim": 2, "units": 3, "layers": 1}
    prices = {"penalty": 0.2, "vector_penalty": 0.2, "kernel_penalty": 0.1}
    for name in ("embedding network", "dot product"):
        space = one_hot.SEARCHED[name]
        for rate, bias_penalty in [(0.02, 0.3), (0.001, 0.0)]:
            given = {**setting, **prices, "learning_rate": rate, "bias_penalty": bias_penalty}
            given = {key: value for key, value in given.items() if key in space}
            _, ours = one_hot.train(name, given, sizes, ratings, 0)
            made = one_hot.recipe(name, given)
            theirs, _ = training.train(made, sizes, ratings, None, 0, way="plain")
            for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def again_shapes():
    """A trial, and some of the spaces of split 1: errors, neighbours, probes."""
    report = experiments.load(RESULTS / "shapes.json")
    trial = next(run for run in report["runs"] if run.get("way") == "residual")
    again = shapes.judge(trial["split"], trial["way"], trial["setting"])["error"]
    assert abs(again - trial["error"]) < 0.001, again
    stored = next(run for run in report["runs"] if run["kind"] == "report" and run["split"] == 1)
    train, valid = data.train_valid_split(data.prepared(), 1)
    ways = ("residual", "softimpute", "embeddings", "watched")
    fitted = {way: shapes.fit(way, train, 1, 1, stored["settings"]) for way in ways}
    for way in ways[:3]:
        again = fitted[way].rmse(valid)
        assert abs(again - stored[f"rmse {way}"]) < 0.001, (way, again)
    spaces = {way: shapes.components(one)[0] for way, one in fitted.items()}
    for one, other in [ways[:2], ways[2:]]:
        again = shapes.compare("", spaces[one], spaces[other])["agreement "]
        assert abs(again - stored[f"agreement {one} | {other}"]) < 0.01, (one, other, again)
    asked = {way: spaces[way] for way in ways[2:]}
    for name, again in shapes.probes(asked, train, valid).items():
        assert abs(again - stored[name]) < 0.02, (name, again)


def again_seeds():
    stored = experiments.table(RESULTS / "seeds.json", index=["split", "dim"]).loc[(1, 16)]
    again = seeds.measure(1, 16)
    for key, within in [("rmse", 0.001), ("seed", 0.01), ("softimpute", 0.01)]:
        assert abs(again[key] - stored[key]) < within, (key, again[key])


def outcome(check):
    """Empty if it agrees, else why not."""
    try:
        check()
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":  # stays at the end
    checks = {name: item for name, item in globals().items() if name.startswith("again_")}
    print(json.dumps({name: outcome(check) for name, check in checks.items()}))
