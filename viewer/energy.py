"""Energy and cost: a bound from the power limit, and an estimate from joules per bit and per operation.

bound: E <= TDP * t. estimate: E = P_idle*t + sum demand * e, with e of DRAM bits, arithmetic and link bits. The
estimate leaves out what moves on the chip (registers, shared memory, caches, instruction issue), so it lies low where
a kernel is compute-bound. Neither is a measurement. Tokens are those that a workload yields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hardware_specs import Hardware
from viewer.workload import Number

#: pJ per bit of DRAM as (low, usual, high), by the start of the technology's name. HBM2 250 to 450 and GDDR6 350 to
#: 480 pJ per 64 bits: Jouppi et al., Ten Lessons From Three Generations Shaped Google's TPUv4i, ISCA 2021, table 2
#: (their update of Horowitz, ISSCC 2014); HBM2E 6.0, GDDR6 7.5, GDDR6X 7.25 pJ/bit of device power: Micron,
#: "Ultra-bandwidth solutions memory comparison". HBM3 and later are taken as HBM2E, GDDR7 as GDDR6 (an upper value).
DRAM_PJ_PER_BIT: dict[str, tuple[float, float, float]] = {
    "HBM": (250.0 / 64.0, 6.0, 450.0 / 64.0),
    "GDDR6X": (350.0 / 64.0, 7.25, 480.0 / 64.0),
    "GDDR": (350.0 / 64.0, 7.5, 480.0 / 64.0),
    "DDR4": (1300.0 / 64.0, 1300.0 / 64.0, 1300.0 / 64.0),
}
#: pJ of a multiply, by operand type, in 7 nm: the same table 2. FP8 has no row: between INT8 and BF16.
MULTIPLY_PJ: dict[str, tuple[float, float, float]] = {
    "int8": (0.07, 0.07, 0.07),
    "fp8": (0.07, 0.14, 0.21),
    "bf16": (0.21, 0.21, 0.21),
    "fp16": (0.34, 0.34, 0.34),
    "fp32": (1.31, 1.31, 1.31),
}
#: pJ of an add into the accumulator, 7 nm: FP32 and INT32, the same table 2.
ADD_PJ = {"float": 0.38, "int": 0.03}
#: pJ per bit over a chip-to-chip link as (low, usual, high): 1.3 for NVLink-C2C, 5.5 for a long-reach SerDes (NVIDIA's
#: comparison of the two); links between boards are SerDes.
LINK_PJ_PER_BIT = (1.3, 5.5, 5.5)
#: Ring all-reduce sends each byte twice (less 1/n), the other collectives once.
LINK_PASSES = {"all_reduce": 2.0}
_PJ = 1e-12


@dataclass(frozen=True)
class EnergyEstimate:
    """Joules of one device. ``missing``: what had no sourced figure (then ``total_j`` is None)."""

    dram_j: float
    compute_j: float
    link_j: float
    idle_j: float
    total_j: float | None
    low_j: float | None
    high_j: float | None
    missing: tuple[str, ...] = ()


def energy_bound_j(tdp_w: float, time_s: Number, devices: int = 1) -> Number:
    """E <= TDP * t * devices, in joules: no device draws more than its power limit for long."""
    return time_s * (tdp_w * devices)


def per_token_j(energy_j: float, tokens: float) -> float:
    """Joules per token."""
    return energy_j / tokens


def cost_per_million_tokens(price_per_hour: float, devices: int, tokens_per_s: Number) -> Number:
    """price per device hour * devices / 3600 / (tokens/s) * 1e6, in the price's currency."""
    return price_per_hour * devices / 3600.0 / tokens_per_s * 1e6


def operation_pj(math_type: str) -> tuple[float, float, float] | None:
    """pJ per FLOP (half of a multiply and an add into the accumulator) as (low, usual, high); None where unknown."""
    multiply = MULTIPLY_PJ.get(math_type)
    if multiply is None:
        return None
    add = ADD_PJ["int" if math_type.startswith("int") else "float"]
    low, usual, high = ((m + add) / 2.0 for m in multiply)
    return low, usual, high


