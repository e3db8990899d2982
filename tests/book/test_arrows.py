"""Arrows to move: as they are written, and in a browser, on a page and in chapter 2."""

from html.parser import HTMLParser
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from embedlens.book import arrows

ROOT = Path(__file__).parents[2]
RATE = 0.05
TIPS = """[...document.querySelectorAll(".tip")].map(
  (tip) => [tip.dataset.name, Number(tip.dataset.x), Number(tip.dataset.y)])"""
VALUES = """[...document.querySelectorAll("#arrows tbody tr")].map(
  (row) => [...row.querySelectorAll("td")].map((cell) => Number(cell.dataset.value)))"""
# Where a tip is on the screen, from where its arrow is drawn to.
AT = """(name) => {
  const tip = [...document.querySelectorAll(".tip")].find((one) => one.dataset.name === name);
  const {e, f} = tip.transform.baseVal.consolidate().matrix;
  const {left, top} = tip.ownerSVGElement.getBoundingClientRect();
  return [left + e, top + f];
}"""


@pytest.fixture
def vectors():
    names = ["Ada", "Bo", "A <film>", "Matrix", "Fargo", "Never"]
    places = [[0.5, 1.5], [1.2, 0.4], [2.5, 0.5], [2.0, 1.5], [1.0, 2.5], [0.6, 0.7]]
    frame = pd.DataFrame(places, names, ["x", "y"])
    return frame.assign(kind=["user"] * 2 + ["film"] * 3 + ["cold"])


@pytest.fixture
def written(monkeypatch, vectors):
    """What a notebook gets."""
    outputs = []
    monkeypatch.setattr(arrows, "display", lambda content, raw: outputs.append(content))
    arrows.show(vectors, RATE, "arrows", 'Arrows </script> & "more"')
    return outputs[0]


@pytest.fixture
def page(browser, tmp_path, written):
    """A page with the arrows, above the figure that they go into; for who wants no motion."""
    (tmp_path / "_static").symlink_to(ROOT / "book/_static")
    (tmp_path / "book").mkdir()
    figure = '<figure id="fig-arrows"><img alt="Still"><figcaption>Arrows</figcaption></figure>'
    style = '<link rel="stylesheet" href="../_static/embedlens.css">'
    text = f"<!DOCTYPE html><meta charset='utf-8'>{style}<body>{written['text/html']}{figure}"
    (tmp_path / "book/page.html").write_text(text, "utf-8")
    page, errors = browser.new_page(reduced_motion="reduce"), []
    page.set_default_timeout(4000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "book/page.html").as_uri())
    page.wait_for_selector("#arrows.ready")
    yield page
    page.close()
    assert errors == []


def tips(page):
    return pd.DataFrame(page.evaluate(TIPS), columns=["name", "x", "y"]).set_index("name")


def products(page, vectors):
    """Dot products, films by users, of where the tips are."""
    now = tips(page).loc[vectors.index].to_numpy()
    is_user = (vectors["kind"] == "user").to_numpy()
    return now[~is_user] @ now[is_user].T


def check_table(page, vectors):
    expected = products(page, vectors)
    assert np.allclose(page.evaluate(VALUES), expected, atol=1e-12)
    shown = [
        cell.replace("\u2212", "-") for cell in page.locator("#arrows tbody td").all_inner_texts()
    ]
    assert np.allclose([float(value) for value in shown], expected.ravel(), atol=0.0051)


def check_moved(page, vectors, names):
    now = tips(page).loc[vectors.index]
    changed = (now != vectors[["x", "y"]]).any(axis=1)
    assert set(now.index[changed]) == set(names)


def rate(page, user, film, stars):
    for label, choice in (("User", user), ("Film", film), ("Stars", str(stars))):
        page.get_by_role("combobox", name=label).select_option(choice)
    page.get_by_role("button", name="Train on this rating").click()


def tip(page, name):
    return page.locator(f'.tip[data-name="{name}"]')


def test_table_has_the_dot_products(page, vectors):
    check_table(page, vectors)
    rows = page.locator("#arrows tbody th").all_inner_texts()
    assert rows == list(vectors.index[vectors["kind"] != "user"])
    assert page.locator("#arrows thead th").all_inner_texts() == ["Ada", "Bo"]


