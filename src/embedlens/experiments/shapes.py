"""What shapes an embedding: the method, the task, the seed. For chapter 9.

Each of the splits is searched within its own training part; then the spaces of all ways and tasks
are compared, beside the same once more with another seed, or on another draw of the ratings.
"""

from functools import cache
from itertools import combinations

import numpy as np

from embedlens import comparing, data, provenance
from embedlens.experiments import completion, search, tasks, tuning
from embedlens.experiments.conclusions import Conclusion
from embedlens.experiments.runner import Experiment
from embedlens.experiments.tasks import GENRES, WATCHED

EMBEDDINGS, RANDOM, SHUFFLED = "embeddings", "random", "shuffled"
WAYS = ["filled", "residual", "softimpute", "autorec", EMBEDDINGS]
SPACES = [*WAYS, WATCHED, GENRES]
SEEDED = ["autorec", EMBEDDINGS, WATCHED, GENRES]
PROPERTIES = ["genre", *tasks.NUMBERS]
EXAMPLES = ["Toy Story (1995)", "Matrix, The (1999)", "Godfather, The (1972)"]
OTHER = 100  # added to a split's number: another seed, another draw
INNER = 1  # the inner split that judges
SHUFFLES = 20
_SVD = {"rank": [1, 2, 4, 8, 16, 32, 64, 128, 256], "shrink": [0, 2, 4, 8, 12, 16, 24, 32]}
_TASK = {"penalty": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3], "epochs": [5, 10, 20, 40, 80]}
# What `climb` goes through, and where it begins. The embeddings' settings are `tuning.anchor`'s.
SPACE = {
    "biases": {"ridge": [0.5, 1, 2, 3, 4, 6, 8, 12]},
    "filled": _SVD,
    "residual": _SVD,
    "softimpute": {"shrink": [4, 6, 8, 10, 12, 14, 16, 20, 24]},
    "autorec": {
        "dim": [16, 32, 64, 128, 256, 512],
        "dropout": [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9],
        "penalty": [0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01],
    },
    WATCHED: _TASK,
    GENRES: _TASK,
}
START = {
    "biases": {"ridge": 2},
    "filled": {"rank": 8, "shrink": 4},
    "residual": {"rank": 8, "shrink": 4},
    "softimpute": {"shrink": 8},
    "autorec": {"dim": 64, "dropout": 0.5, "penalty": 0.0003},
    WATCHED: {"penalty": 0.01, "epochs": 10},
    GENRES: {"penalty": 0.01, "epochs": 10},
}
FIXED = {
    "softimpute": {"rounds": 20},
    "autorec": {"learning_rate": 0.003, "epochs": 30, "batch_size": 512},
}
ON_RESIDUALS = ["residual", "softimpute", "autorec"]


def around(setting, space):
    """List the settings one step away from a setting, along each of its parameters in turn.

    Parameters
    ----------
    setting : dict
    space : dict of str to list
        The values of each parameter, in order.

    Returns
    -------
    list of dict
    """
    found = []
    for name, values in space.items():
        place = values.index(setting[name])
        steps = [place - 1, place + 1]
        found += [{**setting, name: values[i]} for i in steps if 0 <= i < len(values)]
    return found


def climb(start, space, **fixed):
    """Search step by step: try all settings around the best, until none of them is better.

    So the setting that is found has been tried against its neighbours on either side. (A pattern
    search; Hooke and Jeeves 1961. It may end in a local optimum.)

    Parameters
    ----------
    start : dict
        A value for each name in `space`.
    space : dict of str to list
    **fixed
        Further arguments of the experiment's `measure`, which gets the trial's as `setting`,
        and gives a dict with ``error``.

    Yields
    ------
    list of dict
        Parts to measure.

    Returns
    -------
    dict
        The setting with the lowest error.
    """
    best, errors = start, {}
    while True:
        near = [best, *around(best, space)]
        new = [setting for setting in near if tuple(setting.values()) not in errors]
        if not new:
            return best
        found = yield [{"kind": "trial", **fixed, "setting": setting} for setting in new]
        for setting, one in zip(new, found, strict=True):
            errors[tuple(setting.values())] = one["error"]
        best = min(near, key=lambda setting: errors[tuple(setting.values())])


