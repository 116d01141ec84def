"""Multi-head latent attention (DeepSeek V2/V3, Kimi, GLM-5) as unfused ops, with or without the sparse indexer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from viewer import formats
from viewer.graph import Cache, Op, Tensor
from viewer.models.blocks.attention import RMS_FLOPS_PER_VALUE, ROPE_FLOPS_PER_VALUE
from viewer.models.emit import Context, emits
from viewer.ops.elementwise import CacheAppend, Norm, Rope, Softmax
from viewer.ops.mla import IndexScore, LatentAttention, LatentRule, LatentScore, LatentUp, LatentValue

#: The indexer's keys and queries are FP8 with one FP32 scale per 128 values (DeepSeek-V3.2 report).
INDEX_FORMAT = "fp8_e4m3_g128"
#: LayerNorm FLOPs per value (modelling 2.8).
LAYER_NORM_FLOPS = 7.0


@dataclass(frozen=True)
class IndexerSpec:
    """DSA's indexer: ``heads`` x ``head_dim`` queries against one key of ``head_dim``; ``top_k`` keys are attended."""

    heads: int
    head_dim: int
    top_k: int


@dataclass(frozen=True)
class MLASpec:
    """``q_rank`` 0: a plain q_proj. ``nope``, ``rope``, ``value_dim``: d_n, d_r, d_v per head; ``kv_rank``: c.

    ``indexer``: sparse attention over its top k; ``own_indexer``: False where an earlier layer's choice is used again.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    value_dim: int
    bias: bool = False
    indexer: IndexerSpec | None = None
    own_indexer: bool = True

    def rule(self, mode: str, eager: bool) -> LatentRule:
        """The rule that chooses naive or absorbed."""
        return LatentRule(
            mode=mode,
            naive_pair=2.0 * (self.nope + self.rope) + 2.0 * self.value_dim,
            absorbed_pair=2.0 * (self.kv_rank + self.rope) + 2.0 * self.kv_rank,
            expand=2.0 * self.kv_rank * (self.nope + self.value_dim),
            top_k=self.indexer.top_k if self.indexer else 0,
            eager=eager,
        )


@emits(MLASpec)
def mla_ops(spec: MLASpec, ctx: Context) -> list[Op]:
    """q_a, kv_a, their norms, q_b, rope, append, the indexer, kv_b, the core, o_proj."""
    cache = Cache(heads=1, widths=(spec.kv_rank, spec.rope), formats=(ctx.dtype, ctx.dtype))
    ops = _projections(spec, ctx)
    rotary = (
        ctx.tensor("q", spec.heads * spec.rope),
        ctx.tensor("k", spec.rope),
    )
    ops.append(
        Rope(
            name=ctx.prefix + "rope",
            inputs=rotary,
            outputs=rotary,
            rows=ctx.rows,
            flops=ROPE_FLOPS_PER_VALUE * (spec.heads + 1) * spec.rope,
        )
    )
    latent = (ctx.tensor("kv_latent", spec.kv_rank), ctx.tensor("k", spec.rope))
    ops.append(CacheAppend(name=ctx.prefix + "kv_append", inputs=latent, cache=cache, rows=ctx.rows))
    if spec.indexer is not None and spec.own_indexer:
        ops += _indexer(spec, spec.indexer, ctx)
    rule = spec.rule(ctx.mla, ctx.attention == "eager").key
    ops.append(_up(spec, ctx, cache, rule))
    ops += _core(spec, ctx, cache, rule)
    width = spec.heads * spec.value_dim
    ops.append(
        ctx.linear("o_proj", ("attn_out", width), (ctx.target, ctx.hidden), bias=spec.bias, shard="row")
    )
    return ops


def _projections(spec: MLASpec, ctx: Context) -> list[Op]:
    source = (ctx.source, ctx.hidden)
    q = spec.heads * (spec.nope + spec.rope)
    kv_a = ctx.linear("kv_a_proj", source, ("kv_a", spec.kv_rank + spec.rope), bias=spec.bias)
    kv_norm = _norm(ctx, "kv_a_norm", "kv_a", "kv_latent", spec.kv_rank)
    if not spec.q_rank:
        return [ctx.linear("q_proj", source, ("q", q), shard="column"), kv_a, kv_norm]
    return [
        ctx.linear("q_a_proj", source, ("q_a", spec.q_rank), bias=spec.bias),
        kv_a,
        _norm(ctx, "q_a_norm", "q_a", "q_a_normed", spec.q_rank),
        kv_norm,
        ctx.linear("q_b_proj", ("q_a_normed", spec.q_rank), ("q", q), shard="column"),
    ]


def _norm(ctx: Context, name: str, source: str, target: str, width: int) -> Norm:
    return Norm(
        name=ctx.prefix + name,
        inputs=(ctx.tensor(source, width),),
        outputs=(ctx.tensor(target, width),),
        weights=(ctx.weight(name, width),),
        rows=ctx.rows,
        flops=RMS_FLOPS_PER_VALUE * width,
        special=1.0,
    )


def _up(spec: MLASpec, ctx: Context, cache: Cache, rule: str) -> LatentUp:
    out = spec.heads * (spec.nope + spec.value_dim)
    return LatentUp(
        name=ctx.prefix + "kv_b_proj",
        inputs=(ctx.tensor("q", spec.heads * spec.nope, f"absorbed_tokens:{rule}"),),
        outputs=(
            ctx.tensor("kv_expanded", out, f"naive_context:{rule}"),
            ctx.tensor("q_latent", spec.heads * spec.kv_rank, f"absorbed_tokens:{rule}"),
        ),
        weights=(ctx.weight("kv_b_proj", out, spec.kv_rank),),
        rows=f"expanded:{rule}",
        in_features=spec.kv_rank,
        out_features=out,
        shard="column",
        rule=rule,
        heads=spec.heads,
        value_dim=spec.value_dim,
        cache=cache,
    )


def _core(spec: MLASpec, ctx: Context, cache: Cache, rule: str) -> list[Op]:
    n = spec.heads
    shape: dict[str, Any] = {
        "heads": n,
        "head_dim": spec.nope + spec.rope,
        "value_dim": spec.value_dim,
        "cache": cache,
        "rule": rule,
        "latent": spec.kv_rank,
        "rope_dim": spec.rope,
    }
    naive, absorbed = f"naive_tokens:{rule}", f"absorbed_tokens:{rule}"
    queries = (
        ctx.tensor("q", n * (spec.nope + spec.rope), naive),
        ctx.tensor("q_latent", n * (spec.kv_rank + spec.rope), absorbed),
    )
    outs = (
        ctx.tensor("attn_out", n * spec.value_dim, naive),
        ctx.tensor("attn_latent", n * spec.kv_rank, absorbed),
    )
    context = f"naive_context:{rule}"
    if ctx.attention == "flash":
        kv = ctx.tensor("kv_expanded", n * (spec.nope + spec.value_dim), context)
        return [LatentAttention(name=ctx.prefix + "attention", inputs=(*queries, kv), outputs=outs, **shape)]
    scores: Tensor = ctx.tensor("scores", n, "pairs")
    probs: Tensor = ctx.tensor("probs", n, "pairs")
    keys = ctx.tensor("kv_expanded", n * spec.nope, context)
    values = ctx.tensor("kv_expanded", n * spec.value_dim, context)
    return [
        LatentScore(name=ctx.prefix + "qk_matmul", inputs=(*queries, keys), outputs=(scores,), **shape),
        Softmax(
            name=ctx.prefix + "softmax",
            inputs=(scores,),
            outputs=(probs,),
            rows="pairs",
            flops=4.0 * n,
            special=1.0 * n,
        ),
        LatentValue(name=ctx.prefix + "pv_matmul", inputs=(probs, values), outputs=outs, **shape),
    ]


def _indexer(spec: MLASpec, index: IndexerSpec, ctx: Context) -> list[Op]:
    """index_q_proj, index_k_proj, index_weights_proj, norm, rope, append, score (arXiv:2512.02556, DSA)."""
    width, storage = index.heads * index.head_dim, formats.get(INDEX_FORMAT)
    cache = Cache(heads=1, widths=(index.head_dim,), formats=(storage,), quantizable=False)
    q_source = ("q_a_normed", spec.q_rank) if spec.q_rank else (ctx.source, ctx.hidden)
    key = ctx.tensor("index_k", index.head_dim)
    turned = (ctx.tensor("index_q", index.heads * spec.rope), ctx.tensor("index_k", spec.rope))
    query = Tensor("index_q", width, ctx.rows, storage)
    return [
        ctx.linear("index_q_proj", q_source, ("index_q", width)),
        ctx.linear("index_k_proj", (ctx.source, ctx.hidden), ("index_k", index.head_dim)),
        ctx.linear("index_weights_proj", (ctx.source, ctx.hidden), ("index_weight", index.heads)),
        Norm(
            name=ctx.prefix + "index_k_norm",
            inputs=(key,),
            outputs=(key,),
            weights=(ctx.weight("index_k_norm", 2 * index.head_dim),),
            rows=ctx.rows,
            flops=LAYER_NORM_FLOPS * index.head_dim,
            special=1.0,
        ),
        Rope(
            name=ctx.prefix + "index_rope",
            inputs=turned,
            outputs=turned,
            rows=ctx.rows,
            flops=ROPE_FLOPS_PER_VALUE * (index.heads + 1) * spec.rope,
        ),
        CacheAppend(name=ctx.prefix + "index_kv_append", inputs=(key,), cache=cache, rows=ctx.rows),
        IndexScore(
            name=ctx.prefix + "index_score",
            inputs=(query, ctx.tensor("index_weight", index.heads)),
            outputs=(ctx.tensor("index_choice", index.top_k, fmt="fp32"),),  # 32-bit indices
            heads=index.heads,
            head_dim=index.head_dim,
            cache=cache,
            top_k=index.top_k,
            eager=ctx.attention == "eager",
        ),
    ]
