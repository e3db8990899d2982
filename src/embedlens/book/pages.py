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
- ``runs``: how the movies' vectors fare with other seeds on the same training ratings, see
  `runs_data`
- ``provenance``: ``{data, seed, model}``: digest of the ratings, seed of the training

Beside it lies the data of the second model of "Try it yourself", ``ease-data.js``, which sets
``window.EMBEDLENS_EASE``: the weights of `ease`, cut to what fits a page, and what was measured
of the lists of both models; see `ease_data`.

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
from scipy.linalg import orthogonal_procrustes
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from embedlens import (
    comparing,
    data,
    ease,
    factors,
    foldin,
    metrics,
    movielens,
    provenance,
    recipes,
    recommend,
    training,
)

TARGET = Path("book/_static/movies-data.js")
RATINGS = "ratings-data.js"  # beside it
EASE_NAME = "ease-data.js"
AT_LEAST = 5
SEED = 0
PCS = ["PC1", "PC2", "PC3"]
OTHER_SEEDS = (1, 2, 3, 4)
NEIGHBOURS = 10
WEIGHTS_KEPT = 50  # of each movie, for EASE on the page
PREFIX, EASE_PREFIX, SUFFIX = "window.EMBEDLENS = ", "window.EMBEDLENS_EASE = ", ";\n"
RATINGS_PREFIX = "window.EMBEDLENS_RATINGS = "
TERMS = (
    "MovieLens ml-latest-small, October 2016 (F. M. Harper and J. A. Konstan, 2015), under the "
    "terms of GroupLens: for research; may be redistributed, transformed or not, under these same "
    "terms; commercial use needs GroupLens's permission; no endorsement, no warranty."
)


