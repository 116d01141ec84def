"""Calibrations: left-out error of each kernel class on every rung, from the roofline alone to the full model."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from viewer.charts.base import Figure, layout, log_axis
from viewer.charts.palette import theme_of

#: Rung -> (what it is, colour, symbol); the last is the model that predicts.
RUNGS: dict[str, tuple[str, str, str]] = {
    "M0": ("roofline alone", "#8c8c8c", "circle-open"),
    "M1": ("3 constants", "#e69f00", "diamond"),
    "M2": ("kernel model", "#56b4e9", "square"),
    "M3": ("with correction", "#0072b2", "circle"),
}


def ladder(rows: Sequence[dict[str, Any]], theme: str = "light", compact: bool = False) -> Figure:
    """``rows``: label, points, and M0 ... M3, mean relative errors as shares (None where not scored).

    One line per class, best at the top; a point per rung on a logarithmic axis of the error. ``compact``: for a narrow
    screen, labels in two lines.
    """
    colours = theme_of(theme)
    ordered = sorted(rows, key=lambda r: -(r.get("M3") or 1.0))
    names = [escape(str(row["label"])) for row in ordered]
    if compact:
        names = [name.replace(" · ", "<br>", 1) for name in names]
    traces: list[dict[str, Any]] = [_spans(ordered, names, colours.axis)]
    for rung, (word, colour, symbol) in RUNGS.items():
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{rung} {word}",
                "x": [None if row.get(rung) is None else 100 * row[rung] for row in ordered],
                "y": names,
                "customdata": [row["points"] for row in ordered],
                "hovertemplate": f"%{{y}}<br>{rung} {word}: %{{x:.3g}} % over %{{customdata:,}} points"
                "<extra></extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 10, "line": {"width": 1.5}},
            }
        )
    values = [100 * row[rung] for row in ordered for rung in RUNGS if row.get(rung)]
    low, high = min([*values, 2.0]) / 1.2, max([*values, 60.0]) * 1.2
    return {
        "data": traces,
        "layout": layout(
            colours,
            margin={"l": 8, "r": 16, "t": 34, "b": 48},
            xaxis=log_axis(
                colours, "error (%)" if compact else "mean error on left-out shapes (%)", low, high
            )
            | {
                "tickvals": [1, 2, 5, 10, 20, 50, 100],
                "tickmode": "array",
                "exponentformat": "none",
                "tickangle": 0,
            },
            yaxis={
                "automargin": True,
                "ticks": "",
                "gridcolor": colours.grid,
                "ticklabelstandoff": 6,
                "tickfont": {"size": 8.5 if compact else 11},
            },
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11.5}},
        ),
    }


def _spans(rows: Sequence[dict[str, Any]], names: Sequence[str], colour: str) -> dict[str, Any]:
    """A thin line through the rungs of each class."""
    xs: list[float | None] = []
    ys: list[str | None] = []
    for row, name in zip(rows, names, strict=True):
        found = [100 * row[rung] for rung in RUNGS if row.get(rung)]
        if found:
            xs += [min(found), max(found), None]
            ys += [name, name, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "line": {"color": colour, "width": 1},
        "hoverinfo": "skip",
        "showlegend": False,
    }
