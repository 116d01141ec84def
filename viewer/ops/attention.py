"""Attention with a cache of keys and values: one fused kernel, or the three products of the eager form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from viewer.graph import Cache, Op
from viewer.ops.attention_sparsity import (
    PAGE_FLOPS_PER_VALUE,
    SCORE_BYTES,
    bidirectional_pairs,
    pages,
    sparse_pairs,
    sparse_rows,
)
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.sparsity import KeepRatio, PagedSelection
from viewer.workload import Number, Step, row_kind

#: Vector FLOPs per attended pair and head besides the exponential: scale, maximum, subtract, sum (modelling 2.2).
VECTOR_FLOPS_PER_PAIR = 4.0


@dataclass(frozen=True)
class AttentionBase(Op):
    """Common shape: N query heads, a cache of K key/value heads, head widths d_qk and d_v.

    ``window``: positions a query may see (None: all). ``chunk``: block-local attention. ``causal``: False for
    encoders. ``memory``: what is attended to: "self" (the segments' own cache), "source" (cross-attention to encoder
    output), "encoder" (an encoder's own tokens) or "image" (of an image's ``tokens``, ``span`` see each other).
    ``scheme``: sparse attention of viewer.sparsity, or None; ``value_sparsity``: N:M probabilities, or None.
    Set by lowering: ``pair_flops``, conversion work per pair and head; ``unpack_flops``, conversion work per row of
    keys and values read.
    """

    heads: int = 1
    head_dim: int = 1
    value_dim: int = 1
    cache: Cache | None = None
    window: float | None = None
    chunk: float | None = None
    causal: bool = True
    memory: Literal["self", "source", "encoder", "image"] = "self"
    tokens: int = 0
    span: int = 0
    scheme: Any = None
    value_sparsity: Any = None
    pair_flops: float = 0.0
    unpack_flops: float = 0.0

    def keys(self) -> Cache:
        """The cache that is read."""
        if self.cache is None:
            raise ValueError(f"{self.name} has no cache to read")
        return self.cache


@dataclass(frozen=True)
class Attention(AttentionBase):
    """Fused attention (FlashAttention): scores never leave the chip, masked tiles are skipped."""

    kind: ClassVar[str] = "attention"
    products: ClassVar[int] = 2


@dataclass(frozen=True)
class ScoreMatmul(AttentionBase):
    """Q K^T of the eager form: full n_q x n_kv products, scores written to memory."""

    kind: ClassVar[str] = "qk_matmul"
    products: ClassVar[int] = 1


@dataclass(frozen=True)
class ValueMatmul(AttentionBase):
    """P V of the eager form."""

    kind: ClassVar[str] = "pv_matmul"
    products: ClassVar[int] = 1


@row_kind("source_pairs")
def source_pairs(step: Step, _: str = "") -> Number:
    """Cross-attention pairs: new decoder tokens x source tokens of the same request."""
    total: Number = 0.0
    for seg, src in zip(step.segments, step.source, strict=False):
        total = total + seg.count * seg.new * (src.new + src.cached)
    return total


@row_kind("encoder_pairs")
def encoder_pairs(step: Step, _: str = "") -> Number:
    """Pairs of an encoder: every new source token with every other of its request."""
    total: Number = 0.0
    for src in step.source:
        total = total + src.count * src.new * src.new
    return total


@row_kind("image_pairs")
def image_pairs(step: Step, argument: str) -> Number:
    """Pairs of a vision tower, ":TOKENS:SPAN": each of an image's tokens sees ``span`` tokens (all, or a window)."""
    tokens, _, span = argument.partition(":")
    return step.images * (float(tokens) * float(span))


def pair_rows(op: AttentionBase) -> str:
    """Row kind of the full products n_q * n_kv, as the eager form computes and stores them."""
    if op.memory == "image":
        return f"image_pairs:{op.tokens}:{op.span}"
    if op.memory != "self":
        return f"{op.memory}_pairs"
    window = op.chunk if op.chunk is not None else op.window
    if op.scheme is not None and op.causal:
        return f"sparse_pairs:{op.scheme.name},{'' if window is None else window}"
    return f"pairs:{window}" if window is not None else "pairs"


def attended_pairs(op: AttentionBase, step: Step) -> Number:
    """(query, key) pairs that the fused kernel multiplies."""
    if op.memory != "self" or not op.causal:
        dense = step.rows(pair_rows(op))
        if op.scheme is None or op.memory not in ("self", "encoder"):
            return dense
        return bidirectional_pairs(op.scheme, step.source if op.memory == "encoder" else step.segments, dense)
    if op.scheme is not None:
        return sparse_pairs(op.scheme, step, op.window, op.chunk)
    return step.causal_pairs(op.window, op.chunk)


