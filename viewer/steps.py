"""Steps: one abstraction for every phase (a step is a list of segments plus the rows that are sampled).

A segment is ``count`` requests that each bring ``new`` tokens on top of ``cached`` ones. Linear and element-wise
ops see only T = sum(count * new); attention and state-space ops see the segments. Numbers may be floats or numpy
arrays that broadcast against each other, so that a whole sweep is one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Number: TypeAlias = float | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """``count`` requests with ``new`` tokens each on top of ``cached`` tokens.

    ``depth_sum``: for a token tree, the sum over its nodes of their depth (root = 1), per request; None means a
    chain, whose sum is new * (new + 1) / 2. ``shared``: cached tokens that ``group`` requests hold in common (beams).
    """

    count: Number
    new: Number
    cached: Number = 0.0
    depth_sum: Number | None = None
    shared: Number = 0.0
    group: Number = 1.0


def causal_pairs(seg: Segment, window: float | None = None) -> Number:
    """(query, key) pairs of one request under a causal mask: sum_{i=1..n} min(c + i, W), n = new, c = cached.

    Closed form: n*c + n(n+1)/2 without window; with one, a = clip(W - c, 0, n): a*c + a(a+1)/2 + (n - a)*W.
    A tree replaces n(n+1)/2 by the sum of its depths (the window is then applied to the cached part only).
    """
    n, c = seg.new, seg.cached
    if seg.depth_sum is not None:
        reach = c if window is None else np.minimum(c, max(window - 1.0, 0.0))
        return n * reach + seg.depth_sum
    if window is None:
        return n * c + n * (n + 1.0) * 0.5
    a = np.minimum(np.maximum(window - c, 0.0), n)
    return a * c + a * (a + 1.0) * 0.5 + (n - a) * window


def chunked_pairs(seg: Segment, chunk: float) -> Number:
    """Pairs when a query sees only its own block of ``chunk`` positions (Llama 4): sum of ((p mod chunk) + 1).

    With F(x) = sum_{p<x} ((p mod C) + 1) = floor(x/C) * C(C+1)/2 + r(r+1)/2, r = x mod C: F(c + n) - F(c).
    """

    def upto(x: Number) -> Number:
        blocks = np.floor(x / chunk)
        rest = x - blocks * chunk
        return blocks * (chunk * (chunk + 1.0) * 0.5) + rest * (rest + 1.0) * 0.5

    return upto(seg.cached + seg.new) - upto(seg.cached)


def visible_cached(seg: Segment, window: float | None = None, chunk: float | None = None) -> Number:
    """Cached positions that at least one new token attends to: all, min(c, W - 1), or those of the open chunk."""
    if chunk is not None:
        return seg.cached - np.floor(seg.cached / chunk) * chunk
    return seg.cached if window is None else np.minimum(seg.cached, max(window - 1.0, 0.0))


def held_rows(seg: Segment, window: float | None = None) -> Number:
    """Cache rows that one request of a segment holds after the step; its part of what a group shares."""
    held = seg.new + seg.cached
    shared = seg.shared * (1.0 - 1.0 / seg.group)
    if window is None:
        return held - shared
    dropped = np.maximum(held - window, 0.0)  # the oldest rows leave first, and those are the shared ones
    return held - dropped - np.maximum(seg.shared - dropped, 0.0) * (1.0 - 1.0 / seg.group)


RowKind: TypeAlias = "Callable[[Step, str], Number]"
_ROW_KINDS: dict[str, RowKind] = {}


def row_kind(name: str) -> Callable[[RowKind], RowKind]:
    """Register ``rows(step, argument)`` for tensors whose row kind is "name:argument"; a second one is refused."""

    def register(function: RowKind) -> RowKind:
        if name in _ROW_KINDS:
            raise ValueError(f"row kind {name!r} is registered already")
        _ROW_KINDS[name] = function
        return function

    return register


@dataclass(frozen=True)
class Step:
    """One forward pass: segments of the decoder, rows that reach the head, and what other towers process.

    ``source``: encoder segments (encoder-decoder models): ``new`` source tokens encoded in this step, ``cached``
    ones whose cross-attention keys and values are only read. ``images``: pictures that a vision tower encodes.
    """

    segments: tuple[Segment, ...]
    sampled_rows: Number
    source: tuple[Segment, ...] = ()
    images: Number = 0.0
    tokens: Number = field(init=False)
    requests: Number = field(init=False)
    _rows: dict[str, Number] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tokens: Number = 0.0
        requests: Number = 0.0
        for seg in self.segments:
            tokens = tokens + seg.count * seg.new
            requests = requests + seg.count
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "requests", requests)
        rows = {
            "tokens": tokens,
            "sampled": self.sampled_rows,
            "requests": requests,
        }
        object.__setattr__(self, "_rows", rows)

    def rows(self, kind: str) -> Number:
        """Rows of a tensor of this kind: tokens, sampled, requests, source, context, pairs[:W], routed:K, image:N, …"""
        found = self._rows.get(kind)
        if found is None:
            found = self._rows[kind] = self._resolve(kind)
        return found

    def _resolve(self, kind: str) -> Number:
        name, _, argument = kind.partition(":")
        window = float(argument) if argument and name in ("pairs", "context") else None
        total: Number = 0.0
        if name == "pairs":
            for seg in self.segments:
                total = total + seg.count * seg.new * (seg.new + visible_cached(seg, window))
        elif name == "context":
            total = self.kv_tokens(window)
        elif name == "source":
            for seg in self.source:
                total = total + seg.count * seg.new
        elif name == "tiles":
            kind, _, tile = argument.rpartition(":")
            total = np.ceil(self.rows(kind) / float(tile))
        elif name == "source_context":
            for seg in self.source:
                total = total + seg.count * (seg.new + seg.cached)
        elif name == "routed":
            total = self.tokens * float(argument)
        elif name == "image":
            total = self.images * float(argument)
        elif name in _ROW_KINDS:
            total = _ROW_KINDS[name](self, argument)
        else:
            raise KeyError(f"unknown row kind {kind!r}")
        return total

    def causal_pairs(self, window: float | None = None, chunk: float | None = None) -> Number:
        """Attended pairs of the step, summed over requests (causal; with a window or chunk if given)."""
        total: Number = 0.0
        for seg in self.segments:
            pairs = chunked_pairs(seg, chunk) if chunk is not None else causal_pairs(seg, window)
            total = total + seg.count * pairs
        return total

    def all_pairs(self, window: float | None = None) -> Number:
        """Pairs of the full product n_q * n_kv (masks hide, they do not skip), summed over requests."""
        return self.rows("pairs" if window is None else f"pairs:{window}")

    def kv_tokens(self, window: float | None = None, chunk: float | None = None) -> Number:
        """Cache rows touched: sum of count * (new + visible cached)."""
        total: Number = 0.0
        for seg in self.segments:
            total = total + seg.count * (seg.new + visible_cached(seg, window, chunk))
        return total

    def cached_after(self, window: float | None = None) -> Number:
        """Cache rows held after the step: sum of count * min(new + cached, W); shared ones once per group."""
        total: Number = 0.0
        for seg in self.segments:
            held = held_rows(seg, window)
            total = total + seg.count * held
        return total


def prefill_step(batch: Number, prompt: Number, cached: Number = 0.0) -> Step:
    """``batch`` prompts of ``prompt`` new tokens on top of ``cached`` ones; one row sampled per request."""
    return Step((Segment(batch, prompt, cached),), batch)


def decode_step(batch: Number, context: Number) -> Step:
    """One new token for each of ``batch`` requests whose caches hold ``context`` tokens (attends to context + 1)."""
    return Step((Segment(batch, 1.0, context),), batch)
