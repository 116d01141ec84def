"""Counts -> seconds: time per resource, the bound, lower and upper. Knows rates, knows no model.

t_r = demand_r / rate_r for the tensor unit, the vector unit, the special-function unit, DRAM and the link;
lower = max_r t_r (perfect overlap), upper = sum_r t_r (none); time = lower + (1 - overlap) * (upper - lower) + launch.
Williams, Waterman, Patterson, CACM 52(4), 2009; overlap as in XLA's GPU performance model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware_specs import Hardware, HardwareError
from viewer.graph import Graph, Op
from viewer.ops.cost import OpCost
from viewer.workload import Number

RESOURCES = ("tensor", "vector", "special", "dram", "link")
#: The word that tables and charts use for each resource, in the order of RESOURCES.
BOUNDS = ("compute", "vector", "transcendental", "memory", "link")


@dataclass(frozen=True)
class Rates:
    """Peaks in FLOP/s and bytes/s. ``products``: by (unit, math type). None: the roof is unknown and is left out."""

    products: dict[tuple[str, str], Number]
    dram_bytes_per_s: Number
    vector_flops_per_s: Number | None = None
    special_per_s: Number | None = None
    notes: tuple[str, ...] = ()
    link: Any = None

    def scaled(self, compute: Number = 1.0, bandwidth: Number = 1.0) -> Rates:
        """All compute peaks times ``compute``, DRAM bandwidth times ``bandwidth`` (arrays give a sweep)."""

        def times(value: Number | None) -> Number | None:
            return None if value is None else value * compute

        return replace(
            self,
            products={key: value * compute for key, value in self.products.items()},
            dram_bytes_per_s=self.dram_bytes_per_s * bandwidth,
            vector_flops_per_s=times(self.vector_flops_per_s),
            special_per_s=times(self.special_per_s),
        )


def rates_for(hardware: Hardware, graph: Graph, clock: str = "rated") -> Rates:
    """The rates that ``graph`` needs. A missing tensor peak or bandwidth raises HardwareError by name; a missing
    vector or special-function rate drops that roof with a note (modelling 6)."""
    keys = {(m.unit, m.math_type) for _, op in graph for m in op.math}
    products: dict[tuple[str, str], Number] = {
        key: hardware.peak(key[0], key[1], clock) for key in sorted(keys)
    }
    notes = []
    vector = _optional(hardware, "vector", "fp32", clock)
    special = _optional(hardware, "special", "exp", clock)
    if vector is None:
        notes.append(f"{hardware.name} has no sourced FP32 vector rate: the vector roof is left out")
    if special is None:
        notes.append(f"{hardware.name} has no sourced special-function rate: that roof is left out")
    dram = hardware.memory("dram")
    if dram is None or dram.bandwidth_bytes_per_s is None:
        raise HardwareError(f"{hardware.name} has no sourced DRAM bandwidth")
    return Rates(products, float(dram.bandwidth_bytes_per_s.value), vector, special, tuple(notes))


def _optional(hardware: Hardware, unit: str, math_type: str, clock: str) -> float | None:
    return hardware.peak(unit, math_type, clock) if hardware.has_peak(unit, math_type) else None


@dataclass(frozen=True)
class OpTime:
    """Seconds of one instance of an op: per resource, and the bound. Arrays have the op's own (open) shape."""

    resources: tuple[Number, Number, Number, Number, Number]
    lower: Number
    upper: Number
    bound: Number  # code into BOUNDS
    slack: Number  # second largest / largest resource time


def resource_times(op: Op, cost: OpCost, rates: Rates) -> tuple[Number, Number, Number, Number, Number]:
    """Seconds per resource of one instance of ``op``."""
    tensor: Number = 0.0
    vector: Number = 0.0
    for flops, math in zip(cost.products, op.math, strict=True):
        seconds = flops * math.executed / rates.products[(math.unit, math.math_type)]
        if math.unit == "vector":
            vector = vector + seconds
        else:
            tensor = tensor + seconds
    if rates.vector_flops_per_s is not None:
        vector = vector + cost.vector_flops / rates.vector_flops_per_s
    special = 0.0 if rates.special_per_s is None else cost.transcendentals / rates.special_per_s
    dram = cost.dram_bytes / rates.dram_bytes_per_s
    link: Number = 0.0
    if op.collective and rates.link is not None:
        link = rates.link.seconds(op, cost)
    return tensor, vector, special, dram, link


