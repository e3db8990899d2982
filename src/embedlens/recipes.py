"""Recipes: how a model is made and trained, in a value that can be compared and stored."""

from dataclasses import asdict, dataclass, fields, replace
import json
import math
from pathlib import Path

from embedlens import data, models
from embedlens.models import (
    BiasOnly,
    DotWithBias,
    DotWithFeedback,
    PenalisedDotWithBias,
    SimpleDot,
    SimpleEmbedding,
)


@dataclass(frozen=True)
class Training:
    """How a model is trained, by Adam on the mean squared error. Defaults: the post's.

    Attributes
    ----------
    epochs : int
        At most so many.
    batch_size : int
        Ratings.
    patience : int or None
        Epochs without a lower validation RMSE after which training ends; None: never.
    learning_rate : float
    falling : bool
        Let the rate fall to zero along half a cosine until the last step of all epochs.
    """

    epochs: int = 10
    batch_size: int = 32
    patience: int | None = 2
    learning_rate: float = 0.001
    falling: bool = False


@dataclass(frozen=True, init=False)
class Recipe:
    """A model's class, its options, and how it is trained. Equal values are equal.

    Parameters
    ----------
    model : type
        Its first two arguments are the numbers of users and of movies.
    training : Training, optional
        Default: the post's.
    **options
        Further arguments of the class; hashable.

    Raises
    ------
    TypeError
        If an option cannot be hashed, and so not be compared.

    Examples
    --------
    >>> Recipe(SimpleDot, dim=8)(671, 9066).user_embedding.output_dim
    8
    """

    model: type
    options: tuple
    training: Training

    def __init__(self, model, training=None, **options):
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "options", tuple(sorted(options.items())))
        object.__setattr__(self, "training", training or Training())
        hash(self.options)

    def __call__(self, n_users, n_movies, **of_ratings):
        """Make the model for these numbers of users and movies.

        A model of feedback also takes ``rated``, as in `models.DotWithFeedback`.
        """
        return self.model(n_users, n_movies, **dict(self.options), **of_ratings)

    def with_options(self, **changes):
        """The recipe with other options of the model."""
        return Recipe(self.model, self.training, **(dict(self.options) | changes))

    def with_training(self, **changes):
        """The recipe with other fields of `Training`."""
        return Recipe(self.model, replace(self.training, **changes), **dict(self.options))

    def settings(self):
        """All of it, ready for JSON: the class by name, options, fields of `Training`."""
        options = {
            key: value.__name__ if isinstance(value, type) else value for key, value in self.options
        }
        return {"model": self.model.__name__, **options, **asdict(self.training)}


def per_row(sizes, n_ratings):
    """How often a row is looked up in an epoch: the geometric mean of users' and movies' means.

    Parameters
    ----------
    sizes : tuple of int
        Number of users, number of movies.
    n_ratings : int

    Returns
    -------
    float
    """
    return n_ratings / math.sqrt(sizes[0] * sizes[1])


def for_size(recipe, sizes, n_ratings):
    """Carry a recipe that was found on the embedded ratings over to more or denser ones.

    Parameters
    ----------
    recipe : Recipe
        As `TUNED` or `FEEDBACK`. Others come back as they are, as does every one where there
        are no more ratings than it was found on.
    sizes : tuple of int
        Number of users, number of movies.
    n_ratings : int
        To train on.

    Returns
    -------
    Recipe

    Notes
    -----
    The price of a looked-up vector is paid once per rating. A Gaussian prior would have it fall as
    one over the ratings of a row; the price that was best fell more slowly (`PENALTY_FADES`, from
    `experiments.carry_over`).

    A model of feedback sums up all ratings in each step. So its batches grow with the ratings, for
    as many steps an epoch, and the learning rate with their root (Malladi et al. 2022). As such
    steps are fewer than the ratings would have made, each doubling takes an epoch more.
    """
    options = dict(recipe.options)
    fuller = max(per_row(sizes, n_ratings) / FOUND_PER_ROW, 1)
    if issubclass(recipe.model, (PenalisedDotWithBias, DotWithFeedback)):
        prices = {name: options[name] for name in VECTOR_PENALTIES if name in options}
        recipe = recipe.with_options(
            **{name: price * fuller**-PENALTY_FADES for name, price in prices.items()}
        )
    found = recipe.training
    times = n_ratings / FOUND_ON
    if issubclass(recipe.model, DotWithFeedback) and times > 1:
        recipe = recipe.with_training(
            batch_size=math.ceil(found.batch_size * times),
            learning_rate=found.learning_rate * math.sqrt(times),
            epochs=found.epochs + round(math.log2(times)),
        )
    return recipe


def load(path):
    """Read the recipe that ``python -m embedlens run tuning --data ...`` found.

    Parameters
    ----------
    path : path-like
        The file that it wrote.

    Returns
    -------
    Recipe

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no recipe for a model of this book.
    """
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))["recipe"]
        model = getattr(models, options.pop("model"))
        trained_so = Training(**{field.name: options.pop(field.name) for field in fields(Training)})
        recipe = Recipe(model, trained_so, **options)
        recipe(1, 1)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: no recipe in it ({error!r}); python -m embedlens run tuning --data writes one"
        ) from error
    return recipe


# What the settings below were found on: ratings to train on, and their `per_row`.
FOUND_ON, FOUND_PER_ROW = 80_003, 32.44
PENALTY_FADES = 0.67  # found by `experiments.carry_over` (rounded); a test holds it against that
VECTOR_PENALTIES = ("vector_penalty", "feedback_penalty", "total_penalty")
SCALE = {"min_rating": data.LOWEST_RATING, "max_rating": data.HIGHEST_RATING}
# The post's models, and biases alone.
SIMPLE_DOT = Recipe(SimpleDot)
OWN_LAYER = Recipe(SimpleDot, embedding=SimpleEmbedding, low=-0.05, high=0.05)
BIAS = Recipe(DotWithBias, **SCALE)
BIAS_ONLY = Recipe(BiasOnly, **SCALE)
# Found by a search in a smaller space than that of `experiments.tuning`, without dropout.
TUNED = Recipe(
    PenalisedDotWithBias,
    Training(epochs=7, batch_size=1024, patience=None, learning_rate=0.01344, falling=True),
    dim=16,
    vector_penalty=0.1156,
    bias_penalty=0.000386,
    **SCALE,
)
# SVD++ both ways. Found by a search like that of `experiments.how_low`, on split 0 alone.
FEEDBACK = Recipe(
    DotWithFeedback,
    Training(epochs=6, batch_size=1024, patience=None, learning_rate=0.005294, falling=True),
    dim=16,
    vector_penalty=0.1417,
    bias_penalty=0.01049,
    feedback_penalty=0.02735,
    feedback_bias_penalty=0.09412,
    total_penalty=0.01871,
    **SCALE,
)