def dram_pj_per_bit(hardware: Hardware) -> tuple[float, float, float] | None:
    """pJ per bit of the device's DRAM as (low, usual, high); None where its technology has no sourced figure."""
    level = hardware.memory("dram")
    name = "" if level is None else (level.technology or "").upper()
    return next((v for start, v in DRAM_PJ_PER_BIT.items() if name.startswith(start)), None)


def estimate_energy(
    rows: Iterable[Mapping[str, Any]], hardware: Hardware, time_s: float, idle_w: float = 0.0
) -> EnergyEstimate:
    """The estimate from the rows of an analysis (per device: FLOPs, DRAM bytes, bytes of collectives; repeats count).

    ``idle_w``: power that flows whatever runs; 0 leaves it out (few vendors publish it).
    """
    missing: list[str] = []
    dram_bytes, link_bytes = 0.0, 0.0
    compute = [0.0, 0.0, 0.0]
    for row in rows:
        times = row["repeat"]
        dram_bytes += times * row["dram_bytes"]
        link_bytes += times * row["comm_bytes"] * LINK_PASSES.get(row["kind"], 1.0)
        work = ((row["math_type"], row["matmul_flops"]), ("fp32", row["vector_flops"]))
        for math_type, flops in work:
            pj = operation_pj(math_type) if flops else (0.0, 0.0, 0.0)
            if pj is None:
                missing.append(f"no sourced energy of {math_type} operations")
                continue
            compute = [c + times * flops * e * _PJ for c, e in zip(compute, pj, strict=True)]
    per_bit = dram_pj_per_bit(hardware)
    if per_bit is None:
        missing.append(f"no sourced energy per bit of the memory of {hardware.name}")
        per_bit = (0.0, 0.0, 0.0)
    dram = [dram_bytes * 8.0 * e * _PJ for e in per_bit]
    link = [link_bytes * 8.0 * e * _PJ for e in LINK_PJ_PER_BIT]
    idle = idle_w * time_s
    low, usual, high = (d + c + k + idle for d, c, k in zip(dram, compute, link, strict=True))
    known = not missing
    return EnergyEstimate(
        dram[1], compute[1], link[1], idle, usual if known else None, low if known else None,
        high if known else None, tuple(dict.fromkeys(missing)),
    )  # fmt: skip


@dataclass(frozen=True)
class Energy:
    """Joules of all devices. ``bound_j`` is TDP x time, ``estimate_j`` counts bits and FLOPs (None: no sourced figure).

    ``cost_per_million_tokens`` follows from ``price_per_hour`` of one device; tokens are what the workload yields.
    """

    bound_j: float | None
    bound_j_per_token: float | None
    estimate_j: float | None
    estimate_low_j: float | None
    estimate_high_j: float | None
    estimate_j_per_token: float | None
    dram_j: float
    compute_j: float
    link_j: float
    cost_per_million_tokens: float | None
    notes: tuple[str, ...]


def energy_account(
    rows: Iterable[Mapping[str, Any]], hardware: Hardware, devices: int, tokens: float, time_s: float,
    price_per_hour: float | None = None,
) -> Energy:  # fmt: skip
    """Both accounts for ``devices`` devices that each run ``rows`` in ``time_s`` and yield ``tokens`` together."""
    bound = (
        None
        if hardware.tdp_w is None
        else float(energy_bound_j(float(hardware.tdp_w.value), time_s, devices))
    )
    found = estimate_energy(rows, hardware, time_s)

    def all_devices(joules: float | None) -> float | None:
        return None if joules is None else joules * devices

    whole = all_devices(found.total_j)
    cost = None
    if price_per_hour is not None and time_s:
        cost = float(cost_per_million_tokens(price_per_hour, devices, tokens / time_s))
    return Energy(
        bound_j=bound,
        bound_j_per_token=None if bound is None else per_token_j(bound, tokens),
        estimate_j=whole,
        estimate_low_j=all_devices(found.low_j),
        estimate_high_j=all_devices(found.high_j),
        estimate_j_per_token=None if whole is None else per_token_j(whole, tokens),
        dram_j=found.dram_j * devices,
        compute_j=found.compute_j * devices,
        link_j=found.link_j * devices,
        cost_per_million_tokens=cost,
        notes=found.missing,
    )
