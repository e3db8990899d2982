"""The same movies embedded by three tasks, and what their vectors hold. For chapter 10."""

from itertools import combinations

import keras
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embedlens import comparing, data, metrics, recipes, recommend, training
from embedlens.experiments.runner import Experiment
from embedlens.models import GoesWith

RATINGS, WATCHED, GENRES, RANDOM = "ratings", "watched", "genres", "random"
TASKS = [RATINGS, WATCHED, GENRES]
# Found by the trials; tests hold them against the stored ones.
FOUND = {
    WATCHED: {"penalty": 0.01, "epochs": 20},
    GENRES: {"penalty": 0.03, "epochs": 20},
}
SEARCH = {
    "penalty": [0.003, 0.01, 0.03, 0.1],
    "epochs": [10, 20],
    "split": 0,
    "inner_split": 1,
    "inner_share": 0.9,
}
SETTINGS = {
    "ratings": recipes.TUNED.settings(),
    "dim": 16,
    "per_pair": 4,
    "batch_size": 4096,
    "learning_rate": 0.02,
    **FOUND,
    "splits": [0, 1, 2, 3, 4],
    "folds": 5,
    "genre_movies": 50,
    "search": SEARCH,
}
NUMBERS = ["year", "rating", "popularity"]
SECOND_SEED = 100


def watched_pairs(ratings):
    """List who watched what: int32 array of shape (n, 2), dense user id and dense movie id."""
    return data.inputs(ratings)


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
        As from `watched_pairs` or `genre_pairs`.
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


def trained(task, train_ratings, seed):
    """Train one task at its setting.

    Parameters
    ----------
    task : {"ratings", "watched", "genres"}
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`. Genres are those of all movies.
    seed : int

    Returns
    -------
    keras.Model
        Its ``movie_embedding`` holds a vector per movie, by dense id.

    Raises
    ------
    ValueError
        If there is no such task.
    """
    if task == RATINGS:
        sizes = data.count_users_and_movies(data.prepared())
        return training.train(recipes.TUNED, sizes, train_ratings, None, seed)[0]
    if task not in FOUND:
        raise ValueError(f"no task {task!r}: choose from {', '.join(TASKS)}")
    return train(*_pairs_and_sizes(task, train_ratings), seed, **FOUND[task])


def movie_vectors(model, movies):
    """Take the vectors of `movies` (indexed by dense id): array of shape (len(movies), dim)."""
    return model.movie_embedding.get_weights()[0][movies.index]


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


def genres_in_common(movies, vectors, n=10):
    """Jaccard index of a movie's genres and those of its `n` nearest, averaged over all pairs.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `data.movie_table`.
    vectors : numpy.ndarray, shape (len(movies), dim)
    n : int, default 10

    Returns
    -------
    float
        Genres that both have, by genres that either has: from 0 to 1. A pair says nothing,
        and is left out, where the genres of one of the two are unknown.

    Raises
    ------
    ValueError
        If no pair is left.
    """
    table = data.genre_table(movies).to_numpy()
    places, _ = comparing.nearest(vectors, n)
    both = np.einsum("mg,mng->mn", table, table[places])
    each = table.sum(axis=1)
    either = each[:, None] + each[places] - both
    known = (each[:, None] > 0) & (each[places] > 0)
    if not known.any():
        raise ValueError(f"no movie of known genres has another one among its {n} nearest")
    return float(np.mean(both[known] / either[known]))


def score_matrix(model, sizes):
    """Score every movie for every user: float32 array of shape (n_users + 1, n_movies + 1)."""
    n_users, n_movies = sizes
    users, movies = np.divmod(np.arange((n_users + 1) * (n_movies + 1)), n_movies + 1)
    pairs = np.column_stack([users, movies]).astype("int32")
    return model.predict(pairs, batch_size=2**17, verbose=0).reshape(n_users + 1, n_movies + 1)


def compare_lists(models, train_ratings, valid_ratings):
    """Compare the top ten of both tasks that know users, and of the most rated movies.

    Parameters
    ----------
    models : dict of str to keras.Model
        By task: "ratings" and "watched".
    train_ratings, valid_ratings : pandas.DataFrame
        As from `data.train_valid_split`.

    Returns
    -------
    dict of str to float
        By list ("ratings", "watched", "popular"): ndcg_LIST, and list_ratings_LIST (median
        number of training ratings of the movies listed); lists_in_common: share of the ten
        that both tasks list for a user.
    """
    sizes = data.count_users_and_movies(data.prepared())
    seen = recommend.seen_matrix(train_ratings, sizes)
    n_ratings = seen.sum(axis=0)
    scores = {task: score_matrix(model, sizes) for task, model in models.items()}
    scores["popular"] = np.tile(n_ratings.astype("float32"), (len(seen), 1))
    lists = {name: recommend.top_n(score, seen) for name, score in scores.items()}
    found = {}
    for name, listed in lists.items():
        found[f"ndcg_{name}"] = metrics.measures_at(listed, valid_ratings)["ndcg"].mean()
        found[f"list_ratings_{name}"] = np.median(n_ratings[listed[1:]])
    both = zip(lists[RATINGS][1:], lists[WATCHED][1:], strict=True)
    return {**found, "lists_in_common": np.mean([np.isin(a, b).mean() for a, b in both])}


