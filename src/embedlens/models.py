"""The post's two models, and what grew from them. Chapters 2, 3, 7, 9 and 11."""

import keras
from keras import ops
import numpy as np


@keras.saving.register_keras_serializable(package="embedlens")
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


@keras.saving.register_keras_serializable(package="embedlens")
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


@keras.saving.register_keras_serializable(package="embedlens")
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
class PenalisedDotWithBias(DotWithBias):
    """`DotWithBias` with a price on long vectors and large biases, instead of dropout.

    Parameters
    ----------
    n_users, n_movies, min_rating, max_rating, dim
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
        **kwargs,
    ):
        super().__init__(n_users, n_movies, min_rating, max_rating, dim, 0.0, 0.0, **kwargs)
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
                    self.add_loss(penalty * ops.mean(ops.sum(rows**2, axis=-1)))
        return super().call(x, training=training)


@keras.saving.register_keras_serializable(package="embedlens")
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


def masked_mse(truth, prediction):
    """Mean squared error where there is a rating; NaN in `truth` says that there is none."""
    rated = ops.isfinite(truth)
    error = ops.where(rated, truth, prediction) - prediction
    count = ops.sum(ops.cast(rated, prediction.dtype))
    return ops.sum(error**2) / ops.maximum(count, 1)


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
        self.user_table = keras.layers.Embedding(n_users + 1, dim + 1)
        self.movie_table = keras.layers.Embedding(n_movies + 1, dim + 1)
        self.rated_table = keras.layers.Embedding(n_movies + 1, dim + 1) if sides > 0 else None
        self.rater_table = keras.layers.Embedding(n_users + 1, dim + 1) if sides > 1 else None
        self.dropout = keras.layers.Dropout(dropout)
        self.rated = rated
        self.n_rated = np.bincount(rated[:, 0], minlength=n_users + 1).astype("float32")
        self.n_raters = np.bincount(rated[:, 1], minlength=n_movies + 1).astype("float32")

    def build(self, input_shape):
        for table in (self.user_table, self.movie_table, self.rated_table, self.rater_table):
            if table is not None:
                table.build(input_shape)

    def call(self, x, training=False, silence=False):
        return self.to_stars(self.score(x, training, silence))

    def score(self, x, training, silence):
        users, movies = x[:, 0], x[:, 1]
        user = self.user_rows(users, movies, training)
        movie = self.movie_rows(movies, users, training)
        products = self.dropout(user[:, :-1] * movie[:, :-1], training=training or silence)
        return ops.sum(products, axis=-1, keepdims=True) + user[:, -1:] + movie[:, -1:]

    def user_rows(self, users, movies=None, training=False):
        rows = self.user_table(users)
        self.penalise(rows, self.own_penalty, training)
        if self.rated_table is not None:
            rows = rows + self.feedback(
                self.rated_table, self.rated, self.n_rated, users, movies, training
            )
        self.penalise(rows, self.total_penalty, training)
        return rows

    def movie_rows(self, movies, users=None, training=False):
        rows = self.movie_table(movies)
        self.penalise(rows, self.own_penalty, training)
        if self.rater_table is not None:
            rows = rows + self.feedback(
                self.rater_table, self.rated[:, ::-1], self.n_raters, movies, users, training
            )
        self.penalise(rows, self.total_penalty, training)
        return rows

    def feedback(self, table, pairs, counts, owners, others, training):
        """Sum the partners' rows, in training without `others`, over the root of their number."""
        sums = ops.segment_sum(table(pairs[:, 1]), pairs[:, 0], len(counts))
        total, number = ops.take(sums, owners, axis=0), ops.take(counts, owners)
        if training:
            rows = table(others)
            total, number = total - rows, number - 1
            self.penalise(rows, self.feedback_penalty, training)
        return total / ops.sqrt(ops.maximum(number, 1.0))[:, None]

    def penalise(self, rows, prices, training):
        if training:
            self.add_loss(ops.mean(ops.sum(rows**2 * ops.array(prices), axis=-1)))

    def to_stars(self, score):
        return ops.sigmoid(score) * (self.max_rating - self.min_rating) + self.min_rating


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

    def build(self, input_shape):
        super().build(input_shape)
        self.drift.build(input_shape[1])

    def call(self, x, training=False, silence=False):
        ids, drift = x
        return self.to_stars(self.score(ids, training, silence) + self.drift(drift))
