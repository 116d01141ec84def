"""The exact conversions, checked value by value against an independent implementation of the types."""

from __future__ import annotations

import numpy as np
import pytest

from viewer.formats import VALUE_TYPES, converts_exactly

ml_dtypes = pytest.importorskip("ml_dtypes")

FLOATS = {
    "fp4": ml_dtypes.float4_e2m1fn,
    "fp6_e2m3": ml_dtypes.float6_e2m3fn,
    "fp6_e3m2": ml_dtypes.float6_e3m2fn,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
}
ENUMERABLE = sorted(VALUE_TYPES - {"lut16", "tf32", "fp32", "fp64", "int32"})


def values_of(kind: str) -> np.ndarray:
    """Every finite value of a type of at most 16 bits."""
    if kind == "b1":
        return np.array([-1.0, 1.0])
    if kind == "ternary":
        return np.array([-1.0, 0.0, 1.0])
    if kind.startswith("int"):
        bits = int(kind[3:])
        return np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1), dtype=np.float64)
    if kind.startswith("pot"):
        powers = 2.0 ** -np.arange(2 ** (int(kind[3:]) - 1) - 1)
        return np.concatenate([-powers, [0.0], powers])
    dtype = FLOATS[kind]
    width = {"fp4": 4, "fp6_e2m3": 6, "fp6_e3m2": 6, "fp8_e4m3": 8, "fp8_e5m2": 8}.get(kind, 16)
    codes = np.arange(2**width, dtype=np.uint8 if width <= 8 else np.uint16)
    found = codes.view(dtype).astype(np.float64)
    return found[np.isfinite(found)]


def fits(values: np.ndarray, kind: str) -> bool:
    """True when every value survives the round trip through ``kind``."""
    if kind in FLOATS:
        with np.errstate(all="ignore"):
            return bool(np.array_equal(values.astype(FLOATS[kind]).astype(np.float64), values))
    if kind == "tf32":  # FP32 with the last 13 of 23 mantissa bits zero
        single = values.astype(np.float32)
        return bool(np.array_equal(single.astype(np.float64), values)) and not np.any(
            single.view(np.uint32) & 0x1FFF
        )
    if kind == "int32":
        return bool(np.array_equal(np.round(values), values)) and np.abs(values).max() < 2**31
    return bool(np.isin(values, values_of(kind)).all())


@pytest.mark.parametrize("source", ENUMERABLE)
def test_claimed_conversions_are_exactly_the_exact_ones(source: str) -> None:
    values = values_of(source)
    # powers of two are a storage, never a multiplier's input: only a longer pot takes a shorter one
    pots = set() if source.startswith("pot") else {kind for kind in VALUE_TYPES if kind.startswith("pot")}
    for target in sorted(VALUE_TYPES - {"lut16"} - pots):
        assert converts_exactly(source, target) == fits(values, target), f"{source} -> {target}"


def test_the_rules_that_kernels_rely_on() -> None:
    assert converts_exactly("int4", "fp8_e4m3")  # integers to +-16 are exact
    assert not converts_exactly("int8", "fp8_e4m3")
    assert converts_exactly("ternary", "int4")
    assert converts_exactly("fp4", "fp8_e4m3")
    assert converts_exactly("int8", "bf16")  # +-256
    assert not converts_exactly("bf16", "fp16")  # range
    assert not converts_exactly("fp16", "bf16")  # mantissa
    assert converts_exactly("lut16", "bf16")
    assert converts_exactly("lut16", "fp16")
