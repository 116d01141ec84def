"""Dense feed-forward blocks as unfused ops."""

from __future__ import annotations

from viewer.graph import Op, Tensor
from viewer.models.emit import Context, emits
from viewer.models.spec import MLPSpec
from viewer.ops.elementwise import ACTIVATIONS, Activation


@emits(MLPSpec)
def mlp_ops(spec: MLPSpec, ctx: Context) -> list[Op]:
    """gate, up, activation * up, down; or up, activation, down."""
    f = spec.intermediate
    source = (ctx.source, ctx.hidden)
    ops: list[Op] = []
    if spec.gated and spec.fused_gate_up:
        ops.append(ctx.linear("gate_up_proj", source, ("gate_up", 2 * f), bias=spec.bias, shard="column"))
    elif spec.gated:
        ops.append(ctx.linear("gate_proj", source, ("gate", f), bias=spec.bias, shard="column"))
        ops.append(ctx.linear("up_proj", source, ("up", f), bias=spec.bias, shard="column"))
    else:
        ops.append(ctx.linear("up_proj", source, ("up", f), bias=spec.bias, shard="column"))
    ops.append(activation_op(spec, ctx, f))
    ops.append(ctx.linear("down_proj", ("act", f), (ctx.target, ctx.hidden), bias=spec.bias, shard="row"))
    return ops


def activation_op(spec: MLPSpec, ctx: Context, width: int, name: str = "mlp_act") -> Op:
    """The activation on ``width`` values per row (times the other half when gated)."""
    flops, special = ACTIVATIONS[spec.activation]
    if spec.gated and spec.fused_gate_up:
        inputs: tuple[Tensor, ...] = (ctx.tensor("gate_up", 2 * width),)
    elif spec.gated:
        inputs = (ctx.tensor("gate", width), ctx.tensor("up", width))
    else:
        inputs = (ctx.tensor("up", width),)
    return Activation(
        name=ctx.prefix + name,
        inputs=inputs,
        outputs=(ctx.tensor("act", width),),
        rows=ctx.rows,
        flops=(flops + (1.0 if spec.gated else 0.0)) * width,
        special=special * width,
        function=spec.activation,
        gated=spec.gated,
    )
