"""The same movies embedded by other tasks than ratings, and what vectors hold. For chapter 9."""

import keras
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embedlens import data, recipes, training
from embedlens.models import GoesWith

WATCHED, GENRES = "watched", "genres"
# Beside what is searched: penalty and epochs.
SETTINGS = {
    "dim": 16,
    "per_pair": 4,
    "batch_size": 4096,
    "learning_rate": 0.02,
    "folds": 5,
    "genre_movies": 50,
}
NUMBERS = ["year", "rating", "popularity"]


def genre_pairs(movies):
    """List which movie has which genre.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `data.movie_table`. A movie of unknown genres has no pair.

    Returns
    -------
    pairs : numpy.ndarray of int32, shape (n, 2)
        Number of the genre, from 1, and dense id of the movie.
    names : list of str
        The genres in alphabetical order; number k is ``names[k - 1]``.
    """
    table = data.genre_table(movies)
    rows, columns = np.nonzero(table.to_numpy())
    pairs = np.column_stack([columns + 1, table.index.to_numpy()[rows]])
    return pairs.astype("int32"), list(table.columns)


def with_negatives(pairs, per_pair, rng, known=None):
    """Add drawn pairs that do not go together.

    Parameters
    ----------
    pairs : numpy.ndarray of int, shape (n, 2)
        Context and movie.
    per_pair : int
        So many other movies are drawn for the context of each pair: evenly from the movies
        that stand in `pairs`, again where one goes with the context.
    rng : numpy.random.Generator
    known : numpy.ndarray of int, shape (m, 2), optional
        All pairs that go together; default: `pairs`.

    Returns
    -------
    x : numpy.ndarray of int32, shape (n * (1 + per_pair), 2)
    y : numpy.ndarray of float32, shape (n * (1 + per_pair), 1)
        1 for a pair, 0 for a drawn one.

    Raises
    ------
    ValueError
        If a context goes with every movie, so that there is none to draw.
    """
    known = pairs if known is None else known
    movies = np.unique(pairs[:, 1])
    goes = np.zeros(known.max(axis=0) + 1, dtype=bool)
    goes[tuple(known.T)] = True
    full = [c for c in np.unique(pairs[:, 0]) if goes[c, movies].all()]
    if full:
        raise ValueError(f"context {full[0]} goes with every movie: there is none to draw")
    contexts = np.repeat(pairs[:, 0], per_pair)
    drawn = rng.choice(movies, len(contexts))
    while (wrong := goes[contexts, drawn]).any():
        drawn[wrong] = rng.choice(movies, wrong.sum())
    x = np.concatenate([pairs, np.column_stack([contexts, drawn])]).astype("int32")
    y = np.repeat([1, 0], [len(pairs), len(contexts)]).astype("float32")[:, None]
    return x, y


def train(pairs, sizes, seed, penalty, epochs):
    """Train `models.GoesWith` on pairs, with other negatives in each epoch.

    Parameters
    ----------
    pairs : numpy.ndarray of int, shape (n, 2)
        Context and movie: as from `data.inputs` (who watched what) or `genre_pairs`.
    sizes : tuple of int
        Number of contexts, number of movies.
    seed : int
        Fixes initial weights, negatives and the order of the pairs.
    penalty : float
    epochs : int

    Returns
    -------
    models.GoesWith

    Raises
    ------
    ValueError
        If there is no pair, or an id lies outside `sizes`.
    """
    _check_pairs(pairs, sizes)
    training.set_seed(seed)
    rng = np.random.default_rng(seed)
    model = GoesWith(*sizes, SETTINGS["dim"], penalty)
    how = recipes.Training(
        epochs=epochs,
        batch_size=SETTINGS["batch_size"],
        learning_rate=SETTINGS["learning_rate"],
        falling=True,
    )
    rate = training.learning_rate(how, len(pairs) * (1 + SETTINGS["per_pair"]))
    model.compile(
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(rate),
        jit_compile=True,
        steps_per_execution=25,
    )
    for _ in range(epochs):
        x, y = with_negatives(pairs, SETTINGS["per_pair"], rng)
        model.fit(x, y, batch_size=how.batch_size, verbose=0)
    return model


def pairs_of(task, ratings):
    """The pairs that a task trains on, and its sizes.

    Parameters
    ----------
    task : {"watched", "genres"}
    ratings : pandas.DataFrame
        As from `data.prepare`, or a part. Genres are those of all movies, whatever the ratings.

    Returns
    -------
    pairs : numpy.ndarray of int32, shape (n, 2)
        Context, which is a user or a genre, and movie.
    sizes : tuple of int
        Number of contexts, number of movies.

    Raises
    ------
    ValueError
        If there is no such task.
    """
    n_users, n_movies = data.count_users_and_movies(data.prepared())
    if task == WATCHED:
        return data.inputs(ratings), (n_users, n_movies)
    if task != GENRES:
        raise ValueError(f"no task {task!r}: choose from {WATCHED}, {GENRES}")
    pairs, names = genre_pairs(data.movie_table(data.prepared()))
    return pairs, (len(names), n_movies)


