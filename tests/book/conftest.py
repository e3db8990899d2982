"""The built book and a browser, for the tests that look at pages."""

import os
from pathlib import Path
import subprocess
import sys

from filelock import FileLock
from playwright.sync_api import sync_playwright
import pytest

from embedlens.book import pdf

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def builder(tmp_path_factory):
    """Build the book strictly, as "html" or "singlehtml", once for all test processes of a run.

    The second build takes what the first has read.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def build(name):
        log = shared / f"{name}.log"
        with FileLock(shared / "build.lock"):
            if not log.exists():
                command = [Path(sys.executable).with_name("jupyter-book"), "build", "."]
                command += ["--path-output", shared / "built", "--builder", name]
                command += ["-W", "-n", "--keep-going"]
                built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                log.write_text(f"exit status {built.returncode}\n{built.stdout}\n{built.stderr}")
        told = log.read_text()
        assert told.startswith("exit status 0\n"), told[-6000:]
        return shared / "built/_build" / name

    return build


@pytest.fixture(scope="session")
def built_book(builder):
    """Folder with the book's HTML."""
    return builder("html")


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
        args = [*pdf.OFFLINE, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        opened = playwright.chromium.launch(executable_path=browser_path, args=args)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT
