"""Where downloads and finished results are kept to be used again."""

import os
from pathlib import Path

import platformdirs


def cache_folder():
    """Folder for what may be reused: EMBEDLENS_CACHE, or where the platform keeps caches."""
    return Path(os.environ.get("EMBEDLENS_CACHE") or platformdirs.user_cache_dir("embedlens"))
