"""Measure recommendations for chapter 11: lists, new users, new movies.

On five random splits, and lists on the two cuts in time. Split k leaves out the k-th fifth of the
users for the new users, so that each user is new once. All settings are chosen within the training
part of a cut.
"""

import math

import numpy as np
import pandas as pd
from sklearn.preprocessing import normalize

from embedlens import data, ease, foldin, metrics, provenance, recipes, recommend, training, watched
from embedlens.experiments import how_low, search, tuning
from embedlens.experiments.conclusions import Conclusion
from embedlens.experiments.runner import Experiment
from embedlens.models import EvenlyPenalised

SPLITS = search.OUTER
ALL = 10**6  # more ratings than anyone has given
SETTINGS = {
    "cuts": how_low.CUTS,
    "given": [0, 1, 2, 3, 5, 10, 20, 50, ALL],
    "vector": [1, 3, 10, 30],
    "bias": [1, 3, 10],
    "judged_by": [1, 5, 20, ALL],
    "movie_groups": [0, 1, 2, 5, 10, 20, 50, 100, ALL],
    "n": 10,
    "nearest": 10,
}
# Where the settings of lists are looked for, by NDCG within the training part.
GRIDS = {
    "ease": [(penalty,) for penalty in (30.0, 100.0, 300.0, 1000.0, 3000.0)],
    "knn": [(n, shrink) for n in (50, 200, 800) for shrink in (0.0, 30.0, 100.0)],
    "ials": [
        (dim, penalty, weight)
        for dim in (64, 128)
        for penalty in (0.005, 0.01, 0.02)
        for weight in (0.1, 0.2, 0.4)
    ],
    "combined": [(weight,) for weight in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)],
}
EVEN = [0.1, 0.3, 1.0, 3.0, 10.0]  # times the price of the tuned model; by inner RMSE
MODELS = ("post", "tuned")
BY_USER = ("hits", "tail", "ndcg")
EASE_BESIDE = 300.0  # penalty of EASE where stars are added to it
NO_TASTE = 1e9  # a penalty so high that the vector stays the average user's


def measure(cut):
    """Measure all that chapter 11 stores, on one cut.

    Parameters
    ----------
    cut : int or str
        One of `how_low.CUTS`. It fixes initial weights, order of the ratings, dropout and the new
        users.

    Returns
    -------
    dict
        As from `of_lists`; on a random split also as from `newcomers`, `by_movie_group` and
        `of_neighbours`.
    """
    train_ratings, valid_ratings = how_low.parts_of(cut)
    seed = how_low.CUTS.index(cut)
    if cut in how_low.IN_TIME:
        trained = {"tuned": fit("tuned", cut, train_ratings, None, seed)}
        return of_lists(cut, trained, train_ratings, valid_ratings)
    trained = {name: fit(name, cut, train_ratings, valid_ratings, seed) for name in MODELS}
    return {
        **newcomers(cut, trained),
        **by_movie_group(trained, train_ratings, valid_ratings),
        **of_neighbours(trained["post"], train_ratings),
        **of_lists(cut, trained, train_ratings, valid_ratings),
    }


def fit(name, cut, train_ratings, valid_ratings, seed):
    """Train the post's bias model or the tuned one.

    Parameters
    ----------
    name : {"post", "tuned"}
    cut : int or str
        Whose setting the tuned model has.
    train_ratings, valid_ratings : pandas.DataFrame
        The post's training ends early by the validation ratings; the tuned one ignores them.
    seed : int

    Returns
    -------
    DotWithBias
    """
    sizes = data.count_users_and_movies(data.prepared())
    recipe = recipes.BIAS if name == "post" else how_low.recipe("factors", setting(cut, "factors"))
    model, _ = training.train(recipe, sizes, train_ratings, valid_ratings, seed)
    return model


def setting(cut, rung):
    """The setting of a rung of chapter 10 that was found within the training part of a cut."""
    stored = how_low.HOW_LOW.load(provenance.PACKAGE / "results/how_low.json")
    return how_low.reports(stored, [cut])["setting"][cut, rung]


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
        space = space_without(name, split, train_ratings, valid_ratings, new)
        ridge = choose_ridge(name, split, train_ratings, new)
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


def space_without(name, split, train_ratings, valid_ratings, new):
    """Train without the new users; give the space for `foldin.fold_in`."""
    known = ~valid_ratings["userIdDense"].isin(new)
    rest, _, _ = part(train_ratings, valid_ratings, new)
    model = fit(name, split, rest, valid_ratings[known], seed=split)
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


