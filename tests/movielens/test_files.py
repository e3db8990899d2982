import csv
import io
from pathlib import Path
import tempfile
import warnings
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pandas as pd
import pytest

from embedlens import data, movielens
from embedlens.movielens import files

RATINGS = "userId,movieId,rating,timestamp\n7,30,2.5,1\n7,10,5.0,2\n9,30,0.5,3\n"
MOVIES = 'movieId,title,genres\n10,"Été, L\' (1999)",Drama\n20,B (2000),Comedy\n30,C (2001),Drama\n'
GOOD = {"ratings.csv": RATINGS.encode(), "movies.csv": MOVIES.encode()}
DAT = {
    "ratings.dat": b"1::30::2.5::978300760\n1::10::5::978302109\n2::30::0.5::978301968\n",
    "movies.dat": 'Misérables, Les (1995)::Drama|Musical\n20::"Great": Cats (1998)::Musical\n'.join(
        ["10::", "30::Heat (1995)::Crime\n"]
    ).encode("iso-8859-1"),
}
DAT_MOVIES = [
    (10, "Misérables, Les (1995)", "Drama|Musical"),
    (20, '"Great": Cats (1998)', "Musical"),
    (30, "Heat (1995)", "Crime"),
]
DAT_RATINGS = [(1, 30, 2.5), (1, 10, 5.0), (2, 30, 0.5)]
BIG = 76561198006409530


def lens(ratings, movies):
    return movielens.MovieLens(
        pd.DataFrame(ratings, columns=["userId", "movieId", "rating"]),
        pd.DataFrame(movies, columns=["movieId", "title", "genres"]),
    )


def expect(found, ratings, movies):
    expected = lens(ratings, movies)
    pd.testing.assert_frame_equal(found.ratings, expected.ratings)
    pd.testing.assert_frame_equal(found.movies, expected.movies)


def in_folder(folder, content):
    folder.mkdir(exist_ok=True)
    for name, file in content.items():
        (folder / name).write_bytes(file)
    return folder


