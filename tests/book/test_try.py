"""The page "Try it yourself": computes what Python computes, and can be used."""

import json
from pathlib import Path
import re

from axe_playwright_python.sync_playwright import Axe
import numpy as np
import pytest

from embedlens import data, foldin, movielens
from embedlens.book import pages

ROOT = Path(__file__).parents[2]
STAR_WARS, MATRIX, FORREST_GUMP = 144, 403, 58
RANK = """([ratings, n, by]) => {
  const { spaceOf, foldIn, rank, pushes } = EmbedLensTry;
  const space = spaceOf(EMBEDLENS);
  const user = foldIn(space, ratings);
  const list = rank(space, user, by).slice(0, n);
  const first = list.slice(0, 10).map(({ row }) => pushes(space, user, row));
  return JSON.stringify([list, first]);  // playwright is slow to hand over objects
}"""
EASE = """(ratings) => {
  const { spaceOf, easeOf, rankByEase } = EmbedLensTry;
  return JSON.stringify(rankByEase(spaceOf(EMBEDLENS), easeOf(EMBEDLENS_EASE), ratings));
}"""
# The Silence of the Lambs, Interview with the Vampire, Jaws, The Shining; Good Will Hunting, One
# Flew Over the Cuckoo's Nest.
HORROR_FAN = {93: 5.0, 43: 5.0, 215: 5.0, 195: 5.0, 460: 1.0, 328: 1.0}
PARSE = "hash => EmbedLensTry.parseLink(EmbedLensTry.spaceOf(EMBEDLENS), hash)"


@pytest.fixture(scope="module")
def contents():
    return pages.read_script(ROOT / pages.TARGET)


@pytest.fixture(scope="module")
def space(contents):
    return pages.space_in(contents)


@pytest.fixture(scope="module")
def ease_contents():
    return pages.read_script(ROOT / pages.TARGET.with_name(pages.EASE_NAME), pages.EASE_PREFIX)


@pytest.fixture(scope="module")
def title_of(contents):
    movies = contents["movies"]
    return dict(zip(movies["id"], movies["title"], strict=True))


@pytest.fixture(scope="module")
def address(built_book):
    return (built_book / "book/try.html").as_uri()


@pytest.fixture(scope="module")
def shared(browser):
    context = browser.new_context()
    context.set_default_timeout(10_000)
    context.new_page()
    yield context
    context.close()


@pytest.fixture
def context(shared):
    """One for the whole file, for each test with nothing stored."""
    yield shared
    for page in shared.pages[1:]:
        page.close()
    shared.pages[0].evaluate("localStorage.clear(), sessionStorage.clear()")


@pytest.fixture
def page(context, address):
    return opened(context, address)


@pytest.fixture(scope="module")
def functions(browser, address):
    """The page, for its functions alone."""
    context = browser.new_context()
    context.new_page()
    yield opened(context, address)
    context.close()


def opened(context, address):
    """The page in the first tab, loaded anew: a new tab takes a process of its own."""
    page = context.pages[0]
    page.goto("about:blank")  # Else a new end alone loads nothing.
    page.goto(address)
    return page


def rated(page):
    """What the page lists under "Your ratings": dense id and the chosen stars, as text."""
    rows = page.locator("#try-ratings li").all()
    return {int(row.get_attribute("data-id")): row.locator("select").input_value() for row in rows}


def recommended(page):
    return [int(row.get_attribute("data-id")) for row in page.locator("#try-list > li").all()]


def parts_in(text):
    """Bias, shared and taste, as the page writes them."""
    found = re.search(r"bias (\S+), shared (\S+), taste (\S+)\.", text)
    return [float(number.replace("\N{MINUS SIGN}", "-")) for number in found.groups()]


def users(space):
    """Nobody, real users with all their ratings, and random ones, as lists of pairs."""
    ratings = data.prepare(movielens.load())
    ratings = ratings[ratings["movieIdDense"].isin(space.ids)]
    found = {"nobody": []}
    for user in (1, 15, 73, 212, 547):
        own = ratings[ratings["userIdDense"] == user]
        found[f"user {user}"] = list(
            zip(own["movieIdDense"].tolist(), own["rating"].tolist(), strict=True)
        )
    rng = np.random.default_rng(0)
    for n in (1, 2, 12, 90):
        movies = rng.choice(space.ids, n, replace=False).tolist()
        stars = (rng.integers(1, 11, n) / 2).tolist()
        found[f"random {n}"] = list(zip(movies, stars, strict=True))
    return found


