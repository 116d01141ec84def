"""Cross-attention and the three-part layer of encoder-decoder models; stems of audio and image encoders."""

from __future__ import annotations

from dataclasses import dataclass

from viewer.graph import Cache, Op
from viewer.models.blocks.attention import core_ops
from viewer.models.emit import Context, emit, emits
from viewer.models.layers import add_op, norm_op
from viewer.models.spec import RMS, AttentionSpec, MLPSpec, NormSpec
from viewer.ops.elementwise import ACTIVATIONS, Activation, Add, CacheAppend
from viewer.ops.linear import Linear
from viewer.workload import Number, Step, row_kind


@row_kind("frames")
def frames(step: Step, factor: str) -> Number:
    """Rows of an audio stem before its stride: ``factor`` x source tokens."""
    return step.rows("source") * float(factor)


@dataclass(frozen=True)
class CrossSpec:
    """Attention of the decoder to the encoder's output of width ``source_hidden``.

    Keys and values are projected once per source token and cached for the whole answer.
    """

    attention: AttentionSpec
    source_hidden: int


@dataclass(frozen=True)
class CrossLayerSpec:
    """A decoder layer of three parts: self-attention, cross-attention, feed-forward, each after a norm.

    ``extra_weights``: a table of position biases (T5: buckets x heads in the first layer), looked up per pair.
    """

    mixer: AttentionSpec
    ffn: MLPSpec
    cross: CrossSpec | None = None
    norm: NormSpec = RMS
    extra_weights: int = 0


@emits(CrossSpec)
def cross_ops(spec: CrossSpec, ctx: Context) -> list[Op]:
    """cross_q_proj on tokens; cross_k_proj, cross_v_proj and append on new source tokens; core; cross_o_proj."""
    a, source = spec.attention, ("encoder_out", spec.source_hidden)
    inner = ctx.at(prefix=ctx.prefix + "cross_")
    q, k, v = a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.v_dim
    cache = Cache(a.kv_heads, (a.head_dim, a.v_dim), (ctx.dtype, ctx.dtype), memory="source")
    k_bias = a.kv_bias if a.k_bias is None else a.k_bias
    append = CacheAppend(
        name=inner.prefix + "kv_append",
        inputs=(ctx.tensor("cross_k", k, "source"), ctx.tensor("cross_v", v, "source")),
        cache=cache,
        rows="source",
    )
    shape = {
        "heads": a.heads,
        "head_dim": a.head_dim,
        "value_dim": a.v_dim,
        "cache": cache,
        "causal": False,
        "memory": "source",
    }
    return [
        inner.linear("q_proj", (ctx.source, ctx.hidden), ("q", q), bias=a.q_bias, shard="column"),
        inner.linear("k_proj", source, ("cross_k", k), bias=k_bias, shard="column", rows="source"),
        inner.linear("v_proj", source, ("cross_v", v), bias=a.kv_bias, shard="column", rows="source"),
        append,
        *core_ops(inner, ctx.tensor("q", q), shape),
        inner.linear(
            "o_proj", ("attn_out", a.heads * a.v_dim), (ctx.target, ctx.hidden), bias=a.o_bias, shard="row"
        ),
    ]


@emits(CrossLayerSpec)
def cross_layer_ops(layer: CrossLayerSpec, ctx: Context) -> list[Op]:
    """norm, self-attention, add; norm, cross-attention, add; norm, feed-forward, add."""
    ops: list[Op] = []
    for part, block in (("attn", layer.mixer), ("cross_attn", layer.cross), ("mlp", layer.ffn)):
        if block is None:
            continue
        target = f"{part}_block_out"
        norm = norm_op(layer.norm, ctx, f"{part}_norm", "hidden", "normed")
        ops += [
            norm,
            *emit(block, ctx.at(source="normed", target=target)),
            add_op(ctx, f"{part}_add", target),
        ]
    if layer.extra_weights:
        first = ops[0]
        table = ctx.weight("relative_attention_bias", layer.extra_weights)
        ops[0] = first.with_(weights=(*first.weights, table))
    return ops


@dataclass(frozen=True)
class AudioStemSpec:
    """Two convolutions of width 3 (the second with stride 2) and positions (Whisper): as linears on 3 x channels."""

    mel_bins: int
    positions: int


