"""Estimates of every op of a step: each op becomes the kernel that would run it, and its class's model times it.

What no kernel class covers (scans, gathers, conversions) gets the general efficiencies, and says so. An estimate is
never below the bound. Intervals of one kind of op are taken as fully correlated, those of different kinds as
independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from viewer.calibration.base import Work
from viewer.calibration.devices import device_of
from viewer.calibration.estimate import LAUNCH_EXTRA_S, Estimate, estimate, estimate_work
from viewer.errors import InputError
from viewer.estimates_cpu import cpu_seconds
from viewer.expert_estimates import expert_seconds
from viewer.formats import TensorFormat
from viewer.graph import Op
from viewer.links import LinkRates
from viewer.ops import count
from viewer.ops.attention import AttentionBase
from viewer.ops.collective import Collective, PipelineWait
from viewer.ops.cost import OpCost
from viewer.ops.elementwise import Elementwise
from viewer.ops.linear import Embedding, Linear
from viewer.ops.token_pruning import kept_step
from viewer.parallel import split_step
from viewer.planned import Plan
from viewer.roofline import Evaluation, OpSeconds, OpTime, rate
from viewer.workload import Number, Segment, Step

#: Element-wise ops -> kinds of the kernel tables, with the tensors that kind reads and writes (in rows x width).
KINDS: dict[str, tuple[str, float]] = {
    "norm": ("rmsnorm", 2.0),
    "add_norm": ("rmsnorm", 2.0),
    "add": ("add", 3.0),
    "activation": ("silu_mul", 3.0),
    "rope": ("rope", 2.0),
    "rope_append": ("rope", 2.0),
    "softmax": ("softmax", 2.0),
}
LABEL_ORDER = ("bound", "calibrated", "family", "uncalibrated")


def estimated_seconds(
    plan: Plan, evaluation: Evaluation, step: Step, launch: str, threads: int | None = None
) -> list[OpSeconds]:
    """An estimate per op of the evaluation (arrays where the step has arrays). ``threads``: of a processor."""
    step = split_step(step, plan.graph.replicas, plan.graph.micro_batches)
    if plan.hardware.kind == "cpu":
        return cpu_seconds(plan, evaluation, step, threads)
    out: list[OpSeconds] = []
    whole = step
    experts = _experts(plan, evaluation, whole, launch)
    for index, ((group, op), cost, time) in enumerate(
        zip(evaluation.ops, evaluation.costs, evaluation.times, strict=True)
    ):
        step = kept_step(whole, getattr(group, "tokens_kept", 1.0))
        if index in experts:
            out.append(experts[index])
        elif isinstance(op, PipelineWait):
            out.append(_wait_seconds(plan, op, step, launch))
        else:
            out.append(_op_seconds(plan, op, cost, time, step, launch))
    return out


def _experts(plan: Plan, evaluation: Evaluation, step: Step, launch: str) -> dict[int, OpSeconds]:
    """Seconds of the ops inside fused expert calls, by position in the evaluation."""
    found: dict[int, OpSeconds] = {}
    start = 0
    for group in dict.fromkeys(group for group, _ in evaluation.ops):
        count_ops = len(group.ops)
        ops, times = group.ops, evaluation.times[start : start + count_ops]
        kept = kept_step(step, getattr(group, "tokens_kept", 1.0))
        inside = expert_seconds(plan, ops, times, kept, launch, kernel_format)
        found.update({start + i: one for i, one in inside.items()})
        start += count_ops
    return found


def _wait_seconds(plan: Plan, op: PipelineWait, step: Step, launch: str) -> OpSeconds:
    """The estimates of the other stages, once."""
    others = [other for _, other in op.rest]
    costs = [count(other, step) for other in others]
    times = rate(others, costs, plan.rates)
    low: Any = 0.0
    value: Any = 0.0
    high: Any = 0.0
    labels = []
    for (repeat, other), cost, time in zip(op.rest, costs, times, strict=True):
        one = _op_seconds(plan, other, cost, time, step, launch)
        low, value, high = low + repeat * one.low_s, value + repeat * one.time_s, high + repeat * one.high_s
        labels.append(one.label)
    return OpSeconds(value, low, high, worst_label(labels), "the other stages' estimates")


def _op_seconds(plan: Plan, op: Op, cost: OpCost, time: OpTime, step: Step, launch: str) -> OpSeconds:
    found: Estimate | None = None
    reason = ""
    try:
        found = _kernel(plan, op, cost, step, launch)
    except (InputError, KeyError, ValueError) as error:
        reason = str(error)
    if found is None:
        found = _generic(plan, op, cost, launch)
    lower = time.lower
    value = np.maximum(found.time_s, lower)
    return OpSeconds(
        _plain(value),
        _plain(np.maximum(found.low_s, lower)),
        _plain(np.maximum(found.high_s, value)),
        found.label,
        found.note if not reason else f"{found.note} ({reason[:120]})",
    )


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def _kernel(plan: Plan, op: Op, cost: OpCost, step: Step, launch: str) -> Estimate | None:
    if type(op) is Linear:
        return _gemm(plan, op, step, launch)
    if (
        isinstance(op, AttentionBase)
        and op.kind == "attention"
        and op.memory == "self"
        and len(op.keys().widths) == 2
        and _has_tiles(plan)
    ):
        return _attention(plan, op, step, launch)
    if isinstance(op, Elementwise) and op.kind in KINDS:
        return _elementwise(plan, op, cost, step, launch)
    if isinstance(op, Embedding):
        columns = {"kind": "embedding", "rows": step.rows(op.outputs[0].rows), "width": op.outputs[0].width}
        return estimate("elementwise", columns, plan.hardware, launch)
    if isinstance(op, Collective):
        return _collective(plan, op, cost, launch)
    return None


#: Seconds that a collective takes before its first hop: NCCL's base latency of the ring, low-latency protocol
#: (NVIDIA/nccl, src/graph/tuning.cc at 01afd20, baseLat: 3.6 us).
COLLECTIVE_BASE_S = 3.6e-6


def _collective(plan: Plan, op: Collective, cost: OpCost, launch: str) -> Estimate:
    """The measured class inside a node's fastest fabric; elsewhere the alpha-beta time after NCCL's base latency.

    The part that hides behind other work is left out of both.
    """
    rates: LinkRates = plan.rates.link
    shown = 1.0 - rates.overlap
    kind = op.collective.replace("all_to_all", "alltoall")
    _, _, fabric = rates.path(op.ranks, op.stride)
    if fabric == rates.fabrics[0] and kind in ("all_reduce", "all_gather", "reduce_scatter", "alltoall"):
        columns = {"op": kind, "ranks": float(op.ranks), "bytes": np.maximum(cost.comm_bytes, 1.0)}
        found = estimate(kind, columns, plan.hardware, launch)
        return replace(
            found, time_s=found.time_s * shown, low_s=found.low_s * shown, high_s=found.high_s * shown
        )
    bound = np.asarray(rates.seconds(op, cost))
    time = bound + COLLECTIVE_BASE_S * shown
    note = f"alpha-beta over {fabric.name} after a base latency of 3.6 us: no measured class"
    return Estimate(
        time, bound, 2.0 * time, bound, "uncalibrated", note, np.zeros(np.shape(time), dtype=bool)
    )


def _has_tiles(plan: Plan) -> bool:
    """Whether the device's cores and L2 rate are known, on which the attention classes rest."""
    device = device_of(plan.hardware)
    return device.core_count > 0 and device.l2_bandwidth > 0


