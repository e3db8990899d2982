import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

from embedlens import data, pdf
from filelock import FileLock
import keras
import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright
import pytest

ROOT = Path(__file__).parent.parent
# Each run trains for itself, once for all its processes: no cached result of another run
# can help a test.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ["EMBEDLENS_CACHE"] = tempfile.mkdtemp(prefix="embedlens-test-")
    # TensorFlow makes new arrays in every step. Unless glibc keeps what it frees, each comes
    # fresh from the kernel, page by page: that took half of the time of the trainings.
    os.environ["MALLOC_ARENA_MAX"] = "1"
    for name in ("MMAP_THRESHOLD", "TRIM_THRESHOLD", "TOP_PAD"):
        os.environ[f"MALLOC_{name}_"] = str(2**28)

# Row-wise training runs on JAX; test_backends.py runs its tests there.
collect_ignore = [] if keras.backend.backend() == "jax" else ["test_rowwise.py"]


def pytest_unconfigure():
    if not IS_WORKER:
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


@pytest.fixture(scope="session")
def built_book(tmp_path_factory):
    """Folder with the book's HTML, built strictly, once for all test processes of a run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    log = shared / "build.log"
    with FileLock(shared / "build.lock"):
        if not log.exists():
            command = [Path(sys.executable).with_name("jupyter-book"), "build", "."]
            command += ["--path-output", shared / "built", "-W", "-n", "--keep-going", "--all"]
            built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            log.write_text(f"exit status {built.returncode}\n{built.stdout}\n{built.stderr}")
    told = log.read_text()
    assert told.startswith("exit status 0\n"), told[-6000:]
    return shared / "built/_build/html"


@pytest.fixture(scope="session")
def browser_path():
    """Path of a browser. Without one the tests that need it say so and skip, but fail in CI."""
    try:
        return pdf.find_browser()
    except FileNotFoundError as error:
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell(str(error))


@pytest.fixture(scope="module")
def browser(browser_path):
    """A headless Chromium. Per module: while it is open, nbclient finds its event loop taken."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser_path, args=pdf.OFFLINE)
        yield opened
        opened.close()
