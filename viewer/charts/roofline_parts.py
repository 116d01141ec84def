"""Parts of the roofline chart: roof lines, their labels, arrows from a baseline, labels of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from viewer.charts.base import amount, significant
from viewer.charts.palette import BOUND_COLOURS, SERIES, Theme, with_alpha

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
    weak: list[tuple[float, float]] = []
    strong: list[dict[str, Any]] = []
    for roof in slopes:
        end = (top["value"] if roof is dram and top["value"] >= ceiling else ceiling) / roof["value"]
        ends = [x_span[0], max(end, x_span[0])]
        if roof is dram:
            strong.append(_line(ends, [x * roof["value"] for x in ends], "memory", theme))
        else:
            weak += [(x, x * roof["value"]) for x in ends]
    for roof in flats:
        ends = [max(roof["value"] / dram["value"], x_span[0]), x_span[1]]
        if roof["used"]:
            strong.append(_line(ends, [roof["value"]] * 2, "compute", theme))
        else:
            weak += [(x, roof["value"]) for x in ends]
    return [*_band(dram, top, x_span), _weak(weak, theme), *strong]


def _weak(ends: list[tuple[float, float]], theme: Theme) -> dict[str, Any]:
    """Roofs that the scenario does not use: one trace with gaps."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for index, (x, y) in enumerate(ends):
        xs.append(float(f"{x:.6g}"))
        ys.append(float(f"{y:.6g}"))
        if index % 2:
            xs.append(None)
            ys.append(None)
    line = {"color": theme.axis, "width": 1, "dash": "dot"}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "hoverinfo": "skip",
        "showlegend": False,
        "line": line,
    }


def _line(xs: list[float], ys: list[float], axis: str, theme: Theme) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": {"roof": axis},
        "line": {"color": theme.ink, "width": 2},
    }


def path_traces(paths: Sequence[dict[str, Any]], theme: Theme) -> list[dict[str, Any]]:
    """One line per op along the batch, dotted for the prefill; a mark at every batch, named on hover."""
    lines = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "path",
            "x": path["x"],
            "y": path["y"],
            "text": path["batch"],
            "hovertemplate": f"{escape(path['name'])} ({escape(path['phase'])}) at batch %{{text}}<br>"
            "%{x:.3~s} FLOP/B, %{y:.3~s}FLOP/s<extra></extra>",
            "showlegend": False,
            "line": {
                "color": SERIES[index % 7],
                "width": 1.6,
                "dash": "dot" if path["phase"] == "prefill" else "solid",
            },
            "marker": {"size": 4.5, "color": SERIES[index % 7]},
        }
        for index, path in enumerate(paths)
    ]
    return (
        [*lines, _batches(max(paths, key=lambda path: path["x"][-1] / path["x"][0]), theme)] if paths else []
    )


def _batches(path: dict[str, Any], theme: Theme) -> dict[str, Any]:
    """Every fourth batch as a number beside the path that goes farthest."""
    places = range(0, len(path["batch"]), 4)
    return {
        "type": "scatter",
        "mode": "text",
        "name": "batches",
        "x": [path["x"][i] for i in places],
        "y": [path["y"][i] for i in places],
        "text": [f"batch {path['batch'][i]:,}" for i in places],
        "textposition": "top left",
        "textfont": {"size": 10.5, "color": theme.muted},
        "hoverinfo": "skip",
        "showlegend": False,
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
    """Labels of roofs: compute at the right (near-equal ones joined), memory beside its slope, ridge points below."""
    notes: list[Note] = []
    flats = sorted((r for r in roofs if r["axis"] == "compute"), key=lambda r: -r["value"])
    named = [r for r in flats if r["used"]] if compact else flats
    for group in _joined(named, 10 ** (math.log10(y_span[1] / y_span[0]) * 15 / 440)):
        notes.append(_compute_label(group, x_span, theme, compact))
    slopes = [r for r in roofs if r["axis"] == "memory"]
    dram = next((r for r in slopes if r["unit"] == "dram"), None)
    for index, roof in enumerate(() if compact else [r for r in slopes if r is not dram]):
        y = y_span[1] / (2.2 if index % 2 else 1.3)
        text = f"{roof['label']} {amount(roof['value'], 'B/s')}"
        if y / roof["value"] > x_span[0] * 3:
            notes.append(_text(text, y / roof["value"] / 1.15, y, theme, False, "right", _about(roof)))
    if dram:
        used = [r["value"] for r in flats if r["used"]] or [r["value"] for r in flats] or [y_span[1]]
        y = max(used) / 5
        text = f"{dram['label']} {amount(dram['value'], 'B/s')}"
        note = _text(text, y / dram["value"] * 1.15, y, theme, True, "left", _about(dram))
        notes.append(note | {"yanchor": "top"})
    if dram and not compact:
        ridges = sorted({r["value"] / dram["value"] for r in flats if r["used"] and r["unit"] == "tensor"})
        for index, ridge in enumerate(ridges):
            text = f"ridge {significant(ridge)} FLOP/B"
            y = (
                y_span[0] * 1.05 * (y_span[1] / y_span[0]) ** (index * 17 / 440)
            )  # one line of text higher each
            notes.append(_text(text, ridge, y, theme, False, "left", "from here on compute binds"))
    return notes


def _joined(flats: Sequence[dict[str, Any]], factor: float) -> list[list[dict[str, Any]]]:
    """Roofs whose labels would touch (values within ``factor``) share one."""
    groups: list[list[dict[str, Any]]] = []
    for roof in flats:
        if groups and groups[-1][0]["value"] < roof["value"] * factor:
            groups[-1].append(roof)
        else:
            groups.append([roof])
    return groups


def _compute_label(group: list[dict[str, Any]], x_span: Span, theme: Theme, compact: bool) -> Note:
    strong = any(r["used"] for r in group)
    by_value: dict[str, list[str]] = {}
    for roof in group:
        unit = "" if compact or roof["unit"] == "tensor" else f" {roof['unit']}"
        names = ", ".join(t.upper() for t in roof["types"]) + unit
        by_value.setdefault(amount(roof["value"], "FLOP/s"), []).append(names)
    text = " · ".join(f"{', '.join(names)} {value}" for value, names in by_value.items())
    if len(by_value) > 1:
        text = text.replace("FLOP/s", "", len(by_value) - 1)
    about = "<br>".join(_about(r) for r in group)
    if compact:
        return _text(text, x_span[1] / 1.08, group[0]["value"] * 1.04, theme, strong, "right", about)
    note = _text(text, 1.0, group[0]["value"], theme, strong, "left", about)
    return note | {"x": 1.0, "xref": "paper", "xshift": 5, "yanchor": "middle"}


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
        "x": round(math.log10(x), 5),
        "y": round(math.log10(y), 5),
        "xanchor": anchor,
        "yanchor": "bottom",
        "showarrow": False,
        "hovertext": hover,
        "font": {"size": 11, "color": theme.ink if strong else theme.muted},
    }


