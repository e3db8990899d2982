"""What the command lines of the package share."""

import argparse
import importlib
import json
import os
from pathlib import Path
import subprocess
import sys

from embedlens import results


def file_to_write(text):
    """Type of an argument: a file, new or not, in a folder that exists."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: no file in an existing folder")
    return path


def in_own_process(arguments, **environment):
    """Run ``python -m`` with these arguments in a new process.

    Returns
    -------
    object
        What the last line of its output holds, read as JSON.

    Raises
    ------
    RuntimeError
        If it fails. What it says on stderr is shown as it comes.
    """
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"python -m {' '.join(arguments)}: exit status {done.returncode}; it says why above"
        )
    return json.loads(done.stdout.splitlines()[-1])


def at_least(least):
    """Type of an argument: a whole number, `least` or more."""

    def whole_number(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return whole_number


def restart_on_jax(module, arguments):
    """Start ``python -m module`` anew on the JAX backend, unless this process runs on it.

    Keras chooses its backend when it is imported, which has happened by now.
    """
    if os.environ.get("KERAS_BACKEND") != "jax":
        os.environ["KERAS_BACKEND"] = "jax"
        arguments = sys.argv[1:] if arguments is None else arguments
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def store(module, text, measure, arguments):
    """Command line of a module that measures and stores: ``--output FILE``, on JAX.

    Parameters
    ----------
    module : str
        Its full name, to start it anew on JAX.
    text : str
        Its docstring; the first line describes the command.
    measure : callable
        A function of that module; gives a report as for `results.as_text`.
    arguments : list of str or None
        None: those of the process.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=text.splitlines()[0])
    parser.add_argument("--output", type=file_to_write, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    restart_on_jax(module, arguments)
    # By its name: joblib's processes cannot import what belongs to __main__.
    measure = getattr(importlib.import_module(module), measure.__name__)
    options.output.write_text(results.as_text(measure()), encoding="utf-8")
    print(f"Written: {options.output}")
