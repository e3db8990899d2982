"""Find the files of ratings and of movies, in a folder or a zip file, and read them exactly.

What is loaded is what the file says; anything else is refused with its line.
"""

from array import array
from collections.abc import Callable
import contextlib
import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
import io
import re
import warnings
import zipfile

import numpy as np
import pandas as pd

RATINGS_COLUMNS = {"userId": "int64", "movieId": "int64", "rating": "float64"}
TIME_COLUMN = {"timestamp": "int64"}
MOVIES_COLUMNS = {"movieId": "int64", "title": "str", "genres": "str"}
LOWEST_RATING, HIGHEST_RATING, RATING_STEP = 0.5, 5.0, 0.5
NO_GENRES = "(no genres listed)"

# Flags of u.item, in the order of GroupLens' u.genre.
UNKNOWN = "unknown"
FLAGS = [
    *(UNKNOWN, "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
# Separator and columns of each file. Where there are no columns, a header names them.
RATING_FIELDS = [*(RATINGS_COLUMNS | TIME_COLUMN)]
ITEM_FIELDS = ["movieId", "title", "release date", "video release date", "URL", *FLAGS]
FORMS = {
    "ratings.csv": (",", None),
    "movies.csv": (",", None),
    "ratings.dat": ("::", RATING_FIELDS),
    "movies.dat": ("::", [*MOVIES_COLUMNS]),
    "u.data": ("\t", RATING_FIELDS),
    "u.item": ("|", ITEM_FIELDS),
}
PAIRS = [("ratings.csv", "movies.csv"), ("ratings.dat", "movies.dat"), ("u.data", "u.item")]

BYTES_AT_A_TIME = 2**23
PIECE = 2**18  # bytes that stay in the processor's cache
PROGRESS = {"unit_scale": True, "delay": 2}
BLANK = b" \t\r\n"
# A single "\r" would end a line for some programs and not for others.
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)")
CONTROL_OF_ISO = re.compile(rb"[\x80-\x9f]")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
LONGEST_NUMBER = 40  # characters


@dataclass(frozen=True)
class _File:
    name: str
    path: str  # the same, or within a zip file
    place: str
    open: Callable  # gives a buffered binary stream; may be called again

    @property
    def form(self):
        return FORMS[self.name.lower()]

    @property
    def has_header(self):
        return self.form[1] is None

    @property
    def first_line(self):
        return 2 if self.has_header else 1

    def refusal(self, what):
        return ValueError(f"{self.name}{what}. Correct the file in the {self.place}")


def read(place, timestamps=False):
    """Read and check both tables.

    Parameters
    ----------
    place : pathlib.Path or importlib.resources.abc.Traversable
        A folder or a zip file.
    timestamps : bool, default False

    Returns
    -------
    ratings, movies : pandas.DataFrame
        As in `embedlens.movielens.MovieLens`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `embedlens.movielens.load`.
    """
    with _files(place) as (ratings_file, movies_file):
        movies = _exact(movies_file, MOVIES_COLUMNS)
        columns = RATINGS_COLUMNS | TIME_COLUMN if timestamps else RATINGS_COLUMNS
        try:
            ratings = _fast(ratings_file, columns)
        except (ValueError, OverflowError):  # not plain: say what is wrong, or that nothing is
            ratings = _exact(ratings_file, columns)
    _check_ids(ratings_file, ratings, ["userId", "movieId"])
    _check_ids(movies_file, movies, ["movieId"])
    _check_scale(ratings_file, ratings)
    _check_pairs(ratings_file, ratings)
    _check_unique(movies_file, movies, ["movieId"], "this movie is defined twice")
    return ratings.reset_index(drop=True), movies.reset_index(drop=True)


@contextlib.contextmanager
def _files(place):
    """Find the files of ratings and of movies; they can be opened within the context."""
    with contextlib.ExitStack() as stack:
        if place.is_dir():
            yield _choose(*_in_folder(place), f"folder {place}")
        else:
            stream = stack.enter_context(place.open("rb"))
            with _naming(place):
                archive = stack.enter_context(zipfile.ZipFile(stream))
            yield _choose(*_in_zip(archive, place), f"zip file {place}")


def _in_folder(place):
    inside = list(place.iterdir())
    files = [
        _File(path.name, path.name, f"folder {place}", partial(path.open, "rb"))
        for path in inside
        if path.is_file()
    ]
    return files, [path.name for path in inside if path.is_dir()]


def _in_zip(archive, place):
    files, folders = [], []
    for member in archive.infolist():
        *above, name = re.split(r"[/\\]", member.filename)  # Windows tools write "\"
        folders += above
        if name and "__MACOSX" not in above:
            opener = partial(_open_member, archive, member, place)
            files.append(_File(name, member.filename, f"zip file {place}", opener))
    return files, folders


@contextlib.contextmanager
def _naming(place):
    """Name the zip file in whatever error comes from unpacking it."""
    try:
        yield
    except RuntimeError as error:  # encrypted, or an unknown compression
        raise ValueError(
            f"{place}: cannot be unpacked here ({error}); unpack it with the program that "
            "made it, and load the folder"
        ) from error
    except Exception as error:  # there are very many ways in which a zip file can be damaged
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{place}: not a zip file, or a damaged one ({reason}); download it again"
        ) from error


