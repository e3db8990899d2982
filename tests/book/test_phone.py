"""Every page of the built book on a phone: from disk, in dark mode."""

from looking import KINDS, defects, seen_in
import pytest


@pytest.fixture(scope="module")
def dark(browser, built_book):
    return seen_in(browser, built_book, "dark", 390, from_disk=True)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_on_a_phone_in_dark_mode_from_disk(dark, kind):
    assert sum(content["home"].startswith("file:") for content in dark.values()) >= 10
    assert not defects(dark, kind)


def test_index_leads_to_the_start_page(browser, built_book):
    page = browser.new_page()
    page.goto((built_book / "index.html").as_uri())
    page.wait_for_url("**/book/index.html")
    page.locator("article h1").wait_for()
    page.close()
    text = (built_book / "index.html").read_text()
    assert "<title>EmbedLens" in text
    assert 'name="description"' in text


def test_theme_switches_by_keyboard(browser, built_book):
    page = browser.new_page()
    page.goto((built_book / "book/index.html").as_uri())
    page.locator(".theme-switch-button").focus()
    modes = []
    for _ in range(3):
        page.keyboard.press("Enter")
        modes.append(page.evaluate("document.documentElement.dataset.mode"))
    page.close()
    assert sorted(modes) == ["auto", "dark", "light"]