def ordered(space, user, by):
    """All movies as the page orders them: by taste, the well predicted ones alone."""
    table = foldin.rank(space, user, len(space.ids))
    if by == "predicted":
        return table
    columns = ["taste", "predicted", "movieIdDense"]
    well = table.head(100).sort_values(columns, ascending=[False, False, True])
    return well.reset_index(drop=True)


def test_page_and_python_agree(functions, space):
    for name, ratings in users(space).items():
        user = foldin.fold_in(space, ratings)
        for by in ("predicted", "taste"):
            n = 10 if by == "predicted" else 100
            theirs, first = json.loads(functions.evaluate(RANK, [ratings, n, by]))
            ours = ordered(space, user, by).head(n)
            assert [movie["id"] for movie in theirs] == ours["movieIdDense"].tolist(), name
            for column in ("predicted", "bias", "shared", "taste"):
                values = [movie[column] for movie in theirs]
                assert values == pytest.approx(ours[column].tolist(), abs=1e-4), (name, column)
            for movie, found in zip(theirs[:10], first, strict=True):
                pushes = foldin.pushes(space, user, movie["id"])
                assert [p["id"] for p in found] == pushes["movieIdDense"].tolist()
                values = [p["push"] for p in found]
                assert values == pytest.approx(pushes["push"].tolist(), abs=1e-4), name


def test_page_and_python_agree_on_ease(functions, space, ease_contents):
    weights = pages.ease_weights_in(ease_contents)
    row_of = {movie: row for row, movie in enumerate(space.ids.tolist())}
    for name, ratings in users(space).items():
        given = np.zeros(len(weights))
        for movie, stars in ratings:
            given[row_of[movie]] = stars - 2.75
        scores = given @ weights
        scores[given != 0] = 0
        theirs = json.loads(functions.evaluate(EASE, ratings))
        assert len(theirs) == pytest.approx((scores > 1e-9).sum(), abs=2), name
        for movie in theirs:
            assert movie["score"] == pytest.approx(scores[row_of[movie["id"]]], abs=1e-9)
            pushes = {p["id"]: p["push"] for p in movie["pushes"]}
            for rated, push in pushes.items():
                row = row_of[rated]
                assert push == pytest.approx(given[row] * weights[row, movie["row"]])
            assert movie["favour"] + movie["against"] == pytest.approx(movie["score"])
        assert [m["score"] for m in theirs] == sorted((m["score"] for m in theirs), reverse=True)


def test_reasons_are_the_ratings_that_speak_for_a_movie(context, address, space):
    """The nearest rated movie was no reason: most of the first seven named one with one star."""
    user = foldin.fold_in(space, HORROR_FAN)
    nearest = foldin.rank(space, user, 7)["nearest"]
    assert sum(HORROR_FAN[movie] == 1 for movie in nearest) >= 6
    page = opened(context, address + "#r=" + ",".join(f"{i}:{s:g}" for i, s in HORROR_FAN.items()))
    for movie, item in zip(recommended(page), page.locator("#try-list > li").all(), strict=True):
        why = item.locator(".try-why").inner_text()
        pushes = foldin.pushes(space, user, movie).sort_values("push")
        if pushes["push"].sum() < 0:
            assert why.startswith("In spite of your taste: you gave ")
            against, favour = why.split("; in its favour only ")
        else:
            assert why.startswith("Because you gave ")
            favour, _, against = why.partition(", although you gave ")
        assert "5 ★" in favour
        assert "1 ★" not in favour
        assert "5 ★" not in against
        least, most = pushes["push"].iloc[0], pushes["push"].iloc[-1]
        assert f"(+{most:.2f})" in favour
        assert (f"(\N{MINUS SIGN}{-least:.2f})" in against) == (least <= -0.005)


