import pytest

from embedlens import data
from embedlens.experiments import search


@pytest.mark.parametrize("split", search.SPLITS["inner_splits"])
def test_search_never_sees_the_ratings_that_are_reported_on(split):
    outer, reported = data.train_valid_split(data.prepared(), search.SPLITS["split"])
    inner, judged = search.inner_part(split)
    assert set(inner.index) | set(judged.index) == set(outer.index)
    assert not set(inner.index) & set(judged.index)
    assert not set(outer.index) & set(reported.index)
    assert len(inner) == int(search.SPLITS["inner_share"] * len(outer))


def test_inner_parts_differ_and_may_hold_timestamps():
    one, other = (search.inner_part(split)[1] for split in search.SPLITS["inner_splits"])
    assert set(one.index) != set(other.index)
    assert "timestamp" in search.inner_part(1, timestamps=True)[0]


def test_search_asks_the_same_again_and_tells_the_best():
    space = {"batch_size": [256, 512], "learning_rate": [0.001, 0.1], "epochs": [1, 9], "dim": 4}

    def run(trials):
        found = search.ask_and_tell(space, trials, first={"learning_rate": 0.01}, model="m")
        asked, stage = [], next(found)
        try:
            while True:
                [part] = stage
                asked.append(part)
                stage = found.send([{"rmse": abs(part["setting"]["learning_rate"] - 0.02)}])
        except StopIteration as end:
            return asked, end.value

    asked, best = run(12)
    assert asked == run(12)[0]
    assert len(asked) == 12
    assert all(part["model"] == "m" for part in asked)
    assert asked[0]["setting"]["learning_rate"] == 0.01
    rates = [part["setting"]["learning_rate"] for part in asked]
    assert len(best) == 12
    assert best[0]["learning_rate"] == min(rates, key=lambda rate: abs(rate - 0.02))
    for part in asked:
        setting = part["setting"]
        assert setting["batch_size"] in (256, 512)
        assert 0.001 <= setting["learning_rate"] <= 0.1
        assert 1 <= setting["epochs"] <= 9
        assert setting["dim"] == 4


def test_samplers_do_not_know_of_each_other():
    """What one asks is not changed by another beside it."""

    def asked(samplers):
        found = search.ask_and_tell({"learning_rate": [0.001, 0.1]}, 15, samplers=samplers)
        stage, stages = next(found), []
        try:
            while True:
                rates = [part["setting"]["learning_rate"] for part in stage]
                stages.append(rates)
                stage = found.send([{"rmse": abs(rate - 0.02)} for rate in rates])
        except StopIteration as end:
            return stages, end.value

    alone, _ = asked([1])
    together, tried = asked([0, 1])
    assert [rates[1] for rates in together] == [rates[0] for rates in alone]
    assert len(tried) == 30
    errors = [abs(setting["learning_rate"] - 0.02) for setting in tried]
    assert errors == sorted(errors)


def test_each_split_is_searched_for_itself():
    told = []

    def plan(split):
        found = yield [{"split": split, "trial": 0}, {"split": split, "trial": 1}]
        told.append((split, found))
        if split == 1:
            found = yield [{"split": split, "trial": 2}]
            told.append((split, found))
        return split * 10

    both = search.each_split(plan, [0, 1])
    stage = next(both)
    assert [(part["split"], part["trial"]) for part in stage] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert both.send(["a", "b", "c", "d"]) == [{"split": 1, "trial": 2}]
    with pytest.raises(StopIteration) as end:
        both.send(["e"])
    assert end.value.value == {0: 0, 1: 10}
    assert told == [(0, ["a", "b"]), (1, ["c", "d"]), (1, ["e"])]


def test_inner_parts_lie_within_the_training_part_of_their_split():
    ratings = data.prepared()
    for split in (0, 3):
        _, unseen = data.train_valid_split(ratings, split)
        for part in search.inner_part(1, split=split):
            assert not part.index.isin(unseen.index).any()
