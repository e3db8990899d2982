"""The page "Map of the movies", in a browser."""

import base64
from pathlib import Path
import re

from axe_playwright_python.sync_playwright import Axe
import numpy as np
import pytest

from embedlens.book import pages

ROOT = Path(__file__).parents[2]
KNOWN = "Identifier 'THEBE_JS_URL' has already been declared"  # of the theme, on every page
LOCAL = ("file:", "data:", "blob:")
OFTEN = 20
DATA = "document.getElementById('map-plot').data"
POINTS = f"{DATA}.filter((t) => t.opacity < 1)"
AS_AT_FIRST = """() => {
  for (const select of document.querySelectorAll("#map-controls select")) select.selectedIndex = 0;
  for (const box of ["map-all", "map-smear"]) document.getElementById(box).checked = false;
  document.getElementById("map-clear").click();
  document.getElementById("map-axes").dispatchEvent(new Event("change"));
  document.documentElement.dataset.theme = "light";
}"""
HIGHLIGHTS = f"{DATA}.filter((t) => ['neighbours', 'chosen'].includes(t.name))"
LANDMARKS = f"{DATA}.find((t) => t.name === 'landmarks')"
LABELS = """() => [...document.querySelectorAll("#map-plot .textpoint text")].map((text) => {
  const { left, right, top, bottom } = text.getBoundingClientRect();
  return { text: text.textContent, left, right, top, bottom };
})"""


@pytest.fixture(scope="module")
def contents():
    return pages.read_script(ROOT / "book/_static/movies-data.js")


@pytest.fixture(scope="module")
def window(browser):
    """One window for the whole file, and the errors and requests to other machines in it."""
    context = browser.new_context()
    context.add_init_script("if (location.protocol === 'file:') localStorage.mode = 'light'")
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(LOCAL) else errors.append(r.url))
    yield page, errors
    context.close()


@pytest.fixture
def open_map(built_book, window):
    """Open the map with the end of an address; no error, no request to another machine."""
    page, errors = window

    def opened(end=""):
        page.goto("about:blank")  # Else a new end alone loads nothing.
        page.goto((built_book / "book/map.html").as_uri() + end)
        page.wait_for_selector("#map-controls:not([disabled])")
        return page

    yield opened
    assert not [error for error in errors if KNOWN not in error]


@pytest.fixture
def page(open_map, window):
    """The map, open or opened before, with the settings that it starts with."""
    page, _ = window
    if page.url == "about:blank":
        return open_map()
    page.evaluate(AS_AT_FIRST)
    return page


def often(contents):
    return [i for i, n in enumerate(contents["movies"]["n"]) if n > OFTEN]


def index_of(contents, title):
    return contents["movies"]["title"].index(title)


def neighbours(contents, chosen, among):
    """Ten nearest by cosine, from the same file, with NumPy."""
    vectors = np.frombuffer(base64.b64decode(contents["vectors"]), dtype="<f4")
    vectors = vectors.reshape(-1, contents["dim"]).astype("float64")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    among = np.array([i for i in among if i != chosen])
    cosines = vectors[among] @ vectors[chosen]
    order = np.argsort(-cosines, kind="stable")[:10]
    return among[order], cosines[order]


def rows(page):
    return [line.locator("td").all_inner_texts() for line in page.locator("#map-rows tr").all()]


def coordinates(page):
    """Places on the screen's plot by index of the movie."""
    found = page.evaluate(
        f"{POINTS}.flatMap((t) => t.customdata.map((i, k) => [i, t.x[k], t.y[k]]))"
    )
    return {int(i): (x, y) for i, x, y in found}


def test_shows_the_often_rated_movies_then_all(page, contents):
    assert set(coordinates(page)) == set(often(contents))
    landmarks = page.evaluate(f"{LANDMARKS}.customdata")
    points = page.locator("#map-plot .scatterlayer .point").count()
    assert points == len(often(contents)) + len(landmarks)
    page.check("#map-all")
    assert set(coordinates(page)) == set(range(len(contents["movies"]["id"])))
    assert f"{len(contents['movies']['id'])} movies shown" in page.inner_text("#map-count")


@pytest.mark.parametrize(
    ("axes", "columns"), [("pc1-pc2", (0, 1)), ("pc1-pc3", (0, 2)), ("pc2-pc3", (1, 2))]
)
def test_axes_are_the_components(page, contents, axes, columns):
    page.select_option("#map-axes", axes)
    for i, (x, y) in coordinates(page).items():
        place = contents["layout"]["pc"][i]
        assert (x, y) == (place[columns[0]], place[columns[1]])


def test_layout_that_keeps_neighbours_has_the_often_rated_only(page, contents):
    page.select_option("#map-axes", "near")
    page.check("#map-all")
    shown = coordinates(page)
    assert set(shown) == set(often(contents))
    assert all(list(place) == contents["layout"]["near"][i] for i, place in shown.items())
    assert "have no place in this layout" in page.inner_text("#map-count")