def choose_ridge(name, split, train_ratings, new):
    """Choose the penalties of the fold-in within the training part of the other users.

    Their ratings are split once more, and a fifth of the users is new to a training of its
    own.

    Returns
    -------
    dict
        As `foldin.RIDGE`.
    """
    others = train_ratings[~train_ratings["userIdDense"].isin(new)]
    inner_train, inner_valid = data.train_valid_split(others, split)
    users = np.random.default_rng(split).permutation(np.sort(others["userIdDense"].unique()))
    inner_new = users[: len(users) // 5]
    space = space_without(name, split, inner_train, inner_valid, inner_new)
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


def of_neighbours(model, train_ratings):
    """How popular the nearest movies are, by cosine and by dot product.

    Returns
    -------
    dict of str to float
        ``near_cosine``, ``near_dot``: training ratings of the `SETTINGS` nearest of a movie with
        more than 20 of them, on average.
    """
    matrix = model.movie_embedding.get_weights()[0].astype("float64")
    popularity = metrics.counts(train_ratings["movieIdDense"], len(matrix) - 1)
    queries = np.flatnonzero(popularity > data.MORE_THAN)
    found = {}
    for kind, rows in {"cosine": normalize(matrix), "dot": matrix}.items():
        alike = rows[queries] @ rows.T
        alike[:, 0] = alike[np.arange(len(queries)), queries] = -np.inf
        nearest = np.argsort(-alike, axis=1, kind="stable")[:, : SETTINGS["nearest"]]
        found[f"near_{kind}"] = popularity[nearest].mean()
    return found


def of_lists(cut, trained, train_ratings, valid_ratings):
    """Measure the top-N lists of several rankings.

    Returns
    -------
    dict
        rmse: of the models of ratings, in stars, by name. chosen: the settings found for lists.
        ``NAME_MEASURE``, for the rankings of `rankings` and the measures of `list_measures`.
        users: dense ids of those who liked a movie of the validation part (and are known from the
        training); by_user: for each ranking their hits, the hits in the tail, and the NDCG.
    """
    sizes = data.count_users_and_movies(data.prepared())
    known = valid_ratings["userIdDense"].isin(train_ratings["userIdDense"])
    valid_ratings = valid_ratings[known]
    scored, found = rankings(cut, trained, train_ratings, valid_ratings)
    seen = recommend.seen_matrix(train_ratings, sizes)
    popularity = metrics.counts(train_ratings["movieIdDense"], sizes[1])
    found["by_user"] = {}
    for name, score in scored.items():
        measures, of_users = list_measures(score, seen, popularity, valid_ratings)
        found |= {f"{name}_{key}": value for key, value in measures.items()}
        found["users"] = of_users.index.to_numpy()
        found["by_user"][name] = [of_users[key].to_numpy() for key in BY_USER]
    return found


def rankings(cut, trained, train_ratings, valid_ratings):
    """Score every pair of user and movie, by several rules.

    Parameters
    ----------
    cut : int or str
    trained : dict of str to DotWithBias
        The tuned model, and perhaps the post's.
    train_ratings, valid_ratings : pandas.DataFrame
        The latter only to give the models' RMSE.

    Returns
    -------
    scored : dict of str to numpy.ndarray, shape (n_users + 1, n_movies + 1)
        A movie is the better the higher.
    found : dict
        rmse and chosen, as in `of_lists`.
    """
    sizes = data.count_users_and_movies(data.prepared())
    rmse, chosen = {}, {}
    scored = by_rules(train_ratings, sizes)

    def note(name, stars):
        scored[name] = stars
        rmse[name] = rmse_of(stars, valid_ratings)

    for name, model in trained.items():
        note(name, recommend.scores(model)[0])
    popularity = metrics.counts(train_ratings["movieIdDense"], sizes[1])
    scored["cautious"] = recommend.cautious(scored["tuned"], train_ratings, popularity)
    if cut not in how_low.IN_TIME:
        chosen["even"], model = evenly_penalised(cut, train_ratings)
        note("even", recommend.scores(model)[0])
    model = how_low.train("both", setting(cut, "both"), train_ratings, how_low.CUTS.index(cut))
    note("both", recommend.stars_of(how_low.scores(model), model.min_rating, model.max_rating))
    for name in GRIDS:
        chosen[name] = choose(name, cut)
        scored[name] = score_lists(name, chosen[name], train_ratings, scored["tuned"])
    return scored, {"rmse": rmse, "chosen": chosen}


def rmse_of(stars, ratings):
    """RMSE of ratings, by predictions for all pairs as from `recommend.scores`."""
    return metrics.rmse(ratings["rating"], stars[tuple(data.inputs(ratings).T)])


def by_rules(train_ratings, sizes):
    """Scores that are the same for all users: how many rated a movie, and its mean rating."""
    popularity = metrics.counts(train_ratings["movieIdDense"], sizes[1]).astype("float64")
    means = train_ratings.groupby("movieIdDense")["rating"].mean()
    means = means.reindex(range(sizes[1] + 1), fill_value=0).to_numpy()
    shape = sizes[0] + 1, sizes[1] + 1
    return {
        "popularity": np.broadcast_to(popularity, shape),
        "mean": np.broadcast_to(means, shape),
    }


def score_lists(name, options, train_ratings, stars):
    """Scores of one method of `GRIDS`, fitted to training ratings.

    Parameters
    ----------
    name : str
    options : tuple
        One entry of its grid.
    train_ratings : pandas.DataFrame
    stars : numpy.ndarray or None
        Predictions of the tuned model, which "combined" adds.

    Returns
    -------
    numpy.ndarray, shape (n_users + 1, n_movies + 1)
    """
    sizes = data.count_users_and_movies(data.prepared())
    if name == "knn":
        return watched.item_knn(watched.matrix_of(train_ratings, sizes), *options)
    if name == "ials":
        return watched.ials(watched.matrix_of(train_ratings, sizes), *options)
    (number,) = options
    if name == "ease":
        return ease.scores(ease.centred(train_ratings, sizes), number)
    return ease.scores(ease.centred(train_ratings, sizes), EASE_BESIDE) + number * stars


def choose(name, cut):
    """The options of a method of lists with the highest NDCG within the training part of a cut."""
    inner, asked = how_low.parts_of(cut, inner=True)
    asked = asked[asked["userIdDense"].isin(inner["userIdDense"])]
    sizes = data.count_users_and_movies(data.prepared())
    seen = recommend.seen_matrix(inner, sizes)
    stars = None
    if name == "combined":
        stars = recommend.scores(fit("tuned", cut, inner, None, how_low.CUTS.index(cut)))[0]

    def ndcg(options):
        lists = recommend.top_n(score_lists(name, options, inner, stars), seen, SETTINGS["n"])
        return metrics.measures_at(lists, asked)["ndcg"].mean()

    return max(GRIDS[name], key=ndcg)


def evenly_penalised(cut, train_ratings):
    """Train the tuned model with a penalty that does not grow with a row's ratings.

    Parameters
    ----------
    cut : int
    train_ratings : pandas.DataFrame

    Returns
    -------
    times : float
        Of `EVEN`: with which the RMSE within the training part is lowest.
    model : EvenlyPenalised
    """
    tuned = how_low.recipe("factors", setting(cut, "factors"))
    options = dict(tuned.options)
    sizes = data.count_users_and_movies(data.prepared())

    def fitted(times, ratings):
        prices = {name: times * options[name] for name in options if name.endswith("penalty")}
        even = recipes.Recipe(EvenlyPenalised, tuned.training, **{**options, **prices})
        return training.train(even, sizes, ratings, None, cut)[0]

    inner, asked = how_low.parts_of(cut, inner=True)

    def judged(times):
        return rmse_of(recommend.scores(fitted(times, inner))[0], asked)

    times = min(EVEN, key=judged)
    return times, fitted(times, train_ratings)


def list_measures(score, seen, popularity, valid_ratings):
    """Measure the lists of one ranking.

    Returns
    -------
    measures : dict of str to float
        Those of `metrics.describe`; precision, recall and ndcg, averaged over the users of
        `metrics.measures_at`; tail_precision: the precision when the short head of the most
        popular movies may neither be listed nor count; alike_genres: as from `mean_alike`.
    of_users : pandas.DataFrame
        By dense id: hits, tail hits (NaN for who liked nothing there) and ndcg.
    """
    n = SETTINGS["n"]
    best = recommend.top_n(score, seen, n)
    head = metrics.short_head(popularity)
    tail = valid_ratings[~head[valid_ratings["movieIdDense"]]]
    tail_best = recommend.top_n(score, seen | head, n)
    of_users = metrics.measures_at(best, valid_ratings)
    in_tail = metrics.measures_at(tail_best, tail)["precision"]
    genres = data.genre_table(data.movie_table(data.prepared())).to_numpy()
    users = np.unique(valid_ratings["userIdDense"])
    lists = np.vstack([best[:1], best[users]])
    measures = {
        **metrics.describe(lists, popularity),
        **of_users.mean(),
        "tail_precision": in_tail.mean(),
        "alike_genres": mean_alike(lists[1:], normalize(np.pad(genres, ((1, 0), (0, 0))))),
    }
    # Nobody's share of hits in the tail is stored as -1: JSON knows no NaN.
    in_tail = (n * in_tail).reindex(of_users.index).fillna(-1)
    of_users = of_users.assign(hits=n * of_users["precision"], tail=in_tail)
    return measures, of_users.assign(
        hits=of_users["hits"].round().astype(int), tail=in_tail.round().astype(int)
    ).round(3)


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
    "recommendations",
    {
        **SETTINGS,
        "grids": GRIDS,
        "even": EVEN,
        "beside": EASE_BESIDE,
        "anchors": tuning.anchors(),
        "post": recipes.BIAS.settings(),
        "ladder": how_low.HOW_LOW.settings,
    },
    [{"cut": cut} for cut in how_low.CUTS],
    measure,
    files=(provenance.PACKAGE / "results/how_low.json",),
)


