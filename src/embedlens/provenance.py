"""What a number depends on: data, code, versions, machine, commit."""

import ast
import functools
import hashlib
from importlib import metadata
import io
import os
from pathlib import Path
import platform
import subprocess
import tokenize

PACKAGE = Path(__file__).parent
LIBRARIES = ["keras", "tensorflow", "jax", "numpy", "pandas", "scikit-learn", "scipy"]


def provenance(settings, file, with_data=True):
    """Say what numbers depend on.

    Parameters
    ----------
    settings : dict
        Ready for JSON.
    file : path-like
        The module that measures them.
    with_data : bool, default True
        Whether they come from the embedded ratings.

    Returns
    -------
    dict
        data (digest), settings, sources (as from `sources`), versions, python, processor,
        cores, commit.
    """
    import joblib

    return {
        **({"data": dataset_digest()} if with_data else {}),
        "settings": settings,
        "sources": sources(file),
        "versions": versions(),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": joblib.cpu_count(),
        "commit": commit(),
    }


def sources(file):
    """Digest of a module's code, and of all code of this package that it imports.

    Parameters
    ----------
    file : path-like
        Within the package.

    Returns
    -------
    dict of str to str
        By path within the package. A change of comments or docstrings is no change of code.
    """
    found, todo = {}, [Path(file).resolve()]
    while todo:
        path = todo.pop()
        name = path.relative_to(PACKAGE).as_posix()
        if name not in found:
            found[name], further = _looked_at(path, path.stat().st_mtime_ns)
            todo += further
    return dict(sorted(found.items()))


def imports(file):
    """Files of this package that a module imports, anywhere in its code: a list of Path."""
    path = Path(file).resolve()
    return _looked_at(path, path.stat().st_mtime_ns)[1]


def fingerprint(file):
    """Digest of all that decides a training result but data and seed.

    Parameters
    ----------
    file : path-like
        The module that trains; with its code, that of all it imports counts.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    known = repr([sources(file), versions(), backend])
    return hashlib.sha256(known.encode()).hexdigest()


@functools.cache
def versions():
    """Versions of the libraries that a training result depends on, by name."""
    return {name: metadata.version(name) for name in LIBRARIES}


def dataset_digest(ratings=None):
    """SHA-256 of ratings and titles, as joined and numbered; default: of the embedded ones."""
    import pandas as pd

    from embedlens import data

    columns = ["userIdDense", "movieIdDense", "rating", "title"]
    ratings = data.prepared() if ratings is None else ratings
    rows = pd.util.hash_pandas_object(ratings[columns], index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def processor():
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit():
    """The commit, with a plus if the working tree differs; None outside a checkout."""
    commands = ["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "-uno"]
    try:
        head, changes = (
            subprocess.run(
                c, cwd=PACKAGE, capture_output=True, text=True, check=True
            ).stdout.strip()
            for c in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")


@functools.cache
def _looked_at(path, changed):
    """Digest of a file's code, and what it imports of this package; `changed`: when it was."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            found += _files_of(name.split("."))
    digest = hashlib.sha256(_code_of(text, tree).encode()).hexdigest()[:16]
    return digest, sorted(set(found) - {path})


def _files_of(names):
    """Files behind a dotted name: its packages, and the module, if they are of this package."""
    if names[0] != PACKAGE.name:
        return []
    files, place = [PACKAGE / "__init__.py"], PACKAGE
    for name in names[1:]:
        place = place / name
        candidates = place / "__init__.py", place.with_suffix(".py")
        files += [path for path in candidates if path.exists()]
    return files


def _code_of(text, tree):
    """Source without comments, docstrings and blank lines."""
    lines = text.splitlines()
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            docstring = node.body[0]
            for number in range(docstring.lineno - 1, docstring.end_lineno):
                lines[number] = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return "\n".join(line for line in lines if line.strip())
