"""Where downloads and finished results are kept to be used again."""

import functools
import os
from pathlib import Path
import warnings

import platformdirs


def cache_folder():
    """Folder for what may be reused: EMBEDLENS_CACHE, or where the platform keeps caches."""
    return Path(os.environ.get("EMBEDLENS_CACHE") or platformdirs.user_cache_dir("embedlens"))


def memory(*parts):
    """Cache of function results in a subfolder of the cache folder.

    Parameters
    ----------
    *parts : str
        Names of nested subfolders.

    Returns
    -------
    joblib.Memory
        One that keeps nothing if the folder cannot be written.

    Warns
    -----
    UserWarning
        Once a process for each folder, in that case.
    """
    import joblib

    folder = cache_folder().joinpath(*parts)
    return joblib.Memory(folder if _can_be_written(folder) else None, verbose=0)


@functools.cache
def _can_be_written(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"no right to write to {folder}")
    except OSError as error:
        warnings.warn(
            f"nothing is kept for the next time: {error}. Set the environment variable "
            "EMBEDLENS_CACHE to a folder that can be written",
            stacklevel=3,
        )
        return False
    return True
