"""Curves of time along one axis for several settings, above the gain of each over the first, on one logarithmic axis.

Bands mark the survey's regimes; a mark on a curve shows where its linear layers turn compute-bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, axis, layout
from viewer.charts.palette import BOUND_COLOURS, SERIES, Theme, theme_of, with_alpha

#: Band colour by regime: memory, in between, compute.
BANDS = (BOUND_COLOURS["memory"], BOUND_COLOURS["link"], BOUND_COLOURS["compute"])
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def survey_curves(
    rows: Sequence[dict[str, Any]],
    crossovers: Sequence[dict[str, Any]],
    regimes: Sequence[dict[str, Any]],
    along: str,
    x_title: str,
    y_title: str,
    theme: str = "light",
) -> Figure:
    """Time above, gain below; ``along`` names the column of the axis."""
    colours = theme_of(theme)
    names = list(dict.fromkeys(row["compression"] for row in rows))
    traces: list[dict[str, Any]] = []
    for index, name in enumerate(names):
        mine = [row for row in rows if row["compression"] == name]
        traces += _curves(mine, name, index, along)
        turns = next(
            (c["exact"] for c in crossovers if c.get("setting") == name and c["against"] is None), None
        )
        if turns is not None:
            traces.append(_mark(mine, turns, index, along, colours))
    low, high = min(r[along] for r in rows), max(r[along] for r in rows)
    shapes, notes = _bands(regimes, low, high, colours)
    x = {"type": "log", "dtick": "D2", "exponentformat": "none", "range": [math.log10(low), math.log10(high)]}
    plot = layout(
        colours,
        showlegend=True,
        shapes=shapes,
        annotations=notes,
        hovermode="x unified",
        margin={"l": 76, "r": 16, "t": 96, "b": 52},
        legend={"orientation": "h", "y": 1.13, "yanchor": "bottom", "x": 0, "font": {"size": 11.5}},
        xaxis=axis(colours, x_title, anchor="y2", **x),
        yaxis=axis(colours, y_title, type="log", domain=[0.44, 1.0], dtick=1, exponentformat="SI extended"),
        yaxis2=axis(colours, "times as fast as 16 bits", domain=[0.0, 0.37], rangemode="tozero", nticks=6),
    )
    return {"data": traces, "layout": plot}


def _curves(mine: Sequence[dict[str, Any]], name: str, index: int, along: str) -> list[dict[str, Any]]:
    line = {"color": SERIES[index % len(SERIES)], "width": 2.2, "dash": DASHES[index % len(DASHES)]}
    shared: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "x": [row[along] for row in mine],
        "line": line,
    }
    time = {
        **shared,
        "y": [row["time_s"] for row in mine],
        "hovertemplate": f"{name}: %{{y:.4s}}s<extra></extra>",
    }
    gain = {
        **shared,
        "y": [row["speedup"] for row in mine],
        "yaxis": "y2",
        "showlegend": False,
        "hovertemplate": f"{name}: %{{y:.3g}}x<extra></extra>",
    }
    return [time, gain]


def _mark(
    mine: Sequence[dict[str, Any]], turns: float, index: int, along: str, theme: Theme
) -> dict[str, Any]:
    """A dot on the curve where the linear layers turn compute-bound (between two points: on the line)."""
    inside = [row for row in mine if row[along] <= turns]
    beyond = [row for row in mine if row[along] > turns]
    if not inside or not beyond:
        y = None
    else:
        a, b = inside[-1], beyond[0]
        share = (turns - a[along]) / (b[along] - a[along])
        y = a["time_s"] + share * (b["time_s"] - a["time_s"])
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [turns],
        "y": [y],
        "showlegend": False,
        "legendgroup": mine[0]["compression"],
        "hovertemplate": f"linear layers compute-bound from {turns:.1f}<extra></extra>",
        "marker": {
            "size": 10,
            "symbol": "circle",
            "color": SERIES[index % len(SERIES)],
            "line": {"color": theme.paper, "width": 1.5},
        },
    }


def _bands(
    regimes: Sequence[dict[str, Any]], low: float, high: float, theme: Theme
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A tinted band and a name per regime; neighbours' names are staggered where the band is narrow."""
    shapes, notes = [], []
    for regime in regimes:
        start, end = max(low, regime["from"] or low), min(high, regime["to"])
        if end <= start:
            continue
        index = int(regime["regime"][0]) - 1
        shapes.append(
            {
                "type": "rect",
                "layer": "below",
                "x0": start,
                "x1": end,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"width": 0},
                "fillcolor": with_alpha(BANDS[index], 0.09),
            }
        )
        notes.append(
            {
                "x": 0.5 * (math.log10(start) + math.log10(end)),
                "y": 1.0,
                "yref": "paper",
                "yanchor": "bottom",
                "text": regime["regime"]
                .replace(" ", ". ", 1)
                .replace(" before", "<br>before")
                .replace(" turns", "<br>turns"),
                "showarrow": False,
                "font": {"size": 11, "color": theme.muted},
            }
        )
    if regimes:
        pair = f"{regimes[0]['against']} → {regimes[0]['setting']}"
        text = f"Regimes of the linear layers, {pair}; dots: they turn compute-bound"
        place = {"x": 0, "xref": "paper", "y": 1.0, "yref": "paper", "yanchor": "bottom", "yshift": 32}
        font = {"size": 11, "color": theme.muted}
        notes.append({**place, "xanchor": "left", "text": text, "showarrow": False, "font": font})
    return shapes, notes


def _two_lines(name: str) -> str:
    for word in (" before", " turns"):
        name = name.replace(word, "<br>" + word.strip())
    return name.replace(" ", ". ", 1)
