"""The pictures with a slider in chapter 3, in a browser."""

from pathlib import Path

from embedlens import sweep
import pytest

SIDES = {"slider-dropout": "movie_dropout", "slider-dim": "dim"}


@pytest.fixture
def page(built_book, browser):
    page = browser.new_page()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((built_book / "book/03_bias_model.html").as_uri())
    for name in SIDES:
        page.wait_for_selector(f"#{name} .main-svg")
    yield page
    assert not [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert sum("plotly" in url for url in requests) == 1, "loaded once for both"
    page.close()


@pytest.mark.parametrize("name", SIDES)
def test_slider_shows_the_stored_curves(page, name):
    stored = sweep.load(Path(__file__).parent.parent / "book/results/sweep.json")
    means = sweep.mean_curves(stored, SIDES[name])
    settings = list(means.index.unique(0))
    shown = f"document.getElementById('{name}').data.map((trace) => trace.y)"
    post = means.loc[sweep.POSTS[SIDES[name]]]
    curve = [post["train_rmse"].to_list(), post["valid_rmse"].to_list()]
    assert page.evaluate(shown) == [pytest.approx(y) for y in curve]
    slider = page.locator(f"#{name}-range")
    assert slider.get_attribute("aria-valuetext") == f"{sweep.POSTS[SIDES[name]]:g}"
    slider.focus()
    page.keyboard.press("Home")
    assert page.inner_text(f"#{name}-set") == f"{settings[0]:g}"
    assert slider.get_attribute("aria-valuetext") == f"{settings[0]:g}"
    first = means.loc[settings[0]]
    curve = [first["train_rmse"].to_list(), first["valid_rmse"].to_list()]
    assert page.evaluate(shown) == [pytest.approx(y) for y in curve]


@pytest.mark.parametrize("name", SIDES)
def test_slider_has_a_text_and_the_colours_of_the_theme(page, name):
    plot = page.locator(f"#{name}")
    assert plot.get_attribute("role") == "img"
    assert len(plot.get_attribute("aria-label")) > 40
    colours = {}
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        colours[theme] = page.evaluate(
            f"""[document.body, document.querySelector('#{name} .xtick text')].map(
                (element, i) => getComputedStyle(element)[i ? 'fill' : 'color'])"""
        )
    assert colours["light"] != colours["dark"]
    assert all(text == body for body, text in colours.values())


def test_print_has_the_still_picture_only(page):
    page.emulate_media(media="print")
    assert not page.locator("#slider-dim").is_visible()
    assert page.locator("#fig-bias-sweep img").is_visible()
