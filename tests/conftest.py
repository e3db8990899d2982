import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

# Each test process trains for itself: no cached result of another run can help a test.
os.environ["EMBEDLENS_CACHE"] = tempfile.mkdtemp(prefix="embedlens-test-")

from embedlens import data
import keras
import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright
import pytest

# Row-wise training runs on JAX; test_backends.py runs its tests there.
collect_ignore = [] if keras.backend.backend() == "jax" else ["test_rowwise.py"]


def pytest_unconfigure():
    shutil.rmtree(os.environ["EMBEDLENS_CACHE"], ignore_errors=True)


ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def built_book(tmp_path_factory):
    """Folder with the pages of the book, built for this session."""
    folder = tmp_path_factory.mktemp("book")
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", ".", "--path-output", folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return folder / "_build/html"


@pytest.fixture(scope="session")
def browser():
    """A Chromium without a window: the one named by EMBEDLENS_BROWSER, or one on the path."""
    names = [os.environ.get("EMBEDLENS_BROWSER"), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("no browser: install Chromium, or name one in EMBEDLENS_BROWSER")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options = ["--no-sandbox", "--disable-gpu", "--no-first-run", *quiet]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=options)
        yield chromium
        chromium.close()


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