def in_zip(path, content, above="ml-latest-small/", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, file in content.items():
            archive.writestr(f"{above}{name}", file)
    return path


@pytest.fixture(params=["folder", "zip"])
def save(request, tmp_path):
    def save(content):
        if request.param == "folder":
            return in_folder(tmp_path / "ml", content)
        return in_zip(tmp_path / "ml.zip", content)

    return save


def refused(place, *expected, error=ValueError):
    """Load what cannot be used: the message says where it lies, and all that is expected."""
    with pytest.raises(error) as caught:
        movielens.load(place, timestamps=True)
    message = str(caught.value)
    for part in (str(place), *expected):
        assert part in message
    return message


def with_line(content, name, line, text):
    """The same files; a line (from 1) of one of them is another."""
    lines = content[name].split(b"\n")
    lines[line - 1] = text if isinstance(text, bytes) else text.encode()
    return content | {name: b"\n".join(lines)}


def with_ratings(*rows):
    """Good files with more ratings, the first of them in line 5."""
    return GOOD | {"ratings.csv": (RATINGS + "".join(f"{row}\n" for row in rows)).encode()}


def with_movies(*rows):
    """Good files with more movies, the first of them in line 5."""
    return GOOD | {"movies.csv": (MOVIES + "".join(f"{row}\n" for row in rows)).encode()}


def test_good_input_gives_the_tables_as_written(save):
    expect(
        movielens.load(save(GOOD)),
        [(7, 30, 2.5), (7, 10, 5.0), (9, 30, 0.5)],
        [(10, "Été, L' (1999)", "Drama"), (20, "B (2000)", "Comedy"), (30, "C (2001)", "Drama")],
    )


def test_timestamps_are_read_if_asked_for(save):
    assert movielens.load(save(GOOD), timestamps=True).ratings["timestamp"].tolist() == [1, 2, 3]


def test_byte_order_mark_crlf_and_path_as_text_are_fine(save):
    changed = {n: b"\xef\xbb\xbf" + c.replace(b"\n", b"\r\n") for n, c in GOOD.items()}
    found = movielens.load(str(save(changed)))
    assert found.ratings["userId"].tolist() == [7, 7, 9]
    assert found.movies["title"].tolist() == ["Été, L' (1999)", "B (2000)", "C (2001)"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n \n\n", "\n\n\n"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("at_a_time", [1, 30, 2**20])
def test_blank_lines_at_the_end_and_no_end_of_line_are_fine(
    tmp_path, monkeypatch, end, line_end, at_a_time
):
    monkeypatch.setattr(files, "BYTES_AT_A_TIME", at_a_time)
    changed = {n: c.strip().replace(b"\n", line_end.encode()) for n, c in GOOD.items()}
    changed = {n: c + end.encode() for n, c in changed.items()}
    found = movielens.load(in_folder(tmp_path / "ml", changed))
    assert found.ratings["userId"].tolist() == [7, 7, 9]
    assert found.movies["movieId"].tolist() == [10, 20, 30]


@pytest.mark.parametrize("at_a_time", [1, 30, 2**20])
def test_plain_ratings_are_read_fast_and_the_same(tmp_path, monkeypatch, at_a_time):
    monkeypatch.setattr(files, "BYTES_AT_A_TIME", at_a_time)
    place = in_folder(tmp_path / "ml", GOOD)
    columns = files.RATINGS_COLUMNS | files.TIME_COLUMN
    with files._files(place) as (ratings, _):
        fast, exact = files._fast(ratings, columns), files._exact(ratings, columns)
    pd.testing.assert_frame_equal(fast, exact)
    assert fast.index.tolist() == [2, 3, 4]


@pytest.mark.parametrize("name", list(GOOD))
def test_missing_file(save, name):
    path = save({n: c for n, c in GOOD.items() if n != name})
    refused(path, name, error=FileNotFoundError)


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
    message = refused(save({**GOOD, name: f"{header}\n{rows}".encode()}))
    assert message.startswith(f"{name}: column {column} is missing; found ")
    assert "other" in message


@pytest.mark.parametrize(("name", "column"), [("ratings.csv", "userId"), ("movies.csv", "title")])
def test_column_that_is_named_twice(save, name, column):
    header, *rows = GOOD[name].decode().splitlines()
    twice = "\n".join([f"{header},{column}", *(f"{row},x" for row in rows)])
    message = refused(save({**GOOD, name: twice.encode()}))
    assert message.startswith(f"{name}: line 1 names a column twice: {column}")


def test_more_columns_in_another_order_are_fine(tmp_path):
    ratings = b"place,rating,movieId,userId\nhome,2.5,30,7\n1,5.0,10,7\n"
    found = movielens.load(in_folder(tmp_path / "ml", GOOD | {"ratings.csv": ratings}))
    assert found.ratings.to_numpy().tolist() == [[7, 30, 2.5], [7, 10, 5.0]]


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_file(save, name, content):
    assert f"{name}: the file is empty" in refused(save({**GOOD, name: content}))


@pytest.mark.parametrize("name", list(GOOD))
def test_header_only(save, name):
    header = GOOD[name].split(b"\n")[0]
    path = save({**GOOD, name: header + b"\n"})
    assert f"{name}: there is a header but no row" in refused(path)


@pytest.mark.parametrize("name", list(GOOD))
def test_wrong_encoding(save, name):
    lines = GOOD[name].split(b"\n")
    path = save(with_line(GOOD, name, 3, lines[2] + b"\xe9"))
    refused(path, f"{name}: line 3 is not UTF-8; save the file as UTF-8")


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_utf_16_is_refused(tmp_path, name, encoding):
    content = GOOD[name].decode().replace("é", "e").replace("É", "E").encode(encoding)
    refused(in_folder(tmp_path / "ml", GOOD | {name: content}), f"{name}: line 1 ", "UTF-8")


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
    ("7,10,NaN,2", "rating", "line 3: rating"),
    ("7,10,good,2", "rating", "line 3: rating good"),
    ("7,10,5.5,2", "rating", "line 3: rating 5.5"),
    ("7,10,0.0,2", "rating", "line 3: rating 0.0"),
    ("7,10,3.3,2", "rating", "line 3: rating 3.3"),
    ("7,10,-1.0,2", "rating", "line 3: rating -1.0"),
    ("7,10,inf,2", "rating", "line 3: rating inf"),
    ("7,10,4.0.0,2", "rating", "line 3: rating 4.0.0"),
    ("7,30,5.0,2", "userId, movieId", "line 3: userId 7, movieId 30"),
    ("7" * 30 + ",10,5.0,2", "userId", "line 3: userId 777"),
    ("7" * 5000 + ",10,5.0,2", "userId", "line 3: userId 777"),
    (f"{2**63},10,5.0,2", "userId", f"line 3: userId {2**63}"),
    (f"7,{2**64},5.0,2", "movieId", f"line 3: movieId {2**64}"),
    ("1_0,10,5.0,2", "userId", "line 3: userId 1_0"),
    ("\u0661,10,5.0,2", "userId", "line 3: userId \u0661"),  # a digit, but an Arabic one
    ("True,10,5.0,2", "userId", "line 3: userId True"),
    ("0x7,10,5.0,2", "userId", "line 3: userId 0x7"),
    ("7e-1,10,5.0,2", "userId", "line 3: userId 7e-1"),
    ("7e99,10,5.0,2", "userId", "line 3: userId 7e99"),
    (f"{BIG}.0,10,5.0,2", "userId", f"line 3: userId {BIG}.0"),
    ("7,10,5.0,soon", "timestamp", "line 3: timestamp soon"),
    ("7,10,5.0,2.5", "timestamp", "line 3: timestamp 2.5"),
    ("7,10,5.0,", "timestamp", "line 3: timestamp (empty)"),
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
    message = refused(save(with_line(GOOD, name, 3, row)), shown)
    assert message.startswith(f"{name}, column {column}: ")


@pytest.mark.parametrize("line", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "row", "count"),
    [
        ("ratings.csv", "6,10,5.0,2,3", "5 fields, not 4"),
        ("ratings.csv", "6,10,5.0", "3 fields, not 4"),
        ("ratings.csv", "6,10", "2 fields, not 4"),
        ("movies.csv", "5,B, The (2000),Comedy", "4 fields, not 3"),
        ("movies.csv", "5,B (2000)", "2 fields, not 3"),
        ("movies.csv", "5", "1 fields, not 3"),
    ],
)
def test_row_with_too_few_or_too_many_fields(save, name, row, count, line):
    refused(save(with_line(GOOD, name, line, row)), f"{name}: line {line} has {count}")


def test_rows_of_which_one_has_what_the_other_lacks(save):
    few_and_many = [["6,30,5.0", "6,10,5.0,2,3"], ["6,10,5.0,2,3", "6,30,5.0"]]
    for rows in few_and_many:
        content = RATINGS.split("\n")[0] + "\n" + "\n".join(rows)
        refused(save(GOOD | {"ratings.csv": content.encode()}), "ratings.csv: line 2 has")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["6,7,10,4,1,1,1", "6,7,30,5,1"], "line 2 has 7 fields, not 6"),
        (["7,10,4,1,1,1", "8,10,4\r8,30,5,"], "line 3 holds the control character"),
    ],
)
def test_rows_that_differ_in_columns_that_are_not_needed(tmp_path, rows, expected):
    """Their fields are as many as they should be together, and those needed are numbers."""
    content = "\n".join(["userId,movieId,rating,x,y,z", *rows, ""]).encode()
    place = in_folder(tmp_path / "ml", GOOD | {"ratings.csv": content})
    with pytest.raises(ValueError, match=expected):
        movielens.load(place)


