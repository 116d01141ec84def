"""Estimates of routed experts: gate, up, activation, down with their permutes run as one fused call, timed as such.

The kernel class "moe" times the whole call; its seconds are shared out over the ops in proportion to their bounds, so
that a table by op still adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from viewer.calibration.estimate import Estimate, estimate
from viewer.errors import InputError
from viewer.graph import Op
from viewer.ops.moe import ExpertLinear
from viewer.planned import Plan
from viewer.roofline import OpSeconds, OpTime
from viewer.workload import Step

#: Ops of a layer that the fused call contains (besides the expert products).
INSIDE = ("moe_permute", "moe_combine")


def fused_experts(ops: Sequence[Op]) -> list[int]:
    """Positions of the ops that one fused expert call contains; [] where there are no routed experts."""
    products = [i for i, op in enumerate(ops) if isinstance(op, ExpertLinear)]
    if not products:
        return []
    return [
        i
        for i, op in enumerate(ops)
        if i in products or op.kind in INSIDE or (op.kind == "activation" and op.name.startswith("experts"))
    ]


def expert_seconds(
    plan: Plan, ops: Sequence[Op], times: Sequence[OpTime], step: Step, launch: str, kernel_format: Any
) -> dict[int, OpSeconds]:
    """Seconds by position for the ops of the fused call; {} where there is none or no model for it."""
    inside = fused_experts(ops)
    if not inside:
        return {}
    try:
        found = _fused(plan, ops, step, launch, kernel_format)
    except (InputError, KeyError, ValueError):
        return {}
    bound: Any = 0.0
    for i in inside:
        bound = bound + times[i].lower
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [np.where(bound > 0, times[i].lower / bound, 0.0) for i in inside]
    total = np.maximum(found.time_s, bound)
    low, high = np.maximum(found.low_s, bound), np.maximum(found.high_s, total)
    note = f"{found.note}; shared out of the fused call"
    return {
        i: OpSeconds(_plain(total * r), _plain(low * r), _plain(high * r), found.label, note)
        for i, r in zip(inside, ratios, strict=True)
    }


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def _fused(plan: Plan, ops: Sequence[Op], step: Step, launch: str, kernel_format: Any) -> Estimate:
    products = [op for op in ops if isinstance(op, ExpertLinear)]
    first = products[0]
    down = next((op for op in products if op.name.endswith("down")), products[-1])
    act = first.operands[0] if first.operands else first.inputs[0].format
    columns = {
        "tokens": np.maximum(step.tokens * first.token_scale, 1.0),
        "hidden": float(first.in_features),
        "intermediate": float(down.in_features),
        "top_k": float(first.top_k),
        "experts": float(first.experts),
        "ep": float(max(1, first.experts // max(1, first.held))),
        # the expert tables name block-scaled activations by their element type only
        "act_format": kernel_format(act).removesuffix("_block"),
        "weight_format": kernel_format(first.weights[0].format),
        "distribution": "balanced",
    }
    return estimate("moe", columns, plan.hardware, launch)
