"""The survey's figure 6: one roof per compute type, with the ops of prefill and decode under several settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, amount, decades, layout, log_axis, seconds, significant
from viewer.charts.palette import SERIES, Theme, theme_of

SYMBOLS = {"prefill": "circle", "decode": "diamond"}


def survey_roofs(
    rows: Sequence[dict[str, Any]], roofs: Sequence[dict[str, Any]], theme: str = "light"
) -> Figure:
    """``rows``: setting, phase, name, arithmetic_intensity, flops_per_s, time_s; ``roofs``: viewer.charts.roofs."""
    colours = theme_of(theme)
    flats = [r for r in roofs if r["axis"] == "compute" and (r["used"] or r["unit"] == "tensor")]
    dram = next(r for r in roofs if r["unit"] == "dram")
    x_span = decades([row["arithmetic_intensity"] for row in rows] + [0.2, 5000.0], 1.1)
    y_span = decades([x_span[0] * dram["value"] * 3, *(r["value"] for r in flats)], 1.3)
    traces = [_slope(dram, flats, x_span, colours)]
    traces += [_flat(roof, dram, x_span, colours) for roof in flats]
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    for index, setting in enumerate(settings):
        for phase in SYMBOLS:
            mine = [r for r in rows if r["setting"] == setting and r["phase"] == phase]
            if mine:
                traces.append(_points(mine, setting, phase, index, colours))
    plot = layout(
        colours,
        showlegend=True,
        annotations=_labels(flats, dram, x_span, y_span, colours),
        margin={"l": 68, "r": 190, "t": 64, "b": 52},
        legend={
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "font": {"size": 11},
            "itemsizing": "constant",
        },
        xaxis=log_axis(colours, "arithmetic intensity (FLOP per DRAM byte)", *x_span),
        yaxis=log_axis(colours, "performance (FLOP/s)", *y_span),
    )
    return {"data": traces, "layout": plot}


def _slope(
    dram: dict[str, Any], flats: Sequence[dict[str, Any]], x_span: tuple[float, float], theme: Theme
) -> dict[str, Any]:
    end = max(r["value"] for r in flats) / dram["value"]
    return _line([x_span[0], end], [x_span[0] * dram["value"], end * dram["value"]], theme.ink, "solid")


def _flat(
    roof: dict[str, Any], dram: dict[str, Any], x_span: tuple[float, float], theme: Theme
) -> dict[str, Any]:
    xs = [roof["value"] / dram["value"], x_span[1]]
    colour = theme.ink if roof["used"] else theme.axis
    return _line(xs, [roof["value"]] * 2, colour, "solid" if roof["used"] else "dot")


def _line(xs: list[float], ys: list[float], colour: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "x": xs, "y": ys, "hoverinfo": "skip", "showlegend": False,
        "line": {"color": colour, "width": 1.8, "dash": dash},
    }  # fmt: skip


def _points(
    mine: Sequence[dict[str, Any]], setting: str, phase: str, index: int, theme: Theme
) -> dict[str, Any]:
    total = sum(r["repeat"] * r["time_s"] for r in mine) or 1.0
    shares = [r["repeat"] * r["time_s"] / total for r in mine]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{setting} {phase}",
        "x": [r["arithmetic_intensity"] for r in mine],
        "y": [r["flops_per_s"] for r in mine],
        "customdata": [
            f"{r['name']} · {setting} {phase}<br>{seconds(r['time_s'])}, {100 * s:.1f} % of the phase<br>"
            f"{significant(r['arithmetic_intensity'])} FLOP/B, {amount(r['flops_per_s'], 'FLOP/s')}, bound: "
            f"{r['bound']}, {r['math_types'].upper()}"
            for r, s in zip(mine, shares, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "marker": {
            "symbol": SYMBOLS[phase],
            "size": [max(s, 0.01) for s in shares],
            "sizemode": "area",
            "sizeref": 2.0 / 40.0**2,
            "sizemin": 4,
            "color": SERIES[index % len(SERIES)],
            "opacity": 0.78,
            "line": {"color": theme.paper, "width": 1},
        },
    }


def _labels(
    flats: Sequence[dict[str, Any]],
    dram: dict[str, Any],
    x_span: tuple[float, float],
    y_span: tuple[float, float],
    theme: Theme,
) -> list[dict[str, Any]]:
    """Roof names with their rate and ridge at the right, the bandwidth beside its slope."""
    notes: list[dict[str, Any]] = []
    last = float("inf")
    least = (math.log10(y_span[1]) - math.log10(y_span[0])) * 30 / 420
    for roof in sorted(flats, key=lambda r: -r["value"]):
        y = min(math.log10(roof["value"]), last - least)
        last = y
        ridge = roof["value"] / dram["value"]
        notes.append(
            {
                "x": 1.005, "xref": "paper", "y": y, "xanchor": "left", "showarrow": False, "align": "left",
                "text": f"{roof['label']}<br>{amount(roof['value'], 'FLOP/s')}, ridge {significant(ridge)}",
                "font": {"size": 11, "color": theme.ink if roof["used"] else theme.muted},
            }
        )  # fmt: skip
    x = 10 ** (math.log10(x_span[0]) + 0.9)
    notes.append(
        {
            "x": math.log10(x), "y": math.log10(x * dram["value"]), "xanchor": "right", "yanchor": "bottom",
            "text": f"DRAM {amount(dram['value'], 'B/s')}", "showarrow": False,
            "font": {"size": 11, "color": theme.ink},
        }
    )  # fmt: skip
    return notes
