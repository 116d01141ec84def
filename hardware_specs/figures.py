"""List every number of a device with its provenance, for tables and tooltips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware_specs.quantity import Figure, Quantity

if TYPE_CHECKING:
    from hardware_specs.schema import Hardware


def list_figures(hardware: Hardware) -> list[Figure]:
    """Rows in reading order: cores, clocks, power, memory, compute, sparsity, links, measurements."""
    rows = _body(hardware) + _memory(hardware) + _compute(hardware)
    for rule in hardware.sparse:
        rows.append(_row(f"{rule.pattern} sparse speed-up: {', '.join(rule.types)}", "x", rule.factor))
    for link in hardware.links:
        rows.append(_row(f"{link.name}, one direction", "B/s", link.bandwidth_per_direction_bytes_per_s))
    for item in hardware.measured:
        rows.append(_row(f"measured {item.metric}", item.unit, item))
    return rows


def _row(what: str, unit: str, quantity: Quantity) -> Figure:
    return Figure(
        what=what,
        value=quantity.value,
        unit=unit,
        kind=quantity.kind,
        seen=quantity.seen,
        source=quantity.source,
        note=quantity.note,
    )


def _body(hardware: Hardware) -> list[Figure]:
    clocks = hardware.clocks
    named = [
        (f"{hardware.core_name or 'core'} count", "cores", hardware.core_count),
        ("rated clock", "Hz", clocks.rated_hz),
        ("maximum clock", "Hz", clocks.maximum_hz),
        ("base clock", "Hz", clocks.base_hz),
        ("design power", "W", hardware.tdp_w),
    ]
    return [_row(what, unit, quantity) for what, unit, quantity in named if quantity]


def _memory(hardware: Hardware) -> list[Figure]:
    rows = []
    for name in ("dram", "llc", "l2", "shared"):
        level = getattr(hardware.levels, name)
        if level is None:
            continue
        per = " per core" if level.per == "core" else ""
        named = [
            (f"{name} capacity{per}", "B", level.capacity_bytes),
            (f"{name} usable{per}", "B", level.usable_bytes),
            (f"{name} bandwidth{per}", "B/s", level.bandwidth_bytes_per_s),
        ]
        rows += [_row(what, unit, quantity) for what, unit, quantity in named if quantity]
    return rows


def _compute(hardware: Hardware) -> list[Figure]:
    from hardware_specs.schema import UNITS

    rows = []
    for unit in UNITS:
        for math_type, rate in hardware.compute.unit(unit).items():
            rows.append(_row(f"{unit} {math_type} peak, dense", "op/s", rate.peak))
            if rate.op_per_clock:
                rows.append(_row(f"{unit} {math_type} rate", "op/clk/core", rate.op_per_clock))
    return rows