def loss_aside(pairs, aside, sizes, seed, **setting):
    """Train on pairs, and measure the loss on others.

    Parameters
    ----------
    pairs, aside : numpy.ndarray of int, shape (n, 2), (m, 2)
        To train on, and to judge by. Of the latter, movies without a pair are left out.
    sizes, seed, **setting
        As in `train`.

    Returns
    -------
    float
        Binary cross-entropy, with as many negatives for each pair as in training.
    """
    model = train(pairs, sizes, seed, **setting)
    judged = aside[np.isin(aside[:, 1], pairs[:, 1])]
    known = np.concatenate([pairs, aside])
    rng = np.random.default_rng(seed)
    x, y = with_negatives(judged, SETTINGS["per_pair"], rng, known=known)
    odds = model.predict(x, batch_size=2**16, verbose=0).astype("float64")
    return float(np.mean(np.logaddexp(0, odds) - y * odds))


def properties(movies, valid_ratings):
    """What a probe asks for; ratings and popularity from ratings that no task has seen.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `data.movie_table`.
    valid_ratings : pandas.DataFrame
        As from `data.train_valid_split`.

    Returns
    -------
    genres : pandas.DataFrame of float
        A column of 0 and 1 for each genre that enough of the movies have; a row of NaN
        where a movie's genres are unknown.
    numbers : pandas.DataFrame of float
        year; rating: mean of the validation ratings in stars, NaN where there is none;
        popularity: logarithm of one more than their count; n_valid: the count.
    """
    genres = data.genre_table(movies)
    is_known = genres.any(axis=1)
    genres = genres.loc[:, genres.sum() >= SETTINGS["genre_movies"]].astype("float64")
    genres[~is_known] = np.nan
    by_movie = valid_ratings.groupby("movieIdDense")["rating"]
    n_valid = by_movie.size().reindex(movies.index, fill_value=0)
    numbers = {
        "year": data.years(movies["title"]),
        "rating": by_movie.mean().reindex(movies.index),
        "popularity": np.log1p(n_valid),
        "n_valid": n_valid,
    }
    return genres, pd.DataFrame(numbers).astype("float64")


def probe_genres(vectors, genres):
    """Predict every genre from the vectors by logistic regression, cross-validated over movies.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (n, dim)
    genres : pandas.DataFrame
        As from `properties`, same rows. Movies of unknown genres are left out.

    Returns
    -------
    float
        Area under the ROC curve, averaged over the genres. Chance gives 0.5.

    Notes
    -----
    Alain and Bengio (2016) ask the layers of a network in the same way.
    """
    logistic = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
    is_known = genres.notna().all(axis=1).to_numpy()
    truth = genres[is_known].to_numpy("int64")
    chances = cross_val_predict(
        OneVsRestClassifier(logistic),
        vectors[is_known],
        truth,
        cv=_folds(),
        method="predict_proba",
    )
    return float(roc_auc_score(truth, chances, average="macro"))


def probe_number(vectors, numbers, name):
    """Predict a number from the vectors by ridge regression, cross-validated over movies.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (n, dim)
    numbers : pandas.DataFrame
        As from `properties`, same rows.
    name : {"year", "rating", "popularity"}
        Movies without this number are left out. A mean rating counts as often as ratings
        are behind it.

    Returns
    -------
    float
        R squared: the share of the variance that is predicted. Chance gives 0.
    """
    there = numbers[name].notna().to_numpy()
    counted = numbers["n_valid"] if name == "rating" else pd.Series(1.0, index=numbers.index)
    weights, y = counted[there].to_numpy(), numbers[name][there].to_numpy()
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    predicted = cross_val_predict(
        ridge, vectors[there], y, cv=_folds(), params={"ridgecv__sample_weight": weights}
    )
    return float(r2_score(y, predicted, sample_weight=weights))


def known_in_training(movies, train_ratings):
    """Mean rating (stars) and popularity (log) of `movies` by the training ratings, by name."""
    by_movie = train_ratings.groupby("movieIdDense")["rating"]
    return {
        "rating": by_movie.mean().reindex(movies.index).to_numpy(),
        "popularity": np.log1p(by_movie.size().reindex(movies.index).to_numpy()),
    }


def _check_pairs(pairs, sizes):
    for ids, size, what in zip(pairs.T, sizes, ("contexts", "movies"), strict=True):
        if not len(ids):
            raise ValueError("no pairs to train on")
        if not 1 <= ids.min() <= ids.max() <= size:
            raise ValueError(
                f"{what} {ids.min()} to {ids.max()} are not within 1 to {size}: "
                "give the sizes of the whole data, not of a part"
            )


def _folds():
    return KFold(SETTINGS["folds"], shuffle=True, random_state=0)
