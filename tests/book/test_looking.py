"""The detectors of `looking` see defects that are planted, and nothing on a sound page."""

from looking import KINDS, seen_in, served
import pytest

PLANTED = {
    "console": "<script>console.error('planted')</script>",
    "console, an exception": "<script>throw new Error('planted')</script>",
    "requests, elsewhere": '<img alt="planted" src="http://example.invalid/planted.png">',
    "requests, another server": '<img alt="planted" src="ANOTHER/dot.svg">',
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
    "accessibility, contrast of code": """<div class="highlight"><pre><span>sound</span>
        <span>sound</span> <span class="pale">planted</span></pre></div>""",
    "accessibility, contrast of a long word": """<p><b>s</b> <b></b> <b>planted</b></p>
        <style>b {color: #bbb}</style>""",
    "accessibility, contrast of what is shown": """<details><summary>Sound</summary>
        <p class="pale">hidden</p></details><details open><summary>Sound</summary>
        <p class="pale">planted</p></details>""",
    "accessibility, contrast on something else": """<p style="position: relative">x
        <span style="position: absolute; left: 50px">sound</span>
        <span style="position: absolute; left: 0; top: 40px; width: 90px; height: 20px;
        background: #111"></span>
        <span style="position: absolute; left: 0; top: 40px">planted</span></p>""",
    "accessibility, contrast of a cell": """<table class="dataframe"><tr><td>sound</td></tr>
        <tr><td>sound</td></tr><tr class="dim"><td class="grey">planted</td></tr></table>
        <table class="dataframe"><tr><td class="grey">sound, on white</td></tr></table>""",
    "title": "<script>document.title = ''</script>",
    "description": "<script>document.querySelector('meta[name=description]').remove()</script>",
}
# For what the keyboard meets: none of these is a defect of another kind.
MET = {
    "unseen": '<a href="#top" style="outline: none">Unseen</a>',
    "stuck": '<details><summary onclick="event.preventDefault()">Stuck</summary><p>x</p></details>',
    "untold": """<div id="x" hidden>x</div><button class="toggle-button" data-target="x"
        onclick="x.hidden = !x.hidden" aria-expanded="false">Untold</button>""",
    "opening": "<details><summary>Opens</summary><p>x</p></details>",
}
PAGE = """<!DOCTYPE html><html lang="en"><head><title>{title}</title>
<link rel="icon" href="data:,"><meta name="description" content="Planted.">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{background: #fff}} .pale {{color: #bbb}} .grey {{color: #757575}}
.dim {{background: #ccc}}</style></head>
<body><main><h1 id="top">A page</h1><a href="#top">Up</a>{body}</main></body></html>"""


def small_pages(folder, bodies):
    for name, body in bodies.items():
        title = "Twin" if "twin" in name else name
        (folder / f"{name}.html").write_text(PAGE.format(title=title, body=body))
    return folder


@pytest.fixture(scope="module")
def planted_pages(browser, tmp_path_factory):
    """What is seen on small pages: one for each planted defect, twins, and a sound one."""
    another = tmp_path_factory.mktemp("another")
    (another / "dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    folder = tmp_path_factory.mktemp("planted")
    with served(another) as home:
        bodies = {name: body.replace("ANOTHER/", home) for name, body in PLANTED.items()}
        bodies |= {"twin": "", "other twin": "", "sound": ""}
        return seen_in(browser, small_pages(folder, bodies), "light", 390)


@pytest.fixture(scope="module")
def met_pages(browser, tmp_path_factory):
    folder = small_pages(tmp_path_factory.mktemp("met"), MET)
    return seen_in(browser, folder, "light", 390, keyboard=True)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_seen(planted_pages, name):
    assert planted_pages[f"{name}.html"][name.split(",")[0]]


def test_equal_titles_are_seen(planted_pages):
    assert planted_pages["twin.html"]["title"]
    assert planted_pages["other twin.html"]["title"]


def test_a_sound_page_has_no_defect(planted_pages):
    assert not [kind for kind in KINDS if planted_pages["sound.html"][kind]]


@pytest.mark.parametrize("name", MET)
def test_the_keyboard_meets_what_is_planted(met_pages, name):
    found = met_pages[f"{name}.html"]["keyboard"]
    assert found["toggles"] == (name != "unseen")
    first, last = found["reached"]
    assert (first["visible"], last["visible"]) == (True, name != "unseen")
    assert last.get("opens", True) == (name in ("unseen", "opening"))