@pytest.mark.parametrize("name", ["Ada", "Matrix", "Never"])
def test_dragging_a_tip_changes_its_dot_products(page, vectors, name):
    x, y = page.evaluate(AT, name)
    (x0, y0), (x1, _) = (page.evaluate(AT, other) for other in ("Bo", "A <film>"))
    unit = (x1 - x0) / (2.5 - 1.2)  # pixels
    before = np.array(page.evaluate(VALUES))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 50, steps=4)
    page.mouse.up()
    page.mouse.move(x0, y0)  # let go: it stays
    check_moved(page, vectors, [name])
    moved = tips(page).loc[name] - vectors.loc[name, ["x", "y"]]
    assert moved.to_list() == pytest.approx([30 / unit, -50 / unit], abs=0.02)
    check_table(page, vectors)
    hers = vectors["kind"] == "user"
    if name == "Ada":
        more = vectors.loc[~hers, ["x", "y"]].to_numpy() @ [30 / unit, -50 / unit]
        assert np.allclose((page.evaluate(VALUES) - before)[:, 0], more, atol=0.06)
    said = 4 if name == "Ada" else 2
    assert page.inner_text("[role=status]") == f"You moved {name}: {said} dot products changed."


def test_a_tip_that_is_only_clicked_has_not_moved(page, vectors):
    page.mouse.click(*page.evaluate(AT, "Fargo"))
    check_moved(page, vectors, [])
    assert page.inner_text("[role=status]") == ""


def test_a_tip_stays_in_the_picture(page, vectors):
    x, y = page.evaluate(AT, "Fargo")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(-500, -500, steps=3)
    page.mouse.up()
    assert tips(page).loc["Fargo"].to_list() == pytest.approx([-0.2, 2.7])
    check_table(page, vectors)


def test_a_finger_drags(browser, page, vectors):
    phone = browser.new_page(has_touch=True, viewport={"width": 390, "height": 800})
    phone.goto(page.url)
    phone.wait_for_selector("#arrows.ready")
    x, y = phone.evaluate(AT, "Bo")
    session = phone.context.new_cdp_session(phone)
    for kind, points in [("Start", [(x, y)]), ("Move", [(x + 9, y - 40)]), ("End", [])]:
        touches = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches})
    check_moved(phone, vectors, ["Bo"])
    check_table(phone, vectors)
    assert phone.evaluate("document.scrollingElement.scrollTop") == 0
    phone.close()


def test_keys_move_a_tip(page, vectors):
    tip(page, "Ada").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    assert tips(page).loc["Ada"].to_list() == pytest.approx([0.55, 1.05])
    check_moved(page, vectors, ["Ada"])
    check_table(page, vectors)
    assert tip(page, "Ada").get_attribute("aria-label") == "Ada, 0.55 across, 1.05 up"
    assert page.evaluate("document.activeElement.dataset.name") == "Ada"


@pytest.mark.parametrize(
    ("user", "film", "stars"), [("Ada", "Fargo", 1), ("Bo", "Matrix", 5), ("Bo", "A <film>", 2)]
)
def test_a_step_is_that_of_the_formula(page, vectors, user, film, stars):
    u, m = (vectors.loc[name, ["x", "y"]].to_numpy("float64") for name in (user, film))
    error = u @ m - stars
    rate(page, user, film, stars)
    now = tips(page)
    new_u, new_m = u - RATE * 2 * error * m, m - RATE * 2 * error * u
    assert np.abs(now.loc[user] - new_u).max() < 1e-6
    assert np.abs(now.loc[film] - new_m).max() < 1e-6
    check_moved(page, vectors, [user, film])
    check_table(page, vectors)
    assert page.inner_text("[role=status]") == (
        f"Moved: {user} and {film}, and no other. Predicted before: {u @ m:.2f}, "
        f"after: {new_u @ new_m:.2f}, rated: {stars}."
    )
    assert sorted(page.locator("svg text.moved").all_text_contents()) == sorted([user, film])


def test_the_cold_film_is_never_trained_but_its_predictions_change(page, vectors):
    films = page.get_by_role("combobox", name="Film").locator("option").all_inner_texts()
    assert films == ["A <film>", "Matrix", "Fargo"]
    before = page.evaluate(VALUES)[-1]
    for user in ("Ada", "Bo"):
        for film in films:
            rate(page, user, film, 1)
    assert tips(page).loc["Never"].to_list() == [0.6, 0.7]
    assert all(one != two for one, two in zip(before, page.evaluate(VALUES)[-1], strict=True))
    assert "Nobody rated Never" in page.inner_text("#arrows")
    check_table(page, vectors)


def test_steps_lead_to_the_rating_and_reset_restores(page, vectors):
    before = page.evaluate(VALUES)
    for _ in range(30):
        rate(page, "Ada", "Matrix", 5)
    assert page.evaluate(VALUES)[1][0] == pytest.approx(5, abs=1e-3)
    tip(page, "Never").focus()
    page.keyboard.press("ArrowUp")
    page.get_by_role("button", name="Reset").click()
    check_moved(page, vectors, [])
    assert page.evaluate(VALUES) == before
    assert page.locator(".moved, line.way").count() == 0


