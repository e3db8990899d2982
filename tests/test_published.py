import numpy as np
import pandas as pd
import pytest

from embedlens import data, metrics, published

PRINTED = pd.concat([published.LOWEST_TEN, published.HIGHEST_TEN])


@pytest.fixture(scope="module")
def ratings():
    return data.prepared()


@pytest.fixture(scope="module")
def movies(ratings):
    return data.movie_table(ratings)


def test_twenty_movies_are_printed():
    assert PRINTED["title"].nunique() == 20
    assert published.LOWEST_TEN["PC1"].is_monotonic_increasing
    assert published.HIGHEST_TEN["PC1"].is_monotonic_decreasing


@pytest.mark.parametrize("row", list(PRINTED.itertuples(index=False)), ids=lambda row: row.title)
def test_printed_movie_is_in_the_data(movies, row):
    found = movies[movies["title"] == row.title]
    assert found["n_ratings"].tolist() == [row.n_ratings]
    assert found["rating"].item() == pytest.approx(row.rating, rel=0, abs=0.005 + 1e-9)


def test_counts(ratings, movies):
    n_users, n_movies = data.count_users_and_movies(ratings)
    published.check("n_ratings", len(ratings))
    published.check("n_users", n_users)
    published.check("n_movies", n_movies)
    published.check("n_often_rated", len(data.often_rated(movies)))
    assert len(data.often_rated(movies)) == 1_247


@pytest.mark.parametrize("key", ["rmse_simple_dot", "rmse_bias", "rmse_own_layer"])
def test_the_mean_rating_as_a_constant_reproduces_no_model(ratings, key):
    train, valid = data.train_valid_split(ratings, 0)
    constant = np.full(len(valid), train["rating"].mean())
    with pytest.raises(AssertionError, match=published.FIGURES[key].name):
        published.check(key, metrics.rmse(valid["rating"], constant))


@pytest.mark.parametrize("key", list(published.FIGURES))
def test_bounds_include_their_ends_and_nothing_beyond(key):
    figure = published.FIGURES[key]
    assert figure.low <= figure.value <= figure.high
    published.check(key, figure.low)
    published.check(key, figure.high)
    for beyond in [np.nextafter(figure.low, -np.inf), np.nextafter(figure.high, np.inf), np.nan]:
        with pytest.raises(AssertionError):
            published.check(key, beyond)


def test_message_has_both_numbers():
    with pytest.raises(AssertionError, match=r"measured 1\.2346, published 0\.88.*0\.85 to 0\.89"):
        published.check("rmse_bias", 1.23456)
    with pytest.raises(AssertionError, match=r"measured 1,248\.0000, published 1,247"):
        published.check("n_often_rated", 1_248)


def test_check_prints_one_line_without_our_number(capsys):
    published.check("rmse_bias", 0.8612345)
    first = capsys.readouterr().out
    published.check("rmse_bias", 0.8712345)
    assert capsys.readouterr().out == first
    assert first.count("\n") == 1
    assert "0.88" in first
    assert "0.85 to 0.89" in first
    assert "0.86" not in first
