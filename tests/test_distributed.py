"""Several hosts: local processes at 127.0.0.1, on the JAX backend."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

from click.testing import CliRunner
import numpy as np
import pytest

from embedlens import data, distributed
from embedlens.__main__ import main

FEEDBACK_TABLES = ["user_table", "movie_table", "rated_table", "rater_table"]
TABLES = ["user_embedding", "movie_embedding", "user_bias", "movie_bias"]

# One host by the command's function; then plain Keras, without distribution, parts or filling:
# what all others are compared with.
ALONE = """
from pathlib import Path
import keras
import numpy as np
from embedlens import data, distributed, metrics, movielens, training
from embedlens.recipes import BIAS, FEEDBACK

distributed.run(data=".", seed=3, batch_size=16, output=Path("alone.json"), weights="alone.npz")
distributed.run(data=".", seed=3, batch_size=24, feedback=True, weights="alone-feedback.npz")
ratings = data.prepare(movielens.load("."))
training.set_seed(3)
train, valid = data.train_valid_split(ratings, 3)
model = BIAS(*data.count_users_and_movies(ratings))
model.compile(loss="mse", optimizer="adam")
losses = []
for epoch in (1, 2):
    order = np.random.default_rng([3, epoch]).permutation(len(train))
    for start in range(0, len(order), 16):
        batch = train.iloc[order[start : start + 16]]
        model.train_on_batch(data.inputs(batch), data.targets(batch))
    losses.append(metrics.rmse(valid["rating"], training.predict(model, valid)))
np.savez("plain.npz", *model.get_weights(), losses=losses)

# Batches of 24 leave no smaller one, whose penalty several hosts average over what fills it up.
training.set_seed(3)
model = training.made(FEEDBACK, data.count_users_and_movies(ratings), train)
settings = FEEDBACK.with_training(epochs=2, batch_size=24).training
rate = training.learning_rate(settings, len(train))
model.compile(loss="mse", optimizer=keras.optimizers.Adam(rate))
for epoch in (1, 2):
    order = np.random.default_rng([3, epoch]).permutation(len(train))
    for start in range(0, len(order), 24):
        batch = train.iloc[order[start : start + 24]]
        model.train_on_batch(data.inputs(batch), data.targets(batch))
np.savez("plain-feedback.npz", *model.get_weights())
"""

# One of two hosts, which meet once: tables whole, tables cut by rows, feedback both ways,
# different seeds. Then, when told to, they train without end.
HOST = """
import sys
from pathlib import Path
import numpy as np
from embedlens import data, distributed, movielens
from embedlens.recipes import FEEDBACK

address, host = sys.argv[1], int(sys.argv[2])
as_one_of_two = dict(address=address, hosts=2, host=host, data=".", peer_timeout=10)
distributed.run(**as_one_of_two, seed=3, batch_size=16, output=Path(f"{host}.json"),
    weights=f"{host}.npz")
ratings = data.prepare(movielens.load("."))
model, history = distributed.train(ratings, 3, epochs=2, batch_size=16, sharded=True)
np.savez(f"{host}-sharded.npz", losses=history["valid_rmse"],
    train_losses=history["train_rmse"], **distributed.rows_held(model),
    adam=[v.value.addressable_shards[0].data.shape[0] for v in model.optimizer.variables[2:]])
for sharded in (False, True):
    model, _ = distributed.train(ratings, 3, 2, 24, sharded, FEEDBACK)
    np.savez(f"{host}-feedback-{sharded}.npz", **distributed.rows_held(model))
try:
    distributed.train(ratings, seed=host)
except ValueError as error:
    print(error)
