"""Train on several machines, with one command on each. Runs on JAX.

On two machines that both have the data and reach each other, the first of them at ADDRESS::

    python -m embedlens distribute --address ADDRESS:9911 --hosts 2 --host 0 --output history.json
    python -m embedlens distribute --address ADDRESS:9911 --hosts 2 --host 1

Every host draws the same batches and trains on its part of each; the gradients are added
up over the network. Either each host keeps the whole model, or, with ``--sharded``, its
part of the rows of every table. Both give the weights that one host gives, up to rounding:
the initial weights and the dropout do not depend on how arrays are laid out.

It trains the post's bias model or, with ``--feedback``, feedback both ways. Every host sums up
the feedback of all ratings for itself.

TensorFlow's own way, ``tf.distribute.MultiWorkerMirroredStrategy``, is not open to Keras 3:
its `fit` hands the model each host's part of a batch as a ``PerReplica`` value, which
Keras cannot convert to a tensor.
"""

import json
import os
import re
import sys
import threading
import time
import traceback
import zlib

import jax
from jax.experimental import multihost_utils
import joblib
import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from embedlens import data, movielens, provenance, training
from embedlens.recipes import BIAS, FEEDBACK

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
    layouts[".*/(user|movie|rated|rater)_(embedding|bias|table)/embeddings"] = ("batch", None)
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
        is filled up, from the first on, with ratings whose errors do not count. (Penalties
        on their rows do.)
    """
    filling = -len(order) % batch_size
    rows = np.append(order, np.resize(order, filling))
    weights = np.append(np.ones(len(order), "float32"), np.zeros(filling, "float32"))
    rows, weights = (
        a.reshape(-1, hosts, batch_size // hosts)[:, host].ravel() for a in (rows, weights)
    )
    part = ratings.iloc[rows]
    return data.inputs(part), data.targets(part), weights


def train(ratings, seed=0, epochs=2, batch_size=None, sharded=False, recipe=BIAS):
    """Train on all hosts that have met, or on this one alone.

    Parameters
    ----------
    ratings : pandas.DataFrame
        As from `data.prepare`, the same on every host, as are the other arguments.
    seed : int
        Fixes split, initial weights, order of the batches and dropout.
    epochs : int
    batch_size : int, optional
        Of the batches of all hosts together; a multiple of the number of devices. Default: the
        recipe's.
    sharded : bool
        As in `layout`. Rows that are never looked up fill the tables up to a multiple of
        the number of devices.
    recipe : recipes.Recipe
        Of a model whose layers are tables, named as in `layout`.

    Returns
    -------
    model : keras.Model
    history : pandas.DataFrame
        As from `training.train`.

    Raises
    ------
    ValueError
        If a batch cannot be cut into equal parts, an id is missing or has no row in the tables,
        or the hosts were given different things.
    RuntimeError
        If Keras runs on another backend than JAX.
    """
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            "several hosts train on JAX: set the environment variable KERAS_BACKEND=jax"
        )
    sizes = data.count_users_and_movies(ratings)
    data.check_ids(ratings, sizes)
    batch_size = batch_size or recipe.training.batch_size
    devices, host, hosts = jax.device_count(), jax.process_index(), jax.process_count()
    if devices != hosts * jax.local_device_count():
        raise ValueError(f"{devices} devices on {hosts} hosts: each must have equally many")
    if batch_size % devices:
        raise ValueError(f"a batch of {batch_size} cannot be cut for {devices} devices")
    given = joblib.hash((data.inputs(ratings), data.targets(ratings)))
    _check_hosts_agree(given, seed, epochs, batch_size, sharded, recipe.settings())
    recipe = recipe.with_training(epochs=epochs, batch_size=batch_size)
    parts = data.train_valid_split(ratings, seed)
    with layout(sharded).scope():
        training.set_seed(seed)
        model = _model(recipe, sizes, devices if sharded else 1, parts[0])
        return model, _fit(model, *parts, seed, epochs, batch_size, host, hosts)


def rows_held(model):
    """The rows of each table that lie on this host: float32 arrays by the layer's name."""
    held = {}
    for table in model.trainable_variables:
        shards = {part.index[0].start or 0: part.data for part in table.value.addressable_shards}
        rows = [np.asarray(shards[start]) for start in sorted(shards)]
        held[table.path.split("/")[-2]] = np.concatenate(rows)
    return held


def run(
    address=None,
    hosts=1,
    host=0,
    sharded=False,
    data=None,
    seed=0,
    epochs=2,
    batch_size=None,
    feedback=False,
    arrival_timeout=300,
    peer_timeout=30,
    output=None,
    weights=None,
):
    """Train as one of the hosts, and store what was learnt: ``python -m embedlens distribute``.

    If training fails, the process ends with a message and status 1.

    Parameters
    ----------
    address, hosts, host, arrival_timeout, peer_timeout
        As in `join`; a single host needs no address.
    data : str or path-like, optional
        As `source` of `movielens.load`.
    sharded, seed, epochs, batch_size
        As in `train`.
    feedback : bool
        Train `recipes.FEEDBACK`, not the post's bias model.
    output : pathlib.Path, optional
        JSON file that host 0 writes.
    weights : path-like, optional
        npz file for the rows that this host holds.

    Raises
    ------
    ValueError
        If the number of this host or the address cannot be, or the data cannot be used.
    """
    if not 0 <= host < hosts:
        raise ValueError(f"--host {host}: must lie between 0 and --hosts {hosts} - 1")
    if hosts > 1 and not re.fullmatch(r".+:\d+", address or ""):
        raise ValueError("--address must be HOST:PORT of host 0, the same on every host")
    ratings = _ratings(data)
    if hosts > 1:
        join(address, hosts, host, arrival_timeout, peer_timeout)
    recipe = FEEDBACK if feedback else BIAS
    batch_size = batch_size or recipe.training.batch_size
    try:
        model, history = train(ratings, seed, epochs, batch_size, sharded, recipe)
    except (Exception, KeyboardInterrupt) as error:  # a broken connection has many types
        traceback.print_exc()
        _end(
            f"host {host} of {hosts} stops: {error!r}. If a connection broke, another host has "
            f"ended before: look at its messages. Then start all hosts again"
        )
    held = rows_held(model)
    if weights:
        np.savez(weights, **held)
    if host == 0:
        print(history.to_string(index=False))
        if output:
            report = {"sharded": sharded, "batch_size": batch_size, "seed": seed}
            report = {**report, **_report(history, held)}
            output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _ratings(source):
    return data.prepare(movielens.load(source))


def _model(recipe, sizes, row_multiple, train_ratings):
    sizes = (n + -(n + 1) % row_multiple for n in sizes)
    model = training.made(recipe, sizes, train_ratings)
    rate = training.learning_rate(recipe.training, len(train_ratings))
    model.compile(
        loss=keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        optimizer=keras.optimizers.Adam(rate),
        weighted_metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
    )
    return model


def _fit(model, train_ratings, valid_ratings, seed, epochs, batch_size, host, hosts):
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
        raise ValueError("the hosts differ in data, seed, epochs, batch size, layout or model")


def _report(history, held):
    return {
        "hosts": jax.process_count(),
        "devices": [str(device) for device in jax.devices()],
        "versions": provenance.versions(),
        "rows_on_host_0": {name: len(rows) for name, rows in held.items()},
        "epochs": history.to_dict("records"),
    }


def _end(message):
    """End at once: on the usual way out JAX waits for hosts that do not answer."""
    print(f"embedlens distribute: {message}", file=sys.stderr, flush=True)
    os._exit(1)
