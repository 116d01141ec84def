"""A chart of a command as one file: HTML that opens offline, or PNG, SVG, PDF with a browser."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Annotated, Any

import typer

from viewer.cli.common import atomic, clean
from viewer.errors import InputError

SUFFIXES = (".html", ".png", ".svg", ".pdf")
WIDTH, HEIGHT = 1100, 660
#: The option that commands with a chart add to their signature.
CHART_OPTION: dict[str, tuple[Any, Any]] = {
    "chart": (Annotated[Path | None, typer.Option(help="write the chart: .html, .png, .svg or .pdf")], None)
}


def check_chart(path: Path | None) -> None:
    """Refuse a file that could not be written before anything is computed."""
    if path is not None and path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--chart {path.name[:60]!r}: allowed are {', '.join(SUFFIXES)}")


def write_chart(chart: dict[str, Any], path: Path, title: str) -> None:
    """Write one figure dict; raises InputError where a picture needs a browser that is not there."""
    check_chart(path)
    if path.suffix.lower() == ".html":
        text = page(chart, title)
        atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return
    from viewer.charts import figure

    drawn = figure(chart)
    drawn.update_layout(paper_bgcolor="white")
    try:
        data = drawn.to_image(format=path.suffix[1:].lower(), width=WIDTH, height=HEIGHT, scale=2)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(
            f"--chart {path.name}: needs kaleido and a browser ({reason}); .html needs neither"
        ) from None
    atomic(path, lambda temporary: temporary.write_bytes(data))


def page(chart: dict[str, Any], title: str) -> str:
    """One self-contained HTML page."""
    from plotly.offline import get_plotlyjs

    from viewer.charts.base import CONFIG

    data = json.dumps(clean(chart), allow_nan=False).replace("<", "\\u003c")
    name = escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width"><style>body{font:14px/1.5 system-ui,sans-serif;'
        f"margin:24px auto;max-width:1160px;padding:0 16px}}#c{{height:{HEIGHT}px}}</style>"
        f'<script>{get_plotlyjs()}</script></head><body><h1 style="font-size:18px">{name}</h1>'
        f'<div id="c" role="img" aria-label="{name}"></div><script>const f={data};'
        f"Plotly.newPlot('c',f.data,f.layout,{json.dumps(CONFIG)});</script></body></html>\n"
    )
