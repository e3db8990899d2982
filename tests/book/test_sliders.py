"""Pictures with a slider: as they are written, and in chapter 3, in a browser."""

from html.parser import HTMLParser
import json
from pathlib import Path
import re

import pandas as pd
import pytest

from embedlens.book import sliders
from embedlens.experiments import sweep, verdict

ROOT = Path(__file__).parents[2]
SIDES = {"slider-dropout": "movie_dropout", "slider-dim": "dim"}


@pytest.fixture(scope="module")
def chapter(browser, built_book):
    """Chapter 3 and what it has asked for."""
    page, requests = browser.new_page(), []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((built_book / "book/03_bias_model.html").as_uri())
    for name in SIDES:
        page.wait_for_selector(f"#{name} .main-svg")
    yield page, requests
    page.close()


@pytest.fixture
def page(chapter):
    return chapter[0]


def check_slider(page, name, means, start):
    settings = list(means.index.unique(0))
    shown = f"document.getElementById('{name}').data.map((trace) => trace.y)"
    slider = page.locator(f"#{name}-range")
    slider.focus()
    for key, setting in ((None, start), ("Home", settings[0]), ("End", settings[-1])):
        if key:
            page.keyboard.press(key)
        at = means.loc[setting]
        curve = [at["train_rmse"].to_list(), at["valid_rmse"].to_list()]
        assert page.evaluate(shown) == [pytest.approx(y) for y in curve]
        assert slider.get_attribute("aria-valuetext") == f"{setting:g}"
        assert page.inner_text(f"#{name}-set") == f"{setting:g}"


@pytest.mark.parametrize("name", SIDES)
def test_slider_shows_the_stored_curves(page, name):
    means = sweep.mean_curves(sweep.curves(ROOT / "book/results/sweep.json"), SIDES[name])
    check_slider(page, name, means, sweep.POSTS[SIDES[name]])


def test_plotly_is_loaded_once_and_nothing_from_elsewhere(chapter):
    requests = chapter[1]
    assert not [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert sum("plotly" in url for url in requests) == 1


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


@pytest.fixture
def means():
    rows = pd.MultiIndex.from_product([[1, 2.5, 8], [1, 2]], names=["dim", "epoch"])
    curves = {"train_rmse": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5], "valid_rmse": [2.0, 1.9] * 3}
    return pd.DataFrame(curves, rows)


@pytest.fixture
def written(monkeypatch, means):
    """The HTML of two sliders, and what JupyterLab gets for the first."""
    outputs = []
    monkeypatch.setattr(sliders, "display", lambda content, raw: outputs.append(content))
    for name in ("one", "two"):
        sliders.show(means, 2.5, 'A "<b>"', name, 'Curves </script> & "more"')
    page = "\n".join(output["text/html"] for output in outputs)
    return page, outputs[0]["application/vnd.plotly.v1+json"]


def test_two_new_sliders_on_a_page(browser, tmp_path, written, means):
    (tmp_path / "_static").symlink_to(ROOT / "book/_static")
    (tmp_path / "book").mkdir()
    (tmp_path / "book/page.html").write_text(f"<!DOCTYPE html><body>{written[0]}", "utf-8")
    page, noted = browser.new_page(), []
    page.on("pageerror", lambda error: noted.append(str(error)))
    page.on("request", lambda request: noted.append(request.url))
    page.goto((tmp_path / "book/page.html").as_uri())
    for name in ("one", "two"):
        page.wait_for_selector(f"#{name} .main-svg")
        check_slider(page, name, means, 2.5)
        assert page.get_attribute(f"#{name}", "aria-label") == 'Curves </script> & "more"'
        assert page.inner_text(f"label[for={name}-range]").startswith('A "<b>": ')
    assert {Path(url).name for url in noted} == {"page.html", "sliders.js", "plotly-basic.min.js"}
    assert sum("plotly" in url for url in noted) == 1
    page.close()


def test_a_page_gets_data_and_no_code(written):
    scripts, page = [], HTMLParser()
    page.handle_starttag = lambda tag, attributes: (
        scripts.append(dict(attributes)) if tag == "script" else None
    )
    page.feed(written[0])
    kinds = [(s.get("type"), s.get("src")) for s in scripts]
    assert kinds == [("application/json", None), (None, "../_static/sliders.js")] * 2


def test_lab_gets_a_slider_of_plotly(written, means):
    (slider,) = written[1]["layout"]["sliders"]
    assert [step["label"] for step in slider["steps"]] == ["1", "2.5", "8"]
    assert slider["active"] == 1
    assert slider["steps"][2]["args"] == [{"y": [[0.6, 0.5], [2.0, 1.9]]}]
    assert json.loads(json.dumps(written[1])) == written[1]


@pytest.fixture
def riddle(browser, built_book):
    page = browser.new_page()
    page.goto((built_book / "book/04_factors.html").as_uri())
    yield page
    page.close()


def test_titles_of_the_posts_tables_move_and_leap_at_one_back(riddle):
    slider = riddle.locator("#slider-shift-range")
    shown = riddle.locator("#slider-shift [data-step]:visible")
    assert shown.count() == 1
    assert "Flintstones, The (1994)" in shown.inner_text()
    slider.focus()
    found = {}
    for key in ("Home", *["ArrowRight"] * 10):
        riddle.keyboard.press(key)
        assert shown.count() == 1
        step = shown.get_attribute("data-step")
        assert riddle.inner_text("#slider-shift-set") == step
        assert slider.get_attribute("aria-valuetext") == step
        told = shown.locator("p").inner_text()
        found[step] = float(re.search(r"correlate at (-?[\d.]+)\.$", told)[1])
    assert list(found) == ["-5", "-4", "-3", "-2", "-1", "0", "+1", "+2", "+3", "+4", "+5"]
    by_shift = verdict.printed_correlations()
    for step, value in found.items():
        assert value == pytest.approx(by_shift[-int(step)], abs=0.006), step
    assert max(found, key=found.get) == "-1"


def test_tables_are_left_out_in_print(riddle):
    riddle.emulate_media(media="print")
    assert not riddle.locator("#slider-shift").is_visible()
    assert riddle.locator("#fig-undone img").is_visible()
