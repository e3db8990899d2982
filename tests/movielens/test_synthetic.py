import keras
import numpy as np
import pandas as pd
import pytest

from embedlens import data, metrics, training
from embedlens.models import BiasOnly, DotWithBias
from embedlens.movielens import synthetic


@pytest.fixture(scope="module")
def like_snapshot():
    """As many ratings as the embedded ones, made up; and those, to compare with."""
    return synthetic.generate(100_004, 0)[0], data.prepared()


def test_same_seed_same_ratings_other_seed_others():
    (first, planted), (again, _), (other, _) = (synthetic.generate(3_000, s) for s in (4, 4, 5))
    pd.testing.assert_frame_equal(first, again)
    assert (first != other).any(axis=None)
    assert planted.user_factors.shape == (first["userIdDense"].max() + 1, 8)


@pytest.mark.parametrize(
    ("n_ratings", "options"),
    [
        (100_004, {}),
        (1_000_209, {}),
        (2_000, {}),
        (30, {"n_users": 10, "n_movies": 30}),
        (1_200, {"n_users": 50, "n_movies": 60}),
    ],
)
def test_every_id_is_used_and_no_pair_twice(n_ratings, options):
    ratings, _ = synthetic.generate(n_ratings, 1, **options)
    n_users, n_movies = synthetic.size_of_release(n_ratings)
    n_users, n_movies = options.get("n_users", n_users), options.get("n_movies", n_movies)
    assert len(ratings) == n_ratings
    assert not ratings.duplicated(["userIdDense", "movieIdDense"]).any()
    per_user, per_movie = (
        np.bincount(ratings[name])[1:] for name in ("userIdDense", "movieIdDense")
    )
    assert len(per_user) == n_users
    assert len(per_movie) == n_movies
    assert per_user.min() >= min(20, n_ratings // n_users)
    assert per_movie.min() >= 1


def test_ratings_are_narrow_and_on_the_scale(like_snapshot):
    ours, real = like_snapshot
    assert list(ours.dtypes.astype(str)) == ["int32", "int32", "float32"]
    assert sorted(ours["rating"].unique()) == list(np.arange(1, 11) / 2)
    assert ours["rating"].mean() == pytest.approx(real["rating"].mean(), abs=0.2)
    assert ours["rating"].std() == pytest.approx(real["rating"].std(), abs=0.1)


def share_of_top(ids, part):
    counts = np.sort(np.bincount(ids)[1:])[::-1]
    return counts[: round(part * len(counts))].sum() / counts.sum()


@pytest.mark.parametrize("column", ["userIdDense", "movieIdDense"])
@pytest.mark.parametrize("part", [0.01, 0.1, 0.5])
def test_tails_are_as_long_as_in_the_embedded_ratings(like_snapshot, column, part):
    ours, real = (share_of_top(ratings[column], part) for ratings in like_snapshot)
    assert ours == pytest.approx(real, abs=0.04)


def test_many_movies_have_one_rating_and_one_has_very_many(like_snapshot):
    ours, real = (np.bincount(ratings["movieIdDense"])[1:] for ratings in like_snapshot)
    assert np.mean(ours == 1) == pytest.approx(np.mean(real == 1), abs=0.1)
    assert np.median(ours) == np.median(real)
    assert ours.max() > 0.6 * real.max()


def test_sizes_are_those_of_the_releases_and_grow_between_them():
    for n_ratings, n_users, n_movies in synthetic.RELEASES:
        assert synthetic.size_of_release(n_ratings) == (n_users, n_movies)
    users, movies = zip(*map(synthetic.size_of_release, np.geomspace(1e3, 1e8, 60)), strict=True)
    assert (np.diff(users) > 0).all()
    assert 3_706 <= synthetic.size_of_release(500_000)[1] <= 9_066
    assert synthetic.size_of_release(4 * 32_000_204) == (2 * 200_948, 2 * 84_432)
    assert min(movies) > 0


@pytest.mark.parametrize(
    ("n_ratings", "options", "message"),
    [
        (0, {}, "there must be one"),
        (50, {"n_users": 51, "n_movies": 10}, r"51 to 204 ratings, not 50; change n_users"),
        (2_001, {"n_users": 50, "n_movies": 100}, r"100 to 2,000 ratings, not 2,001"),
    ],
)
def test_impossible_numbers_are_refused(n_ratings, options, message):
    with pytest.raises(ValueError, match=message):
        synthetic.generate(n_ratings, 0, **options)


def test_noise_is_what_lies_between_the_truth_and_the_ratings():
    ratings, planted = synthetic.generate(20_000, 0, noise=0.1)
    error = ratings["rating"] - planted.rating(ratings)
    inside = planted.rating(ratings) == np.clip(planted.rating(ratings), 1, 4.5)
    assert error[inside].std() == pytest.approx(np.sqrt(0.1**2 + 0.5**2 / 12), rel=0.03)
    row = ratings.iloc[7]
    user, movie = int(row["userIdDense"]), int(row["movieIdDense"])
    by_hand = 3.5 + planted.user_bias[user] + planted.movie_bias[movie]
    by_hand += planted.user_factors[user] @ planted.movie_factors[movie]
    assert planted.rating(ratings)[7] == pytest.approx(by_hand, rel=1e-5)


@pytest.fixture(scope="module")
def trained():
    """Two models trained on a dense table with three planted factors, and the table."""
    ratings, planted = synthetic.generate(24_000, 0, n_users=500, n_movies=120, dim=3, noise=0.4)
    train, valid = data.train_valid_split(ratings, 0, 0.9)
    models = {"bias": DotWithBias(500, 120, 0.5, 5.0, 3, 0.0, 0.0)}
    models["bias_only"] = BiasOnly(500, 120, 0.5, 5.0)
    errors = {"floor": metrics.rmse(valid["rating"], planted.rating(valid))}
    training.set_seed(0)
    for name, model in models.items():
        adam = keras.optimizers.Adam(0.02)
        model.compile(loss="mse", optimizer=adam, jit_compile=False, steps_per_execution=36)
        model.fit(data.inputs(train), data.targets(train), 100, epochs=12, verbose=0)
        errors[name] = metrics.rmse(valid["rating"], training.predict(model, valid))
    return models["bias"].movie_embedding.get_weights()[0][1:], planted, errors


def explained(wanted, known):
    """Share of the variance of `wanted` that a linear map of `known` gives."""
    known = np.column_stack([known, np.ones(len(known))])
    rest = wanted - known @ np.linalg.lstsq(known, wanted, rcond=None)[0]
    return 1 - (rest**2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()


def test_training_finds_the_planted_factors(trained):
    learnt, planted, _ = trained
    factors = planted.movie_factors[1:]
    assert explained(factors, learnt) > 0.9
    shuffled = np.random.default_rng(0).permutation(learnt)
    assert explained(factors, shuffled) < 0.1


def test_training_comes_near_the_noise_and_beats_biases_alone(trained):
    *_, errors = trained
    assert errors["floor"] < errors["bias"] < 1.15 * errors["floor"]
    assert errors["bias"] < 0.9 * errors["bias_only"]