def on_splits(report):
    """What was measured on the random splits, a row each."""
    runs = [run for run in report["runs"] if run["cut"] in SPLITS]
    return pd.DataFrame(runs).set_index("cut")


def compare_lists(report, first, second, measure="ndcg", cuts=SPLITS):
    """How far the lists of one ranking are better than those of another; interval over users.

    Parameters
    ----------
    report : dict
        As from ``RECOMMENDATIONS.run``.
    first, second : str
        Rankings. Without a second one, the measure of the first itself.
    measure : {"hits", "tail", "ndcg"}
    cuts : list
        Over which a user's values are added up.

    Returns
    -------
    mean, low, high : float
        Hits per list, with or without the short head; or NDCG.
    """
    place = BY_USER.index(measure)
    parts = []
    for run in report["runs"]:
        if run["cut"] in cuts:
            values = [run["by_user"][name][place] for name in (first, second) if name]
            parts.append(pd.DataFrame(values, columns=run["users"]).T)
    together = pd.concat(parts)
    together = together[together[0] >= 0].rename_axis("user")
    sums = together.groupby("user").agg(["sum"]).droplevel(1, axis=1)
    sums.insert(0, "n", together.groupby("user").size())

    def mean(totals):
        n, ours, *theirs = np.moveaxis(totals, -1, 0)
        return (ours - sum(theirs)) / n

    return metrics.user_interval(sums.to_numpy(), mean)


