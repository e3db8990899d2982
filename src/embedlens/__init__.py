"""Collaborative filtering with embeddings, reproduced and checked.

Importing the package sets environment variables, and nothing else. TensorFlow reads them
when it starts: arithmetic that does not depend on the oneDNN kernels, and no notices. So in
a program whose numbers must repeat to the bit, import it before Keras; all else works in
any order. A value that is already set in the environment wins.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
