"""The page "Train it yourself": trains as Python does, and can be used."""

import json
import re

from axe_playwright_python.sync_playwright import Axe
import numpy as np
import pytest

from embedlens import data, metrics
from embedlens.book import pages

from engine_fixture import FILE, SEEDS, SETTINGS, WITH_DROPOUT, small_ratings

TRAIN = """([ratings, settings, given]) => {
  const engine = embedLensEngine();
  const rows = [...ratings.stars.keys()];
  const trainer = engine.trainer(ratings, {train: rows, valid: rows}, settings, given);
  while (!trainer.done()) trainer.oneBatch();
  return {
    users: [...trainer.users], movies: [...trainer.movies], rmse: trainer.rmse(rows),
  };
}"""
WHOLE = """([settings, seeds, train, valid]) => {
  const engine = embedLensEngine();
  const ratings = engine.decode(EMBEDLENS_RATINGS.packed);
  return seeds.map((seed) => {
    const trainer = engine.trainer(ratings, {train, valid}, {...settings, seed});
    while (!trainer.done()) trainer.oneBatch();
    return trainer.rmse(valid);
  });
}"""
PARSE = "hash => EmbedLensTrain.parseLink(hash)"
DONE = "document.getElementById('train-status').textContent.startsWith('Done')"
QUICK = "#t=model:bias,low:-0.05,high:0.05,dim:2,userDropout:0,movieDropout:0,batch:512,epochs:3,rate:0.01"


@pytest.fixture(scope="module")
def address(built_book):
    return (built_book / "book/train.html").as_uri()


