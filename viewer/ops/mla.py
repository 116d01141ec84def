"""Multi-head latent attention (MLA): naive or absorbed, chosen per segment; the sparse-attention indexer (DSA).

The cache holds one latent of c values and one rotary key of d_r values per token (arXiv:2405.04434). Naive: expand
keys and values of the whole context from the latent, then ordinary attention. Absorbed: fold the expansion into the
query and the output, attend to the latent itself. Both use the matrix kv_b, 2*c*(d_n + d_v) FLOPs per head and row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np

from viewer.graph import Cache
from viewer.ops.attention import VECTOR_FLOPS_PER_PAIR, AttentionBase
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.ops.linear import UNPACK_TILE_ROWS, Linear
from viewer.workload import Number, Segment, Step, causal_pairs, row_kind

#: Labels of ``OpCost.choice``; "both" when the segments of one step differ (mixed batches).
CHOICE_LABELS = ("naive", "absorbed", "both")


@dataclass(frozen=True)
class LatentRule:
    """Which variant a segment takes, by FLOPs per head: pair cost * pairs + expansion * rows expanded (modelling 2.3).

    naive = (2*(d_n + d_r) + 2*d_v) * P + 2*c*(d_n + d_v) * (cached + new);
    absorbed = (2*(c + d_r) + 2*c) * P' + 2*c*(d_n + d_v) * new. P' counts at most ``top_k`` keys a query (DSA; 0: all);
    naive kernels do not skip. ``eager``: full products instead of causal ones. Ties are naive.
    """

    mode: str
    naive_pair: float
    absorbed_pair: float
    expand: float
    top_k: int = 0
    eager: bool = False

    @property
    def key(self) -> str:
        """The rule as the argument of a row kind."""
        parts = (self.mode, self.naive_pair, self.absorbed_pair, self.expand, self.top_k, int(self.eager))
        return ",".join(str(part) for part in parts)

    def pairs(self, seg: Segment, absorbed: bool) -> Number:
        """Pairs of one request that the variant multiplies."""
        if self.eager:
            return seg.new * (seg.new + seg.cached)
        return causal_pairs(seg, float(self.top_k) if self.top_k and absorbed else None)

    def absorbed(self, seg: Segment) -> Number:
        """1.0 where the segment is absorbed, 0.0 where it is naive."""
        if self.mode != "auto":
            return float(self.mode == "absorbed")
        naive = self.naive_pair * self.pairs(seg, False) + self.expand * (seg.cached + seg.new)
        absorbed = self.absorbed_pair * self.pairs(seg, True) + self.expand * seg.new
        return np.less(absorbed, naive) * 1.0


@lru_cache(maxsize=256)
def _rule(key: str) -> LatentRule:
    mode, naive, absorbed, expand, top_k, eager = key.split(",")
    return LatentRule(mode, float(naive), float(absorbed), float(expand), int(top_k), eager == "1")


@row_kind("naive_context")
def naive_context(step: Step, key: str) -> Number:
    """Context rows whose keys and values are expanded."""
    rule = _rule(key)
    return _sum(step, lambda s: (1.0 - rule.absorbed(s)) * (s.new + s.cached))


@row_kind("naive_tokens")
def naive_tokens(step: Step, key: str) -> Number:
    """New tokens of naive segments."""
    rule = _rule(key)
    return _sum(step, lambda s: (1.0 - rule.absorbed(s)) * s.new)


@row_kind("absorbed_tokens")
def absorbed_tokens(step: Step, key: str) -> Number:
    """New tokens of absorbed segments."""
    rule = _rule(key)
    return _sum(step, lambda s: rule.absorbed(s) * s.new)


@row_kind("expanded")
def expanded(step: Step, key: str) -> Number:
    """Rows that go through kv_b: the context of naive segments, the new tokens of absorbed ones."""
    return step.rows(f"naive_context:{key}") + step.rows(f"absorbed_tokens:{key}")


@row_kind("naive_pairs")
def naive_pairs(step: Step, key: str) -> Number:
    """Pairs of naive segments."""
    rule = _rule(key)
    return _sum(step, lambda s: (1.0 - rule.absorbed(s)) * rule.pairs(s, False))


@row_kind("absorbed_pairs")
def absorbed_pairs(step: Step, key: str) -> Number:
    """Pairs of absorbed segments."""
    rule = _rule(key)
    return _sum(step, lambda s: rule.absorbed(s) * rule.pairs(s, True))


@row_kind("absorbed_context")
def absorbed_context(step: Step, key: str) -> Number:
    """Latent rows that absorbed segments read, once for all heads; with top-k at most the union of what is picked."""
    rule = _rule(key)

    def rows(seg: Segment) -> Number:
        held = seg.new + seg.cached
        if rule.top_k and not rule.eager:
            held = np.minimum(held, causal_pairs(seg, float(rule.top_k)))
        return rule.absorbed(seg) * held

    return _sum(step, rows)


def _sum(step: Step, value: object) -> Number:
    total: Number = 0.0
    for seg in step.segments:
        total = total + seg.count * value(seg)  # type: ignore[operator]
    return total


def chosen(step: Step, key: str) -> object:
    """Codes into CHOICE_LABELS: 0 naive, 1 absorbed, 2 both."""
    naive, absorbed = step.rows(f"naive_tokens:{key}"), step.rows(f"absorbed_tokens:{key}")
    return np.where(np.equal(absorbed, 0.0), 0, np.where(np.equal(naive, 0.0), 1, 2)).astype(np.int8)


@dataclass(frozen=True)
class LatentUp(Linear):
    """kv_b: c -> N*(d_n + d_v) on the context (naive), or its two halves on query and output rows (absorbed).

    ``rows`` is "expanded:RULE". ``heads``, ``value_dim``: N and d_v; ``cache``: where the latents are read from.
    """

    rule: str = ""
    heads: int = 1
    value_dim: int = 1
    cache: Cache | None = None
    kind: ClassVar[str] = "linear"
    choice_labels: ClassVar[tuple[str, ...]] = CHOICE_LABELS


@cost_of(LatentUp)
def latent_up_cost(op: LatentUp, step: Step) -> OpCost:
    """F = 2*c*N*(d_n + d_v) * (context of naive segments + new tokens of absorbed ones).

    Bytes: naive reads the cached latents and writes expanded keys and values; absorbed reads q (N*d_n) and the attended
    latents (N*c), writes q in latent space (N*c) and the output (N*d_v). The matrix is streamed once either way.
    """
    cost = base_cost(op, step)
    cost.products = (step.rows(op.rows) * op.row_flops,)
    latent_bytes = op.cache.part_bytes[0] if op.cache is not None else 0.0
    cost.kv_read_bytes = step.rows(f"naive_context:{op.rule}") * latent_bytes
    storage = op.inputs[0].format
    rows = step.rows(f"absorbed_tokens:{op.rule}")
    cost.activation_read_bytes = cost.activation_read_bytes + rows * storage.row_bytes(
        op.heads * op.in_features
    )
    cost.activation_write_bytes = cost.activation_write_bytes + rows * storage.row_bytes(
        op.heads * op.value_dim
    )
    if op.unpack_flops:
        cost.vector_flops = cost.vector_flops + op.unpack_flops * np.ceil(
            step.rows(op.rows) / UNPACK_TILE_ROWS
        )
    cost.choice = chosen(step, op.rule)
    return cost


@dataclass(frozen=True)
class LatentAttention(AttentionBase):
    """The core of MLA, fused. ``head_dim`` = d_n + d_r, ``value_dim`` = d_v, ``latent`` = c, ``rope_dim`` = d_r.

    ``part``: "all" is one kernel; "scores" and "values" are the two products of the eager form.
    """

    rule: str = ""
    latent: int = 1
    rope_dim: int = 0
    kind: ClassVar[str] = "attention"
    products: ClassVar[int] = 2
    choice_labels: ClassVar[tuple[str, ...]] = CHOICE_LABELS


@dataclass(frozen=True)
class LatentScore(LatentAttention):
    """Q K^T of MLA's eager form."""

    kind: ClassVar[str] = "qk_matmul"
    products: ClassVar[int] = 1


