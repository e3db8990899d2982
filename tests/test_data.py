import warnings
import zipfile

from embedlens import data
import numpy as np
import pandas as pd
import pytest

RATINGS = "userId,movieId,rating,timestamp\n7,30,2.5,1\n7,10,5.0,2\n9,30,0.5,3\n"
MOVIES = 'movieId,title,genres\n10,"Été, L\' (1999)",Drama\n20,B (2000),Comedy\n30,C (2001),Drama\n'
GOOD = {"ratings.csv": RATINGS.encode(), "movies.csv": MOVIES.encode()}


@pytest.fixture(params=["folder", "zip"])
def save(request, tmp_path):
    def save(files):
        if request.param == "folder":
            for name, content in files.items():
                (tmp_path / name).write_bytes(content)
            return tmp_path
        path = tmp_path / "ml.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(f"ml-latest-small/{name}", content)
        return path

    return save


@pytest.fixture(scope="module")
def real():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.prepare(data.load_movielens())


def lens(ratings, movies):
    return data.MovieLens(
        pd.DataFrame(ratings, columns=["userId", "movieId", "rating"]),
        pd.DataFrame(movies, columns=["movieId", "title", "genres"]),
    )


def test_good_input_gives_the_tables_as_written(save):
    found = data.load_movielens(save(GOOD))
    expected = lens(
        [(7, 30, 2.5), (7, 10, 5.0), (9, 30, 0.5)],
        [(10, "Été, L' (1999)", "Drama"), (20, "B (2000)", "Comedy"), (30, "C (2001)", "Drama")],
    )
    pd.testing.assert_frame_equal(found.ratings, expected.ratings)
    pd.testing.assert_frame_equal(found.movies, expected.movies)


def test_byte_order_mark_crlf_and_path_as_text_are_fine(save):
    changed = {n: b"\xef\xbb\xbf" + c.replace(b"\n", b"\r\n") for n, c in GOOD.items()}
    found = data.load_movielens(str(save(changed)))
    assert found.ratings["userId"].tolist() == [7, 7, 9]
    assert found.movies["title"].tolist() == ["Été, L' (1999)", "B (2000)", "C (2001)"]


@pytest.mark.parametrize("name", list(GOOD))
def test_missing_file(save, name):
    path = save({n: c for n, c in GOOD.items() if n != name})
    with pytest.raises(FileNotFoundError) as caught:
        data.load_movielens(path)
    assert name in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("ratings.csv", "userId"),
        ("ratings.csv", "movieId"),
        ("ratings.csv", "rating"),
        ("movies.csv", "movieId"),
        ("movies.csv", "title"),
        ("movies.csv", "genres"),
    ],
)
def test_missing_column(save, name, column):
    header, rows = GOOD[name].decode().split("\n", 1)
    header = ",".join("other" if part == column else part for part in header.split(","))
    with pytest.raises(ValueError, match=f"{name}: column {column} is missing.*other"):
        data.load_movielens(save({**GOOD, name: f"{header}\n{rows}".encode()}))


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_file(save, name, content):
    with pytest.raises(ValueError, match=f"{name}: the file is empty"):
        data.load_movielens(save({**GOOD, name: content}))


@pytest.mark.parametrize("name", list(GOOD))
def test_header_only(save, name):
    header = GOOD[name].split(b"\n")[0]
    with pytest.raises(ValueError, match=f"{name}: there is a header but no row"):
        data.load_movielens(save({**GOOD, name: header + b"\n"}))


@pytest.mark.parametrize("name", list(GOOD))
def test_wrong_encoding(save, name):
    first, second, third, rest = GOOD[name].split(b"\n", 3)
    content = b"\n".join([first, second, third + b"\xe9", rest])
    with pytest.raises(ValueError, match=f"{name}: line 3 is not UTF-8"):
        data.load_movielens(save({**GOOD, name: content}))


# Line 3 of the file, the column to name, how the message shows line and value.
BAD_RATINGS = [
    ("x7,10,5.0,2", "userId", "line 3: userId x7"),
    ("7,x10,5.0,2", "movieId", "line 3: movieId x10"),
    ("7.5,10,5.0,2", "userId", "line 3: userId 7.5"),
    (",10,5.0,2", "userId", "line 3: userId"),
    ("7,,5.0,2", "movieId", "line 3: movieId"),
    ("NA,10,5.0,2", "userId", "line 3: userId NA"),
    ("0,10,5.0,2", "userId", "line 3: userId 0"),
    ("7,0,5.0,2", "movieId", "line 3: movieId 0"),
    ("-7,10,5.0,2", "userId", "line 3: userId -7"),
    ("7,10,,2", "rating", "line 3: rating"),
    ("7,10", "rating", "line 3: rating"),
    ("7,10,NaN,2", "rating", "line 3: rating"),
    ("7,10,good,2", "rating", "line 3: rating good"),
    ("7,10,5.5,2", "rating", "line 3: rating 5.5"),
    ("7,10,0.0,2", "rating", "line 3: rating 0.0"),
    ("7,10,3.3,2", "rating", "line 3: rating 3.3"),
    ("7,10,-1.0,2", "rating", "line 3: rating -1.0"),
    ("7,10,inf,2", "rating", "line 3: rating inf"),
    ("7,30,5.0,2", "userId, movieId", "line 3: userId 7, movieId 30"),
    ("7" * 30 + ",10,5.0,2", "userId", "line 3: userId 777"),
]
BAD_MOVIES = [
    ("x20,B (2000),Comedy", "movieId", "line 3: movieId x20"),
    (",B (2000),Comedy", "movieId", "line 3: movieId"),
    ("0,B (2000),Comedy", "movieId", "line 3: movieId 0"),
    ("10,B (2000),Comedy", "movieId", "line 3: movieId 10"),
]
BAD_ROWS = [("ratings.csv", *bad) for bad in BAD_RATINGS]
BAD_ROWS += [("movies.csv", *bad) for bad in BAD_MOVIES]


