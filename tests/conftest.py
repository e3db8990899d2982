import os
import shutil
import tempfile

import numpy as np
import pandas as pd
import pytest

from embedlens import data

# Each run trains for itself, once for all its processes: no cached result of another run
# can help a test. JAX keeps what it compiled for the others.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ["EMBEDLENS_CACHE"] = tempfile.mkdtemp(prefix="embedlens-test-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["EMBEDLENS_CACHE"] + "/jax"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    # TensorFlow makes new arrays in every step. Unless glibc keeps what it frees, each comes
    # fresh from the kernel, page by page: that took half of the time of the trainings.
    os.environ["MALLOC_ARENA_MAX"] = "1"
    for name in ("MMAP_THRESHOLD", "TRIM_THRESHOLD", "TOP_PAD"):
        os.environ[f"MALLOC_{name}_"] = str(2**28)
    # At least as many test processes as cores: their threads would only wait for each other.
    for library in ("OMP", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ["NPROC"] = "1"  # of JAX

# Each backend has its own row-wise training; test_backends.py runs the tests of JAX's.
ON_JAX = os.environ.get("KERAS_BACKEND") == "jax"
collect_ignore = ["test_rowwise_tensorflow.py" if ON_JAX else "test_rowwise_jax.py"]


# The longest files start first, so that all processes end together.
LONGEST = ["02_dot_model.ipynb", "test_laptop.py", "test_training.py", "test_backends.py"]
LONGEST += ["test_again.py", "10_how_low.ipynb", "09_shapes.ipynb", "test_phone.py"]
LONGEST += [
    "test_pages.py",
    "test_lab.py",
    "test_plain.py",
    "test_pdf.py",
    "11_recommendations.ipynb",
    "05_own_layer.ipynb",
]


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_unconfigure():
    if not IS_WORKER:
        shutil.rmtree(os.environ["EMBEDLENS_CACHE"], ignore_errors=True)


@pytest.fixture
def eagerly(monkeypatch):
    """Models run op by op: a few steps take less time so than XLA takes to compile them."""
    import keras

    compiled = keras.Model.compile

    def uncompiled(model, *args, jit_compile=None, steps_per_execution=1, **options):
        compiled(model, *args, run_eagerly=True, **options)

    monkeypatch.setattr(keras.Model, "compile", uncompiled)


@pytest.fixture
def tiny_ratings():
    """Every second pair of 12 users and 15 movies: 90 ratings, as from `data.prepare`."""
    rng = np.random.default_rng(0)
    users, movies = np.divmod(np.arange(0, 180, 2), 15)
    frame = pd.DataFrame({"userId": users + 10, "movieId": movies * 3 + 5})
    frame["rating"] = rng.integers(1, 11, len(frame)) / 2
    frame["title"] = "Movie " + frame["movieId"].astype(str)
    frame["genres"] = "Drama"
    frame["userIdDense"] = data.dense_ids(frame["userId"])
    frame["movieIdDense"] = data.dense_ids(frame["movieId"])
    return frame
