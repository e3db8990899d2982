"""Curves and tables with a slider, for the book and for JupyterLab. Needs the extra "book"."""

import html
import json

from IPython.display import display
from matplotlib.colors import to_hex
import plotly.graph_objects as go

from embedlens import figures

COLUMNS = {"train_rmse": "training", "valid_rmse": "validation"}

# In the book, with a slider of the browser's own: the keyboard reaches it. Lab draws the
# other part of the output, with its own Plotly and its slider.
PAGE = """\
<div id="{name}" class="embedlens-plot" role="img" aria-label="{alt}"></div>
<p class="embedlens-slider">
<label for="{name}-range">{label}: <output id="{name}-set"></output></label>
<input id="{name}-range" type="range" min="0" max="{last}" value="{start}">
</p>
<script id="{name}-data" type="application/json">{content}</script>
<script src="../_static/sliders.js" data-name="{name}"></script>
"""

# All tables are in the page; the slider, by a script of its own in Lab too, shows one of them.
TABLES = """\
<div id="{name}" class="embedlens-tables">
<p class="embedlens-slider">
<label for="{name}-range">{label}: <output id="{name}-set">{shown}</output></label>
<input id="{name}-range" type="range" min="0" max="{last}" value="{start}" aria-valuetext="{shown}"
 oninput="const steps = [...this.closest('.embedlens-tables').querySelectorAll('[data-step]')];
 steps.forEach((step, i) => {{ step.hidden = i !== this.valueAsNumber; }});
 const text = steps[this.value].dataset.step;
 this.ariaValueText = document.getElementById('{name}-set').textContent = text;">
</p>
{steps}
</div>
"""


def show_tables(steps, start, label, name):
    """Show one of several tables, by a slider.

    Parameters
    ----------
    steps : dict of str to (str, pandas.DataFrame)
        By what the slider is set to: a sentence, and the table below it.
    start : str
        The step to show first.
    label : str
        What the slider sets.
    name : str
        Id in the page.
    """
    parts = [
        f'<div data-step="{html.escape(step)}"{"" if step == start else " hidden"}>'
        f"<p>{html.escape(sentence)}</p>{table.to_html(border=0)}</div>"
        for step, (sentence, table) in steps.items()
    ]
    page = TABLES.format(
        name=name,
        label=html.escape(label),
        shown=html.escape(start),
        start=list(steps).index(start),
        last=len(steps) - 1,
        steps="\n".join(parts),
    )
    display({"text/html": page, "text/plain": steps[start][0]}, raw=True)


def for_script(content):
    """JSON for a script element: nothing in it ends the element."""
    return json.dumps(content).replace("</", r"<\/")


def show(curves, start, label, name, alt):
    """Show learning curves with a slider over the settings.

    Parameters
    ----------
    curves : pandas.DataFrame
        As from `sweep.mean_curves`: indexed by (setting, epoch).
    start : number
        The setting to show first.
    label : str
        What the slider sets, such as "Dimensions".
    name : str
        Id of the picture in the page.
    alt : str
        Alternative text.
    """
    figure = _figure(curves, start)
    steps = [
        {"label": f"{setting:g}", "y": _heights(curves, setting)}
        for setting in curves.index.unique(0)
    ]
    active = list(curves.index.unique(0)).index(start)
    page = PAGE.format(
        name=name,
        alt=html.escape(alt),
        label=html.escape(label),
        start=active,
        last=len(steps) - 1,
        content=for_script({"figure": figure, "steps": steps}),
    )
    figure["layout"]["sliders"] = [_slider(steps, active, label)]
    content = {"application/vnd.plotly.v1+json": figure, "text/html": page, "text/plain": alt}
    display(content, raw=True)


def _heights(curves, setting):
    return [curves.loc[setting][column].to_list() for column in COLUMNS]


def _slider(steps, active, label):
    return {
        "active": active,
        "currentvalue": {"prefix": f"{label}: "},
        "pad": {"t": 55, "b": 10},
        "steps": [
            {"label": step["label"], "method": "restyle", "args": [{"y": step["y"]}]}
            for step in steps
        ],
    }


def _figure(curves, start):
    looks = [
        {"color": to_hex(figures.OTHER), "dash": "dash", "symbol": "circle"},
        {"color": to_hex(figures.OURS), "dash": "solid", "symbol": "square"},
    ]
    first = curves.loc[start]
    lines = [
        go.Scatter(
            x=first.index.to_list(),
            y=first[column].to_list(),
            name=name,
            mode="lines+markers",
            line={"color": look["color"], "dash": look["dash"]},
            marker={"color": look["color"], "symbol": look["symbol"], "size": 8},
            hovertemplate="%{y:.2f}",
        )
        for (column, name), look in zip(COLUMNS.items(), looks, strict=True)
    ]
    values = curves[list(COLUMNS)].to_numpy()
    grid = {"gridcolor": "rgba(128,128,128,0.3)", "zeroline": False, "fixedrange": True}
    layout = {
        "template": "none",
        "height": 420,
        "margin": {"l": 55, "r": 10, "t": 30, "b": 45},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        "xaxis": {**grid, "title": {"text": "Epoch"}, "dtick": 1},
        "yaxis": {
            **grid,
            "title": {"text": "RMSE (stars)"},
            "range": [values.min() - 0.02, values.max() + 0.02],
        },
    }
    figure = json.loads(go.Figure(lines, layout).to_json())
    return {**figure, "config": {"displayModeBar": False, "displaylogo": False, "responsive": True}}
