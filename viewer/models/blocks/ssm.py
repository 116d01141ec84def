"""Mamba-1, Mamba-2 and gated delta rule mixers as unfused ops, and mixers that run side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from viewer import formats
from viewer.graph import Op, State, Tensor
from viewer.models.emit import Context, emit, emits
from viewer.ops.elementwise import ACTIVATIONS, Add, Elementwise, Norm
from viewer.ops.ssm import Conv1d, DeltaScan, SelectiveScan, SSDScan

#: RMSNorm FLOPs per value (modelling 2.8).
RMS_FLOPS = 4.0
SILU_FLOPS, SILU_SPECIAL = ACTIVATIONS["silu"]


@dataclass(frozen=True)
class MambaSpec:
    """Mamba-1 (arXiv:2312.00752): ``inner`` channels, ``state`` values each, step size from ``dt_rank`` values.

    ``norms``: RMSNorm of dt, B and C before use: with weights (Jamba), without ("plain": Falcon-Mamba) or None.
    """

    inner: int
    state: int
    conv: int
    dt_rank: int
    conv_bias: bool = True
    proj_bias: bool = False
    norms: Literal["weights", "plain"] | None = None
    state_format: str = "fp32"


@dataclass(frozen=True)
class Mamba2Spec:
    """Mamba-2 (arXiv:2405.21060): ``heads`` x ``head_dim`` inner values, ``groups`` of B and C with ``state`` values.

    ``gated_norm``: RMSNorm of the gated output (else the gate alone).
    """

    heads: int
    head_dim: int
    state: int
    groups: int
    conv: int
    chunk: int
    conv_bias: bool = True
    in_bias: bool = False
    out_bias: bool = False
    gated_norm: bool = True
    state_format: str = "fp32"

    @property
    def inner(self) -> int:
        """Inner width."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class DeltaNetSpec:
    """Gated DeltaNet (arXiv:2412.06464) with ``key_heads`` keys shared by ``value_heads`` states of d_k x d_v.

    ``split_projections``: q/k/v, z, b and a are four matrices (Qwen3.5) instead of two (Qwen3-Next).
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int
    chunk: int = 64
    split_projections: bool = False
    state_format: str = "fp32"


@dataclass(frozen=True)
class BranchSpec:
    """Mixers that read the same input and whose outputs are added (Falcon-H1: attention and Mamba-2)."""

    mixers: tuple[Any, ...]


@emits(BranchSpec)
def branch_ops(spec: BranchSpec, ctx: Context) -> list[Op]:
    """Each mixer in turn, then one add per further mixer."""
    ops: list[Op] = []
    for index, mixer in enumerate(spec.mixers):
        ops += emit(mixer, ctx.at(target=f"branch_{index}"))
    out = ctx.tensor(ctx.target, ctx.hidden)
    parts = tuple(ctx.tensor(f"branch_{index}", ctx.hidden) for index in range(len(spec.mixers)))
    flops = float(ctx.hidden * (len(parts) - 1))
    ops.append(Add(name=ctx.prefix + "branch_add", inputs=parts, outputs=(out,), rows=ctx.rows, flops=flops))
    return ops


def _conv(ctx: Context, tensor: str, channels: int, width: int, bias: bool) -> Conv1d:
    x = ctx.tensor(tensor, channels)
    weights = [ctx.weight("conv1d", channels, width)]
    if bias:
        weights.append(ctx.weight("conv1d.bias", channels))
    return Conv1d(
        name=ctx.prefix + "conv1d",
        inputs=(x,),
        outputs=(x,),
        weights=tuple(weights),
        states=(State(channels * (width - 1), ctx.dtype),),
        channels=channels,
        width=width,
        flops=SILU_FLOPS + float(bias),
        special=SILU_SPECIAL,
    )


def _gate(ctx: Context, source: str, gate: str, width: int, norm_weights: int, normed: bool) -> Op:
    """y * SiLU(z), with an RMSNorm where ``normed``."""
    y, z = ctx.tensor(source, width), ctx.tensor(gate, width)
    weights = (ctx.weight("gate_norm", norm_weights),) if normed else ()
    return Elementwise(
        name=ctx.prefix + ("gate_norm" if normed else "ssm_gate"),
        inputs=(y, z),
        outputs=(y,),
        weights=weights,
        rows=ctx.rows,
        flops=(SILU_FLOPS + 1.0 + (RMS_FLOPS if normed else 0.0)) * width,
        special=SILU_SPECIAL * width + float(normed),
    )


@emits(MambaSpec)
def mamba_ops(spec: MambaSpec, ctx: Context) -> list[Op]:
    """in_proj, conv1d, x_proj, (norms), dt_proj, ssm_scan, ssm_gate, out_proj."""
    d, n, r = spec.inner, spec.state, spec.dt_rank
    ops: list[Op] = [
        ctx.linear("in_proj", (ctx.source, ctx.hidden), ("xz", 2 * d), bias=spec.proj_bias, shard="column"),
        _conv(ctx, "xz", d, spec.conv, spec.conv_bias),
        ctx.linear("x_proj", ("xz", d), ("dt_bc", r + 2 * n), shard="row"),
    ]
    if spec.norms is not None:
        small = ctx.tensor("dt_bc", r + 2 * n)
        weights = (ctx.weight("dt_bc_norm", r + 2 * n),) if spec.norms == "weights" else ()
        ops.append(
            Norm(
                name=ctx.prefix + "dt_bc_norm",
                inputs=(small,),
                outputs=(small,),
                weights=weights,
                rows=ctx.rows,
                flops=RMS_FLOPS * (r + 2 * n),
                special=3.0,
            )
        )
    ops.append(ctx.linear("dt_proj", ("dt_bc", r), ("dt", d), bias=True, shard="column"))
    ops.append(
        SelectiveScan(
            name=ctx.prefix + "ssm_scan",
            inputs=(ctx.tensor("xz", d), ctx.tensor("dt", d), ctx.tensor("dt_bc", 2 * n)),
            outputs=(ctx.tensor("ssm_out", d),),
            weights=(ctx.weight("A_log", d, n), ctx.weight("D", d)),
            states=(State(d * n, formats.get(spec.state_format)),),
            inner=d,
            state=n,
        )
    )
    ops.append(_gate(ctx, "ssm_out", "xz", d, 0, normed=False))
    target = (ctx.target, ctx.hidden)
    ops.append(ctx.linear("out_proj", ("ssm_out", d), target, bias=spec.proj_bias, shard="row"))
    return ops


@emits(Mamba2Spec)
def mamba2_ops(spec: Mamba2Spec, ctx: Context) -> list[Op]:
    """in_proj (z, x, B, C, dt), conv1d (x, B, C), ssm_scan, gate_norm, out_proj."""
    d, h, bc = spec.inner, spec.heads, 2 * spec.groups * spec.state
    source, wide = (ctx.source, ctx.hidden), 2 * d + bc + h
    scan = SSDScan(
        name=ctx.prefix + "ssm_scan",
        inputs=(ctx.tensor("zxbcdt", d + bc + h),),
        outputs=(ctx.tensor("ssm_out", d),),
        weights=(ctx.weight("dt_bias", h), ctx.weight("A_log", h), ctx.weight("D", h)),
        states=(State(h * spec.head_dim * spec.state, formats.get(spec.state_format)),),
        heads=h,
        head_dim=spec.head_dim,
        state=spec.state,
        groups=spec.groups,
        chunk=spec.chunk,
    )
    return [
        ctx.linear("in_proj", source, ("zxbcdt", wide), bias=spec.in_bias, shard="column"),
        _conv(ctx, "zxbcdt", d + bc, spec.conv, spec.conv_bias),
        scan,
        _gate(ctx, "ssm_out", "zxbcdt", d, d, normed=spec.gated_norm),
        ctx.linear("out_proj", ("ssm_out", d), (ctx.target, ctx.hidden), bias=spec.out_bias, shard="row"),
    ]


@emits(DeltaNetSpec)
def deltanet_ops(spec: DeltaNetSpec, ctx: Context) -> list[Op]:
    """in_proj_qkvz, in_proj_ba (or four matrices), conv1d on q, k, v, ssm_scan, gate_norm per head, out_proj."""
    keys, values = spec.key_heads * spec.key_dim, spec.value_heads * spec.value_dim
    source, conv, h = (ctx.source, ctx.hidden), 2 * keys + values, spec.value_heads
    parts: tuple[tuple[str, str, int], ...]
    if spec.split_projections:
        parts = (
            ("in_proj_qkv", "qkvz", conv),
            ("in_proj_z", "z", values),
            ("in_proj_b", "b", h),
            ("in_proj_a", "a", h),
        )
        small: tuple[Tensor, ...] = (ctx.tensor("b", h), ctx.tensor("a", h))
        gate = "z"
    else:
        parts = (("in_proj_qkvz", "qkvz", conv + values), ("in_proj_ba", "ba", 2 * h))
        small = (ctx.tensor("ba", 2 * h),)
        gate = "qkvz"
    ops: list[Op] = [ctx.linear(name, source, (out, width), shard="column") for name, out, width in parts]
    ops.append(_conv(ctx, "qkvz", conv, spec.conv, bias=False))
    ops.append(
        DeltaScan(
            name=ctx.prefix + "ssm_scan",
            inputs=(ctx.tensor("qkvz", conv), *small),
            outputs=(ctx.tensor("ssm_out", values),),
            weights=(ctx.weight("dt_bias", h), ctx.weight("A_log", h)),
            states=(State(h * spec.key_dim * spec.value_dim, formats.get(spec.state_format)),),
            heads=h,
            key_dim=spec.key_dim,
            value_dim=spec.value_dim,
            chunk=spec.chunk,
        )
    )
    ops.append(_gate(ctx, "ssm_out", gate, values, spec.value_dim, normed=True))
    ops.append(ctx.linear("out_proj", ("ssm_out", values), (ctx.target, ctx.hidden), shard="row"))
    return ops
