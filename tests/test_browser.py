"""Every page of the built book in a browser: served, from disk, on a phone, in dark mode."""

from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import re
from threading import Thread
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe
import pytest

WIDTHS = (390, 768, 1280)  # a phone, a tablet, a laptop; in CSS pixels
MEGABYTE = 1_000_000
AXE = {
    "resultTypes": ["violations"],
    "preload": False,  # it would read the style sheets again, which a browser refuses from disk
    "rules": {"label-content-name-mismatch": {"enabled": True}},
}
KINDS = (
    "console",
    "requests",
    "maths",
    "pictures",
    "title",
    "description",
    "links",
    "overflow",
    "mode",
    "accessibility",
)
# What a page's own script reads from its address.
READ_BY_SCRIPT = {"book/map.html": r"m\d+", "book/try.html": r"r=.+"}
SETTLED = """async () => {
  await document.fonts.ready;
  await window.MathJax?.startup?.promise;
}"""
CONTENT = r"""() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const maths = all(".math").filter((e) => !e.querySelector("mjx-container"));
  maths.push(...all("mjx-merror"));
  const left = maths.map((e) => e.textContent);
  while (texts.nextNode()) {
    const {data, parentElement} = texts.currentNode;
    if (/\\\(|\\\[|\$\$/.test(data) && !parentElement.closest("pre, code, script, style"))
      left.push(data);
  }
  return {
    title: document.title,
    description: document.querySelector("meta[name=description]")?.content ?? "",
    background: getComputedStyle(document.body).backgroundColor,
    has_maths: all(".math").length > 0,
    maths: left,
    pictures: all("img").filter((e) => !e.alt && e.getAttribute("role") !== "presentation")
      .map((e) => e.outerHTML),
    links: all("a[href]").map((e) => e.href),
    ids: all("[id]").map((e) => e.id),
  };
}"""
# What has the focus, and whether a reader sees that.
FOCUSED = """() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  const style = getComputedStyle(e);
  return {
    name: e.outerHTML.slice(0, 120),
    visible: style.outlineStyle !== "none" || style.boxShadow !== "none",
    toggle: e.matches("summary, .toggle-button"),
  };
}"""
# Whether the toggle in focus shows what it hides, and tells a screen reader so.
OPEN = """() => {
  const e = document.activeElement;
  const details = e.tagName === "SUMMARY" && e.parentElement;
  const hidden = details || document.getElementById(e.dataset.target);
  const shown = [...hidden.children].some((child) => !child.contains(e) &&
    child.offsetHeight > 0 && child.checkVisibility({visibilityProperty: true}));
  const told = details ? details.open : e.ariaExpanded === "true";
  return shown === told ? shown : `shown: ${shown}, told: ${told}`;
}"""


class _Site(SimpleHTTPRequestHandler):
    """The book where it will lie: below the name of the repository."""

    prefix = "/embedlens/"

    def translate_path(self, path):
        inside = path.startswith(self.prefix)
        return super().translate_path(path.removeprefix(self.prefix) if inside else "/outside")

    def log_message(self, *args):
        pass


