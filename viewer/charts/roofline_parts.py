"""Parts of the roofline chart: roof lines, their labels, arrows from a baseline, labels of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from viewer.charts.base import amount, significant
from viewer.charts.palette import BOUND_COLOURS, Theme, with_alpha

Span = tuple[float, float]
Note = dict[str, Any]


def roof_traces(roofs: Sequence[dict[str, Any]], x_span: Span, theme: Theme) -> list[dict[str, Any]]:
    """Lines of all roofs (used ones strong) and a band down to what has been measured."""
    slopes = [r for r in roofs if r["axis"] == "memory"]
    flats = [r for r in roofs if r["axis"] == "compute"]
    if not slopes or not flats:
        return []
    dram = next((r for r in slopes if r["unit"] == "dram"), slopes[0])
    used = [r for r in flats if r["used"]] or flats[:1]
    top, ceiling = max(used, key=lambda r: r["value"]), max(r["value"] for r in flats)
    traces = _band(dram, top, x_span)
    for roof in slopes:
        strong = roof is dram
        end = (top["value"] if strong and top["value"] >= ceiling else ceiling) / roof["value"]
        traces.append(
            _line([x_span[0], max(end, x_span[0])], roof["value"], None, strong, "memory", roof, theme)
        )
    for roof in flats:
        start = max(roof["value"] / dram["value"], x_span[0])
        traces.append(_line([start, x_span[1]], None, roof["value"], roof["used"], "compute", roof, theme))
    return traces


def _line(
    xs: list[float],
    slope: float | None,
    level: float | None,
    strong: bool,
    axis: str,
    roof: dict[str, Any],
    theme: Theme,
) -> dict[str, Any]:
    ys = [x * slope for x in xs] if slope is not None else [level, level]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": {"roof": axis, "unit": roof["unit"], "strong": strong},
        "line": {
            "color": theme.ink if strong else theme.axis,
            "width": 2 if strong else 1,
            "dash": "solid" if strong else "dot",
        },
    }


def _band(dram: dict[str, Any], top: dict[str, Any], x_span: Span) -> list[dict[str, Any]]:
    """The area between the theoretical roof and the measured one, where there is a measurement."""
    if dram["achieved"] is None and top["achieved"] is None:
        return []
    low_bw = min(dram["achieved"] or dram["value"], dram["value"])
    low_peak = min(top["achieved"] or top["value"], top["value"])
    xs = [x_span[0], top["value"] / dram["value"], x_span[1], x_span[1], low_peak / low_bw, x_span[0]]
    ys = [
        x_span[0] * dram["value"],
        top["value"],
        top["value"],
        low_peak,
        low_peak,
        x_span[0] * low_bw,
    ]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": xs,
            "y": ys,
            "fill": "toself",
            "fillcolor": with_alpha(BOUND_COLOURS["latency"], 0.2),
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]


def roof_annotations(
    roofs: Sequence[dict[str, Any]], x_span: Span, y_span: Span, theme: Theme, compact: bool
) -> list[Note]:
    """Labels of roofs: compute at the right end (near-equal ones joined), memory along the left, ridge points below."""
    notes: list[Note] = []
    flats = sorted((r for r in roofs if r["axis"] == "compute"), key=lambda r: -r["value"])
    for group in _joined(flats):
        notes.append(_compute_label(group, x_span, theme, compact))
    dram = next((r for r in roofs if r["unit"] == "dram"), None)
    for roof in (r for r in roofs if r["axis"] == "memory"):
        x = max(x_span[0] * 1.35, y_span[0] * 1.6 / roof["value"])
        y = x * roof["value"]
        if y >= y_span[1] * 0.5:
            continue
        text = f"{roof['label']} {amount(roof['value'], 'B/s')}"
        notes.append(_text(text, x, y * 1.12, theme, roof["used"], "left", _about(roof)))
    if dram and not compact:
        for roof in (r for r in flats if r["used"] and r["unit"] == "tensor"):
            ridge = roof["value"] / dram["value"]
            text = f"ridge {significant(ridge)} FLOP/B"
            notes.append(
                _text(text, ridge, y_span[0] * 1.05, theme, False, "left", "from here on compute binds")
            )
    return notes


def _joined(flats: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Roofs whose values lie within 12 % share one label."""
    groups: list[list[dict[str, Any]]] = []
    for roof in flats:
        if groups and groups[-1][0]["value"] < roof["value"] * 1.12:
            groups[-1].append(roof)
        else:
            groups.append([roof])
    return groups