def test_all_rows_with_a_field_too_many(save):
    content = RATINGS.replace("\n", ",9\n").replace("timestamp,9", "timestamp")
    path = save(GOOD | {"ratings.csv": content.encode()})
    refused(path, "ratings.csv: line 2 has 5 fields, not 4")


@pytest.mark.parametrize("at_a_time", [1, 30, 2**20])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", list(GOOD))
def test_blank_line_in_the_middle(tmp_path, monkeypatch, name, line_end, at_a_time):
    monkeypatch.setattr(files, "BYTES_AT_A_TIME", at_a_time)
    lines = GOOD[name].decode().split("\n")
    for line in range(len(lines) - 1):
        content = line_end.join([*lines[:line], "", *lines[line:]]).encode()
        place = in_folder(tmp_path / "ml", GOOD | {name: content})
        refused(place, f"{name}: line {line + 1} is blank, and rows follow")


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("control", ["\x00", "\x07", "\x1a", "\x7f", "\r", "\x0b"])
def test_control_character(save, name, control):
    second, third = GOOD[name].decode().split("\n")[1:3]
    lines = [third[:1] + control + third[1:]]
    lines += [second + "\r" + third] if control == "\r" else []
    for line in lines:
        refused(save(with_line(GOOD, name, 3, line)), f"{name}: line 3 holds the control char")


def test_first_three_bad_lines_are_shown_and_the_rest_counted(save):
    path = save(with_ratings(*[f"{user},10,9.0,1" for user in range(100, 105)]))
    with pytest.raises(ValueError, match=r"line 5: .*line 6: .*line 7: [^;]* and 2 more"):
        movielens.load(path)


