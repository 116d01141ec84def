"""The curves of a solved question on log-log axes, with the answer marked."""

from __future__ import annotations

from typing import Any

from viewer.charts.base import Figure, amount, axis, layout
from viewer.charts.palette import SERIES, theme_of


def solve_chart(curves: dict[str, list[float]], answer: dict[str, Any], theme: str = "light") -> Figure:
    """``curves``: ``x`` and named series; ``answer``: the dict of a solution (exact, unit, unknown, question)."""
    colours = theme_of(theme)
    xs = curves.get("x", [])
    names = [name for name in curves if name != "x"]
    relative = all("over" in name for name in names)
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(xs) < 16 else "lines",
            "name": name,
            "x": xs,
            "y": curves[name],
            "line": {"color": SERIES[i % len(SERIES)], "width": 2.5, "dash": "solid" if i == 0 else "dash"},
            "hovertemplate": f"{name}: %{{y:.4s}}<extra></extra>",
        }
        for i, name in enumerate(names)
    ]
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    if relative and xs:
        shapes.append(_line(colours.muted, y=1.0))
    exact = answer.get("exact")
    if exact and xs and xs[0] <= exact <= xs[-1]:
        shapes.append(_line(colours.accent, x=exact))
        unit = answer.get("unit") or ""
        text = amount(exact, unit) if unit else f"{exact:,.1f}"
        notes.append(_note(text, exact, colours.accent))
    unit = f" ({answer['unit']})" if answer.get("unit") else ""
    plot = layout(
        colours,
        showlegend=True,
        hovermode="x unified",
        shapes=shapes,
        annotations=notes,
        margin={"l": 72, "r": 16, "t": 56, "b": 52},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis=axis(colours, f"{answer['unknown']}{unit}", type="log", exponentformat="SI extended"),
        yaxis=axis(
            colours,
            "share of the target" if relative else "time (s)",
            type="log",
            exponentformat="SI extended",
        ),
    )
    return {"data": traces, "layout": plot}


def _line(colour: str, *, x: float | None = None, y: float | None = None) -> dict[str, Any]:
    ends = (
        {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
        if y is None
        else {"y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper"}
    )
    return {"type": "line", "line": {"color": colour, "width": 1.5, "dash": "dot"}, **ends}


def _note(text: str, x: float, colour: str) -> dict[str, Any]:
    import math

    return {
        "x": math.log10(x),
        "y": 1,
        "yref": "paper",
        "yanchor": "top",
        "xanchor": "left",
        "xshift": 4,
        "text": text,
        "showarrow": False,
        "font": {"color": colour, "size": 12},
    }
