"""Mixture-of-experts feed-forward as unfused ops."""

from __future__ import annotations

from dataclasses import dataclass, replace

from viewer.graph import Op, Tensor, Weight
from viewer.models.blocks.mlp import mlp_ops
from viewer.models.emit import Context, emits
from viewer.models.spec import MLPSpec
from viewer.ops.elementwise import ACTIVATIONS, Activation, Add, Elementwise
from viewer.ops.moe import ExpertLinear, MoeCombine, MoePermute, RouterTopK


@dataclass(frozen=True)
class MoESpec:
    """Router, ``experts`` routed experts of which each token uses ``top_k``, and what runs beside them.

    ``intermediate``: width of one expert. ``shared``: the dense feed-forward of the shared experts (their widths
    summed), ``shared_gate``: scaled by a sigmoid of one linear output. ``fused_gate_up``: the checkpoint stores gate
    and up as one matrix. ``latent``: experts work on a projection of the hidden state of this width (0: none).
    ``router_weights``: parameters of the router beyond its matrix and bias.
    """

    experts: int
    top_k: int
    intermediate: int
    gated: bool = True
    activation: str = "silu"
    router_bias: bool = False
    expert_bias: bool = False
    fused_gate_up: bool = False
    shared: MLPSpec | None = None
    shared_gate: bool = False
    latent: int = 0
    router_weights: int = 0


@emits(MoESpec)
def moe_ops(spec: MoESpec, ctx: Context) -> list[Op]:
    """router, router_topk, moe_permute, experts_*, moe_combine, shared_*, shared_add."""
    ops = _router(spec, ctx)
    target = "moe_out" if spec.shared is not None else ctx.target
    ops += _experts(spec, ctx, target)
    if spec.shared is None:
        return ops
    ops += mlp_ops(spec.shared, ctx.at(prefix=ctx.prefix + "shared_", target="shared_out"))
    shared, width = ctx.tensor("shared_out", ctx.hidden), float(ctx.hidden)
    if spec.shared_gate:
        ops.append(ctx.linear("shared_gate", (ctx.source, ctx.hidden), ("shared_score", 1)))
        gate = Elementwise(
            name=ctx.prefix + "shared_scale",
            inputs=(shared, ctx.tensor("shared_score", 1)),
            outputs=(shared,),
            rows=ctx.rows,
            flops=width + ACTIVATIONS["sigmoid"][0],
            special=ACTIVATIONS["sigmoid"][1],
        )
        ops.append(gate)
    ops.append(
        Add(
            name=ctx.prefix + "shared_add",
            inputs=(ctx.tensor(target, ctx.hidden), shared),
            outputs=(ctx.tensor(ctx.target, ctx.hidden),),
            rows=ctx.rows,
            flops=width,
        )
    )
    return ops


def _router(spec: MoESpec, ctx: Context) -> list[Op]:
    e, k = spec.experts, spec.top_k
    router = ctx.linear("router", (ctx.source, ctx.hidden), ("router_logits", e), bias=spec.router_bias)
    weights = router.weights
    if spec.router_weights:
        weights = (*weights, ctx.weight("router.extra", spec.router_weights))
    logits = ctx.tensor("router_logits", e, fmt="fp32")
    choice = ctx.tensor("router_choice", 2 * k, fmt="fp32")  # k weights and k indices of 32 bits
    topk = RouterTopK(
        name=ctx.prefix + "router_topk",
        inputs=(logits,),
        outputs=(choice,),
        rows=ctx.rows,
        flops=5.0 * e,  # softmax 4 (modelling 2.8), one compare for the choice
        special=1.0 * e,
    )
    return [replace(router, outputs=(logits,), weights=weights), topk]


def _experts(spec: MoESpec, ctx: Context, target: str) -> list[Op]:
    rows, h, f = f"routed:{spec.top_k}", spec.latent or ctx.hidden, spec.intermediate
    source = ctx.source
    ops: list[Op] = []
    if spec.latent:
        ops.append(ctx.linear("latent_down_proj", (source, ctx.hidden), ("latent_in", h)))
        source = "latent_in"
    expert_in = ctx.tensor("expert_in", h, rows)
    ops.append(
        MoePermute(
            name=ctx.prefix + "moe_permute",
            inputs=(ctx.tensor(source, h, rows),),
            outputs=(expert_in,),
            rows=rows,
        )
    )
    if spec.gated and spec.fused_gate_up:
        ops.append(
            _linear(spec, ctx, "experts_gate_up", ("expert_in", h), ("expert_gate_up", 2 * f), "column")
        )
        inputs: tuple[Tensor, ...] = (ctx.tensor("expert_gate_up", 2 * f, rows),)
    else:
        names = ("gate", "up") if spec.gated else ("up",)
        for name in names:
            ops.append(
                _linear(spec, ctx, f"experts_{name}", ("expert_in", h), (f"expert_{name}", f), "column")
            )
        inputs = tuple(ctx.tensor(f"expert_{name}", f, rows) for name in names)
    flops, special = ACTIVATIONS[spec.activation]
    ops.append(
        Activation(
            name=ctx.prefix + "experts_act",
            inputs=inputs,
            outputs=(ctx.tensor("expert_act", f, rows),),
            rows=rows,
            flops=(flops + float(spec.gated)) * f,
            special=special * f,
            function=spec.activation,
            gated=spec.gated,
        )
    )
    ops.append(_linear(spec, ctx, "experts_down", ("expert_act", f), ("expert_out", h), "row"))
    ops += _combine(spec, ctx, target, h, rows)
    return ops


def _combine(spec: MoESpec, ctx: Context, target: str, width: int, rows: str) -> list[Op]:
    combined = "latent_out" if spec.latent else target
    ops: list[Op] = [
        MoeCombine(
            name=ctx.prefix + "moe_combine",
            inputs=(
                ctx.tensor("expert_out", width, rows),
                ctx.tensor("router_choice", 2 * spec.top_k, fmt="fp32"),
            ),
            outputs=(ctx.tensor(combined, width),),
            rows=rows,
            flops=2.0 * width,
        )
    ]
    if spec.latent:
        ops.append(ctx.linear("latent_up_proj", (combined, width), (target, ctx.hidden)))
    return ops


def _linear(
    spec: MoESpec, ctx: Context, name: str, source: tuple[str, int], target: tuple[str, int], shard: str
) -> ExpertLinear:
    rows, i, o = f"routed:{spec.top_k}", source[1], target[1]
    weights: tuple[Weight, ...] = (ctx.weight(name, o, i, spec.experts),)
    if spec.expert_bias:
        weights = (*weights, ctx.weight(f"{name}.bias", o, 1, spec.experts))
    return ExpertLinear(
        name=ctx.prefix + name,
        inputs=(ctx.tensor(*source, rows),),
        outputs=(ctx.tensor(*target, rows),),
        weights=weights,
        rows=rows,
        in_features=i,
        out_features=o,
        bias=o if spec.expert_bias else 0,
        shard=shard,  # type: ignore[arg-type]
        experts=spec.experts,
        top_k=spec.top_k,
        held=spec.experts,
        routing=ctx.routing,
    )