def test_quotes_do_not_swallow_movies(save):
    movies = ['10,"Alpha (1999),Drama', "20,Beta (2000),Comedy", '30,Gamma" (2001),Drama']
    for last in ['30,Gamma" (2001),Drama', '30,Gamma",Drama']:
        content = "\n".join(["movieId,title,genres", *movies[:2], last]).encode()
        path = save(GOOD | {"movies.csv": content})
        refused(path, "movies.csv: line 2 has quotes that do not enclose a field", "each quote")


@pytest.mark.parametrize("title", ['"Alpha" (1999)', '"Alpha', '"Al"pha"', '"Alpha" '])
def test_quotes_that_do_not_enclose_a_field(save, title):
    refused(save(with_movies(f"40,{title},Drama")), "movies.csv: line 5 has quotes")


def test_title_over_two_lines(save):
    refused(save(with_movies('40,"Alpha\nor Beta",Drama')), "movies.csv: line 5 has quotes")


@pytest.mark.parametrize(
    ("field", "title"),
    [
        ('"""Great Performances"" Cats (1998)"', '"Great Performances" Cats (1998)'),
        ('6" under', '6" under'),
        (' "A"', ' "A"'),
        ('"A, ""B"""', 'A, "B"'),
        ('""', ""),
        ("A ", "A "),
        ("NA", "NA"),
        ("A\u2028B\u0085C\xa0", "A\u2028B\u0085C\xa0"),
    ],
)
def test_titles_are_what_the_file_says(save, field, title):
    found = movielens.load(save(with_movies(f"40,{field},Drama"))).movies
    assert found["title"].tolist()[3:] == [title]
    assert found["genres"].tolist()[3:] == ["Drama"]


@pytest.mark.parametrize("row", ['"8","10","4.0","5"', " 8, 10 , 4.0,5", "8,10,4.0,later"])
def test_ratings_that_are_not_plain_are_read_as_well(save, row):
    found = movielens.load(save(with_ratings(row)))
    assert found.ratings.iloc[3].tolist() == [8, 10, 4.0]
    assert found.ratings.dtypes.astype(str).to_dict() == files.RATINGS_COLUMNS


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ([str(BIG), str(BIG + 1)], [BIG, BIG + 1]),
        ([str(BIG), str(BIG + 1), "70.0"], [BIG, BIG + 1, 70]),
        ([f"{2**53 - 1}.0", str(2**53 + 1)], [2**53 - 1, 2**53 + 1]),
        ([str(2**63 - 1), str(2**63 - 2), "1e5"], [2**63 - 1, 2**63 - 2, 100_000]),
        (["0070", "+80"], [70, 80]),
    ],
)
def test_ids_are_read_exactly(save, written, read):
    for column in ("userId", "movieId"):
        if column == "userId":
            content = with_ratings(*[f"{i},20,4.0,5" for i in written])
        else:
            content = with_ratings(*[f"700,{i},4.0,5" for i in written])
        found = movielens.load(save(content)).ratings[column]
        assert found.dtype == "int64"
        assert found.tolist()[3:] == read


@pytest.mark.parametrize("large", [2**53, 2**53 + 1, BIG])
@pytest.mark.parametrize("form", ["{}.0", "{}e0", "{}."])
def test_large_ids_written_as_floats_are_refused(save, large, form):
    text = form.format(large)
    refused(save(with_ratings(f"{text},10,4.0,5")), "too large to be read exactly (line 5: userId")


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="ml-latest: no such folder"):
        movielens.load(tmp_path / "ml-latest")


def test_folder_in_place_of_a_file(tmp_path):
    place = in_folder(tmp_path / "ml", {"movies.csv": MOVIES.encode()})
    (place / "ratings.csv").mkdir()
    refused(place, "ratings.csv there is a folder", error=FileNotFoundError)
    path = in_zip(tmp_path / "ml.zip", {"movies.csv": MOVIES, "ratings.csv/part-0": RATINGS})
    refused(path, "ratings.csv there is a folder", error=FileNotFoundError)


def test_not_a_zip(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS)
    with pytest.raises(ValueError, match=r"ratings\.csv: not a zip file"):
        movielens.load(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_zip(tmp_path, share):
    path = in_zip(tmp_path / "ml.zip", GOOD)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"ml\.zip: not a zip file, or a damaged one"):
        movielens.load(path)


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zip_with_a_damaged_member(tmp_path, compression):
    path = in_zip(tmp_path / "ml.zip", GOOD, "", compression)
    content = bytearray(path.read_bytes())
    content[50:70] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ml\.zip: .*damaged"):
        movielens.load(path)


