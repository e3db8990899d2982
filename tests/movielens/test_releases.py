"""Releases are served by a local server here, as small archives of the same form."""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pandas as pd
import pytest

from embedlens import movielens
from embedlens.movielens import files, releases

RATINGS = [(1, 30, 2.5, 978300760), (1, 10, 5.0, 978302109), (2, 30, 0.5, 978301968)]
WHOLE_STARS = [(user, movie, np.ceil(stars), time) for user, movie, stars, time in RATINGS]
MOVIES = [
    (10, "Misérables, Les (1995)", "Drama|Musical"),
    (20, '"Great Performances": Cats (1998)', "Musical"),
    (30, "Heat (1995)", "Crime"),
]


def as_csv(rows, columns, line_end="\n"):
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator=line_end).encode()


def as_dat(rows, encoding="utf-8"):
    lines = ["::".join(f"{v:g}" if isinstance(v, float) else str(v) for v in row) for row in rows]
    return "".join(f"{line}\n" for line in lines).encode(encoding)


def csv_files(line_end="\n"):
    ratings = as_csv(RATINGS, ["userId", "movieId", "rating", "timestamp"], line_end)
    return {
        "ratings.csv": ratings,
        "movies.csv": as_csv(MOVIES, ["movieId", "title", "genres"], line_end),
    }


def dat_files(ratings=RATINGS, encoding="utf-8"):
    return {"ratings.dat": as_dat(ratings), "movies.dat": as_dat(MOVIES, encoding)}


def zipped(folder, files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{folder}/", "")
        archive.writestr(f"{folder}/README.txt", os.urandom(5000))
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)
    return buffer.getvalue()


# Name, archive of the form of the release, ratings in it.
FORMS = [
    ("ml-1m", zipped("ml-1m", dat_files(WHOLE_STARS, "iso-8859-1")), WHOLE_STARS),
    ("ml-10m", zipped("ml-10M100K", dat_files()), RATINGS),
    ("ml-25m", zipped("ml-25m", csv_files("\r\n")), RATINGS),
    ("ml-32m", zipped("ml-32m", csv_files("\r\n")), RATINGS),
    ("ml-latest-small", zipped("ml-latest-small", csv_files()), RATINGS),
]
ARCHIVES = {name: archive for name, archive, _ in FORMS}


def expect(found, ratings=RATINGS, movies=MOVIES):
    expected = pd.DataFrame([row[:3] for row in ratings], columns=list(files.RATINGS_COLUMNS))
    pd.testing.assert_frame_equal(found.ratings, expected)
    expected = pd.DataFrame(movies, columns=list(files.MOVIES_COLUMNS))
    pd.testing.assert_frame_equal(found.movies, expected)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.answer(self)

    def log_message(self, *arguments):
        pass

    def start(self, status, length):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def send(body, status=200, length=None):
    def answer(handler):
        handler.start(status, len(body) if length is None else length)
        handler.wfile.write(body)

    return answer


def send_releases(handler):
    send(ARCHIVES[handler.path.removeprefix("/").removesuffix(".zip")])(handler)


@pytest.fixture
def server(monkeypatch):
    """A server of all releases. `answer` can be exchanged; `asked` lists the requests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.asked = send_releases, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(releases, "ADDRESS", f"http://127.0.0.1:{server.server_port}/{{name}}.zip")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Where the releases are kept; their digests are those of the small archives."""
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, archive in ARCHIVES.items():
        algorithm = releases.DIGESTS[name].split(":")[0]
        digest = f"{algorithm}:{hashlib.new(algorithm, archive).hexdigest()}"
        monkeypatch.setitem(releases.DIGESTS, name, digest)
    return tmp_path / "movielens"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fails(folder, name="ml-25m"):
    """Load a release that cannot be had: nothing is left, and the message says how to go on."""
    with pytest.raises(OSError, match="the download failed") as caught:
        movielens.load(name)
    assert content(folder) == {}
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert f"download {releases.ADDRESS.format(name=name)} " in message
    assert f"save it as {folder / name}.zip" in message
    return message


def test_every_release_is_tested():
    assert set(ARCHIVES) == set(releases.DIGESTS)


@pytest.mark.parametrize(("name", "archive", "ratings"), FORMS, ids=list(ARCHIVES))
def test_release_is_downloaded_once_and_read(name, archive, ratings, server, folder):
    for _ in range(2):
        expect(movielens.load(name), ratings)
    assert server.asked == [f"/{name}.zip"]
    assert content(folder) == {f"{name}.zip": archive}


def test_progress_is_shown(server, capfd):
    movielens.load("ml-1m")
    shown = capfd.readouterr().err
    assert "100%" in shown
    assert "B/s" in shown