def rate(ops: Sequence[Op], costs: Sequence[OpCost], rates: Rates) -> list[OpTime]:
    """Times of all ops. Ops of one shape are rated together; a grid keeps each op's own open shape."""
    raw = [resource_times(op, cost, rates) for op, cost in zip(ops, costs, strict=True)]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, times in enumerate(raw):
        shape = np.broadcast_shapes(*(np.shape(t) for t in times)) if _has_array(times) else ()
        by_shape.setdefault(shape, []).append(index)
    out: list[OpTime | None] = [None] * len(raw)
    for shape, members in by_shape.items():
        if shape:
            for index in members:
                out[index] = _rate_grid(raw[index], shape)
        else:
            _rate_scalars(raw, members, out)
    return [t for t in out if t is not None]


def _has_array(times: Sequence[Number]) -> bool:
    return any(type(t) is np.ndarray for t in times)


def _rate_scalars(raw: list[Any], members: list[int], out: list[OpTime | None]) -> None:
    table = np.array([raw[i] for i in members], dtype=float).T
    lower, upper, bound, slack = _summary(table)
    for column, index in enumerate(members):
        out[index] = OpTime(raw[index], lower[column], upper[column], bound[column], slack[column])


def _rate_grid(times: tuple[Number, ...], shape: tuple[int, ...]) -> OpTime:
    table = np.empty((len(times), *shape))
    for row, value in enumerate(times):
        table[row] = value
    lower, upper, bound, slack = _summary(table)
    return OpTime(tuple(times), lower, upper, bound, slack)  # type: ignore[arg-type]


def _summary(table: npt.NDArray[np.float64]) -> tuple[Any, Any, Any, Any]:
    """(max, sum, argmax, second/first) along the resource axis."""
    bound = table.argmax(axis=0)
    lower = table.max(axis=0)
    upper = table[0] + table[1] + table[2] + table[3] + table[4]
    second = np.partition(table, -2, axis=0)[-2] if table.ndim == 2 else None
    with np.errstate(invalid="ignore", divide="ignore"):
        slack = None if second is None else np.where(lower > 0, second / lower, 0.0)
    return lower, upper, bound, np.zeros_like(lower) if slack is None else slack


@dataclass(frozen=True)
class Evaluation:
    """Counts and times of every op of a graph for one step."""

    ops: tuple[tuple[Any, Op], ...]
    costs: list[OpCost]
    times: list[OpTime]
    extras: dict[str, Any] = field(default_factory=dict)

    def total(self, values: Sequence[Number]) -> Number:
        """Sum over ops of repeat * value, in op order (the same order for one point and for a grid)."""
        result: Number = 0.0
        for (group, _), value in zip(self.ops, values, strict=True):
            result = result + value * float(group.repeat)
        return result


@dataclass(frozen=True)
class OpSeconds:
    """Seconds of one instance with their interval, and where they come from; ``bound``: what decides, if not the
    resource of the bound."""

    time_s: Any
    low_s: Any
    high_s: Any
    label: str = "bound"
    note: str = ""
    bound: str = ""


def bound_seconds(times: Sequence[OpTime], overlap: float, launch_s: float) -> list[OpSeconds]:
    """The bound as the time: lower + (1 - overlap) * (upper - lower) + launch_s; the interval is [lower, upper]."""
    out = []
    for time in times:
        value = time.lower
        if overlap != 1.0:
            value = value + (1.0 - overlap) * (time.upper - time.lower)
        if launch_s:
            value = value + launch_s
        out.append(OpSeconds(value, time.lower, time.upper))
    return out
