"""What the tests count on a graph: matrix FLOPs, linear FLOPs, cached values."""

from __future__ import annotations

from viewer.graph import Graph
from viewer.ops import count
from viewer.workload import Step


def matmul_flops(graph: Graph, step: Step) -> float:
    """FLOPs of all matrix products of a pass."""
    return sum(group.repeat * float(sum(count(op, step).products)) for group, op in graph)


def linear_flops(graph: Graph, step: Step) -> float:
    """FLOPs of linear layers only (routed experts, attention and scans left out)."""
    ops = ((group, op) for group, op in graph if op.kind == "linear")
    return sum(group.repeat * float(sum(count(op, step).products)) for group, op in ops)


def kv_values(graph: Graph, step: Step, *, one_less: bool = False) -> float:
    """Values in the cache after the step; ``one_less``: a full window keeps W - 1, as the reference's cache does."""
    total = 0.0
    for group, op in graph:
        cache = getattr(op, "cache", None)
        if cache is None or op.kind != "kv_append":
            continue
        window = cache.window
        if one_less and window is not None and step.segments[0].new + step.segments[0].cached >= window:
            window = window - 1
        total += group.repeat * float(step.cached_after(window)) * cache.values_per_token
    return total