@dataclass(frozen=True)
class LatentValue(LatentAttention):
    """P V of MLA's eager form."""

    kind: ClassVar[str] = "pv_matmul"
    products: ClassVar[int] = 1


def _products(op: LatentAttention, step: Step) -> tuple[Number, Number]:
    naive, absorbed = step.rows(f"naive_pairs:{op.rule}"), step.rows(f"absorbed_pairs:{op.rule}")
    heads = 2.0 * op.heads
    scores = heads * (op.head_dim * naive + (op.latent + op.rope_dim) * absorbed)
    return scores, heads * (op.value_dim * naive + op.latent * absorbed)


def _latent_reads(op: LatentAttention, step: Step, part: Literal["all", "scores", "values"]) -> Number:
    latent, rope = op.keys().part_bytes
    absorbed = {"all": latent + rope, "scores": latent + rope, "values": latent}[part]
    naive = 0.0 if part == "values" else rope
    return step.rows(f"absorbed_context:{op.rule}") * absorbed + step.rows(f"naive_context:{op.rule}") * naive


def _unpacked(op: LatentAttention, step: Step) -> Number:
    """Vector work of bringing the cached rows that are read into operand form."""
    if not op.unpack_flops:
        return 0.0
    rows = step.rows(f"absorbed_context:{op.rule}") + step.rows(f"naive_context:{op.rule}")
    return rows * op.unpack_flops


