"""The ways to movie vectors beside embeddings, and the measures of agreement."""

from embedlens import data, spaces, training, tuned
from embedlens.models import AutoRec, masked_mse
import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.cross_decomposition import CCA

SMALL = {
    "dim": 8,
    "dropout": 0.2,
    "penalty": 1e-5,
    "learning_rate": 0.01,
    "epochs": 60,
    "batch_size": 16,
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


def turn(dim):
    return np.linalg.qr(np.random.default_rng(9).normal(size=(dim, dim)))[0]


def test_table_has_each_rating_in_its_place(tiny_ratings, sizes):
    table = spaces.rating_table(tiny_ratings, sizes)
    assert table.shape == (sizes[1] + 1, sizes[0] + 1)
    assert np.isfinite(table).sum() == len(tiny_ratings)
    assert np.isnan(table[0]).all()
    assert np.isnan(table[:, 0]).all()
    row = tiny_ratings.iloc[17]
    assert table[row["movieIdDense"], row["userIdDense"]] == row["rating"]
    np.testing.assert_array_equal(spaces.lookup(table, tiny_ratings), tiny_ratings["rating"])


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
    found = spaces.bias_table(tiny_ratings, sizes, ridge)
    np.testing.assert_allclose(found[1:, 1:], expected, atol=2e-3)
    np.testing.assert_allclose(found[0, 0], solved[-1], atol=2e-3)


def test_gaps_are_filled_with_the_mean_of_the_movie():
    gap = np.nan
    table = np.array([[gap] * 4, [gap, 1, 3, gap], [gap, gap, gap, gap], [gap, 5, gap, gap]])
    expected = [[0, 0, 0, 0], [0, 1, 3, 2], [0, 3, 3, 3], [0, 5, 5, 5]]
    np.testing.assert_allclose(spaces.mean_filled(table), expected)


def test_low_rank_is_the_truncated_svd():
    table = cloud(1, dim=12)
    left, singular, right = np.linalg.svd(table, full_matrices=False)
    vectors, users = spaces.low_rank(table, 5)
    np.testing.assert_allclose(vectors @ users, left[:, :5] * singular[:5] @ right[:5], atol=1e-8)
    np.testing.assert_allclose(users @ users.T, np.eye(5), atol=1e-8)
    shrunk, _ = spaces.low_rank(table, 5, shrink=singular[2])
    lengths = np.linalg.norm(shrunk, axis=0)
    expected = np.maximum(singular[:5] - singular[2], 0)
    np.testing.assert_allclose(lengths, expected, atol=1e-6)


def test_one_round_is_the_svd_with_zeros_and_many_find_what_was_planted(planted):
    whole, residuals = planted
    once = np.matmul(*spaces.refill(residuals, 2, 0, rounds=1))
    zeros = np.matmul(*spaces.low_rank(np.nan_to_num(residuals), 2))
    np.testing.assert_allclose(once, zeros, atol=1e-8)
    many = np.matmul(*spaces.refill(residuals, 2, 0, rounds=300))
    gaps = np.isnan(residuals)
    assert np.abs(once - whole)[gaps].mean() > 0.5
    assert np.abs(many - whole)[gaps].mean() < 0.05


def test_masked_error_counts_ratings_only():
    truth = np.array([[1.0, np.nan], [np.nan, 4.0]], "float32")
    prediction = np.array([[2.0, 99.0], [-99.0, 2.0]], "float32")
    assert float(masked_mse(truth, prediction)) == pytest.approx((1 + 4) / 2)
    nothing = np.full((2, 2), np.nan, "float32")
    assert float(masked_mse(nothing, prediction)) == 0


def test_autoencoder_guesses_ratings_that_it_never_saw(planted):
    whole, residuals = planted
    model = spaces.train_autorec(residuals.astype("float32"), SMALL, seed=0)
    returned = model.predict(np.nan_to_num(residuals), verbose=0)
    gaps = np.isnan(residuals)
    error = np.mean((returned - whole)[gaps] ** 2)
    assert error < 0.6 * np.mean(whole[gaps] ** 2)
    assert np.isfinite(returned).all()


def test_autoencoder_hides_input_in_training_only():
    keras.utils.set_random_seed(0)
    model, x = AutoRec(20, 4, dropout=0.5), np.ones((3, 20), "float32")
    calm = [keras.ops.convert_to_numpy(model(x)) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert not np.allclose(calm[0], keras.ops.convert_to_numpy(model(x, training=True)))


def test_embeddings_predict_as_the_model_does(tiny_ratings, sizes, monkeypatch):
    settings, models = {**tuned.SETTINGS, "batch_size": 32, "dim": 4, "epochs": 2}, []

    def kept(*arguments, train=tuned.train):
        models.append(train(*arguments)[0])
        return models[0], None

    monkeypatch.setattr(tuned, "train", kept)
    fitted = spaces.embeddings(tiny_ratings, sizes, seed=0, settings=settings)
    found = spaces.lookup(fitted.predictions, tiny_ratings)
    expected = training.predict(models[0], tiny_ratings)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert fitted.vectors.shape == (sizes[1] + 1, 4)


@pytest.mark.parametrize("way", ["filled_svd", "residual_svd", "refilled_svd"])
def test_svds_give_vectors_by_dense_id_and_predictions_in_stars(tiny_ratings, sizes, way):
    setting = {"rank": 3, "shrink": 0}
    if way == "refilled_svd":
        setting["rounds"] = 3
    fitted = getattr(spaces, way)(tiny_ratings, sizes, setting)
    assert fitted.vectors.shape == (sizes[1] + 1, 3)
    np.testing.assert_allclose(fitted.vectors[0], 0, atol=1e-6)
    assert fitted.predictions.min() >= data.LOWEST_RATING
    assert fitted.predictions.max() <= data.HIGHEST_RATING
    constant = training.rmse(tiny_ratings["rating"], np.full(90, tiny_ratings["rating"].mean()))
    assert fitted.rmse(tiny_ratings) < constant


@pytest.mark.parametrize("way", ["autorec", "autorec_users"])
def test_autoencoders_predict_every_pair(tiny_ratings, sizes, way):
    fitted = getattr(spaces, way)(tiny_ratings, sizes, 0, {**SMALL, "epochs": 3})
    assert fitted.vectors.shape == (sizes[1] + 1, SMALL["dim"])
    assert fitted.predictions.shape == (sizes[1] + 1, sizes[0] + 1)
    assert np.isfinite(fitted.rmse(tiny_ratings))


def test_components_are_centred_and_keep_their_share():
    vectors = cloud(2, dim=4) * [5, 3, 0.1, 0.1] + 7
    scores, share = spaces.first_components(vectors, 2)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-12)
    assert share == pytest.approx(scores.var(axis=0).sum() / vectors.var(axis=0).sum())
    with pytest.raises(ValueError, match="n_components=5"):
        spaces.first_components(vectors, 5)


def test_canonical_correlations_agree_with_scikit_learn():
    ours = cloud(3)
    theirs = np.column_stack([ours[:, 0] + 0.5 * cloud(4)[:, 0], cloud(5)])
    fitted = CCA(3, scale=False, max_iter=5000, tol=1e-12).fit(ours, theirs)
    pairs = zip(*(scores.T for scores in fitted.transform(ours, theirs)), strict=True)
    expected = [np.corrcoef(*pair)[0, 1] for pair in pairs]
    np.testing.assert_allclose(spaces.canonical_correlations(ours, theirs), expected, atol=1e-4)


def test_what_turning_does_not_change():
    ours = cloud(6)
    turned = 3 * ours @ turn(3) + 1
    np.testing.assert_allclose(spaces.canonical_correlations(ours, turned), 1)
    assert spaces.procrustes_share(ours, turned) == pytest.approx(1)
    stretched = ours * [1, 20, 1]
    np.testing.assert_allclose(spaces.canonical_correlations(ours, stretched), 1)
    assert spaces.procrustes_share(ours, stretched) < 0.9
    assert spaces.procrustes_share(ours, cloud(7)) < 0.3


def test_neighbours_tell_a_value_that_follows_the_angle():
    angle = np.linspace(0, np.pi, 200)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    assert spaces.told_by_neighbours(circle, angle) > 0.99
    noise = np.random.default_rng(0).normal(size=200)
    assert abs(spaces.told_by_neighbours(circle, noise)) < 0.3
    some = np.where(np.arange(200) % 7 == 0, np.nan, angle)
    assert spaces.told_by_neighbours(circle, some) > 0.99


def test_rmse_looks_up_movie_and_user():
    predictions = np.array([[0, 0, 0], [0, 1.0, 2.0]])
    ratings = pd.DataFrame({"movieIdDense": [1, 1], "userIdDense": [1, 2], "rating": [1.0, 4.0]})
    assert spaces.Fit(predictions, predictions).rmse(ratings) == pytest.approx(np.sqrt(2))