@pytest.fixture(scope="module")
def page(browser, address):
    """The page, opened once, for its functions and its controls."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


@pytest.fixture(scope="module")
def fixture():
    return json.loads(FILE.read_text())


def opened(page, address, end=""):
    page.goto("about:blank")
    page.goto(address + end)
    page.wait_for_function("document.getElementById('train-status').textContent === 'Ready.'")
    return page


def trained(page, address, end):
    opened(page, address, end).click("#train-start")
    page.wait_for_function(DONE)
    return page.locator("#train-errors tr").all_inner_texts()


def test_ratings_are_those_of_the_book(page):
    found = page.evaluate(
        "() => { const r = embedLensEngine().decode(EMBEDLENS_RATINGS.packed);"
        " return [[...r.users], [...r.movies], [...r.stars], r.nUsers, r.nMovies]; }"
    )
    ratings = data.prepared().sort_values(["userIdDense", "movieIdDense"])
    for values, column in zip(found, ["userIdDense", "movieIdDense", "rating"], strict=False):
        np.testing.assert_array_equal(values, ratings[column])
    assert tuple(found[3:]) == data.count_users_and_movies(ratings)


def test_stored_ratings_are_in_the_written_form_and_small(root):
    text = (root / pages.TARGET).with_name(pages.RATINGS).read_text(encoding="utf-8")
    assert text == pages.as_script(pages.ratings_data(data.prepared()), pages.RATINGS_PREFIX)
    assert len(text.encode()) < 400_000


@pytest.mark.parametrize("model", ["dot", "bias"])
def test_engine_arrives_at_the_weights_of_row_wise_training(page, fixture, model):
    ratings, expected = small_ratings(), fixture[model]
    users, movies = data.inputs(ratings).T.tolist()
    given = {
        "stars": ratings["rating"].tolist(),
        "users": users,
        "movies": movies,
        "nUsers": max(users),
        "nMovies": max(movies),
    }
    settings = {**SETTINGS, "model": model, "low": 0, "high": 1, "userDropout": 0}
    initial = {**expected["before"], "orders": expected["orders"]}
    found = page.evaluate(TRAIN, [given, {**settings, "movieDropout": 0}, initial])
    for side in ("users", "movies"):
        np.testing.assert_allclose(found[side], expected["after"][side], rtol=0, atol=1e-4)
        assert np.abs(np.subtract(found[side], expected["before"][side])).max() > 0.1
    assert found["rmse"] == pytest.approx(expected["rmse"], abs=1e-4)


def test_with_dropout_page_and_python_are_equivalent(page, fixture):
    """Twenty seeds of each on one split: two one-sided tests, margin 0.003 stars."""
    ratings = data.prepared()
    order = ratings.reset_index(drop=True).sort_values(["userIdDense", "movieIdDense"]).index
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    parts = data.train_valid_split(ratings.reset_index(drop=True), 0)
    train, valid = (place[part.index].tolist() for part in parts)
    ours = page.evaluate(WHOLE, [WITH_DROPOUT, list(range(SEEDS)), train, valid])
    assert metrics.is_equivalent(np.subtract(ours, fixture["with_dropout"]), margin=0.003)
    assert np.std(ours) > 0


def test_posts_first_model_by_its_preset(page, address):
    rows = trained(page, address, "")
    assert len(rows) == 10
    valid = [float(row.split()[2]) for row in rows]
    assert 1.05 < valid[-1] < 1.10
    cold = [float(row.split()[4]) for row in rows]
    assert cold[-1] > min(cold)
    assert page.locator("#train-lowest li").count() == page.locator("#train-highest li").count() == 10


def test_a_run_repeats_to_the_digit_paused_or_not(page, address):
    first = trained(page, address, QUICK)
    opened(page, address, QUICK).click("#train-start")
    page.click("#train-start")
    page.wait_for_function("document.getElementById('train-status').textContent.startsWith('Paused')")
    page.click("#train-step")
    page.click("#train-start")
    page.wait_for_function(DONE)
    assert page.locator("#train-errors tr").all_inner_texts() == first
    assert trained(page, address, QUICK + ",seed:1") != first


def test_one_batch_at_a_time(page, address):
    opened(page, address, QUICK)
    page.click("#train-step")
    page.wait_for_function("document.getElementById('train-status').textContent.startsWith('1 batch')")
    page.click("#train-reset")
    page.wait_for_function("document.getElementById('train-status').textContent === 'Ready.'")
    assert page.locator("#train-errors tr").count() == 0


def test_join_off_by_one_hides_the_mean_rating(page, address):
    trained(page, address, QUICK.replace("epochs:3", "epochs:8"))

    def correlation():
        return float(re.search(r"-?\d\.\d\d", page.inner_text("#train-correlation"))[0])

    correct, titles = correlation(), page.locator("#train-highest li").all_inner_texts()
    page.check("#train-shift")
    assert correlation() < correct / 2
    assert page.locator("#train-highest li").all_inner_texts() != titles
    page.uncheck("#train-shift")
    assert correlation() == correct


@pytest.mark.parametrize(
    ("link", "changed", "n_ignored"),
    [
        ("#t=dim:8,seed:7", {"dim": 8, "seed": 7}, 0),
        ("#t=model:bias,dim:1,dim:8,dim:16", {"model": "bias", "dim": 8}, 2),
        ("#t=rate:abc,epochs:3.5,batch:1e9,what:1,epochs", {}, 5),
        ("#t=%E0%A4%A", {}, 1),
        ("#t=", {}, 0),
    ],
)
def test_reading_links(page, link, changed, n_ignored):
    found = page.evaluate(PARSE, link)
    assert found["settings"] == page.evaluate("EmbedLensTrain.BASE") | changed
    assert len(found["ignored"]) == n_ignored


def test_a_wrong_setting_is_named_and_changes_nothing(page, address):
    opened(page, address, QUICK)
    page.click("summary")
    page.fill("#train-dim", "1000")
    page.locator("#train-dim").blur()
    assert "Dimensions: 2 to 64" in page.inner_text("#train-notice")
    assert "dim:2," in page.input_value("#train-link")


def test_without_scripts_the_page_says_so(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("#train-missing").is_visible()
    assert not page.locator("#train-app").is_visible()
    context.close()


def test_accessible_and_not_too_wide_while_it_trains(browser, address):
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, color_scheme="light", reduced_motion="reduce"
    )
    page = context.new_page()
    opened(page, address, QUICK)
    page.click("#train-start")
    page.wait_for_function(DONE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        found = Axe().run(page).response["violations"]
        assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
