"""Measure recommendations on five splits, for chapter 11: new users, new movies, lists.

Split k leaves out the k-th fifth of the users for the new users, so that each user is new
once.
"""

import numpy as np
import pandas as pd
from sklearn.preprocessing import normalize

from embedlens import data, foldin, metrics, recipes, recommend, training
from embedlens.experiments.runner import Experiment

SPLITS = [0, 1, 2, 3, 4]
ALL = 10**6  # more ratings than anyone has given
SETTINGS = {
    "splits": SPLITS,
    "given": [0, 1, 2, 3, 5, 10, 20, 50, ALL],
    "vector": [1, 3, 10, 30],
    "bias": [1, 3, 10],
    "judged_by": [1, 5, 20, ALL],
    "movie_groups": [0, 1, 2, 5, 10, 20, 50, 100, ALL],
    "n": 10,
    "candidates": 100,
    "weights": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3],
}
MODELS = {"post": recipes.BIAS, "tuned": recipes.TUNED}
NO_TASTE = 1e9  # a penalty so high that the vector stays the average user's


def measure(split):
    """Measure all that chapter 11 stores, on one split.

    Parameters
    ----------
    split : int
        Fixes split, initial weights, order of the ratings, dropout and the new users.

    Returns
    -------
    dict of str to float
        As from `newcomers`, `by_movie_group` and `of_lists`.
    """
    train_ratings, valid_ratings = data.train_valid_split(data.prepared(), split)
    trained = {name: fit(name, train_ratings, valid_ratings, split) for name in MODELS}
    return {
        **newcomers(split, trained),
        **by_movie_group(trained, train_ratings, valid_ratings),
        **of_lists(trained, train_ratings, valid_ratings),
    }


def fit(name, train_ratings, valid_ratings, seed):
    """Train the post's bias model or the tuned one.

    Parameters
    ----------
    name : {"post", "tuned"}
    train_ratings, valid_ratings : pandas.DataFrame
        The post's training ends early by the validation ratings; the tuned one ignores them.
    seed : int

    Returns
    -------
    DotWithBias
    """
    sizes = data.count_users_and_movies(data.prepared())
    model, _ = training.train(MODELS[name], sizes, train_ratings, valid_ratings, seed)
    return model


def new_users(split):
    """Dense ids of the users who are new on this split: a fifth, another one on each split."""
    n_users, _ = data.count_users_and_movies(data.prepared())
    shuffled = np.random.default_rng(0).permutation(n_users) + 1
    return np.sort(np.array_split(shuffled, len(SPLITS))[split])


def newcomers(split, trained, names=MODELS):
    """Leave users out of the training, fold them in from a few ratings, and predict others.

    Parameters
    ----------
    split : int
    trained : dict of str to DotWithBias
        Trained with these users, to compare.
    names : iterable of str

    Returns
    -------
    dict of str to float
        RMSE in stars over all validation ratings of the new users: ``constant``; per model
        ``NAME_folded_N`` and ``NAME_alone_N`` (bias alone) from N training ratings;
        ``NAME_along``, when they had been in the training; and ``NAME_ridge_vector``,
        ``NAME_ridge_bias``, chosen within the training part.
    """
    train_ratings, valid_ratings = data.train_valid_split(data.prepared(), split)
    new = new_users(split)
    rest, given, asked = part(train_ratings, valid_ratings, new)
    constant = np.full(len(asked), rest["rating"].mean())
    found = {"constant": metrics.rmse(asked["rating"], constant)}
    for name in names:
        space = space_without(name, train_ratings, valid_ratings, new, split)
        ridge = choose_ridge(name, train_ratings, new, split)
        along = training.predict(trained[name], asked)
        found |= {
            f"{name}_along": metrics.rmse(asked["rating"], along),
            f"{name}_ridge_vector": ridge["vector"],
            f"{name}_ridge_bias": ridge["bias"],
        }
        for n in SETTINGS["given"]:
            alone = {**ridge, "vector": NO_TASTE}
            found[f"{name}_folded_{n}"] = folded_rmse(space, given, asked, n, ridge)
            found[f"{name}_alone_{n}"] = folded_rmse(space, given, asked, n, alone)
    return found


def part(train_ratings, valid_ratings, new):
    """Set new users apart.

    Returns
    -------
    rest, given, asked : pandas.DataFrame
        Training ratings of all others; training and validation ratings of the new users.
    """
    is_new = train_ratings["userIdDense"].isin(new)
    asked = valid_ratings[valid_ratings["userIdDense"].isin(new)]
    return train_ratings[~is_new], train_ratings[is_new], asked