def arrows(points: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], theme: Theme) -> list[Note]:
    """An arrow from each baseline point to its successor, with the gain (old time / new time) on the largest."""
    old = {p["id"]: p for p in before}
    by_name = {(p["row"]["phase"], p["row"]["name"]): p for p in reversed(before)}
    notes: list[Note] = []
    for point in points:
        start = old.get(point["id"]) or by_name.get((point["row"]["phase"], point["row"]["name"]))
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
    points: Sequence[dict[str, Any]],
    x_span: Span,
    y_span: Span,
    theme: Theme,
    compact: bool,
    occupied: Sequence[Note] = (),
) -> list[Note]:
    """Names beside the largest points. Points that lie together share one label; a label without room is left out.

    Room is judged on a plot of about the size it will have: the figure does not know its pixels.
    """
    width, height = (300.0, 330.0) if compact else (560.0, 450.0)
    x_scale = width / math.log10(x_span[1] / x_span[0])
    y_scale = height / math.log10(y_span[1] / y_span[0])
    places = []
    for point in points:
        if point["share"] >= 0.035:
            x = math.log10(point["x"] / x_span[0]) * x_scale
            y = math.log10(point["y"] / y_span[0]) * y_scale
            places.append((point, x, y, 32.0 * math.sqrt(point["share"])))
    taken = [_box(note, x_span, y_span, x_scale, y_scale) for note in occupied if note.get("xref") != "paper"]
    notes = []
    for group in _grouped(places)[: 3 if compact else 8]:
        text = _names(group)
        found = _room(group, 6.3 * len(text), taken, width)
        if found is not None:
            note = _text(text, group[0][0]["x"], group[0][0]["y"], theme, False, found[0], "")
            note |= {"xshift": found[1], "yshift": found[2], "yanchor": "middle"}
            note["font"] = {"size": 11, "color": theme.ink}
            note.pop("hovertext")
            notes.append(note)
    return notes


def _box(
    note: Note, x_span: Span, y_span: Span, x_scale: float, y_scale: float
) -> tuple[float, float, float, float]:
    """The room that a label of a roof takes."""
    x = (note["x"] - math.log10(x_span[0])) * x_scale
    y = (note["y"] - math.log10(y_span[0])) * y_scale
    width = 6.6 * len(note["text"].replace("<b>", "").replace("</b>", ""))
    left = x - width if note["xanchor"] == "right" else x
    low = y - 16 if note.get("yanchor") == "top" else y
    return left, low, left + width, low + 16


Place = tuple[dict[str, Any], float, float, float]


def _grouped(places: Sequence[Place]) -> list[list[Place]]:
    groups: list[list[Place]] = []
    for place in places:
        home = next((g for g in groups if _near(g[0], place)), None)
        if home is None:
            groups.append([place])
        else:
            home.append(place)
    return groups


def _near(a: Place, b: Place) -> bool:
    """Whether two points of one phase lie so close that one label serves both."""
    same = a[0]["row"]["phase"] == b[0]["row"]["phase"]
    return same and abs(a[1] - b[1]) < 70 and abs(a[2] - b[2]) < 14


def _names(group: Sequence[Place]) -> str:
    names = list(dict.fromkeys(place[0]["row"]["name"] for place in group))
    return ", ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")


def _room(
    group: Sequence[Place], text_width: float, taken: list[tuple[float, float, float, float]], width: float
) -> tuple[str, float, float] | None:
    """(anchor, x shift, y shift) of the first free place around the group's largest point, which is then taken."""
    _, x, y, radius = group[0]
    reach = radius + 5
    for anchor, dx, dy in (
        ("left", reach, -0.7 * reach),
        ("left", reach * 0.8, reach * 0.8 + 6),
        ("left", reach, -reach - 12),
        ("right", -reach * 0.5, -reach - 10),
        ("right", -reach, 0.8 * reach),
        ("right", -reach, -0.8 * reach),
    ):
        left = x + dx if anchor == "left" else x + dx - text_width
        box = (left, y + dy - 8, left + text_width, y + dy + 8)
        inside = box[0] >= 2 and box[2] <= width
        if inside and not any(_touch(box, other) for other in taken):
            taken.append(box)
            return anchor, dx, dy
    return None


def _touch(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
