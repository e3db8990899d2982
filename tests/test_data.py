import warnings

from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pandas as pd
import pytest

from embedlens import data, movielens
from embedlens.movielens import files

QUICK = settings(derandomize=True, deadline=None, max_examples=60, database=None)


@pytest.fixture(scope="module")
def real():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.prepare(movielens.load())


def lens(ratings, movies):
    return movielens.MovieLens(
        pd.DataFrame(ratings, columns=["userId", "movieId", "rating"]),
        pd.DataFrame(movies, columns=["movieId", "title", "genres"]),
    )


def dense(users, movies, index=None):
    return pd.DataFrame({"userIdDense": users, "movieIdDense": movies}, index=index)


def test_prepare_numbers_the_embedded_data_densely(real):
    assert len(real) == 100_004
    assert data.count_users_and_movies(real) == (671, 9066)
    for column, count in [("userIdDense", 671), ("movieIdDense", 9066)]:
        assert real[column].dtype == "int32"
        assert real[column].drop_duplicates().tolist() == list(range(1, count + 1))


def test_prepare_keeps_the_file_order(real):
    columns = list(files.RATINGS_COLUMNS)
    pd.testing.assert_frame_equal(real[columns], movielens.load().ratings)


def test_prepare_joins_by_id(real):
    movies = movielens.load().movies.set_index("movieId")
    for column in ["title", "genres"]:
        assert real[column].tolist() == movies[column].loc[real["movieId"]].tolist()
    assert set(real.loc[real["movieId"] == 1, "title"]) == {"Toy Story (1995)"}


def test_prepare_warns_of_lost_ratings_and_stays_dense():
    ratings = [(5, 99, 1.0), (7, 30, 2.0), (7, 98, 3.0), (9, 10, 4.0), (9, 99, 5.0), (7, 10, 0.5)]
    tiny = lens(ratings, [(10, "A", "x"), (20, "B", "y"), (30, "C", "z")])
    with pytest.warns(UserWarning, match=r"3 of 6 ratings name 2 movies .*first: 99, 98"):
        joined = data.prepare(tiny)
    assert joined["title"].tolist() == ["C", "A", "A"]
    assert joined["userIdDense"].tolist() == [1, 2, 1]
    assert joined["movieIdDense"].tolist() == [1, 2, 2]


def test_prepare_raises_when_no_movie_matches():
    with (
        pytest.warns(UserWarning, match="1 of 1 ratings"),
        pytest.raises(ValueError, match="no rated movie is in the table of movies"),
    ):
        data.prepare(lens([(1, 99, 1.0)], [(10, "A", "x")]))


def test_dense_ids_start_at_one_by_first_appearance():
    found = data.dense_ids(pd.Series([30, 10, 30, 20]))
    assert found.tolist() == [1, 2, 1, 3]
    assert found.dtype == "int32"


def test_split_is_the_permutation_of_the_seed(real):
    train, valid = data.train_valid_split(real, 0)
    order = np.random.default_rng(0).permutation(100_004)
    assert train.index.tolist() == order[:80_003].tolist()
    assert valid.index.tolist() == order[80_003:].tolist()
    pd.testing.assert_frame_equal(train, real.loc[train.index])


@pytest.mark.parametrize("seed", [0, 1])
def test_split_is_disjoint_and_complete(real, seed):
    train, valid = data.train_valid_split(real, seed)
    assert (len(train), len(valid)) == (80_003, 20_001)
    assert sorted([*train.index, *valid.index]) == real.index.tolist()
    both = train[["userId", "movieId"]].merge(valid[["userId", "movieId"]])
    assert both.empty


def test_split_depends_on_the_seed_alone(real):
    first = data.train_valid_split(real, 0)[1].index
    np.random.default_rng(5).random(3)
    assert data.train_valid_split(real, 0)[1].index.equals(first)
    assert not data.train_valid_split(real, 1)[1].index.sort_values().equals(first.sort_values())


@pytest.mark.parametrize("train_share", [0, 1, -0.1, 1.1])
def test_split_refuses_an_empty_part(real, train_share):
    with pytest.raises(ValueError, match="train_share"):
        data.train_valid_split(real, 0, train_share)


