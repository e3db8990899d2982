"""Collaborative filtering with embeddings, reproduced and checked.

Import this package before TensorFlow: it asks TensorFlow for quiet logs and for
arithmetic that does not depend on the oneDNN kernels. A value that is already set
in the environment wins.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
