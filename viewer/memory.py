"""What a scenario keeps in device memory: weights, cache, state, live activations, overhead; and what fits.

Live activations are found by walking the fused ops in order: live(t) = tensors produced before or at t and still needed
at or after t; the peak is the maximum, not the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from viewer.graph import Graph, LayerGroup, Op, Tensor
from viewer.parallel import split_step
from viewer.workload import MAX_COUNT, Number, Step

Rows = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class MemoryParts:
    """Bytes by kind for one step; arrays where the step has arrays."""

    weight_bytes: float
    kv_cache_bytes: Number
    kv_values: Number
    state_bytes: Number
    activation_peak_bytes: Number

    def total(self, overhead_bytes: float) -> Number:
        """All of it plus the runtime's overhead."""
        held = self.weight_bytes + overhead_bytes + self.kv_cache_bytes + self.state_bytes
        return held + self.activation_peak_bytes


@lru_cache(maxsize=256)
def live_rows(graph: Graph) -> tuple[Rows, ...]:
    """For each op of each group, the live bytes as (row kind, bytes per row); duplicates removed."""
    found: dict[Rows, None] = {}
    for group in graph.groups:
        for rows in _group_live(group):
            found[rows] = None
    return tuple(found)


def _group_live(group: LayerGroup) -> list[Rows]:
    spans = _spans(group)
    out = []
    for index in range(len(group.ops)):
        rows: dict[str, float] = {}
        for tensor, first, last in spans:
            if first <= index <= last:
                rows[tensor.rows] = rows.get(tensor.rows, 0.0) + tensor.row_bytes
        out.append(tuple(sorted(rows.items())))
    return out


def _spans(group: LayerGroup) -> list[tuple[Tensor, int, int]]:
    """(tensor, first op, last op) of every value: a name written anew (not in place) is a new value."""
    version: dict[str, int] = {}
    spans: dict[tuple[str, int], list[Any]] = {}
    for index, op in enumerate(group.ops):
        read = {t.name for t in op.inputs}
        for tensor in op.inputs:
            key = (tensor.name, version.setdefault(tensor.name, 0))
            span = spans.setdefault(key, [tensor, 0 if key[1] == 0 else index, index])
            span[0], span[2] = _larger(span[0], tensor), index
        for tensor in op.outputs:
            if tensor.name not in read:
                version[tensor.name] = version.get(tensor.name, -1) + 1
            key = (tensor.name, version[tensor.name])
            span = spans.setdefault(key, [tensor, index, index])
            span[0], span[2] = _larger(span[0], tensor), max(span[2], index)
    if ("hidden", 0) in spans and group.layers:
        spans["hidden", 0][1:] = [0, len(group.ops) - 1]  # the residual stream outlives the layer
    return [(tensor, first, last) for tensor, first, last in spans.values()]


def _larger(known: Tensor | None, tensor: Tensor) -> Tensor:
    return tensor if known is None or tensor.row_bytes > known.row_bytes else known


@lru_cache(maxsize=256)
def _owned(graph: Graph) -> tuple[float, tuple[tuple[Any, int], ...], tuple[tuple[Any, int], ...]]:
    """(weight bytes, caches with multiplicity, states with multiplicity)."""
    weights = 0.0
    caches: dict[Any, int] = {}
    states: dict[Any, int] = {}
    for group, op in graph:
        weights += group.copies * op.weight_stored_bytes
        cache = getattr(op, "cache", None)
        if cache is not None and owns_cache(op):
            caches[cache] = caches.get(cache, 0) + group.copies
        for state in getattr(op, "states", ()):
            states[state] = states.get(state, 0) + group.copies
    return weights, tuple(caches.items()), tuple(states.items())


def owns_cache(op: Op) -> bool:
    """Whether the op writes the cache that it names (others only read it)."""
    return op.kind in ("kv_append", "rope_append") or bool(getattr(op, "owns_cache", False))


def account(graph: Graph, step: Step, page_tokens: int = 0) -> MemoryParts:
    """The account of one device after the step. Cache: sum over layers of min(length, window) rows, in whole pages.

    The cache holds all requests of the device's replica; live activations are those of one micro-batch.
    """
    weights, caches, states = _owned(graph)
    step = graph.fit(step)
    passing = split_step(step, graph.replicas, graph.micro_batches)
    step = split_step(step, graph.replicas)
    kv_bytes: Number = 0.0
    kv_values: Number = 0.0
    for cache, count in caches:
        rows = cache_rows(step, cache, page_tokens)
        values_rows = rows if not page_tokens else cache_rows(step, cache, 0)
        kv_bytes = kv_bytes + rows * (count * cache.token_bytes)
        if cache.page:
            kv_bytes = kv_bytes + page_rows(step, cache) * (count * cache.page_row_bytes)
        kv_values = kv_values + values_rows * float(count * cache.values_per_token)
    state_bytes: Number = 0.0
    for state, count in states:
        state_bytes = state_bytes + step.requests * (count * state.bytes)
    return MemoryParts(weights, kv_bytes, kv_values, state_bytes, activation_peak(graph, passing))


def cache_rows(step: Step, cache: Any, page_tokens: int) -> Number:
    """Rows held for one cache after the step, summed over requests."""
    if getattr(cache, "memory", "self") == "source":
        return step.rows("source_context")
    if not page_tokens and cache.kept == 1.0:
        return step.cached_after(cache.window)
    total: Number = 0.0
    for seg in step.segments:
        held = seg.new + seg.cached
        held = held if cache.window is None else np.minimum(held, cache.window)
        if cache.kept != 1.0:
            held = np.ceil(held * cache.kept - 1e-9)
        if page_tokens:
            held = np.ceil(held / page_tokens) * page_tokens
        total = total + seg.count * held
    return total


def page_rows(step: Step, cache: Any) -> Number:
    """Page summaries held for one cache after the step: ceil(rows / page), summed over requests."""
    total: Number = 0.0
    for seg in step.segments:
        held = seg.new + seg.cached
        held = held if cache.window is None else np.minimum(held, cache.window)
        total = total + seg.count * np.ceil(held / cache.page)
    return total


def activation_peak(graph: Graph, step: Step) -> Number:
    """Maximum over ops of the live bytes."""
    peak: Number = 0.0
    for rows in live_rows(graph):
        live: Number = 0.0
        for kind, row_bytes in rows:
            live = live + step.rows(kind) * row_bytes
        peak = (
            np.maximum(peak, live)
            if isinstance(live, np.ndarray) or isinstance(peak, np.ndarray)
            else max(peak, live)
        )
    return peak


def largest(fits: Callable[[Any], Any], limit: int = MAX_COUNT) -> int:
    """The largest whole number n <= limit with fits(n) for a monotone ``fits`` that takes an array; 0 when none."""
    low, high = 0, limit + 1  # fits(low) holds by convention, fits(high) does not
    while high - low > 1:
        grid = (
            np.unique(np.geomspace(low + 1, high, 65).astype(np.int64))
            if low == 0
            else np.unique(np.linspace(low, high, 65).astype(np.int64))
        )
        grid = grid[(grid > low) & (grid < high)]
        if grid.size == 0:
            break
        good = np.asarray(fits(grid.astype(float)))
        passed = grid[np.broadcast_to(good, grid.shape)]
        failed = grid[~np.broadcast_to(good, grid.shape)]
        low = int(passed.max()) if passed.size else low
        high = int(failed.min()) if failed.size else high
        if passed.size and not failed.size and high == limit + 1 and low == limit:
            return limit
    return low