def _open_member(archive, member, place):
    return io.BufferedReader(_Member(archive, member, place), 2**20)


class _Member(io.RawIOBase):
    """A file of a zip file."""

    def __init__(self, archive, member, place):
        self._place = place
        with _naming(place):
            self._stream = archive.open(member)

    def readable(self):
        return True

    def readinto(self, buffer):
        with _naming(self._place):
            content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _choose(files, folders, place):
    """Choose the files of the first form of which there is one."""
    by_name = {}
    for file in files:
        by_name.setdefault(file.name.lower(), []).append(file)
    pairs = [pair for pair in PAIRS if any(name in by_name for name in pair)]
    if not pairs:
        zips = sorted(file.path for file in files if file.name.lower().endswith(".zip"))
        hint = f"; load {', '.join(zips)} in it (out of a zip file: unpack it first)"
        raise FileNotFoundError(
            f"ratings.csv, movies.csv: not in the {place}, nor as .dat, nor u.data and "
            f"u.item{_if_folder('ratings.csv', folders)}{hint * bool(zips)}"
        )
    for name in pairs[0]:
        same = by_name.get(name, [])
        if not same:
            raise FileNotFoundError(f"{name}: not in the {place}{_if_folder(name, folders)}")
        if len(same) > 1:
            paths = ", ".join(file.path for file in same)
            raise ValueError(f"{name}: stands {len(same)} times in the {place}: {paths}")
    return [by_name[name][0] for name in pairs[0]]


def _if_folder(name, folders):
    return f"; {name} there is a folder" if name in map(str.lower, folders) else ""


def _fast(file, columns):
    """Read a table of nothing but plain numbers, indexed by line number.

    Whatever else there is raises a ValueError without much sense: pandas notices a row with too
    many fields; the counts of bytes tell all that it would take in its own way.
    """
    from tqdm import tqdm

    separator, names = file.form
    separator = separator[:1].encode()
    parts = []
    with file.open() as stream, tqdm(desc=f"reading {file.name}", unit="B", **PROGRESS) as bar:
        if file.has_header:
            header = stream.readline().decode("utf-8-sig").rstrip("\r\n")
            names = _checked_names(file, _split(file, 1, header), columns)
        ended = False
        while block := stream.read(BYTES_AT_A_TIME):
            block += stream.readline()
            bar.update(len(block))
            last = block[-3:]
            if last.strip(BLANK) and last.count(b"\n") == 1:
                body, blank = block, False  # without a copy
            else:
                body = block.rstrip(BLANK)
                blank = block.count(b"\n", len(body)) > bool(body)
                if block.count(b"\r", len(body)) != block.count(b"\r\n", len(body)):
                    raise ValueError("not plain")
            if body:
                if ended:
                    raise ValueError("a blank line in the middle")
                parts.append(_parse_plain(body, separator, names, columns))
            ended = blank
    table = pd.concat(parts, ignore_index=True)
    table.index += file.first_line
    return table


