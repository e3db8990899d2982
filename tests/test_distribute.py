"""Several hosts: local processes at 127.0.0.1, on the JAX backend."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

from embedlens import data, distribute
import numpy as np
import pytest

TABLES = ["user_embedding", "movie_embedding", "user_bias", "movie_bias"]
SETTINGS = ["--seed", "3", "--epochs", "2", "--batch-size", "16"]

# Plain Keras, without distribution, parts or filling: what all others are compared with.
ALONE = """
import sys
from embedlens import data, distribute, training
import numpy as np
folder, *settings = sys.argv[1:]
distribute.main(["--data", folder, "--output", "alone.json", "--weights", "alone.npz", *settings])
ratings = data.prepare(data.load_movielens(folder))
training.set_seed(3)
train, valid = data.train_valid_split(ratings, 3)
model = training._bias_model(ratings)
model.compile(loss="mse", optimizer="adam")
losses = []
for epoch in (1, 2):
    order = np.random.default_rng([3, epoch]).permutation(len(train))
    for start in range(0, len(order), 16):
        batch = train.iloc[order[start : start + 16]]
        model.train_on_batch(data.inputs(batch), data.targets(batch))
    losses.append(training.rmse(valid["rating"], training.predict(model, valid)))
np.savez("plain.npz", *model.get_weights(), losses=losses)
"""

# One of two hosts: the command without, then the function with tables cut by rows.
HOST = """
import sys
from embedlens import data, distribute
import numpy as np
folder, address, host, *settings = sys.argv[1:]
distribute.main(["--data", folder, "--address", address, "--hosts", "2", "--host", host,
    "--output", f"{host}.json", "--weights", f"{host}.npz", *settings])
ratings = data.prepare(data.load_movielens(folder))
model, history = distribute.train(ratings, 3, epochs=2, batch_size=16, sharded=True)
np.savez(f"{host}-sharded.npz", losses=history["valid_rmse"],
    train_losses=history["train_rmse"], **distribute.rows_held(model),
    adam=[v.value.addressable_shards[0].data.shape[0] for v in model.optimizer.variables[2:]])
try:
    distribute.train(ratings, seed=int(host))
except ValueError as error:
    print(error)
"""


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_address():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A release of 90 ratings by 12 users of 15 movies: 72 train, in batches of 16 and one of 8."""
    folder = tmp_path_factory.mktemp("hosts")
    users, movies = np.divmod(np.arange(0, 180, 2), 15)
    stars = np.random.default_rng(0).integers(1, 11, len(users)) / 2
    lines = [f"{u + 10},{m * 3 + 5},{s}" for u, m, s in zip(users, movies, stars, strict=True)]
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating", *lines]))
    lines = [f"{m * 3 + 5},Movie {m},Drama" for m in range(15)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *lines]))
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """The folder after training by plain Keras, by one host, and by two in both ways."""
    address = free_address()
    processes = [start(folder, "-c", HOST, folder, address, host, *SETTINGS) for host in (0, 1)]
    processes.append(start(folder, "-c", ALONE, folder, *SETTINGS))
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    for output in outputs[:2]:
        assert "the hosts differ in data, seed" in output
    return folder


def plain(folder):
    with np.load(folder / "plain.npz") as stored:
        return stored["losses"], [stored[f"arr_{i}"] for i in range(4)]


