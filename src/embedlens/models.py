"""The models of the book and its own layer, in the order of the chapters."""

import contextlib
import functools
import inspect
from types import MappingProxyType

import keras
from keras import ops
import numpy as np

from embedlens import data

PAIRS_PER_CHUNK = 100_000


def savable(cls):
    """Let Keras save, load and clone a model or layer: it notes what it was made with.

    Keras notes this for layers whose arguments are numbers or strings, but not for models.
    Put ``@savable`` above the class. Arguments may also be NumPy numbers and arrays, and
    classes of layers. Besides,

    - arguments are checked by their names: numbers of rows and columns, dropout, penalties,
      the ends of the scale, and pairs of ids;
    - ``dtype``, if given, is also that of the layers that the constructor makes;
    - input reaches the layers as it is: under mixed precision Keras would first round
      it to 16 bits, and with it all ids above 2,048 that come as floats.

    Parameters
    ----------
    cls : type
        A keras.Model or keras.layers.Layer. Its constructor names all its arguments but
        ``**kwargs``, or passes them all on, as ``*args, **kwargs``, to that of its parent.

    Returns
    -------
    type
        The class itself. Its constructor raises ValueError for arguments that cannot be.
    """
    make = cls.__init__
    signature = inspect.signature(make)
    passes_on = any(p.kind == p.VAR_POSITIONAL for p in signature.parameters.values())
    if passes_on and len(signature.parameters) > 3:
        raise TypeError(f"{cls.__name__}: name all arguments of the constructor in place of *args")

    @functools.wraps(make)
    def init(self, *args, **kwargs):
        if passes_on:
            with _precision(kwargs.get("dtype")):
                make(self, *args, **kwargs)
            return
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = dict(list(bound.arguments.items())[1:])  # without self
        given |= given.pop("kwargs", {})
        given = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
        _check_arguments(given)
        with _precision(given.get("dtype")):
            make(self, **given)
        self.autocast = False
        self._made_with = MappingProxyType(given)  # a dict would be tracked as a state

    def get_config(self):
        if type(self).__init__ is not init:
            raise NotImplementedError(
                f"{type(self).__name__} has a constructor of its own: put @savable above the "
                "class, and Keras can save it"
            )
        noted = {name: _written(value) for name, value in self._made_with.items()}
        return {**noted, **keras.layers.Layer.get_config(self)}

    def from_config(cls, config):
        return cls(**{name: _read(value) for name, value in config.items()})

    init.__signature__ = signature  # Keras asks for it in two ways
    cls.__init__, cls.get_config, cls.from_config = init, get_config, classmethod(from_config)
    return keras.saving.register_keras_serializable(package="embedlens")(cls)


