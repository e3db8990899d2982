import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from embedlens import data, foldin, metrics, recipes, training
from embedlens.models import DotWithBias


@pytest.fixture
def space():
    rng = np.random.default_rng(0)
    return foldin.Space(
        ids=np.array([2, 3, 5, 7, 11, 13]),
        vectors=rng.normal(0, 0.5, (6, 3)),
        biases=rng.normal(0, 0.3, 6),
        user_vector=np.array([0.3, -0.2, 0.1]),
        user_bias=0.4,
    )


RATINGS = {3: 4.5, 11: 1.0, 2: 5.0, 7: 0.5}


def stars(space, vector, bias):
    score = [sum(v * u for v, u in zip(row, vector, strict=True)) + bias for row in space.vectors]
    return 0.5 + 4.5 / (1 + np.exp(-(np.array(score) + space.biases)))


def test_without_ratings_a_user_is_the_average_user(space):
    user = foldin.fold_in(space, {})
    table = foldin.explain(space, user)
    assert np.array_equal(user.vector, space.user_vector)
    assert user.bias == space.user_bias
    assert table["predicted"].to_numpy() == pytest.approx(
        stars(space, space.user_vector, space.user_bias)
    )
    assert (table["taste"] == 0).all()
    assert "nearest" not in table


def test_fold_in_minimises_the_penalised_squares(space):
    ridge = {"vector": 2.0, "bias": 0.5, "clip": 0.05}

    def loss(unknown):
        total = 2.0 * np.sum((unknown[:3] - space.user_vector) ** 2)
        total += 0.5 * (unknown[3] - space.user_bias) ** 2
        for movie, given in RATINGS.items():
            row = space.ids.tolist().index(movie)
            share = min(max((given - 0.5) / 4.5, 0.05), 0.95)
            score = space.vectors[row] @ unknown[:3] + unknown[3] + space.biases[row]
            total += (np.log(share / (1 - share)) - score) ** 2
        return total

    best = minimize(loss, np.zeros(4), tol=1e-12).x
    user = foldin.fold_in(space, RATINGS, ridge)
    assert user.vector == pytest.approx(best[:3], abs=1e-4)
    assert user.bias == pytest.approx(best[3], abs=1e-4)


def test_pairs_and_mapping_are_the_same(space):
    first, second = (foldin.fold_in(space, r) for r in (RATINGS, list(RATINGS.items())))
    assert np.array_equal(first.vector, second.vector)


def test_parts_make_the_prediction(space):
    user = foldin.fold_in(space, RATINGS)
    table = foldin.explain(space, user)
    score = table["bias"] + table["shared"] + table["taste"]
    assert table["movieIdDense"].tolist() == space.ids.tolist()
    assert table["predicted"].to_numpy() == pytest.approx(0.5 + 4.5 / (1 + np.exp(-score)))
    assert table["predicted"].to_numpy() == pytest.approx(stars(space, user.vector, user.bias))
    assert table["bias"].to_numpy() == pytest.approx(space.biases + user.bias)
    assert table["taste"].abs().max() > 0.01


def test_pushes_of_all_ratings_make_the_taste(space):
    user = foldin.fold_in(space, RATINGS)
    pushes = space.vectors @ space.vectors[user.rows].T * user.residuals / foldin.RIDGE["vector"]
    table = foldin.explain(space, user)
    assert table["taste"].to_numpy() == pytest.approx(pushes.sum(axis=1))


def test_pushes_of_one_movie_stand_by_rating(space):
    user = foldin.fold_in(space, RATINGS)
    table = foldin.explain(space, user).set_index("movieIdDense")
    for movie in (5, 13):
        found = foldin.pushes(space, user, movie)
        assert found["movieIdDense"].tolist() == list(RATINGS)
        assert found["stars"].tolist() == list(RATINGS.values())
        assert found["push"].sum() == pytest.approx(table.loc[movie, "taste"])
        nearest = found.set_index("movieIdDense").loc[table.loc[movie, "nearest"], "push"]
        assert nearest == pytest.approx(table.loc[movie, "push"])
    with pytest.raises(ValueError, match="movie 4 is not among the 6 movies"):
        foldin.pushes(space, user, 4)


def test_average_user_of_some_users():
    model = DotWithBias(4, 3, 0.5, 5.0, dim=2)
    model(np.array([[1, 1]]))
    vectors = model.user_embedding.get_weights()[0]
    assert foldin.space_of(model).user_vector == pytest.approx(vectors[1:].mean(axis=0))
    some = foldin.space_of(model, user_ids=[1, 3])
    assert some.user_vector == pytest.approx((vectors[1] + vectors[3]) / 2)
    biases = model.user_bias.get_weights()[0][:, 0]
    assert some.user_bias == pytest.approx((biases[1] + biases[3]) / 2)


def test_one_rating_pushes_all_there_is(space):
    table = foldin.explain(space, foldin.fold_in(space, {5: 1.0}))
    assert (table["nearest"] == 5).all()
    assert table["push"].to_numpy() == pytest.approx(table["taste"].to_numpy())


def test_nearest_is_by_cosine_among_the_rated(space):
    table = foldin.explain(space, foldin.fold_in(space, RATINGS)).set_index("movieIdDense")
    for movie in (5, 13):
        vector = space.vectors[space.ids.tolist().index(movie)]
        cosines = {}
        for rated in RATINGS:
            other = space.vectors[space.ids.tolist().index(rated)]
            cosines[rated] = vector @ other / np.sqrt((vector @ vector) * (other @ other))
        best = max(cosines, key=cosines.get)
        assert table.loc[movie, "nearest"] == best
        assert table.loc[movie, "cosine"] == pytest.approx(cosines[best])
    for rated in RATINGS:
        assert table.loc[rated, "nearest"] == rated