@emits(AudioStemSpec)
def audio_stem_ops(spec: AudioStemSpec, ctx: Context) -> list[Op]:
    """conv1 on twice the rows, GELU, conv2, GELU, add of the position table."""
    h, twice = ctx.hidden, "frames:2"
    gelu, special = ACTIVATIONS["gelu"]
    ops: list[Op] = [_patch(ctx, "conv1", "mel", 3 * spec.mel_bins, "conv1_out", twice)]
    for name, rows in (("conv1", twice), ("conv2", ctx.rows)):
        if name == "conv2":
            ops.append(_patch(ctx, "conv2", "conv1_out", 3 * h, "conv2_out", ctx.rows))
        x = ctx.tensor(f"{name}_out", h, rows)
        ops.append(
            Activation(
                name=f"{ctx.prefix}{name}_act",
                inputs=(x,),
                outputs=(x,),
                rows=rows,
                flops=gelu * h,
                special=special * h,
                function="gelu",
                gated=False,
            )
        )
    ops.append(_position_add(ctx, "conv2_out", spec.positions))
    return ops


@dataclass(frozen=True)
class PatchStemSpec:
    """Patches of ``values`` (pixels x channels) to hidden: a convolution whose stride is its size, plus positions.

    ``positions``: rows of a learned table (0: none); ``bias``; ``extra``: parameters beside it (class token).
    """

    values: int
    positions: int = 0
    bias: bool = True
    extra: int = 0


@emits(PatchStemSpec)
def patch_stem_ops(spec: PatchStemSpec, ctx: Context) -> list[Op]:
    """patch_embed and the add of positions."""
    embed = _patch(ctx, "patch_embed", "pixels", spec.values, "hidden", ctx.rows, spec.bias)
    if spec.extra:
        embed = embed.with_(weights=(*embed.weights, ctx.weight("class_token", spec.extra)))
    return [embed, _position_add(ctx, "hidden", spec.positions)] if spec.positions else [embed]


def _patch(
    ctx: Context, name: str, source: str, width: int, target: str, rows: str, bias: bool = True
) -> Linear | Op:
    """A convolution as a linear layer on the values under its window."""
    return ctx.linear(name, (source, width), (target, ctx.hidden), bias=bias, rows=rows)


def _position_add(ctx: Context, source: str, positions: int) -> Add:
    x, out = ctx.tensor(source, ctx.hidden), ctx.tensor("hidden", ctx.hidden)
    return Add(
        name=ctx.prefix + "position_add",
        inputs=(x,),
        outputs=(out,),
        weights=(ctx.weight("position_embed", positions * ctx.hidden),),
        rows=ctx.rows,
        flops=1.0 * ctx.hidden,
    )


@dataclass(frozen=True)
class ProjectSpec:
    """A linear layer at the end of a tower: ``source_width`` values (hidden, or several patches of it) to ``width``.

    ``name`` without prefix; ``rows``: the row kind after pooling ("" keeps the tower's); ``norm``: before it.
    """

    name: str
    source_width: int
    width: int
    bias: bool = False
    rows: str = ""
    norm: NormSpec | None = None
    activation: str = ""
    source: str = "normed"
    target: str = "projected"


@emits(ProjectSpec)
def project_ops(spec: ProjectSpec, ctx: Context) -> list[Op]:
    """(norm), linear, (activation)."""
    rows = spec.rows or ctx.rows
    ops: list[Op] = []
    if spec.norm is not None:
        inner = ctx.at(hidden=spec.source_width)
        ops.append(norm_op(spec.norm, inner, f"{spec.name}_norm", spec.source, spec.source, rows))
    source, target = (spec.source, spec.source_width), (spec.target, spec.width)
    ops.append(ctx.linear(spec.name, source, target, bias=spec.bias, rows=rows))
    if spec.activation:
        flops, special = ACTIVATIONS[spec.activation]
        x = ctx.tensor(spec.target, spec.width, rows)
        ops.append(
            Activation(
                name=f"{ctx.prefix}{spec.name}_act",
                inputs=(x,),
                outputs=(x,),
                rows=rows,
                flops=flops * spec.width,
                special=special * spec.width,
                function=spec.activation,
                gated=False,
            )
        )
    return ops
