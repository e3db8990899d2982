"""Stored results of longer runs: read, and refused if they are about something else."""

import json
import os
from pathlib import Path


def read(path, present, command):
    """Read a JSON file of results whose provenance must agree with the present state.

    Parameters
    ----------
    path : path-like
    present : dict
        What the file's ``provenance`` must say, by key; other keys may differ.
    command : str
        What makes the file, for the messages.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no results, or was made for something else.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        found = {key: stored["provenance"][key] for key in present}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file that {command} wrote ({error!r}); run it") from error
    other = [key for key, value in present.items() if found[key] != value]
    if other:
        raise ValueError(f"{path}: made for other {', '.join(other)}; run {command} again")
    return stored


def kept(file):
    """Read what `keep` wrote; None if there is nothing, or no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def keep(file, content):
    """Write `content` as JSON, so that the file is complete or not there."""
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(content), encoding="utf-8")
    os.replace(part, file)
