"""Estimates of every op of a step on a processor: each op becomes the kernels that a CPU engine would run."""

from __future__ import annotations

from typing import Any

import numpy as np

from viewer.calibration.cpu import CpuRates, rates_of
from viewer.calibration.cpu_kernels import NOTHING, Parts, attention, elementwise, layout_of, linear, nodes
from viewer.graph import Op
from viewer.ops.attention import AttentionBase
from viewer.ops.cost import OpCost
from viewer.ops.linear import Linear
from viewer.ops.token_pruning import kept_step
from viewer.planned import Plan
from viewer.roofline import Evaluation, OpSeconds, OpTime
from viewer.workload import Step

#: Nodes of the engine's graph in an op; every product is one more by weight.
NODES = {"norm": 1.0, "add_norm": 2.0, "rope_append": 4.0, "cache_append": 2.0, "quantize": 0.0}
#: Activations are FP32 in the engine, 16-bit in the count.
ACTIVATION_SCALE = 2.0
#: Factors of the interval: rates measured on this processor, or derived from a datasheet.
INTERVAL = {"calibrated": (0.85, 1.2), "family": (0.7, 1.5), "uncalibrated": (0.5, 2.0)}


def cpu_seconds(plan: Plan, evaluation: Evaluation, step: Step, threads: int | None) -> list[OpSeconds]:
    """An estimate per op of the evaluation (arrays where the step has arrays), each with the bound that decides."""
    rates = rates_of(plan.hardware, threads)
    ops = zip(evaluation.ops, evaluation.costs, evaluation.times, strict=True)
    return [
        _op_seconds(rates, op, cost, time, kept_step(step, getattr(group, "tokens_kept", 1.0)))
        for (group, op), cost, time in ops
    ]


def _op_seconds(rates: CpuRates, op: Op, cost: OpCost, time: OpTime, step: Step) -> OpSeconds:
    label, note = "calibrated" if rates.measured else "family", f"{rates.threads} threads"
    if isinstance(op, Linear):
        found, exact = _linear(rates, op, cost, step)
        if not exact:
            label, note = "uncalibrated", f"{note}; rates of a format alike"
    elif isinstance(op, AttentionBase) and op.kind == "attention" and op.memory == "self":
        found = _attention(rates, op, cost, step)
    else:
        found = _other(rates, op, cost)
        if op.kind not in ("embedding", "norm", "add_norm", "add", "rope", "rope_append", "cache_append",
                           "activation", "softmax", "quantize"):  # fmt: skip
            label = "uncalibrated"
    low, high = INTERVAL[label]
    lower = time.lower
    value = np.maximum(found.time_s, lower)
    below, above = np.maximum(low * value, lower), high * value
    return OpSeconds(_plain(value), _plain(below), _plain(above), label, note, found.bound)


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def _linear(rates: CpuRates, op: Linear, cost: OpCost, step: Step) -> tuple[Parts, bool]:
    """The products of an op one after another; its weight traffic (experts that are hit) shared by stored size."""
    rows = np.maximum(np.asarray(step.rows(op.rows), dtype=float), 1.0)
    matrices = [w for w in op.weights if w.cols > 1] or list(op.weights)
    stored = sum(w.stored_bytes for w in matrices)
    flops = cost.products[0] if cost.products else 0.0
    values = sum(w.values for w in matrices)
    executed = op.math[0].executed if op.math else 1.0
    total, exact = NOTHING, True
    for w in matrices:
        layout, same = layout_of(w.format.name)
        exact = exact and same and w.sparsity is None
        # rows x out x width of the work that is done: experts and sparse products do a part of it
        work = executed * np.asarray(flops, dtype=float) * (w.values / values) / (2.0 * w.cols * rows)
        share = w.stored_bytes / stored
        total = total + linear(rates, layout, rows, work, float(w.cols), cost.weight_bytes * share)
    return total, exact


def _attention(rates: CpuRates, op: AttentionBase, cost: OpCost, step: Step) -> Parts:
    """Segments one after another; a window shortens what each query sees, through the counted FLOPs."""
    keys = op.keys()
    widths = float(keys.widths[0] + keys.widths[-1])
    # products count 2 FLOPs a pair and width, causal and windowed as the op is
    pairs = sum(np.asarray(p, dtype=float) for p in cost.products) / (2.0 * widths)
    decode = np.all(np.stack([np.asarray(seg.new == 1.0).all() for seg in step.segments]))
    return attention(rates, pairs, widths, cost.kv_read_bytes, decode)


def _other(rates: CpuRates, op: Op, cost: OpCost) -> Parts:
    moved = ACTIVATION_SCALE * (cost.activation_read_bytes + cost.activation_write_bytes)
    rest = cost.dram_bytes - cost.activation_read_bytes - cost.activation_write_bytes
    done = elementwise(rates, moved / 4.0, moved + rest, 0.0)
    return done + nodes(rates, NODES.get(op.kind, 1.0))
