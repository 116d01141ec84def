"""The rates that efficiency models use, from a hardware description."""

from __future__ import annotations

import re
from functools import lru_cache

from hardware_specs import load
from hardware_specs.schema import Hardware
from viewer.calibration.base import Device
from viewer.errors import InputError

FAMILIES = {"sm_70": "volta", "sm_75": "turing", "sm_80": "ampere", "sm_86": "ampere", "sm_87": "ampere",
            "sm_89": "ada", "sm_90": "hopper", "sm_100": "blackwell", "sm_103": "blackwell",
            "sm_110": "blackwell", "sm_120": "blackwell", "sm_121": "blackwell"}  # fmt: skip

# L2 read bytes per cycle and core where no measurement is known, labelled an estimate. HBM parts: 5420 GB/s
# on A100 (108 x 1.41 GHz -> 35.6) and 9770 GB/s on H200 (132 x 1.98 GHz -> 37.4), RRZE-HPC/gpu-benches
# gpu-l2-cache. Graphics parts have about 14 (5 TB/s on RTX 4090, chipsandcheese.com, from memory). Fitted
# constants absorb the difference on calibrated devices.
_L2_BYTES_PER_CYCLE_AND_CORE = {"sm_80": 35.6, "sm_90": 37.4, "sm_100": 37.4, "sm_103": 37.4}
_L2_GRAPHICS = 14.0

MATH_TYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4", "b1")


def _l2(hardware: Hardware, cores: float, clock_hz: float) -> tuple[float, float, str]:
    """(capacity bytes, bytes/s, what kind of figure) of the last on-chip cache; zeros when there is none."""
    level = hardware.memory("l2") or hardware.memory("llc")
    capacity = level.capacity_bytes if level else None
    if level is None or capacity is None:
        return 0.0, 0.0, "absent"
    if level.bandwidth_bytes_per_s is not None:
        return capacity.value, level.bandwidth_bytes_per_s.value, level.bandwidth_bytes_per_s.kind
    if not hardware.architecture.startswith("sm_") or cores <= 0 or clock_hz <= 0:
        return capacity.value, 0.0, "absent"
    per_cycle = _L2_BYTES_PER_CYCLE_AND_CORE.get(hardware.architecture, _L2_GRAPHICS)
    return capacity.value, per_cycle * cores * clock_hz, "estimate from parts alike"


def family_of(architecture: str) -> str:
    """ "sm_86_geforce" -> "ampere"; an architecture without a family is one of its own."""
    match = re.match(r"sm_\d+", architecture)
    return FAMILIES.get(match[0] if match else architecture, architecture)


def device_of(hardware: Hardware) -> Device:
    """The rates of a hardware description. Raises InputError when it has no DRAM bandwidth or no peak."""
    dram = hardware.memory("dram")
    bandwidth = dram.bandwidth_bytes_per_s if dram else None
    if bandwidth is None:
        raise InputError(
            f"{hardware.name}: its description has no DRAM bandwidth, so no time can be predicted"
        )
    tensor = {t: hardware.peak("tensor", t) for t in MATH_TYPES if hardware.has_peak("tensor", t)}
    vector = {t: hardware.peak("vector", t) for t in MATH_TYPES if hardware.has_peak("vector", t)}
    if not tensor and not vector:
        raise InputError(f"{hardware.name}: its description has no peak rate, so no time can be predicted")
    cores = hardware.core_count.value if hardware.core_count else 0.0
    rated = hardware.clock_hz("rated") or 0.0
    top = max(hardware.clock_hz("maximum") or 0.0, rated)
    l2_bytes, l2_bandwidth, note = _l2(hardware, cores, top)
    return Device(
        name=hardware.name,
        architecture=hardware.architecture,
        family=family_of(hardware.architecture),
        kind=hardware.kind,
        core_count=cores,
        rated_hz=rated,
        maximum_hz=top,
        tensor_peak=tensor,
        vector_peak=vector,
        exp_per_s=hardware.peak("special", "exp") if hardware.has_peak("special", "exp") else 0.0,
        dram_bandwidth=bandwidth.value,
        l2_bytes=l2_bytes,
        l2_bandwidth=l2_bandwidth,
        l2_note=note,
        links={
            link.name: link.bandwidth_per_direction_bytes_per_s.value
            for link in hardware.links
            if link.scope == "node" and link.reaches == "device"
        },
        tdp_w=hardware.tdp_w.value if hardware.tdp_w else 0.0,
    )


@lru_cache(maxsize=512)
def device(name: str) -> Device:
    """The device of a hardware name or file. Raises HardwareError or InputError (both ValueError)."""
    return device_of(load(name))
