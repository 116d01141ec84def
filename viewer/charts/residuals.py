"""Validation: measured against predicted seconds on log-log axes; the diagonal is a perfect prediction."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from viewer.charts.base import Figure, decades, layout, log_axis
from viewer.charts.palette import SERIES, theme_of


def residuals(rows: Sequence[dict[str, Any]], theme: str = "light", limit: int = 4000) -> Figure:
    """``rows``: group, measured_s, predicted_s, label. At most ``limit`` points are drawn, evenly thinned."""
    colours = theme_of(theme)
    step = max(1, -(-len(rows) // limit))
    shown = rows[::step]
    span = decades([r["measured_s"] for r in shown] + [r["predicted_s"] for r in shown] or [1e-6, 1e-2])
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": list(span),
            "y": list(span),
            "line": {"color": colours.axis, "width": 1.5},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
    for index, group in enumerate(dict.fromkeys(r["group"] for r in shown)):
        mine = [r for r in shown if r["group"] == group]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": str(group),
                "x": [r["measured_s"] for r in mine],
                "y": [r["predicted_s"] for r in mine],
                "customdata": [escape(str(r["label"])[:120]) for r in mine],
                "hovertemplate": "%{customdata}<br>measured %{x:.3~s}s, predicted %{y:.3~s}s<extra></extra>",
                "marker": {"size": 6, "opacity": 0.65, "color": SERIES[index % 7]},
            }
        )
    return {
        "data": traces,
        "layout": layout(
            colours,
            xaxis=log_axis(colours, "measured time (s)", *span),
            yaxis=log_axis(colours, "predicted time (s)", *span),
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11.5}},
            margin={"l": 62, "r": 16, "t": 34, "b": 48},
        ),
    }