def _compute_label(group: list[dict[str, Any]], x_span: Span, theme: Theme, compact: bool) -> Note:
    strong = any(r["used"] for r in group)
    units = dict.fromkeys(r["unit"] for r in group)
    names = " · ".join(
        ", ".join(t.upper() for r in group if r["unit"] == unit for t in r["types"])
        + ("" if compact else f" {unit}")
        for unit in units
    )
    text = f"{names} {amount(group[0]['value'], 'FLOP/s')}"
    about = "<br>".join(_about(r) for r in group)
    return _text(text, x_span[1] / 1.08, group[0]["value"] * 1.04, theme, strong, "right", about)


def _about(roof: dict[str, Any]) -> str:
    unit = "B/s" if roof["axis"] == "memory" else "FLOP/s"
    text = f"<b>{escape(roof['label'])}</b>: {amount(roof['value'], unit)} ({roof['kind']}, {roof['seen']})"
    text += "<br>" + escape(roof["source"][:110])
    if roof["achieved"] is not None:
        text += (
            f"<br>measured {amount(roof['achieved'], unit)}: {escape((roof['achieved_source'] or '')[:100])}"
        )
    return text


def _text(text: str, x: float, y: float, theme: Theme, strong: bool, anchor: str, hover: str) -> Note:
    return {
        "text": f"<b>{escape(text)}</b>" if strong else escape(text),
        "x": math.log10(x),
        "y": math.log10(y),
        "xanchor": anchor,
        "yanchor": "bottom",
        "showarrow": False,
        "hovertext": hover,
        "font": {"size": 11, "color": theme.ink if strong else theme.muted},
    }


def arrows(points: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], theme: Theme) -> list[Note]:
    """An arrow from each baseline point to its successor, with the gain (old time / new time) on the largest."""
    old = {p["id"]: p for p in before}
    notes: list[Note] = []
    for point in points:
        start = old.get(point["id"])
        if start is None:
            continue
        dx = math.log10(point["x"] / start["x"])
        dy = math.log10(point["y"] / start["y"])
        if math.hypot(dx, dy) < 0.04:
            continue
        gain = start["row"]["time_s"] / point["row"]["time_s"]
        notes.append(
            {
                "x": math.log10(point["x"]),
                "y": math.log10(point["y"]),
                "ax": math.log10(start["x"]),
                "ay": math.log10(start["y"]),
                "axref": "x",
                "ayref": "y",
                "text": "",
                "showarrow": True,
                "arrowhead": 2,
                "arrowsize": 0.9,
                "arrowwidth": 1.2,
                "arrowcolor": theme.muted,
                "opacity": 0.8,
            }
        )
        if point["share"] > 0.06:
            middle = {"x": point["x"] / 10 ** (dx / 2), "y": point["y"] / 10 ** (dy / 2)}
            note = _text(
                f"×{significant(gain)}", middle["x"], middle["y"], theme, True, "right", "old time / new time"
            )
            notes.append(note)
    return notes


def label_points(
    points: Sequence[dict[str, Any]], x_span: Span, y_span: Span, theme: Theme, limit: int
) -> list[Note]:
    """Names beside the largest points. Points that lie together share one label; at most ``limit`` labels."""
    groups: list[list[dict[str, Any]]] = []
    x_decades = math.log10(x_span[1] / x_span[0])
    y_decades = math.log10(y_span[1] / y_span[0])
    for point in points:
        if point["share"] < 0.02:
            continue
        home = next((g for g in groups if _near(g[0], point, x_decades, y_decades)), None)
        if home is not None:
            home.append(point)
        else:
            groups.append([point])
    notes = []
    for group in groups[:limit]:
        names = list(dict.fromkeys(p["row"]["name"] for p in group))
        text = ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "")
        note = _text(text, group[0]["x"], group[0]["y"], theme, False, "left", "")
        shift = 5 + 22 * math.sqrt(group[0]["share"])
        note |= {"xshift": shift, "yshift": -shift - 12, "font": {"size": 11, "color": theme.ink}}
        note.pop("hovertext")
        notes.append(note)
    return notes


def _near(a: dict[str, Any], b: dict[str, Any], x_decades: float, y_decades: float) -> bool:
    """Whether two points are so close (4 % of the plot's width, 5 % of its height) that labels would collide."""
    dx = abs(math.log10(a["x"] / b["x"])) / x_decades
    dy = abs(math.log10(a["y"] / b["y"])) / y_decades
    return a["row"]["phase"] == b["row"]["phase"] and dx < 0.16 and dy < 0.05
