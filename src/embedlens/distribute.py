"""Train the bias model on several machines, with one command on each. Runs on JAX.

On two machines that both have the data and reach each other, the first of them at ADDRESS::

    python -m embedlens.distribute --address ADDRESS:9911 --hosts 2 --host 0 --output history.json
    python -m embedlens.distribute --address ADDRESS:9911 --hosts 2 --host 1

Every host draws the same batches and trains on its part of each; the gradients are added
up over the network. Either each host keeps the whole model, or, with ``--sharded``, its
part of the rows of every table. Both give the weights that one host gives, up to rounding:
the initial weights and the dropout do not depend on how arrays are laid out.

TensorFlow's own way, ``tf.distribute.MultiWorkerMirroredStrategy``, is not open to Keras 3:
its `fit` hands the model each host's part of a batch as a ``PerReplica`` value, which
Keras cannot convert to a tensor.
"""

import argparse
import json
import os
import re
import sys
import threading
import time
import traceback
import zlib

from embedlens import commands, data, training
from embedlens.models import DotWithBias
import jax
from jax.experimental import multihost_utils
import joblib
import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

VALIDATION_BATCH = 1024  # per device


def join(address, hosts, host, arrival_timeout=300, peer_timeout=30):
    """Meet the other hosts. Call it before anything is computed on JAX.

    Parameters
    ----------
    address : str
        HOST:PORT of host 0, as all hosts reach it; the port must be free there.
    hosts, host : int
        How many hosts there are, and the number of this one, from 0.
    arrival_timeout : int
        Seconds to wait for all hosts. Then the process ends with a message and status 1:
        JAX itself would abort it with a message that names no address.
    peer_timeout : int
        Seconds without a sign of life after which a host counts as dead. JAX then aborts
        the others, unless a broken connection has ended them before.
    """

    def give_up():
        _end(
            f"not all of the {hosts} hosts met at {address} within {arrival_timeout} s. Check that "
            f"each was started with the same --address and --hosts and a --host of its own, "
            f"and that the port is reached from every host and used by nothing else"
        )

    print(f"Host {host} of {hosts}: waiting for the others at {address}", file=sys.stderr)
    timer = threading.Timer(arrival_timeout, give_up)
    timer.start()
    try:
        jax.distributed.initialize(
            address,
            hosts,
            host,
            cluster_detection_method="deactivate",
            initialization_timeout=arrival_timeout + 60,
            heartbeat_timeout_seconds=peer_timeout,
            shutdown_timeout_seconds=peer_timeout,
        )
    finally:
        timer.cancel()


def layout(sharded):
    """How Keras lays batches and weights out over all devices of all hosts.

    Parameters
    ----------
    sharded : bool
        Cut every table by rows, and its part of the optimizer with it, or copy it whole.
        Batches are cut in both cases.

    Returns
    -------
    keras.distribution.Distribution
    """
    if not sharded:
        return keras.distribution.DataParallel(auto_shard_dataset=False)
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((len(devices),), ["batch"], devices)
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*/(user|movie)_(embedding|bias)/embeddings"] = ("batch", None)
    return keras.distribution.ModelParallel(layout_map=layouts, auto_shard_dataset=False)


