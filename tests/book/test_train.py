"""The page "Train it yourself": its engine trains as Python does, and the page can be used."""

import json
import os
from pathlib import Path
import re
import subprocess
import sys

from axe_playwright_python.sync_playwright import Axe
import engine_fixture
import numpy as np
import pytest
from scipy import stats

from embedlens import data, factors, published
from embedlens.book import pages

STATIC = Path(__file__).parents[2] / "book/_static"
MARGIN = 0.003  # stars: what two ways of training with dropout may differ by, set beforehand
TRAIN = """([ratings, settings, given]) => {
  const engine = embedLensEngine();
  const rows = [...ratings.stars.keys()];
  const trainer = engine.trainer(ratings, {train: rows, valid: rows}, settings, given);
  while (!trainer.done()) trainer.oneBatch();
  return {users: [...trainer.users], movies: [...trainer.movies], rmse: trainer.rmse(rows)};
}"""
OVER_SEEDS = """([settings, seeds, train, valid]) => {
  const engine = embedLensEngine();
  const ratings = engine.decode(EMBEDLENS_RATINGS.packed);
  return seeds.map((seed) => {
    const trainer = engine.trainer(ratings, {train, valid}, {...settings, seed});
    while (!trainer.done()) trainer.oneBatch();
    return trainer.rmse(valid);
  });
}"""
DECODED = """() => {
  const found = embedLensEngine().decode(EMBEDLENS_RATINGS.packed);
  return [[...found.users], [...found.movies], [...found.stars], found.nUsers, found.nMovies];
}"""
BITS = """(seed) => {
  const { bits } = embedLensEngine().generator(seed);
  return Array.from({length: 50}, bits);
}"""
LONGEST_FRAME = """() => new Promise((done) => {
  const started = performance.now();
  let longest = 0, last = started;
  const tick = (now) => {
    longest = Math.max(longest, now - last);
    last = now;
    if (now - started < 1000) requestAnimationFrame(tick);
    else done(longest);
  };
  requestAnimationFrame(tick);
})"""
COUNT_DRAWINGS = """
window.drawn = {};
const getContext = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (...kind) {
  window.drawn[this.id] = (window.drawn[this.id] || 0) + 1;
  return getContext.apply(this, kind);
};
"""
START_AND_PAUSE = """() => {
  const button = document.getElementById("train-start");
  button.click();
  button.click();
}"""
MADE_AGAIN = """
import json, engine_fixture as made
print(json.dumps({"bias": made.small("bias"), "with_dropout": made.last_rmse(0)}))
"""
STATUS = "document.getElementById('train-status').textContent"
QUICK = {"model": "bias", "low": -0.05, "dim": 2, "batch": 512, "epochs": 3, "rate": 0.01}
# Label of a preset, and name of its RMSE in `published.FIGURES`.
OF_THE_POST = [
    ("The post's first model", "rmse_simple_dot"),
    ("With biases", "rmse_bias"),
    ("Own layer: only the initializer differs", "rmse_own_layer"),
]


@pytest.fixture(scope="module")
def engine(browser):
    """A blank page with the engine and the ratings."""
    page = browser.new_page()
    page.set_default_timeout(300_000)
    for name in ("ratings-data.js", "engine.js"):
        page.add_script_tag(path=STATIC / name)
    yield page
    page.close()


@pytest.fixture(scope="module")
def address(built_book):
    return (built_book / "book/train.html").as_uri()


