"""A plan: what each layer got, family by family, and the front of time against error with the plan on it."""

from __future__ import annotations

import math
from typing import Any

from viewer.charts.base import Figure, axis, layout, seconds
from viewer.charts.palette import SERIES, Theme, theme_of


def plan_chart(plan: dict[str, Any], theme: str = "light") -> Figure:
    """``plan``: the dict of a plan (rows with family, choice, layers; after; front)."""
    colours = theme_of(theme)
    rows = plan["rows"]
    choices = list(dict.fromkeys(row["choice"] for row in rows))
    traces: list[dict[str, Any]] = [_runs(rows, choice, i) for i, choice in enumerate(choices)]
    front = [r for r in plan["front"] if r["stream_sqnr_db"] is not None]
    shown = [r for r in front if math.isfinite(r["stream_sqnr_db"])]
    bottom = [0.0, 0.40] if shown else [0.0, 1.0]
    extra: dict[str, Any] = {}
    if shown:
        traces += _front(plan, shown, colours)
        extra = {
            "xaxis2": axis(colours, f"{_word(front[0]['speed'])} (ms)", anchor="y2", rangemode="tozero"),
            "yaxis2": axis(colours, "SQNR of the stream (dB)", anchor="x2", domain=[0.58, 1.0]),
        }
    plot = layout(
        colours,
        barmode="stack",
        bargap=0.3,
        showlegend=True,
        margin={"l": 76, "r": 16, "t": 48, "b": 48},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis=axis(colours, "layers", rangemode="tozero", anchor="y"),
        yaxis={"domain": bottom, "automargin": True, "autorange": "reversed", "showgrid": False},
        **extra,
    )
    return {"data": traces, "layout": plot}


def _runs(rows: list[dict[str, Any]], choice: str, index: int) -> dict[str, Any]:
    """One bar piece per run of layers that got ``choice``."""
    ys: list[str] = []
    bases: list[int] = []
    lengths: list[int] = []
    for row in rows:
        if row["choice"] == choice:
            for start, length in spans(row["layers"]):
                ys.append(row["family"])
                bases.append(start)
                lengths.append(length)
    return {
        "type": "bar",
        "orientation": "h",
        "name": choice,
        "y": ys,
        "x": lengths,
        "base": bases,
        "hovertemplate": f"%{{y}}: {choice}, %{{x}} layers from %{{base}}<extra></extra>",
        "marker": {"color": SERIES[index % len(SERIES)]},
    }


def spans(layers: str) -> list[tuple[int, int]]:
    """``"0-3,8"`` -> [(0, 4), (8, 1)] as (first, count); the head is one layer at 0; every second one is listed."""
    out: list[tuple[int, int]] = []
    for part in layers.split(","):
        text, _, step = part.partition(":")
        first, _, last = text.partition("-")
        if not first.isdigit():
            out.append((0, 1))
        elif step:
            out += [(n, 1) for n in range(int(first), int(last) + 1, int(step))]
        else:
            out.append((int(first), int(last or first) - int(first) + 1))
    return out


def _word(measure: str) -> str:
    return {"tpot_s": "time per output token", "ttft_s": "time to first token"}.get(measure, measure)


def _front(plan: dict[str, Any], shown: list[dict[str, Any]], theme: Theme) -> list[dict[str, Any]]:
    speed = shown[0]["speed"]
    place = {"xaxis": "x2", "yaxis": "y2", "type": "scatter"}
    line = {
        **place,
        "mode": "lines+markers",
        "name": "least error",
        "x": [1e3 * r[speed] for r in shown],
        "y": [r["stream_sqnr_db"] for r in shown],
        "customdata": [seconds(r[speed]) for r in shown],
        "hovertemplate": "%{customdata}: %{y:.1f} dB<extra></extra>",
        "line": {"color": theme.ink, "width": 2},
    }
    point = {
        **place,
        "mode": "markers",
        "name": "this plan",
        "x": [1e3 * plan["after"][speed]],
        "y": [plan["stream_sqnr_db"]],
        "marker": {"size": 13, "symbol": "star", "color": theme.accent},
    }
    return [line, point]