@savable
class SimpleDot(keras.Model):
    """Predict a rating as the dot product of a user vector and a movie vector.

    Parameters
    ----------
    n_users, n_movies : int
        The tables have one row more: ids start at 1 and row 0 stays unused.
    dim : int, default 64
        Length of the vectors.
    low, high : float
        Initial weights are drawn from U(low, high).
    embedding : type, default keras.layers.Embedding
        The layer class; chapter 5 passes its own.

    Notes
    -----
    Input: integers of shape (n, 2), dense user id and dense movie id.
    Output: float32 of shape (n, 1), in stars. Post: ``simple_dot``, ``simple_dot2``.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        dim=64,
        low=0.0,
        high=0.05,
        embedding=keras.layers.Embedding,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.user_embedding = embedding(
            n_users + 1,
            dim,
            embeddings_initializer=keras.initializers.RandomUniform(low, high),
            name="user_embedding",
        )
        self.movie_embedding = embedding(
            n_movies + 1,
            dim,
            embeddings_initializer=keras.initializers.RandomUniform(low, high),
            name="movie_embedding",
        )

    def call(self, x):
        users, movies = x[:, 0], x[:, 1]
        product = self.user_embedding(users) * self.movie_embedding(movies)
        return ops.sum(product, axis=-1, keepdims=True)


@savable
class DotWithBias(keras.Model):
    """Add a bias per user and per movie, and keep predictions inside the scale.

    Parameters
    ----------
    n_users, n_movies : int
        The tables have one row more: ids start at 1 and row 0 stays unused.
    min_rating, max_rating : float
        Ends of the scale in stars; the sigmoid is stretched between them.
    dim : int, default 64
        Length of the vectors.
    user_dropout, movie_dropout : float
        Share of vector entries silenced in training.

    Notes
    -----
    Input: integers of shape (n, 2), dense user id and dense movie id.
    Output: float32 of shape (n, 1), in stars. Post: ``dot_with_bias``.
    `call` must name `training`: without it, Keras 3 never switches dropout on.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        min_rating,
        max_rating,
        dim=64,
        user_dropout=0.3,
        movie_dropout=0.6,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.min_rating = min_rating
        self.max_rating = max_rating
        self.user_embedding = keras.layers.Embedding(n_users + 1, dim, name="user_embedding")
        self.movie_embedding = keras.layers.Embedding(n_movies + 1, dim, name="movie_embedding")
        self.user_bias = keras.layers.Embedding(n_users + 1, 1, name="user_bias")
        self.movie_bias = keras.layers.Embedding(n_movies + 1, 1, name="movie_bias")
        self.user_dropout = keras.layers.Dropout(user_dropout)
        self.movie_dropout = keras.layers.Dropout(movie_dropout)

    def call(self, x, training=False):
        users, movies = x[:, 0], x[:, 1]
        user_vectors = self.user_dropout(self.user_embedding(users), training=training)
        movie_vectors = self.movie_dropout(self.movie_embedding(movies), training=training)
        dot = ops.sum(user_vectors * movie_vectors, axis=-1, keepdims=True)
        score = ops.sigmoid(dot + self.user_bias(users) + self.movie_bias(movies))
        return score * (self.max_rating - self.min_rating) + self.min_rating


@savable
class BiasOnly(keras.Model):
    """Predict from a bias per user and per movie alone: `DotWithBias` without its vectors.

    Parameters
    ----------
    n_users, n_movies : int
        The tables have one row more: ids start at 1 and row 0 stays unused.
    min_rating, max_rating : float
        Ends of the scale in stars; the sigmoid is stretched between them.

    Notes
    -----
    Input: integers of shape (n, 2), dense user id and dense movie id.
    Output: float32 of shape (n, 1), in stars. Not in the post.
    """

    def __init__(self, n_users, n_movies, min_rating, max_rating, **kwargs):
        super().__init__(**kwargs)
        self.min_rating = min_rating
        self.max_rating = max_rating
        self.user_bias = keras.layers.Embedding(n_users + 1, 1, name="user_bias")
        self.movie_bias = keras.layers.Embedding(n_movies + 1, 1, name="movie_bias")

    def call(self, x):
        score = ops.sigmoid(self.user_bias(x[:, 0]) + self.movie_bias(x[:, 1]))
        return score * (self.max_rating - self.min_rating) + self.min_rating


@keras.saving.register_keras_serializable(package="embedlens")
class SimpleEmbedding(keras.layers.Layer):
    """Look rows up in a weight matrix, as ``keras.layers.Embedding`` does.

    Parameters
    ----------
    input_dim : int
        Number of rows: the largest id plus one.
    output_dim : int
        Length of a row.
    embeddings_initializer : str or keras.initializers.Initializer
        Default: U(-0.05, 0.05), which the post's own layer falls back to as well.

    Notes
    -----
    Input: integer ids of any shape, also as floats. Output: floats of the layer's precision,
    that shape plus ``(output_dim,)``.
    The post's layer (section on the embedding layer) works for input length 1 only.
    """

    def __init__(self, input_dim, output_dim, embeddings_initializer="uniform", **kwargs):
        super().__init__(autocast=False, **kwargs)  # rounds no ids
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
        )

    def call(self, ids):
        rows = ops.take(self.embeddings, ops.cast(ids, "int32"), axis=0)
        return ops.cast(rows, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.output_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }


