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
