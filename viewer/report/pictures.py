"""Charts as PNG, SVG or PDF: kaleido with a Chromium where there is one, else matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from viewer.errors import InputError
from viewer.report.blocks import Chart
from viewer.report.browser import find_browser
from viewer.report.themes import Style


def backend() -> str | None:
    """ "kaleido", "matplotlib", or None: what can draw pictures here."""
    if find_browser() and find_spec("kaleido"):
        return "kaleido"
    return "matplotlib" if find_spec("matplotlib") else None


def require_backend(what: str) -> str:
    """The backend, or InputError before anything is computed."""
    found = backend()
    if found is None:
        raise InputError(
            f"{what} needs pictures: pip install 'roofline[images]' (and Chromium for the best ones)"
        )
    return found


def write_pictures(charts: Sequence[Chart], paths: Sequence[Path], style: Style) -> str:
    """Write each chart to its path (the suffix decides the format); returns the backend that was used."""
    found = require_backend("a picture")
    if found == "kaleido":
        _with_kaleido(charts, paths, style)
    else:
        from viewer.report.plain import draw_plain

        for chart, path in zip(charts, paths, strict=True):
            draw_plain(chart, path, style)
    return found


def _with_kaleido(charts: Sequence[Chart], paths: Sequence[Path], style: Style) -> None:
    """One browser for all pictures (kaleido 1.x)."""
    import kaleido
    import plotly.graph_objects as go

    os.environ.setdefault("BROWSER_PATH", find_browser() or "")
    width, height = style.picture
    specs = []
    for chart, path in zip(charts, paths, strict=True):
        figure = chart.draw(style.theme)
        plot = {
            **figure["layout"],
            "width": width,
            "height": max(height, chart.height) if chart.height > 400 else chart.height,
        }
        plot["font"] = {**plot.get("font", {}), "family": style.font, "size": style.size}
        plot["paper_bgcolor"] = "white" if style.theme == "light" else "#111417"
        fig = go.Figure({"data": figure["data"], "layout": plot})
        scale = 2 if path.suffix == ".png" else 1
        opts = {"width": width, "height": plot["height"], "scale": scale, "format": path.suffix[1:]}
        specs.append({"fig": fig, "path": str(path), "opts": opts})
    kaleido.write_fig_from_object_sync(specs)