def test_download_that_is_cut_off(server, folder):
    whole = ARCHIVES["ml-25m"]
    server.answer = send(whole[:3000], length=len(whole))
    assert "IncompleteRead" in fails(folder)
    server.answer = send_releases
    expect(movielens.load("ml-25m"))


def test_download_that_is_cut_off_and_does_not_tell_its_length(server, folder):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(ARCHIVES["ml-25m"][:3000])

    server.answer = answer
    assert "does not match the known hash" in fails(folder)


@pytest.mark.parametrize("name", ["ml-25m", "ml-32m"])  # known by SHA-256, by MD5
def test_download_that_was_altered(name, server, folder):
    altered = bytearray(ARCHIVES[name])
    altered[1000] ^= 1
    server.answer = send(altered)
    assert "does not match the known hash" in fails(folder, name)


def test_page_instead_of_a_zip_file(server, folder):
    server.answer = send(b"<!DOCTYPE html><title>Please log in</title>")
    message = fails(folder)
    assert "the answer is no zip file" in message
    assert "Please log in" in message


@pytest.mark.parametrize("status", [404, 500])
def test_error_of_the_server(status, server, folder):
    server.answer = send(b"<html>no</html>", status=status)
    assert f"{status} " in fails(folder)


def test_offline(folder, monkeypatch):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/{{name}}.zip"
        monkeypatch.setattr(releases, "ADDRESS", address)
        assert "refused" in fails(folder)


def test_the_address_is_that_of_grouplens_and_verified():
    assert releases.ADDRESS == "https://files.grouplens.org/datasets/movielens/{name}.zip"


def test_file_placed_by_hand_is_taken_without_a_request(server, folder):
    folder.mkdir()
    (folder / "ml-25m.zip").write_bytes(ARCHIVES["ml-25m"])
    expect(movielens.load("ml-25m"))
    assert server.asked == []


@pytest.mark.parametrize("name", ["ml-25m", "ml-32m"])
def test_wrong_file_placed_by_hand_is_refused_and_left(name, server, folder):
    folder.mkdir()
    path = folder / f"{name}.zip"
    path.write_bytes(ARCHIVES["ml-1m"])
    with pytest.raises(ValueError, match=f"not {name} as GroupLens published it") as caught:
        movielens.load(name)
    assert str(caught.value).startswith(f"{path}: ")
    assert server.asked == []
    assert content(folder) == {path.name: ARCHIVES["ml-1m"]}


SCRIPT = """
import signal, sys
from embedlens.movielens import releases
signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent may ignore it
releases.ADDRESS = sys.argv[1]
releases.fetch("ml-25m")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_stopped_download_starts_anew(how, server, folder):
    whole = ARCHIVES["ml-25m"]
    half_sent, stopped = threading.Event(), threading.Event()

    def answer(handler):
        handler.start(200, len(whole))
        handler.wfile.write(whole[:3000])
        half_sent.set()
        stopped.wait(60)

    server.answer = answer
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, releases.ADDRESS])
    try:
        assert half_sent.wait(60)
        child.send_signal(how)
        assert child.wait(60) != 0
    finally:
        child.kill()
        stopped.set()
    left = content(folder)
    assert len(left) == (how == signal.SIGKILL)
    assert "ml-25m.zip" not in left
    server.answer = send_releases
    expect(movielens.load("ml-25m"))
    # What a killed download left is not removed at once: it could be of a running one.
    assert content(folder) == left | {"ml-25m.zip": whole}


def test_what_a_killed_download_left_is_removed_later(server, folder):
    folder.mkdir()
    old, young = folder / "tmpold", folder / "tmpyoung"
    for path in (old, young):
        path.write_bytes(b"PK")
    long_ago = time.time() - releases.ABANDONED_AFTER - 60
    os.utime(old, (long_ago, long_ago))
    movielens.load("ml-1m")
    assert set(content(folder)) == {"tmpyoung", "ml-1m.zip"}


@pytest.mark.parametrize("name", ["ml-99m", "ML-1M", "ml-latest"])
def test_unknown_name_lists_the_known_ones(name, server):
    with pytest.raises(FileNotFoundError, match=f"{name}: no such folder") as caught:
        movielens.load(name)
    assert all(known in str(caught.value) for known in releases.DIGESTS)
    assert server.asked == []


def test_fetch_refuses_a_name_that_it_does_not_know(server):
    with pytest.raises(ValueError, match=r"ml-99m: no release known here .*ml-25m"):
        releases.fetch("ml-99m")
    assert server.asked == []


def test_name_means_the_release_and_a_path_the_folder(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "ml-1m", dat_files())
    expect(movielens.load(Path("ml-1m")), RATINGS)
    expect(movielens.load("./ml-1m"), RATINGS)
    expect(movielens.load("ml-1m"), WHOLE_STARS)


def save(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
