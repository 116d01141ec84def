"""All devices on one plane: DRAM bandwidth against a dense tensor peak; the diagonals are ridge points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from viewer.charts.base import Figure, amount, decades, layout, log_axis, significant
from viewer.charts.palette import SERIES, theme_of


def device_map(
    rows: Sequence[dict[str, Any]], math_type: str, chosen: str = "", theme: str = "light"
) -> Figure:
    """``rows``: name, vendor, bandwidth_bytes_per_s, peak_flops_per_s of ``math_type`` (rows without are left out)."""
    colours = theme_of(theme)
    known = [r for r in rows if r["bandwidth_bytes_per_s"] and r["peak_flops_per_s"]]
    x_span = decades([r["bandwidth_bytes_per_s"] for r in known] or [1e11, 1e13])
    y_span = decades([r["peak_flops_per_s"] for r in known] or [1e12, 1e15])
    traces: list[dict[str, Any]] = []
    for ridge in (10, 100, 1000):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": list(x_span),
                "y": [x_span[0] * ridge, x_span[1] * ridge],
                "line": {"color": colours.grid, "width": 1},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    notes = [
        {
            "x": math.log10(x_span[0] * 1.15),
            "y": math.log10(x_span[0] * 1.15 * ridge),
            "text": f"{ridge} FLOP/B",
            "xanchor": "left",
            "yanchor": "bottom",
            "showarrow": False,
            "font": {"size": 11, "color": colours.muted},
        }
        for ridge in (10, 100, 1000)
        if x_span[0] * 1.15 * ridge >= y_span[0]
    ]
    for index, vendor in enumerate(sorted({r["vendor"] for r in known})):
        mine = [r for r in known if r["vendor"] == vendor]
        traces.append(_vendor(mine, vendor, SERIES[index % len(SERIES)], colours, chosen))
    return {
        "data": traces,
        "layout": layout(
            colours,
            annotations=notes,
            xaxis=log_axis(colours, "DRAM bandwidth (B/s)", *x_span),
            yaxis=log_axis(colours, f"dense {math_type.upper()} tensor peak (FLOP/s)", *y_span),
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11.5}},
            margin={"l": 62, "r": 16, "t": 34, "b": 48},
            uirevision="devices",
        ),
    }


def _vendor(rows: list[dict[str, Any]], vendor: str, colour: str, theme: Any, chosen: str) -> dict[str, Any]:
    texts = [
        f"<b>{escape(r['name'])}</b><br>{amount(r['peak_flops_per_s'], 'FLOP/s')} · "
        f"{amount(r['bandwidth_bytes_per_s'], 'B/s')}<br>"
        f"ridge {significant(r['peak_flops_per_s'] / r['bandwidth_bytes_per_s'])} FLOP/B"
        for r in rows
    ]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": vendor,
        "x": [r["bandwidth_bytes_per_s"] for r in rows],
        "y": [r["peak_flops_per_s"] for r in rows],
        "text": [r["name"].split("/")[-1] if r["name"] == chosen else "" for r in rows],
        "textposition": "top center",
        "textfont": {"color": theme.ink, "size": 12},
        "customdata": [[r["name"], text] for r, text in zip(rows, texts, strict=True)],
        "hovertemplate": "%{customdata[1]}<extra></extra>",
        "marker": {
            "size": [15 if r["name"] == chosen else 9 for r in rows],
            "color": colour if colour != "#000000" else theme.ink,
            "opacity": 0.85,
            "line": {
                "color": [theme.ink if r["name"] == chosen else theme.paper for r in rows],
                "width": [2 if r["name"] == chosen else 1 for r in rows],
            },
        },
    }