def test_a_movie_with_a_vector_of_zero_is_like_no_other(space):
    space.vectors[2] = 0.0
    table = foldin.explain(space, foldin.fold_in(space, RATINGS)).set_index("movieIdDense")
    assert table.loc[5, "cosine"] == 0
    assert np.isfinite(table["cosine"]).all()


def test_ranking_leaves_out_the_rated_and_goes_down(space):
    user = foldin.fold_in(space, {3: 4.5, 11: 1.0})
    ranked = foldin.rank(space, user)
    assert sorted(ranked["movieIdDense"]) == [2, 5, 7, 13]
    assert ranked["predicted"].is_monotonic_decreasing
    assert foldin.rank(space, user, n=2).equals(ranked.head(2))
    assert foldin.rank(space, user, by="taste")["taste"].is_monotonic_decreasing


def test_ties_go_by_dense_id(space):
    same = np.ones(6)
    flat = foldin.Space(space.ids, same[:, None] * [0.1, 0.2, 0.3], same, space.user_vector, 0.4)
    ranked = foldin.rank(flat, foldin.fold_in(flat, {5: 3.0}))
    assert ranked["movieIdDense"].tolist() == [2, 3, 7, 11, 13]


def test_a_high_rating_raises_near_movies(space):
    low, high = (foldin.explain(space, foldin.fold_in(space, {5: s})) for s in (0.5, 5.0))
    near = space.vectors @ space.vectors[2] > 0
    assert (high["taste"] > low["taste"])[near].all()
    assert (high["taste"] < low["taste"])[~near].all()


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ({4: 3.0}, "movie 4 is not among the 6 movies"),
        ({0: 3.0}, "movie 0 "),
        ({"5": 3.0}, "movie 5 is not among"),
        ([(5, 3.0), (5, 4.0)], "movie 5 is rated twice"),
        ({5: 5.5}, "movie 5: 5.5 is not on the scale"),
        ({5: 0}, "movie 5: 0 is not on the scale"),
        ({5: 3.3}, "movie 5: 3.3 is not on the scale"),
        ({5: float("nan")}, "movie 5: nan is not on the scale"),
    ],
)
def test_bad_input_is_named(space, ratings, message):
    with pytest.raises(ValueError, match=message):
        foldin.fold_in(space, ratings)


def test_trained_users_folded_in_do_better_than_with_bias_alone():
    ratings = data.prepared()
    model, _ = training.trained(recipes.BIAS, ratings, seed=0)
    space = foldin.space_of(model)
    train, valid = data.train_valid_split(ratings, 0)
    asked = dict(list(valid.groupby("userIdDense")))

    def rmse(ridge, known=True):
        truth, predicted = [], []
        for user, given in train.groupby("userIdDense"):
            if user not in asked:
                continue
            pairs = zip(given["movieIdDense"], given["rating"], strict=True) if known else {}
            folded_in = foldin.fold_in(space, pairs, ridge)
            rows = asked[user]["movieIdDense"].to_numpy() - 1
            score = space.vectors[rows] @ folded_in.vector + folded_in.bias + space.biases[rows]
            predicted += (0.5 + 4.5 / (1 + np.exp(-score))).tolist()
            truth += asked[user]["rating"].tolist()
        assert len(truth) == len(valid)
        return metrics.rmse(truth, predicted)

    constant = metrics.rmse(valid["rating"], np.full(len(valid), train["rating"].mean()))
    average = rmse(foldin.RIDGE, known=False)
    bias_alone = rmse({**foldin.RIDGE, "vector": 1e9})
    folded_in = rmse(foldin.RIDGE)
    assert folded_in < 0.878
    assert folded_in < bias_alone - 0.003
    assert bias_alone < average - 0.05
    assert average < constant - 0.05


def test_ratings_may_come_as_a_series(space):
    given = pd.Series(RATINGS)
    ours, theirs = foldin.fold_in(space, given), foldin.fold_in(space, RATINGS)
    np.testing.assert_array_equal(ours.vector, theirs.vector)
    assert ours.stars.tolist() == theirs.stars.tolist()


@pytest.mark.parametrize("given", [{3: np.nan}, {np.nan: 3.0}, {3.5: 3.0}, pd.Series({3: None})])
def test_what_is_missing_is_no_rating(space, given):
    with pytest.raises(ValueError, match="movie"):
        foldin.fold_in(space, given)


def test_a_scale_without_width_is_refused(space):
    flat = foldin.Space(space.ids, space.vectors, space.biases, space.user_vector, 0.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="stars has no width"):
        foldin.fold_in(flat, {3: 3.0})


def test_who_has_rated_everything_gets_an_empty_list(space):
    everything = dict.fromkeys(space.ids.tolist(), 3.0)
    found = foldin.rank(space, foldin.fold_in(space, everything))
    assert found.empty
    assert "predicted" in found


@pytest.mark.parametrize("options", [{"ids": [0]}, {"ids": [9]}, {"ids": []}, {"user_ids": [4]}])
def test_a_space_holds_what_the_model_has_rows_for(options):
    model = DotWithBias(3, 8, 0.5, 5.0, dim=2)
    model(np.array([[1, 1]]))
    with pytest.raises(ValueError, match="ids must lie between 1 and"):
        foldin.space_of(model, **options)
