"""A figure against one axis, one line per setting: where a setting helps, and where it stops to.

A line is solid where the scenario fits the device's memory and dotted where it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, axis, layout
from viewer.charts.palette import SERIES, theme_of

Series = dict[str, Any]


def sweep_lines(
    series: Sequence[Series],
    x_title: str,
    y_title: str,
    theme: str = "light",
    log: tuple[bool, bool] = (True, True),
    marks: Sequence[dict[str, Any]] = (),
) -> Figure:
    """``series``: name, x, y, fits (lists). ``marks``: x, text of vertical lines (crossovers)."""
    colours = theme_of(theme)
    traces: list[dict[str, Any]] = []
    for index, one in enumerate(series):
        colour = SERIES[index % len(SERIES)]
        if colour == "#000000":
            colour = colours.ink
        traces += _lines(one, colour)
    shapes = [
        {
            "type": "line",
            "x0": mark["x"],
            "x1": mark["x"],
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "line": {"color": colours.muted, "width": 1, "dash": "dash"},
        }
        for mark in marks
    ]
    kinds = {True: {"type": "log", "exponentformat": "SI extended"}, False: {}}
    return {
        "data": traces,
        "layout": layout(
            colours,
            shapes=shapes,
            annotations=[_note(mark, row, log[0], colours) for row, mark in enumerate(marks)],
            hovermode="x unified",
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11.5}},
            margin={"l": 66, "r": 18, "t": 34, "b": 50},
            xaxis=axis(colours, x_title, **kinds[log[0]]),
            yaxis=axis(colours, y_title, **kinds[log[1]]),
            uirevision="sweep",
        ),
    }


def _lines(one: Series, colour: str) -> list[dict[str, Any]]:
    held = [y if ok else None for y, ok in zip(one["y"], one["fits"], strict=True)]
    base = {"type": "scatter", "mode": "lines", "x": one["x"], "legendgroup": one["name"]}
    solid = {
        **base,
        "name": one["name"],
        "y": held,
        "line": {"color": colour, "width": 2.2},
        "hovertemplate": "%{y:.3s}",
    }
    if all(one["fits"]):
        return [solid]
    first = next((i for i, ok in enumerate(one["fits"]) if not ok), 0)
    beyond = [
        y if (not ok or i + 1 == first) else None
        for i, (y, ok) in enumerate(zip(one["y"], one["fits"], strict=True))
    ]
    dotted = {
        **base,
        "name": f"{one['name']} (does not fit)",
        "y": beyond,
        "showlegend": not any(one["fits"]),
        "line": {"color": colour, "width": 1.4, "dash": "dot"},
        "hovertemplate": "%{y:.3s} (does not fit)<extra></extra>",
    }
    return [solid, dotted]


def _note(mark: dict[str, Any], row: int, log_x: bool, colours: Any) -> dict[str, Any]:
    import math

    return {
        "x": math.log10(mark["x"]) if log_x else mark["x"],
        "y": 0.98 - 0.065 * (row % 5),
        "yref": "paper",
        "yanchor": "top",
        "xanchor": "left",
        "xshift": 4,
        "text": mark["text"],
        "showarrow": False,
        "font": {"size": 11, "color": colours.muted},
    }
