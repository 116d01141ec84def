"""Diffusion transformer blocks (DiT, arXiv:2212.09748): adaLN-Zero conditioning on one row per request."""

from __future__ import annotations

from dataclasses import dataclass

from viewer.graph import Op
from viewer.models.emit import Context, emit, emits
from viewer.models.layers import norm_op
from viewer.models.spec import AttentionSpec, MLPSpec, NormSpec
from viewer.ops.elementwise import ACTIVATIONS, Activation, Add, Elementwise
from viewer.ops.linear import Embedding

#: LayerNorm without weights: scale and shift come from the condition.
PLAIN_NORM = NormSpec("layer", 0)
SILU, SILU_SPECIAL = ACTIVATIONS["silu"]


@dataclass(frozen=True)
class DiTLayerSpec:
    """A block: adaln h -> 6h on the condition; norm, modulate, attention, gated add; norm, modulate, mlp, gated add."""

    attention: AttentionSpec
    mlp: MLPSpec


@dataclass(frozen=True)
class DiTStemSpec:
    """Patch embedding with fixed positions, timestep and label embedding.

    ``patch_values``: pixels x channels of a patch; ``frequencies``: width of the sinusoidal timestep embedding (256);
    ``labels``: rows of the class table, 0 for none.
    """

    patch_values: int
    positions: int
    frequencies: int
    labels: int


@dataclass(frozen=True)
class DiTTailSpec:
    """The last layer: norm, adaln h -> 2h, modulate, linear to ``values`` per patch."""

    values: int


@emits(DiTLayerSpec)
def dit_layer_ops(layer: DiTLayerSpec, ctx: Context) -> list[Op]:
    """One block in execution order."""
    ops: list[Op] = _adaln(ctx, "adaln_proj", 6)
    for part, block in (("attn", layer.attention), ("mlp", layer.mlp)):
        target = f"{part}_block_out"
        ops.append(norm_op(PLAIN_NORM, ctx, f"{part}_norm", "hidden", "normed"))
        ops.append(_modulate(ctx, f"{part}_modulate", 6))
        ops += emit(block, ctx.at(source="normed", target=target))
        ops.append(_gated_add(ctx, f"{part}_add", target))
    return ops


def _adaln(ctx: Context, name: str, parts: int) -> list[Op]:
    """SiLU and a linear layer on B rows (not on tokens): the shifts, scales and gates of a block."""
    h = ctx.hidden
    condition, active = ctx.tensor("condition", h, "requests"), ctx.tensor("condition_act", h, "requests")
    act = Activation(
        name=ctx.prefix + name.replace("proj", "act"),
        inputs=(condition,),
        outputs=(active,),
        rows="requests",
        flops=SILU * h,
        special=SILU_SPECIAL * h,
        gated=False,
    )
    linear = ctx.linear(name, ("condition_act", h), ("modulation", parts * h), bias=True, rows="requests")
    return [act, linear]


def _modulate(ctx: Context, name: str, parts: int) -> Elementwise:
    """x * (1 + scale) + shift: 2 FLOPs a value (modelling 2.7)."""
    x = ctx.tensor("normed", ctx.hidden)
    shift_scale = ctx.tensor("modulation", parts * ctx.hidden / (3 if parts == 6 else 1), "requests")
    return Elementwise(
        name=ctx.prefix + name,
        inputs=(x, shift_scale),
        outputs=(x,),
        rows=ctx.rows,
        flops=2.0 * ctx.hidden,
    )


def _gated_add(ctx: Context, name: str, source: str) -> Add:
    hidden = ctx.tensor("hidden", ctx.hidden)
    gate = ctx.tensor("modulation", ctx.hidden, "requests")
    return Add(
        name=ctx.prefix + name,
        inputs=(ctx.tensor(source, ctx.hidden), hidden, gate),
        outputs=(hidden,),
        rows=ctx.rows,
        flops=2.0 * ctx.hidden,
    )


@emits(DiTStemSpec)
def dit_stem_ops(spec: DiTStemSpec, ctx: Context) -> list[Op]:
    """patch_embed, position_add, timestep_in, timestep_act, timestep_out, label_embed."""
    h = ctx.hidden
    hidden = ctx.tensor("hidden", h)
    inner = ctx.tensor("timestep_hidden", h, "requests")
    ops: list[Op] = [
        ctx.linear("patch_embed", ("latent", spec.patch_values), ("hidden", h), bias=True),
        Add(
            name="position_add",
            inputs=(hidden,),
            outputs=(hidden,),
            weights=(ctx.weight("position_embed", spec.positions * h),),
            flops=1.0 * h,
        ),
        ctx.linear(
            "timestep_in",
            ("frequencies", spec.frequencies),
            ("timestep_hidden", h),
            bias=True,
            rows="requests",
        ),
        Activation(
            name="timestep_act",
            inputs=(inner,),
            outputs=(inner,),
            rows="requests",
            flops=SILU * h,
            special=SILU_SPECIAL * h,
            gated=False,
        ),
        ctx.linear("timestep_out", ("timestep_hidden", h), ("condition", h), bias=True, rows="requests"),
    ]
    if spec.labels:
        table = ctx.weight("label_embed", spec.labels, h)
        out = ctx.tensor("condition", h, "requests")
        ops.append(
            Embedding(name="label_embed", inputs=(out,), outputs=(out,), weights=(table,), adds=1.0 * h)
        )
    return ops


@emits(DiTTailSpec)
def dit_tail_ops(spec: DiTTailSpec, ctx: Context) -> list[Op]:
    """final_norm, final_adaln, final_modulate, final_proj."""
    return [
        norm_op(PLAIN_NORM, ctx, "final_norm", "hidden", "normed"),
        *_adaln(ctx, "final_adaln_proj", 2),
        _modulate(ctx, "final_modulate", 2),
        ctx.linear("final_proj", ("normed", ctx.hidden), ("noise", spec.values), bias=True),
    ]
