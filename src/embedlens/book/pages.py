"""Data of the pages that one can play with, taken out of the trained bias model.

`write` trains it and writes the data of the pages "Try it yourself" and "Map of the movies",
``book/_static/movies-data.js``. The file sets one global, ``window.EMBEDLENS``, because a page
that is opened from disk may load a script but no file of data. Of the movies with at least 5
ratings, in the order of their dense ids, it holds:

- ``movies``: ``{id, title, genres, year, mean, n, bias}``, each a list with one entry per
  movie: dense id, title, genres (separated by ``|``; empty if none is known), year (or null),
  mean rating in stars, number of ratings, movie bias in units of score
- ``vectors``: base64 of little-endian float32, row by row, ``dim`` numbers per movie
- ``dim``: 64
- ``user``: ``{vector: [], bias}``, the mean over the users of the training
- ``ridge``: ``{vector, bias, clip}``, see `foldin.fold_in`
- ``scale``: ``{min, max}`` in stars
- ``layout``: ``{pc: [[PC1, PC2, PC3], ...], near: [[x, y] or null, ...]}``: uncentred
  principal components, oriented as in chapter 4; and t-SNE on the cosine distance, which
  keeps neighbours together, of the movies with more than 20 ratings
- ``provenance``: ``{data, seed, model}``: digest of the ratings, seed of the training

The page "Train it yourself" needs all ratings, in ``book/_static/ratings-data.js``. It sets
``window.EMBEDLENS_RATINGS``:

- ``packed``: ``{bytes, counts}``: number of ratings of each user, by dense id; and base64 of one
  number per rating, user by user and movie by movie, in bytes of seven bits, the lowest first, all
  but the last with the eighth bit set. The number is ten times the gaps between the dense ids of
  this movie and the one before, less one, plus the rating in half stars, less one.
- ``known``: ``{ids, titles}`` of the movies with more than 20 ratings
- ``terms``: under which the ratings may be used and passed on

`write_projector` writes the vectors of all movies for TensorFlow's Embedding Projector.
"""

import base64
import json
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from embedlens import data, factors, foldin, movielens, provenance, recipes, training

TARGET = Path("book/_static/movies-data.js")
RATINGS = "ratings-data.js"  # beside it
AT_LEAST = 5
SEED = 0
PREFIX, SUFFIX = "window.EMBEDLENS = ", ";\n"
RATINGS_PREFIX = "window.EMBEDLENS_RATINGS = "
TERMS = (
    "MovieLens ml-latest-small, October 2016 (F. M. Harper and J. A. Konstan, 2015), under the "
    "terms of GroupLens: for research; may be redistributed, transformed or not, under these same "
    "terms; commercial use needs GroupLens's permission; no endorsement, no warranty."
)


def page_data(model, ratings, seed=SEED):
    """Collect what the pages need; the keys stand in the docstring of this module.

    Parameters
    ----------
    model : DotWithBias
        Trained on `ratings` with `seed`.
    ratings : pandas.DataFrame
        As from `data.prepare`.
    seed : int

    Returns
    -------
    dict
        Of lists, strings and numbers, ready for JSON.
    """
    every = data.movie_table(ratings)
    every["year"] = data.years(every["title"])
    movies = every[every["n_ratings"] >= AT_LEAST]
    space = foldin.space_of(model, movies.index)
    matrix = model.movie_embedding.get_weights()[0]
    return {
        "movies": {
            "id": movies.index.tolist(),
            "title": movies["title"].str.strip().tolist(),
            "genres": known_genres(movies).tolist(),
            "year": [None if np.isnan(year) else int(year) for year in movies["year"]],
            "mean": movies["rating"].round(3).tolist(),
            "n": movies["n_ratings"].tolist(),
            "bias": space.biases.round(6).tolist(),
        },
        "vectors": base64.b64encode(space.vectors.astype("<f4").tobytes()).decode("ascii"),
        "dim": space.vectors.shape[1],
        "user": {"vector": space.user_vector.round(6).tolist(), "bias": round(space.user_bias, 6)},
        "ridge": foldin.RIDGE,
        "scale": {"min": space.low, "max": space.high},
        "layout": {
            "pc": components(matrix, every).loc[movies.index].round(4).to_numpy().tolist(),
            "near": neighbours(matrix, movies),
        },
        "provenance": {"data": provenance.dataset_digest(), "seed": seed, "model": "DotWithBias"},
    }


