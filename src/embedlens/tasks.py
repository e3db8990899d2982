"""The same movies embedded by three tasks, and what their vectors hold. For chapter 10.

Run ``python -m embedlens.tasks --output book/results/tasks.json`` (about five minutes).
"""

from itertools import combinations

from embedlens import (
    audit,
    commands,
    data,
    factors,
    neighbours,
    ranking,
    results,
    training,
    tuned,
)
import keras
from keras import ops
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NO_GENRES = "(no genres listed)"
RATINGS, WATCHED, GENRES, RANDOM = "ratings", "watched", "genres", "random"
TASKS = [RATINGS, WATCHED, GENRES]
# Found by `search`; tests hold them against the stored trials.
FOUND = {
    WATCHED: {"penalty": 0.01, "epochs": 20},
    GENRES: {"penalty": 0.03, "epochs": 20},
}
SETTINGS = {
    "dim": 16,
    "per_pair": 4,
    "batch_size": 4096,
    "learning_rate": 0.02,
    **FOUND,
    "splits": [0, 1, 2, 3, 4],
    "folds": 5,
    "genre_movies": 50,
    "search": {
        "penalty": [0.003, 0.01, 0.03, 0.1],
        "epochs": [10, 20],
        "split": 0,
        "inner_split": 1,
        "inner_share": 0.9,
    },
}
NUMBERS = ["year", "rating", "popularity"]
SECOND_SEED = 100


@keras.saving.register_keras_serializable(package="embedlens")
class GoesWith(keras.Model):
    """Score how well a movie goes with a context: a user who watched it, a genre that it has.

    Parameters
    ----------
    n_contexts, n_movies : int
        The tables have one row more: ids start at 1 and row 0 stays unused.
    dim : int, default 16
        Length of the vectors.
    penalty : float, default 0
        Weight of the mean squared length, over a batch, of the vectors that were looked up.

    Notes
    -----
    Input: integers of shape (n, 2), id of the context and dense id of the movie.
    Output: float32 of shape (n, 1), the log odds that the two go together. Not in the post.
    """

    def __init__(self, n_contexts, n_movies, dim=16, penalty=0.0, **kwargs):
        super().__init__(**kwargs)
        self.penalty = penalty
        self.context_embedding = keras.layers.Embedding(n_contexts + 1, dim)
        self.movie_embedding = keras.layers.Embedding(n_movies + 1, dim)
        self.movie_bias = keras.layers.Embedding(n_movies + 1, 1)

    def call(self, x, training=False):
        contexts = self.context_embedding(x[:, 0])
        movies = self.movie_embedding(x[:, 1])
        if training:
            for rows in (contexts, movies):
                self.add_loss(self.penalty * ops.mean(ops.sum(rows**2, axis=-1)))
        dot = ops.sum(contexts * movies, axis=-1, keepdims=True)
        return dot + self.movie_bias(x[:, 1])


def watched_pairs(ratings):
    """List who watched what: int32 array of shape (n, 2), dense user id and dense movie id."""
    return data.inputs(ratings)