@cost_of(LatentAttention)
def latent_attention_cost(op: LatentAttention, step: Step) -> OpCost:
    """Naive pairs cost 2*(d_n + d_r) + 2*d_v per head, absorbed ones 2*(c + d_r) + 2*c; softmax as in attention.

    Absorbed reads the latent cache once for all heads: (c + d_r) values a row; naive reads the expanded keys and values
    (an input) and the rotary keys.
    """
    cost = base_cost(op, step)
    cost.products = _products(op, step)
    pairs = step.rows(f"naive_pairs:{op.rule}") + step.rows(f"absorbed_pairs:{op.rule}")
    cost.vector_flops = pairs * ((VECTOR_FLOPS_PER_PAIR + op.pair_flops) * op.heads) + _unpacked(op, step)
    cost.transcendentals = pairs * float(op.heads)
    cost.kv_read_bytes = _latent_reads(op, step, "all")
    cost.choice = chosen(step, op.rule)
    return cost


@cost_of(LatentScore)
def latent_score_cost(op: LatentScore, step: Step) -> OpCost:
    """The first product of the eager form: full n_q * n_kv pairs."""
    cost = base_cost(op, step)
    cost.products = _products(op, step)[:1]
    cost.vector_flops = _unpacked(op, step)
    cost.kv_read_bytes = _latent_reads(op, step, "scores")
    cost.choice = chosen(step, op.rule)
    return cost


@cost_of(LatentValue)
def latent_value_cost(op: LatentValue, step: Step) -> OpCost:
    """The second product of the eager form."""
    cost = base_cost(op, step)
    cost.products = _products(op, step)[1:]
    cost.vector_flops = _unpacked(op, step)
    cost.kv_read_bytes = _latent_reads(op, step, "values")
    cost.choice = chosen(step, op.rule)
    return cost


@dataclass(frozen=True)
class IndexScore(AttentionBase):
    """DSA's indexer: ``heads`` x ``head_dim`` dot products of every query with every index key, then the top k.

    ``eager``: all pairs instead of the causal ones.
    """

    top_k: int = 1
    eager: bool = False
    kind: ClassVar[str] = "index_score"
    products: ClassVar[int] = 1


@cost_of(IndexScore)
def index_score_cost(op: IndexScore, step: Step) -> OpCost:
    """F = 2*H_i*d_i*P; per pair and head ReLU, weight and sum (3 vector FLOPs), per pair one compare for the top k.

    Source: DeepSeek-V3.2 report, lightning indexer: I_ts = sum_j w_tj * ReLU(q_tj . k_s).
    """
    cost = base_cost(op, step)
    pairs = step.all_pairs() if op.eager else step.causal_pairs()
    cost.products = (pairs * (2.0 * op.heads * op.head_dim),)
    cost.vector_flops = pairs * (3.0 * op.heads + 1.0) + step.kv_tokens() * op.unpack_flops
    cost.kv_read_bytes = step.kv_tokens() * op.keys().token_bytes
    return cost