@savable
class PenalisedDotWithBias(DotWithBias):
    """`DotWithBias` with a price on long vectors and large biases, and no dropout by default.

    Parameters
    ----------
    n_users, n_movies, min_rating, max_rating, dim, user_dropout, movie_dropout
        As in `DotWithBias`.
    vector_penalty, bias_penalty : float
        Weights of the mean squared length, over the ratings of a batch, of the vectors and
        of the biases that were looked up. Only rows that are looked up pay.

    Notes
    -----
    Input and output as in `DotWithBias`. Koren, Bell and Volinsky (2009), equation 5, sum
    the penalty over the ratings in the same way. Not in the post.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        min_rating,
        max_rating,
        dim=64,
        vector_penalty=0.0,
        bias_penalty=0.0,
        user_dropout=0.0,
        movie_dropout=0.0,
        **kwargs,
    ):
        sizes, scale = (n_users, n_movies), (min_rating, max_rating)
        super().__init__(*sizes, *scale, dim, user_dropout, movie_dropout, **kwargs)
        self.vector_penalty = vector_penalty
        self.bias_penalty = bias_penalty

    def call(self, x, training=False):
        users, movies = x[:, 0], x[:, 1]
        if training:
            for penalty, tables in [
                (self.vector_penalty, [self.user_embedding(users), self.movie_embedding(movies)]),
                (self.bias_penalty, [self.user_bias(users), self.movie_bias(movies)]),
            ]:
                for rows in tables:
                    squares = ops.cast(rows, "float32") ** 2
                    self.add_loss(penalty * ops.mean(ops.sum(squares, axis=-1)))
        return super().call(x, training=training)


@savable
class EvenlyPenalised(DotWithBias):
    """`DotWithBias` in which every row pays, looked up or not, and each as much.

    Parameters
    ----------
    n_users, n_movies, min_rating, max_rating, dim, user_dropout, movie_dropout
        As in `DotWithBias`.
    vector_penalty, bias_penalty : float
        Weights of the mean squared length, over all rows of a table, of vectors and of biases.

    Notes
    -----
    Input and output as in `DotWithBias`. A Gaussian prior prices rows so: each once, however many
    ratings it has. In `PenalisedDotWithBias` a row pays for each of them. Not in the post.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        min_rating,
        max_rating,
        dim=64,
        vector_penalty=0.0,
        bias_penalty=0.0,
        user_dropout=0.0,
        movie_dropout=0.0,
        **kwargs,
    ):
        sizes, scale = (n_users, n_movies), (min_rating, max_rating)
        super().__init__(*sizes, *scale, dim, user_dropout, movie_dropout, **kwargs)
        for layer in (self.user_embedding, self.movie_embedding, self.user_bias, self.movie_bias):
            price = bias_penalty if layer.output_dim == 1 else vector_penalty
            layer.embeddings_regularizer = keras.regularizers.L2(price / (layer.input_dim - 1))


@savable
class Biases(keras.Model):
    """A bias per user and per movie in a sigmoid: what all contestants share.

    Parameters
    ----------
    n_users, n_movies : int
        The tables have one row more: ids start at 1 and row 0 stays unused.
    bias_penalty : float
        Weight of the mean squared bias of the rows that were looked up.
    embedding : type, default keras.layers.Embedding
        The layer class; `OneHotDense` does the same the long way.

    Notes
    -----
    Input: integers of shape (n, 2), dense user id and dense movie id.
    Output: float32 of shape (n, 1), in stars. A subclass adds an `interaction`.
    """

    def __init__(
        self, n_users, n_movies, bias_penalty=0.0, embedding=keras.layers.Embedding, **kwargs
    ):
        super().__init__(**kwargs)
        self.bias_penalty = bias_penalty
        self.user_bias = embedding(n_users + 1, 1, name="user_bias")
        self.movie_bias = embedding(n_movies + 1, 1, name="movie_bias")

    def interaction(self, users, movies, training):
        return 0.0

    def price(self, weight, rows):
        squares = ops.cast(rows, "float32") ** 2
        self.add_loss(weight * ops.mean(ops.sum(squares, axis=-1)))

    def call(self, x, training=False):
        users, movies = x[:, 0], x[:, 1]
        user_bias, movie_bias = self.user_bias(users), self.movie_bias(movies)
        if training:
            self.price(self.bias_penalty, user_bias)
            self.price(self.bias_penalty, movie_bias)
        score = user_bias + movie_bias + self.interaction(users, movies, training)
        scale = data.HIGHEST_RATING - data.LOWEST_RATING
        return data.LOWEST_RATING + scale * ops.sigmoid(score)


