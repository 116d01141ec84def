"""A chart as one HTML file that opens without a network: figure and plotting code inside."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from viewer.analysis import Analysis
from viewer.charts.base import CONFIG
from viewer.charts.palette import theme_of
from viewer.charts.roofline import roofline
from viewer.dashboard.view import headline, roofs_for
from viewer.resources import plotly_script


def chart_page(result: Analysis, theme: str = "light") -> str:
    """The roofline of a result as a page: hover, pan, isolate and toggle work offline."""
    figure = roofline(result.rows, roofs_for(result), theme)
    return html_page([figure], headline(result), theme)


def html_page(figures: list[dict[str, Any]], title: str, theme: str = "light") -> str:
    """Figures as one self-contained page."""
    colours = theme_of(theme)
    script = plotly_script()
    plots = "".join(f'<div id="c{i}" class="c"></div>' for i in range(len(figures)))
    data = json.dumps(figures, default=float).replace("</", "<\\/")
    config = json.dumps(CONFIG)
    draw = f"const F={data};F.forEach((f,i)=>Plotly.newPlot('c'+i,f.data,f.layout,{config}));"
    style = (
        f"body{{margin:0;padding:16px;background:{colours.paper};color:{colours.ink};font:14px system-ui,sans-serif}}"
        "h1{font-size:16px;font-weight:600}.c{height:min(78vh,640px)}"
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{style}</style><script>{script}</script></head>"
        f"<body><h1>{escape(title)}</h1>{plots}<script>{draw}</script></body></html>"
    )