def page_data(model, ratings, others=(), seed=SEED):
    """Collect what the pages need; the keys stand in the docstring of this module.

    Parameters
    ----------
    model : DotWithBias
        Trained on `ratings` with `seed`.
    ratings : pandas.DataFrame
        As from `data.prepare`.
    others : list of numpy.ndarray, shape (n_movies + 1, dim)
        Movie vectors of further runs, as from `other_runs`.
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
        "runs": runs_data([matrix, *others], every, movies),
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
    return oriented(factors.principal_components(matrix).scores, movies)[0]


def oriented(scores, movies):
    """Join PC1 to PC3 to the movies, each turned as `components` says.

    Parameters
    ----------
    scores : numpy.ndarray, shape (n_movies + 1, dim)
    movies : pandas.DataFrame
        As for `components`.

    Returns
    -------
    joined : pandas.DataFrame
    signs : numpy.ndarray of int, shape (3,)
        By which the columns were multiplied.
    """
    joined = factors.join_components(movies, scores)[PCS]
    signs = np.ones(len(PCS), dtype=int)
    known = data.often_rated(movies)
    known = known[known["year"].notna()]
    if not known.empty:  # Else there is nothing to go by.
        along = known[["rating", "year", "year"]].to_numpy().T
        places = joined.loc[known.index].to_numpy().T
        signs = np.array([factors.sign(*pair) for pair in zip(places, along, strict=True)])
    return joined * signs, signs


def runs_data(matrices, every, movies):
    """Say how far neighbours and places survive another seed.

    Parameters
    ----------
    matrices : list of numpy.ndarray, shape (n_movies + 1, dim)
        Movie vectors of the page's run first, then of the others.
    every : pandas.DataFrame
        As from `data.movie_table`, with the column year.
    movies : pandas.DataFrame
        Its rows that the page has.

    Returns
    -------
    dict or None
        ``n``: number of runs. ``often``, ``all``: one string per movie, of a digit per neighbour
        on the page, nearest first: the number of runs in which it is among the ten nearest, of
        the movies with more than 20 ratings (empty for others) or of all. ``kept``: share of the
        ten that another run has too, mean over the movies with more than 20 ratings and the other
        runs; ``chance``: what ten movies drawn by lot would give. ``places``: per other run, PC1
        to PC3 of every movie on the axes of the first, after orthogonal Procrustes alignment;
        ``agree``: correlation of each with those of the first, mean over the other runs, of the
        movies with more than 20 ratings. None where there is one run or fewer movies.
    """
    often = data.often_rated(movies).index
    if len(matrices) < 2 or len(often) <= NEIGHBOURS:
        return None
    counts = {}
    for name, among in (("often", often), ("all", movies.index)):
        first, *others = (comparing.nearest(matrix[among], NEIGHBOURS)[0] for matrix in matrices)
        found = np.array([(first[:, :, None] == run[:, None]).any(axis=2) for run in others])
        strings = ["".join(map(str, row)) for row in 1 + found.sum(axis=0)]
        string_of = dict(zip(among, strings, strict=True))
        counts[name] = [string_of.get(movie, "") for movie in movies.index]
        if name == "often":
            kept = float(found.mean())
    places = aligned_places(matrices, every, movies)
    is_often = movies.index.isin(often)
    first, *others = places
    agree = [
        np.mean([np.corrcoef(first[is_often, k], run[is_often, k])[0, 1] for run in others])
        for k in range(len(PCS))
    ]
    return {
        "n": len(matrices),
        **counts,
        "kept": round(kept, 4),
        "chance": round(NEIGHBOURS / (len(often) - 1), 4),
        "places": [run.round(3).tolist() for run in others],
        "agree": np.round(agree, 3).tolist(),
    }


def aligned_places(matrices, every, movies):
    """PC1 to PC3 of the page's movies in each run, on the axes of the first.

    Parameters
    ----------
    matrices, every, movies
        As for `runs_data`.

    Returns
    -------
    list of numpy.ndarray, shape (n_movies, 3)
    """
    found = factors.principal_components(matrices[0])
    axes = found.axes[: len(PCS)].T * oriented(found.scores, every)[1]
    first = matrices[0][movies.index].astype("float64")
    places = [first @ axes]
    for matrix in matrices[1:]:
        other = matrix[movies.index].astype("float64")
        places.append(other @ orthogonal_procrustes(other, first)[0] @ axes)
    return places


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


def ease_data(model, ratings, seed=SEED):
    """Collect the weights of EASE for the page, and measure the lists of both models.

    Parameters
    ----------
    model : DotWithBias
        Trained on the split of this seed, which EASE is trained on too.
    ratings : pandas.DataFrame
        As from `data.prepare`.
    seed : int
        Of the split, and of the inner one that the penalty is chosen on.

    Returns
    -------
    dict
        ``middle``: stars that count as 0. ``kept``: number of weights per movie, the greatest in
        size. ``rows``: base64 of little-endian uint16, row by row, the places of the movies in
        ``movies`` of the page that the weights of one movie lead to; ``weights``: base64 of int8,
        in units of ``units``, a number per movie. ``measured``: by name, ``{ndcg, precision}``
        of ten movies out of all, on the ratings left out: the bias model, EASE, EASE as cut for
        the page, and the movies rated most. ``users``: number of users with such a rating of 4
        stars or more. ``provenance``: ``{data, split, penalty, inner_ndcg}``, the last by penalty.
    """
    sizes = data.count_users_and_movies(ratings)
    train_ratings, valid_ratings = data.train_valid_split(ratings, seed)
    inner = ease.choose_penalty(train_ratings, sizes, seed)
    penalty = next(iter(inner))
    matrix = ease.centred(train_ratings, sizes)
    every = data.movie_table(ratings)
    ids = every.index[every["n_ratings"] >= AT_LEAST]
    cut = cut_weights(ease.weights(matrix, penalty, ids))
    on_page = np.full(matrix.shape, -1e9)  # what the page does not have comes last
    on_page[:, ids] = matrix[:, ids] @ ease_weights_in(cut)
    seen = recommend.seen_matrix(train_ratings, sizes)
    rated = metrics.counts(train_ratings["movieIdDense"], sizes[1]).astype("float64")
    scores = {
        "bias": recommend.scores(model)[0],
        "ease": ease.scores(matrix, penalty),
        "ease_on_page": on_page,
        "most_rated": np.broadcast_to(rated, matrix.shape),
    }
    measured = {
        name: metrics.measures_at(recommend.top_n(score, seen), valid_ratings)
        for name, score in scores.items()
    }
    return {
        "middle": ease.MIDDLE,
        **cut,
        "measured": {
            name: found[["ndcg", "precision"]].mean().round(4).to_dict()
            for name, found in measured.items()
        },
        "users": len(measured["bias"]),
        "provenance": {
            "data": provenance.dataset_digest(),
            "split": seed,
            "penalty": penalty,
            "inner_ndcg": {f"{key:g}": round(value, 4) for key, value in inner.items()},
        },
    }


def cut_weights(weights, kept=WEIGHTS_KEPT):
    """Keep the greatest weights of each row, as bytes; see `ease_data` for the keys."""
    kept = min(kept, len(weights) - 1)
    rows = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :kept]
    values = np.take_along_axis(weights, rows, axis=1)
    units = np.abs(values).max(axis=1) / 127
    whole = np.rint(values / np.where(units > 0, units, 1)[:, None])
    return {
        "kept": kept,
        "rows": base64.b64encode(rows.astype("<u2").tobytes()).decode("ascii"),
        "weights": base64.b64encode(whole.astype("i1").tobytes()).decode("ascii"),
        "units": [float(f"{unit:.4g}") for unit in units],
    }


def ease_weights_in(contents):
    """The weights as the page has them: array of shape (movies, movies), from row to column."""
    units = np.array(contents["units"])
    shape = len(units), contents["kept"]
    rows, whole = (
        np.frombuffer(base64.b64decode(contents[key]), dtype=kind).reshape(shape)
        for key, kind in (("rows", "<u2"), ("weights", "i1"))
    )
    found = np.zeros((len(units), len(units)))
    np.put_along_axis(found, rows.astype(int), whole * units[:, None], axis=1)
    return found


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


def read_script(path=TARGET, prefix=PREFIX):
    """Read what `as_script` wrote: a dict as from `page_data`, or `ease_data` with its prefix.

    Raises
    ------
    ValueError
        If the file does not set the global.
    """
    text = Path(path).read_text(encoding="utf-8")
    if not (text.startswith(prefix) and text.endswith(SUFFIX)):
        raise ValueError(
            f"{path} does not set the data of the pages; write it again: python -m embedlens pages"
        )
    return json.loads(text.removeprefix(prefix).removesuffix(SUFFIX))


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
    """Train the bias model with five seeds, and EASE, and write what the pages need.

    Parameters
    ----------
    target : path-like
        The script; by default in the book, from the repository root. Those of EASE, `EASE_NAME`,
        and of the ratings, `RATINGS`, are written beside it.

    Returns
    -------
    list of pathlib.Path
        The three files.
    """
    model, ratings = _trained()
    target = Path(target)
    lists = as_script(ease_data(model, ratings), EASE_PREFIX)
    return [
        _write(target, as_script(page_data(model, ratings, other_runs(ratings)))),
        _write(target.with_name(EASE_NAME), lists),
        _write(target.with_name(RATINGS), as_script(ratings_data(ratings), RATINGS_PREFIX)),
    ]


def other_runs(ratings, seeds=OTHER_SEEDS):
    """Movie vectors of further trainings on the same split: list of arrays, see `page_data`."""
    sizes = data.count_users_and_movies(ratings)
    parts = data.train_valid_split(ratings, SEED)
    models = (training.train(recipes.BIAS, sizes, *parts, seed)[0] for seed in seeds)
    return [model.movie_embedding.get_weights()[0] for model in models]


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
