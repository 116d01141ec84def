"""Time per scenario as stacked bars, one segment per bound, with the interval of the estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, axis, layout, percent, seconds
from viewer.charts.palette import BOUND_COLOURS, BOUND_LABELS, theme_of


def compare_bars(
    scenarios: Sequence[tuple[str, dict[str, float]]], title: str, theme: str = "light"
) -> Figure:
    """``scenarios``: (label, bound -> seconds). ``title``: the axis title without its unit."""
    colours = theme_of(theme)
    labels = [label for label, _ in scenarios]
    totals = [sum(parts.values()) for _, parts in scenarios]
    top = max(totals, default=0.0)
    scale, unit = (1e3, "ms") if top < 1 else (1.0, "s")
    traces = []
    for bound, colour in BOUND_COLOURS.items():
        values = [parts.get(bound, 0.0) for _, parts in scenarios]
        if not any(values):
            continue
        shares = [v / t if t else 0.0 for v, t in zip(values, totals, strict=True)]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": BOUND_LABELS[bound],
                "y": labels,
                "x": [v * scale for v in values],
                "customdata": [f"{seconds(v)} · {percent(s)}" for v, s in zip(values, shares, strict=True)],
                "hovertemplate": f"{BOUND_LABELS[bound]}: %{{customdata}}<extra></extra>",
                "marker": {"color": colour, "line": {"color": colours.paper, "width": 1}},
            }
        )
    notes = [
        {
            "x": total * scale,
            "y": label,
            "text": seconds(total),
            "xanchor": "left",
            "xshift": 4,
            "showarrow": False,
            "font": {"size": 11.5, "color": colours.ink},
        }
        for label, total in zip(labels, totals, strict=True)
    ]
    return {"data": traces, "layout": _layout(colours, notes, f"{title} ({unit})", top * scale)}


def _layout(colours: Any, notes: list[dict[str, Any]], title: str, top: float) -> dict[str, Any]:
    return layout(
        colours,
        barmode="stack",
        bargap=0.35,
        annotations=notes,
        margin={"l": 8, "r": 16, "t": 8, "b": 66},
        xaxis=axis(colours, title, range=[0, top * 1.14 or 1]),
        yaxis={
            "automargin": True,
            "autorange": "reversed",
            "showgrid": False,
            "ticks": "",
            "ticklabelstandoff": 6,
        },
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "traceorder": "normal",
            "font": {"size": 11, "color": colours.muted},
        },
        uirevision="compare",
    )