def _parse_plain(body, separator, names, columns):
    """Parse rows of digits and points."""
    if separator == b":":
        body = body.replace(b"::", b",")
        separator = b","
    n_rows = int(not body.endswith(b"\n"))
    n_separators = 0
    for start in range(0, len(body), PIECE):
        piece = body[start : start + PIECE]
        if piece.translate(None, b"0123456789.\r\n" + separator):
            raise ValueError("not plain")
        codes = np.frombuffer(piece, "uint8")
        n_rows += np.count_nonzero(codes == ord("\n"))
        n_separators += np.count_nonzero(codes == ord(separator))
    end_of_first = body.find(b"\n") if n_rows > 1 else len(body)
    in_first = body.count(separator, 0, end_of_first)
    if in_first != len(names) - 1 or n_separators != n_rows * (len(names) - 1):
        raise ValueError("not plain")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        part = pd.read_csv(
            io.BytesIO(body),
            sep=separator.decode(),
            header=None,
            names=names,
            dtype={"rating": "float64"},  # ids must be found to be whole: asked for, 7.5 is made so
            na_filter=False,
            skip_blank_lines=False,
        )[list(columns)]
    # A single "\r" would have made a row more.
    if len(part) != n_rows or part.dtypes.astype(str).to_dict() != columns:
        raise ValueError("not plain")
    return part


def _exact(file, columns):
    """Read a table line by line, indexed by line number, and say what is wrong with it."""
    lines = _lines(file)
    names = file.form[1]
    if file.has_header:
        number, header = next(lines, (1, None))
        if header is None:
            raise file.refusal(": the file is empty")
        names = _checked_names(file, _split(file, number, header), columns)
    n_fields = len(names)
    if names is ITEM_FIELDS:
        names = [*names, "genres"]
    kinds = {"int64": "q", "float64": "d"}
    values = {name: array(kinds[kind]) if kind in kinds else [] for name, kind in columns.items()}
    bad = {name: {} for name in columns}
    wanted = [(name, kind, names.index(name)) for name, kind in columns.items()]
    for number, line in lines:
        fields = _split(file, number, line)
        if len(fields) != n_fields:
            expected = f"not {n_fields} ({', '.join(names[:5])}{', ...' * (n_fields > 5)})"
            raise file.refusal(f": line {number} has {len(fields)} fields, {expected}")
        if len(names) > n_fields:  # genres, made of the flags
            fields.append(_genres_of_flags(file, number, fields[-len(FLAGS) :]))
        for name, kind, place in wanted:
            value = _value(fields[place], kind)
            if value is None:
                bad[name][number] = fields[place] or "(empty)"
                value = 0
            values[name].append(value)
    for name, rows in bad.items():
        reason = "not a number"
        if columns[name] == "int64":
            reason = "not a whole number, or too large to be read exactly"
        _raise_for(file, pd.DataFrame({name: pd.Series(rows, dtype="object")}), reason)
    if not len(values["movieId"]):
        reason = "there is a header but no row" if file.has_header else "the file is empty"
        raise file.refusal(f": {reason}")
    table = pd.DataFrame(
        {name: pd.Series(values[name], dtype=kind) for name, kind in columns.items()}
    )
    table.index += file.first_line
    return table


def _lines(file):
    """Yield number and text of each line. There may be blank lines at the end, but only there."""
    encoding = _encoding(file)
    blank = None
    with file.open() as stream:
        for number, line in enumerate(stream, 1):
            text = line.decode(encoding).removesuffix("\n").removesuffix("\r")
            text = text.removeprefix("\ufeff") if number == 1 else text
            if not text.strip():
                blank = blank or number
            elif blank:
                raise file.refusal(f": line {blank} is blank, and rows follow")
            else:
                yield number, text


def _encoding(file):
    """Encoding of a file, of which every byte is looked at.

    Only what GroupLens published before it went over to .csv may be in ISO-8859-1. In that, any
    byte stands for something: those that stand for no letter tell that it is another encoding.
    """
    found = {}  # the first line of each kind
    with file.open() as stream:  # to its end: only there a zip file is known to be sound
        for number, line in enumerate(stream, 1):
            if control := CONTROL.search(line):
                found.setdefault("control", f"{number} holds the control character {control[0]!r}")
            if not line.isascii():
                found.setdefault(_kind(line), number)
                if CONTROL_OF_ISO.search(line):
                    found.setdefault("no iso", number)
    advice = "; save the file as UTF-8"
    if file.name.lower().endswith(".csv") and "not utf" in found:
        raise file.refusal(f": line {found['not utf']} is not UTF-8{advice}")
    if "control" in found:
        raise file.refusal(f": line {found['control']}{advice}, without it")
    if "not utf" not in found:
        return "utf-8"
    if "utf" in found:
        both = f"line {found['utf']} is UTF-8, line {found['not utf']} is not"
        raise file.refusal(f": {both}{advice}")
    if "no iso" in found:
        raise file.refusal(f": line {found['no iso']} is neither UTF-8 nor ISO-8859-1{advice}")
    return "iso-8859-1"


