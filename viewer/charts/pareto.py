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
            "textposition": _sides(points),
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


def _sides(points: Sequence[dict[str, Any]]) -> list[str]:
    """Where each label stands: away from the middle of the points, and no two near ones on the same spot.

    Points nearer than 8 % of the width and 6 % of the height to an earlier one take the next free of six places.
    """
    known = [p for p in points if p["x"] is not None and p["y"] is not None]
    width = max((p["x"] for p in known), default=1.0) - min(0.0, *(p["x"] for p in known)) if known else 1.0
    height = max((p["y"] for p in known), default=1.0) or 1.0
    middle = 0.5 * (max((p["x"] for p in known), default=0.0) + min((p["x"] for p in known), default=0.0))
    places: list[str] = []
    for index, point in enumerate(points):
        if point not in known:
            places.append("top right")
            continue
        side, other = ("left", "right") if point["x"] > middle else ("right", "left")
        free = [f"{level} {one}" for one in (side, other) for level in ("middle", "bottom", "top")]
        for earlier, taken in zip(points[:index], places, strict=True):
            near_x = earlier in known and abs(earlier["x"] - point["x"]) < 0.25 * (width or 1.0)
            near_y = earlier in known and abs(earlier["y"] - point["y"]) < 0.07 * height
            if near_x and near_y and taken in free and len(free) > 1:
                free.remove(taken)
        places.append(free[0])
    return places