def test_starts_coloured_by_mean_rating(page, contents):
    movies = contents["movies"]
    for colour, column in (("mean", "mean"), ("year", "year")):
        if colour == "year":
            page.select_option("#map-colour", colour)
        values, members = page.evaluate(f"[{POINTS}[0].marker.color, {POINTS}[0].customdata]")
        assert values == [movies[column][i] for i in members]
        assert len(values) == len(often(contents))


@pytest.mark.parametrize("name", ["Crime", "Horror"])
def test_all_movies_of_a_genre_are_marked(page, contents, name):
    movies = contents["movies"]
    listed = page.locator("#map-genre option").all_inner_texts()
    assert listed[1:] == sorted({g for text in movies["genres"] for g in text.split("|")} - {""})
    page.select_option("#map-genre", name)
    groups = page.evaluate(f"{POINTS}.map((t) => [t.marker.symbol, t.customdata])")
    marked = {i for symbol, members in groups if symbol == "diamond" for i in members}
    assert marked == {i for i in often(contents) if name in movies["genres"][i].split("|")}
    assert (index_of(contents, "Pulp Fiction (1994)") in marked) == (name == "Crime")
    assert set(coordinates(page)) == set(often(contents))
    assert f"{len(marked)} of them have the genre {name}" in page.inner_text("#map-count")


def overlapping(boxes):
    return [
        (a["text"], b["text"])
        for k, a in enumerate(boxes)
        for b in boxes[:k]
        if a["left"] < b["right"] - 1
        and b["left"] < a["right"] - 1
        and a["top"] < b["bottom"] - 2
        and b["top"] < a["bottom"] - 2
    ]


@pytest.mark.parametrize("axes", ["pc1-pc2", "pc2-pc3", "near"])
@pytest.mark.parametrize("width", [1280, 390])
def test_landmarks_have_names_that_do_not_collide(page, contents, width, axes):
    page.set_viewport_size({"width": width, "height": 800})
    page.select_option("#map-axes", axes)
    page.wait_for_function(
        "document.querySelector('#map-plot .main-svg').getBoundingClientRect().width <= innerWidth"
    )
    page.wait_for_timeout(300)  # Plotly follows a change of width after 100 ms.
    boxes = page.evaluate(LABELS)
    assert 12 <= len(boxes) <= 15
    assert not overlapping(boxes)
    plot = page.locator("#map-plot").bounding_box()
    assert min(box["left"] for box in boxes) >= plot["x"]
    assert max(box["right"] for box in boxes) <= plot["x"] + plot["width"]
    assert page.locator("#map-plot .main-svg").first.bounding_box()["height"] == 560
    landmarks = page.evaluate(f"{LANDMARKS}.customdata")
    most = sorted(contents["movies"]["n"], reverse=True)[200]
    assert min(contents["movies"]["n"][i] for i in landmarks) >= most
    page.set_viewport_size({"width": 1280, "height": 720})


def test_landmarks_make_room_for_a_chosen_movie(open_map):
    page = open_map("#m144")
    assert page.evaluate(f"{LANDMARKS}.customdata") == []
    page.click("#map-clear")
    assert len(page.evaluate(f"{LANDMARKS}.customdata")) >= 12


def test_names_are_short(page):
    page.evaluate(AS_AT_FIRST)
    names = [box["text"] for box in page.evaluate(LABELS)]
    assert "Pulp Fiction" in names
    assert "Star Wars" in names
    assert "The Matrix" in names
    assert len(set(names)) == len(names)


def test_table_says_in_how_many_runs_a_neighbour_is_one(open_map, contents):
    for n, which in ((144, "often"), (few_rated(contents), "all")):
        movie = n if which == "often" else contents["movies"]["id"][n]
        page = open_map(f"#m{movie}")
        digits = contents["runs"][which][contents["movies"]["id"].index(movie)]
        assert [row[3] for row in rows(page)] == [f"{digit} of 5 runs" for digit in digits]


def test_page_says_how_far_neighbours_survive(page, contents):
    runs, told = contents["runs"], page.inner_text("#map-kept")
    assert f"another of 5 runs has {100 * runs['kept']:.1f} % too" in told
    assert f"drawn by lot would be {100 * runs['chance']:.1f} %" in told
    assert f"{runs['agree'][0]:.2f} on PC1" in told


