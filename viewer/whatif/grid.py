"""One evaluation of a whole grid: totals, memory and bound of every point, in chunks of bounded memory.

Numeric axes are open grids ((n, 1), (1, m)): an op that depends on one of them is computed once per value of it. Sums
run over ops in order, exactly as for a single analysis, so a point of a sweep equals its own analysis to the last bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from viewer import memory as mem
from viewer.analysis import op_seconds, parts_of, produced_tokens
from viewer.planned import Plan, evaluate, plan_of, with_rates
from viewer.roofline import BOUNDS
from viewer.scenario import Scenario

#: Points that are evaluated together: large enough for numpy, small enough for the cache.
CHUNK_POINTS = 1 << 16
COLUMNS = (
    "time_s",
    "lower_time_s",
    "upper_time_s",
    "ttft_s",
    "tpot_s",
    "tokens_per_s",
    "matmul_flops",
    "vector_flops",
    "dram_bytes",
    "memory_time_s",
    "compute_time_s",
    "total_bytes",
)


def evaluate_points(scenario: Scenario, axes: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Columns (flattened in C order over ``shape``) for one structure.

    ``axes``: numeric axis name -> array that broadcasts to ``shape``. Returns COLUMNS, ``bound`` (codes into
    BOUNDS) and ``fits`` (1, 0, or -1 where the capacity is not known).
    """
    plan = rated(plan_of(scenario), axes)
    load = scenario.workload
    over = {k: v for k, v in axes.items() if k in type(load).model_fields}
    trailing = {k: np.asarray(v)[..., None] for k, v in over.items()}
    sums: dict[str, Any] = dict.fromkeys(COLUMNS, 0.0)
    by_bound: list[Any] = [0.0] * len(BOUNDS)
    phase_s: dict[str, Any] = {}
    for part in parts_of(load, over, trailing):
        seconds = _accumulate(scenario, plan, part, sums, by_bound)
        phase_s[part.phase] = seconds / part.steps
    sums["memory_time_s"], sums["compute_time_s"] = by_bound[3], by_bound[0]
    sums["ttft_s"] = phase_s.get("prefill", np.nan)
    sums["tpot_s"] = phase_s.get("decode", np.nan)
    sums["tokens_per_s"] = produced_tokens(load, over) / sums["time_s"]
    sums["total_bytes"] = _memory(scenario, plan, over)
    out = {name: _flat(value, shape) for name, value in sums.items()}
    out["bound"] = np.argmax(np.stack([_flat(v, shape) for v in by_bound]), axis=0).astype(np.int8)
    out["fits"] = _fits(scenario, plan, out["total_bytes"])
    return out


def rated(plan: Plan, axes: dict[str, Any]) -> Plan:
    """The plan at swept rates: absolute bandwidth, or multiples of the device's."""
    bandwidth: Any = axes.get("bandwidth_scale", 1.0)
    if "bandwidth" in axes:
        bandwidth = axes["bandwidth"] / plan.hardware.memory("dram").bandwidth_bytes_per_s.value  # type: ignore[union-attr]
    compute = axes.get("compute_scale", 1.0)
    if isinstance(bandwidth, float) and isinstance(compute, float):
        return plan
    return with_rates(plan, plan.rates.scaled(compute, bandwidth))


def _accumulate(scenario: Scenario, plan: Plan, part: Any, sums: dict[str, Any], by_bound: list[Any]) -> Any:
    """Add one phase to the sums; returns its seconds over all its steps."""
    rates = plan.rates
    if part.points > 1:  # a trailing axis of decode steps: rates need the same rank
        plan = with_rates(plan, _with_trailing(rates))
    evaluation = evaluate(plan, part.step)
    phase: Any = 0.0
    timed = op_seconds(scenario, plan, part.step, evaluation)
    for (group, op), cost, time, one in zip(
        evaluation.ops, evaluation.costs, evaluation.times, timed, strict=True
    ):
        repeat = float(group.repeat * part.steps)
        seconds = _averaged(one.time_s, part.points) * repeat
        phase = phase + seconds
        sums["time_s"] = sums["time_s"] + seconds
        sums["lower_time_s"] = sums["lower_time_s"] + _averaged(time.lower, part.points) * repeat
        sums["upper_time_s"] = sums["upper_time_s"] + _averaged(time.upper, part.points) * repeat
        executed: Any = 0.0
        for flops, math in zip(cost.products, op.math, strict=True):
            executed = executed + _averaged(flops, part.points) * math.executed
        sums["matmul_flops"] = sums["matmul_flops"] + executed * repeat
        sums["vector_flops"] = sums["vector_flops"] + _averaged(cost.vector_flops, part.points) * repeat
        sums["dram_bytes"] = sums["dram_bytes"] + _averaged(cost.dram_bytes, part.points) * repeat
        _by_bound(by_bound, time.bound, one.time_s, repeat, part.points)
    return phase


def _with_trailing(rates: Any) -> Any:
    def widen(value: Any) -> Any:
        return value[..., None] if isinstance(value, np.ndarray) else value

    return replace(
        rates,
        products={k: widen(v) for k, v in rates.products.items()},
        dram_bytes_per_s=widen(rates.dram_bytes_per_s),
        vector_flops_per_s=widen(rates.vector_flops_per_s),
        special_per_s=widen(rates.special_per_s),
    )


def _averaged(value: Any, points: int) -> Any:
    """The mean over the trailing axis of decode steps, where there is one."""
    if points > 1 and isinstance(value, np.ndarray) and value.ndim and value.shape[-1] == points:
        return value.mean(axis=-1)
    if points > 1 and isinstance(value, np.ndarray) and value.ndim and value.shape[-1] == 1:
        return value[..., 0]
    return value


def _by_bound(by_bound: list[Any], codes: Any, seconds: Any, repeat: float, points: int) -> None:
    if not isinstance(codes, np.ndarray) or codes.ndim == 0:
        by_bound[int(codes)] = by_bound[int(codes)] + _averaged(seconds, points) * repeat
        return
    present = np.bincount(codes.ravel(), minlength=len(BOUNDS))
    for code in np.flatnonzero(present):
        part = np.where(codes == code, seconds, 0.0) if present[code] < codes.size else seconds
        by_bound[code] = by_bound[code] + _averaged(np.asarray(part), points) * repeat


def _flat(value: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(np.asarray(value, dtype=float), shape).ravel()


def _memory(scenario: Scenario, plan: Plan, over: dict[str, Any]) -> Any:
    a = scenario.assumptions
    held = [
        mem.account(plan.graph, p.step, a.page_tokens)
        for p in parts_of(scenario.workload, over, over, last=True)
    ]
    peak = held[0].activation_peak_bytes
    for one in held[1:]:
        peak = np.maximum(peak, one.activation_peak_bytes)
    last = held[-1]
    return last.weight_bytes + last.kv_cache_bytes + last.state_bytes + peak + a.overhead_bytes


def _fits(scenario: Scenario, plan: Plan, total: Any) -> Any:
    dram = plan.hardware.memory("dram")
    if dram is None or dram.capacity_bytes is None:
        return np.full(total.shape, -1, dtype=np.int8)
    return (total <= scenario.assumptions.memory_utilization * dram.capacity_bytes.value).astype(np.int8)
