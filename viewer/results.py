"""The tidy frame and the typed totals: columns, units, roll-ups. One row per op group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.graph import Op
from viewer.ops.cost import OpCost
from viewer.roofline import BOUNDS, Evaluation, OpSeconds, OpTime, Rates

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the frame, in order; the unit is in the name (bytes, s, flops).
COLUMNS = (
    "phase",
    "name",
    "kind",
    "layer_group",
    "repeat",
    "matmul_flops",
    "dense_matmul_flops",
    "vector_flops",
    "transcendentals",
    "bitops",
    "bops_mac",
    "weight_bytes",
    "weight_metadata_bytes",
    "activation_read_bytes",
    "activation_write_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
    "state_read_bytes",
    "state_write_bytes",
    "workspace_bytes",
    "comm_bytes",
    "dram_bytes",
    "arithmetic_intensity",
    "math_type",
    "math_types",
    "unit",
    "peak_flops_per_s",
    "tensor_time_s",
    "vector_time_s",
    "special_time_s",
    "dram_time_s",
    "link_time_s",
    "bound",
    "slack",
    "lower_time_s",
    "upper_time_s",
    "time_s",
    "time_low_s",
    "time_high_s",
    "label",
    "basis",
    "notes",
)
#: An estimate whose bound is a smaller share of it than this is dominated by launch and latency.
LATENCY_SHARE = 0.25
BYTE_FIELDS = (
    "weight_bytes",
    "weight_metadata_bytes",
    "activation_read_bytes",
    "activation_write_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
    "state_read_bytes",
    "state_write_bytes",
    "workspace_bytes",
    "comm_bytes",
)
SUMMED = (
    "matmul_flops",
    "dense_matmul_flops",
    "vector_flops",
    "transcendentals",
    "bitops",
    "bops_mac",
    *BYTE_FIELDS,
    "dram_bytes",
    "lower_time_s",
    "upper_time_s",
    "time_s",
    "time_low_s",
    "time_high_s",
)


def _mean(value: Any) -> float:
    return float(value.mean()) if isinstance(value, np.ndarray) else float(value)


def rows_of(
    evaluation: Evaluation, rates: Rates, seconds: Sequence[OpSeconds], phase: str, steps: int = 1
) -> list[dict[str, Any]]:
    """One dict per op. Values are for one instance; where the step had arrays (an answer's decode steps), the mean."""
    return [
        _row(group, op, cost, time, rates, one, phase, steps)
        for (group, op), cost, time, one in zip(
            evaluation.ops, evaluation.costs, evaluation.times, seconds, strict=True
        )
    ]


def _row(
    group: Any, op: Op, cost: OpCost, time: OpTime, rates: Rates, seconds: OpSeconds, phase: str, steps: int
) -> dict[str, Any]:
    dense = executed = bitops = 0.0
    for product, math in zip(cost.products, op.math, strict=True):
        flops = _mean(product)
        dense += flops if type(cost.dense_factor) is float else _mean(product * cost.dense_factor)
        executed += flops * math.executed
        bitops += flops * math.executed * math.a_bits * math.b_bits
    dram = _mean(cost.dram_bytes)
    vector = _mean(cost.vector_flops)
    first = op.math[0] if op.math else None
    row: dict[str, Any] = {
        "phase": phase,
        "name": op.name,
        "kind": op.kind,
        "layer_group": group.name,
        "repeat": group.repeat * steps,
        "matmul_flops": executed,
        "dense_matmul_flops": dense,
        "vector_flops": vector,
        "transcendentals": _mean(cost.transcendentals),
        "bitops": bitops,
        "bops_mac": bitops * 0.5,
    }
    for field in BYTE_FIELDS:
        row[field] = _mean(getattr(cost, field))
    row["dram_bytes"] = dram
    row["arithmetic_intensity"] = (executed + vector) / dram if dram else 0.0
    row["math_type"] = first.math_type if first else "fp32"
    row["math_types"] = "+".join(dict.fromkeys(m.math_type for m in op.math)) if op.math else "fp32"
    row["unit"] = first.unit if first else "vector"
    row["peak_flops_per_s"] = _peak(first, rates)
    names = ("tensor_time_s", "vector_time_s", "special_time_s", "dram_time_s", "link_time_s")
    for name, value in zip(names, time.resources, strict=True):
        row[name] = _mean(value)
    row["lower_time_s"] = _mean(time.lower)
    row["upper_time_s"] = _mean(time.upper)
    row["bound"] = BOUNDS[_common(time.bound)]
    if seconds.label != "bound" and row["lower_time_s"] < LATENCY_SHARE * _mean(seconds.time_s):
        row["bound"] = "latency"
    if seconds.bound:
        row["bound"] = seconds.bound
    row["slack"] = _mean(time.slack)
    row["time_s"] = _mean(seconds.time_s)
    row["time_low_s"] = _mean(seconds.low_s)
    row["time_high_s"] = _mean(seconds.high_s)
    row["label"] = seconds.label
    row["basis"] = seconds.note
    row["notes"] = _notes(op, cost)
    return row


def _peak(math: Any, rates: Rates) -> float | None:
    value = rates.products[(math.unit, math.math_type)] if math else rates.vector_flops_per_s
    return None if value is None else _mean(value)


def _common(codes: Any) -> int:
    """The bound that most points have."""
    return (
        int(np.bincount(codes.ravel()).argmax())
        if isinstance(codes, np.ndarray) and codes.ndim
        else int(codes)
    )


def _notes(op: Op, cost: OpCost) -> tuple[str, ...]:
    notes = [*op.notes, *(m.note for m in op.math if m.note)]
    labels = op.choice_labels
    if labels and cost.choice is not None:
        notes.append(labels[_common(np.asarray(cost.choice, dtype=np.int64))])
    return tuple(dict.fromkeys(notes))


def totals_of(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Sums over rows of repeat * value, in row order."""
    sums = dict.fromkeys(SUMMED, 0.0)
    for row in rows:
        repeat = row["repeat"]
        for name in SUMMED:
            sums[name] += repeat * row[name]
    return sums


def frame_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The tidy frame of the rows, with the columns of COLUMNS."""
    import pandas as pd

    columns = {name: _column([row[name] for row in rows], name) for name in COLUMNS}
    return pd.DataFrame(columns, copy=False)


_TEXT = frozenset(
    (
        "phase",
        "name",
        "kind",
        "layer_group",
        "math_type",
        "math_types",
        "unit",
        "bound",
        "label",
        "basis",
        "notes",
    )
)


def _column(values: list[Any], name: str) -> Any:
    """One column: text as objects (notes joined), numbers as float64 (a missing peak is NaN)."""
    if name in _TEXT:
        out = np.empty(len(values), dtype=object)
        out[:] = ["; ".join(v) for v in values] if name == "notes" else values
        return out
    if name == "repeat":
        return np.array(values, dtype=np.int64)
    return np.array(values, dtype=np.float64)
