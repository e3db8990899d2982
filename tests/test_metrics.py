import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import auc, ndcg_score, root_mean_squared_error

from embedlens import metrics, recommend

# Ratings of movies 1 to 10, by dense id; 0 belongs to nobody.
POPULARITY = np.array([0, 3, 50, 1, 20, 2, 10, 0, 8, 5, 1])


def rated(pairs):
    return pd.DataFrame(pairs, columns=["userIdDense", "movieIdDense", "rating"])


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([1.0, 2.0], [1.0], "2 true ratings against 1 predictions"),
        ([], [], "no ratings"),
        ([1.0, np.nan], [1.0, 2.0], "not a finite number"),
        ([1.0, 2.0], [1.0, np.inf], "not a finite number"),
    ],
)
def test_rmse_refuses(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        metrics.rmse(truth, prediction)


def test_rmse_of_a_column_and_a_row_pairs_the_ratings():
    assert metrics.rmse(np.array([[1.0], [3.0]]), np.array([1.0, 1.0])) == pytest.approx(2**0.5)


@pytest.mark.parametrize("seed", range(5))
def test_rmse_equals_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.uniform(0.5, 5, (2, 1000))
    expected = root_mean_squared_error(truth, prediction)
    assert metrics.rmse(truth, prediction) == pytest.approx(expected, rel=1e-12)


def test_counts_by_dense_id():
    assert metrics.counts([[1, 3], [3, 4]], 5).tolist() == [0, 1, 0, 2, 1, 0]


def test_gini_is_that_of_the_lorenz_curve():
    rng = np.random.default_rng(0)
    values = rng.exponential(size=50)
    share = np.cumsum(np.r_[0, np.sort(values)]) / values.sum()
    assert metrics.gini(values) == pytest.approx(1 - 2 * auc(np.linspace(0, 1, 51), share))
    assert metrics.gini([7, 7, 7]) == pytest.approx(0)
    assert metrics.gini([0, 0, 0, 5]) == pytest.approx(3 / 4)


@pytest.mark.parametrize("values", [[], [0, 0], [-1, 2]])
def test_gini_of_nothing(values):
    with pytest.raises(ValueError, match="none negative, and one positive"):
        metrics.gini(values)


def test_places_from_the_most_popular_on():
    place = metrics.places(POPULARITY)
    assert np.isnan(place[0])
    assert place[1:] == pytest.approx([0.6, 0.1, 0.8, 0.2, 0.7, 0.3, 1.0, 0.4, 0.5, 0.9])


def test_groups_hold_what_they_say():
    everything = metrics.shares_by_group(np.arange(1, 1001), np.r_[0, np.arange(1000)])
    assert everything.index.tolist() == list(metrics.GROUPS)
    assert everything.to_list() == pytest.approx([0.01, 0.09, 0.4, 0.5])
    assert metrics.shares_by_group([2, 4, 7, 7], POPULARITY).to_list() == [0, 0.25, 0.25, 0.5]


def test_description_by_hand():
    lists = np.array([[9, 9], [2, 4], [2, 3]])
    with_two = np.where(POPULARITY == 1, 2, POPULARITY)
    assert metrics.describe(lists, with_two)["few"] == 0.25
    found = metrics.describe(lists, POPULARITY)
    assert found["popularity"] == (50 + 20 + 50 + 1) / 4
    assert found["few"] == 0.25
    assert found["top_tenth"] == 0.5
    assert found["coverage"] == 0.3
    assert found["gini"] == pytest.approx(metrics.gini([2, 1, 1] + [0] * 7))


def test_short_head_holds_a_third_by_default():
    head = metrics.short_head(np.array([0, 30, 20, 15, 15, 10, 10]))
    assert np.flatnonzero(head).tolist() == [1, 2]


def test_short_head_holds_its_share():
    assert np.flatnonzero(metrics.short_head(POPULARITY, 0.4)).tolist() == [2]
    assert np.flatnonzero(metrics.short_head(POPULARITY, 0.6)).tolist() == [2, 4]


def test_alike_is_the_mean_over_pairs():
    similarity = np.array([[1, 0.5, 0.2], [0.5, 1, 0.8], [0.2, 0.8, 1]])
    assert metrics.alike(similarity) == pytest.approx(0.5)


def test_measures_by_hand():
    lists = np.array([[0, 0], [2, 3], [1, 2]])
    valid = rated([(1, 3, 4.0), (1, 2, 3.5), (2, 1, 5.0), (2, 2, 4.5), (2, 4, 4.0), (3, 1, 1.0)])
    found = metrics.measures_at(lists, valid)
    assert found.index.tolist() == [1, 2]  # user 3 liked nothing
    assert found["precision"].tolist() == [0.5, 1.0]
    assert found["recall"].tolist() == pytest.approx([1.0, 2 / 3])
    assert found["ndcg"].tolist() == pytest.approx([1 / np.log2(3), 1.0])


def test_ndcg_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = np.column_stack(
        [np.zeros(21), rng.permuted(np.tile(np.arange(50.0), (21, 1)), axis=1)]
    )
    liked = rng.random((21, 51)) < 0.2
    liked[:, 0] = False
    pairs = [(u, m, 5.0) for u, m in np.argwhere(liked) if u > 0]
    lists = recommend.top_n(scores, np.zeros(scores.shape, bool), 10)
    ours = metrics.measures_at(lists, rated(pairs))["ndcg"]
    for user in ours.index:
        theirs = ndcg_score(liked[[user], 1:], scores[[user], 1:], k=10)
        assert ours[user] == pytest.approx(theirs)


def test_interval_of_the_mean_is_students():
    values = [0.2, 0.1, 0.4, 0.3, 0.35]
    mean, low, high = metrics.mean_interval(values)
    assert mean == pytest.approx(np.mean(values))
    known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((known.low, known.high))


def test_interval_over_splits_of_the_same_ratings_is_wider():
    """Nadeau and Bengio (2003): for ten splits of 80 to 20, by the root of 1 + 10 / 4."""
    values = np.random.default_rng(0).normal(size=10)
    mean, low, high = metrics.mean_interval(values)
    wide_mean, wide_low, wide_high = metrics.mean_interval(values, valid_share=0.2)
    assert wide_mean == mean
    assert (wide_high - wide_low) / (high - low) == pytest.approx(np.sqrt(1 + 10 / 4))
    assert wide_low + wide_high == pytest.approx(2 * mean)
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match="not a share from 0 to below 1"):
            metrics.mean_interval(values, valid_share=share)


