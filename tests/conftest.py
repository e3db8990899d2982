import os
import shutil
import tempfile

# Each test process trains for itself: no cached result of another run can help a test.
os.environ["EMBEDLENS_CACHE"] = tempfile.mkdtemp(prefix="embedlens-test-")

from embedlens import data
import keras
import numpy as np
import pandas as pd
import pytest

# Row-wise training runs on JAX; test_backends.py runs its tests there.
collect_ignore = [] if keras.backend.backend() == "jax" else ["test_rowwise.py"]


def pytest_unconfigure():
    shutil.rmtree(os.environ["EMBEDLENS_CACHE"], ignore_errors=True)


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