def kernel_format(fmt: TensorFormat) -> str:
    """A storage format by its name in the kernel tables."""
    name = fmt.name
    for suffix in ("_channel", "_tensor", "_token"):
        name = name.removesuffix(suffix)
    if name.startswith("fp8_e4m3_"):
        return "fp8_e4m3_block"
    return name


def _gemm(plan: Plan, op: Linear, step: Step, launch: str) -> Estimate:
    act = op.operands[0] if op.operands else op.inputs[0].format
    columns = {
        "m": np.maximum(step.rows(op.rows), 1.0),
        "n": float(op.out_features),
        "k": float(op.in_features),
        "act_format": kernel_format(act),
        "weight_format": kernel_format(op.weights[0].format),
        "l2": "cold",
    }
    found = estimate("gemm", columns, plan.hardware, launch)
    executed = op.math[0].executed if op.math else 1.0
    return found if executed == 1.0 else _rescaled(found, executed)


def _rescaled(found: Estimate, executed: float) -> Estimate:
    """A sparse product: the dense kernel's time scaled by the executed share (never below the bound, see caller)."""
    return Estimate(
        found.time_s * executed,
        found.low_s * executed,
        found.high_s,
        found.bound_s * executed,
        "uncalibrated",
        f"{found.note}; scaled by the executed share {executed:.3g}",
        found.outside,
    )


