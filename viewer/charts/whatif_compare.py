"""Scenarios side by side: time (with the estimate's interval) and memory by kind, one row per scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, amount, axis, layout, seconds
from viewer.charts.memory_bar import PARTS
from viewer.charts.palette import MEMORY_COLOURS, SERIES, theme_of


def compare_chart(rows: Sequence[dict[str, Any]], theme: str = "light") -> Figure:
    """``rows``: those of a comparison (scenario, time_s, estimate_*, *_bytes)."""
    colours = theme_of(theme)
    labels = [row["scenario"] for row in rows]
    gib = float(2**30)
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": "bound",
            "y": labels,
            "x": [1e3 * row["bound_time_s"] for row in rows],
            "customdata": [seconds(row["bound_time_s"]) for row in rows],
            "hovertemplate": "bound %{customdata}<extra></extra>",
            "marker": {"color": SERIES[5]},
        }
    ]
    if all(row.get("estimate_time_s") for row in rows):
        traces.append(_estimates(rows, labels, colours.ink))
    for name, column in PARTS:
        if any(row[column] for row in rows):
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": name,
                    "y": labels,
                    "x": [row[column] / gib for row in rows],
                    "xaxis": "x2",
                    "yaxis": "y2",
                    "customdata": [amount(row[column], "B") for row in rows],
                    "hovertemplate": f"{name} %{{customdata}}<extra></extra>",
                    "marker": {"color": MEMORY_COLOURS[name]},
                }
            )
    side = {"autorange": "reversed", "automargin": True, "showgrid": False}
    plot = layout(
        colours,
        barmode="stack",
        bargap=0.35,
        showlegend=True,
        height=120 + 44 * len(rows),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 8, "r": 12, "t": 48, "b": 44},
        xaxis=axis(colours, "time (ms)", domain=[0.0, 0.46], rangemode="tozero"),
        xaxis2=axis(colours, "device memory (GiB)", domain=[0.54, 1.0], anchor="y2", rangemode="tozero"),
        yaxis=side,
        yaxis2={**side, "anchor": "x2", "showticklabels": False},
    )
    return {"data": traces, "layout": plot}


def _estimates(rows: Sequence[dict[str, Any]], labels: list[str], colour: str) -> dict[str, Any]:
    """The estimate as a mark with its interval over the bound's bar."""
    times = [1e3 * row["estimate_time_s"] for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "estimate",
        "y": labels,
        "x": times,
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [1e3 * row["estimate_high_s"] - t for row, t in zip(rows, times, strict=True)],
            "arrayminus": [t - 1e3 * row["estimate_low_s"] for row, t in zip(rows, times, strict=True)],
            "color": colour,
            "thickness": 1.4,
        },
        "customdata": [
            f"{seconds(r['estimate_time_s'])} ({seconds(r['estimate_low_s'])} to {seconds(r['estimate_high_s'])}),"
            f" {r['estimate_label']}"
            for r in rows
        ],
        "hovertemplate": "estimate %{customdata}<extra></extra>",
        "marker": {"color": colour, "size": 8, "symbol": "diamond"},
    }