def test_inputs_and_targets(real):
    few = real.iloc[[3, 500]]
    x, y = data.inputs(few), data.targets(few)
    assert (x.shape, x.dtype) == ((2, 2), "int32")
    assert (y.shape, y.dtype) == ((2, 1), "float32")
    assert x.tolist() == [[few["userIdDense"].iloc[i], few["movieIdDense"].iloc[i]] for i in (0, 1)]
    assert y.ravel().tolist() == few["rating"].tolist()


def test_cold_movies():
    train = pd.DataFrame({"movieIdDense": [1, 2, 2]})
    valid = pd.DataFrame({"movieIdDense": [3, 2, 4, 1]}, index=[9, 8, 7, 6])
    cold = data.cold_movies(train, valid)
    assert isinstance(cold, np.ndarray)
    assert cold.tolist() == [True, False, True, False]


def test_scale_and_genres_that_are_none_are_those_of_the_files():
    assert (data.LOWEST_RATING, data.HIGHEST_RATING, data.RATING_STEP) == (0.5, 5.0, 0.5)
    assert data.NO_GENRES == "(no genres listed)"


def test_prepare_does_not_name_files_that_may_be_others():
    tiny = lens([(1, 99, 1.0), (1, 10, 2.0)], [(10, "A", "x")])
    with pytest.warns(UserWarning, match="1 of 2 ratings") as told:
        data.prepare(tiny)
    assert ".csv" not in str(told[0].message)
    assert told[0].filename == __file__, "the line that asked for it"


def test_prepare_keeps_the_timestamps():
    tiny = lens([(1, 10, 2.0)], [(10, "A", "x")])
    tiny.ratings["timestamp"] = 7
    assert data.prepare(tiny)["timestamp"].tolist() == [7]


@pytest.mark.parametrize(
    ("ratings", "movies", "message"),
    [
        ([], [(10, "A", "x")], "no rated movie"),
        ([(1, 10, 2.0)], [], "no rated movie"),
        ([], [], "no rated movie"),
        ([(1, 10, 2.0)], [(10, "A", "x"), (10, "B", "x")], r"lists a movie twice \(10\)"),
        ([(1, 10, 2.0), (None, 10, 3.0)], [(10, "A", "x")], r"1 of 2 values of userId are miss"),
        ([(1, 10, 2.0), (1, None, 3.0)], [(10, "A", "x")], r"1 of 2 values of movieId are mis"),
        ([(1, 10, 2.0)], [(None, "A", "x")], r"1 of 1 values of movieId are missing"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*the join keeps them out")
def test_prepare_refuses(ratings, movies, message):
    with pytest.raises(ValueError, match=message):
        data.prepare(lens(ratings, movies))


def test_prepared_is_what_prepare_gives(real):
    pd.testing.assert_frame_equal(data.prepared(), real)
    assert data.prepared() is data.prepared()
    assert "timestamp" in data.prepared(timestamps=True)


MISSING = [
    pd.Series([3.0, np.nan, 5.0]),
    pd.Series([3, None, 5], dtype="object"),
    pd.Series([3, None, 5], dtype="Int64"),
    pd.Series(["a", None, "c"]),
]


@pytest.mark.parametrize("ids", MISSING)
def test_missing_ids_get_no_number(ids):
    with pytest.raises(ValueError, match=r"1 of 3 values of ids are missing \(rows 1\)"):
        data.dense_ids(ids)
    with pytest.raises(ValueError, match="are missing"):
        data.dense_ids(ids.tolist())


@pytest.mark.parametrize("values", MISSING[:3])
@pytest.mark.parametrize("column", ["userIdDense", "movieIdDense"])
def test_missing_ids_are_no_input(values, column):
    ratings = dense([1, 1, 1], [1, 2, 3]).assign(**{column: values}).set_axis([7, 8, 9])
    ratings[column] = values.set_axis([7, 8, 9])
    for function in (data.inputs, lambda frame: data.check_ids(frame, (9, 9))):
        with pytest.raises(ValueError, match=rf"1 of 3 values of {column} are missing \(rows 8"):
            function(ratings)
    with pytest.raises(ValueError, match=f"{column} are missing"):
        data.count_users_and_movies(ratings)


@pytest.mark.parametrize("values", MISSING[:3])
def test_missing_ratings_are_no_target(values):
    with pytest.raises(ValueError, match=r"1 of 3 values of rating are missing \(rows 1\)"):
        data.targets(pd.DataFrame({"rating": values}))


def test_infinite_ratings_are_no_target():
    with pytest.raises(ValueError, match=r"2 of 3 values of rating are infinite \(rows 0, 2\)"):
        data.targets(pd.DataFrame({"rating": [np.inf, 1, -np.inf]}))


def test_only_the_first_rows_are_named():
    ids = pd.Series([np.nan] * 9)
    with pytest.raises(ValueError, match=r"9 of 9 .*\(rows 0, 1, 2, 3, 4, \.\.\.\)"):
        data.dense_ids(ids)


def test_dense_ids_are_of_whole_numbers_of_any_size_and_of_names():
    large = [2**53, 2**53 + 1, 2**62, 2**53]
    assert data.dense_ids(pd.Series(large)).tolist() == [1, 2, 3, 1]
    assert data.dense_ids(np.array(["b", "a", "b"])).tolist() == [1, 2, 1]
    assert data.dense_ids([]).tolist() == []


def test_dense_ids_take_floats_that_are_exact():
    ids = np.array([3.0, 100.0, 2.0**53 - 1, 3.0, 2.0**53 - 2])
    assert data.dense_ids(ids).tolist() == [1, 2, 3, 1, 4]


def test_dense_ids_refuse_floats_that_may_have_merged():
    ids = pd.Series([2**53, 2**53 + 1, 1]).astype("float64")
    with pytest.raises(ValueError, match="two may have become one"):
        data.dense_ids(ids)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.5], r"1 of 2 values of userIdDense are no whole numbers \(rows 1\)"),
        ([1.0, np.inf], "userIdDense are beyond int32"),
        ([1, 2**31], "userIdDense are beyond int32"),
        ([1, -(2**31) - 1], "userIdDense are beyond int32"),
        ([1, 2**32 + 1], "userIdDense are beyond int32"),
        ([1, 2**63], "userIdDense are beyond int32"),
        (["1", "2"], "column userIdDense holds str, not numbers"),
        ([True, False], "column userIdDense holds bool, not numbers"),
        ([1, "2"], "column userIdDense holds object, not numbers"),
    ],
)
def test_inputs_are_whole_numbers(values, message):
    with pytest.raises(ValueError, match=message):
        data.inputs(dense(values, [1, 1]))