@pytest.fixture(scope="module")
def page(browser):
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(120_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def fixture():
    return json.loads(engine_fixture.FILE.read_text())


def link(**changes):
    return "#t=" + ",".join(f"{name}:{value}" for name, value in (QUICK | changes).items())


def wait_for(page, start):
    page.wait_for_function(f"{STATUS}.startsWith('{start}')")
    return page.inner_text("#train-status")


def opened(page, address, end=""):
    page.goto("about:blank")
    page.goto(address + end)
    wait_for(page, "Ready")
    return page


def trained(page, address, end=""):
    """The rows of the table after a whole training: epoch and four RMSE."""
    opened(page, address, end).click("#train-start")
    wait_for(page, "Done")
    return rows(page)


def rows(page):
    lines = page.locator("#train-errors tr").all()
    return [[float(cell) for cell in line.locator("th, td").all_text_contents()] for line in lines]


def correlation(page):
    return float(re.search(r"(\d\.\d\d)\.$", page.inner_text("#train-correlation"))[1])


# The engine --------------------------------------------------------------------------------------


def test_ratings_are_those_of_the_book(engine):
    found = engine.evaluate(DECODED)
    ratings = data.prepared().sort_values(["userIdDense", "movieIdDense"])
    for values, column in zip(found, ["userIdDense", "movieIdDense", "rating"], strict=False):
        np.testing.assert_array_equal(values, ratings[column])
    assert tuple(found[3:]) == data.count_users_and_movies(ratings)


def test_stored_ratings_are_in_the_written_form_and_small():
    text = (STATIC / pages.RATINGS).read_text(encoding="utf-8")
    assert text == pages.as_script(pages.ratings_data(data.prepared()), pages.RATINGS_PREFIX)
    assert len(text.encode()) < 400_000
    assert "GroupLens" in text


def test_generator_is_sfc32(engine):
    def expected(seed, n):
        a, b, c, d = seed, 0x9E3779B9, 0x243F6A88, 1
        for _ in range(15 + n):
            total = (a + b + d) % 2**32
            a, d = b ^ (b >> 9), d + 1
            b = (c + (c << 3)) % 2**32
            c = (((c << 21) | (c >> 11)) + total) % 2**32
            yield total

    for seed in (0, 1, 999_999):
        assert engine.evaluate(BITS, seed) == list(expected(seed, 50))[15:]


@pytest.mark.parametrize("model", ["dot", "bias"])
def test_engine_arrives_at_the_weights_of_row_wise_training(engine, fixture, model):
    ratings, expected = engine_fixture.small_ratings(), fixture[model]
    users, movies = data.inputs(ratings).T.tolist()
    given = {
        "stars": ratings["rating"].tolist(),
        "users": users,
        "movies": movies,
        "nUsers": max(users),
        "nMovies": max(movies),
    }
    settings = {"low": 0, "high": 1, "userDropout": 0, "movieDropout": 0}
    settings |= engine_fixture.SETTINGS | {"model": model}
    initial = expected["before"] | {"orders": engine_fixture.orders()}
    found = engine.evaluate(TRAIN, [given, settings, initial])
    for side in ("users", "movies"):
        np.testing.assert_allclose(found[side], expected["after"][side], rtol=0, atol=1e-4)
        assert np.abs(np.subtract(found[side], expected["before"][side])).max() > 0.5
    assert found["rmse"] == pytest.approx(expected["rmse"], abs=1e-4)


def test_with_dropout_engine_and_python_are_equivalent(engine, fixture):
    """Twenty seeds of each on one split: two one-sided tests at 5 %, as a 90 % interval."""
    ratings = data.prepared().reset_index(drop=True)
    order = ratings.sort_values(["userIdDense", "movieIdDense"]).index
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    parts = [place[part.index].tolist() for part in data.train_valid_split(ratings, 0)]
    seeds = list(range(engine_fixture.SEEDS))
    ours = engine.evaluate(OVER_SEEDS, [engine_fixture.WITH_DROPOUT, seeds, *parts])
    test = stats.ttest_ind(ours, fixture["with_dropout"], equal_var=False)
    low, high = test.confidence_interval(0.9)
    assert -MARGIN < low < high < MARGIN
    assert 0.5 < np.std(ours) / np.std(fixture["with_dropout"]) < 2


def test_fixture_can_be_made_again(fixture):
    done = subprocess.run(
        [sys.executable, "-c", MADE_AGAIN],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    for when in ("before", "after"):
        for side in ("users", "movies"):
            values, expected = found["bias"][when][side], fixture["bias"][when][side]
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)
    # Dropout lets rounding grow.
    assert found["with_dropout"] == pytest.approx(fixture["with_dropout"][0], abs=0.002)


def test_first_component_is_that_of_python(engine):
    matrix = np.random.default_rng(0).normal(size=(50, 7)) + np.eye(7)[0]
    padded = np.column_stack([matrix, np.full(50, 9)])  # a bias, which has no part in it
    call = "(weights) => [...embedLensEngine().firstComponent(weights, 8, 7)]"
    found = engine.evaluate(call, padded.ravel().tolist())
    expected = factors.principal_components(matrix).scores[:, 0]
    np.testing.assert_allclose(found, expected * np.sign(found[0] * expected[0]), atol=1e-6)


def test_join_is_off_by_one_only_if_asked(engine):
    call = "(shift) => embedLensEngine().joined([9, 1, 2, 3, 7], [1, 2, 4], [1, 2, 3], shift)"
    assert engine.evaluate(call, 0) == [1, 2, 7]
    assert engine.evaluate(call, 1) == [-9, -1, -3]


@pytest.mark.parametrize(
    ("errors", "patience", "epoch"),
    [
        ([3, 2, 1], 2, None),
        ([3, 1, 2, 2], 2, 4),
        ([3, 2, 2, 2, 1], 2, 4),
        ([1, 2, 0.5, 2, 0.4], 2, None),
        ([1, 2], 1, 2),
        ([1, 2, 3], 0, None),
    ],
)
def test_stops_as_keras_does(engine, errors, patience, epoch):
    call = "([errors, patience]) => embedLensEngine().stoppedAfter(errors, patience)"
    assert engine.evaluate(call, [errors, patience]) == epoch


# The page ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "name"), OF_THE_POST)
def test_presets_of_the_post_end_near_its_rmse(page, address, label, name):
    figure = published.FIGURES[name]
    opened(page, address)
    page.select_option("#train-preset", label=label)
    page.click("#train-start")
    told = wait_for(page, "Done")
    found = rows(page)
    assert figure.low < found[-1][2] < figure.high
    assert f"validation: {found[-1][2]:.2f} stars; the post: {figure.text()}" in told
    assert f"after {len(found)} epochs" in told
    assert ("brought no gain" in told) == (len(found) < 10)
    correct, titles = correlation(page), page.locator("#train-highest li").all_inner_texts()
    assert len(titles) == page.locator("#train-lowest li").count() == 10
    page.check("#train-shift")
    assert correlation(page) < 0.35 < 0.75 < correct
    assert page.locator("#train-highest li").all_inner_texts() != titles
    page.uncheck("#train-shift")
    assert correlation(page) == correct


def test_a_run_repeats_to_the_digit_paused_or_not(page, address):
    long = link(epochs=12, patience=0)
    first = trained(page, address, long)
    assert len(first) == 12
    opened(page, address, long)
    page.evaluate(START_AND_PAUSE)
    told = wait_for(page, "Paused after")
    assert re.fullmatch(r"Paused after [\d,]+ of 1,884 batches\.", told)
    page.click("#train-step")
    page.wait_for_function(f"{STATUS} !== {json.dumps(told)}")
    page.click("#train-start")
    wait_for(page, "Done")
    assert rows(page) == first
    page.click("#train-start")  # "Train again"
    wait_for(page, "Training")
    wait_for(page, "Done")
    assert rows(page) == first
    assert trained(page, address, long + ",seed:2") != first


def test_one_batch_at_a_time(page, address):
    opened(page, address, link(batch=2048, epochs=1))
    for n in range(1, 40):
        page.click("#train-step")
        wait_for(page, f"Paused after {n} of 40")
    assert not rows(page)
    page.click("#train-step")
    assert "after 1 epochs" in wait_for(page, "Done")
    assert page.is_disabled("#train-step")
    page.click("#train-reset")
    wait_for(page, "Ready")
    assert not rows(page)


def test_curves_and_vectors_are_drawn_anew(page, address):
    def pictures():
        names = ("curves", "cold", "vectors", "pc1")
        call = "(id) => document.getElementById(id).toDataURL()"
        return [page.evaluate(call, f"train-{name}") for name in names]

    for dim in (2, 3):
        opened(page, address, link(dim=dim))
        before = pictures()
        page.click("#train-start")
        wait_for(page, "Done")
        assert not set(before) & set(pictures())


def test_a_preset_and_its_seed(page, address):
    opened(page, address, "#t=seed:7")
    assert page.locator("#train-preset").input_value() == "The post's first model"
    assert page.inner_text("#train-post") == "the post: 1.08"
    opened(page, address, "#t=dim:8")
    assert page.locator("#train-preset").input_value() == ""
    assert not page.is_visible("#train-post")


@pytest.mark.parametrize(
    ("hash", "changed", "n_ignored"),
    [
        ("#t=dim:8,seed:7", {"dim": 8, "seed": 7}, 0),
        ("#t=dim:8%2Cseed:7", {"dim": 8, "seed": 7}, 0),
        ("#t=model:bias,dim:1,dim:8,dim:16", {"model": "bias", "dim": 8}, 2),
        ("#t=rate:abc,epochs:3.5,batch:1e9,what:1,epochs", {}, 5),
        ("#t=model:__proto__,__proto__:1,toString:2,seed:-1,low:0.1", {}, 5),
        ("#t=%E0%A4%A", {}, 1),
        ("#t=", {}, 0),
        ("#what-to-look-for", None, 0),
    ],
)
def test_reading_links(page, address, hash, changed, n_ignored):
    if "train.html" not in page.url:
        opened(page, address)
    found = page.evaluate("hash => EmbedLensTrain.parseLink(hash)", hash)
    base = page.evaluate("EmbedLensTrain.BASE")
    assert found["settings"] == (None if changed is None else base | changed)
    assert len(found["ignored"]) == n_ignored


def test_a_link_repeats_the_settings_and_says_what_it_ignores(page, address):
    opened(page, address, link() + ",dim:9,<b>:1")
    assert page.inner_text("#train-notice").splitlines() == [
        "Ignored in the link: dim:9 (given before); <b>:1 (no such setting)."
    ]
    copied = page.input_value("#train-link")
    first = rows(page) or trained(page, copied)
    assert trained(page, copied) == first
    assert page.input_value("#train-link") == copied


def test_a_wrong_setting_is_named_and_changes_nothing(page, address):
    opened(page, address, link())
    page.click("summary")
    page.fill("#train-dim", "1000")
    page.locator("#train-dim").blur()
    assert page.inner_text("#train-notice") == "Dimensions: 2 to 64."
    assert page.get_attribute("#train-dim", "aria-invalid") == "true"
    assert "dim:2," in page.input_value("#train-link")
    page.fill("#train-dim", "4")
    page.locator("#train-dim").blur()
    assert not page.is_visible("#train-notice")
    assert page.get_attribute("#train-dim", "aria-invalid") == "false"
    assert "dim:4," in page.input_value("#train-link")
    assert "#t=" not in page.url  # the address would say something else


def test_a_link_within_the_page_lets_the_training_go_on(page, address):
    before = trained(page, address, link())
    page.evaluate("location.hash = '#how-it-works'")
    page.wait_for_timeout(100)
    assert rows(page) == before


def test_page_answers_while_it_trains_and_says_how_long(page, address):
    opened(page, address, "#t=model:bias,epochs:30,userDropout:0.3")
    page.locator("#train-start").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("/ left$/.test(document.getElementById('train-left').textContent)")
    told = page.inner_text("#train-left")
    assert re.search(r"Epoch \d+ of 30; at most \d+ (s|minutes) left", told)
    assert page.evaluate(LONGEST_FRAME) < 500  # milliseconds, on a busy machine
    page.keyboard.press("Space")
    wait_for(page, "Paused")


def test_vectors_stand_still_within_an_epoch_if_motion_is_to_be_reduced(browser, address):
    drawn = {}
    for motion in ("reduce", "no-preference"):
        context = browser.new_context(reduced_motion=motion)
        context.add_init_script(COUNT_DRAWINGS)
        page = opened(context.new_page(), address, link(dim=64, batch=32))
        page.evaluate("window.drawn = {}")
        page.click("#train-start")
        wait_for(page, "Done")
        drawn[motion] = page.evaluate("window.drawn['train-vectors']")
        context.close()
    assert drawn["reduce"] == QUICK["epochs"] < drawn["no-preference"]


def test_no_script_and_paper_have_the_still_picture(browser, address, page):
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(address)
    for selector in (".train-still table", ".train-still img"):
        assert bare.locator(selector).is_visible()
    assert not bare.locator("#train-app").is_visible()
    context.close()
    opened(page, address)
    for media, on_paper in (("print", True), ("screen", False)):
        page.emulate_media(media=media)
        assert page.locator(".train-still img").is_visible() == on_paper
        assert page.locator("#train-app").is_visible() != on_paper


def test_scripts_are_small_and_loaded_on_this_page_alone(built_book):
    own = [STATIC / name for name in ("engine.js", "train.js", "movies.js")]
    assert sum(file.stat().st_size for file in own) < 100_000
    assert len((STATIC / "engine.js").read_text().splitlines()) < 350
    texts = {file.name: file.read_text() for file in built_book.rglob("*.html")}
    assert [name for name, text in texts.items() if "ratings-data.js" in text] == ["train.html"]


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_accessible_and_not_too_wide_after_training(browser, address, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    trained(page, address, link(dim=2 if width == 768 else 64))
    for summary in page.locator("#train-app summary").all():
        summary.click()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        found = Axe().run(page).response["violations"]
        assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
