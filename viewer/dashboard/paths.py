"""Pay-off: where each main op goes on the roofline as the batch grows from 1 to 1024, from one array evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from viewer.analysis import Analysis, op_seconds, parts_of
from viewer.planned import evaluate

#: Batches of a path: powers of two, so that a mark on the line is a batch people use.
BATCHES = 2.0 ** np.arange(11)
#: Ops per phase that get a path: those with matrix products that take the most time at batch 1.
MAIN_OPS = 5


def op_paths(result: Analysis) -> list[dict[str, Any]]:
    """Paths of the main ops: phase, name, batch, x (FLOP per DRAM byte), y (FLOP/s); a list per path.

    x = flops / dram_bytes, y = flops / time at every batch; decode at the last token of the answer.
    """
    load = result.scenario.workload
    if "batch" not in load.numeric():
        return []
    paths: list[dict[str, Any]] = []
    for part in parts_of(load, {"batch": BATCHES}, last=True):
        found = evaluate(result.plan, part.step)
        times = op_seconds(result.scenario, result.plan, part.step, found)
        mine: dict[str, dict[str, Any]] = {}
        for (group, op), cost, seconds in zip(found.ops, found.costs, times, strict=True):
            flops = _spread(sum(cost.products, 0.0) + cost.vector_flops)
            dram, time = _spread(cost.dram_bytes), _spread(seconds.time_s)
            if not cost.products or flops.min() <= 0 or dram.min() <= 0 or time.min() <= 0:
                continue
            weight = float(time[0]) * group.repeat
            if weight > mine.get(op.name, {}).get("weight", 0.0):
                phase = "prefill" if part.phase == "generate" else part.phase  # an answer of one token
                path = {"phase": phase, "name": op.name, "weight": weight}
                mine[op.name] = path | {"x": _digits(flops / dram), "y": _digits(flops / time)}
        paths += sorted(mine.values(), key=lambda path: -path["weight"])[:MAIN_OPS]
    batches = [int(batch) for batch in BATCHES]
    return [{key: path[key] for key in ("phase", "name", "x", "y")} | {"batch": batches} for path in paths]


def _spread(values: Any) -> Any:
    """A number or array along the batches."""
    return np.broadcast_to(np.asarray(values, dtype=float).reshape(-1), BATCHES.shape)


def _digits(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
