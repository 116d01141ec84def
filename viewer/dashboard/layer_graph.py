"""The ops of the repeated layer as a small graph: nodes in levels, edges where one op reads what another wrote."""

from __future__ import annotations

from typing import Any

from viewer.analysis import Analysis
from viewer.charts.base import percent, seconds
from viewer.charts.palette import BOUND_COLOURS
from viewer.charts.roofline import op_id


def layer_graph(result: Analysis) -> dict[str, Any]:
    """``{"groups": [...]}``: per layer group and phase its nodes (id, name, time, share, bound colour) and edges."""
    times = {op_id(row): row for row in result.rows}
    phase = result.parts[-1].phase
    total = sum(row["repeat"] * row["time_s"] for row in result.rows if row["phase"] == phase) or 1.0
    groups = []
    for group in result.plan.graph.groups:
        nodes = []
        for op in group.ops:
            row = times.get(f"{phase}/{group.name}/{op.name}")
            if row is None:
                continue
            share = row["repeat"] * row["time_s"] / total
            nodes.append(
                {
                    "id": op_id(row),
                    "name": op.name,
                    "time": seconds(row["time_s"]),
                    "share": round(share, 4),
                    "percent": percent(share),
                    "colour": BOUND_COLOURS.get(row["bound"], "#8c8c8c"),
                    "bound": row["bound"],
                }
            )
        groups.append(
            {"name": group.name, "repeat": group.repeat, "nodes": nodes, "edges": edges_of(group.ops)}
        )
    return {"phase": phase, "groups": groups}


def edges_of(ops: Any) -> list[list[int]]:
    """Pairs (writer, reader): each input that an earlier op of the group wrote last."""
    writer: dict[str, int] = {}
    edges: list[list[int]] = []
    for index, op in enumerate(ops):
        for tensor in op.inputs:
            source = writer.get(tensor.name)
            if source is not None and [source, index] not in edges:
                edges.append([source, index])
        for tensor in op.outputs:
            writer[tensor.name] = index
    return edges
