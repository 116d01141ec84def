"""A map over batch and length: a figure as colour, the edge of memory as a line, a target as a contour."""

from __future__ import annotations

from typing import Any

from viewer.charts.base import Figure, axis, layout, log_axis
from viewer.charts.palette import SEQUENTIAL, theme_of


def feasibility(
    grid: dict[str, Any], x_title: str, theme: str = "light", target_ms: float | None = None
) -> Figure:
    """``grid``: x, y (rising lists), time_ms and load (total / usable bytes) as rows over y, here (x, y) of now."""
    import math

    colours = theme_of(theme)
    logs = [[math.log10(v) if v and v > 0 else None for v in row] for row in grid["time_ms"]]
    masked = [
        [v if load is not None and load <= 1 else None for v, load in zip(row, loads, strict=True)]
        for row, loads in zip(logs, grid["load"], strict=True)
    ]
    flat = [v for row in masked for v in row if v is not None]
    low, high = (min(flat), max(flat)) if flat else (0.0, 1.0)
    ticks = [t / 2 for t in range(math.ceil(2 * low), math.floor(2 * high) + 1)] or [low]
    traces: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "x": grid["x"],
            "y": grid["y"],
            "z": masked,
            "zmin": low,
            "zmax": high,
            "customdata": grid["time_ms"],
            "colorscale": [list(stop) for stop in SEQUENTIAL],
            "colorbar": {
                "title": {"text": "ms", "side": "top", "font": {"size": 11}},
                "thickness": 10,
                "outlinewidth": 0,
                "tickvals": ticks,
                "ticktext": [f"{10.0**t:.2g}" for t in ticks],
            },
            "hovertemplate": "batch %{y}, length %{x}<br>%{customdata:.3~s} ms<extra></extra>",
        },
        _contour(grid, grid["load"], 1.0, colours.ink, "memory is full", "solid"),
    ]
    if target_ms:
        traces.append(_contour(grid, grid["time_ms"], target_ms, "#d55e00", f"{target_ms:g} ms", "dash"))
    if grid.get("here"):
        traces.append(_now(grid["here"], colours.accent))
    return {"data": traces, "layout": _layout(grid, x_title, colours)}


def _now(here: tuple[float, float], colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "now",
        "x": [here[0]],
        "y": [here[1]],
        "marker": {"size": 12, "symbol": "circle-open", "color": colour, "line": {"width": 3}},
        "hovertemplate": "this scenario<extra></extra>",
    }


def _layout(grid: dict[str, Any], x_title: str, colours: Any) -> dict[str, Any]:
    return layout(
        colours,
        margin={"l": 62, "r": 12, "t": 30, "b": 50},
        xaxis=log_axis(colours, x_title, grid["x"][0], grid["x"][-1], showgrid=False, dtick="auto"),
        yaxis=axis(colours, "batch (requests)", type="log", showgrid=False),
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11}},
        plot_bgcolor=colours.panel,
        uirevision="map",
    )


def _contour(
    grid: dict[str, Any], z: list[Any], level: float, colour: str, name: str, dash: str
) -> dict[str, Any]:
    return {
        "type": "contour",
        "name": name,
        "showlegend": True,
        "x": grid["x"],
        "y": grid["y"],
        "z": z,
        "contours": {"type": "constraint", "operation": "=", "value": level},
        "line": {"color": colour, "width": 2, "dash": dash},
        "showscale": False,
        "hoverinfo": "skip",
    }