def _lists(first, second, measure="ndcg", cuts=SPLITS):
    """Measure of a conclusion, as `compare_lists`."""
    return lambda report: compare_lists(report, first, second, measure, cuts)


def _of(function):
    """Measure of a conclusion: a function of the frame of random splits."""
    return lambda report: function(on_splits(report))


def _rmse_of(name):
    return lambda found: found["rmse"].map(lambda by_model: by_model[name])


# Stated before the run that is stored. A difference of `MATTERS` stars or more would matter.
MATTERS = 0.005
NDCG, HITS = {"unit": "NDCG"}, {"unit": "hits", "digits": 2}
CONCLUSIONS = {
    "recommendations": [
        Conclusion(
            "rec-popular",
            "the ten most rated movies are better lists than the tuned model's",
            _lists("popularity", "tuned"),
            **NDCG,
        ),
        Conclusion(
            "rec-better-rmse",
            "feedback both ways, whose RMSE is lower, makes better lists than the tuned model",
            _lists("both", "tuned"),
            **NDCG,
        ),
        Conclusion(
            "rec-both-popular",
            "and yet worse ones than the most rated movies",
            _lists("popularity", "both"),
            **NDCG,
        ),
        Conclusion(
            "rec-few",
            "over a hundredth of the tuned model's places goes to movies with two ratings or fewer",
            _of(lambda found: found["tuned_few"]),
            0.01,
            unit="of the places",
        ),
        Conclusion(
            "rec-cure-few",
            "an even penalty leaves them less than a hundredth",
            _of(lambda found: found["even_few"]),
            -math.inf,
            0.01,
            unit="of the places",
            digits=4,
        ),
        Conclusion(
            "rec-cure-rmse",
            "it predicts no worse and no better (gain)",
            _of(lambda found: _rmse_of("tuned")(found) - _rmse_of("even")(found)),
            -MATTERS,
            MATTERS,
        ),
        Conclusion(
            "rec-cure",
            "it makes better lists than the tuned model",
            _lists("even", "tuned"),
            **NDCG,
        ),
        Conclusion(
            "rec-caution",
            "caution makes better lists than the tuned model",
            _lists("cautious", "tuned"),
            **NDCG,
        ),
        Conclusion(
            "rec-caution-cure",
            "caution makes better lists than the even penalty",
            _lists("cautious", "even"),
            **NDCG,
        ),
        Conclusion(
            "rec-ials",
            "a dot product that asks who watched what makes better lists than the tuned model",
            _lists("ials", "tuned"),
            **NDCG,
        ),
        Conclusion(
            "rec-ials-popular",
            "and better ones than the most rated movies",
            _lists("ials", "popularity"),
            **NDCG,
        ),
        Conclusion(
            "rec-ease",
            "EASE makes better lists than the most rated movies",
            _lists("ease", "popularity"),
            **NDCG,
        ),
        Conclusion(
            "rec-ease-tail",
            "in the long tail, too",
            _lists("ease", "popularity", "tail"),
            **HITS,
        ),
        Conclusion(
            "rec-ease-knn", "EASE makes better lists than item-kNN", _lists("ease", "knn"), **NDCG
        ),
        Conclusion(
            "rec-ease-ials", "EASE makes better lists than iALS", _lists("ease", "ials"), **NDCG
        ),
        Conclusion(
            "rec-combined",
            "predicted stars, added to EASE, make its lists better",
            _lists("combined", "ease"),
            **NDCG,
        ),
        Conclusion(
            "rec-last",
            "on users' last ratings, EASE makes better lists than the most rated movies",
            _lists("ease", "popularity", cuts=["last"]),
            **NDCG,
        ),
        Conclusion(
            "rec-last-popular",
            "and these better ones than the tuned model",
            _lists("popularity", "tuned", cuts=["last"]),
            **NDCG,
        ),
        Conclusion(
            "rec-date",
            "after a date, EASE makes better lists than the most rated movies",
            _lists("ease", "popularity", cuts=["date"]),
            **NDCG,
        ),
        Conclusion(
            "rec-fold-one",
            "a new user's first rating lowers the error",
            _of(lambda found: found["tuned_folded_0"] - found["tuned_folded_1"]),
        ),
        Conclusion(
            "rec-fold-ten",
            "ten ratings do",
            _of(lambda found: found["tuned_folded_0"] - found["tuned_folded_10"]),
        ),
        Conclusion(
            "rec-fold-half",
            "ten bring at least half of what all bring (all minus twice ten)",
            _of(
                lambda found: (
                    found["tuned_folded_0"]
                    + found[f"tuned_folded_{ALL}"]
                    - 2 * found["tuned_folded_10"]
                )
            ),
        ),
        Conclusion(
            "rec-fold-vector",
            "the vector adds to the bias, from all ratings",
            _of(lambda found: found[f"tuned_alone_{ALL}"] - found[f"tuned_folded_{ALL}"]),
        ),
        Conclusion(
            "rec-fold-along",
            "folding in is as good as having been trained along (loss)",
            _of(lambda found: found[f"tuned_folded_{ALL}"] - found["tuned_along"]),
            -MATTERS,
            MATTERS,
        ),
        Conclusion(
            "rec-cold",
            "for movies without ratings, the tuned model gains over the constant",
            _of(lambda found: found["movies_constant_0"] - found["movies_tuned_0"]),
            MATTERS,
            digits=2,
        ),
        Conclusion(
            "rec-cold-few",
            "with three to five ratings, the error is lower than with none",
            _of(lambda found: found["movies_tuned_0"] - found["movies_tuned_5"]),
            digits=2,
        ),
        Conclusion(
            "rec-cosine",
            "neighbours by dot product have more than twice the ratings of those by cosine",
            _of(lambda found: found["near_dot"] / found["near_cosine"]),
            2,
            unit="times",
            digits=1,
        ),
    ]
}
