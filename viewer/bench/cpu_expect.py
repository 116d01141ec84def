"""What an architecture's vector units can do per clock and core, where we know it from its maker."""

from __future__ import annotations

from functools import cache

from viewer.bench import host

# Operations per clock and core (a multiply-add is two), and where that is written.
# AMD family 1Ah, desktop and server: two 512-bit FMA a cycle; VDPBF16PS, VPDPBUSD likewise
_ZEN5 = {"fma_f32": 64.0, "fma_f64": 32.0, "dot_bf16": 128.0, "dot_int8": 256.0}
# AMD family 19h model 10h and later (Zen 4): the same instructions at half the width per cycle
_ZEN4 = {"fma_f32": 32.0, "fma_f64": 16.0, "dot_bf16": 64.0, "dot_int8": 128.0}
# AVX2 with two 256-bit FMA a cycle: Haswell and later, Zen 2, Zen 3
_AVX2 = {"fma_f32": 32.0, "fma_f64": 16.0}
# Intel servers with both 512-bit FMA units: Skylake-SP, Cascade Lake, Ice Lake-SP, Sapphire Rapids and later
_XEON = {"fma_f32": 64.0, "fma_f64": 32.0, "dot_int8": 256.0}
_XEON_MODELS = {85, 106, 108, 143, 173, 174, 207}

SOURCE = (
    "AMD Software Optimization Guides 55723 (17h), 56665 (19h), 57647 (Zen 4), 58455 (1Ah); "
    "Intel 64 and IA-32 Architectures Optimization Reference Manual"
)


def table_for(vendor: str, family: int, model: int, isa: list[str]) -> dict[str, float]:
    """Operations per clock by probe for a CPUID family and model; empty where we do not know."""
    wide = "avx512f" in isa
    if vendor == "AuthenticAMD":
        # family 1Ah models 20h-2Fh and 60h-7Fh are the mobile parts with 256-bit data paths
        if family == 26:
            mobile = 0x20 <= model <= 0x2F or 0x60 <= model <= 0x7F
            return _ZEN4 if mobile else _ZEN5
        if family == 25:
            return _ZEN4 if wide else _AVX2
        # family 17h from model 30h on is Zen 2
        return _AVX2 if family == 23 and model >= 0x30 else {}
    if vendor == "GenuineIntel" and family == 6:
        if model in _XEON_MODELS and wide:
            return _XEON
        return {} if wide or "fma" not in isa else _AVX2
    return {}


@cache
def _here() -> dict[str, float]:
    device = host.cpu_device()
    family, model = str(device["family"] or ""), str(device["model"] or "")
    if not (family.isdigit() and model.isdigit()):
        return {}
    return table_for(str(device["vendor"]), int(family), int(model), host.isa_flags())


def expected_op_per_clock(probe: str) -> float | None:
    """Operations per clock and core that this machine's architecture allows a probe, or None if not known."""
    return _here().get(probe)
