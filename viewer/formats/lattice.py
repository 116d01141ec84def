"""Which value types convert to which without rounding (the lattice that the precision rule walks).

Integers intN hold -2^(N-1) .. 2^(N-1)-1; b1 is {-1, 1}; ternary {-1, 0, 1}; lut16 is a code book whose
entries are 16-bit floats of whatever type the kernel unpacks to (NF4, bitsandbytes FP4). potN is zero and
plus or minus 2^0 .. 2^-(2^(N-1)-2). A step is listed only when *every* value survives it: e2m3, for
instance, stops at 7.5, so int4's -8 does not fit, while e3m2 holds it.
"""

from __future__ import annotations

from functools import cache

STEPS: dict[str, tuple[str, ...]] = {
    "b1": ("ternary",),
    "ternary": ("int2",),
    "int2": ("int3",),
    "int3": ("int4", "fp4"),
    "int4": ("int5", "fp6_e3m2"),
    "int5": ("int6", "fp8_e4m3"),
    "int6": ("int7",),
    "int7": ("int8",),
    "int8": ("int16", "bf16", "fp16"),
    "int16": ("int32", "fp32"),
    "int32": ("fp64",),
    "fp4": ("fp6_e2m3", "fp6_e3m2"),
    "fp6_e2m3": ("fp8_e4m3",),
    "fp6_e3m2": ("fp8_e4m3", "fp8_e5m2"),
    "fp8_e4m3": ("bf16", "fp16"),
    "fp8_e5m2": ("bf16", "fp16"),
    "pot3": ("pot4", "fp6_e2m3", "fp6_e3m2"),
    "pot4": ("pot5", "fp8_e4m3"),
    "pot5": ("pot6", "fp8_e5m2"),
    "pot6": ("pot7", "bf16"),
    "pot7": ("pot8", "bf16"),
    "pot8": ("bf16",),
    "lut16": ("bf16", "fp16"),
    "bf16": ("tf32",),
    "fp16": ("tf32",),
    "tf32": ("fp32",),
    "fp32": ("fp64",),
    "fp64": (),
}

VALUE_TYPES = frozenset(STEPS)


@cache
def wider(value_type: str) -> frozenset[str]:
    """Every value type that holds all values of ``value_type`` exactly, itself included."""
    found = {value_type}
    for step in STEPS[value_type]:
        found |= wider(step)
    return frozenset(found)


def converts_exactly(source: str, target: str) -> bool:
    """True when every value of ``source`` is a value of ``target``."""
    return target in wider(source)