def search_one(split):
    """Search all settings of a split within its training part; "genres" needs no ratings.

    Yields
    ------
    list of dict
        Arguments of `measure`.

    Returns
    -------
    dict of str to dict
        By way or task.
    """
    if split == GENRES:
        return {GENRES: (yield from climb(START[GENRES], SPACE[GENRES], split=None, way=GENRES))}
    ridge = yield from climb(START["biases"], SPACE["biases"], split=split, way="biases")
    found = {"biases": ridge}

    def one(way):
        constant = FIXED.get(way, {}) | (ridge if way in ON_RESIDUALS else {})
        start = START[way] | constant
        return (yield from climb(start, SPACE[way], split=split, way=way))

    others = [way for way in START if way not in ("biases", GENRES)]
    return found | (yield from search.each_split(one, others))


def to_measure():
    """Search each split, then report on it.

    Yields
    ------
    list of dict
        Arguments of `measure`.
    """
    found = yield from search.each_split(search_one, [GENRES, *search.OUTER])
    yield [
        {"kind": "report", "split": split, "settings": found[split] | found[GENRES]}
        for split in search.OUTER
    ]


def measure(kind, **part):
    """Measure a part: `judge` for a trial, `report` for a split."""
    return judge(**part) if kind == "trial" else report(**part)


def judge(split, way, setting):
    """Train at a setting within the training part of a split.

    Parameters
    ----------
    split : int or None
        None for genres, of whose pairs a tenth is set aside.
    way : str
    setting : dict

    Returns
    -------
    dict
        ``error``: RMSE in stars; of a task, its loss (binary cross-entropy).
    """
    if way == GENRES:
        pairs, sizes = tasks.pairs_of(GENRES, None)
        drawn = np.random.default_rng(INNER).permutation(pairs)
        pairs, aside = np.split(drawn, [int(search.SPLITS["inner_share"] * len(pairs))])
        return {"error": tasks.loss_aside(pairs, aside, sizes, INNER, **setting)}
    train, valid = search.inner_part(INNER, split=split)
    if way == WATCHED:
        pairs, sizes = tasks.pairs_of(WATCHED, train)
        return {"error": tasks.loss_aside(pairs, data.inputs(valid), sizes, INNER, **setting)}
    sizes = data.count_users_and_movies(data.prepared())
    return {"error": completion.fit(way, train, sizes, INNER, **setting).rmse(valid)}


def fit(space, ratings, split, seed, settings):
    """Embed the movies in one way, or by one task.

    Parameters
    ----------
    space : str
        One of `SPACES`, or "biases".
    ratings : pandas.DataFrame
        That train.
    split : int
        Whose `tuning.anchor` is taken.
    seed : int
    settings : dict of str to dict
        By way or task, as `search_one` finds them.

    Returns
    -------
    completion.Fit
        A task gives no predictions.
    """
    sizes = data.count_users_and_movies(data.prepared())
    if space == EMBEDDINGS:
        return completion.embeddings(ratings, sizes, seed, tuning.anchor(split))
    if space in (WATCHED, GENRES):
        model = tasks.train(*tasks.pairs_of(space, ratings), seed, **settings[space])
        layers = model.movie_embedding, model.movie_bias
        vectors, movie_bias = (layer.get_weights()[0] for layer in layers)
        return completion.Fit(vectors, np.empty(0), movie_bias)
    return completion.fit(space, ratings, sizes, seed, **settings[space])


