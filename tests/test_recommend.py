from embedlens import data, training
from embedlens.models import DotWithBias
from embedlens.recommend import recommend, scores
import numpy as np
import pandas as pd
import pytest

SCORES = {1: 2.0, 2: 4.5, 3: 3.0, 4: 4.5, 5: 1.0, 6: 5.0}


class Stub:
    def __init__(self):
        self.users = set()

    def predict(self, x, batch_size, verbose):
        self.users |= set(x[:, 0].tolist())
        return np.array([[SCORES[movie]] for movie in x[:, 1].tolist()], dtype="float32")


@pytest.fixture(scope="module")
def ratings():
    # User 1 rated movies 1 to 3, user 2 rated 4 to 6 and 1, user 3 rated 6.
    pairs = [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (2, 1), (3, 6)]
    frame = pd.DataFrame(pairs, columns=["userId", "movieId"]).assign(rating=3.0)
    titles = pd.DataFrame({"movieId": range(1, 7), "title": list("ABCDEF"), "genres": "x"})
    return data.prepare(data.MovieLens(frame, titles))


@pytest.mark.parametrize(("user", "expected"), [(1, [6, 4, 5]), (2, [2, 3]), (3, [2, 4, 3, 1, 5])])
def test_unrated_movies_best_first_ties_by_id(ratings, user, expected):
    model = Stub()
    found = recommend(model, ratings, user)
    assert found["movieIdDense"].tolist() == expected
    assert found["predicted"].tolist() == [SCORES[movie] for movie in expected]
    assert found["title"].tolist() == ["?ABCDEF"[movie] for movie in expected]
    assert found.index.tolist() == list(range(len(expected)))
    assert model.users == {user}


def test_ratings_are_counted_over_all_users(ratings):
    found = recommend(Stub(), ratings, 1)
    assert found["n_ratings"].tolist() == [2, 1, 1]


@pytest.mark.parametrize(("n", "expected"), [(1, [2]), (2, [2, 4]), (99, [2, 4, 3, 1, 5])])
def test_n_is_honoured(ratings, n, expected):
    assert recommend(Stub(), ratings, 3, n)["movieIdDense"].tolist() == expected


@pytest.mark.parametrize("user", [0, 4, -1])
def test_unknown_user(ratings, user):
    with pytest.raises(ValueError, match=f"user {user} "):
        recommend(Stub(), ratings, user)


def test_scores_are_the_predictions_of_all_pairs():
    training.set_seed(0)
    model = DotWithBias(4, 5, 0.5, 5.0, dim=3)
    pairs = pd.DataFrame({"userIdDense": [1, 4, 2], "movieIdDense": [5, 1, 3]})
    predicted = training.predict(model, pairs)
    users = model.user_embedding.get_weights()[0]
    movies = model.movie_embedding.get_weights()[0]
    stars, taste = scores(model)
    assert stars.shape == taste.shape == (5, 6)
    assert stars[pairs["userIdDense"], pairs["movieIdDense"]] == pytest.approx(predicted, abs=1e-5)
    assert taste[4, 1] == pytest.approx((users[4] - users[1:].mean(axis=0)) @ movies[1], abs=1e-6)
    assert taste[1:].sum(axis=0) == pytest.approx(np.zeros(6), abs=1e-6)