def cache_rows(op: AttentionBase, step: Step, eager: bool = False) -> Number:
    """Rows of keys and values that are read once per kernel."""
    if op.memory == "source":
        return step.rows("source_context")
    if op.memory != "self":
        return step.rows("source" if op.memory == "encoder" else f"image:{op.tokens}")
    if op.scheme is not None and op.causal:
        if eager:
            return sparse_rows(op.scheme, step, op.chunk if op.chunk is not None else op.window, None)
        return sparse_rows(op.scheme, step, op.window, op.chunk)
    if eager or not op.causal:
        return step.kv_tokens(op.chunk if op.chunk is not None else op.window)
    return step.kv_tokens(op.window, op.chunk)


def _scheme_work(cost: OpCost, op: AttentionBase, step: Step, pairs: Number, rows: Number) -> None:
    """What choosing positions costs. An evicting cache adds each probability to a sum that it keeps (one vector FLOP a
    pair and head; the sums are read and written); page selection reads two summaries a page and scores them."""
    if op.memory != "self" or not op.causal:
        return
    if isinstance(op.scheme, KeepRatio):
        cost.vector_flops = cost.vector_flops + op.scheme.scoring_vector_flops(1.0, pairs)
        cost.workspace_bytes = cost.workspace_bytes + rows * (2.0 * SCORE_BYTES * op.keys().heads)
    elif isinstance(op.scheme, PagedSelection):
        found = pages(op.scheme, step, op.window)
        cost.vector_flops = cost.vector_flops + found * (PAGE_FLOPS_PER_VALUE * op.heads * op.head_dim)
        cost.kv_read_bytes = cost.kv_read_bytes + found * op.keys().page_row_bytes


def _read(cost: OpCost, op: AttentionBase, rows: Number, row_bytes: float) -> None:
    """Books the read of keys or values: from the cache, or from the step's own activations (encoders)."""
    if op.unpack_flops:
        cost.vector_flops = cost.vector_flops + rows * op.unpack_flops
    if op.keys().memory == "activation":
        cost.activation_read_bytes = cost.activation_read_bytes + rows * row_bytes
    else:
        cost.kv_read_bytes = rows * row_bytes


@cost_of(Attention)
def attention_cost(op: Attention, step: Step) -> OpCost:
    """F = 2*N*d_qk*P + 2*N*d_v*P, 4*N*P vector FLOPs, N*P exp; Q + O once, K and V of all rows once.

    P is the number of attended pairs (masked tiles are skipped; the diagonal tile's waste is not counted). Key/value
    bytes use the K cache heads, FLOPs the N query heads (arXiv:2307.08691; modelling 2.2). Bytes are net: what is
    re-read by other query tiles comes from the L2 cache and enters only the estimate.
    """
    cost = base_cost(op, step)
    pairs = attended_pairs(op, step) * float(op.heads)
    cost.products = (pairs * (2.0 * op.head_dim), pairs * (2.0 * op.value_dim))
    cost.vector_flops = pairs * (VECTOR_FLOPS_PER_PAIR + op.pair_flops)
    cost.transcendentals = pairs
    rows = cache_rows(op, step)
    _read(cost, op, rows, op.keys().token_bytes)
    if op.scheme is not None:
        _scheme_work(cost, op, step, pairs, rows)
    return cost


@cost_of(ScoreMatmul)
def score_cost(op: ScoreMatmul, step: Step) -> OpCost:
    """F = 2*N*d_qk*n_q*n_kv; reads Q and the keys, writes N*n_q*n_kv scores."""
    cost = base_cost(op, step)
    pairs = step.rows(pair_rows(op)) * float(op.heads)
    cost.products = (pairs * (2.0 * op.head_dim),)
    if op.pair_flops:
        cost.vector_flops = pairs * op.pair_flops
    _read(cost, op, cache_rows(op, step, eager=True), op.keys().part_bytes[0])
    if isinstance(op.scheme, PagedSelection):
        _scheme_work(cost, op, step, pairs, 0.0)
    return cost


@cost_of(ValueMatmul)
def value_cost(op: ValueMatmul, step: Step) -> OpCost:
    """F = 2*N*d_v*n_q*n_kv; reads the probabilities and the values, writes the output rows."""
    cost = base_cost(op, step)
    pairs = step.rows(pair_rows(op)) * float(op.heads)
    cost.products = (pairs * (2.0 * op.value_dim),)
    if op.pair_flops:
        cost.vector_flops = pairs * op.pair_flops
    rows = cache_rows(op, step, eager=True)
    _read(cost, op, rows, op.keys().part_bytes[-1])
    if isinstance(op.scheme, KeepRatio):
        _scheme_work(cost, op, step, pairs, rows)
    return cost