def test_by_taste_only_what_is_predicted_well(context, address, space):
    """Of all movies the first had been predicted at 2.5 stars."""
    user = foldin.fold_in(space, HORROR_FAN)
    assert foldin.rank(space, user, 1, "taste")["predicted"][0] < 2.5
    page = opened(context, address + "#r=" + ",".join(f"{i}:{s:g}" for i, s in HORROR_FAN.items()))
    page.select_option("#try-order", "taste")
    well = foldin.rank(space, user, 100)
    assert set(recommended(page)) <= set(well["movieIdDense"])
    told = page.locator("#try-list .try-predicted").all_inner_texts()
    assert min(float(text.split()[0]) for text in told) >= round(well["predicted"].min(), 2)
    assert "only the 100 movies with the highest predictions" in page.inner_text("#try-app")


def test_the_reader_chooses_the_model(context, address, functions, title_of):
    page = opened(context, f"{address}#r={MATRIX}:5,{STAR_WARS}:4.5,{FORREST_GUMP}:1")
    ratings = [[MATRIX, 5], [STAR_WARS, 4.5], [FORREST_GUMP, 1]]
    by_stars = recommended(page)
    page.select_option("#try-model", "ease")
    theirs = json.loads(functions.evaluate(EASE, ratings))
    assert recommended(page) == [movie["id"] for movie in theirs[:10]]
    assert not page.locator("#try-order").is_visible()
    common = len(set(by_stars) & set(recommended(page)))
    assert f"In the first ten of the bias model too: {common or 'none'}." in page.inner_text(
        "#try-whose"
    )
    ranked, _ = json.loads(functions.evaluate(RANK, [ratings, 9999, "predicted"]))
    everything = [movie["id"] for movie in ranked]
    for movie, item in zip(theirs, page.locator("#try-list > li").all(), strict=False):
        text = item.inner_text()
        assert title_of[movie["id"]] in text
        assert f"score {movie['score']:.3f}" in text
        assert f"Place {everything.index(movie['id']) + 1} for the bias model." in text
        assert "Because you gave " in text
    page.select_option("#try-model", "bias")
    assert page.locator("#try-order").is_visible()
    assert recommended(page) == by_stars


def test_ease_says_why_its_list_is_empty(context, address, space, ease_contents):
    page = opened(context, address)
    page.select_option("#try-model", "ease")
    assert "EASE has a list for you from the first rating on" in page.inner_text("#try-whose")
    assert recommended(page) == []
    only_up = pages.ease_weights_in(ease_contents).min(axis=1) >= 0
    page.goto("about:blank")
    page.goto(f"{address}#r={space.ids[only_up][0]}:0.5")
    page.select_option("#try-model", "ease")
    assert "none speaks for another movie" in page.inner_text("#try-whose")
    assert recommended(page) == []


def test_what_was_measured_stands_on_the_page(page, ease_contents):
    lines = page.locator("#try-measured tr").all()
    told = [[float(cell) for cell in line.locator("td").all_inner_texts()] for line in lines]
    names = ("bias", "ease", "ease_on_page", "most_rated")
    for numbers, name in zip(told, names, strict=True):
        measured = ease_contents["measured"][name]
        assert numbers == pytest.approx([measured["ndcg"], measured["precision"]], abs=5.1e-4)
    assert told[1][0] > 2 * told[0][0], "the page says that the lists of EASE are much better"
    assert told[3][0] > told[0][0], "and those of the most rated movies too"
    assert page.inner_text("#try-users") == str(ease_contents["users"])


def test_ties_go_by_dense_id(functions):
    ids = functions.evaluate(
        """() => {
      const movies = { id: [9, 2, 5, 3], title: ["", "", "", ""], bias: [1, 1, 1, 1] };
      const data = { ...EMBEDLENS, movies, vectors: btoa("\\0".repeat(4 * 4 * EMBEDLENS.dim)) };
      const { spaceOf, foldIn, rank } = EmbedLensTry;
      const space = spaceOf(data);
      return rank(space, foldIn(space, [[5, 4]])).map((movie) => movie.id);
    }"""
    )
    assert ids == [2, 3, 9]