def space_without(name, train_ratings, valid_ratings, new, seed):
    """Train without the new users; give the space for `foldin.fold_in`."""
    known = ~valid_ratings["userIdDense"].isin(new)
    rest, _, _ = part(train_ratings, valid_ratings, new)
    model = fit(name, rest, valid_ratings[known], seed)
    return foldin.space_of(model, user_ids=rest["userIdDense"].unique())


def folded_rmse(space, given, asked, n, ridge):
    """RMSE of the new users' ratings `asked`, folded in from the first `n` of `given` each."""
    firsts = given.groupby("userIdDense").head(n)
    pairs = {
        user: list(zip(rows["movieIdDense"], rows["rating"], strict=True))
        for user, rows in firsts.groupby("userIdDense")
    }
    errors = []
    for user, rows in asked.groupby("userIdDense"):
        folded_in = foldin.fold_in(space, pairs.get(user, []), ridge)
        places = np.searchsorted(space.ids, rows["movieIdDense"])
        score = space.vectors[places] @ folded_in.vector + space.biases[places] + folded_in.bias
        stars = recommend.stars_of(score, space.low, space.high)
        errors.append(rows["rating"].to_numpy() - stars)
    errors = np.concatenate([np.empty(0), *errors])
    return metrics.rmse(errors, np.zeros(len(errors)))