@pytest.mark.parametrize(("name", "row", "column", "shown"), BAD_ROWS)
def test_bad_row(save, name, row, column, shown):
    lines = GOOD[name].decode().split("\n")
    lines[2] = row
    with pytest.raises(ValueError, match=name) as caught:
        data.load_movielens(save({**GOOD, name: "\n".join(lines).encode()}))
    assert str(caught.value).startswith(f"{name}, column {column}: ")
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("name", "row"), [("ratings.csv", "7,10,5.0,2,3"), ("movies.csv", "20,B, The (2000),Comedy")]
)
def test_row_with_too_many_fields(save, name, row):
    lines = GOOD[name].decode().split("\n")
    lines[2] = row
    with pytest.raises(ValueError, match=rf"{name}.*line 3"):
        data.load_movielens(save({**GOOD, name: "\n".join(lines).encode()}))


@pytest.mark.parametrize(
    ("name", "first"), [("ratings.csv", "6,7,30,2.5,1"), ("movies.csv", "9,10,Been (1999),Drama")]
)
def test_first_row_with_too_many_fields_does_not_shift_the_columns(save, name, first):
    header, _, rest = GOOD[name].decode().split("\n", 2)
    with pytest.raises(ValueError, match=name):
        data.load_movielens(save({**GOOD, name: f"{header}\n{first}\n{rest}".encode()}))


def test_blank_line_does_not_shift_the_line_number(save):
    # Refusing the blank line itself (line 3) would be right as well.
    content = RATINGS.replace("7,10,5.0,2", "\n7,10,5.5,2").encode()
    with pytest.raises(ValueError, match=r"ratings\.csv.*(line 4: rating 5\.5|line 3: userId)"):
        data.load_movielens(save({**GOOD, "ratings.csv": content}))


def test_first_three_bad_lines_are_shown_and_the_rest_counted(save):
    rows = "".join(f"{user},10,9.0,1\n" for user in range(100, 105))
    with pytest.raises(ValueError, match=r"line 5: .*line 6: .*line 7: [^;]* and 2 more"):
        data.load_movielens(save({**GOOD, "ratings.csv": (RATINGS + rows).encode()}))


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="ml-latest: no such folder"):
        data.load_movielens(tmp_path / "ml-latest")


def test_not_a_zip(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS)
    with pytest.raises(ValueError, match=r"ratings\.csv: not a zip file"):
        data.load_movielens(path)


def good_zip(path, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_zip(tmp_path, share):
    path = tmp_path / "ml.zip"
    content = good_zip(path)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"ml\.zip: not a zip file, or a damaged one"):
        data.load_movielens(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_zip_with_a_damaged_member(tmp_path, compression):
    path = tmp_path / "ml.zip"
    content = bytearray(good_zip(path, compression))
    content[50:70] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ml\.zip: .*damaged"):
        data.load_movielens(path)


def test_zip_with_two_ratings_files(tmp_path):
    path = tmp_path / "ml.zip"
    good_zip(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("old/ratings.csv", RATINGS)
    with pytest.raises(ValueError, match=r"ratings\.csv: stands 2 times in .*old/ratings\.csv"):
        data.load_movielens(path)


def test_embedded_data():
    embedded = data.load_movielens()
    assert len(embedded.ratings) == 100_004
    assert embedded.ratings.dtypes.astype(str).to_dict() == data.RATINGS_COLUMNS
    assert embedded.ratings.iloc[0].tolist() == [1, 31, 2.5]


def test_prepare_numbers_the_embedded_data_densely(real):
    assert len(real) == 100_004
    assert data.count_users_and_movies(real) == (671, 9066)
    for column, count in [("userIdDense", 671), ("movieIdDense", 9066)]:
        assert real[column].dtype == "int32"
        assert real[column].drop_duplicates().tolist() == list(range(1, count + 1))


def test_prepare_keeps_the_file_order(real):
    columns = list(data.RATINGS_COLUMNS)
    pd.testing.assert_frame_equal(real[columns], data.load_movielens().ratings)


def test_prepare_joins_by_id(real):
    movies = data.load_movielens().movies.set_index("movieId")
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
        pytest.raises(ValueError, match=r"ratings\.csv: no rated movie"),
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
