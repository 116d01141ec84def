"""The roofline: attainable FLOP/s over FLOP per DRAM byte, log-log, with every op as a point.

Area is the share of its phase's time, shape the kind of op, colour the bound. Rows are those of the result frame
(contract names); roofs those of :mod:`viewer.charts.roofs`. Williams, Waterman, Patterson, CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from viewer.charts.base import Figure, amount, decades, layout, log_axis, percent, seconds, significant
from viewer.charts.palette import BOUND_COLOURS, BOUND_LABELS, Theme, shape_of, theme_of, with_alpha
from viewer.charts.roofline_parts import arrows, label_points, path_traces, roof_annotations, roof_traces

Row = dict[str, Any]
#: Diameter in pixels of an op that takes all of its phase's time.
FULL_DIAMETER = 64.0


def op_id(row: Row) -> str:
    """The name of a point, a table row and a graph node: ``phase/layer group/op``."""
    return f"{row['phase']}/{row['layer_group']}/{row['name']}"


def phase_times(rows: Sequence[Row]) -> dict[str, float]:
    """Time per phase, seconds: sum of repeat x time_s."""
    out: dict[str, float] = {}
    for row in rows:
        out[row["phase"]] = out.get(row["phase"], 0.0) + row["repeat"] * row["time_s"]
    return out


def points_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Ops that have FLOPs and bytes as points: id, x (FLOP/B), y (FLOP/s), share of the phase, row."""
    totals = phase_times(rows)
    points = []
    for row in rows:
        flops = row["matmul_flops"] + row["vector_flops"]
        if flops <= 0 or row["dram_bytes"] <= 0 or row["time_s"] <= 0:
            continue
        total = totals[row["phase"]]
        share = row["repeat"] * row["time_s"] / total if total else 0.0
        points.append(
            {
                "id": op_id(row),
                "x": flops / row["dram_bytes"],
                "y": flops / row["time_s"],
                "share": share,
                "row": row,
            }
        )
    return sorted(points, key=lambda p: -p["share"])


#: How a point's data reads on hover; the words are here once, the values with each point.
HOVER = (
    "<b>%{customdata[1]}</b>  %{customdata[2]}<br>"
    "%{customdata[3]} each, %{customdata[4]} of the phase (%{customdata[5]})<br>"
    "bound by <b>%{fullData.name}</b>%{customdata[6]}<br>"
    "%{customdata[7]}, %{customdata[8]} FLOP/B<br>"
    "%{customdata[9]}<extra></extra>"
)


def hover_data(point: dict[str, Any]) -> list[str]:
    """The values of HOVER for a point, its id first; every text from outside is escaped."""
    row = point["row"]
    flops = row["matmul_flops"] + row["vector_flops"]
    peak = row["peak_flops_per_s"]
    used = f" ({percent(point['y'] / peak)} of {row['math_types'].upper()} {row['unit']})" if peak else ""
    return [
        point["id"],
        escape(row["name"]),
        escape(f"{row['phase']} · layers {row['layer_group']} · ×{row['repeat']:,}"),
        seconds(row["time_s"]),
        percent(point["share"]),
        escape(row["label"]),
        f", next at {percent(row['slack'])}" if row.get("slack") else "",
        f"{amount(flops, 'FLOP')} · {amount(row['dram_bytes'], 'B')}",
        significant(point["x"]),
        escape(f"{amount(point['y'], 'FLOP/s')}{used}"),
    ]


def roofline(
    rows: Sequence[Row],
    roofs: Sequence[dict[str, Any]],
    theme: str = "light",
    baseline: Sequence[Row] = (),
    compact: bool = False,
    labels: bool = True,
    paths: Sequence[dict[str, Any]] = (),
) -> Figure:
    """The figure. ``baseline``: rows of a pinned scenario, drawn hollow with an arrow and the gain to each op.

    ``paths``: where ops go along the batch (phase, name, batch, x, y), as thin lines with a mark at every doubling.
    ``compact``: for a narrow screen (shorter labels, no ridge text). Axes cover whole decades of roofs and points of
    both scenarios, so they hold still while a setting changes.
    """
    colours = theme_of(theme)
    points, before = points_of(rows), points_of(baseline)
    shown = visible_roofs(roofs)
    along = [{"x": x, "y": y} for path in paths for x, y in zip(path["x"], path["y"], strict=True)]
    x_span, y_span = spans(points + before + along, shown)
    traces = roof_traces(shown, x_span, colours)
    traces += [_ghosts(before, colours)] if before else []
    traces += path_traces(paths, colours)
    traces += point_traces(points, colours)
    traces += legend_traces(points)
    traces.append(_selected(colours))
    notes = roof_annotations(shown, x_span, y_span, colours, compact)
    if labels:
        notes += label_points(points, x_span, y_span, colours, compact, notes)
    notes += arrows(points, before, colours)
    plot_layout = layout(
        colours,
        xaxis=log_axis(colours, "arithmetic intensity (FLOP per DRAM byte)", *x_span),
        yaxis=log_axis(colours, "performance (FLOP/s)", *y_span),
        annotations=notes,
        uirevision="roofline",
        dragmode="pan",
        margin={"l": 62, "r": 12 if compact else 172, "t": 34, "b": 48},
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "font": {"size": 11.5},
            "itemsizing": "constant",
            "itemclick": "toggleothers",
            "itemdoubleclick": "toggle",
        },
    )
    if not points:
        plot_layout["annotations"] = [*notes, _empty(colours)]
    return {"data": traces, "layout": plot_layout}


