"""Attention with a cache of keys and values: one fused kernel, or the three products of the eager form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from viewer.graph import Cache, Op
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.workload import Number, Step

#: Vector FLOPs per attended pair and head besides the exponential: scale, maximum, subtract, sum (modelling 2.2).
VECTOR_FLOPS_PER_PAIR = 4.0


@dataclass(frozen=True)
class AttentionBase(Op):
    """Common shape: N query heads, a cache of K key/value heads, head widths d_qk and d_v.

    ``window``: positions a query may see (None: all). ``chunk``: block-local attention. ``causal``: False for
    encoders. ``memory``: what is attended to: "self" (the segments' own cache) or "source" (encoder output).
    """

    heads: int = 1
    head_dim: int = 1
    value_dim: int = 1
    cache: Cache | None = None
    window: float | None = None
    chunk: float | None = None
    causal: bool = True
    memory: Literal["self", "source"] = "self"
    kept_ratio: float = 1.0

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


def attended_pairs(op: AttentionBase, step: Step) -> Number:
    """(query, key) pairs that the fused kernel multiplies."""
    if op.memory == "source":
        return source_pairs(step)
    if not op.causal:
        return step.all_pairs(op.window)
    return step.causal_pairs(op.window, op.chunk) * op.kept_ratio


def source_pairs(step: Step) -> Number:
    """Cross-attention pairs: new decoder tokens x source tokens of the same request."""
    total: Number = 0.0
    for seg, src in zip(step.segments, step.source, strict=False):
        total = total + seg.count * seg.new * (src.new + src.cached)
    return total


def cache_rows(op: AttentionBase, step: Step) -> Number:
    """Cache rows that are read once per kernel."""
    if op.memory == "source":
        return step.rows("source_context")
    if not op.causal:
        return step.kv_tokens(op.window)
    return step.kv_tokens(op.window, op.chunk) * op.kept_ratio


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
    cost.vector_flops = pairs * VECTOR_FLOPS_PER_PAIR
    cost.transcendentals = pairs
    cost.kv_read_bytes = cache_rows(op, step) * op.keys().token_bytes
    return cost


def eager_pairs(op: AttentionBase, step: Step) -> Number:
    """Pairs of the unfused product: n_q * n_kv (a mask hides, it does not skip)."""
    return source_pairs(step) if op.memory == "source" else step.all_pairs(op.window)


@cost_of(ScoreMatmul)
def score_cost(op: ScoreMatmul, step: Step) -> OpCost:
    """F = 2*N*d_qk*n_q*n_kv; reads Q and the keys, writes N*n_q*n_kv scores."""
    cost = base_cost(op, step)
    cost.products = (eager_pairs(op, step) * (2.0 * op.heads * op.head_dim),)
    rows = step.rows("source_context") if op.memory == "source" else step.kv_tokens(op.window)
    cost.kv_read_bytes = rows * op.keys().part_bytes[0]
    return cost


@cost_of(ValueMatmul)
def value_cost(op: ValueMatmul, step: Step) -> OpCost:
    """F = 2*N*d_v*n_q*n_kv; reads the probabilities and the values, writes the output rows."""
    cost = base_cost(op, step)
    cost.products = (eager_pairs(op, step) * (2.0 * op.heads * op.value_dim),)
    rows = step.rows("source_context") if op.memory == "source" else step.kv_tokens(op.window)
    cost.kv_read_bytes = rows * op.keys().part_bytes[-1]
    return cost
