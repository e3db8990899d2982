"""The embedding layer, written by hand. Taught in chapter 5."""

import keras
from keras import ops


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
    Input: integer ids of any shape. Output: float32, that shape plus ``(output_dim,)``.
    The post's layer (section on the embedding layer) works for input length 1 only.
    """

    def __init__(self, input_dim, output_dim, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
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
        return ops.take(self.embeddings, ops.cast(ids, "int32"), axis=0)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.output_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }
