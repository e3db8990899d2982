"""Where downloads and finished results are kept to be used again."""

import functools
import hashlib
import os
from pathlib import Path
import platform
import warnings

import platformdirs


def cache_folder():
    """Folder for what may be reused: EMBEDLENS_CACHE, or where the platform keeps caches."""
    return Path(os.environ.get("EMBEDLENS_CACHE") or platformdirs.user_cache_dir("embedlens"))


def keep_programs():
    """Let JAX keep what it compiles, for the next process that needs the same.

    What a user has told JAX holds. A folder that cannot be written is left alone.
    """
    import jax

    folder = cache_folder() / "jax" / _processor_features()
    if jax.config.jax_compilation_cache_dir is None and _can_be_written(folder, tell=False):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


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
def _can_be_written(folder, tell=True):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"no right to write to {folder}")
    except OSError as error:
        if tell:
            warnings.warn(
                f"nothing is kept for the next time: {error}. Set the environment variable "
                "EMBEDLENS_CACHE to a folder that can be written",
                stacklevel=3,
            )
        return False
    return True


def _processor_features():
    """A program that was compiled for one processor may end another's process."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features"))][:1]
    known = f"{platform.machine()} {platform.processor()} {features}"
    return hashlib.sha256(known.encode()).hexdigest()[:12]