@pytest.mark.parametrize("name", list(GOOD))
def test_digit_that_was_changed_in_a_zip(tmp_path, name):
    """Only the check sum at the end of the file tells that it is not what was packed."""
    path = in_zip(tmp_path / "ml.zip", GOOD, "", zipfile.ZIP_STORED)
    content = path.read_bytes()
    for old, new in [(b"9,30,0.5", b"8,30,0.5"), (b"30,C", b"40,C"), (b"9,30,0.5", b"x,30,0.5")]:
        path.write_bytes(content.replace(old, new))
        refused(path, "damaged", "CRC")


def test_any_byte_of_a_zip_may_be_damaged(tmp_path):
    path = in_zip(tmp_path / "ml.zip", GOOD)
    content = path.read_bytes()
    whole = movielens.load(path)
    for place in range(0, len(content), 4):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF if place % 8 else 0x01
        path.write_bytes(damaged)
        try:
            found = movielens.load(path)
        except (ValueError, FileNotFoundError) as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            pd.testing.assert_frame_equal(found.ratings, whole.ratings)
            pd.testing.assert_frame_equal(found.movies, whole.movies)


def test_zip_with_two_ratings_files(tmp_path):
    path = in_zip(tmp_path / "ml.zip", GOOD, "")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("old/ratings.csv", RATINGS)
    with pytest.raises(ValueError, match=r"ratings\.csv: stands 2 times in .*old/ratings\.csv"):
        movielens.load(path)


def test_zip_files_of_windows_and_of_macos(tmp_path):
    path = in_zip(tmp_path / "ml.zip", GOOD, "ml\\data\\")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/ml/._ratings.csv", b"\x00\x05\x16\x07")
        archive.writestr("__MACOSX/ml/ratings.csv", b"\x00\x05\x16\x07")
        archive.writestr("ml\\", b"")
    assert movielens.load(path).ratings["userId"].tolist() == [7, 7, 9]


def test_other_case_of_names(save):
    content = {name.replace("r", "R").upper(): file for name, file in GOOD.items()}
    assert movielens.load(save(content)).ratings["userId"].tolist() == [7, 7, 9]


def test_names_that_differ_in_case_alone(tmp_path):
    place = in_zip(tmp_path / "ml.zip", GOOD | {"Ratings.csv": RATINGS})
    refused(place, "ratings.csv: stands 2 times", "Ratings.csv")


@pytest.mark.parametrize("name", list(GOOD))
def test_encrypted_zip(tmp_path, name):
    path = in_zip(tmp_path / "ml.zip", GOOD)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(f"ml-latest-small/{name}").header_offset
    content[start + 6] |= 1  # flag in the file's own header and in the list at the end
    in_list = content.index(name.encode(), content.index(b"PK\x01\x02")) - len("ml-latest-small/")
    content[in_list - 46 + 8] |= 1
    path.write_bytes(content)
    refused(path, "cannot be unpacked here", "encrypted", "load the folder")


def test_zip_with_an_unknown_compression(tmp_path):
    path = in_zip(tmp_path / "ml.zip", GOOD)
    content = bytearray(path.read_bytes())
    at = 0
    while (at := content.find(b"PK\x01\x02", at + 1)) > 0:
        content[at + 10] = 99
    path.write_bytes(content)
    refused(path, "cannot be unpacked here", "compression", "load the folder")


def test_zip_in_a_zip(tmp_path):
    inner = in_zip(tmp_path / "ml-1m.zip", GOOD).read_bytes()
    path = in_zip(tmp_path / "all.zip", {"ml-1m.zip": inner})
    refused(path, "ratings.csv, movies.csv: not in", "ml-1m.zip", error=FileNotFoundError)
    place = in_folder(tmp_path / "downloads", {"ml-1m.zip": inner})
    refused(place, "load ml-1m.zip", error=FileNotFoundError)


def test_embedded_data():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedded = movielens.load()
    assert len(embedded.ratings) == 100_004
    assert embedded.ratings.dtypes.astype(str).to_dict() == files.RATINGS_COLUMNS
    assert embedded.ratings.iloc[0].tolist() == [1, 31, 2.5]


def test_own_folder_with_dat_files(tmp_path):
    expect(movielens.load(in_folder(tmp_path / "own", DAT)), DAT_RATINGS, DAT_MOVIES)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1"])
