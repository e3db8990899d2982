"""What the pages "Try it yourself" and "Map of the movies" share: one search, on both."""

import re
import unicodedata

import pytest

from embedlens.book import pages

OFFERED = 8


@pytest.fixture(scope="module")
def movies(root):
    return pages.read_script(root / pages.TARGET)["movies"]


@pytest.fixture(scope="module")
def opened(browser, built_book):
    """Both pages, each opened once."""
    context = browser.new_context()
    both = {name: context.new_page() for name in ("try", "map")}
    for name, page in both.items():
        page.goto((built_book / f"book/{name}.html").as_uri())
    yield both
    context.close()


class Search:
    """The search of one of the pages, as a reader sees it."""

    def __init__(self, name, page):
        self.page, self.name = page, name
        self.input = page.locator(f"#{name}-search")
        self.list = page.locator(f"#{name}-options")
        self.told = page.locator({"try": "#try-count", "map": "#map-status"}[name])
        self.taken = page.locator({"try": "#try-ratings .try-title", "map": "#map-caption"}[name])

    def type(self, text):
        self.input.fill(text)
        return self

    def press(self, *keys):
        for key in keys:
            self.input.press(key)
        return self

    def options(self):
        return self.list.locator("li").all_inner_texts()

    def active(self):
        """Place of the option that a screen reader reads out; None without one."""
        name = self.input.get_attribute("aria-activedescendant")
        chosen = self.list.locator("li[aria-selected=true]")
        assert chosen.count() == (name is not None)
        if name is None:
            return None
        assert chosen.get_attribute("id") == name
        return int(name.rsplit("-", 1)[1])

    def is_open(self):
        told = self.input.get_attribute("aria-expanded") == "true"
        assert told == self.list.is_visible()
        return told


@pytest.fixture(params=["try", "map"])
def search(opened, request):
    found = Search(request.param, opened[request.param])
    yield found.type("")
    found.page.locator(f"#{request.param}-clear").evaluate("button => button.click()")


def words(title):
    bare = unicodedata.normalize("NFD", title)
    bare = "".join(c for c in bare if not unicodedata.category(c).startswith("M"))
    return re.findall(r"[^\W_]+", bare.lower())


@pytest.mark.parametrize("typed", ["star", "the of", "19", "amélie", "S"])
def test_most_rated_movies_with_the_start_of_each_word(search, movies, typed):
    found = [
        (-n, row)
        for row, (title, n) in enumerate(zip(movies["title"], movies["n"], strict=True))
        if all(any(w.startswith(t) for w in words(title)) for t in words(typed))
    ]
    search.type(typed)
    assert search.options() == [movies["title"][row] for _, row in sorted(found)[:OFFERED]]
    told = search.told.inner_text()
    assert told.startswith(f"{len(found)} movie")
    assert ("the 8 most rated are listed" in told) == (len(found) > OFFERED)


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("the matrix", "Matrix, The (1999)"),
        ("THE MATRIX", "Matrix, The (1999)"),
        ("amelie", "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"),
        ("AMÉLIE", "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"),
        ("leon prof", "Léon: The Professional (a.k.a. The Professional) (Léon) (1994)"),
        ("godf 1972", "Godfather, The (1972)"),
        ("star wars: episode iv - a new hope", "Star Wars: Episode IV - A New Hope (1977)"),
    ],
)
def test_forgives_accents_case_order_and_punctuation(search, typed, first):
    assert search.type(typed).options()[0] == first


def test_by_keyboard(search):
    search.type("star wars")
    options = search.options()
    assert len(options) >= 3
    assert search.is_open()
    assert search.active() is None
    reached = [search.press(key).active() for key in ("ArrowDown", "ArrowDown", "ArrowUp")]
    assert reached == [0, 1, 0]
    last = len(options) - 1
    assert [search.press(key).active() for key in ("ArrowUp", "ArrowDown")] == [last, 0]
    search.press("ArrowDown", "Enter")
    assert not search.is_open()
    search.taken.wait_for()
    assert options[1] in search.taken.inner_text()


@pytest.mark.parametrize(("key", "place"), [("ArrowDown", 0), ("ArrowUp", -1)])
def test_an_arrow_opens_a_closed_list(search, key, place):
    search.type("star wars").press("Escape", key)
    assert search.is_open()
    assert search.active() == range(len(search.options()))[place]


@pytest.mark.parametrize("keys", [("Enter",), ("Escape", "Enter")], ids=["open", "closed"])
def test_enter_takes_the_first(search, keys):
    search.type("godfather 1972").press(*keys)
    search.taken.wait_for()
    assert "Godfather, The (1972)" in search.taken.inner_text()


def test_a_click_takes_an_option(search):
    search.type("alien")
    search.list.locator("li").nth(1).hover()
    search.page.mouse.down()
    assert search.is_open(), "the field keeps the focus"
    search.page.mouse.up()
    search.taken.wait_for()
    assert "Aliens (1986)" in search.taken.inner_text()


def test_escape_closes_then_empties(search):
    search.type("matrix").press("Escape")
    assert not search.is_open()
    assert search.input.input_value() == "matrix"
    assert search.told.inner_text() == ""
    search.press("Escape")
    assert search.input.input_value() == ""


def test_leaving_closes(search):
    search.type("matrix").press("ArrowDown")
    assert search.is_open()
    search.input.blur()
    assert not search.is_open()
    assert search.active() is None


def test_a_movie_chosen_already_is_said_to_be(search):
    search.type("godfather 1972").press("Enter")
    search.taken.wait_for()
    assert "already chosen" not in search.told.inner_text()
    search.type("godfather 1972").press("Enter")
    assert search.told.inner_text() == "Godfather, The (1972) is already chosen."
    assert search.taken.count() == 1
    search.type("alien 1979").press("Enter")
    search.page.wait_for_function(
        "name => !document.getElementById(name).textContent.includes('already')",
        arg=search.told.get_attribute("id"),
    )


@pytest.mark.parametrize("typed", ["zzzz", "atrix", "no such <b>title</b>"])
def test_what_is_not_found_is_said(search, typed):
    search.type(typed)
    assert search.told.inner_text() == f"No movie found for “{typed}”."
    assert not search.is_open()
    search.press("ArrowDown", "Enter")
    assert not search.taken.is_visible()


@pytest.mark.parametrize("typed", ["", "  ", "..."])
def test_nothing_typed_offers_nothing(search, typed):
    search.type(typed).press("ArrowDown", "ArrowUp", "Enter")
    assert not search.is_open()
    assert not search.taken.is_visible()