def visible_roofs(roofs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The roofs worth drawing: all of the tensor unit, the FP32 vector rate, what the scenario uses, all memory."""
    return [
        r
        for r in roofs
        if r["axis"] == "memory" or r["used"] or r["unit"] == "tensor" or "fp32" in r["types"]
    ]


def spans(
    points: Sequence[dict[str, Any]], roofs: Sequence[dict[str, Any]]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of both axes in whole decades: at least 0.1 ... 10 000 FLOP/B."""
    x_low, x_high = decades([p["x"] for p in points] + [0.2, 8000.0], 1.2)
    tops = [r["value"] for r in roofs if r["axis"] == "compute"]
    floors = [p["y"] for p in points]
    y_low, y_high = decades([*floors, *tops] or [1.0], 1.25)
    y_low = max(y_low, y_high / 1e7)
    dram = next((r["value"] for r in roofs if r["unit"] == "dram"), 0.0)
    if dram and x_low * dram > 0:
        y_low = min(y_low, 10.0 ** math.floor(math.log10(max(x_low, 0.1) * dram) + 0.3))
    return (x_low, x_high), (y_low, y_high)


def short(value: float) -> float:
    """Six significant digits: far below a pixel, and half the bytes."""
    return float(f"{value:.6g}")


def point_traces(points: Sequence[dict[str, Any]], theme: Theme) -> list[dict[str, Any]]:
    """One trace per phase and bound; the largest points lie below."""
    traces = []
    phases = list(dict.fromkeys(p["row"]["phase"] for p in points))
    for bound in BOUND_COLOURS:
        for phase in phases:
            chosen = [p for p in points if p["row"]["bound"] == bound and p["row"]["phase"] == phase]
            if chosen:
                traces.append(_points(chosen, bound, phase, len(phases) > 1, theme))
    return traces


def legend_traces(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One legend entry per bound that occurs; a click isolates that bound."""
    found = {p["row"]["bound"] for p in points}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": BOUND_LABELS[bound],
            "legendgroup": bound,
            "x": [None],
            "y": [None],
            "marker": {"size": 10, "symbol": "square", "color": BOUND_COLOURS[bound]},
        }
        for bound in BOUND_COLOURS
        if bound in found
    ]


def _points(chosen: list[dict[str, Any]], bound: str, phase: str, both: bool, theme: Theme) -> dict[str, Any]:
    colour = BOUND_COLOURS[bound]
    light = both and phase == "prefill"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": BOUND_LABELS[bound],
        "legendgroup": bound,
        "showlegend": False,
        "x": [short(p["x"]) for p in chosen],
        "y": [short(p["y"]) for p in chosen],
        "customdata": [hover_data(p) for p in chosen],
        "hovertemplate": HOVER,
        "marker": {
            "size": [short(max(p["share"], 0.008)) for p in chosen],
            "sizemode": "area",
            "sizeref": 1.0 / FULL_DIAMETER**2 * 2.0,
            "sizemin": 4.5,
            "symbol": [shape_of(p["row"]["kind"]) for p in chosen],
            "color": with_alpha(colour, 0.38 if light else 0.82),
            "line": {"color": colour if light else theme.paper, "width": 1.6 if light else 1.0},
        },
    }


def _ghosts(points: Sequence[dict[str, Any]], theme: Theme) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "baseline",
        "x": [short(p["x"]) for p in points],
        "y": [short(p["y"]) for p in points],
        "customdata": [
            [p["id"], f"{escape(p['row']['name'])}: {seconds(p['row']['time_s'])}"] for p in points
        ],
        "hovertemplate": "baseline %{customdata[1]}<extra></extra>",
        "marker": {
            "size": [short(max(p["share"], 0.008)) for p in points],
            "sizemode": "area",
            "sizeref": 1.0 / FULL_DIAMETER**2 * 2.0,
            "sizemin": 4.5,
            "symbol": [shape_of(p["row"]["kind"]) + "-open" for p in points],
            "color": theme.muted,
            "line": {"color": theme.muted, "width": 1.4},
        },
    }


def _selected(theme: Theme) -> dict[str, Any]:
    """An empty trace that the page moves onto the selected op."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "selected",
        "x": [None],
        "y": [None],
        "showlegend": False,
        "hoverinfo": "skip",
        "marker": {"size": 30, "symbol": "circle-open", "color": theme.accent, "line": {"width": 2.5}},
    }


def _empty(theme: Theme) -> dict[str, Any]:
    return {
        "text": "No op of this phase does arithmetic.",
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "showarrow": False,
        "font": {"color": theme.muted, "size": 14},
    }


__all__ = ["hover_data", "op_id", "phase_times", "points_of", "roofline", "spans", "visible_roofs"]
