"""What the browser tests look at: a page's contents, its defects by kind, and the keyboard."""

from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import re
from threading import Thread
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe

WIDTHS = (390, 768, 1280)  # a phone, a tablet, a laptop; in CSS pixels
AXE = {
    "resultTypes": ["violations"],
    "preload": False,  # it would read the style sheets again, which a browser refuses from disk
    "rules": {"label-content-name-mismatch": {"enabled": True}},
}
# Axe takes most of its time for the contrast of each text. Of texts that look alike, with all
# around them, one is enough: one that is seen, and longer than the single letter that axe does
# not judge. What is placed freely may lie on anything: it is like nothing else. In code, words
# are most of a page's elements: those alike become plain text, which changes the page for good.
MARK_ALIKE = r"""() => {
  const look = (e) => {
    const s = getComputedStyle(e);
    if (s.position === "absolute" || s.position === "fixed") return Math.random();
    return [e.tagName, s.color, s.background, s.opacity, s.filter, s.font, s.textShadow,
            s.visibility].join(";");
  };
  const looks = new Map([[null, ""]]);
  const lookOf = (e) => {
    if (!looks.has(e)) looks.set(e, look(e) + "|" + lookOf(e.parentElement));
    return looks.get(e);
  };
  const seen = new Set();
  const words = [];
  for (const e of document.body.querySelectorAll("*")) {
    const texts = [...e.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    const text = texts.map((node) => node.data).join("").trim();
    if (!text || !e.checkVisibility()) continue;
    if (seen.has(lookOf(e))) {
      e.dataset.alike = "";
      if (e.matches(".highlight pre span")) words.push(e);
    }
    if (/[!-~]{2}/.test(text)) seen.add(lookOf(e));
  }
  for (const e of words) e.replaceWith(...e.childNodes);
  document.body.normalize();
  scrollTo(0, 0);
  axe.configure({rules: [{id: "color-contrast", selector: ":not([data-alike])"}]});
}"""
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
READ_BY_SCRIPT = {"book/map.html": r"m\d+", "book/train.html": r"t=.+", "book/try.html": r"r=.+"}
SETTLED = """async () => {
  await document.fonts.ready;
  await window.MathJax?.startup?.promise;
}"""
# The theme lets Tab reach what can be scrolled, 300 ms after the last change of the window's size.
# Its timer starts before ours, which waits as long.
RESIZED = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  dispatchEvent(new Event("resize"));
  setTimeout(done, 300);
})))"""
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
# Note all that gets the focus, and whether a reader sees that, until the first has it again.
NOTE_FOCUS = """() => {
  window.reached = [];
  document.addEventListener("focusin", ({target}) => {
    window.around ||= target === window.reached[0]?.element;
    if (window.around) return;
    const style = getComputedStyle(target);
    window.reached.push({
      element: target,
      name: target.outerHTML.slice(0, 120),
      visible: style.outlineStyle !== "none" || style.boxShadow !== "none",
      toggle: target.matches("summary, .toggle-button"),
    });
  });
}"""
NOTED = """() => ({
  around: window.around || document.activeElement === document.body,
  reached: window.reached.map(({element, ...told}) => told),
})"""
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


class Site(SimpleHTTPRequestHandler):
    """The book where it will lie: below the name of the repository."""

    prefix = "/embedlens/"

    def translate_path(self, path):
        inside = path.startswith(self.prefix)
        return super().translate_path(path.removeprefix(self.prefix) if inside else "/outside")

    def log_message(self, *args):
        pass


@contextmanager
def served(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{Site.prefix}"
        server.shutdown()


def pages_of(folder):
    """Paths of all pages below `folder`. index.html only leads on; it has a test of its own."""
    paths = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.html"))
    return [p for p in paths if p != "index.html" and not p.startswith("_static/")]


def noting(page):
    """What happens on `page` from now on, by kind."""
    noted = {"console": [], "requests": [], "loaded": []}

    def console(message):
        if message.type == "error":
            noted["console"].append(message.text)

    def response(answer):
        if answer.status >= 400:
            noted["requests"].append(f"{answer.status} {answer.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: noted["console"].append(str(error)))
    page.on("request", lambda request: noted["loaded"].append(request.url))
    page.on("requestfailed", lambda request: noted["requests"].append(f"failed {request.url}"))
    page.on("response", response)
    return noted


def overflows(page):
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        if wide > width + 1:
            found.append(f"{wide} at {width}")
    return found


def violations(page, width):
    """What axe finds to be serious. To be called last: it changes the page."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(RESIZED)
    page.evaluate(Axe().axe_script)
    page.evaluate(MARK_ALIKE)
    return [
        f"{rule['id']}: {node['target']}"
        for rule in page.evaluate("(options) => axe.run(options)", AXE)["violations"]
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


def seen_in(browser, folder, mode, width, from_disk=False, keyboard=False):
    """What is on each page of `folder` in `mode`, and its defects by kind.

    One tab opens all pages, each once: from a server or, all but the page for a wrong address
    (its addresses are absolute), from disk. With `keyboard`, what Tab reaches stands under that
    name.
    """
    context = browser.new_context(reduced_motion="reduce")
    context.add_init_script(f"localStorage.mode = localStorage.theme = '{mode}'")
    page, seen = context.new_page(), {}
    noted = noting(page)
    with served(folder) as server:
        for path in pages_of(folder):
            home = folder.as_uri() + "/" if from_disk and path != "404.html" else server
            noted |= {"console": [], "requests": [], "loaded": []}
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(home + path)
            page.evaluate(SETTLED)
            content = page.evaluate(CONTENT)
            content["home"] = home
            content["overflow"] = overflows(page)
            if keyboard:
                content["keyboard"] = by_keyboard(page, width)
            content["accessibility"] = violations(page, width)
            content["mode"] = [mode] if is_dark(content["background"]) != (mode == "dark") else []
            content |= noted
            content["requests"] += elsewhere(content["loaded"], home)
            seen[path] = content
        titles = [content["title"] for content in seen.values()]
        for content in seen.values():
            title, description = content["title"].strip(), content["description"].strip()
            content["title"] = [] if title and titles.count(title) == 1 else [title or "none"]
            content["description"] = [] if description else ["none"]
            content["links"] = broken(content["links"], content["home"], folder, seen)
    context.close()
    return seen


def elsewhere(loaded, home):
    return [url for url in loaded if not url.startswith((home, "data:", "blob:"))]


def tab_through(page):
    """All that Tab reaches, in order; each toggle opens with Enter and closes with Space."""
    page.evaluate(NOTE_FOCUS)
    for _ in range(20):
        for _ in range(20):
            page.keyboard.down("Tab")  # held down: no round trip for letting it go
        noted = page.evaluate(NOTED)
        if noted["around"]:
            break
    else:
        raise AssertionError("Tab does not come to an end")
    for place, focused in enumerate(noted["reached"]):
        if focused["toggle"]:
            page.evaluate("place => window.reached[place].element.focus()", place)
            states = [page.evaluate(OPEN)]
            for key in ("Enter", "Space"):
                page.keyboard.press(key)
                states.append(page.evaluate(OPEN))
            focused["opens"] = states == [False, True, False]
    return noted["reached"]


def by_keyboard(page, width):
    # A low window has less to paint whenever the focus moves.
    page.set_viewport_size({"width": width, "height": 300})
    # The search page takes the focus; start from the top all the same.
    page.evaluate("document.activeElement.blur()")
    return {
        "links": page.locator("#pst-primary-sidebar a").count(),
        "toggles": page.locator("summary, .toggle-button").count(),
        "reached": tab_through(page),
    }


def defects(seen, kind):
    return {path: content[kind] for path, content in seen.items() if content[kind]}