def test_list_shows_the_ranking_and_its_parts(context, address, space, title_of):
    ratings = {MATRIX: 5.0, STAR_WARS: 4.5, FORREST_GUMP: 1.0}
    page = opened(context, f"{address}#r={MATRIX}:5,{STAR_WARS}:4.5,{FORREST_GUMP}:1")
    user = foldin.fold_in(space, ratings)
    for by in ("predicted", "taste"):
        page.select_option("#try-order", by)
        ours = ordered(space, user, by).head(10)
        assert recommended(page) == ours["movieIdDense"].tolist()
        for item, row in zip(page.locator("#try-list > li").all(), ours.itertuples(), strict=True):
            text = item.inner_text()
            assert title_of[row.movieIdDense] in text
            assert parts_in(text) == pytest.approx([row.bias, row.shared, row.taste], abs=0.006)
            predicted = float(re.search(r"([\d.]+) ★", text)[1])
            assert predicted == pytest.approx(row.predicted, abs=0.006)


def test_bars_are_as_long_as_their_parts(context, address):
    page = opened(context, f"{address}#r={MATRIX}:5,{STAR_WARS}:0.5")
    item = page.locator("#try-list > li").first
    parts = parts_in(item.inner_text())
    boxes = [item.locator(f".try-bar .try-{n}").bounding_box() for n in ("bias", "shared", "taste")]
    zero = item.locator(".try-zero").bounding_box()["x"] + 1
    widths = [box["width"] for box in boxes]
    assert widths[0] / widths[1] == pytest.approx(parts[0] / parts[1], rel=0.05)
    assert boxes[0]["x"] == pytest.approx(zero, abs=1.5)
    assert boxes[1]["x"] == pytest.approx(zero + widths[0], abs=1.5)
    assert parts[2] < 0
    assert boxes[2]["x"] + widths[2] == pytest.approx(zero, abs=1.5)


def test_before_any_rating_the_average_user_and_well_known_movies(page, space):
    assert "average user" in page.inner_text("#try-whose")
    nobody = foldin.rank(space, foldin.fold_in(space, {}))
    assert recommended(page) == nobody["movieIdDense"].tolist()
    buttons = page.locator("#try-suggestions button")
    assert buttons.count() >= 6
    name = buttons.first.inner_text()
    buttons.first.click()
    row = page.locator("#try-ratings li")
    assert row.locator(".try-title").inner_text() == name
    assert "average user" in page.inner_text("#try-whose"), "chosen, but without stars"
    assert row.locator("option").first.inner_text() == "stars …"
    row.locator("select").select_option("4")
    assert row.locator("option").first.inner_text() == "5 ★", "no way back to no stars"
    assert "from 1 rating." in page.inner_text("#try-whose")
    assert name not in page.locator("#try-suggestions").inner_text()