def test_dat_files_are_in_either_encoding(save, encoding):
    movies = DAT["movies.dat"].decode("iso-8859-1").encode(encoding)
    expect(movielens.load(save(DAT | {"movies.dat": movies})), DAT_RATINGS, DAT_MOVIES)


def test_blank_lines_at_the_end_of_a_dat_file_are_fine(tmp_path):
    content = {name: file + b"\r\n \n" for name, file in DAT.items()}
    expect(movielens.load(in_folder(tmp_path / "own", content)), DAT_RATINGS, DAT_MOVIES)


def test_csv_files_are_taken_where_both_are_there(tmp_path):
    found = movielens.load(in_folder(tmp_path / "own", GOOD | DAT))
    assert found.ratings["userId"].tolist() == [7, 7, 9]


@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat"])
def test_missing_dat_file(name, tmp_path):
    content = {n: file for n, file in DAT.items() if n != name}
    with pytest.raises(FileNotFoundError, match=f"{name}: not in the folder"):
        movielens.load(in_folder(tmp_path / "own", content))


def test_folder_without_any_of_the_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ratings\.csv, movies\.csv: .*nor as \.dat"):
        movielens.load(in_folder(tmp_path / "own", {"README": b"nothing"}))


# File, its second line, what the message says.
BAD_LINES = [
    ("ratings.dat", "x::10::5::2", ", column userId: not a whole number", "(line 2: userId x)"),
    ("ratings.dat", "1:10:5:2", ": line 2 has 1 fields, not 4", ""),
    ("ratings.dat", "1::10::5.2::2", ", column rating: not on the scale", "(line 2: rating 5.2)"),
    ("ratings.dat", "1::10", ": line 2 has 2 fields, not 4", ""),
    ("ratings.dat", "1::10::5", ": line 2 has 3 fields, not 4", ""),
    ("ratings.dat", "1::10::::2", ": line 2 has ':::'", ""),
    ("ratings.dat", "1::30::5::2", "rated this movie twice", "(line 2: userId 1, movieId 30)"),
    ("ratings.dat", "1::10::5::2::3", ": line 2 has 5 fields, not 4", ""),
    ("ratings.dat", "1::10:::5::2", ": line 2 has ':::', which can be divided in two ways", ""),
    ("ratings.dat", "1::10::5,0::2", ", column rating: not a number", "(line 2: rating 5,0)"),
    (
        "ratings.dat",
        "0::10::5::2",
        ", column userId: an id must be 1 or more",
        "(line 2: userId 0)",
    ),
    ("movies.dat", "x::B::Drama", ", column movieId: not a whole number", "(line 2: movieId x)"),
    ("movies.dat", "20::B::C::Drama", ": line 2 has 4 fields, not 3", ""),
    ("movies.dat", "20::B", ": line 2 has 2 fields, not 3", ""),
    ("movies.dat", "20::B:::Drama", ": line 2 has ':::', which can be divided in two ways", ""),
    ("movies.dat", "10::B::Drama", "this movie is defined twice", "(line 2: movieId 10)"),
]


@pytest.mark.parametrize(("name", "line", "reason", "shown"), BAD_LINES)
def test_bad_line_of_a_dat_file(name, line, reason, shown, tmp_path):
    place = in_folder(tmp_path / "own", with_line(DAT, name, 2, line))
    assert refused(place, reason, shown).startswith(name)


@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat"])
@pytest.mark.parametrize("line", ["9::9::5::2::3", "movieId::title::genres"])
def test_first_line_of_a_dat_file_is_checked_as_well(name, line, tmp_path):
    content = DAT | {name: line.encode() + b"\n" + DAT[name]}
    with pytest.raises(ValueError, match=rf"^{name}.*line 1"):
        movielens.load(in_folder(tmp_path / "own", content))


@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat"])
def test_empty_dat_file(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{name}: the file is empty"):
        movielens.load(in_folder(tmp_path / "own", DAT | {name: b"\n"}))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("20::\u201cBeta\u201d::Drama".encode("cp1252"), "line 2 is neither UTF-8 nor ISO-8859-1"),
        ("20::Bêta::Drama".encode(), "line 2 is UTF-8, line 1 is not"),
        (b"20::Beta\x00::Drama", "line 2 holds the control character"),
        ("20::Beta::Drama".encode("utf-16"), "line 2 holds the control character"),
    ],
)
def test_bytes_of_a_dat_file_that_are_no_text(line, expected, save):
    path = save(with_line(DAT, "movies.dat", 2, line))
    refused(path, f"movies.dat: {expected}", "save the file as UTF-8")


