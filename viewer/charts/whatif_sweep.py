"""A sweep as lines (one numeric axis) or as a map (two): time by colour, with the edge of what fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, axis, layout, seconds
from viewer.charts.palette import SEQUENTIAL, theme_of
from viewer.charts.sweep_lines import sweep_lines


def sweep_chart(
    columns: dict[str, Sequence[Any]],
    numeric: Sequence[str],
    discrete: Sequence[str] = (),
    value: str = "time_s",
    theme: str = "light",
) -> Figure:
    """``columns``: those of a sweep's frame. ``numeric``: its axes, of which the first two are drawn (others: at
    their first value); ``discrete``: axes of which every combination is a line (one axis) or the first (a map)."""
    count = len(columns[value])
    rows = [{name: column[i] for name, column in columns.items()} for i in range(count)]
    for extra in numeric[2:]:
        rows = [row for row in rows if row[extra] == rows[0][extra]]
    if len(numeric) >= 2:
        first = {name: rows[0][name] for name in discrete}
        chosen = [row for row in rows if all(row[k] == v for k, v in first.items())]
        return _map(chosen, numeric[0], numeric[1], value, theme)
    along = numeric[0] if numeric else discrete[0]
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = ", ".join(str(row[k]) for k in discrete) or value
        line = lines.setdefault(name, {"name": name, "x": [], "y": [], "fits": []})
        line["x"].append(row[along])
        line["y"].append(row[value])
        line["fits"].append(row.get("fits") is not False and row.get("fits") == row.get("fits"))
    logs = bool(numeric) and min(float(x) for x in columns[along]) > 0, True
    return sweep_lines(list(lines.values()), along, _title(value), theme, logs)


def _map(rows: Sequence[dict[str, Any]], y: str, x: str, value: str, theme: str) -> Figure:
    colours = theme_of(theme)
    xs, ys = sorted({row[x] for row in rows}), sorted({row[y] for row in rows})
    at = {(row[y], row[x]): row for row in rows}
    z = [[math.log10(at[b, a][value]) if at[b, a][value] > 0 else None for a in xs] for b in ys]
    text = [[seconds(at[b, a][value]) for a in xs] for b in ys]
    fits = [[1.0 if at[b, a].get("fits") is not False else 0.0 for a in xs] for b in ys]
    low, high = min(v for r in z for v in r if v is not None), max(v for r in z for v in r if v is not None)
    ticks = [low + (high - low) * i / 4 for i in range(5)]
    heat = {
        "type": "heatmap",
        "x": xs,
        "y": ys,
        "z": z,
        "text": text,
        "colorscale": [list(stop) for stop in SEQUENTIAL],
        "colorbar": {
            "title": {"text": _title(value)},
            "tickvals": ticks,
            "ticktext": [seconds(10**t) for t in ticks],
        },
        "hovertemplate": f"{y} %{{y}}, {x} %{{x}}: %{{text}}<extra></extra>",
    }
    edge = {
        "type": "contour",
        "x": xs,
        "y": ys,
        "z": fits,
        "contours": {"start": 0.5, "end": 0.5, "size": 1, "coloring": "lines"},
        "line": {"color": colours.ink, "width": 2, "smoothing": 0},
        "colorscale": [[0, colours.ink], [1, colours.ink]],
        "showscale": False,
        "name": "edge of what fits",
        "hoverinfo": "skip",
    }
    both = any(v == 0.0 for r in fits for v in r) and any(v == 1.0 for r in fits for v in r)
    plot = layout(
        colours, xaxis=axis(colours, x), yaxis=axis(colours, y), margin={"l": 70, "r": 16, "t": 16, "b": 52}
    )
    return {"data": [heat, edge] if both else [heat], "layout": plot}


def _title(value: str) -> str:
    """``time_s`` -> ``time (s)``."""
    name, _, unit = value.rpartition("_")
    return f"{name} ({unit})" if unit in ("s", "bytes") else value