def report(split, settings):
    """Fit all ways and tasks on one split, and compare errors and spaces.

    Parameters
    ----------
    split : int
    settings : dict of str to dict

    Returns
    -------
    dict of str to float
        ``rmse WAY`` in stars; ``dim SPACE``; ``kept SPACE``: share of the variance in the
        components that are compared; ``agreement SPACE | OTHER`` and ``canonical SPACE | OTHER``
        (a list, all correlations), where OTHER may also be ``other seed`` or ``other ratings``
        for the same once more; ``canonical chance`` and ``largest chance``: of shuffled movies;
        ``probe SPACE PROPERTY``, where SPACE may be one with ``again`` (another seed), with
        ``bias``, random, shuffled, or known: what the training ratings themselves say;
        ``pc1 SPACE``: absolute correlation of the first component with the mean rating;
        ``near SPACE``: as from `near`.
    """
    train, valid = data.train_valid_split(data.prepared(), split)
    other_ratings, _ = data.train_valid_split(data.prepared(), split + OTHER)
    fitted = {way: fit(way, train, split, split, settings) for way in ["biases", *SPACES]}
    found = {f"rmse {way}": fitted[way].rmse(valid) for way in ["biases", *WAYS]}
    spaces = {}
    for space in SPACES:
        spaces[space], found[f"kept {space}"] = components(fitted[space])
        found[f"dim {space}"] = fitted[space].vectors.shape[1]
    for one, other in combinations(SPACES, 2):
        found |= compare(f"{one} | {other}", spaces[one], spaces[other])
    again = {
        space: components(fit(space, train, split, split + OTHER, settings))[0] for space in SEEDED
    }
    redrawn = {
        space: components(fit(space, other_ratings, split, split + OTHER, settings))[0]
        for space in SPACES
        if space != GENRES
    }
    for space, other in again.items():
        found |= compare(f"{space} | other seed", spaces[space], other)
    for space, other in redrawn.items():
        found |= compare(f"{space} | other ratings", spaces[space], other)
    for space in SPACES:
        found[f"near {space}"] = near(spaces[space], (again | redrawn)[space])
    found |= by_chance(spaces[EMBEDDINGS], again[EMBEDDINGS], split)
    rng = np.random.default_rng(split)
    asked = spaces | {f"{space} again": other for space, other in again.items()}
    asked[RANDOM] = rng.normal(size=spaces[EMBEDDINGS].shape)
    asked[SHUFFLED] = rng.permutation(spaces[EMBEDDINGS])
    for space in (EMBEDDINGS, WATCHED):
        asked[f"{space} bias"] = np.hstack([spaces[space], fitted[space].movie_bias[known().index]])
    found |= probes(asked, train, valid)
    rating = known()["rating"].to_numpy()
    for space, vectors in asked.items():
        found[f"pc1 {space}"] = abs(np.corrcoef(vectors[:, 0], rating)[0, 1])
    return found


def compare(name, ours, theirs):
    """Measure agreement of neighbours, and canonical correlations: a dict by ``MEASURE name``."""
    return {
        f"agreement {name}": comparing.agreement(ours, theirs),
        f"canonical {name}": comparing.canonical_correlations(ours, theirs),
    }


def near(space, other, n=3):
    """List the nearest movies of `EXAMPLES`, and whether another space lists them too.

    Parameters
    ----------
    space, other : numpy.ndarray, shape (len(known()), dim)
    n : int, default 3

    Returns
    -------
    dict of str to list
        By title: pairs of a title, nearest first, and whether it is among the ten nearest in
        `other`.
    """
    found = {}
    for title in EXAMPLES:
        theirs = set(comparing.neighbours_of(title, known(), other, 10)["title"])
        ours = comparing.neighbours_of(title, known(), space, n)["title"]
        found[title] = [[one, one in theirs] for one in ours]
    return found


def by_chance(ours, theirs, seed):
    """Canonical correlations with the movies of one space shuffled.

    Returns
    -------
    dict
        ``canonical chance``: their mean, a list; ``largest chance``: what the largest of them
        exceeds in one of twenty shuffles.
    """
    rng = np.random.default_rng(seed)
    found = np.array(
        [comparing.canonical_correlations(ours, rng.permutation(theirs)) for _ in range(SHUFFLES)]
    )
    return {
        "canonical chance": found.mean(axis=0),
        "largest chance": np.quantile(found[:, 0], 0.95),
    }


