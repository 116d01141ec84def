"""The roofs of a device as rows: one per compute type and one per memory level or link, each with its source.

A compute roof is a horizontal line at ``value`` FLOP/s; a memory roof is the slope ``value`` bytes/s x intensity.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Roof = dict[str, Any]


def roofs_of(
    hardware: Any,
    used: Iterable[tuple[str, str]] = (),
    clock: str = "rated",
    compute_scale: float = 1.0,
    bandwidth_scale: float = 1.0,
) -> list[Roof]:
    """Roofs of ``hardware``; ``used`` are the (unit, math type) pairs of the scenario, drawn stronger.

    Rows have: axis ("compute" or "memory"), unit, types, label, value (scaled), kind, seen, source, used, and
    achieved (the best published measurement of that roof, scaled alike, or None) with achieved_source.
    """
    pairs = set(used)
    rows = _compute(hardware, pairs, clock, compute_scale)
    rows += _memory(hardware, bandwidth_scale)
    return rows


def _compute(hardware: Any, pairs: set[tuple[str, str]], clock: str, scale: float) -> list[Roof]:
    rows: list[Roof] = []
    for unit in ("tensor", "vector"):
        by_value: dict[float, list[str]] = {}
        for math_type in hardware.compute.unit(unit):
            value = hardware.peak(unit, math_type, clock)
            if math_type != "fp64" or (unit, math_type) in pairs:
                by_value.setdefault(value, []).append(math_type)
        for value, types in by_value.items():
            quantity = hardware.rate(unit, types[0]).peak
            measured = _best_gemm(hardware, types) if unit == "tensor" else None
            rows.append(
                {
                    "axis": "compute",
                    "unit": unit,
                    "types": types,
                    "label": f"{', '.join(t.upper() for t in types)} {unit}",
                    "value": value * scale,
                    "kind": quantity.kind,
                    "seen": quantity.seen,
                    "source": quantity.source,
                    "used": any((unit, t) in pairs for t in types),
                    "achieved": None if measured is None else measured.value * scale,
                    "achieved_source": None if measured is None else measured.source,
                }
            )
    return rows


def _best_gemm(hardware: Any, types: list[str]) -> Any:
    """The highest measured matrix product of one of ``types``, or None."""
    found = [
        m
        for m in hardware.measured
        if m.metric.startswith("gemm_")
        and "zeros" not in m.metric
        and m.unit == "op/s"
        and any(f"gemm_{t}" in m.metric for t in types)
    ]
    return max(found, key=lambda m: m.value, default=None)


def _memory(hardware: Any, scale: float) -> list[Roof]:
    rows: list[Roof] = []
    for level, label in (("dram", "DRAM"), ("l2", "L2"), ("shared", "shared memory")):
        found = hardware.memory(level)
        value = hardware.bandwidth_bytes_per_s(level)
        if found is None or value is None:
            continue
        if level == "l2" and found is not hardware.levels.l2:
            label = "last-level cache"
        quantity = found.bandwidth_bytes_per_s
        measured = hardware.measured_value(f"{level}_read_bandwidth")
        factor = scale if level == "dram" else 1.0
        rows.append(
            {
                "axis": "memory",
                "unit": level,
                "types": [],
                "label": label,
                "value": value * factor,
                "kind": quantity.kind,
                "seen": quantity.seen,
                "source": quantity.source,
                "used": level == "dram",
                "achieved": None if measured is None else measured.value * factor,
                "achieved_source": None if measured is None else measured.source,
            }
        )
    return rows
