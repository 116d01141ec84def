"""Device memory as one stacked bar per scenario, with the line of what may be used and of what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, amount, axis, layout, percent
from viewer.charts.palette import MEMORY_COLOURS, theme_of

PARTS: tuple[tuple[str, str], ...] = (
    ("weights", "weight_bytes"),
    ("KV cache", "kv_cache_bytes"),
    ("state", "state_bytes"),
    ("activations", "activation_peak_bytes"),
    ("runtime", "overhead_bytes"),
)


def memory_bar(accounts: Sequence[tuple[str, Any]], theme: str = "light") -> Figure:
    """``accounts``: (label, memory account with the fields of the contract), bytes. GiB on the axis."""
    colours = theme_of(theme)
    gib = float(2**30)
    labels = [label for label, _ in accounts]
    traces = []
    for name, attribute in PARTS:
        values = [getattr(account, attribute) for _, account in accounts]
        if not any(values):
            continue
        shares = [v / account.total_bytes for v, (_, account) in zip(values, accounts, strict=True)]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": labels,
                "x": [v / gib for v in values],
                "customdata": [
                    f"{amount(v, 'B')} · {percent(s)}" for v, s in zip(values, shares, strict=True)
                ],
                "hovertemplate": f"{name}: %{{customdata}}<extra></extra>",
                "marker": {"color": MEMORY_COLOURS[name], "line": {"color": colours.paper, "width": 1}},
            }
        )
    first = accounts[0][1]
    top = max([account.total_bytes for _, account in accounts] + [first.capacity_bytes or 0.0]) / gib
    shapes, notes = _limits(first, colours, gib)
    return {
        "data": traces,
        "layout": layout(
            colours,
            barmode="stack",
            bargap=0.35,
            shapes=shapes,
            annotations=notes,
            margin={"l": 8, "r": 12, "t": 38, "b": 64},
            showlegend=True,
            legend=_legend(colours.muted),
            xaxis=axis(colours, "device memory (GiB)", range=[0, top * 1.06], rangemode="tozero"),
            yaxis={
                "automargin": True,
                "showticklabels": len(labels) > 1,
                "autorange": "reversed",
                "showgrid": False,
            },
            uirevision="memory",
        ),
    }


def _legend(colour: str) -> dict[str, Any]:
    return {
        "orientation": "h",
        "x": 0,
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "traceorder": "normal",
        "font": {"size": 11, "color": colour},
        "itemclick": False,
        "itemdoubleclick": False,
    }


def _limits(account: Any, colours: Any, gib: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lines = [
        (account.usable_bytes, "usable", "dash", "right"),
        (account.capacity_bytes, "capacity", "solid", "left"),
    ]
    shapes, notes = [], []
    for value, word, dash, _anchor in lines:
        if value is None:
            continue
        x = value / gib
        shapes.append(
            {
                "type": "line",
                "x0": x,
                "x1": x,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": colours.ink, "width": 1.5, "dash": dash},
            }
        )
        notes.append(
            {
                "x": x,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "xanchor": "right",
                "yshift": 16 if word == "capacity" else 1,
                "text": f"{word} {x:.3g} GiB",
                "showarrow": False,
                "font": {"size": 11, "color": colours.muted},
            }
        )
    return shapes, notes
