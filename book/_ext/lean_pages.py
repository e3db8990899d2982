"""Sphinx extension: pages load only what they use, and read well aloud.

The theme's own markup is mended in ``book/_templates/layout.html``.
"""

import re

# A change of markup and its reason; each applies to the text of a page.
MENDED = [
    # pandas heads its index with a blank cell: no header at all.
    ("<th></th>", "<td></td>"),
    # The name comes from what is shown ("Show code cell source").
    (' aria-label="Toggle hidden content"', ""),
    # docutils gives a list without list items, and a deprecated role.
    (' role="list" class="citation-list"', ' class="citation-list"'),
    (' role="doc-biblioentry"', ""),
]


def _is_needed(script, has_math):
    name, body = str(script.filename or ""), script.attributes.get("body") or ""
    if "thebe" in name or "THEBE" in body:
        return False  # live cells need a network
    return has_math or ("mathjax" not in name and "MathJax" not in body)


def mend(app, pagename, templatename, context, doctree):
    """Drop the scripts that a page does not use and correct its markup.

    Sphinx gives MathJax (1.2 MB) also to a page whose subpages have maths.
    """
    text = context.get("body", "")
    has_math = re.search(r'class="[^"]*\bmath\b', text) is not None
    context["script_files"] = [
        s for s in context["script_files"] if _is_needed(s, has_math)
    ]
    for old, new in MENDED:
        text = text.replace(old, new)
    if text:
        context["body"] = text


def setup(app):
    """Register with Sphinx, after MathJax and the theme."""
    app.connect("html-page-context", mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