@savable
class OneHotDense(keras.layers.Layer):
    """Make one-hot vectors of ids and multiply them by a matrix of weights.

    Parameters
    ----------
    input_dim : int
        Ids run from 0 to ``input_dim - 1``.
    output_dim : int
        Length of the result for each id.

    Notes
    -----
    Takes the place of keras.layers.Embedding, and does what it does the long way.
    """

    def __init__(self, input_dim, output_dim, **kwargs):
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.dense = keras.layers.Dense(output_dim, use_bias=False, kernel_initializer="uniform")

    def build(self, shape):
        self.dense.build((*shape, self.input_dim))

    def call(self, ids):
        return self.dense(ops.one_hot(ops.cast(ids, "int32"), self.input_dim))


@savable
class OneHotNetwork(Biases):
    """Add a network on the one-hot vectors of user and movie.

    Parameters
    ----------
    n_users, n_movies, bias_penalty, embedding
        As in `Biases`.
    dim : int
        Length of the rows of the two tables.
    units, layers : int
        Width and number of the hidden layers behind what `combine` makes of two rows.
    penalty : float
        As `bias_penalty`, for the rows.
    kernel_penalty : float
        The same for the rows of all further layers' weights; offsets go free.

    Notes
    -----
    The tables are the first hidden layer, which the one-hot vectors of user and movie pass side
    by side. It needs no offset of its own: the users' rows can hold it.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        dim,
        units=16,
        layers=0,
        penalty=0.0,
        kernel_penalty=0.0,
        bias_penalty=0.0,
        embedding=keras.layers.Embedding,
        **kwargs,
    ):
        super().__init__(n_users, n_movies, bias_penalty, embedding, **kwargs)
        self.penalty = penalty
        self.kernel_penalty = kernel_penalty
        self.user_rows = embedding(n_users + 1, dim, name="user_rows")
        self.movie_rows = embedding(n_movies + 1, dim, name="movie_rows")
        self.network = [keras.layers.Dense(units, "relu") for _ in range(layers)]
        self.network.append(keras.layers.Dense(1, use_bias=False))

    def combine(self, user, movie):
        return ops.relu(user + movie)

    def interaction(self, users, movies, training):
        user, movie = self.user_rows(users), self.movie_rows(movies)
        hidden = self.combine(user, movie)
        for layer in self.network:
            hidden = layer(hidden)
        if training:
            self.price(self.penalty, user)
            self.price(self.penalty, movie)
            for layer in self.network:
                self.price(self.kernel_penalty, layer.kernel)
        return hidden


@savable
class EmbeddingNetwork(OneHotNetwork):
    """`OneHotNetwork` whose rows are embeddings: concatenated, in front of the hidden layers."""

    def combine(self, user, movie):
        return ops.concatenate([user, movie], axis=-1)


@savable
class ProductNetwork(OneHotNetwork):
    """`OneHotNetwork` on the product of the two rows, entry by entry."""

    def combine(self, user, movie):
        return user * movie


@savable
class AutoRec(keras.Model):
    """An autoencoder of rating vectors: give back what is known, and so guess the rest.

    Parameters
    ----------
    n_columns : int
        Length of a rating vector.
    dim : int
        Width of the hidden layer.
    dropout : float
        Share of the input that is hidden in training.
    penalty : float
        Weight of the sum of the squared entries of both weight matrices.

    Notes
    -----
    Input and output: float32 of shape (n, n_columns), what biases leave of the ratings; 0
    in the input where there is none. Train it with `masked_mse`. Sedhain, Menon, Sanner
    and Xie (2015), with the dropout added. Not in the post.
    """

    def __init__(self, n_columns, dim, dropout=0.0, penalty=0.0, **kwargs):
        super().__init__(**kwargs)
        l2 = keras.regularizers.L2(penalty)
        self.hide = keras.layers.Dropout(dropout)
        self.encoder = keras.layers.Dense(dim, activation="tanh", kernel_regularizer=l2)
        self.decoder = keras.layers.Dense(n_columns, kernel_regularizer=l2)

    def call(self, x, training=False):
        return self.decoder(self.encoder(self.hide(x, training=training)))


@keras.saving.register_keras_serializable(package="embedlens")
def masked_mse(truth, prediction):
    """Mean squared error where there is a rating; NaN in `truth` says that there is none."""
    rated = ops.isfinite(truth)
    error = ops.where(rated, truth, prediction) - prediction
    count = ops.sum(ops.cast(rated, prediction.dtype))
    return ops.sum(error**2) / ops.maximum(count, 1)


@savable
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
        self.context_embedding = keras.layers.Embedding(
            n_contexts + 1, dim, name="context_embedding"
        )
        self.movie_embedding = keras.layers.Embedding(n_movies + 1, dim, name="movie_embedding")
        self.movie_bias = keras.layers.Embedding(n_movies + 1, 1, name="movie_bias")

    def call(self, x, training=False):
        contexts = self.context_embedding(x[:, 0])
        movies = self.movie_embedding(x[:, 1])
        if training:
            for rows in (contexts, movies):
                squares = ops.cast(rows, "float32") ** 2
                self.add_loss(self.penalty * ops.mean(ops.sum(squares, axis=-1)))
        dot = ops.sum(contexts * movies, axis=-1, keepdims=True)
        return dot + self.movie_bias(x[:, 1])


def in_chunks(pairs):
    """Cut pairs into chunks of one size, for `partner_sums`.

    Parameters
    ----------
    pairs : numpy.ndarray of int, shape (n, 2)
        Ids from 1.

    Returns
    -------
    numpy.ndarray of int32, shape (n_chunks, size, 2)
        Ordered by the first id. The last chunk is filled up with pairs of 0, which belong to
        nobody.
    """
    n_chunks = max(-(-len(pairs) // PAIRS_PER_CHUNK), 1)
    size = -(-len(pairs) // n_chunks)
    ordered = pairs[np.argsort(pairs[:, 0], kind="stable")].astype("int32")
    return np.pad(ordered, ((0, n_chunks * size - len(pairs)), (0, 0))).reshape(n_chunks, size, 2)


def partner_sums(rows, pairs, side, n_owners):
    """Sum up, for each owner, the rows of its partners.

    Parameters
    ----------
    rows : tensor of float, shape (n_partners, width)
    pairs : numpy.ndarray of int, shape (n_chunks, size, 2)
        As from `in_chunks`.
    side : int
        Column of `pairs` that holds the owners; the other one holds their partners.
    n_owners : int

    Returns
    -------
    tensor, shape (n_owners, width)

    Notes
    -----
    Chunk by chunk, so that what is looked up stays in the processor's cache. The gradient is
    the same sum with the sides exchanged: nothing as long as all pairs is kept for it.
    """
    pairs = ops.convert_to_tensor(pairs)

    def sums_of(rows, side, n_owners):
        def add(i, sums):
            chunk = ops.take(pairs, i, axis=0)
            partners = ops.take(rows, chunk[:, 1 - side], axis=0)
            return sums + ops.segment_sum(partners, chunk[:, side], n_owners)

        nothing = ops.zeros((n_owners, rows.shape[1]), rows.dtype)
        if pairs.shape[0] == 1:
            return add(0, nothing)
        return ops.fori_loop(0, pairs.shape[0], add, nothing)

    @ops.custom_gradient
    def sums(rows):
        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return sums_of(upstream, 1 - side, rows.shape[0])

        return sums_of(rows, side, n_owners), gradient

    return sums(rows)


@savable
class DotWithFeedback(keras.Model):
    """SVD++ both ways: users are also what they rated, movies also who rated them.

    A user's row is a table's row plus the sum of the feedback rows of the movies that the
    user rated, over the root of their number; a movie's row likewise. The last entry of
    each row is the bias.

    Parameters
    ----------
    n_users, n_movies : int
        The tables have one row more: ids start at 1 and row 0 stays unused.
    min_rating, max_rating : float
        Ends of the scale in stars; the sigmoid is stretched between them.
    rated : numpy.ndarray of int, shape (n, 2)
        Dense ids of user and movie of all training ratings. Each pair that is trained on
        must be among them: in training, a pair is left out of its own sums.
    dim : int, default 16
        Length of the vectors.
    sides : int, default 2
        0: no feedback, 1: what the user rated, 2: also who rated the movie.
    vector_penalty, bias_penalty, feedback_penalty, feedback_bias_penalty : float
        Weights of the mean squared length, over the ratings of a batch, of the looked-up
        rows: vectors and biases, of the tables of ids and of feedback.
    total_penalty : float
        The same for the vectors that are multiplied in the end.
    dropout : float, default 0
        Share of entries of their product silenced in training, and in prediction where
        `silence` is True.

    Notes
    -----
    Input and output as in `DotWithBias`. Koren (2008), equation 15, for users; Rendle (2012)
    has both sides as features of a factorisation machine.

    Each step sums up the rows of all of `rated`, however small its batch is. So let batches
    grow with the ratings (`recipes.for_size`), and an epoch costs what its ratings cost.
    """

    def __init__(
        self,
        n_users,
        n_movies,
        min_rating,
        max_rating,
        rated,
        dim=16,
        sides=2,
        vector_penalty=0.0,
        bias_penalty=0.0,
        feedback_penalty=0.0,
        feedback_bias_penalty=0.0,
        total_penalty=0.0,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.min_rating = min_rating
        self.max_rating = max_rating
        self.own_penalty = [vector_penalty] * dim + [bias_penalty]
        self.feedback_penalty = [feedback_penalty] * dim + [feedback_bias_penalty]
        self.total_penalty = [total_penalty] * dim + [0.0]
        self.user_table = keras.layers.Embedding(n_users + 1, dim + 1, name="user_table")
        self.movie_table = keras.layers.Embedding(n_movies + 1, dim + 1, name="movie_table")
        self.rated_table = (
            keras.layers.Embedding(n_movies + 1, dim + 1, name="rated_table") if sides > 0 else None
        )
        self.rater_table = (
            keras.layers.Embedding(n_users + 1, dim + 1, name="rater_table") if sides > 1 else None
        )
        self.dropout = keras.layers.Dropout(dropout)
        self.pairs = in_chunks(rated)
        self.n_rated = np.bincount(rated[:, 0], minlength=n_users + 1).astype("float32")
        self.n_raters = np.bincount(rated[:, 1], minlength=n_movies + 1).astype("float32")

    def call(self, x, training=False, silence=False):
        return self.to_stars(self.score(x, training, silence))

    def score(self, x, training, silence):
        users, movies = ops.cast(x[:, 0], "int32"), ops.cast(x[:, 1], "int32")
        user = self.user_rows(users, movies, training)
        movie = self.movie_rows(movies, users, training)
        products = self.dropout(user[:, :-1] * movie[:, :-1], training=training or silence)
        return ops.sum(products, axis=-1, keepdims=True) + user[:, -1:] + movie[:, -1:]

    def user_rows(self, users, movies=None, training=False):
        rows = self.user_table(users)
        self.penalise(rows, self.own_penalty, training)
        if self.rated_table is not None:
            rows = rows + self.feedback(self.rated_table, 0, self.n_rated, users, movies, training)
        self.penalise(rows, self.total_penalty, training)
        return rows

    def movie_rows(self, movies, users=None, training=False):
        rows = self.movie_table(movies)
        self.penalise(rows, self.own_penalty, training)
        if self.rater_table is not None:
            rows = rows + self.feedback(self.rater_table, 1, self.n_raters, movies, users, training)
        self.penalise(rows, self.total_penalty, training)
        return rows

    def feedback(self, table, side, counts, owners, others, training):
        """Sum the partners' rows, in training without `others`, over the root of their number."""
        rows = ops.cast(table(np.arange(table.input_dim)), "float32")  # sums of many need 32 bits
        sums = partner_sums(rows, self.pairs, side, len(counts))
        total, number = ops.take(sums, owners, axis=0), ops.take(counts, owners)
        if training:
            left_out = ops.take(rows, others, axis=0)
            total, number = total - left_out, number - 1
            self.penalise(left_out, self.feedback_penalty, training)
        mean = total / ops.sqrt(ops.maximum(number, 1.0))[:, None]
        return ops.cast(mean, self.compute_dtype)

    def penalise(self, rows, prices, training):
        if training:
            squares = ops.cast(rows, "float32") ** 2
            self.add_loss(ops.mean(ops.sum(squares * ops.array(prices), axis=-1)))

    def to_stars(self, score):
        return ops.sigmoid(score) * (self.max_rating - self.min_rating) + self.min_rating