def test_a_movie_smears_into_its_five_places_when_asked(open_map, contents):
    page = open_map("#m144")
    smear = f"{DATA}.find((t) => t.name === 'other runs')"
    assert page.evaluate(smear) is None
    page.check("#map-smear")
    i = contents["movies"]["id"].index(144)
    expected = [run[i][:2] for run in contents["runs"]["places"]]
    assert page.evaluate(f"{smear}.x.map((x, k) => [x, {smear}.y[k]])") == expected
    assert len(expected) == 4
    page.click("#map-clear")
    landmarks = page.evaluate(f"{LANDMARKS}.customdata")
    assert len(page.evaluate(f"{smear}.x")) == 4 * len(landmarks)
    page.select_option("#map-axes", "near")
    assert page.evaluate(smear) is None
    assert "other runs have no place in it" in page.inner_text("#map-count")


@pytest.mark.parametrize("title", ["Star Wars: Episode IV - A New Hope (1977)", "Alien (1979)"])
def test_search_leads_to_a_title_and_its_neighbours(page, contents, title):
    page.fill("#map-search", title.lower()[:-7])
    page.press("#map-search", "Enter")
    page.wait_for_selector("#map-rows tr")
    assert page.input_value("#map-search") == title

    chosen, movies = index_of(contents, title), contents["movies"]
    expected, cosines = neighbours(contents, chosen, often(contents))
    assert [row[1] for row in rows(page)] == [movies["title"][i] for i in expected]
    assert [float(row[2]) for row in rows(page)] == pytest.approx(cosines, abs=0.006)
    assert [row[4] for row in rows(page)] == [str(movies["year"][i]) for i in expected]
    assert [float(row[6]) for row in rows(page)] == pytest.approx(
        [movies["mean"][i] for i in expected], abs=0.051
    )
    lit = page.evaluate(f"{HIGHLIGHTS}.map((t) => t.customdata)")
    assert lit == [expected.tolist(), [chosen]]
    assert page.url.endswith(f"#m{movies['id'][chosen]}")
    assert title in page.inner_text("#map-status")
    assert movies["title"][expected[0]] in page.inner_text("#map-status")


def test_a_click_on_a_point_chooses_it(page, contents):
    chosen = index_of(contents, "Godfather, The (1972)")  # alone at the right end
    x, y = page.evaluate(
        f"""(() => {{
            const plot = document.getElementById('map-plot');
            const {{ xaxis, yaxis }} = plot._fullLayout;
            const place = EMBEDLENS.layout.pc[{chosen}];
            plot.scrollIntoView({{ block: 'center', behavior: 'instant' }});
            const box = plot.getBoundingClientRect();
            return [
                box.x + xaxis._offset + xaxis.d2p(place[0]),
                box.y + yaxis._offset + yaxis.d2p(place[1]),
            ];
        }})()"""
    )
    page.mouse.move(x, y)
    page.wait_for_selector("#map-plot .hovertext")
    assert "Godfather" in page.locator("#map-plot .hovertext").text_content()
    page.mouse.click(x, y)
    page.wait_for_selector("#map-rows tr")
    assert "Neighbours of Godfather, The (1972)" in page.inner_text("#map-caption")


def test_links_of_the_table_lead_on_and_keep_the_focus(open_map, contents):
    page = open_map("#m144")
    first = page.locator("#map-rows a").first
    title = first.inner_text()
    first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'map-neighbours'")
    assert f"Neighbours of {title}" in page.inner_text("#map-caption")
    page.go_back()
    page.wait_for_function(
        "document.getElementById('map-caption').textContent.includes('Star Wars')"
    )
    page.click("#map-clear")
    assert not page.locator("#map-neighbours").is_visible()
    assert "#" not in page.url
    page.reload()
    assert not page.locator("#map-neighbours").is_visible()


def few_rated(contents):
    return next(i for i, n in enumerate(contents["movies"]["n"]) if n <= OFTEN)


@pytest.mark.parametrize("form", ["#m{}", "#m={}"])
def test_address_keeps_the_choice_of_a_rare_movie(open_map, contents, form):
    movies, rare = contents["movies"], few_rated(contents)
    page = open_map(form.format(movies["id"][rare]))
    assert page.is_checked("#map-all")
    assert "all movies are shown now" in page.inner_text("#map-status")
    expected, _ = neighbours(contents, rare, range(len(movies["id"])))
    assert [row[1] for row in rows(page)] == [movies["title"][i] for i in expected]


@pytest.mark.parametrize("end", ["#m=0", "#m999999", "#m=abc", "#nonsense", "#%E0%A4%A", "#m=1e2"])
def test_nonsense_in_the_address_is_reported(page, contents, end):
    page.evaluate("end => { location.hash = end; }", end)
    page.wait_for_function("document.getElementById('map-status').textContent.includes('names no')")
    assert not page.locator("#map-neighbours").is_visible()
    assert len(coordinates(page)) == len(often(contents))


def test_nonsense_in_the_first_address_is_reported(open_map, contents):
    page = open_map("#m=abc")
    assert "names no movie of this map" in page.inner_text("#map-status")
    assert not page.locator("#map-neighbours").is_visible()
    assert len(coordinates(page)) == len(often(contents))


