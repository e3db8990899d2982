"""What the pages need beyond the theme: a local extension, named in `_config.yml`.

One setting, the address of the repository, gives all other addresses. Each page has
a description; each chapter can be downloaded as a script and as a plain notebook,
which Binder and Colab open too, and its edit button leads to its text twin.
"""

from html import escape
from pathlib import Path
import shutil
from urllib.parse import urlsplit

import jupytext

from embedlens.book import plain


def derive_addresses(app, config):
    """Work out the addresses of the site from the one of the repository."""
    repository = config.html_theme_options["repository_url"]
    name = urlsplit(repository).path.strip("/").split("/")[1]
    config.html_baseurl = config.ogp_site_url = plain.site_of(repository)
    config.notfound_urls_prefix = f"/{name}/"
    page = config.notfound_context
    page["body"] = page["body"].replace('href="/', f'href="/{name}/')
    config.ogp_site_name = config.html_title


def prepare_one_page(app):
    """Let the one page of the PDF have all that the pages of the book have.

    Sphinx gives it MathJax only if the start page has formulas, and only those
    nodes of the extensions that were registered for it by name.
    """
    if app.builder.name != "singlehtml":
        return
    app.set_html_assets_policy("always")
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = {**handlers["html"], **handlers.get("singlehtml", {})}


def describe(app, pagename, templatename, context, doctree):
    """Give a page its description, and the start page a full title."""
    if pagename == app.config.root_doc:
        context["docstitle"] = app.config.book_subtitle
    text = app.config.page_descriptions.get(pagename)
    if text is None:
        return
    tag = f'<meta name="description" content="{escape(text)}" />\n'
    context["metatags"] = context.get("metatags", "") + tag
    if doctree:  # a page of ours, not one that Sphinx makes
        context["meta"] = {**(context["meta"] or {}), "og:description": text}


def finish_chapter(app, pagename, templatename, context, doctree):
    """Offer a chapter as a script; lead to its text and its plain notebook."""
    source = Path(app.env.doc2path(pagename))
    if app.builder.name != "html" or source.suffix != ".ipynb":
        return
    script = Path(app.outdir) / "_sources" / f"{pagename}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(as_script(source), encoding="utf-8")
    for group in context["header_buttons"]:
        if group.get("label") == "download-buttons":
            group["buttons"].insert(1, script_button(context["pathto"], pagename))
        for button in group.get("buttons", []):
            if button.get("label") == "source-edit-button":
                twin = f"{source.parent.name}/text/{source.stem}.md"
                button["url"] = button["url"].replace(f"{pagename}.ipynb", twin)
            elif group.get("label") == "launch-buttons":
                where = f"{plain.NOTEBOOKS}/{source.name}"
                button["url"] = button["url"].replace(f"{pagename}.ipynb", where)


def offer_plain_notebooks(app, exception):
    """Let the button for a download give the plain notebook, not Sphinx' source."""
    ours = Path(app.srcdir) / plain.NOTEBOOKS
    for source in (Path(app.outdir) / "_sources/book").glob("*.ipynb"):
        shutil.copyfile(ours / source.name, source)


def as_script(notebook):
    """Text of a script with the cells of a notebook; prose becomes comments."""
    return jupytext.writes(jupytext.read(notebook), fmt="py:percent")


def script_button(pathto, pagename):
    return {
        "type": "link",
        "url": f"{pathto('_sources', 1)}/{pagename}.py",
        "text": ".py",
        "icon": "fab fa-python",
        "tooltip": "Download as a Python script",
        "label": "download-script-button",
    }


def setup(app):
    app.add_config_value("book_subtitle", "", "html")
    app.add_config_value("page_descriptions", {}, "html")
    app.connect("config-inited", derive_addresses)
    app.connect("builder-inited", prepare_one_page)
    app.connect(
        "html-page-context", describe, priority=400
    )  # before opengraph reads them
    app.connect(
        "html-page-context", finish_chapter, priority=600
    )  # after the theme's buttons
    app.connect("build-finished", offer_plain_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
