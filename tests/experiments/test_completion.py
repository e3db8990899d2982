"""The ways to movie vectors beside embeddings."""

import numpy as np
import pandas as pd
import pytest

from embedlens import data, metrics, recipes, training
from embedlens.experiments import completion

SMALL = {
    "dim": 8,
    "dropout": 0.2,
    "penalty": 1e-5,
    "learning_rate": 0.01,
    "epochs": 60,
    "batch_size": 16,
}


SETTINGS = {
    "biases": {"ridge": 3},
    "filled": {"rank": 3, "shrink": 0},
    "residual": {"ridge": 3, "rank": 3, "shrink": 0},
    "softimpute": {"ridge": 3, "shrink": 1, "rounds": 3},
    "autorec": {"ridge": 3, **SMALL, "epochs": 3},
    "embeddings": {
        "recipe": recipes.TUNED.with_options(dim=4).with_training(batch_size=32, epochs=2)
    },
}


@pytest.fixture
def sizes(tiny_ratings):
    return data.count_users_and_movies(tiny_ratings)


@pytest.fixture
def planted():
    """A table of rank 2, and the same with 60 % of its entries gone."""
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 40))
    gaps = rng.random(whole.shape) < 0.6
    return whole, np.where(gaps, np.nan, whole)


def cloud(seed, dim=3, rows=60):
    return np.random.default_rng(seed).normal(size=(rows, dim))


def test_table_has_each_rating_in_its_place(tiny_ratings, sizes):
    table = completion.rating_table(tiny_ratings, sizes)
    assert table.shape == (sizes[1] + 1, sizes[0] + 1)
    assert np.isfinite(table).sum() == len(tiny_ratings)
    assert np.isnan(table[0]).all()
    assert np.isnan(table[:, 0]).all()
    row = tiny_ratings.iloc[17]
    assert table[row["movieIdDense"], row["userIdDense"]] == row["rating"]
    np.testing.assert_array_equal(completion.lookup(table, tiny_ratings), tiny_ratings["rating"])


def test_a_pair_that_is_rated_twice_is_refused(tiny_ratings, sizes):
    again = tiny_ratings.iloc[[4]].assign(rating=5.0)
    user, movie = data.inputs(again)[0]
    with pytest.raises(ValueError, match=f"user {user} has rated movie {movie} twice"):
        completion.rating_table(pd.concat([tiny_ratings, again]), sizes)


@pytest.mark.parametrize("way", completion.WAYS)
def test_no_ratings_and_unknown_ids_are_refused(tiny_ratings, sizes, way):
    with pytest.raises(ValueError, match="no ratings to"):
        completion.fit(way, tiny_ratings.iloc[:0], sizes, 0, **SETTINGS[way])
    with pytest.raises(ValueError, match="movieIdDense outside 1 to 3"):
        completion.fit(way, tiny_ratings, (sizes[0], 3), 0, **SETTINGS[way])


def test_a_table_of_gaps_alone_has_no_means():
    with pytest.raises(ValueError, match="no ratings to fill the gaps"):
        completion.mean_filled(np.full((2, 3), np.nan))


def test_biases_are_those_of_the_normal_equations(tiny_ratings, sizes):
    ridge, (n_users, n_movies) = 2.0, sizes
    one_hot = np.zeros((len(tiny_ratings), n_movies + n_users))
    rows = np.arange(len(tiny_ratings))
    one_hot[rows, tiny_ratings["movieIdDense"] - 1] = 1
    one_hot[rows, n_movies + tiny_ratings["userIdDense"] - 1] = 1
    full = np.column_stack([one_hot, np.ones(len(rows))])
    penalty = np.diag([ridge] * (n_movies + n_users) + [0.0])
    solved = np.linalg.solve(full.T @ full + penalty, full.T @ tiny_ratings["rating"])
    expected = solved[-1] + solved[:n_movies, None] + solved[n_movies:-1]
    found = completion.bias_table(tiny_ratings, sizes, ridge)
    np.testing.assert_allclose(found[1:, 1:], expected, atol=2e-3)
    np.testing.assert_allclose(found[0, 0], solved[-1], atol=2e-3)


def test_gaps_are_filled_with_the_mean_of_the_movie():
    gap = np.nan
    table = np.array([[gap] * 4, [gap, 1, 3, gap], [gap, gap, gap, gap], [gap, 5, gap, gap]])
    expected = [[0, 0, 0, 0], [0, 1, 3, 2], [0, 3, 3, 3], [0, 5, 5, 5]]
    np.testing.assert_allclose(completion.mean_filled(table), expected)


