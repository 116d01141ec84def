"""What a number of threads of a processor can do: measured by ``roofline bench cpu``, or derived from a datasheet.

Rates are operations/s (2 per stored weight and column) and bytes/s of all threads together. A hardware file written
by the measured core has them by thread count (``q4_0_dot_rate_t2`` ...); a description without them gets
operations per clock and core of the same probes (:data:`PER_CLOCK`) at its rated clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hardware_specs.schema import Hardware
from viewer.errors import InputError

#: Weight layouts that the measured core has a dot product of.
LAYOUTS = ("q8_0", "q4_0", "q4_k", "f16", "f32")
# Operations per clock and core of the core's own dot products, one column and four: measured on Zen 5 (EPYC 9005,
# 4.1 GHz) by roofline bench cpu. Their vectors have 256 bits, so they do not follow the width of the multiply-adds.
PER_CLOCK = {"q8_0": 17.1, "q4_0": 14.4, "q4_k": 19.8, "f16": 20.1, "f32": 24.0}
PER_CLOCK_FOUR = {"q8_0": 26.4, "q4_0": 22.0, "q4_k": 37.0, "f16": 28.9, "f32": 28.9}
# Bytes/s that the misses in flight of one core bring from DRAM: 31-34 GB/s on Zen 5 (roofline bench cpu), 33 GB/s a
# core for 2 threads on a Ryzen 7950X (BF16 decode, ik_llama.cpp discussion 164).
CORE_DRAM = 33e9
# Share of a datasheet's DRAM bandwidth that all cores read: STREAM on servers and desktops, 0.75 to 0.9.
DRAM_SHARE = 0.8
CORE_CACHE = 1.1e11  # bytes/s of one core from its last-level cache, Zen 5 (roofline bench cpu)
DEFAULT_CLOCK = 3e9


@dataclass(frozen=True, slots=True)
class CpuRates:
    """Rates of ``threads`` threads together. ``one``, ``four``: dot products of weights inside the L2 with one and
    four columns; ``stream``: one column with weights from DRAM (empty where not measured), by layout."""

    threads: int
    clock_hz: float
    dram_bytes_per_s: float
    cache_bytes_per_s: float
    cache_bytes: float
    fma_per_s: float
    one: Mapping[str, float]
    four: Mapping[str, float]
    stream: Mapping[str, float] = field(default_factory=dict)
    measured: bool = True


def thread_count(hardware: Hardware, threads: int | None) -> int:
    """Threads that run: all cores unless told; InputError for more threads than cores."""
    cores = int(hardware.core_count.value) if hardware.core_count else 0
    if threads is None:
        if not cores:
            raise InputError(f"{hardware.name} has no core count: say how many threads run (--set threads=N)")
        return cores
    if cores and threads > cores:
        raise InputError(f"threads {threads}: {hardware.name} has {cores} cores")
    return threads


def rates_of(hardware: Hardware, threads: int | None = None) -> CpuRates:
    """The rates of ``threads`` threads (None: one a core). Raises InputError when DRAM bandwidth or multiply-add rate
    are unknown."""
    count = thread_count(hardware, threads)
    curves = _curves(hardware)
    if {"read_dram_bandwidth", "fma_f32_rate"} <= curves.keys():
        return _measured(hardware, curves, count)
    return _derived(hardware, count)


def _curves(hardware: Hardware) -> dict[str, dict[int, float]]:
    """Measured figures by metric and thread count."""
    found: dict[str, dict[int, float]] = {}
    for entry in hardware.measured:
        if match := re.fullmatch(r"(\w+)_t(\d{1,5})", entry.metric):
            found.setdefault(match[1], {})[int(match[2])] = float(entry.value)
    return found


def _at(curve: Mapping[int, float], threads: int) -> float:
    """A figure between measured thread counts, in log-log; beyond the last one it holds."""
    counts = sorted(curve)
    return float(
        np.exp(np.interp(np.log(threads), np.log(counts), np.log([max(curve[c], 1e-9) for c in counts])))
    )


def _measured(hardware: Hardware, curves: Mapping[str, Mapping[int, float]], threads: int) -> CpuRates:
    def by_layout(pattern: str) -> dict[str, float]:
        names = {layout: pattern.format(layout) for layout in LAYOUTS}
        return {layout: _at(curves[name], threads) for layout, name in names.items() if name in curves}

    level = hardware.memory("llc")
    reads = [_at(curves[name], threads) for name in ("read_dram_bandwidth",)]
    stream = by_layout("{}_dot_dram_rate")
    if (
        "f16" in stream
    ):  # one byte an operation: a stream of weights reads DRAM as well as the read probe does
        reads.append(stream["f16"])
    cache = curves.get("read_l3_bandwidth") or curves.get("read_l2_bandwidth") or {1: CORE_CACHE}
    fma = _at(curves["fma_f32_rate"], threads)
    one = by_layout("{}_dot_rate")
    four = by_layout("{}_x4_dot_rate")
    clock_hz = hardware.clock_hz("rated") or DEFAULT_CLOCK
    cycles = clock_hz * threads
    for layout in LAYOUTS:
        one.setdefault(layout, PER_CLOCK[layout] * cycles)
        four.setdefault(layout, PER_CLOCK_FOUR[layout] * cycles)
    return CpuRates(
        threads=threads,
        clock_hz=clock_hz,
        dram_bytes_per_s=max(reads),
        cache_bytes_per_s=_at(cache, threads),
        cache_bytes=float(level.capacity_bytes.value) if level and level.capacity_bytes else 0.0,
        fma_per_s=fma,
        one=one,
        four=four,
        stream=stream,
    )


def _derived(hardware: Hardware, threads: int) -> CpuRates:
    dram = hardware.bandwidth_bytes_per_s("dram")
    if dram is None or not hardware.has_peak("vector", "fp32"):
        raise InputError(
            f"{hardware.name} has no {'DRAM bandwidth' if dram is None else 'FP32 vector rate'}: "
            "measure it with roofline bench cpu"
        )
    cores = max(1, thread_count(hardware, None) if hardware.core_count else threads)
    fma = hardware.peak("vector", "fp32") * min(threads, cores) / cores
    level = hardware.memory("llc")
    clock_hz = hardware.clock_hz("rated") or DEFAULT_CLOCK
    return CpuRates(
        threads=threads,
        clock_hz=clock_hz,
        dram_bytes_per_s=min(DRAM_SHARE * dram, CORE_DRAM * threads),
        cache_bytes_per_s=CORE_CACHE * threads,
        cache_bytes=float(level.capacity_bytes.value) if level and level.capacity_bytes else 0.0,
        fma_per_s=fma,
        one={name: value * clock_hz * threads for name, value in PER_CLOCK.items()},
        four={name: value * clock_hz * threads for name, value in PER_CLOCK_FOUR.items()},
        measured=False,
    )
