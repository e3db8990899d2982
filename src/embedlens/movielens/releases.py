"""Releases of MovieLens: where they are, how they are known, how they are fetched."""

import contextlib
import tempfile
import time
import warnings

from embedlens.cache import cache_folder

ADDRESS = "https://files.grouplens.org/datasets/movielens/{name}.zip"

# Digest of each zip file, after the name of its algorithm.
DIGESTS = {
    # .dat files, whole stars, titles in ISO-8859-1
    "ml-1m": "sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    # .dat files, half stars
    "ml-10m": "sha256:813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862",
    # .csv files, half stars, as all that follow
    "ml-25m": "sha256:8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
    "ml-32m": "md5:d472be332d4daa821edc399621853b57",
    # of September 2018; the embedded snapshot is that of October 2016
    "ml-latest-small": "sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
}

ABANDONED_AFTER = 3600  # seconds without a write; a running download gives up after 30


def fetch(name):
    """Download a release once, and verify it at every call.

    Parameters
    ----------
    name : str
        A key of `DIGESTS`.

    Returns
    -------
    pathlib.Path
        The zip file, in the folder ``movielens`` of the cache folder. A file that was placed
        there by hand is taken as well.

    Raises
    ------
    OSError
        If the download fails, or brings something else than the release. The message says
        why, and how to place the file by hand. Nothing of the download is left.
    ValueError
        If no release of this name is known, or if the file in the cache folder is not the
        release. It is left as it is.

    Notes
    -----
    The data are GroupLens's: for research, not for commercial use without their permission;
    ml-1m must not be redistributed. The README in each zip file has the full terms. Cite
    F. M. Harper and J. A. Konstan (2015). The MovieLens Datasets: History and Context. ACM
    Transactions on Interactive Intelligent Systems 5, 4, Article 19. doi 10.1145/2827872
    """
    if name not in DIGESTS:
        raise ValueError(f"{name}: no release known here ({', '.join(DIGESTS)})")
    path = cache_folder() / "movielens" / f"{name}.zip"
    if path.exists():
        _verify(name, path)
    else:
        _download(name, path)
    return path


def _verify(name, path):
    pooch = _pooch()
    algorithm, known = DIGESTS[name].split(":")
    found = pooch.file_hash(str(path), alg=algorithm)
    if found != known:
        raise ValueError(
            f"{path}: not {name} as GroupLens published it ({algorithm} {found}, not {known}); "
            f"delete it and load again, or place there what {_address(name)} holds"
        )


def _download(name, path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        _pooch().retrieve(
            _address(name), DIGESTS[name], path.name, path.parent, downloader=_download_zip
        )
    except (OSError, ValueError) as error:  # what requests and pooch raise
        raise OSError(
            f"{name}: the download failed ({error}). Try again, or download {_address(name)} "
            f"in another way and save it as {path}; it is verified when it is loaded"
        ) from error


def _download_zip(address, path, pup):
    """Download as pooch does, but refuse the page of an error or a login as such."""
    _pooch().HTTPDownloader(progressbar=True, chunk_size=2**16)(address, path, pup)
    with open(path, "rb") as file:
        start = file.read(60)
    if not start.startswith(b"PK"):
        raise ValueError(f"the answer is no zip file, it starts with {start!r}")


def _remove_abandoned(folder):
    """Remove what killed downloads left. Pooch writes to a temporary file, and renames it."""
    for path in folder.glob(f"{tempfile.gettempprefix()}*"):
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                path.unlink()


def _address(name):
    return ADDRESS.format(name=name)


def _pooch():
    """Import pooch where it is needed: in Jupyter its progress bar asks for widgets, aloud."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=TqdmWarning)
        import pooch
    return pooch