def test_with_the_keyboard_alone(page):
    search = page.locator("#try-search")
    search.focus()
    page.keyboard.type("star wars")
    assert search.get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    option = page.locator(f"#{search.get_attribute('aria-activedescendant')}")
    assert option.get_attribute("aria-selected") == "true"
    assert option.inner_text() == "Star Wars: Episode IV - A New Hope (1977)"
    page.keyboard.press("Enter")
    assert search.get_attribute("aria-expanded") == "false"
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.keyboard.type("5 ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert rated(page) == {STAR_WARS: "4.5"}
    assert STAR_WARS not in recommended(page)
    label = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(label) == "Remove Star Wars: Episode IV - A New Hope (1977)"
    page.keyboard.press("Enter")
    assert rated(page) == {}
    assert page.evaluate("document.activeElement.id") == "try-search"


def rate(page, title, stars):
    page.fill("#try-search", title)
    page.keyboard.press("Enter")
    page.locator("#try-ratings li").last.locator("select").select_option(stars)


def test_reload_keeps_ratings_and_clear_forgets_them(page):
    rate(page, "star wars episode iv", "4.5")
    rate(page, "the matrix 1999", "2")
    before = recommended(page)
    page.reload()
    assert rated(page) == {STAR_WARS: "4.5", MATRIX: "2"}
    assert recommended(page) == before
    page.locator("#try-ratings button").first.click()
    assert rated(page) == {MATRIX: "2"}
    page.click("#try-clear")
    assert rated(page) == {}
    assert not page.locator("#try-tools").is_visible()
    page.reload()
    assert rated(page) == {}
    assert "average user" in page.inner_text("#try-whose")


def test_link_shares_ratings(page, browser):
    rate(page, "star wars episode iv", "4.5")
    rate(page, "the matrix 1999", "2")
    elsewhere = browser.new_context()
    elsewhere.new_page()
    other = opened(elsewhere, page.input_value("#try-link"))
    assert rated(other) == {STAR_WARS: "4.5", MATRIX: "2"}
    assert recommended(other) == recommended(page)
    assert "come from the link" in other.inner_text("#try-notice")
    elsewhere.close()


def test_link_replaces_own_ratings_only_after_a_change(context, address):
    page = opened(context, address)
    rate(page, "the matrix 1999", "2")
    visitor = context.new_page()
    visitor.goto(f"{address}#r={STAR_WARS}:5")
    assert rated(visitor) == {STAR_WARS: "5"}
    page.reload()
    assert rated(page) == {MATRIX: "2"}
    visitor.locator("#try-ratings select").select_option("3")
    assert visitor.evaluate("location.hash") == ""
    visitor.reload()
    assert rated(visitor) == {STAR_WARS: "3"}


def test_link_pasted_into_the_open_page(page):
    page.evaluate(f"location.hash = '#r={MATRIX}:1.5'")
    page.wait_for_selector("#try-ratings li")
    assert rated(page) == {MATRIX: "1.5"}


def test_nonsense_in_a_link_is_reported(context, address):
    page = opened(context, f"{address}#r=9999999:3,{MATRIX}:4,{STAR_WARS}:7,<b>x</b>,%")
    assert rated(page) == {MATRIX: "4"}
    notice = page.inner_text("#try-notice")
    for part in ("9999999:3 (no such movie)", "144:7 (not 0.5 to 5 stars", "(not of the form"):
        assert part in notice
    assert page.locator("#try-notice b").count() == 0


@pytest.mark.parametrize(
    ("link", "ratings", "n_ignored"),
    [
        ("", [], 0),
        ("#what-happens-here", [], 0),
        ("#r=", [], 0),
        ("#r=144:5", [[144, 5]], 0),
        ("#r=144%3A5%2C403:0.5", [[144, 5], [403, 0.5]], 0),
        ("#r=144:5,144:4", [[144, 5]], 1),
        ("#r=144:0,144:5.5,144:3.3,144:-1,144:1e1,0:3,-3:3,144", [], 8),
        ("#r=%E0%A4%A", [], 1),
        ("#r=144:5:3,__proto__:3,NaN:NaN", [], 3),
    ],
)
def test_reading_links(functions, link, ratings, n_ignored):
    found = functions.evaluate(PARSE, link)
    assert found["ratings"] == ratings
    assert len(found["ignored"]) == n_ignored


def test_without_scripts_the_page_says_so(browser, address):
    context = browser.new_context(java_script_enabled=False)
    context.new_page()
    page = opened(context, address)
    assert page.locator("#try-missing").is_visible()
    assert not page.locator("#try-app").is_visible()
    context.close()


def test_only_files_of_the_book_are_loaded(context, address, built_book):
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    rate(page, "the matrix 1999", "2")
    assert any(url.endswith("movies-data.js") for url in asked)
    assert not [url for url in asked if not url.startswith(built_book.as_uri())]


def test_accessible_and_not_too_wide(browser, address):
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, color_scheme="light", reduced_motion="reduce"
    )
    context.new_page()
    page = opened(context, f"{address}#r={MATRIX}:5,181:0.5,oops")
    page.fill("#try-search", "star")
    page.keyboard.press("ArrowDown")
    backgrounds = set()
    for scheme, model in (("light", "bias"), ("dark", "ease")):
        page.select_option("#try-model", model)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        found = Axe().run(page).response["violations"]
        assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert len(backgrounds) == 2
    context.close()


def test_python_shown_on_the_page_runs(monkeypatch, space):
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "book/try.md").read_text(), flags=re.DOTALL
    )
    monkeypatch.chdir(ROOT)
    names = {}
    exec(code, names)
    assert len(names["best"]) == 10
    assert not set(names["best"]["movieIdDense"]) & {144, 403, 58}


def test_page_names_the_limits_of_its_data():
    assert pages.AT_LEAST == 5
    assert "fewer than five ratings" in (ROOT / "book/try.md").read_text()
    assert pages.WEIGHTS_KEPT == 50
    assert "are kept, 50 of them" in (ROOT / "book/try.md").read_text()
