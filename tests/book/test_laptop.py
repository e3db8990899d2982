"""Every page of the built book on a laptop: served, in light mode, and by keyboard."""

from urllib.parse import urlsplit

from looking import KINDS, Site, defects, seen_in, served
import pytest

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def light(browser, built_book):
    return seen_in(browser, built_book, "light", 1280, keyboard=True)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_on_a_laptop_in_light_mode(light, kind):
    assert len(light) >= 10
    assert not defects(light, kind)


def test_every_page_by_keyboard(light):
    for path, content in light.items():
        found = content["keyboard"]
        reached = found["reached"]
        names = [e["name"] for e in reached]
        assert not [e["name"] for e in reached if not e["visible"]], path
        assert [e["opens"] for e in reached if e["toggle"]] == [True] * found["toggles"], path
        assert sum("search-button-field" in name for name in names) == 1, path
        assert sum("theme-switch-button" in name for name in names) == 1, path
        assert sum("reference internal" in name for name in names) >= found["links"] - 1, path
    assert sum(content["keyboard"]["toggles"] for content in light.values()) >= 6


def test_maths_scripts_are_loaded_where_maths_is(light):
    for path, content in light.items():
        asked = any("mathjax" in url for url in content["loaded"])
        assert asked == content["has_maths"], path
    assert {content["has_maths"] for content in light.values()} == {True, False}


def test_the_book_is_light(light, built_book):
    total = sum(file.stat().st_size for file in built_book.rglob("*") if file.is_file())
    assert total < 25 * MEGABYTE
    urls = {urlsplit(url).path for url in light["book/index.html"]["loaded"]}
    paths = {url.removeprefix(Site.prefix) for url in urls}
    sizes = {path: (built_book / path).stat().st_size for path in paths}
    assert "_static/embedlens.css" in sizes
    assert sum(sizes.values()) < 1.5 * MEGABYTE, sorted(sizes.items(), key=lambda item: -item[1])


def test_search_finds(browser, built_book):
    with served(built_book) as home:
        page = browser.new_page()
        page.goto(home + "search.html?q=embedding")
        page.locator("#search-results li a").first.wait_for()
        assert page.locator("#search-results li").count() >= 3
        page.close()
