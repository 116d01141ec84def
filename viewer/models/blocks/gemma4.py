"""A Gemma 4 layer: sandwich norms, optionally experts beside the dense feed-forward, and a per-layer input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from viewer.graph import Op
from viewer.models.blocks.moe import MoESpec
from viewer.models.emit import Context, emit, emits
from viewer.models.layers import add_op, norm_op
from viewer.models.spec import RMS, AttentionSpec, MLPSpec, NormSpec
from viewer.ops.elementwise import ACTIVATIONS, Activation, Add, Norm
from viewer.ops.linear import Embedding

#: RMSNorm without weights.
PLAIN_RMS = NormSpec("rms", 0)


@dataclass(frozen=True)
class Gemma4LayerSpec:
    """``experts``: routed experts beside the dense feed-forward (or None). ``per_layer``: width of its own input."""

    mixer: AttentionSpec
    ffn: MLPSpec
    experts: MoESpec | None = None
    per_layer: int = 0


@dataclass(frozen=True)
class PerLayerInputSpec:
    """A second embedding of ``vocab`` rows x (layers x width), and a projection of the hidden state to that width."""

    vocab: int
    layers: int
    width: int


@emits(Gemma4LayerSpec)
def gemma4_layer_ops(layer: Gemma4LayerSpec, ctx: Context) -> list[Op]:
    """Attention and feed-forward, each between two norms; experts added before the last norm; the per-layer input."""
    ops: list[Op] = [norm_op(RMS, ctx, "attn_norm", "hidden", "normed")]
    ops += emit(layer.mixer, ctx.at(source="normed", target="attn_block_out"))
    ops.append(norm_op(RMS, ctx, "attn_post_norm", "attn_block_out", "attn_block_out"))
    ops.append(add_op(ctx, "attn_add", "attn_block_out"))
    ops.append(norm_op(RMS, ctx, "mlp_norm", "hidden", "normed"))
    ops += emit(layer.ffn, ctx.at(source="normed", target="mlp_block_out"))
    if layer.experts is not None:
        ops += _experts(layer.experts, ctx)
    ops.append(norm_op(RMS, ctx, "mlp_post_norm", "mlp_block_out", "mlp_block_out"))
    ops.append(add_op(ctx, "mlp_add", "mlp_block_out"))
    if layer.per_layer:
        ops += _per_layer(layer.per_layer, ctx)
    return ops


def _experts(experts: MoESpec, ctx: Context) -> list[Op]:
    """norm of the dense output; router and experts on norms of the residual; norm; sum."""
    dense, routed = ctx.tensor("mlp_block_out", ctx.hidden), ctx.tensor("moe_block_out", ctx.hidden)
    return [
        norm_op(RMS, ctx, "dense_post_norm", "mlp_block_out", "mlp_block_out"),
        norm_op(PLAIN_RMS, ctx, "router_norm", "hidden", "router_normed"),
        norm_op(RMS, ctx, "moe_norm", "hidden", "moe_normed"),
        *emit(experts, ctx.at(source="moe_normed", target="moe_block_out")),
        norm_op(RMS, ctx, "moe_post_norm", "moe_block_out", "moe_block_out"),
        Add(
            name=ctx.prefix + "moe_add",
            inputs=(dense, routed),
            outputs=(dense,),
            rows=ctx.rows,
            flops=1.0 * ctx.hidden,
        ),
    ]


def _per_layer(width: int, ctx: Context) -> list[Op]:
    flops, special = ACTIVATIONS["gelu"]
    gate = ctx.tensor("per_layer_gate", width)
    return [
        ctx.linear("per_layer_gate", ("hidden", ctx.hidden), ("per_layer_gate", width)),
        Activation(
            name=ctx.prefix + "per_layer_act",
            inputs=(gate, ctx.tensor("per_layer_input", width)),
            outputs=(gate,),
            rows=ctx.rows,
            flops=(flops + 1.0) * width,
            special=special * width,
            function="gelu",
        ),
        ctx.linear("per_layer_proj", ("per_layer_gate", width), ("per_layer_out", ctx.hidden)),
        norm_op(RMS, ctx, "per_layer_norm", "per_layer_out", "per_layer_out"),
        add_op(ctx, "per_layer_add", "per_layer_out"),
    ]


@emits(PerLayerInputSpec)
def per_layer_input_ops(spec: PerLayerInputSpec, ctx: Context) -> list[Op]:
    """per_layer_embed (gather), per_layer_model_proj, its norm, and their sum."""
    width = spec.layers * spec.width
    table: Any = ctx.weight("per_layer_embed", spec.vocab, width)
    embedded, projected = ctx.tensor("per_layer_input", width), ctx.tensor("per_layer_projected", width)
    norm = Norm(
        name="per_layer_model_norm",
        inputs=(projected,),
        outputs=(projected,),
        weights=(ctx.weight("per_layer_model_norm", spec.width),),
        flops=RMS.flops_per_value * width,
        special=float(spec.layers),
    )
    return [
        Embedding(name="per_layer_embed", outputs=(embedded,), weights=(table,)),
        ctx.linear("per_layer_model_proj", ("hidden", ctx.hidden), ("per_layer_projected", width)),
        norm,
        Add(name="per_layer_sum", inputs=(projected, embedded), outputs=(embedded,), flops=1.0 * width),
    ]