def known_genres(movies):
    """Genres of each movie, separated by ``|``; empty if none is known.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `data.movie_table`.

    Returns
    -------
    pandas.Series of str
        With the index of `movies`.
    """
    return movies["genres"].where(data.genre_table(movies).any(axis=1), "")


def components(matrix, movies):
    """PC1 to PC3 of all movies, by dense id, as chapter 4 shows them.

    Among the movies with more than 20 ratings, PC1 grows with the mean rating, PC2 and PC3
    grow with the year.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (n_movies + 1, dim)
    movies : pandas.DataFrame
        As from `data.movie_table`, with the column year.

    Returns
    -------
    pandas.DataFrame
    """
    joined = factors.join_components(movies, factors.principal_components(matrix).scores)
    known = data.often_rated(joined)
    known = known[known["year"].notna()]
    if known.empty:  # Nothing to go by.
        return joined[["PC1", "PC2", "PC3"]]
    for name, along in [("PC1", "rating"), ("PC2", "year"), ("PC3", "year")]:
        joined[name] *= factors.sign(known[name], known[along])
    return joined[["PC1", "PC2", "PC3"]]


def neighbours(matrix, movies):
    """Places on a plane that keep movies of similar direction together.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (n_movies + 1, dim)
    movies : pandas.DataFrame
        As from `data.movie_table`.

    Returns
    -------
    list
        One entry per row of `movies`: [x, y], or None with 20 ratings or fewer.
    """
    often = data.often_rated(movies).index
    if len(often) < 4:  # Too few for any layout.
        return [None] * len(movies)
    layout = TSNE(
        metric="cosine", init="random", random_state=0, perplexity=min(30, (len(often) - 1) / 3)
    )
    with threadpool_limits(1):  # Sums in one order: the same bytes each time.
        places = layout.fit_transform(matrix[often]).astype("float64").round(2).tolist()
    place_of = dict(zip(often, places, strict=True))
    return [place_of.get(movie) for movie in movies.index]


def ratings_data(ratings):
    """Pack the ratings for the page that trains; the form stands in the docstring of this module.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`.

    Returns
    -------
    dict
        Of lists and strings, ready for JSON.
    """
    ordered = ratings.sort_values(["userIdDense", "movieIdDense"])
    by_user = ordered.groupby("userIdDense")["movieIdDense"]
    gaps = ordered["movieIdDense"] - by_user.shift(fill_value=0) - 1
    packed = bytearray()
    for number in (10 * gaps + 2 * ordered["rating"] - 1).astype(int):
        while number >= 128:
            packed.append(number % 128 + 128)
            number //= 128
        packed.append(number)
    known = data.often_rated(data.movie_table(ratings))
    return {
        "terms": TERMS,
        "packed": {
            "bytes": base64.b64encode(packed).decode("ascii"),
            "counts": by_user.size().tolist(),
        },
        "known": {"ids": known.index.tolist(), "titles": known["title"].str.strip().tolist()},
    }


def as_script(contents, prefix=PREFIX):
    """Text of the script that sets the global: one line per key, for readable changes."""
    lines = [f"{json.dumps(key)}: {_compact(value)}" for key, value in contents.items()]
    return prefix + "{\n" + ",\n".join(lines) + "\n}" + SUFFIX


