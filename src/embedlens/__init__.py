"""Collaborative filtering with embeddings, reproduced and checked.

Import this package before TensorFlow: it asks for arithmetic that does not depend on
the oneDNN kernels, and keeps start-up notices (no GPU found, and the like) out of the
notebooks. A value that is already set in the environment wins.
"""

import contextlib
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"


@contextlib.contextmanager
def _stderr_of_c_code_hidden():
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# No log level silences two notices of TensorFlow's CUDA stub: they come before its
# logging starts. Errors are unaffected: they reach Python as exceptions. On the JAX
# backend Keras imports TensorFlow as well, only later.
with _stderr_of_c_code_hidden():
    import keras  # noqa: F401
    import tensorflow

    tensorflow.config.list_physical_devices()