def test_bad_rows_far_apart_are_shown_with_their_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BYTES_AT_A_TIME", 100)
    rows = ["1::10::5::2"] * 60
    for line in (7, 20, 21, 59):
        rows[line - 1] = "x::10::5::2"
    content = DAT | {"ratings.dat": "\n".join(rows).encode()}
    with pytest.raises(ValueError, match=r"line 7: .*line 20: .*line 21: .* and 1 more"):
        movielens.load(in_folder(tmp_path / "own", content))


def test_bad_ratings_far_apart_are_shown_with_their_lines(tmp_path, monkeypatch):
    """All numbers are plain here: the lines come from the fast reading."""
    monkeypatch.setattr(files, "BYTES_AT_A_TIME", 100)
    rows = [f"{i}::10::{9 if i in (7, 20, 21, 59) else 5}::2" for i in range(1, 61)]
    content = DAT | {"ratings.dat": "\n".join(rows).encode()}
    with pytest.raises(ValueError, match=r"line 7: .*line 20: .*line 21: .* and 1 more"):
        movielens.load(in_folder(tmp_path / "own", content))


def test_ids_beyond_32_bits_are_told_apart(tmp_path):
    """All pairs are the same number, 2**32 + 7, in the quick search for pairs that come twice."""
    movies = [(7, "A (1999)", "Drama"), (2**32 + 7, "B (2000)", "Drama")]
    ratings = [(1, 7, 4.0), (2**32 + 1, 7, 2.5), (2**32, 2**32 + 7, 1.0)]
    content = {
        "ratings.dat": "".join(f"{u}::{m}::{r}::1\n" for u, m, r in ratings).encode(),
        "movies.dat": "".join(f"{m}::{t}::{g}\n" for m, t, g in movies).encode(),
    }
    expect(movielens.load(in_folder(tmp_path / "own", content)), ratings, movies)


def item(movie, title, *flags):
    """A line of u.item with these flags, by the order of u.genre."""
    ones = ["1" if flag in flags else "0" for flag in range(19)]
    return "|".join([str(movie), title, "01-Jan-1995", "", "http://x", *ones])


HUNDRED_K = {
    "u.data": b"196\t242\t3\t881250949\n186\t302\t1\t891717742\n196\t267\t5\t1\n",
    "u.item": "\n".join(
        [
            item(242, "Misérables, Les (1995)", 3, 4, 18),
            item(302, '"L.A." Confidential (1997)', *range(1, 19)),
            item(267, "unknown", 0),
            item(5, "None of them"),
        ]
    ).encode("iso-8859-1"),
    "u.info": b"943 users\n",
}
GENRES = (
    "Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|"
    "Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)


def test_files_of_ml_100k(save):
    expect(
        movielens.load(save(HUNDRED_K)),
        [(196, 242, 3.0), (186, 302, 1.0), (196, 267, 5.0)],
        [
            (242, "Misérables, Les (1995)", "Animation|Children's|Western"),
            (302, '"L.A." Confidential (1997)', GENRES),
            (267, "unknown", data.NO_GENRES),
            (5, "None of them", data.NO_GENRES),
        ],
    )
    times = movielens.load(save(HUNDRED_K), timestamps=True).ratings["timestamp"]
    assert times.tolist() == [881250949, 891717742, 1]


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("u.data", "186 302 1 891717742", "line 2 has 1 fields, not 4"),
        ("u.data", "186\t302\t1", "line 2 has 3 fields, not 4"),
        ("u.data", "186\t302\t1\t5\t6", "line 2 has 5 fields, not 4"),
        ("u.data", "186\t302\t7\t5", "(line 2: rating 7.0)"),
        ("u.data", "0\t302\t1\t5", "(line 2: userId 0)"),
        ("u.item", "302|L.A. Confidential (1997)", "line 2 has 2 fields, not 24 (movieId, title,"),
        ("u.item", item(302, "L.A.|Confidential"), "line 2 has 25 fields, not 24"),
        ("u.item", item(302, "L.A.").replace("|0|0", "|0|2"), "line 2 has flags of genres other"),
        ("u.item", item(302, "L.A.", 0, 3), "line 2 has genres, and the flag that they are unk"),
        ("u.item", item(242, "L.A.", 3), "this movie is defined twice (line 2: movieId 242)"),
    ],
)
def test_bad_line_of_ml_100k(save, name, line, expected):
    assert refused(save(with_line(HUNDRED_K, name, 2, line)), expected).startswith(name)


