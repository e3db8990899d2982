"""Chapters in a real JupyterLab, as `make lab` opens them."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

from notebooks import ROOT
import pytest
from test_plain import RAW

# All cells in the page, not only those in view: else those further down would not be looked at.
SETTINGS = {"@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"}}
SETTINGS["@jupyterlab/apputils-extension/notification"] = {"fetchNews": "false"}
# An error ends the run.
FINISHED = r"""() => {
  if (document.querySelector("[data-mime-type$='jupyter.error']")) return true;
  const prompts = [...document.querySelectorAll(".jp-InputArea-prompt")].map(e => e.textContent);
  return prompts.every(text => !text.includes("*")) && /\d/.test(prompts.filter(e => e).at(-1));
}"""
ERRORS = "[data-mime-type$='jupyter.error'], [data-mime-type$='jupyter.stderr']"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Function that gives the address of a notebook in a Lab that has nothing but two of them."""
    root, home = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("home")
    for name in ("notebooks/01_data.ipynb", "book/02_dot_model.ipynb"):
        (root / name).parent.mkdir()
        shutil.copyfile(ROOT / name, root / name)
    for name, settings in SETTINGS.items():
        file = home / f"settings/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, token = free.getsockname()[1], secrets.token_hex()
    places = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    places |= {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data"}
    places |= {"JUPYTER_RUNTIME_DIR": "runtime"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.root_dir={root}", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}"]
    env = os.environ | {name: str(home / place) for name, place in places.items()}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, home / "log")
            yield lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}?token={token}&reset"
        finally:
            server.terminate()
            server.wait()


def wait_for(address, server, log):
    for _ in range(200):
        try:
            return urlopen(address, timeout=5).close()
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.3)
    raise AssertionError(log.read_text())


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    yield opened
    opened.close()


def text_in_view(page):
    """What a reader sees of the prose, rendered or not; code may have braces."""
    shown = [e.inner_text() for e in page.locator(".jp-MarkdownCell:visible").all()]
    assert len(shown) > 10
    return "\n\n".join(shown)


def test_a_plain_notebook_runs_in_lab(lab, page):
    page.goto(lab("notebooks/01_data.ipynb"))
    page.locator(".jp-MarkdownCell h1").wait_for(timeout=60_000)
    page.get_by_text("(ipykernel) | Idle").wait_for(timeout=60_000)
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(FINISHED, timeout=120_000)
    errors = page.locator(ERRORS)
    assert errors.count() == 0, errors.all_inner_texts()
    text = text_in_view(page)
    assert not RAW.findall(text)
    assert "data_users" not in text
    assert "There are 671 users." in text
    figures = page.locator(".jp-RenderedImage img")
    assert figures.count() == len(re.findall(r"^Figure 1\.\d\. ", text, re.MULTILINE)) == 5
    assert figures.evaluate_all("all => all.every(image => image.naturalWidth > 300)")
    solution = page.get_by_text("seed 4: ")
    assert not solution.is_visible()
    page.locator(".jp-showHiddenCellsButton").click()
    assert solution.is_visible()


def test_a_chapter_to_edit_shows_no_markup_of_myst(lab, page):
    """It shows names instead of numbers from `glue`; those are in the plain notebook."""
    page.goto(lab("book/02_dot_model.ipynb"))
    page.locator(".jp-MarkdownCell aside").first.wait_for(timeout=60_000)
    assert not RAW.findall(text_in_view(page))
    assert page.locator(".jp-MarkdownCell aside", has_text="You will learn").count() == 1
