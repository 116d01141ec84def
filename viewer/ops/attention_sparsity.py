"""Sparse attention and caches as counts: which pairs are multiplied, which cached rows are read, and the extra work.

The schemes are those of viewer.sparsity; windows and block-local masks of the model still apply. Kept and selected
positions count among the cached ones that the mask lets a query see; new tokens always see each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from viewer import sparsity
from viewer.sparsity import AttentionPattern, KeepRatio, PagedSelection
from viewer.workload import Number, Segment, Step, causal_pairs, chunked_pairs, row_kind, visible_cached

#: Accumulated attention scores that an evicting cache keeps per cached position and key head (arXiv:2306.14048).
SCORE_BYTES = 4.0
#: Per query head, channel and page: two products with the page's minimum and maximum, a maximum, an add
#: (arXiv:2406.10774, criticality estimation).
PAGE_FLOPS_PER_VALUE = 4.0


def _dense(seg: Segment, window: float | None, chunk: float | None) -> Number:
    return chunked_pairs(seg, chunk) if chunk is not None else causal_pairs(seg, window)


def segment_pairs(scheme: Any, seg: Segment, window: float | None, chunk: float | None) -> Number:
    """Causal pairs of one request under a scheme."""
    dense = _dense(seg, window, chunk)
    if isinstance(scheme, AttentionPattern):
        return np.minimum(dense, causal_pairs(seg, float(scheme.positions)))
    cached = visible_cached(seg, window, chunk)
    if isinstance(scheme, KeepRatio):
        own = _dense(Segment(1.0, seg.new, 0.0, seg.depth_sum), window, chunk)
        return seg.new * scheme.kv_positions(cached) + own
    if isinstance(scheme, PagedSelection):
        chosen = seg.new * scheme.kv_positions(cached + seg.new)
        return np.where(np.less_equal(seg.new, 1.0), np.minimum(chosen, dense), dense)
    return dense


def segment_rows(scheme: Any, seg: Segment, window: float | None, chunk: float | None) -> Number:
    """Rows of keys and values that one request reads under a scheme."""
    cached = visible_cached(seg, window, chunk)
    if isinstance(scheme, AttentionPattern):
        cached = np.minimum(cached, max(scheme.positions - 1.0, 0.0))
    elif isinstance(scheme, KeepRatio):
        cached = scheme.kv_positions(cached)
    elif isinstance(scheme, PagedSelection):
        few = np.maximum(scheme.kv_positions(cached + seg.new) - seg.new, 0.0)
        cached = np.where(np.less_equal(seg.new, 1.0), few, cached)
    return seg.new + cached


def _sum(step: Step, one: Callable[[Segment], Number]) -> Number:
    total: Number = 0.0
    for seg in step.segments:
        total = total + seg.count * one(seg)
    return total


def sparse_pairs(scheme: Any, step: Step, window: float | None, chunk: float | None) -> Number:
    """Causal pairs of a step under a scheme, summed over requests."""
    return _sum(step, lambda seg: segment_pairs(scheme, seg, window, chunk))


def sparse_rows(scheme: Any, step: Step, window: float | None, chunk: float | None) -> Number:
    """Rows of keys and values that a step reads under a scheme, summed over requests."""
    return _sum(step, lambda seg: segment_rows(scheme, seg, window, chunk))


def bidirectional_pairs(scheme: Any, segments: tuple[Segment, ...], dense: Number) -> Number:
    """Pairs of an encoder's pass: a static pattern skips tiles, the other schemes are for caches."""
    if not isinstance(scheme, AttentionPattern):
        return dense
    total: Number = 0.0
    for seg in segments:
        total = total + seg.count * scheme.bidirectional_pairs(seg.new)
    return np.minimum(total, dense)


def selecting(seg: Segment) -> Number:
    """1.0 for a decode segment, whose pages are chosen; a prefill attends to all (arXiv:2406.10774 section 3.3)."""
    return np.less_equal(seg.new, 1.0) * 1.0


def pages(scheme: PagedSelection, step: Step, window: float | None) -> Number:
    """Page summaries that a step's decode segments read: ceil(context / page) per request."""
    return _sum(
        step, lambda seg: selecting(seg) * np.ceil((visible_cached(seg, window) + seg.new) / scheme.page)
    )


@row_kind("sparse_pairs")
def sparse_full_pairs(step: Step, argument: str) -> Number:
    """Full products n_q * n_kv of the eager form over the rows that a scheme leaves, ":SCHEME,WINDOW"."""
    name, _, window = argument.partition(",")
    scheme, limit = sparsity.get(name), float(window) if window else None
    return _sum(step, lambda seg: seg.new * segment_rows(scheme, seg, limit, None))
