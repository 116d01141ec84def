"""Scenarios as points of two figures, both better when smaller, with the front of those that nothing beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, axis, layout
from viewer.charts.palette import SERIES, theme_of


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of points that no other point beats in both figures, by rising x."""
    order = sorted(range(len(points)), key=lambda i: points[i])
    best, kept = float("inf"), []
    for index in order:
        if points[index][1] < best:
            best = points[index][1]
            kept.append(index)
    return kept


def pareto(
    points: Sequence[dict[str, Any]], x_title: str, y_title: str, theme: str = "light", log_y: bool = False
) -> Figure:
    """``points``: label, x, y, fits, hover. Those that do not fit are crosses; the front is a stepped line."""
    colours = theme_of(theme)
    fitting = [p for p in points if p.get("fits", True) and p["x"] is not None and p["y"] is not None]
    line = front([(p["x"], p["y"]) for p in fitting])
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [fitting[i]["x"] for i in line],
            "y": [fitting[i]["y"] for i in line],
            "line": {"color": colours.axis, "width": 1.5, "shape": "hv"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [p["x"] for p in points],
            "y": [p["y"] for p in points],
            "text": [p["label"] for p in points],
            "textposition": [_side(p, points) for p in points],
            "textfont": {"size": 11, "color": colours.ink},
            "customdata": [p["hover"] for p in points],
            "hovertemplate": "%{customdata}<extra></extra>",
            "marker": {
                "size": 11,
                "symbol": ["circle" if p.get("fits", True) else "x" for p in points],
                "color": [SERIES[0] if i == 0 else SERIES[1] for i in range(len(points))],
            },
        },
    ]
    y_axis: dict[str, Any] = {"rangemode": "tozero"} if not log_y else {"type": "log", "dtick": 1}
    return {
        "data": traces,
        "layout": layout(
            colours,
            xaxis=axis(
                colours, x_title, rangemode="tozero" if all((p["x"] or 0) >= 0 for p in points) else "normal"
            ),
            yaxis=axis(colours, y_title, **y_axis),
            hovermode="closest",
            margin={"l": 62, "r": 24, "t": 14, "b": 48},
            uirevision="pareto",
        ),
    }


def _side(point: dict[str, Any], points: Sequence[dict[str, Any]]) -> str:
    """Labels of the right-hand half stand to their left; neighbours alternate above and below."""
    xs = [p["x"] for p in points if p["x"] is not None]
    low, high = min(xs, default=0.0), max(xs, default=1.0)
    place = 0.0 if point["x"] is None or high <= low else (point["x"] - low) / (high - low)
    order = sorted((p for p in points if p["y"] is not None), key=lambda p: -p["y"])
    rank = order.index(point) if point in order else 0
    return f"{'bottom' if rank % 2 else 'top'} {'left' if place > 0.5 else 'right'}"