def read_script(path=TARGET):
    """Read what `as_script` wrote: a dict as from `page_data`.

    Raises
    ------
    ValueError
        If the file does not set the global.
    """
    text = Path(path).read_text(encoding="utf-8")
    if not (text.startswith(PREFIX) and text.endswith(SUFFIX)):
        raise ValueError(
            f"{path} does not set the data of the pages; write it again: python -m embedlens pages"
        )
    return json.loads(text.removeprefix(PREFIX).removesuffix(SUFFIX))


def space_in(contents):
    """The movies and the average user, as the page has them.

    Parameters
    ----------
    contents : dict
        As from `page_data`.

    Returns
    -------
    foldin.Space
    """
    vectors = np.frombuffer(base64.b64decode(contents["vectors"]), dtype="<f4")
    return foldin.Space(
        np.array(contents["movies"]["id"]),
        vectors.reshape(-1, contents["dim"]).astype("float64"),
        np.array(contents["movies"]["bias"]),
        np.array(contents["user"]["vector"]),
        contents["user"]["bias"],
        contents["scale"]["min"],
        contents["scale"]["max"],
    )


def projector_files(folder, matrix, movies):
    """Write two files that TensorFlow's Embedding Projector loads.

    Parameters
    ----------
    folder : path-like
        Made if need be. Gets ``vectors.tsv`` (no header) and ``metadata.tsv`` (with one).
    matrix : numpy.ndarray, shape (n_movies + 1, dim)
        Row 0 belongs to the unused id 0 and is left out.
    movies : pandas.DataFrame
        As from `data.movie_table`. Line i of both files is its row i, so a part of the
        movies may be given, in any order.

    Returns
    -------
    list of pathlib.Path
        The two files.

    Raises
    ------
    ValueError
        If `movies` names a row that `matrix` does not have, or row 0.
    """
    outside = movies.index[(movies.index < 1) | (movies.index >= len(matrix))]
    if len(outside):
        raise ValueError(f"movie {outside[0]} has no row of its own among {len(matrix):,} rows")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vectors = ["\t".join(f"{x:.6g}" for x in row) for row in matrix[movies.index]]
    metadata = ["title\tgenres\tyear\tmean rating\tratings"]
    columns = (
        movies["title"].str.replace(r"\s+", " ", regex=True).str.strip(),
        known_genres(movies),
        data.years(movies["title"]),
        movies["rating"],
        movies["n_ratings"],
    )
    for title, genres, year, rating, n_ratings in zip(*columns, strict=True):
        known = "" if np.isnan(year) else f"{year:.0f}"
        metadata.append(f"{title}\t{genres}\t{known}\t{rating:.2f}\t{n_ratings}")
    contents = {"vectors.tsv": vectors, "metadata.tsv": metadata}
    return [_write(folder / name, "\n".join(lines) + "\n") for name, lines in contents.items()]


def write(target=TARGET):
    """Train the bias model, write what the pages need of it, and beside it the ratings.

    Parameters
    ----------
    target : path-like
        The script; by default in the book, from the repository root.

    Returns
    -------
    pathlib.Path
        `target`.
    """
    model, ratings = _trained()
    target = Path(target)
    _write(target.with_name(RATINGS), as_script(ratings_data(ratings), RATINGS_PREFIX))
    return _write(target, as_script(page_data(model, ratings)))


def write_projector(folder):
    """Train the bias model, and write its movie vectors for the projector.

    Parameters
    ----------
    folder : path-like
        As for `projector_files`.

    Returns
    -------
    list of pathlib.Path
        The two files.
    """
    model, ratings = _trained()
    matrix = model.movie_embedding.get_weights()[0]
    return projector_files(folder, matrix, data.movie_table(ratings))


def _trained():
    ratings = data.prepare(movielens.load())
    return training.trained(recipes.BIAS, ratings, seed=SEED)[0], ratings


def _compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _write(path, text):
    path.write_text(text, encoding="utf-8", newline="\n")
    return path
