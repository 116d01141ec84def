"""Softmax attention (multi-head, grouped-query, multi-query) as unfused ops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from viewer.graph import Cache, Op, Tensor, Weight
from viewer.models.emit import Context, emits
from viewer.models.spec import AttentionSpec
from viewer.ops.attention import Attention, ScoreMatmul, ValueMatmul, pair_rows
from viewer.ops.elementwise import CacheAppend, Elementwise, Norm, Rope, Softmax

#: RoPE costs 3 FLOPs per rotated element (two multiplies and an add, shared by a pair): modelling 2.8.
ROPE_FLOPS_PER_VALUE = 3.0
#: RMSNorm FLOPs per value (square, add, scale, weight): modelling 2.8.
RMS_FLOPS_PER_VALUE = 4.0


@emits(AttentionSpec)
def attention_ops(spec: AttentionSpec, ctx: Context) -> list[Op]:
    """Projections, norms of q and k, rotary embedding, cache append, the core, the output projection."""
    ops = _projections(spec, ctx)
    if spec.qk_norm is not None:
        ops.append(_qk_norm(spec, ctx))
    if spec.rotary_dim:
        ops.append(_rope(spec, ctx))
    cache = Cache(
        heads=spec.kv_heads,
        widths=(spec.head_dim, spec.v_dim),
        formats=(ctx.dtype, ctx.dtype),
        window=spec.chunk or spec.window,
        memory="self" if spec.causal else "activation",
    )
    if not spec.reuses_cache and spec.causal:
        ops.append(_append(spec, ctx, cache))
    ops += _core(spec, ctx, cache)
    if spec.output_gate:
        ops.append(_output_gate(spec, ctx))
    width = spec.heads * spec.v_dim
    ops.append(
        ctx.linear("o_proj", ("attn_out", width), (ctx.target, ctx.hidden), bias=spec.o_bias, shard="row")
    )
    return ops


def _projections(spec: AttentionSpec, ctx: Context) -> list[Op]:
    q, k, v = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim, spec.kv_heads * spec.v_dim
    q_out = 2 * q if spec.output_gate else q
    source = (ctx.source, ctx.hidden)
    if spec.fused_qkv:
        return [ctx.linear("qkv_proj", source, ("qkv", q_out + k + v), bias=spec.q_bias, shard="column")]
    ops: list[Op] = [ctx.linear("q_proj", source, ("q", q_out), bias=spec.q_bias, shard="column")]
    if spec.reuses_cache:
        return ops
    k_bias = spec.kv_bias if spec.k_bias is None else spec.k_bias
    ops.append(ctx.linear("k_proj", source, ("k", k), bias=k_bias, shard="column"))
    if not spec.value_shared:
        ops.append(ctx.linear("v_proj", source, ("v", v), bias=spec.kv_bias, shard="column"))
    return ops


def _qk_widths(spec: AttentionSpec) -> tuple[int, int]:
    return spec.heads * spec.head_dim, 0 if spec.reuses_cache else spec.kv_heads * spec.head_dim


def _in_place(spec: AttentionSpec, ctx: Context) -> tuple[Any, ...]:
    """The tensors that rotary embedding and norms change in place: q and k, or the part of a fused qkv."""
    q, k = _qk_widths(spec)
    if spec.fused_qkv:
        return (ctx.tensor("qkv", q + k),)
    return (ctx.tensor("q", q), ctx.tensor("k", k)) if k else (ctx.tensor("q", q),)


def _qk_norm(spec: AttentionSpec, ctx: Context) -> Op:
    q, k = _qk_widths(spec)
    weights = []
    if spec.qk_norm == "head":
        weights = [ctx.weight("q_norm", spec.head_dim)] + ([ctx.weight("k_norm", spec.head_dim)] if k else [])
    elif spec.qk_norm == "full":
        weights = [ctx.weight("q_norm", q)] + ([ctx.weight("k_norm", k)] if k else [])
    tensors = _in_place(spec, ctx)
    heads = spec.heads + (spec.kv_heads if k else 0)
    return Norm(
        name=ctx.prefix + "qk_norm",
        inputs=tensors,
        outputs=tensors,
        weights=tuple(weights),
        rows=ctx.rows,
        flops=RMS_FLOPS_PER_VALUE * (q + k),
        special=float(heads),
    )


def _rope(spec: AttentionSpec, ctx: Context) -> Op:
    tensors = _in_place(spec, ctx)
    heads = spec.heads + (0 if spec.reuses_cache else spec.kv_heads)
    return Rope(
        name=ctx.prefix + "rope",
        inputs=tensors,
        outputs=tensors,
        rows=ctx.rows,
        flops=ROPE_FLOPS_PER_VALUE * heads * spec.rotary_dim,
    )


def _append(spec: AttentionSpec, ctx: Context, cache: Cache) -> Op:
    k, v = spec.kv_heads * spec.head_dim, spec.kv_heads * spec.v_dim
    reads: tuple[Tensor, ...] = (ctx.tensor("k", k), ctx.tensor("v", v))
    if spec.fused_qkv:
        reads = (ctx.tensor("qkv", k + v),)
    elif spec.value_shared:
        reads = (ctx.tensor("k", k),)
    return CacheAppend(name=ctx.prefix + "kv_append", inputs=reads, cache=cache, rows=ctx.rows)


def _tower(spec: AttentionSpec, ctx: Context) -> dict[str, Any]:
    """What attention attends to, by the row kind of the hidden state: tokens, source (encoder), image:N (vision)."""
    kind, _, tokens = ctx.rows.partition(":")
    if kind == "image":
        return {"memory": "image", "tokens": int(tokens), "span": spec.span or int(tokens)}
    return {"memory": "encoder" if kind == "source" else "self"}


def _core(spec: AttentionSpec, ctx: Context, cache: Cache) -> list[Op]:
    shape: dict[str, Any] = {
        "heads": spec.heads,
        "head_dim": spec.head_dim,
        "value_dim": spec.v_dim,
        "cache": cache,
        "window": spec.window,
        "chunk": spec.chunk,
        "causal": spec.causal,
        **_tower(spec, ctx),
    }
    q = ctx.tensor("qkv" if spec.fused_qkv else "q", spec.heads * spec.head_dim)
    sinks = (ctx.weight("sinks", spec.heads),) if spec.sinks else ()
    return core_ops(ctx, q, shape, sinks)


def core_ops(ctx: Context, q: Tensor, shape: dict[str, Any], sinks: tuple[Weight, ...] = ()) -> list[Op]:
    """The attention core from ``q`` to "attn_out": one kernel (flash), or scores, softmax and values (eager)."""
    heads = shape["heads"]
    out = ctx.tensor("attn_out", heads * shape["value_dim"])
    if ctx.attention == "flash":
        return [Attention(name=ctx.prefix + "attention", inputs=(q,), outputs=(out,), weights=sinks, **shape)]
    scores_op = ScoreMatmul(name=ctx.prefix + "qk_matmul", inputs=(q,), **shape)
    pairs = pair_rows(scores_op)
    scores = ctx.tensor("scores", heads, rows=pairs)
    probs = ctx.tensor("probs", heads, rows=pairs)
    softmax = Softmax(
        name=ctx.prefix + "softmax",
        inputs=(scores,),
        outputs=(probs,),
        weights=sinks,
        rows=pairs,
        flops=4.0 * heads,  # scale, maximum, subtract, sum (modelling 2.8)
        special=1.0 * heads,
    )
    return [
        replace(scores_op, outputs=(scores,)),
        softmax,
        ValueMatmul(name=ctx.prefix + "pv_matmul", inputs=(probs,), outputs=(out,), **shape),
    ]


def _output_gate(spec: AttentionSpec, ctx: Context) -> Op:
    width = spec.heads * spec.v_dim
    out = ctx.tensor("attn_out", width)
    gate = ctx.tensor("q", width)
    return Elementwise(
        name=ctx.prefix + "attn_gate",
        inputs=(out, gate),
        outputs=(out,),
        rows=ctx.rows,
        flops=3.0 * width,  # sigmoid (add, reciprocal counted as special) and multiply
        special=2.0 * width,
    )