@pytest.mark.parametrize("values", [[1.0, 2.0], pd.Series([1, 2], dtype="Int64"), [2**31 - 1, 1]])
def test_inputs_may_be_of_other_types(values):
    found = data.inputs(dense(values, [3, 4]))
    assert found.dtype == "int32"
    assert found.tolist() == [[int(values[0]), 3], [int(values[1]), 4]]
    assert data.inputs(dense(pd.Series(values, dtype="object"), [3, 4])).tolist() == found.tolist()


@pytest.mark.parametrize(
    ("function", "column"),
    [
        (data.inputs, "movieIdDense"),
        (data.targets, "rating"),
        (data.count_users_and_movies, "userIdDense"),
        (data.movie_table, "genres"),
        (data.genre_table, "genres"),
        (data.often_rated, "n_ratings"),
        (lambda frame: data.check_ids(frame, (1, 1)), "movieIdDense"),
        (lambda frame: data.cold_movies(frame, frame), "movieIdDense"),
    ],
)
def test_column_that_is_missing(real, function, column):
    frame = real.head().assign(n_ratings=1).drop(columns=column)
    with pytest.raises(ValueError, match=f"column {column} is missing; found userId, "):
        function(frame)


def test_ids_within_the_tables():
    data.check_ids(dense([1, 2], [3, 1]), (2, 3))
    data.check_ids(dense([1, 2], [3, 1]), (np.int64(2), np.int32(3)))
    data.check_ids(dense([], []), (1, 1))


@pytest.mark.parametrize(
    ("users", "movies", "message"),
    [
        (
            [1, 2, 9, 9],
            [1] * 4,
            r"2 of 4 rows have a userIdDense outside 1 to 8.*users.*first: 9\)",
        ),
        ([0, 2, 3, 4], [1] * 4, r"1 of 4 rows have a userIdDense outside 1 to 8.*first: 0\)"),
        ([1] * 4, [1, 2, 1001, -1], r"2 .* movieIdDense outside 1 to 1,000.*first: 1001, -1\)"),
    ],
)
def test_ids_outside_the_tables(users, movies, message):
    for kind in ("int32", "int64", "float64"):
        with pytest.raises(ValueError, match=message) as caught:
            data.check_ids(dense(users, movies).astype(kind), (8, 1000))
        assert "data.dense_ids" in str(caught.value)
        assert "data.count_users_and_movies before you filter" in str(caught.value)


