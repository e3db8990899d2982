"""Measure recommendations on five splits, for chapter 12: new users, new movies, lists.

Run ``python -m embedlens.recommended --output book/results/recommended.json`` (about five
minutes). Split k leaves out the k-th fifth of the users for the new users, so that each user
is new once.
"""

from functools import partial

from embedlens import (
    audit,
    commands,
    data,
    factors,
    foldin,
    lists,
    ranking,
    recommend,
    training,
    tuned,
)
from embedlens.models import DotWithBias
import numpy as np
import pandas as pd

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
MODELS = ("post", "tuned")
NO_TASTE = 1e9  # a penalty so high that the vector stays the average user's


def measure(split):
    """Measure all that chapter 12 stores, on one split.

    Parameters
    ----------
    split : int
        Fixes split, initial weights, order of the ratings, dropout and the new users.

    Returns
    -------
    dict of str to float
        As from `newcomers`, `by_movie_group` and `of_lists`.

    Raises
    ------
    RuntimeError
        If the Keras backend is not JAX.
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
    if name == "tuned":
        return tuned.train(sizes, train_ratings, seed)[0]
    from embedlens import rowwise

    return rowwise.train(_posts, sizes, train_ratings, valid_ratings, seed)[0]


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
    found = {"constant": training.rmse(asked["rating"], constant)}
    for name in names:
        space = space_without(name, train_ratings, valid_ratings, new, split)
        ridge = choose_ridge(name, train_ratings, new, split)
        along = training.predict(trained[name], asked)
        found |= {
            f"{name}_along": training.rmse(asked["rating"], along),
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
        stars = space.low + (space.high - space.low) / (1 + np.exp(-score))
        errors.append(rows["rating"].to_numpy() - stars)
    errors = np.concatenate(errors)
    return training.rmse(errors, np.zeros(len(errors)))


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
    popularity = lists.counts(train_ratings["movieIdDense"], n_movies)
    group = np.searchsorted(SETTINGS["movie_groups"], popularity[valid_ratings["movieIdDense"]])
    truth = valid_ratings["rating"].to_numpy()
    predictions = {name: training.predict(model, valid_ratings) for name, model in trained.items()}
    predictions["constant"] = np.full(len(truth), train_ratings["rating"].mean())
    return {
        f"movies_{name}_{most}": training.rmse(truth[group == g], predicted[group == g])
        for name, predicted in predictions.items()
        for g, most in enumerate(SETTINGS["movie_groups"])
    }


def of_lists(trained, train_ratings, valid_ratings):
    """Measure the top-N lists of several rankings, and of re-ranked ones.

    Returns
    -------
    dict of str to float
        ``own_popularity``: of the movies that a user has rated, averaged over users.
        ``NAME_MEASURE``, for the rankings of `lists.rankings` and the measures of
        `list_measures`. ``mmr_WEIGHT_MEASURE`` for `diversity_measures`.
    """
    sizes = data.count_users_and_movies(data.prepared())
    seen = ranking.seen_matrix(train_ratings, sizes)
    popularity = lists.counts(train_ratings["movieIdDense"], sizes[1])
    scored = {name: recommend.scores(model) for name, model in trained.items()}
    own = popularity[train_ratings["movieIdDense"]]
    by_user = pd.Series(own).groupby(train_ratings["userIdDense"].to_numpy())
    found = {"own_popularity": by_user.mean().mean()}
    for name, score in lists.rankings(scored["post"], scored["tuned"], train_ratings).items():
        measures = list_measures(score, seen, popularity, valid_ratings)
        found |= {f"{name}_{key}": value for key, value in measures.items()}
    vectors = lists.unit_rows(trained["post"].movie_embedding.get_weights()[0])
    stars = scored["post"][0]
    candidates = ranking.top_n(stars, seen, SETTINGS["candidates"])
    for weight in SETTINGS["weights"]:
        measures = diversity_measures(candidates, stars, vectors, weight, valid_ratings)
        found |= {f"mmr_{weight}_{key}": value for key, value in measures.items()}
    return found


def list_measures(score, seen, popularity, valid_ratings):
    """Measure the lists of one ranking.

    Returns
    -------
    dict of str to float
        Those of `lists.describe`; precision, recall and ndcg, averaged over the users of
        `ranking.measures_at`; tail_precision: the precision when the short head of the most
        popular movies may neither be listed nor count.
    """
    best = ranking.top_n(score, seen, SETTINGS["n"])
    head = lists.short_head(popularity)
    tail = valid_ratings[~head[valid_ratings["movieIdDense"]]]
    tail_best = ranking.top_n(score, seen | head, SETTINGS["n"])
    return {
        **lists.describe(best, popularity),
        **ranking.measures_at(best, valid_ratings).mean(),
        "tail_precision": ranking.measures_at(tail_best, tail)["precision"].mean(),
    }


def diversity_measures(candidates, stars, vectors, weight, valid_ratings):
    """Measure lists re-ranked by `lists.diversify`.

    Returns
    -------
    dict of str to float
        predicted: mean prediction in stars. alike, alike_genres: mean over users of
        `lists.alike`, by cosine of the vectors and of the genres. precision.
    """
    best = lists.diversify(candidates, stars, vectors, weight, SETTINGS["n"])
    genres = lists.genre_rows(factors.movie_table(data.prepared()))
    users = np.arange(1, len(best))
    return {
        "predicted": stars[users[:, None], best[1:]].mean(),
        "alike": np.mean([lists.alike(vectors[row] @ vectors[row].T) for row in best[1:]]),
        "alike_genres": np.mean([lists.alike(genres[row] @ genres[row].T) for row in best[1:]]),
        "precision": ranking.measures_at(best, valid_ratings)["precision"].mean(),
    }


def collect():
    """Measure every split.

    Returns
    -------
    dict
        ``runs``: a dict per split, with its number; ``provenance``: what they depend on.
    """
    return audit.report_on_splits("recommended", SPLITS, measure, SETTINGS)


def load(path):
    """Read stored measures, if they are about the present data and settings.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame
        One row per split (index), one column per measure of `measure`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `results.read`, which refuses a file that was made for something else.
    """
    return audit.load_splits(path, SETTINGS, "make recommended")


def main(arguments=None):
    """Measure and store; see the module's text."""
    commands.store("embedlens.recommended", __doc__, collect, arguments)


_posts = partial(DotWithBias, min_rating=data.LOWEST_RATING, max_rating=data.HIGHEST_RATING)


if __name__ == "__main__":
    main()