def probes(spaces, train, valid):
    """Ask every space for every property: a dict by ``probe SPACE PROPERTY``, see `tasks`."""
    genres, numbers = tasks.properties(known(), valid)
    found = {}
    for space, vectors in spaces.items():
        found[f"probe {space} genre"] = tasks.probe_genres(vectors, genres)
        for name in tasks.NUMBERS:
            found[f"probe {space} {name}"] = tasks.probe_number(vectors, numbers, name)
    for name, values in tasks.known_in_training(known(), train).items():
        found[f"probe known {name}"] = tasks.probe_number(values[:, None], numbers, name)
    return found


@cache
def known():
    """The movies with more than 20 ratings, as from `data.movie_table`."""
    return data.often_rated(data.movie_table(data.prepared()))


def components(fitted):
    """The principal components in which spaces are compared, of the movies with > 20 ratings.

    Parameters
    ----------
    fitted : completion.Fit

    Returns
    -------
    scores : numpy.ndarray, shape (n, dim)
        `comparing.COMPONENTS` of them, or all where there are fewer.
    share : float
        Of the variance, that they keep.
    """
    vectors = fitted.vectors[known().index]
    return comparing.first_components(vectors, min(comparing.COMPONENTS, vectors.shape[1]))


SHAPES = Experiment(
    "shapes",
    {
        "splits": search.OUTER,
        "inner": INNER,
        "space": SPACE,
        "start": START,
        "fixed": FIXED,
        "tasks": tasks.SETTINGS,
        "anchors": tuning.anchors(),
        "components": comparing.COMPONENTS,
    },
    to_measure,
    measure,
    files=(provenance.PACKAGE / "results/anchors.json",),
)


def column(report, key):
    """A measure of the stored report, a value per split: numpy.ndarray."""
    return np.array([run[key] for run in report["runs"] if run["kind"] == "report"])


def _difference(one, other):
    return lambda report: column(report, one) - column(report, other)


def _two_seeds(space, name):
    """A probe's score, mean of both seeds."""
    return lambda report: (
        (column(report, f"probe {space} {name}") + column(report, f"probe {space} again {name}"))
        / 2
    )


def _watched_gain(name):
    watched, ratings = _two_seeds(WATCHED, name), _two_seeds(EMBEDDINGS, name)
    return lambda report: watched(report) - ratings(report)


def _late_pairs(report):
    """Mean canonical correlation with another seed of pairs 7 to 16, minus that of chance."""
    again = column(report, f"canonical {EMBEDDINGS} | other seed")[:, 6:]
    return np.mean(again - column(report, "canonical chance")[:, 6:], axis=1)


def outlive(report, space):
    """How many pairs of directions outlive another seed: a count per split.

    Those whose canonical correlation is above what the *largest* of shuffled movies exceeds in
    one of twenty shuffles.
    """
    again = column(report, f"canonical {space} | other seed")
    return np.sum(again > column(report, "largest chance")[:, None], axis=1)


def _methods_against_task(report):
    methods = [column(report, f"agreement {one} | {EMBEDDINGS}") for one in ON_RESIDUALS]
    return np.mean(methods, axis=0) - column(report, f"agreement {EMBEDDINGS} | {WATCHED}")


def _task_against_seed(report):
    seeds = [column(report, f"agreement {one} | other seed") for one in (EMBEDDINGS, WATCHED)]
    return np.min(seeds, axis=0) - column(report, f"agreement {EMBEDDINGS} | {WATCHED}")


def _moved_by_seed(report):
    """The largest difference that another seed makes to a probe, over all spaces and properties."""
    moved = [
        np.abs(column(report, f"probe {one} {name}") - column(report, f"probe {one} again {name}"))
        for one in SEEDED
        for name in PROPERTIES
    ]
    return np.max(moved, axis=0)


