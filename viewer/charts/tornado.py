"""Sensitivity: the change of the time when one resource is a little slower or faster, most telling first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, axis, layout
from viewer.charts.palette import theme_of


def tornado(rows: Sequence[dict[str, Any]], theme: str = "light") -> Figure:
    """``rows``: resource, change, time_s, slower_s, faster_s (seconds), as ``sensitivity`` gives them.

    A resource that changes nothing has no row.
    """
    colours = theme_of(theme)
    rows = [row for row in rows if _tells(row)] or rows[:1]
    names = [row["resource"] for row in rows]
    change = rows[0]["change"] if rows else 0.1
    traces = []
    for key, colour, word in (
        ("slower_s", "#d55e00", f"−{change:.0%}"),
        ("faster_s", "#0072b2", f"+{change:.0%}"),
    ):
        values = [100 * (row[key] / row["time_s"] - 1) if row["time_s"] else 0.0 for row in rows]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": f"resource {word}",
                "y": names,
                "x": values,
                "marker": {"color": colour},
                "hovertemplate": f"%{{y}} {word}: time %{{x:+.3g}} %<extra></extra>",
            }
        )
    return {
        "data": traces,
        "layout": layout(
            colours,
            barmode="relative",
            bargap=0.4,
            margin={"l": 8, "r": 16, "t": 30, "b": 48},
            xaxis=axis(
                colours, "change of time (%)", zeroline=True, zerolinecolor=colours.axis, rangemode="tozero"
            ),
            yaxis={"automargin": True, "autorange": "reversed", "ticks": "", "ticklabelstandoff": 6},
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11}},
        ),
    }


def _tells(row: dict[str, Any]) -> bool:
    """Whether the resource changes the time at all (by 0.01 % or more)."""
    now = row["time_s"]
    return bool(now) and max(abs(row[key] / now - 1) for key in ("slower_s", "faster_s")) >= 1e-4
