"""The rates that efficiency models use, from a hardware description."""

from __future__ import annotations

from functools import lru_cache

from viewer.calibration.base import Device

FAMILIES = {
    "sm_70": "volta",
    "sm_75": "turing",
    "sm_80": "ampere",
    "sm_86": "ampere",
    "sm_87": "ampere",
    "sm_89": "ada",
    "sm_90": "hopper",
    "sm_100": "blackwell",
    "sm_103": "blackwell",
    "sm_120": "blackwell",
    "sm_121": "blackwell",
}


def _nvidia(
    name: str,
    arch: str,
    cores: float,
    rated: float,
    top: float,
    bf16: float,
    fp8: float,
    int8: float,
    fp32: float,
    dram: float,
    l2_mb: float,
    l2_bw: float,
    note: str,
    link: float,
) -> Device:
    tensor = {"bf16": bf16, "fp16": bf16, "int8": int8, "tf32": bf16 / 2}
    if fp8:
        tensor["fp8"] = fp8
    return Device(
        name=name,
        architecture=arch,
        family=FAMILIES[arch],
        kind="gpu",
        core_count=cores,
        rated_hz=rated,
        maximum_hz=top,
        tensor_peak=tensor,
        vector_peak={"fp32": fp32, "fp16": fp32},
        exp_per_s=16 * cores * rated,
        dram_bandwidth=dram,
        l2_bytes=l2_mb * 1e6,
        l2_bandwidth=l2_bw,
        l2_note=note,
        links={"nvlink": link} if link else {},
    )


_STUB = [
    _nvidia(
        "nvidia/a100-sxm-80gb",
        "sm_80",
        108,
        1.41e9,
        1.41e9,
        312e12,
        0,
        624e12,
        19.5e12,
        2039e9,
        40,
        5.42e12,
        "measured",
        300e9,
    ),
    _nvidia(
        "nvidia/a30",
        "sm_80",
        56,
        1.44e9,
        1.44e9,
        165e12,
        0,
        330e12,
        10.3e12,
        933e9,
        24,
        2.8e12,
        "estimate",
        100e9,
    ),
    _nvidia(
        "nvidia/h100-sxm",
        "sm_90",
        132,
        1.83e9,
        1.98e9,
        989.4e12,
        1978.9e12,
        1978.9e12,
        66.9e12,
        3352e9,
        50,
        7.5e12,
        "estimate",
        450e9,
    ),
    _nvidia(
        "nvidia/h200-sxm",
        "sm_90",
        132,
        1.83e9,
        1.98e9,
        989.4e12,
        1978.9e12,
        1978.9e12,
        66.9e12,
        4800e9,
        50,
        9.77e12,
        "measured",
        450e9,
    ),
    _nvidia(
        "nvidia/h800-sxm",
        "sm_90",
        132,
        1.83e9,
        1.98e9,
        989.4e12,
        1978.9e12,
        1978.9e12,
        66.9e12,
        3352e9,
        50,
        7.5e12,
        "estimate",
        200e9,
    ),
    _nvidia(
        "nvidia/l40s",
        "sm_89",
        142,
        2.52e9,
        2.52e9,
        362.05e12,
        733e12,
        733e12,
        91.6e12,
        864e9,
        96,
        4.5e12,
        "estimate",
        0,
    ),
    _nvidia(
        "nvidia/rtx-3090",
        "sm_86",
        82,
        1.695e9,
        2.1e9,
        71e12,
        0,
        284e12,
        35.6e12,
        936e9,
        6,
        2.2e12,
        "estimate",
        56e9,
    ),
]


@lru_cache(maxsize=256)
def device(name: str) -> Device:
    """The device of a hardware name (a placeholder table until the hardware descriptions are read)."""
    table = {d.name: d for d in _STUB}
    if name not in table:
        from viewer.errors import unknown

        raise unknown("hardware", name, table)
    return table[name]
