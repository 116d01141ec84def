"""Bytes that cross DRAM by op and role: which tensor a setting would have to shrink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure, amount, axis, layout
from viewer.charts.palette import MEMORY_COLOURS, theme_of
from viewer.charts.registry import chart

#: Legend -> (columns of a row, colour).
ROLES: dict[str, tuple[tuple[str, ...], str]] = {
    "weights": (("weight_bytes",), MEMORY_COLOURS["weights"]),
    "KV cache": (("kv_read_bytes", "kv_write_bytes"), MEMORY_COLOURS["KV cache"]),
    "state": (("state_read_bytes", "state_write_bytes"), MEMORY_COLOURS["state"]),
    "activations": (("activation_read_bytes", "activation_write_bytes"), MEMORY_COLOURS["activations"]),
    "workspace": (("workspace_bytes",), MEMORY_COLOURS["runtime"]),
}
#: Ops that move less than this share of all bytes are left out.
LEAST_SHARE = 0.001


@chart("traffic", "DRAM traffic by op", "Bytes that cross DRAM in all runs of an op, by what they are.")
def traffic_bars(rows: Sequence[dict[str, Any]], theme: str = "light") -> Figure:
    """Stacked bars, largest op on top; bytes = repeat x bytes of one instance, by role."""
    colours = theme_of(theme)
    total = sum(row["repeat"] * row["dram_bytes"] for row in rows)
    shown = [row for row in rows if row["repeat"] * row["dram_bytes"] > LEAST_SHARE * total]
    shown.sort(key=lambda row: -row["repeat"] * row["dram_bytes"])
    many = len({row["phase"] for row in rows}) > 1
    names = [_name(row, many) for row in shown]
    traces = []
    for role, (columns, colour) in ROLES.items():
        values = [row["repeat"] * sum(row[c] for c in columns) for row in shown]
        if any(values):
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": role,
                    "y": names,
                    "x": values,
                    "marker": {"color": colour},
                    "customdata": [amount(v, "B") for v in values],
                    "hovertemplate": f"%{{y}} {role}: %{{customdata}}<extra></extra>",
                }
            )
    return {
        "data": traces,
        "layout": layout(
            colours,
            barmode="stack",
            bargap=0.35,
            margin={"l": 8, "r": 16, "t": 30, "b": 48},
            xaxis=axis(colours, "bytes that cross DRAM", exponentformat="SI", rangemode="tozero"),
            yaxis={"automargin": True, "autorange": "reversed", "ticks": "", "ticklabelstandoff": 6},
            showlegend=True,
            legend={
                "orientation": "h",
                "x": 0,
                "y": 1,
                "yanchor": "bottom",
                "traceorder": "normal",
                "font": {"size": 11},
            },
        ),
    }


def _name(row: dict[str, Any], many: bool) -> str:
    """``prefill: qkv_proj (0-39)``; the phase only where there are several."""
    where = f" ({row['layer_group']})" if row["layer_group"] not in ("", "prologue", "epilogue") else ""
    return (f"{row['phase']}: " if many else "") + row["name"] + where