def test_a_heading_in_the_address_is_no_nonsense(open_map):
    assert open_map("#what-the-axes-mean").inner_text("#map-status") == ""


def test_suggestions_of_the_text_are_what_they_say(page, contents):
    links = re.findall(
        r'<a href="#m(\d+)">(.*?) \((\d{4})\)</a>', (ROOT / "book/map.md").read_text()
    )
    movies = contents["movies"]
    for number, title, year in links:
        page.click(f'a[href="#m{number}"]')
        page.wait_for_function(
            f"document.getElementById('map-caption').textContent.includes('{year}')"
        )
        words = title.replace("The ", "")
        i = movies["id"].index(int(number))
        assert movies["title"][i].startswith(words)
        assert movies["year"][i] == int(year)
    assert len(links) == 3

    star_wars, godfather, independence = (movies["id"].index(int(n)) for n, _, _ in links)
    among = often(contents)
    near = [movies["title"][i] for i in neighbours(contents, star_wars, among)[0]]
    assert "Star Wars" in near[0]
    assert sum("Star Wars" in title for title in near) == 3
    pc = np.array(contents["layout"]["pc"])
    assert pc[godfather, 0] > np.quantile(pc[among, 0], 0.99)
    near = neighbours(contents, godfather, among)[0]
    assert sum("Crime" in movies["genres"][i] for i in near) < 5
    assert np.mean([movies["mean"][i] for i in near]) > 4
    assert pc[independence, 1] > np.quantile(pc[among, 1], 0.99)
    assert pc[independence, 0] < np.median(pc[among, 0])


def test_theme_switch_recolours_and_keeps_the_choice(open_map):
    page = open_map("#m144")
    colour = "document.getElementById('map-plot').layout.font.color"
    style = "getComputedStyle(document.documentElement)"
    base = f"{style}.getPropertyValue('--pst-color-text-base').trim()"
    seen = []
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_function(f"{colour} === {base}")
        seen.append(page.evaluate(colour))
        drawn = page.evaluate(
            "getComputedStyle(document.querySelector('#map-plot .xtick text')).fill"
        )
        assert drawn == page.evaluate("getComputedStyle(document.body).color")
    assert seen[0] != seen[1]
    assert page.locator("#map-rows tr").count() == 10


def test_axe_finds_nothing_serious(open_map):
    page = open_map("#m144")
    page.fill("#map-search", "star")
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        axe = Axe().run(page, context=".embedlens-map", options={"preload": False})
        found = axe.response["violations"]
        assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")]


def test_phone_has_no_overflow(open_map, window):
    window[0].set_viewport_size({"width": 390, "height": 800})
    page = open_map("#m144")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#map-plot .main-svg").first.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.set_viewport_size({"width": 1280, "height": 720})


def test_a_movie_without_known_genre_has_none(browser, built_book, contents):
    unknown = often(contents)[:3]
    genres = [None if i in unknown else text for i, text in enumerate(contents["movies"]["genres"])]
    movies = {**contents["movies"], "genres": [text or "" for text in genres]}
    script = pages.as_script({**contents, "movies": movies})
    page = browser.new_page()
    page.route("**/movies-data.js", lambda route: route.fulfill(body=script))
    page.goto((built_book / "book/map.html").as_uri() + f"#m{movies['id'][unknown[0]]}")
    page.wait_for_selector("#map-rows tr")
    assert "" not in page.locator("#map-genre option").evaluate_all("all => all.map((o) => o.text)")
    page.select_option("#map-genre", "Drama")
    marked = page.evaluate(f"{DATA}.filter((t) => t.marker.symbol === 'diamond')[0].customdata")
    assert not set(marked) & set(unknown)
    assert "(no genres known; " in page.inner_text("#map-caption")
    page.close()


@pytest.mark.parametrize("missing", ["movies-data.js", "movies.js", "plotly-basic.min.js"])
def test_page_says_if_a_file_is_missing(built_book, browser, missing):
    page = browser.new_page()
    page.route(f"**/{missing}*", lambda route: route.abort())
    page.goto((built_book / "book/map.html").as_uri())
    page.wait_for_function("document.getElementById('map-status').textContent !== ''")
    assert "could not be loaded" in page.inner_text("#map-status")
    page.close()


def test_only_this_page_and_the_chapter_with_sliders_load_plotly(built_book):
    """The chapter does so by way of sliders.js."""
    loading = {
        page.name: script
        for page in (built_book / "book").glob("*.html")
        for script in ("plotly-basic", "sliders.js")
        if script in page.read_text()
    }
    assert loading == {"map.html": "plotly-basic", "03_bias_model.html": "sliders.js"}
    assert "plotly-basic" in (built_book / "_static/sliders.js").read_text()