def genre_pairs(movies):
    """List which movie has which genre.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `factors.movie_table`. A movie of `NO_GENRES` has no pair.

    Returns
    -------
    pairs : numpy.ndarray of int32, shape (n, 2)
        Number of the genre, from 1, and dense id of the movie.
    names : list of str
        The genres in alphabetical order; number k is ``names[k - 1]``.
    """
    table = movies["genres"].str.get_dummies("|").drop(columns=NO_GENRES, errors="ignore")
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
    """Train `GoesWith` on pairs, with other negatives in each epoch.

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
    GoesWith
    """
    training.set_seed(seed)
    rng = np.random.default_rng(seed)
    model = GoesWith(*sizes, SETTINGS["dim"], penalty)
    n_examples = len(pairs) * (1 + SETTINGS["per_pair"])
    n_steps = -(-n_examples // SETTINGS["batch_size"]) * epochs
    falling = keras.optimizers.schedules.CosineDecay(SETTINGS["learning_rate"], n_steps)
    model.compile(
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(falling),
        jit_compile=True,
        steps_per_execution=25,
    )
    for _ in range(epochs):
        x, y = with_negatives(pairs, SETTINGS["per_pair"], rng)
        model.fit(x, y, batch_size=SETTINGS["batch_size"], verbose=0)
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
        return tuned.train(sizes, train_ratings, seed)[0]
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
        As from `factors.movie_table`.
    valid_ratings : pandas.DataFrame
        As from `data.train_valid_split`.

    Returns
    -------
    genres : pandas.DataFrame of int
        A column of 0 and 1 for each genre that enough of the movies have.
    numbers : pandas.DataFrame of float
        year; rating: mean of the validation ratings in stars, NaN where there is none;
        popularity: logarithm of one more than their count; n_valid: the count.
    """
    genres = movies["genres"].str.get_dummies("|").drop(columns=NO_GENRES, errors="ignore")
    genres = genres.loc[:, genres.sum() >= SETTINGS["genre_movies"]]
    by_movie = valid_ratings.groupby("movieIdDense")["rating"]
    n_valid = by_movie.size().reindex(movies.index, fill_value=0)
    numbers = {
        "year": factors.years(movies["title"]),
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
        As from `properties`, same rows.

    Returns
    -------
    float
        Area under the ROC curve, averaged over the genres. Chance gives 0.5.

    Notes
    -----
    Alain and Bengio (2016) ask the layers of a network in the same way.
    """
    logistic = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
    chances = cross_val_predict(
        OneVsRestClassifier(logistic),
        vectors,
        genres.to_numpy(),
        cv=_folds(),
        method="predict_proba",
    )
    return float(roc_auc_score(genres, chances, average="macro"))


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
    """Jaccard index of a movie's genres and those of its `n` nearest, averaged over all.

    Parameters
    ----------
    movies : pandas.DataFrame
        As from `factors.movie_table`.
    vectors : numpy.ndarray, shape (len(movies), dim)
    n : int, default 10

    Returns
    -------
    float
        Genres that both have, by genres that either has: from 0 to 1.
    """
    table = movies["genres"].str.get_dummies("|").to_numpy()
    places, _ = neighbours.nearest(vectors, n)
    both = np.einsum("mg,mng->mn", table, table[places])
    either = table.sum(axis=1)[:, None] + table[places].sum(axis=2) - both
    return float(np.mean(both / either))


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
    seen = ranking.seen_matrix(train_ratings, sizes)
    n_ratings = seen.sum(axis=0)
    scores = {task: score_matrix(model, sizes) for task, model in models.items()}
    scores["popular"] = np.tile(n_ratings.astype("float32"), (len(seen), 1))
    lists = {name: ranking.top_n(score, seen) for name, score in scores.items()}
    found = {}
    for name, listed in lists.items():
        found[f"ndcg_{name}"] = ranking.measures_at(listed, valid_ratings)["ndcg"].mean()
        found[f"list_ratings_{name}"] = np.median(n_ratings[listed[1:]])
    both = zip(lists[RATINGS][1:], lists[WATCHED][1:], strict=True)
    return {**found, "lists_in_common": np.mean([np.isin(a, b).mean() for a, b in both])}


def measure(split):
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
    known = factors.often_rated(factors.movie_table(data.prepared()))
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
        found[f"agreement_{task}_again"] = neighbours.agreement(spaces[task], again)
    for one, other in combinations(spaces, 2):
        found[f"agreement_{one}_{other}"] = neighbours.agreement(spaces[one], spaces[other])
    for name, values in known_in_training(known, train_ratings).items():
        found[f"probe_known_{name}"] = probe_number(values[:, None], numbers, name)
    lists = {task: models[task] for task in (RATINGS, WATCHED)}
    found |= compare_lists(lists, train_ratings, valid_ratings)
    predicted = training.predict(models[RATINGS], valid_ratings)
    return {**found, "rmse": training.rmse(valid_ratings["rating"], predicted)}


def known_in_training(movies, train_ratings):
    """Mean rating (stars) and popularity (log) of `movies` by the training ratings, by name."""
    by_movie = train_ratings.groupby("movieIdDense")["rating"]
    return {
        "rating": by_movie.mean().reindex(movies.index).to_numpy(),
        "popularity": np.log1p(by_movie.size().reindex(movies.index).to_numpy()),
    }


def trials():
    """List what the search tries: dicts with task, penalty and epochs."""
    space = SETTINGS["search"]
    return [
        {"task": task, "penalty": penalty, "epochs": epochs}
        for task in FOUND
        for penalty in space["penalty"]
        for epochs in space["epochs"]
    ]


def try_setting(number):
    """Train on most of the pairs and measure the loss on those set aside.

    Parameters
    ----------
    number : int
        Place in `trials`.

    Returns
    -------
    dict of str to float
        loss: binary cross-entropy of the pairs set aside, and of as many negatives for each
        as in training.
    """
    trial, space = trials()[number], SETTINGS["search"]
    train_ratings, _ = data.train_valid_split(data.prepared(), space["split"])
    pairs, sizes = _pairs_and_sizes(trial["task"], train_ratings)
    rng = np.random.default_rng(space["inner_split"])
    inner, aside = np.split(rng.permutation(pairs), [int(space["inner_share"] * len(pairs))])
    model = train(inner, sizes, space["inner_split"], trial["penalty"], trial["epochs"])
    aside = aside[np.isin(aside[:, 1], inner[:, 1])]  # the others have no vector yet
    x, y = with_negatives(aside, SETTINGS["per_pair"], rng, known=pairs)
    odds = model.predict(x, batch_size=2**16, verbose=0).astype("float64")
    return {"loss": np.mean(np.logaddexp(0, odds) - y * odds)}


def measure_all():
    """Try all settings, then measure all splits at those found; resumable.

    Returns
    -------
    dict
        ``runs``: a dict for each trial (task, penalty, epochs, loss) and for each split
        (split and all of `measure`); ``provenance``: what the numbers depend on.
    """
    provenance = audit.provenance(SETTINGS)  # of the code that runs, not of later edits
    folder = audit.folder_for("tasks-search", SETTINGS)
    tried = audit.collect(range(len(trials())), folder, try_setting)
    report = audit.report_on_splits("tasks", SETTINGS["splits"], measure, SETTINGS)
    searched = [{**trial, **tried[number]} for number, trial in enumerate(trials())]
    return {"runs": searched + report["runs"], "provenance": provenance}


def load(path):
    """Read stored measures, if they are about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    by_split : pandas.DataFrame
        Indexed by split; columns as from `measure`.
    tried : pandas.DataFrame
        task, penalty, epochs, loss.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    present = {"data": audit.dataset_digest(), "settings": SETTINGS}
    runs = results.read(path, present, "make tasks")["runs"]
    by_split = pd.DataFrame([run for run in runs if "split" in run]).set_index("split")
    return by_split, pd.DataFrame([run for run in runs if "split" not in run])


def main(arguments=None):
    """Measure all and store it; see the module's text."""
    commands.store("embedlens.tasks", __doc__, measure_all, arguments)


def _pairs_and_sizes(task, train_ratings):
    n_users, n_movies = data.count_users_and_movies(data.prepared())
    if task == WATCHED:
        return watched_pairs(train_ratings), (n_users, n_movies)
    pairs, names = genre_pairs(factors.movie_table(data.prepared()))
    return pairs, (len(names), n_movies)


def _folds():
    return KFold(SETTINGS["folds"], shuffle=True, random_state=0)


if __name__ == "__main__":
    main()