def choose_ridge(name, train_ratings, new, seed):
    """Choose the penalties of the fold-in within the training part of the other users.

    Their ratings are split once more, and a fifth of the users is new to a training of its
    own.

    Returns
    -------
    dict
        As `foldin.RIDGE`.
    """
    others = train_ratings[~train_ratings["userIdDense"].isin(new)]
    inner_train, inner_valid = data.train_valid_split(others, seed)
    users = np.random.default_rng(seed).permutation(np.sort(others["userIdDense"].unique()))
    inner_new = users[: len(users) // 5]
    space = space_without(name, inner_train, inner_valid, inner_new, seed)
    _, given, asked = part(inner_train, inner_valid, inner_new)

    def judged(ridge):
        return sum(folded_rmse(space, given, asked, n, ridge) for n in SETTINGS["judged_by"])

    grid = [
        {**foldin.RIDGE, "vector": float(vector), "bias": float(bias)}
        for vector in SETTINGS["vector"]
        for bias in SETTINGS["bias"]
    ]
    return min(grid, key=judged)


def by_movie_group(trained, train_ratings, valid_ratings):
    """RMSE of validation ratings by the number of training ratings that their movie has.

    Returns
    -------
    dict of str to float
        ``movies_NAME_G`` in stars, for the groups of `SETTINGS`: G is the largest number of
        training ratings of a group. NAME is a model, or ``constant`` for the mean rating.
    """
    n_movies = data.count_users_and_movies(data.prepared())[1]
    popularity = metrics.counts(train_ratings["movieIdDense"], n_movies)
    group = np.searchsorted(SETTINGS["movie_groups"], popularity[valid_ratings["movieIdDense"]])
    truth = valid_ratings["rating"].to_numpy()
    predictions = {name: training.predict(model, valid_ratings) for name, model in trained.items()}
    predictions["constant"] = np.full(len(truth), train_ratings["rating"].mean())
    return {
        f"movies_{name}_{most}": metrics.rmse(truth[group == g], predicted[group == g])
        for name, predicted in predictions.items()
        for g, most in enumerate(SETTINGS["movie_groups"])
    }


def of_lists(trained, train_ratings, valid_ratings):
    """Measure the top-N lists of several rankings, and of re-ranked ones.

    Returns
    -------
    dict of str to float
        ``own_popularity``: of the movies that a user has rated, averaged over users.
        ``NAME_MEASURE``, for the rankings of `rankings` and the measures of
        `list_measures`. ``mmr_WEIGHT_MEASURE`` for `diversity_measures`.
    """
    sizes = data.count_users_and_movies(data.prepared())
    seen = recommend.seen_matrix(train_ratings, sizes)
    popularity = metrics.counts(train_ratings["movieIdDense"], sizes[1])
    scored = {name: recommend.scores(model) for name, model in trained.items()}
    own = popularity[train_ratings["movieIdDense"]]
    by_user = pd.Series(own).groupby(train_ratings["userIdDense"].to_numpy())
    found = {"own_popularity": by_user.mean().mean()}
    for name, score in rankings(scored["post"], scored["tuned"], train_ratings).items():
        measures = list_measures(score, seen, popularity, valid_ratings)
        found |= {f"{name}_{key}": value for key, value in measures.items()}
    vectors = normalize(trained["post"].movie_embedding.get_weights()[0])
    stars = scored["post"][0]
    candidates = recommend.top_n(stars, seen, SETTINGS["candidates"])
    for weight in SETTINGS["weights"]:
        measures = diversity_measures(candidates, stars, vectors, weight, valid_ratings)
        found |= {f"mmr_{weight}_{key}": value for key, value in measures.items()}
    return found


def rankings(post, tuned, train_ratings):
    """Scores of every pair of user and movie, by several rules.

    Parameters
    ----------
    post, tuned : tuple of numpy.ndarray
        As from `recommend.scores`, of two models.
    train_ratings : pandas.DataFrame

    Returns
    -------
    dict of str to numpy.ndarray, shape (n_users + 1, n_movies + 1)
        A movie is the better the higher.
    """
    (stars, taste), (tuned_stars, tuned_taste) = post, tuned
    n_movies = stars.shape[1] - 1
    popularity = metrics.counts(train_ratings["movieIdDense"], n_movies)
    means = train_ratings.groupby("movieIdDense")["rating"].mean()
    means = means.reindex(range(n_movies + 1), fill_value=0).to_numpy()
    return {
        "mean": np.broadcast_to(means, stars.shape),
        "popularity": np.broadcast_to(popularity.astype("float64"), stars.shape),
        "post": stars,
        "tuned": tuned_stars,
        "tuned_often": np.where(popularity > data.MORE_THAN, tuned_stars, 0),
        "tuned_cautious": recommend.cautious(tuned_stars, train_ratings, popularity),
        "post_taste": taste,
        "tuned_taste": tuned_taste,
    }


def list_measures(score, seen, popularity, valid_ratings):
    """Measure the lists of one ranking.

    Returns
    -------
    dict of str to float
        Those of `metrics.describe`; precision, recall and ndcg, averaged over the users of
        `metrics.measures_at`; tail_precision: the precision when the short head of the most
        popular movies may neither be listed nor count.
    """
    best = recommend.top_n(score, seen, SETTINGS["n"])
    head = metrics.short_head(popularity)
    tail = valid_ratings[~head[valid_ratings["movieIdDense"]]]
    tail_best = recommend.top_n(score, seen | head, SETTINGS["n"])
    return {
        **metrics.describe(best, popularity),
        **metrics.measures_at(best, valid_ratings).mean(),
        "tail_precision": metrics.measures_at(tail_best, tail)["precision"].mean(),
    }


def diversity_measures(candidates, stars, vectors, weight, valid_ratings):
    """Measure lists re-ranked by `recommend.diversify`.

    Returns
    -------
    dict of str to float
        predicted: mean prediction in stars. alike, alike_genres: mean over users of
        `metrics.alike`, by cosine of the vectors and of the genres. precision.
    """
    best = recommend.diversify(candidates, stars, vectors, weight, SETTINGS["n"])
    genres = data.genre_table(data.movie_table(data.prepared())).to_numpy()
    users = np.arange(1, len(best))
    return {
        "predicted": stars[users[:, None], best[1:]].mean(),
        "alike": mean_alike(best[1:], vectors),
        "alike_genres": mean_alike(best[1:], normalize(np.pad(genres, ((1, 0), (0, 0))))),
        "precision": metrics.measures_at(best, valid_ratings)["precision"].mean(),
    }


def mean_alike(lists, rows):
    """Average `metrics.alike` over lists, by cosine.

    Parameters
    ----------
    lists : numpy.ndarray of int, shape (n_users, n)
        Dense ids of movies.
    rows : numpy.ndarray, shape (n_movies + 1, dim)
        By dense id, of length 1, or of zeros where nothing is known of the movie: it makes
        no pair then, and a list with no pair does not count.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If no list has a pair.
    """
    known = rows.any(axis=1)
    found = [rows[movies[known[movies]]] for movies in lists]
    pairs = [metrics.alike(each @ each.T) for each in found if len(each) > 1]
    if not pairs:
        raise ValueError("no list has two movies of which something is known")
    return float(np.mean(pairs))


RECOMMENDATIONS = Experiment(
    name="recommendations",
    settings={**SETTINGS, **{name: recipe.settings() for name, recipe in MODELS.items()}},
    parts=[{"split": split} for split in SPLITS],
    measure=measure,
)