def test_counts_of_a_filtered_frame_are_not_the_sizes_of_its_tables(real):
    part = real[real["rating"] == 5].iloc[:500]
    sizes = data.count_users_and_movies(part)
    assert sizes == (part["userId"].nunique(), part["movieId"].nunique())
    assert part["movieIdDense"].max() > sizes[1]
    with pytest.raises(ValueError, match="IdDense outside"):
        data.check_ids(part, sizes)
    anew = part.assign(**{name: data.dense_ids(part[name]) for name in data.IDS})
    data.check_ids(anew, sizes)
    data.check_ids(part, data.count_users_and_movies(real))


@pytest.mark.parametrize(("rows", "share"), [(0, 0.8), (1, 0.8), (1, 0.1), (2, 0.4), (9, 0.1)])
def test_split_with_nothing_in_a_part(real, rows, share):
    with pytest.raises(
        ValueError, match=f"{rows} rows cannot be split with a train_share of {share}"
    ):
        data.train_valid_split(real[:rows], 0, share)


def test_split_of_two_rows(real):
    train, valid = data.train_valid_split(real[:2], 0)
    assert (len(train), len(valid)) == (1, 1)


def empty_frames(real):
    """Of the right types; and as a new frame has them."""
    return [real[:0], pd.DataFrame(columns=real.columns)]


def test_empty_frames_give_empty_results(real):
    for empty in empty_frames(real):
        assert (data.inputs(empty).shape, data.inputs(empty).dtype) == ((0, 2), "int32")
        assert (data.targets(empty).shape, data.targets(empty).dtype) == ((0, 1), "float32")
        assert data.count_users_and_movies(empty) == (0, 0)
        assert data.dense_ids(empty["userId"]).tolist() == []
        assert data.cold_movies(empty, real).all()
        assert data.cold_movies(real, empty).tolist() == []
        movies = data.movie_table(empty)
        assert list(movies) == ["title", "genres", "rating", "n_ratings"]
        assert len(movies) == len(data.often_rated(movies)) == len(data.genre_table(movies)) == 0
        assert movies.index.name == "movieIdDense"
        assert data.years(movies["title"]).dtype == "float64"
        assert len(data.years(movies["title"])) == 0


def test_movie_table():
    ratings = pd.DataFrame(
        {
            "movieIdDense": [2, 1, 2],
            "title": ["B", "A", "B"],
            "genres": ["y", "x", "y"],
            "rating": [1.0, 5.0, 2.0],
        }
    )
    table = data.movie_table(ratings)
    assert table.index.tolist() == [1, 2]
    assert table.to_dict("list") == {
        "title": ["A", "B"],
        "genres": ["x", "y"],
        "rating": [5.0, 1.5],
        "n_ratings": [1, 2],
    }


def test_movie_table_leaves_out_no_rating():
    ratings = pd.DataFrame({"movieIdDense": [2, None], "title": "B", "genres": "y", "rating": 1.0})
    with pytest.raises(ValueError, match=r"1 of 2 values of movieIdDense are missing"):
        data.movie_table(ratings)


def test_often_rated_means_more_than_twenty():
    movies = pd.DataFrame({"n_ratings": [20, 21, 5, 300]}, index=pd.RangeIndex(1, 5))
    assert data.often_rated(movies)["n_ratings"].tolist() == [21, 300]


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Toy Story (1995)", 1995),
        ("Hostel: Part III (2011) ", 2011),
        ("Fawlty Towers (1975-1979)", 1975),
        ("Big Bang Theory, The (2007-)", 2007),
        ("2001: A Space Odyssey (1968)", 1968),
        ("Stranger Things", None),
        ("1984", None),
    ],
)
def test_year_of_a_title(title, year):
    (found,) = data.years(pd.Series([title]))
    assert np.isnan(found) if year is None else found == year