def compare(split):
    """Train every task twice on one split and compare what they have learnt.

    Parameters
    ----------
    split : int
        Fixes the split and, with an offset for the second training, all seeds.

    Returns
    -------
    dict of str to float
        probe_SPACE_PROPERTY; probe_TASK+bias_PROPERTY: with the movie's bias as one more
        entry; probe_known_PROPERTY: what the training ratings themselves say;
        agreement_SPACE_SPACE, and agreement_TASK_again with another seed;
        in_common_SPACE: see `genres_in_common`; all of `compare_lists`; rmse: of the
        rating task, in stars.
    """
    train_ratings, valid_ratings = data.train_valid_split(data.prepared(), split)
    known = data.often_rated(data.movie_table(data.prepared()))
    genres, numbers = properties(known, valid_ratings)
    models = {task: trained(task, train_ratings, split) for task in TASKS}
    spaces = {task: movie_vectors(model, known) for task, model in models.items()}
    spaces[RANDOM] = np.random.default_rng(split).normal(size=spaces[RATINGS].shape)
    found = {}
    for space, vectors in spaces.items():
        found[f"probe_{space}_genre"] = probe_genres(vectors, genres)
        found[f"in_common_{space}"] = genres_in_common(known, vectors)
        for name in NUMBERS:
            found[f"probe_{space}_{name}"] = probe_number(vectors, numbers, name)
    for task, model in models.items():
        with_bias = np.hstack([spaces[task], model.movie_bias.get_weights()[0][known.index]])
        for name in NUMBERS:
            found[f"probe_{task}+bias_{name}"] = probe_number(with_bias, numbers, name)
        again = movie_vectors(trained(task, train_ratings, split + SECOND_SEED), known)
        found[f"agreement_{task}_again"] = comparing.agreement(spaces[task], again)
    for one, other in combinations(spaces, 2):
        found[f"agreement_{one}_{other}"] = comparing.agreement(spaces[one], spaces[other])
    for name, values in known_in_training(known, train_ratings).items():
        found[f"probe_known_{name}"] = probe_number(values[:, None], numbers, name)
    lists = {task: models[task] for task in (RATINGS, WATCHED)}
    found |= compare_lists(lists, train_ratings, valid_ratings)
    predicted = training.predict(models[RATINGS], valid_ratings)
    return {**found, "rmse": metrics.rmse(valid_ratings["rating"], predicted)}


def known_in_training(movies, train_ratings):
    """Mean rating (stars) and popularity (log) of `movies` by the training ratings, by name."""
    by_movie = train_ratings.groupby("movieIdDense")["rating"]
    return {
        "rating": by_movie.mean().reindex(movies.index).to_numpy(),
        "popularity": np.log1p(by_movie.size().reindex(movies.index).to_numpy()),
    }


def measure(kind, **part):
    """Measure a part: `try_setting` for a trial, `compare` for a split."""
    return try_setting(**part) if kind == "trial" else compare(**part)


def try_setting(task, penalty, epochs):
    """Train on most of the pairs and measure the loss on those set aside.

    Parameters
    ----------
    task : {"watched", "genres"}
    penalty : float
    epochs : int

    Returns
    -------
    dict of str to float
        loss: binary cross-entropy of the pairs set aside, and of as many negatives for each
        as in training.
    """
    train_ratings, _ = data.train_valid_split(data.prepared(), SEARCH["split"])
    pairs, sizes = _pairs_and_sizes(task, train_ratings)
    rng = np.random.default_rng(SEARCH["inner_split"])
    inner, aside = np.split(rng.permutation(pairs), [int(SEARCH["inner_share"] * len(pairs))])
    model = train(inner, sizes, SEARCH["inner_split"], penalty, epochs)
    aside = aside[np.isin(aside[:, 1], inner[:, 1])]  # the others have no vector yet
    x, y = with_negatives(aside, SETTINGS["per_pair"], rng, known=pairs)
    odds = model.predict(x, batch_size=2**16, verbose=0).astype("float64")
    return {"loss": np.mean(np.logaddexp(0, odds) - y * odds)}


def _pairs_and_sizes(task, train_ratings):
    n_users, n_movies = data.count_users_and_movies(data.prepared())
    if task == WATCHED:
        return watched_pairs(train_ratings), (n_users, n_movies)
    pairs, names = genre_pairs(data.movie_table(data.prepared()))
    return pairs, (len(names), n_movies)


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


TRIALS = [
    {"kind": "trial", "task": task, "penalty": penalty, "epochs": epochs}
    for task in FOUND
    for penalty in SEARCH["penalty"]
    for epochs in SEARCH["epochs"]
]
PARTS = [*TRIALS, *({"kind": "split", "split": split} for split in SETTINGS["splits"])]
TASKS_BY_SPLIT = Experiment("tasks", SETTINGS, PARTS, measure)