@contextmanager
def served(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Site, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{_Site.prefix}"
        server.shutdown()


def pages_of(folder):
    """Paths of all pages below `folder`. index.html only leads on; it has a test of its own."""
    paths = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.html"))
    return [p for p in paths if p != "index.html" and not p.startswith("_static/")]


@contextmanager
def opened(context, home, path):
    """A page and what is noted while it loads; requests that leave `home` are blocked."""
    page = context.new_page()
    noted = {"console": [], "requests": [], "loaded": []}
    note = noted["requests"].append

    def console(message):
        if message.type == "error":
            noted["console"].append(message.text)

    def response(answer):
        if answer.status >= 400:
            note(f"{answer.status} {answer.url}")

    page.route(re.compile(f"^(?!{re.escape(home)}|data:|blob:)"), lambda route: route.abort())
    page.on("console", console)
    page.on("pageerror", lambda error: noted["console"].append(str(error)))
    page.on("request", lambda request: noted["loaded"].append(request.url))
    page.on("requestfailed", lambda request: note(f"failed {request.url}"))
    page.on("response", response)
    page.goto(home + path)
    page.evaluate(SETTLED)
    yield page, noted
    page.close()


def overflows(page):
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        if wide > width + 1:
            found.append(f"{wide} at {width}")
    return found


def violations(page):
    return [
        f"{rule['id']}: {node['target']}"
        for rule in Axe().run(page, options=AXE).response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def is_dark(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) < 150


def broken(links, home, folder, seen):
    """The links into the book that lead to no file, or to no place in it."""
    found = []
    for link in links:
        if not link.startswith(home):
            continue
        parts = urlsplit(link.removeprefix(home))
        path = unquote(parts.path)
        place, ids = unquote(parts.fragment), seen.get(path, {"ids": []})["ids"]
        is_read = re.fullmatch(READ_BY_SCRIPT.get(path, r"(?!)"), place)
        if not (folder / path).exists() or (place and place not in ids and not is_read):
            found.append(link)
    return found


def seen_in(browser, folder, mode, width):
    """What is on each page of `folder` in `mode`, and its defects by kind."""
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    context.add_init_script(f"localStorage.mode = localStorage.theme = '{mode}'")
    seen = {}
    with served(folder) as home:
        for path in pages_of(folder):
            with opened(context, home, path) as (page, noted):
                content = page.evaluate(CONTENT)
                content |= noted
                content["accessibility"] = violations(page)
                content["overflow"] = overflows(page)
            content["mode"] = [mode] if is_dark(content["background"]) != (mode == "dark") else []
            seen[path] = content
        titles = [content["title"] for content in seen.values()]
        for content in seen.values():
            title, description = content["title"].strip(), content["description"].strip()
            content["title"] = [] if title and titles.count(title) == 1 else [title or "none"]
            content["description"] = [] if description else ["none"]
            content["links"] = broken(content["links"], home, folder, seen)
    context.close()
    return seen


@pytest.fixture(scope="module")
def light(browser, built_book):
    return seen_in(browser, built_book, "light", 1280)


@pytest.fixture(scope="module")
def dark(browser, built_book):
    return seen_in(browser, built_book, "dark", 390)


def defects(seen, kind):
    return {path: content[kind] for path, content in seen.items() if content[kind]}


@pytest.mark.parametrize("kind", KINDS)
def test_pages_on_a_laptop_in_light_mode(light, kind):
    assert len(light) >= 10
    assert not defects(light, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_on_a_phone_in_dark_mode(dark, kind):
    assert len(dark) >= 10
    assert not defects(dark, kind)


PLANTED = {
    "console": "<script>console.error('planted')</script>",
    "console, an exception": "<script>throw new Error('planted')</script>",
    "requests, elsewhere": '<img alt="planted" src="http://example.invalid/planted.png">',
    "requests, a missing file": '<img alt="planted" src="planted.png">',
    "maths": '<span class="math">x</span>',
    "maths, in text": r"<p>\(x\)</p>",
    "pictures": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "links, no such page": '<a href="planted.html">planted</a>',
    "links, no such place": '<a href="sound.html#planted">planted</a>',
    "overflow": '<p style="width: 1000px">planted</p>',
    "mode": "<style>body {background: #111; color: #fff}</style>",
    "accessibility": "<button></button>",
    "accessibility, contrast": '<p style="color: #bbb">planted</p>',
    "title": "<script>document.title = ''</script>",
    "description": "<script>document.querySelector('meta[name=description]').remove()</script>",
}
PAGE = """<!DOCTYPE html><html lang="en"><head><title>{title}</title>
<link rel="icon" href="data:,"><meta name="description" content="Planted.">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{background: #fff}}</style></head>
<body><main><h1 id="top">A page</h1><a href="#top">Up</a>{body}</main></body></html>"""


@pytest.fixture(scope="module")
def planted_pages(browser, tmp_path_factory):
    """What is seen on small pages: one for each planted defect, twins, and a sound one."""
    folder = tmp_path_factory.mktemp("planted")
    bodies = {**PLANTED, "twin": "", "other twin": "", "sound": ""}
    for name, body in bodies.items():
        title = "Twin" if "twin" in name else name
        (folder / f"{name}.html").write_text(PAGE.format(title=title, body=body))
    return seen_in(browser, folder, "light", 390)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_seen(planted_pages, name):
    assert planted_pages[f"{name}.html"][name.split(",")[0]]


def test_equal_titles_are_seen(planted_pages):
    assert planted_pages["twin.html"]["title"]
    assert planted_pages["other twin.html"]["title"]


def test_a_sound_page_has_no_defect(planted_pages):
    assert not [kind for kind in KINDS if planted_pages["sound.html"][kind]]


def test_pages_open_from_disk(browser, built_book):
    context = browser.new_context()
    home = built_book.as_uri() + "/"
    found = {}
    for path in pages_of(built_book):
        if path == "404.html":
            continue  # only a server shows it, at any depth: its addresses are absolute
        with opened(context, home, path) as (page, noted):
            maths = page.evaluate(CONTENT)["maths"]
        found[path] = [*noted["console"], *noted["requests"], *maths]
    context.close()
    assert len(found) >= 10
    assert not {path: told for path, told in found.items() if told}


def test_index_leads_to_the_start_page(browser, built_book):
    page = browser.new_page()
    page.goto((built_book / "index.html").as_uri())
    page.wait_for_url("**/book/index.html")
    page.locator("article h1").wait_for()
    page.close()
    text = (built_book / "index.html").read_text()
    assert "<title>EmbedLens" in text
    assert 'name="description"' in text


def test_search_finds(browser, built_book):
    with served(built_book) as home:
        page = browser.new_page()
        page.goto(home + "search.html?q=embedding")
        page.locator("#search-results li a").first.wait_for()
        assert page.locator("#search-results li").count() >= 3
        page.close()


def tab_through(page):
    """All that Tab reaches, in order; each toggle opens with Enter and closes with Space."""
    reached = []
    for _ in range(400):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or focused in reached[:1]:
            return reached
        if focused["toggle"]:
            states = [page.evaluate(OPEN)]
            for key in ("Enter", "Space"):
                page.keyboard.press(key)
                states.append(page.evaluate(OPEN))
            focused["opens"] = states == [False, True, False]
        reached.append(focused)
    raise AssertionError("Tab does not come to an end")


def test_every_page_by_keyboard(browser, built_book):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    toggles = 0
    with served(built_book) as home:
        for path in pages_of(built_book):
            with opened(context, home, path) as (page, _):
                # The search page takes the focus; start from the top all the same.
                page.evaluate("document.activeElement.blur()")
                links = page.locator("#pst-primary-sidebar a").count()
                expected = page.locator("summary, .toggle-button").count()
                reached = tab_through(page)
            names = [e["name"] for e in reached]
            assert not [e["name"] for e in reached if not e["visible"]], path
            assert [e["opens"] for e in reached if e["toggle"]] == [True] * expected, path
            assert sum("search-button-field" in name for name in names) == 1, path
            assert sum("theme-switch-button" in name for name in names) == 1, path
            assert sum("reference internal" in name for name in names) >= links - 1, path
            toggles += expected
    context.close()
    assert toggles >= 6


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


def test_maths_scripts_are_loaded_where_maths_is(light):
    for path, content in light.items():
        asked = any("mathjax" in url for url in content["loaded"])
        assert asked == content["has_maths"], path
    assert {content["has_maths"] for content in light.values()} == {True, False}


def test_the_book_is_light(light, built_book):
    total = sum(file.stat().st_size for file in built_book.rglob("*") if file.is_file())
    assert total < 25 * MEGABYTE
    urls = {urlsplit(url).path for url in light["book/index.html"]["loaded"]}
    paths = {url.removeprefix(_Site.prefix) for url in urls}
    sizes = {path: (built_book / path).stat().st_size for path in paths}
    assert "_static/embedlens.css" in sizes
    assert sum(sizes.values()) < 1.5 * MEGABYTE, sorted(sizes.items(), key=lambda item: -item[1])