def test_interval_of_one_value():
    with pytest.raises(ValueError, match="two values or more, not 1"):
        metrics.mean_interval([1.0])


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf, 1.0, 2.0]])
def test_intervals_of_nothing_and_of_what_is_no_number(values):
    for interval in (metrics.mean_interval, metrics.run_interval):
        with pytest.raises(ValueError, match="finite values"):
            interval(values)


def test_interval_of_more_runs_is_that_of_their_mean():
    values = np.array([0.2, 0.1, 0.4, 0.3, 0.35])
    low, high = metrics.run_interval(values, level=0.9, runs=2)
    half = stats.t.ppf(0.95, 4) * values.std(ddof=1) * np.sqrt(1 / 2 + 1 / 5)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_intervals_hold_95_percent_by_default():
    values = [0.2, 0.1, 0.4, 0.3, 0.35]
    assert metrics.run_interval(values) == metrics.run_interval(values, 0.95)
    assert metrics.mean_interval(values) == metrics.mean_interval(values, 0.95)


def test_interval_of_what_never_varies():
    assert metrics.run_interval([3.0]) == (3.0, 3.0)
    assert metrics.mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_nobody_liked_anything():
    found = metrics.measures_at(np.array([[0, 0], [1, 2], [2, 1]]), rated([(1, 1, 3.0)]))
    assert found.empty
    assert found.columns.to_list() == ["precision", "recall", "ndcg"]
    assert (found.dtypes == "float64").all()