@savable
class DriftingDotWithFeedback(DotWithFeedback):
    """`DotWithFeedback` whose score also follows the user's mood, as seen in other ratings.

    Notes
    -----
    Input: a pair of the ids, as in `DotWithFeedback`, and float32 of shape (n, k), the
    user's drift as from `drift.user_drift`. Koren (2009, Temporal Dynamics), section 3.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.drift = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")

    def call(self, x, training=False, silence=False):
        ids, drift = x
        return self.to_stars(self.score(ids, training, silence) + self.drift(drift))


# A model of no users has a table of one row: that of id 0, which stays unused.
_LOWEST = {"n_users": 0, "n_movies": 0, "n_contexts": 0, "sides": 0, "layers": 0}
_LOWEST |= dict.fromkeys(["dim", "units", "n_columns", "input_dim", "output_dim"], 1)


def _check_arguments(given):
    for name, value in given.items():
        if name in _LOWEST and not (isinstance(value, int) and value >= _LOWEST[name]):
            raise ValueError(f"{name} is {value!r}, not a whole number from {_LOWEST[name]}")
        if name.endswith("dropout") and not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}, not a share from 0 to below 1")
        if name.endswith("penalty") and not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value!r}, not a finite number from 0")
    if "min_rating" in given and not given["min_rating"] < given["max_rating"]:
        raise ValueError(
            f"min_rating ({given['min_rating']!r}) is not below max_rating "
            f"({given['max_rating']!r}): pass the ends of the scale, as data.LOWEST_RATING and "
            "data.HIGHEST_RATING, not those of ratings that are all the same"
        )
    if "rated" in given:
        _check_pairs(given["rated"], given["n_users"], given["n_movies"])


def _check_pairs(rated, *sizes):
    if np.ndim(rated) != 2 or np.shape(rated)[1] != 2 or np.asarray(rated).dtype.kind not in "iu":
        raise ValueError("rated: not an array of whole numbers of shape (n, 2), user and movie")
    for name, ids, size in zip(["user", "movie"], np.transpose(rated), sizes, strict=True):
        wrong = np.unique(ids[(ids < 1) | (ids > size)])
        if wrong.size:
            raise ValueError(
                f"rated: {name} ids from 1 to {size:,} have a row in the tables, but there is "
                f"{', '.join(map(str, wrong[:5]))}; make the model for the numbers of users and "
                "movies of all ratings (data.count_users_and_movies)"
            )


@contextlib.contextmanager
def _precision(dtype):
    """Make layers in this precision; None: in the one that holds anyway."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _written(value):
    """What Keras can write of an argument; the class of a layer by its registered name."""
    if isinstance(value, type):
        return {"layer": keras.saving.get_registered_name(value)}
    return keras.saving.serialize_keras_object(value)


def _read(value):
    """The argument that was `_written`."""
    if not isinstance(value, dict):
        return value
    if set(value) != {"layer"}:
        return keras.saving.deserialize_keras_object(value)
    found = keras.saving.get_registered_object(value["layer"], module_objects=vars(keras.layers))
    if found is None:
        raise ValueError(
            f"no layer {value['layer']!r} is known to Keras: import it first, or pass it in "
            "custom_objects"
        )
    return found