@pytest.mark.parametrize("name", ["u.data", "u.item"])
def test_missing_file_of_ml_100k(save, name):
    content = {n: file for n, file in HUNDRED_K.items() if n != name}
    refused(save(content), f"{name}: not in the", error=FileNotFoundError)


QUICK = settings(derandomize=True, deadline=None, max_examples=40, database=None)
# Lines are ended by "\n" alone; what stands for no letter is refused.
TITLES = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
IDS = st.integers(1, 2**63 - 1)
STARS = st.integers(1, 10).map(lambda half: half / 2)


@st.composite
def tables(draw):
    movies = draw(
        st.lists(st.tuples(IDS, TITLES, TITLES), min_size=1, max_size=6, unique_by=lambda m: m[0])
    )
    pairs = draw(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=8, unique=True))
    return [(*pair, draw(STARS)) for pair in pairs], movies


def as_csv(rows, columns, **options):
    text = io.StringIO()
    csv.writer(text, **options).writerows([columns, *rows])
    return text.getvalue().encode()


@QUICK
@given(
    tables(), st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
)
def test_what_a_csv_writer_writes_comes_back(written, line_end, quoting):
    ratings, movies = written
    options = {"lineterminator": line_end, "quoting": quoting}
    content = {
        "ratings.csv": as_csv(ratings, files.RATINGS_COLUMNS, **options),
        "movies.csv": as_csv(movies, files.MOVIES_COLUMNS, **options),
    }
    with tempfile.TemporaryDirectory() as folder:
        found = movielens.load(in_folder(Path(folder), content))
    assert list(found.ratings.itertuples(index=False, name=None)) == ratings
    assert list(found.movies.itertuples(index=False, name=None)) == movies


PIECES = [b"userId,movieId,rating,timestamp", b"movieId,title,genres", b"7,30,2.5,1", b"10,A,D"]
PIECES += [b"1::2::3::4", b"1\t2\t3\t4", b"\n", b"\r\n", b"\r", b'"', b",", b"::", b"|", b"\t"]
PIECES += [
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe9",
    "é".encode(),
    b" ",
    b"0",
    b".",
    b"-",
    b"e",
]
BYTES = st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)


@settings(QUICK, max_examples=250)
@given(st.sampled_from(files.PAIRS), st.booleans(), BYTES, BYTES)
def test_any_bytes_are_read_or_refused(names, keep_header, first, second):
    """And what is read has as many rows as the file has lines with something in them."""
    good = {**GOOD, **DAT, **HUNDRED_K}
    heads = [good[name] if keep_header else b"" for name in names]
    content = dict(zip(names, [heads[0] + first, heads[1] + second], strict=True))
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = movielens.load(in_folder(Path(folder), content))
        except ValueError as error:
            assert folder in str(error)  # noqa: PT017
            return
    header = 1 if names[0].endswith(".csv") else 0
    for table, file in zip([found.ratings, found.movies], content.values(), strict=True):
        lines = [line for line in file.split(b"\n") if line.strip()]
        assert len(table) == len(lines) - header
        assert not table.isna().any(axis=None)
    assert np.isin(found.ratings["rating"], np.arange(1, 11) / 2).all()


PLAIN = [
    b"7,30,4.0,1",
    b"8,30,4",
    b"9,30,4,1,1",
    b"7",
    b",",
    b".",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b" ",
]


@settings(QUICK, max_examples=250)
@given(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=12), st.integers(1, 30))
def test_what_is_read_fast_is_what_is_read_exactly(pieces, at_a_time):
    rows = [b"1,10,4.0,2", *pieces]
    content = GOOD | {"ratings.csv": b"userId,movieId,rating,timestamp\n" + b"\n".join(rows[:2])}
    content["ratings.csv"] += b"".join(rows[2:])
    columns = files.RATINGS_COLUMNS
    with (
        tempfile.TemporaryDirectory() as folder,
        files._files(in_folder(Path(folder), content)) as (ratings, _),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(files, "BYTES_AT_A_TIME", at_a_time)
        try:
            fast = files._fast(ratings, columns)
        except ValueError:
            return
        pd.testing.assert_frame_equal(fast, files._exact(ratings, columns))


@settings(QUICK, max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_zip_file_are_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ml.zip"
        path.write_bytes(content)
        refused(path)
