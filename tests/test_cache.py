import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace

import pytest

from embedlens import cache


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path / "kept"))
    cache._can_be_written.cache_clear()
    return tmp_path / "kept"


def square(x):
    square.calls.append(x)
    return x**2


def test_results_are_kept_in_the_folder_named(folder):
    square.calls = []
    for _ in range(2):
        assert cache.memory("one", "two").cache(square)(3) == 9
    assert square.calls == [3]
    assert (folder / "one" / "two").is_dir()


def test_other_places_keep_apart(folder):
    square.calls = []
    for place in ("one", "two"):
        cache.memory(place).cache(square)(3)
    assert square.calls == [3, 3]


def test_without_a_folder_it_works_and_says_so_once(folder, recwarn):
    folder.write_text("a file in the way")
    square.calls = []
    for _ in range(2):
        assert cache.memory("one").cache(square)(3) == 9
    assert square.calls == [3, 3]
    told = [str(warning.message) for warning in recwarn]
    assert len(told) == 1
    assert "EMBEDLENS_CACHE" in told[0]
    assert str(folder) in told[0]


def test_without_the_variable_it_lies_where_the_platform_says(monkeypatch):
    monkeypatch.delenv("EMBEDLENS_CACHE")
    assert cache.cache_folder().name == "embedlens"


@pytest.fixture
def jax_folder(monkeypatch):
    """What JAX is told: a stand-in, since a process that has JAX should not fork."""

    class Config:
        jax_compilation_cache_dir = None

        def update(self, name, value):
            setattr(self, name, value)

    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(config=Config()))
    return lambda: sys.modules["jax"].config.jax_compilation_cache_dir


def test_jax_keeps_programs_in_a_folder_for_this_processor(folder, jax_folder, monkeypatch):
    cache.keep_programs()
    assert Path(jax_folder()).parent == folder / "jax"
    assert Path(jax_folder()).is_dir()
    told = jax_folder()
    monkeypatch.setattr(cache, "_processor_features", lambda: "another")
    cache.keep_programs()
    assert jax_folder() == told, "what JAX was told before holds"


def test_processors_differ_by_what_they_can_do(monkeypatch):
    here = cache._processor_features()
    assert here == cache._processor_features()
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: "flags : fpu\nflags : fpu")
    assert here != cache._processor_features()


def test_jax_is_left_alone_where_nothing_can_be_kept(folder, jax_folder, recwarn):
    folder.write_text("a file in the way")
    cache.keep_programs()
    assert jax_folder() is None
    assert not recwarn


def test_a_second_process_compiles_nothing_anew(tmp_path):
    code = (
        "import jax, numpy as np, embedlens.training as training\n"
        "from embedlens.models import SimpleDot\n"
        "events = []; jax.monitoring.register_event_listener(lambda e, **k: events.append(e))\n"
        "training.set_seed(0); SimpleDot(3, 4, dim=2)(np.array([[1, 1]]))\n"
        "name = '/jax/compilation_cache/cache_'\n"
        "print(events.count(name + 'misses'), events.count(name + 'hits'))"
    )
    told = {"EMBEDLENS_CACHE": str(tmp_path / "kept"), "KERAS_BACKEND": "jax"}
    others = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={**others, **told, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    )
    assert int(first[0]) > 3
    assert second[0] == "0"
    assert int(second[1]) >= int(first[0])
