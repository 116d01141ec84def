"""The survey's figure 7: memory relative to 16 bits by setting, split into weights, cache and activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, amount, axis, layout
from viewer.charts.palette import MEMORY_COLOURS, theme_of


def survey_memory(rows: Sequence[dict[str, Any]], theme: str = "light") -> Figure:
    """``rows``: load, setting, kind, bytes, relative. One panel per load, one stacked bar per setting."""
    colours = theme_of(theme)
    loads = list(dict.fromkeys(row["load"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    traces: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    width, gap = (1.0 - 0.03 * (len(loads) - 1)) / len(loads), 0.03
    for column, load in enumerate(loads):
        suffix = "" if column == 0 else str(column + 1)
        start = column * (width + gap)
        for kind in kinds:
            mine = [row for row in rows if row["load"] == load and row["kind"] == kind]
            traces.append(_bar(mine, kind, suffix, column == 0))
        axes[f"xaxis{suffix}"] = axis(
            colours, "relative to 16 bits", domain=[start, start + width], range=[0, 1.12], tickformat=".0%", nticks=4,
            anchor=f"y{suffix}",
        )  # fmt: skip
        axes[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}", "autorange": "reversed", "showgrid": False, "automargin": True,
            "showticklabels": column == 0, "tickfont": {"color": colours.ink},
        }  # fmt: skip
        notes += _texts(rows, load, suffix, start, width, colours.muted, colours.ink)
    plot = layout(
        colours,
        barmode="stack",
        bargap=0.28,
        showlegend=True,
        annotations=notes,
        margin={"l": 8, "r": 12, "t": 72, "b": 48},
        legend={"orientation": "h", "y": 1.1, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        **axes,
    )
    return {"data": traces, "layout": plot}


def _bar(mine: Sequence[dict[str, Any]], kind: str, suffix: str, legend: bool) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": kind,
        "legendgroup": kind,
        "showlegend": legend,
        "xaxis": f"x{suffix}",
        "yaxis": f"y{suffix}",
        "y": [row["setting"] for row in mine],
        "x": [row["relative"] for row in mine],
        "customdata": [amount(row["bytes"], "B") for row in mine],
        "hovertemplate": f"{kind}: %{{customdata}}, %{{x:.1%}}<extra></extra>",
        "marker": {"color": MEMORY_COLOURS[kind]},
    }


def _texts(
    rows: Sequence[dict[str, Any]], load: str, suffix: str, start: float, width: float, muted: str, ink: str
) -> list[dict[str, Any]]:
    """The load above its panel, the total at the end of each bar."""
    notes: list[dict[str, Any]] = [
        {
            "x": start + width / 2, "y": 1.0, "xref": "paper", "yref": "paper", "yanchor": "bottom",
            "xanchor": "center", "text": load, "showarrow": False, "font": {"size": 12, "color": ink},
        }
    ]  # fmt: skip
    for setting in dict.fromkeys(row["setting"] for row in rows):
        total = sum(r["relative"] for r in rows if r["load"] == load and r["setting"] == setting)
        notes.append(
            {
                "x": total, "y": setting, "xref": f"x{suffix}", "yref": f"y{suffix}", "xanchor": "left",
                "text": f"{100 * total:.0f} %", "showarrow": False, "xshift": 3, "font": {"size": 11, "color": muted},
            }
        )  # fmt: skip
    return notes