def losses(folder, name):
    epochs = json.loads((folder / f"{name}.json").read_text())["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert all(epoch["seconds"] > 0 for epoch in epochs)
    return np.array([[epoch["train_rmse"], epoch["valid_rmse"]] for epoch in epochs])


def test_one_host_trains_as_plain_keras(trained):
    valid_losses, weights = plain(trained)
    np.testing.assert_allclose(losses(trained, "alone")[:, 1], valid_losses, rtol=0, atol=1e-5)
    held = np.load(trained / "alone.npz")
    for name, expected in zip(TABLES, weights, strict=True):
        np.testing.assert_allclose(held[name], expected, rtol=0, atol=1e-6)
        assert np.ptp(held[name]) > 1e-3


def test_two_hosts_train_as_one(trained):
    np.testing.assert_allclose(losses(trained, "0"), losses(trained, "alone"), rtol=0, atol=1e-5)
    _, weights = plain(trained)
    for host in (0, 1):
        held = np.load(trained / f"{host}.npz")
        for name, expected in zip(TABLES, weights, strict=True):
            np.testing.assert_allclose(held[name], expected, rtol=0, atol=1e-6)


def test_only_host_0_writes_the_history(trained):
    assert not (trained / "1.json").exists()
    report = json.loads((trained / "0.json").read_text())
    assert report["hosts"] == len(report["devices"]) == 2
    assert report["rows_on_host_0"]["user_embedding"] == 13


def test_sharded_tables_give_the_same(trained):
    parts = [np.load(trained / f"{host}-sharded.npz") for host in (0, 1)]
    for part in parts:
        ours = np.stack([part["train_losses"], part["losses"]], axis=1)
        np.testing.assert_allclose(ours, losses(trained, "alone"), rtol=0, atol=1e-5)
    _, weights = plain(trained)
    for name, expected in zip(TABLES, weights, strict=True):
        table = np.concatenate([part[name] for part in parts])
        np.testing.assert_allclose(table[: len(expected)], expected, rtol=0, atol=1e-6)


def test_each_host_holds_only_its_rows(trained):
    """13 and 16 rows: the first is filled up to 14. Adam's moments are cut with them."""
    for host in (0, 1):
        part = np.load(trained / f"{host}-sharded.npz")
        assert {name: len(part[name]) for name in TABLES} == {
            "user_embedding": 7,
            "movie_embedding": 8,
            "user_bias": 7,
            "movie_bias": 8,
        }
        assert sorted(part["adam"]) == [7] * 4 + [8] * 4


def command(folder, address, host, *more):
    start_one = ["-m", "embedlens.distribute", "--data", folder, "--address", address]
    return start(folder, *start_one, "--hosts", 2, "--host", host, *more)


def test_the_death_of_a_host_ends_the_other(folder):
    address = free_address()
    more = ["--epochs", 1_000_000, "--batch-size", 80, "--peer-timeout", 10]
    survivor, victim = (command(folder, address, host, *more) for host in (0, 1))
    told = ""
    while not re.search(r" [1-9]\d*/1000000", told):  # an epoch is done: both train
        told += survivor.stdout.read(1)
        assert survivor.poll() is None, told
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    try:
        told += survivor.communicate(timeout=30)[0]
    finally:
        survivor.kill()
    assert survivor.returncode not in (0, -signal.SIGKILL)
    assert "another host has ended" in told or "another task died" in told


def test_a_host_that_never_arrives(folder):
    address = free_address()
    waiting = command(folder, address, 0, "--arrival-timeout", 1)
    told = waiting.communicate(timeout=60)[0]
    assert waiting.returncode == 1
    assert f"not all of the 2 hosts met at {address} within 1 s" in told
    assert "the port is reached from every host" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hosts", "2"], "--address must be HOST:PORT"),
        (["--hosts", "2", "--address", "10.0.0.1"], "--address must be HOST:PORT"),
        (["--hosts", "2", "--host", "2", "--address", "a:1"], "--host 2: must lie between 0 and"),
        (["--host", "-1"], "--host -1: must lie between"),
        (["--epochs", "0"], "must be 1 or more"),
        (["--output", "no/such/folder/file.json"], "no file in an existing folder"),
    ],
)
def test_bad_arguments_get_a_usage_error(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        distribute.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_environment_stands_in_for_arguments(capsys, monkeypatch):
    monkeypatch.setenv("EMBEDLENS_HOSTS", "3")
    monkeypatch.setenv("EMBEDLENS_HOST", "7")
    with pytest.raises(SystemExit):
        distribute.main([])
    assert "--host 7: must lie between 0 and --hosts 3" in capsys.readouterr().err
    monkeypatch.setenv("EMBEDLENS_HOST", "seven")
    with pytest.raises(SystemExit):
        distribute.main(["--hosts", "8"])
    assert "invalid int value: 'seven'" in capsys.readouterr().err


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_parts_of_the_hosts_are_the_batches(tiny_ratings, hosts):
    order = np.random.default_rng(0).permutation(90)[:70]
    parts = [distribute.batches_of_host(tiny_ratings, order, 16, h, hosts) for h in range(hosts)]
    x, y, weights = (
        np.concatenate([part[i].reshape(5, 16 // hosts, -1) for part in parts], axis=1)
        for i in range(3)
    )
    counts = weights.ravel() == 1
    assert weights.ravel().tolist() == [1] * 70 + [0] * 10
    ordered = tiny_ratings.iloc[order]
    np.testing.assert_array_equal(x.reshape(80, 2)[counts], data.inputs(ordered))
    np.testing.assert_array_equal(y.reshape(80, 1)[counts], data.targets(ordered))


def test_a_batch_that_cannot_be_cut_is_refused(tiny_ratings, monkeypatch):
    monkeypatch.setattr(distribute.jax, "device_count", lambda: 3)
    monkeypatch.setattr(distribute.jax, "local_device_count", lambda: 3)
    with pytest.raises(ValueError, match="a batch of 32 cannot be cut for 3 devices"):
        distribute.train(tiny_ratings)
    monkeypatch.setattr(distribute.jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="3 devices on 2 hosts: each must have equally many"):
        distribute.train(tiny_ratings)