def test_years_are_at_the_end_and_the_first_of_a_span():
    titles = ["A (1999)", "B (2007-)", "C (1975-1979) ", "2001", "(1984) D", "E (99)", "", None]
    found = data.years(pd.Series(titles, index=range(10, 18)))
    assert found.dtype == "float64"
    assert found.index.tolist() == list(range(10, 18))
    assert found[:3].tolist() == [1999, 2007, 1975]
    assert found[3:].isna().all()
    assert data.years(pd.Series([None, np.nan])).isna().all()


def test_genre_table():
    genres = ["Drama|Comedy", data.NO_GENRES, "", None, "Sci-Fi", "Drama"]
    table = data.genre_table(pd.DataFrame({"genres": genres}, index=[9, 8, 7, 6, 5, 4]))
    assert list(table) == ["Comedy", "Drama", "Sci-Fi"]
    assert table.index.tolist() == [9, 8, 7, 6, 5, 4]
    assert (table.dtypes == "int64").all()
    rows = [[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert table.to_numpy().tolist() == rows


@pytest.mark.parametrize("genres", [data.NO_GENRES, "", None, np.nan])
def test_genre_table_where_none_is_known(genres):
    table = data.genre_table(pd.DataFrame({"genres": [genres] * 3}, index=[1, 2, 3]))
    assert table.shape == (3, 0)
    assert table.index.tolist() == [1, 2, 3]
    none = data.genre_table(pd.DataFrame({"genres": [""]}))
    pd.testing.assert_frame_equal(none, pd.DataFrame(index=[0], dtype="int64"))


def test_no_genres_listed_is_no_genre_of_the_embedded_movies(real):
    movies = data.movie_table(real)
    table = data.genre_table(movies)
    assert data.NO_GENRES not in table
    assert len(table) == len(movies)
    assert ((table.sum(axis=1) == 0) == (movies["genres"] == data.NO_GENRES)).all()
    assert (table["IMAX"] == movies["genres"].str.split("|").map(lambda g: "IMAX" in g)).all()


@QUICK
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)))
def test_ids_keep_their_order_and_distinctness(ids):
    found = data.dense_ids(pd.Series(ids, dtype="int64")).tolist()
    first_seen = list(dict.fromkeys(ids))
    assert found == [first_seen.index(i) + 1 for i in ids]


@QUICK
@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_split_is_a_partition(rows, seed, share):
    ratings = pd.DataFrame({"rating": range(rows)}, index=np.arange(rows) % 3)
    try:
        train, valid = data.train_valid_split(ratings, seed, share)
    except ValueError:
        assume(not (0.1 < share < 0.9 and rows > 10))  # these can be split
        return
    assert sorted([*train["rating"], *valid["rating"]]) == list(range(rows))
    assert len(train) == int(share * rows)
    assert len(valid) > 0


TIMED = pd.DataFrame(
    {"userIdDense": [1, 1, 1, 1, 1, 2, 2], "timestamp": [5, 1, 2, 3, 5, 9, 8]}, index=range(10, 17)
)


def test_split_at_a_date():
    train, valid = data.split_at_date(TIMED, 0.5)
    assert train.index.to_list() == [11, 12, 13]  # 5 is the date, and no second is cut in two
    assert valid.index.to_list() == [10, 14, 15, 16]
    assert train["timestamp"].max() < valid["timestamp"].min()
    with pytest.raises(ValueError, match="no rating lies before"):
        data.split_at_date(TIMED.assign(timestamp=1))


def test_split_off_the_last_of_each_user():
    train, valid = data.split_off_last(TIMED, 0.6)
    assert train.index.to_list() == [11, 12, 13, 15, 16]
    assert valid.index.to_list() == [10, 14]
    train, valid = data.split_off_last(TIMED, 0.5)
    assert valid.index.to_list() == [10, 14, 15]
    with pytest.raises(ValueError, match="no rating is set aside"):
        data.split_off_last(TIMED, 0.99)


@pytest.mark.parametrize("split", [data.split_at_date, data.split_off_last])
def test_splits_in_time_need_times_and_a_share(split):
    with pytest.raises(ValueError, match="timestamp is missing"):
        split(TIMED[["userIdDense"]])
    for share in (0, 1, -1):
        with pytest.raises(ValueError, match="train_share"):
            split(TIMED, share)
