"""The post's two models, two variants of the second, an autoencoder. Chapters 2, 3, 7 and 9."""

import keras
from keras import ops


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