def test_a_step_that_would_go_too_far_is_not_taken(page):
    for name, across in (("Ada", "Right"), ("Fargo", "Left")):
        tip(page, name).focus()
        for key in 6 * [f"Shift+Arrow{across}", "Shift+ArrowUp"]:
            page.keyboard.press(key)
    before = tips(page)
    rate(page, "Ada", "Fargo", 5)
    assert page.inner_text("[role=status]").startswith("No step: ")
    assert tips(page).equals(before)


def test_with_motion_the_arrows_end_at_the_same_place(page):
    rate(page, "Ada", "Fargo", 1)
    at = [page.evaluate(AT, name) for name in ("Ada", "Fargo")]
    page.get_by_role("button", name="Reset").click()
    page.emulate_media(reduced_motion="no-preference")
    rate(page, "Ada", "Fargo", 1)
    page.wait_for_timeout(800)
    assert [page.evaluate(AT, name) for name in ("Ada", "Fargo")] == at


def test_a_screen_reader_is_told(page, vectors):
    sliders = page.get_by_role("slider")
    assert sliders.count() == len(vectors)
    told = [one.get_attribute("aria-label") for one in sliders.all()]
    assert "film Never, 0.60 across, 0.70 up" in told
    assert all(one.get_attribute("tabindex") == "0" for one in sliders.all())
    assert all(one.get_attribute("aria-valuetext") for one in sliders.all())
    assert page.get_attribute("#arrows", "aria-label") == 'Arrows </script> & "more"'
    assert page.get_by_role("status").count() == 1
    assert page.inner_text("#arrows caption") == "Dot products: predicted stars"


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_names_keep_apart_and_inside(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(100)
    boxes = [one.bounding_box() for one in page.locator("svg text:is(.user, .film, .cold)").all()]
    tops = sorted(box["y"] for box in boxes)
    assert min(np.diff(tops)) > max(box["height"] for box in boxes) - 1
    assert max(box["x"] + box["width"] for box in boxes) < width
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_a_page_gets_data_and_no_code(written):
    scripts, page = [], HTMLParser()
    page.handle_starttag = lambda tag, attributes: (
        scripts.append(dict(attributes)) if tag == "script" else None
    )
    page.feed(written["text/html"])
    kinds = [(s.get("type"), s.get("src")) for s in scripts]
    assert kinds == [("application/json", None), (None, "../_static/arrows.js")]
    assert written["text/plain"] == 'Arrows </script> & "more"'


def test_the_still_picture_has_all_names_apart(vectors):
    fig, ax = plt.subplots()
    arrows.draw(vectors, ax)
    names = [text for text in ax.texts if text.get_text()]
    assert {text.get_text() for text in names} == set(vectors.index)
    boxes = [text.get_window_extent() for text in names]
    assert not any(one.overlaps(two) for i, one in enumerate(boxes) for two in boxes[:i])
    plt.close(fig)


def test_places_are_moved_apart_as_little_as_needed():
    assert arrows.apart([0, 5, 9], 1) == [0, 5, 9]
    assert arrows.apart([1, 1, 1, 8], 2) == pytest.approx([-1, 1, 3, 8])
    assert arrows.apart([0, 0, 1.5], 1) == pytest.approx([-0.5, 0.5, 1.5])


@pytest.fixture(scope="module")
def chapter(browser, built_book):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((built_book / "book/02_dot_model.html").as_uri())
    page.wait_for_selector("#arrows.ready")
    yield page
    page.close()


def test_chapter_has_a_dozen_films_three_users_and_a_cold_one(chapter):
    content = json.loads(chapter.text_content("#arrows-data"))
    kinds = pd.DataFrame(content["arrows"])["kind"].value_counts()
    assert kinds.to_dict() == {"film": 12, "user": 3, "cold": 1}
    assert content["rate"] == RATE
    assert arrows.COLD in chapter.inner_text("#arrows")


def test_print_and_readers_without_scripts_have_the_still_picture(browser, chapter):
    still = chapter.locator("#fig-arrows img")
    assert chapter.locator("#fig-arrows svg").is_visible()
    assert not still.is_visible()
    chapter.emulate_media(media="print")
    assert still.is_visible()
    assert not chapter.locator("#arrows").is_visible()
    chapter.emulate_media(media="screen")
    page = browser.new_page(java_script_enabled=False)
    page.goto(chapter.url)
    assert page.locator("#fig-arrows img").is_visible()
    assert page.locator("#arrows svg").count() == 0
    page.close()


def test_colours_are_those_of_the_theme(chapter):
    colours = {}
    for theme in ("light", "dark"):
        chapter.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        colours[theme] = chapter.evaluate(
            """[getComputedStyle(document.body).color,
                getComputedStyle(document.querySelector("#arrows text.film")).fill]"""
        )
    assert colours["light"] != colours["dark"]
    assert all(text == body for body, text in colours.values())