SHARE = {"unit": "of ten neighbours", "digits": 2}
CONCLUSIONS = {
    "shapes": [
        Conclusion(
            "mean-filled-behind",
            "An SVD of the table filled with means predicts worse than biases alone",
            _difference("rmse filled", "rmse biases"),
        ),
        Conclusion(
            "soft-impute-gains",
            "Filling the gaps again and again predicts better than zeros in them",
            _difference("rmse residual", "rmse softimpute"),
        ),
        Conclusion(
            "soft-impute-alike",
            "SoftImpute and embeddings predict alike, within 0.005 stars",
            _difference("rmse softimpute", f"rmse {EMBEDDINGS}"),
            low=-0.005,
            high=0.005,
            digits=4,
        ),
        Conclusion(
            "autoencoder-gains",
            "The autoencoder predicts better than the embeddings",
            _difference(f"rmse {EMBEDDINGS}", "rmse autorec"),
            digits=4,
        ),
        Conclusion(
            "twins",
            "The autoencoder shares as many neighbours with SoftImpute as with another seed, "
            "within one of ten",
            _difference("agreement autorec | other seed", "agreement softimpute | autorec"),
            low=-0.1,
            high=0.1,
            **SHARE,
        ),
        Conclusion(
            "gaps-before-model",
            "SoftImpute shares more neighbours with an autoencoder than with an SVD of zeros",
            _difference("agreement softimpute | autorec", "agreement residual | softimpute"),
            **SHARE,
        ),
        Conclusion(
            "seed-takes-most",
            "Another seed keeps less than half of the embeddings' neighbours",
            lambda report: column(report, f"agreement {EMBEDDINGS} | other seed"),
            low=-np.inf,
            high=0.5,
            **SHARE,
        ),
        Conclusion(
            "luck-is-the-setting",
            "On the same task, the autoencoder keeps more of its neighbours than the embeddings",
            _difference("agreement autorec | other seed", f"agreement {EMBEDDINGS} | other seed"),
            **SHARE,
        ),
        Conclusion(
            "seed-before-method",
            "The embeddings share more neighbours with another seed than with SoftImpute",
            _difference(
                f"agreement {EMBEDDINGS} | other seed", f"agreement softimpute | {EMBEDDINGS}"
            ),
            **SHARE,
        ),
        Conclusion(
            "late-pairs-survive",
            "The embeddings' pairs of directions 7 to 16 outlive another seed",
            _late_pairs,
            unit="correlation",
            digits=2,
        ),
        Conclusion(
            "most-pairs-survive",
            "More than half of the embeddings' 16 pairs of directions outlive another seed",
            lambda report: outlive(report, EMBEDDINGS),
            low=8,
            unit="pairs",
            digits=1,
        ),
        Conclusion(
            "task-before-method",
            "Embeddings share more neighbours with other methods than with another task",
            _methods_against_task,
            **SHARE,
        ),
        Conclusion(
            "task-before-seed",
            "Ratings and watched share fewer neighbours than either does with another seed",
            _task_against_seed,
            **SHARE,
        ),
        *(
            Conclusion(
                f"watched-{name}",
                f"A probe reads the {what} better from the task watched than from ratings",
                _watched_gain(name),
                unit=unit,
                digits=2,
            )
            for name, what, unit in [
                ("genre", "genre", "area under ROC"),
                ("year", "year", "R\N{SUPERSCRIPT TWO}"),
                ("popularity", "popularity", "R\N{SUPERSCRIPT TWO}"),
            ]
        ),
        Conclusion(
            "bias-holds-rating",
            "With the movie's bias beside it, a rating vector tells the mean rating better",
            _difference(f"probe {EMBEDDINGS} bias rating", f"probe {EMBEDDINGS} rating"),
            low=0.05,
            unit="R\N{SUPERSCRIPT TWO}",
            digits=2,
        ),
        Conclusion(
            "probes-survive",
            "What a probe reads moves by less than 0.1 with another seed, in any space",
            _moved_by_seed,
            low=-np.inf,
            high=0.1,
            unit="of a score",
            digits=3,
        ),
        Conclusion(
            "first-component-filled",
            "The first component of the mean-filled SVD is the mean rating",
            lambda report: column(report, "pc1 filled"),
            low=0.9,
            unit="correlation",
            digits=2,
        ),
    ]
}