def batches_of_host(ratings, order, batch_size, host, hosts):
    """Cut each batch of `order` into `hosts` parts of equal size and take the parts of `host`.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`.
    order : numpy.ndarray of int
        Positions in `ratings`.
    batch_size : int
        Of the batches of all hosts together; a multiple of `hosts`.
    host, hosts : int

    Returns
    -------
    x, y, weights : numpy.ndarray
        Model input, target, and float32 weights of shape (n,): 1, or 0 where the last batch
        is filled up with a rating that does not count.
    """
    filling = -len(order) % batch_size
    rows = np.append(order, np.full(filling, order[0]))
    weights = np.append(np.ones(len(order), "float32"), np.zeros(filling, "float32"))
    rows, weights = (
        a.reshape(-1, hosts, batch_size // hosts)[:, host].ravel() for a in (rows, weights)
    )
    part = ratings.iloc[rows]
    return data.inputs(part), data.targets(part), weights


def train(ratings, seed=0, epochs=2, batch_size=32, sharded=False):
    """Train `DotWithBias` on all hosts that have met, or on this one alone.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`, the same on every host, as are the other arguments.
    seed : int
        Fixes split, initial weights, order of the batches and dropout.
    epochs : int
    batch_size : int
        Of the batches of all hosts together; a multiple of the number of devices.
    sharded : bool
        As in `layout`. Rows that are never looked up fill the tables up to a multiple of
        the number of devices.

    Returns
    -------
    model : DotWithBias
    history : pandas.DataFrame
        As from `training.train`, and seconds: of each epoch with its validation. The
        first includes compiling.

    Raises
    ------
    ValueError
        If a batch cannot be cut into equal parts, or the hosts were given different things.
    """
    devices, host, hosts = jax.device_count(), jax.process_index(), jax.process_count()
    if devices != hosts * jax.local_device_count():
        raise ValueError(f"{devices} devices on {hosts} hosts: each must have equally many")
    if batch_size % devices:
        raise ValueError(f"a batch of {batch_size} cannot be cut for {devices} devices")
    given = joblib.hash((data.inputs(ratings), data.targets(ratings)))
    _check_hosts_agree(given, seed, epochs, batch_size, sharded)
    with layout(sharded).scope():
        training.set_seed(seed)
        model = _model(ratings, devices if sharded else 1)
        return model, _fit(model, ratings, seed, epochs, batch_size, host, hosts)


def rows_held(model):
    """The rows of each table that lie on this host: float32 arrays by the layer's name."""
    held = {}
    for table in model.trainable_variables:
        shards = {part.index[0].start or 0: part.data for part in table.value.addressable_shards}
        rows = [np.asarray(shards[start]) for start in sorted(shards)]
        held[table.path.split("/")[-2]] = np.concatenate(rows)
    return held


def main(arguments=None):
    """Train as one of the hosts; see the module's text."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not 0 <= options.host < options.hosts:
        parser.error(f"--host {options.host}: must lie between 0 and --hosts {options.hosts} - 1")
    if options.hosts > 1 and not re.fullmatch(r".+:\d+", options.address or ""):
        parser.error("--address must be HOST:PORT of host 0, the same on every host")
    commands.restart_on_jax("embedlens.distribute", arguments)
    ratings = data.prepare(data.load_movielens(options.data))
    if options.hosts > 1:
        join(
            options.address,
            options.hosts,
            options.host,
            options.arrival_timeout,
            options.peer_timeout,
        )
    try:
        model, history = train(
            ratings, options.seed, options.epochs, options.batch_size, options.sharded
        )
    except (Exception, KeyboardInterrupt) as error:  # a broken connection has many types
        traceback.print_exc()
        _end(
            f"host {options.host} of {options.hosts} stops: {error!r}. If a connection broke, "
            f"another host has ended before: look at its messages. Then start all hosts again"
        )
    held = rows_held(model)
    if options.weights:
        np.savez(options.weights, **held)
    if options.output and options.host == 0:
        report = _report(options, history, held)
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.host == 0:
        print(history.to_string(index=False))


def _model(ratings, row_multiple):
    sizes = [n + -(n + 1) % row_multiple for n in data.count_users_and_movies(ratings)]
    model = DotWithBias(*sizes, float(ratings["rating"].min()), float(ratings["rating"].max()))
    model.compile(
        loss=keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        optimizer="adam",
        weighted_metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
    )
    return model


def _fit(model, ratings, seed, epochs, batch_size, host, hosts):
    train_ratings, valid_ratings = data.train_valid_split(ratings, seed)
    in_order = np.arange(len(valid_ratings))
    valid_size = VALIDATION_BATCH * jax.device_count()
    valid = batches_of_host(valid_ratings, in_order, valid_size, host, hosts)
    rows = []
    for epoch in tqdm(range(1, epochs + 1), unit="epoch", disable=host != 0):
        start = time.perf_counter()
        order = np.random.default_rng([seed, epoch]).permutation(len(train_ratings))
        x, y, weights = batches_of_host(train_ratings, order, batch_size, host, hosts)
        fitted = model.fit(
            x,
            y,
            sample_weight=weights,
            batch_size=batch_size // hosts,
            shuffle=False,
            validation_data=valid,
            validation_batch_size=valid_size // hosts,
            verbose=0,
        ).history
        seconds = time.perf_counter() - start
        rows.append([epoch, fitted["rmse"][0], fitted["val_rmse"][0], seconds])
    return pd.DataFrame(rows, columns=["epoch", "train_rmse", "valid_rmse", "seconds"])


def _check_hosts_agree(*given):
    digest = np.uint32(zlib.crc32(repr(given).encode()))
    if len(np.unique(multihost_utils.process_allgather(digest))) > 1:
        raise ValueError("the hosts differ in data, seed, epochs, batch size or layout")


def _report(options, history, held):
    return {
        "hosts": options.hosts,
        "devices": [str(device) for device in jax.devices()],
        "sharded": options.sharded,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "versions": training.versions(),
        "rows_on_host_0": {name: len(rows) for name, rows in held.items()},
        "epochs": history.to_dict("records"),
    }


def _end(message):
    """End at once: on the usual way out JAX waits for hosts that do not answer."""
    print(f"embedlens.distribute: {message}", file=sys.stderr, flush=True)
    os._exit(1)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m embedlens.distribute",
        description=__doc__.splitlines()[0],
        epilog="Each option may be given by an environment variable instead, "
        "such as EMBEDLENS_HOST or EMBEDLENS_BATCH_SIZE.",
    )

    def add(flag, default, help, **kind):
        variable = "EMBEDLENS_" + flag.upper().replace("-", "_")
        parser.add_argument(
            f"--{flag}", default=os.environ.get(variable, default), help=help, **kind
        )

    add("address", None, "HOST:PORT of host 0, the same on every host")
    add("hosts", 1, "how many (default: 1)", type=int)
    add("host", 0, "number of this one, from 0 (default: 0)", type=int)
    parser.add_argument(
        "--sharded",
        action="store_true",
        default=os.environ.get("EMBEDLENS_SHARDED") == "1",
        help="cut the tables by rows over the hosts (by environment: 1)",
    )
    add("data", None, "folder or zip file of a MovieLens release (default: the embedded one)")
    add("seed", 0, "default: 0", type=int)
    add("epochs", 2, "default: 2", type=_positive)
    add("batch-size", 32, "of all hosts together (default: 32)", type=_positive)
    add("arrival-timeout", 300, "seconds for all hosts to arrive (default: 300)", type=_positive)
    add("peer-timeout", 30, "seconds until a silent host is dead (default: 30)", type=_positive)
    add("output", None, "JSON file that host 0 writes", type=commands.file_to_write)
    add("weights", None, "npz file for the rows that this host holds", type=commands.file_to_write)
    return parser


def _positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