def _attention(plan: Plan, op: AttentionBase, step: Step, launch: str) -> Estimate:
    """Segments run one after another as prefill or decode kernels; a chunk is a prefill with as many pairs."""
    total: Estimate | None = None
    for seg in step.segments:
        part = _segment(plan, op, seg, launch)
        total = part if total is None else _plus(total, part)
    assert total is not None
    return total


def _segment(plan: Plan, op: AttentionBase, seg: Segment, launch: str) -> Estimate:
    cache = op.keys()
    columns: dict[str, Any] = {
        "batch": seg.count,
        "n_heads": float(op.heads),
        "n_kv_heads": float(cache.heads),
        "head_dim": float(op.head_dim),
        "window": float(op.window or 0.0),
        "act_format": kernel_format(op.inputs[0].format),
        "kv_format": kernel_format(cache.formats[0]),
        "l2": "cold",
    }
    if np.all(np.asarray(seg.new) == 1.0):
        return estimate("attention_decode", {**columns, "seq": seg.cached + 1.0}, plan.hardware, launch)
    return estimate("attention_prefill", {**columns, "seq": equal_prefill(seg)}, plan.hardware, launch)


def equal_prefill(seg: Segment) -> Number:
    """The prompt length whose causal pairs equal those of the segment: s(s+1)/2 = n*c + n(n+1)/2."""
    pairs = seg.new * seg.cached + seg.new * (seg.new + 1.0) / 2.0
    return np.floor((np.sqrt(8.0 * pairs + 1.0) - 1.0) / 2.0 + 1e-9)


def _plus(a: Estimate, b: Estimate) -> Estimate:
    label = max(a.label, b.label, key=LABEL_ORDER.index)
    return Estimate(
        a.time_s + b.time_s,
        a.low_s + b.low_s,
        a.high_s + b.high_s,
        a.bound_s + b.bound_s,
        label,
        a.note,
        a.outside,
    )


def _elementwise(plan: Plan, op: Elementwise, cost: OpCost, step: Step, launch: str) -> Estimate:
    """The kernel of the op's kind at the width that moves as many bytes as the op does."""
    kind, tensors = KINDS[op.kind]
    if op.kind == "norm" and op.flops > 6.0 * op.outputs[0].width:
        kind = "layernorm"
    rows = np.maximum(step.rows(op.rows), 1.0)
    moved = (cost.dram_bytes - cost.weight_bytes) / (rows * tensors * 2.0)
    return estimate("elementwise", {"kind": kind, "rows": rows, "width": moved}, plan.hardware, launch)


def _generic(plan: Plan, op: Op, cost: OpCost, launch: str) -> Estimate:
    device = device_of(plan.hardware)
    flops: Any = 0.0
    peak = 1.0  # no product: any rate
    for product, math in zip(cost.products, op.math, strict=True):
        flops = flops + product * math.executed
        peak = float(np.min(plan.rates.products[(math.unit, math.math_type)]))
    work = Work(
        flops=np.asarray(flops, dtype=float),
        peak=peak,
        bytes_=np.asarray(cost.dram_bytes, dtype=float),
        exps=np.asarray(cost.transcendentals if device.exp_per_s else 0.0, dtype=float),
        vector_flops=np.asarray(cost.vector_flops, dtype=float),
        vector_peak=float(np.min(plan.rates.vector_flops_per_s))
        if plan.rates.vector_flops_per_s is not None
        else 0.0,
    )
    found = estimate_work(work, plan.hardware)
    extra = LAUNCH_EXTRA_S.get(launch, 0.0)
    if not extra:
        return found
    return Estimate(
        found.time_s + extra, found.low_s + extra, found.high_s + 2 * extra, found.bound_s, found.label, found.note,
        found.outside,
    )  # fmt: skip


def combined_interval(
    kinds: Sequence[str], seconds: Sequence[tuple[float, float, float]]
) -> tuple[float, float]:
    """(low, high) of a sum of (time, low, high): linear within a kind of op, in quadrature across kinds."""
    below: dict[str, float] = {}
    above: dict[str, float] = {}
    total = 0.0
    for kind, (time, low, high) in zip(kinds, seconds, strict=True):
        total += time
        below[kind] = below.get(kind, 0.0) + (time - low)
        above[kind] = above.get(kind, 0.0) + (high - time)
    down = float(np.sqrt(sum(v * v for v in below.values())))
    up = float(np.sqrt(sum(v * v for v in above.values())))
    return max(0.0, total - down), total + up


def worst_label(labels: Sequence[str]) -> str:
    """The least certain of the labels."""
    return max(labels, key=LABEL_ORDER.index) if labels else "bound"
