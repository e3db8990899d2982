"""A part of each experiment, measured again: it must agree with what is stored.

All that needs JAX runs in one process, which compiles once: the functions of again.py.
"""

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

HERE = Path(__file__).parent
NAMES = [
    line.split("(")[0].removeprefix("def ")
    for line in (HERE / "again.py").read_text().splitlines()
    if line.startswith("def again_")
]


@pytest.fixture(scope="module")
def outcomes():
    """What each function said: "" if it agrees, else why not."""
    done = subprocess.run(
        [sys.executable, HERE / "again.py"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_a_part_again_agrees_with_the_stored_one(name, outcomes):
    assert outcomes[name] == ""


def test_every_experiment_is_tried_again_somewhere():
    assert len(NAMES) >= 6