def _kind(line):
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not utf"
    return "utf"


def _split(file, number, line):
    """Fields of a line. What is in quotes ends with the line: titles do not go over several."""
    separator, _ = file.form
    if separator == "," and '"' in line:
        try:
            return next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise file.refusal(
                f": line {number} has quotes that do not enclose a field of it ({error}); "
                "a field with quotes or commas stands in quotes, and each quote in it twice"
            ) from error
    if separator == "::" and ":::" in line:
        raise file.refusal(f": line {number} has ':::', which can be divided in two ways")
    return line.split(separator)


def _checked_names(file, names, columns):
    """Check the header. It may name more columns than those asked for, but none twice."""
    missing = [column for column in columns if column not in names]
    if missing:
        found = ", ".join(names)
        raise file.refusal(f": column {', '.join(missing)} is missing; found {found:.200}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise file.refusal(f": line 1 names a column twice: {', '.join(twice):.200}")
    return names


def _genres_of_flags(file, number, flags):
    genres = [name for name, flag in zip(FLAGS, flags, strict=True) if flag == "1"]
    if set(flags) - {"0", "1"}:
        raise file.refusal(f": line {number} has flags of genres other than 0 and 1")
    if UNKNOWN in genres and len(genres) > 1:
        raise file.refusal(f": line {number} has genres, and the flag that they are unknown")
    return "|".join(genres) if genres and genres != [UNKNOWN] else NO_GENRES


def _value(text, kind):
    """What a field says, exactly; None if it cannot be told."""
    if kind == "str":
        return text
    if kind == "int64" and len(text) < 19 and text.isascii() and text.isdigit():
        return int(text)
    text = text.strip(" ")
    if len(text) > LONGEST_NUMBER or not NUMBER.fullmatch(text):
        return None
    if kind == "float64":
        return float(text)
    if text.lstrip("+-").isdigit():
        whole = int(text)
        return whole if -(2**63) <= whole < 2**63 else None
    number = Decimal(text)
    # Who writes 7.0 has float64, and that merges ids from 2**53 on.
    return int(number) if abs(number) < 2**53 and number == int(number) else None


def _check_ids(file, table, columns):
    for column in columns:
        bad = table.loc[table[column] < 1, [column]]
        _raise_for(file, bad, "an id must be 1 or more")


def _check_scale(file, ratings):
    rating = ratings["rating"]
    on_scale = rating.between(LOWEST_RATING, HIGHEST_RATING) & (rating % RATING_STEP == 0)
    reason = f"not on the scale of {LOWEST_RATING} to {HIGHEST_RATING} in steps of {RATING_STEP}"
    _raise_for(file, ratings.loc[~on_scale, ["rating"]], reason)


def _check_pairs(file, ratings):
    # Equal pairs give equal numbers. To sort these takes a fifth of the time of `duplicated`,
    # which then need not look at most files.
    numbers = np.sort((ratings["userId"].to_numpy() << 32) + ratings["movieId"].to_numpy())
    if (numbers[1:] == numbers[:-1]).any():
        reason = "this user rated this movie twice"
        _check_unique(file, ratings, ["userId", "movieId"], reason)


def _check_unique(file, table, columns, reason):
    _raise_for(file, table.loc[table.duplicated(columns), columns], reason)


def _raise_for(file, bad, reason, most=3):
    """Raise if there are bad rows, indexed by line number."""
    if bad.empty:
        return
    shown = "; ".join(
        f"line {line}: " + ", ".join(f"{column} {row[column]!s:.40}" for column in bad)
        for line, row in bad.head(most).astype(object).iterrows()
    )
    more = f" and {len(bad) - most:,} more" if len(bad) > most else ""
    raise file.refusal(f", column {', '.join(bad)}: {reason} ({shown}{more})")