def test_lists_must_be_there_for_who_is_measured():
    with pytest.raises(ValueError, match="user 4 has no list: there are 3"):
        metrics.measures_at(np.array([[0], [1], [2], [3]]), rated([(4, 1, 5.0)]))
    with pytest.raises(ValueError, match="no place"):
        metrics.measures_at(np.zeros((3, 0), int), rated([(1, 1, 5.0)]))


def test_movies_outside_are_not_counted_for_others():
    with pytest.raises(ValueError, match="not within 0 to 5"):
        metrics.counts([1, 6], 5)
    with pytest.raises(ValueError, match="not within 0 to 5"):
        metrics.counts([-1, 2], 5)
    assert metrics.counts([], 3).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "describe",
    [
        lambda: metrics.shares_by_group([], POPULARITY),
        lambda: metrics.shares_by_group([0, 1], POPULARITY),
        lambda: metrics.describe(np.zeros((1, 10), int), POPULARITY),
        lambda: metrics.alike(np.ones((1, 1))),
        lambda: metrics.gini([np.nan, 1.0]),
        lambda: metrics.gini([1.0, np.inf]),
    ],
)
def test_nothing_to_describe(describe):
    with pytest.raises(ValueError, match=r"no movies|no lists|two movies|gini needs"):
        describe()


def test_components_of_variance_are_found_again():
    rng = np.random.default_rng(0)
    split, seed, rest = 3.0, 2.0, 1.0
    found = [
        metrics.variance_components(
            np.add.outer(rng.normal(0, split, 10), rng.normal(0, seed, 4))
            + rng.normal(0, rest, (10, 4))
        )
        for _ in range(500)
    ]
    means = pd.DataFrame(found).mean()
    assert means.to_dict() == pytest.approx({"split": 9, "seed": 4, "rest": 1}, rel=0.1)


def test_components_of_variance_are_not_negative():
    found = metrics.variance_components([[0.0, 1.0], [1.0, 0.0]])
    assert found == {"split": 0, "seed": 0, "rest": 1}


@pytest.mark.parametrize(
    "values", [[1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0]], [[1, 2], [3, np.nan]]]
)
def test_components_of_variance_need_a_whole_table(values):
    with pytest.raises(ValueError, match="two splits by two seeds"):
        metrics.variance_components(values)


def test_equivalence_is_rarely_claimed_at_the_margin():
    """With a true difference of the margin itself, it is claimed in at most 5 % of cases."""
    rng = np.random.default_rng(0)
    at_margin = [metrics.is_equivalent(rng.normal(1, 1, 8), 1) for _ in range(2000)]
    assert np.mean(at_margin) == pytest.approx(0.05, abs=0.015)
    none = [metrics.is_equivalent(rng.normal(0, 0.3, 8), 1) for _ in range(200)]
    assert np.mean(none) > 0.95
    assert not metrics.is_equivalent(rng.normal(0, 0.9, 8), 1, valid_share=0.5)


def test_interval_over_users_takes_whole_users():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 50, 200)
    errors = sizes * rng.chisquare(1, 200)  # a user's ratings err alike
    by_user = np.column_stack([sizes, errors])
    value, low, high = metrics.user_interval(by_user, lambda sums: sums[..., 1] / sums[..., 0])
    assert value == pytest.approx(errors.sum() / sizes.sum())
    residual = errors - value * sizes
    se = np.sqrt(np.sum(residual**2)) / sizes.sum()  # of a ratio, by the delta method
    assert (high - low) / (2 * 1.96 * se) == pytest.approx(1, abs=0.1)
    assert (value - low) / (1.96 * se) == pytest.approx(1, abs=0.12)
    assert low < value < high
    for wrong in ([[1.0, 2.0]], [[1.0], [np.nan]], [1.0, 2.0]):
        with pytest.raises(ValueError, match="two users or more"):
            metrics.user_interval(wrong, lambda sums: sums[..., 0])