print("trained together", flush=True)
input()
distributed.join = lambda *again: None
distributed.run(**as_one_of_two, epochs=1_000_000, batch_size=16)
"""


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process, pattern):
    """What a process has told by the time that the pattern appears."""
    told = ""
    while not re.search(pattern, told):
        new = process.stdout.read(1)
        assert new, told[-3000:]  # it has ended
        told += new
    return told


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
def hosts(folder):
    """Two hosts that train together in both ways; they go on, without end, for a line of input."""
    address = free_address()
    pair = [start(folder, "-c", HOST, address, host) for host in (0, 1)]
    yield pair
    for process in pair:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def trained(folder, hosts):
    """The folder after training by plain Keras, by one host, and by two in both ways."""
    alone = start(folder, "-c", ALONE)
    told = [read_until(process, "trained together") for process in hosts]
    assert all("the hosts differ in data, seed" in text for text in told)
    told = alone.communicate(timeout=240)[0]
    assert alone.returncode == 0, told[-3000:]
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


def test_hosts_train_feedback_as_one(trained):
    with np.load(trained / "plain-feedback.npz") as stored:
        weights = [stored[f"arr_{i}"] for i in range(4)]
    alone = np.load(trained / "alone-feedback.npz")
    whole = [np.load(trained / f"{host}-feedback-False.npz") for host in (0, 1)]
    cut = [np.load(trained / f"{host}-feedback-True.npz") for host in (0, 1)]
    for name, expected in zip(FEEDBACK_TABLES, weights, strict=True):
        together = np.concatenate([part[name] for part in cut])[: len(expected)]
        assert [len(part[name]) for part in cut] == [-(-len(expected) // 2)] * 2
        for held in (alone[name], *(part[name] for part in whole), together):
            np.testing.assert_allclose(held, expected, rtol=0, atol=1e-5)
        assert np.ptp(expected) > 1e-2


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


def test_the_death_of_a_host_ends_the_other(trained, hosts):
    survivor, victim = hosts
    for process in hosts:
        process.stdin.write("\n")
        process.stdin.flush()
    told = read_until(survivor, r" [1-9]\d*/1000000")  # an epoch is done: both train
    victim.send_signal(signal.SIGKILL)
    told += survivor.communicate(timeout=120)[0]
    assert survivor.returncode not in (0, -signal.SIGKILL)
    assert "another host has ended" in told or "another task died" in told


def test_a_host_that_never_arrives(folder):
    address = free_address()
    command = ["-m", "embedlens", "distribute", "--data", folder, "--address", address]
    waiting = start(folder, *command, "--hosts", 2, "--host", 0, "--arrival-timeout", 1)
    told = waiting.communicate(timeout=240)[0]
    assert waiting.returncode == 1
    assert f"not all of the 2 hosts met at {address} within 1 s" in told
    assert "the port is reached from every host" in told


def usage_error(monkeypatch, *arguments, **environment):
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # set by the command; so it is restored
    result = CliRunner(env=environment).invoke(main, ["distribute", *arguments])
    assert result.exit_code == 2, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hosts", "2"], "--address must be HOST:PORT"),
        (["--hosts", "2", "--address", "10.0.0.1"], "--address must be HOST:PORT"),
        (["--hosts", "2", "--host", "2", "--address", "a:1"], "--host 2: must lie between 0 and"),
        (["--host", "-1"], "-1 is not in the range"),
        (["--epochs", "0"], "0 is not in the range"),
        (["--output", "no/such/folder/file.json"], "no file in an existing folder"),
    ],
)
def test_bad_arguments_get_a_usage_error(monkeypatch, arguments, message):
    assert message in usage_error(monkeypatch, *arguments)


def test_a_number_below_the_first_host_is_refused():
    with pytest.raises(ValueError, match="--host -1: must lie between 0 and --hosts 1 - 1"):
        distributed.run(host=-1)


def test_the_environment_stands_in_for_arguments(monkeypatch):
    three = {"EMBEDLENS_HOSTS": "3", "EMBEDLENS_HOST": "7"}
    assert "--host 7: must lie between 0 and --hosts 3" in usage_error(monkeypatch, **three)
    three["EMBEDLENS_HOST"] = "seven"
    assert "'seven' is not a valid" in usage_error(monkeypatch, "--hosts", "8", **three)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_parts_of_the_hosts_are_the_batches(tiny_ratings, hosts):
    order = np.random.default_rng(0).permutation(90)[:70]
    parts = [distributed.batches_of_host(tiny_ratings, order, 16, h, hosts) for h in range(hosts)]
    x, y, weights = (
        np.concatenate([part[i].reshape(5, 16 // hosts, -1) for part in parts], axis=1)
        for i in range(3)
    )
    counts = weights.ravel() == 1
    assert weights.ravel().tolist() == [1] * 70 + [0] * 10
    ordered = tiny_ratings.iloc[order]
    np.testing.assert_array_equal(x.reshape(80, 2)[counts], data.inputs(ordered))
    np.testing.assert_array_equal(y.reshape(80, 1)[counts], data.targets(ordered))


@pytest.fixture
def as_on_jax(monkeypatch):
    monkeypatch.setattr(distributed.keras.backend, "backend", lambda: "jax")


def test_a_batch_that_cannot_be_cut_is_refused(tiny_ratings, monkeypatch, as_on_jax):
    monkeypatch.setattr(distributed.jax, "device_count", lambda: 3)
    monkeypatch.setattr(distributed.jax, "local_device_count", lambda: 3)
    with pytest.raises(ValueError, match="a batch of 32 cannot be cut for 3 devices"):
        distributed.train(tiny_ratings)
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="3 devices on 2 hosts: each must have equally many"):
        distributed.train(tiny_ratings)


def test_ids_without_a_row_are_refused(tiny_ratings, as_on_jax):
    part = tiny_ratings[tiny_ratings["userIdDense"] != 3]  # numbered as the whole is
    with pytest.raises(ValueError, match=r"userIdDense outside 1 to 11.*before you filter"):
        distributed.train(part)


def test_another_backend_than_jax_is_refused(tiny_ratings, monkeypatch):
    monkeypatch.setattr(distributed.keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(RuntimeError, match="set the environment variable KERAS_BACKEND=jax"):
        distributed.train(tiny_ratings)