def test_low_rank_is_the_truncated_svd():
    table = cloud(1, dim=12)
    left, singular, right = np.linalg.svd(table, full_matrices=False)
    vectors, users = completion.low_rank(table, 5)
    np.testing.assert_allclose(vectors @ users, left[:, :5] * singular[:5] @ right[:5], atol=1e-8)
    np.testing.assert_allclose(users @ users.T, np.eye(5), atol=1e-8)
    shrink = singular[2] * (1 + 1e-9)  # by rounding alone, the third might be left or not
    shrunk, _ = completion.low_rank(table, shrink=shrink)
    lengths = np.linalg.norm(shrunk, axis=0)
    np.testing.assert_allclose(lengths, singular[:2] - shrink, atol=1e-6)


def test_one_round_is_the_svd_with_zeros_and_many_find_what_was_planted(planted):
    whole, residuals = planted
    once = np.matmul(*completion.soft_impute(residuals, 1.0, rounds=1))
    zeros = np.matmul(*completion.low_rank(np.nan_to_num(residuals), shrink=1.0))
    np.testing.assert_allclose(once, zeros, atol=1e-8)
    many = np.matmul(*completion.soft_impute(residuals, 0.3, rounds=500))
    gaps = np.isnan(residuals)
    assert np.abs(once - whole)[gaps].mean() > 0.5
    assert np.abs(many - whole)[gaps].mean() < 0.1


def test_soft_impute_ends_at_the_lowest_price(planted):
    """Half the squared error plus the penalty on the singular values, as in the paper."""
    _, residuals = planted

    def price(guess):
        error = np.nansum((residuals - guess) ** 2)
        return error / 2 + 2.0 * np.linalg.svd(guess, compute_uv=False).sum()

    found = np.matmul(*completion.soft_impute(residuals, 2.0, rounds=1000))
    for seed in range(20):
        step = np.random.default_rng(seed).normal(size=found.shape) * 0.01
        assert price(found + step) > price(found)
    for scale in (0.99, 1.01):
        assert price(scale * found) > price(found)


def test_autoencoder_guesses_ratings_that_it_never_saw(planted):
    whole, residuals = planted
    model = completion.train_autorec(residuals.astype("float32"), SMALL, seed=0)
    returned = model.predict(np.nan_to_num(residuals), verbose=0)
    gaps = np.isnan(residuals)
    error = np.mean((returned - whole)[gaps] ** 2)
    assert error < 0.6 * np.mean(whole[gaps] ** 2)
    assert np.isfinite(returned).all()


def test_embeddings_predict_as_the_model_does(tiny_ratings, sizes, monkeypatch):
    models = []

    def kept(*arguments, train=training.train):
        models.append(train(*arguments, way="plain")[0])
        return models[0], None

    monkeypatch.setattr(training, "train", kept)
    fitted = completion.fit("embeddings", tiny_ratings, sizes, 0, **SETTINGS["embeddings"])
    found = completion.lookup(fitted.predictions, tiny_ratings)
    np.testing.assert_allclose(found, training.predict(models[0], tiny_ratings), atol=1e-4)
    assert fitted.vectors.shape == (sizes[1] + 1, 4)
    assert fitted.movie_bias.shape == (sizes[1] + 1, 1)


@pytest.mark.parametrize("way", ["filled", "residual", "softimpute"])
def test_svds_give_vectors_by_dense_id_and_predictions_in_stars(tiny_ratings, sizes, way):
    fitted = completion.fit(way, tiny_ratings, sizes, 0, **SETTINGS[way])
    assert len(fitted.vectors) == sizes[1] + 1
    np.testing.assert_allclose(fitted.vectors[0], 0, atol=1e-6)
    assert fitted.predictions.min() >= data.LOWEST_RATING
    assert fitted.predictions.max() <= data.HIGHEST_RATING
    constant = metrics.rmse(tiny_ratings["rating"], np.full(90, tiny_ratings["rating"].mean()))
    assert fitted.rmse(tiny_ratings) < constant


def test_autoencoder_predicts_every_pair(tiny_ratings, sizes):
    fitted = completion.fit("autorec", tiny_ratings, sizes, 0, **SETTINGS["autorec"])
    assert fitted.vectors.shape == (sizes[1] + 1, SMALL["dim"])
    assert fitted.predictions.shape == (sizes[1] + 1, sizes[0] + 1)
    assert np.isfinite(fitted.rmse(tiny_ratings))


def test_rmse_looks_up_movie_and_user():
    predictions = np.array([[0, 0, 0], [0, 1.0, 2.0]])
    ratings = pd.DataFrame({"movieIdDense": [1, 1], "userIdDense": [1, 2], "rating": [1.0, 4.0]})
    assert completion.Fit(predictions, predictions).rmse(ratings) == pytest.approx(np.sqrt(2))
