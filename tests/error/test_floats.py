"""Low-bit floats against an independent implementation and against hand-made values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.error.floats import (
    E2M1,
    E3M2,
    E4M3,
    E5M2,
    FLOAT_FORMATS,
    FP32,
    FloatFormat,
    float_format,
    float_levels,
    round_scale_e8m0,
    round_to_float,
)
from viewer.errors import InputError

NAMES = {
    "bf16": "bfloat16", "fp16": "float16", "e5m2": "float8_e5m2", "e4m3": "float8_e4m3fn",
    "e3m2": "float6_e3m2fn", "e2m3": "float6_e2m3fn", "e2m1": "float4_e2m1fn",
}  # fmt: skip


def _wide_sample(fmt: FloatFormat) -> np.ndarray:
    """float32 values from below the smallest subnormal to the largest value, and all midpoints of small
    formats."""
    rng = np.random.default_rng(1)
    low = max(np.log2(fmt.smallest_subnormal) - 2, -120)
    exponents = rng.uniform(low, np.log2(fmt.largest), 20_000)
    x = np.exp2(exponents) * rng.choice([-1, 1], 20_000)
    if fmt.mantissa_bits <= 3:
        levels = float_levels(fmt)
        x = np.concatenate([x, levels, (levels[1:] + levels[:-1]) / 2])
    return np.clip(x, -fmt.largest, fmt.largest).astype(np.float32)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_rounding_agrees_with_ml_dtypes_bit_by_bit(name: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    fmt = FLOAT_FORMATS[name]
    x = _wide_sample(fmt)
    dtype = np.float16 if name == "fp16" else getattr(ml_dtypes, NAMES[name])
    np.testing.assert_array_equal(round_to_float(x, fmt), x.astype(dtype).astype(np.float32))


def test_fp32_rounding_of_doubles_agrees_with_numpy() -> None:
    x = np.random.default_rng(2).standard_normal(10_000)
    np.testing.assert_array_equal(round_to_float(x, FP32), x.astype(np.float32).astype(np.float64))


def test_values_at_the_edges() -> None:
    # E4M3: 448 is the largest, 2^-9 the smallest; 2^-10 is a tie between 0 and 2^-9 and goes to even (0).
    x = np.array([1e9, -1e9, 460.0, 2.0**-9, 2.0**-10, 2.0**-10 * 1.01, 0.0])
    expected = [448, -448, 448, 2.0**-9, 0, 2.0**-9, 0]
    np.testing.assert_array_equal(round_to_float(x, E4M3), expected)
    # E2M1 holds 0, .5, 1, 1.5, 2, 3, 4, 6; 2.5 is a tie of 2 and 3 (mantissa 0 and 1): even is 2; 5 -> 4.
    np.testing.assert_array_equal(
        round_to_float(np.array([0.3, 2.5, 5.0, 5.1, 7.0]), E2M1), [0.5, 2, 4, 6, 6]
    )


@pytest.mark.parametrize(
    ("name", "count", "largest", "smallest"),
    [
        ("e2m1", 15, 6.0, 0.5),  # 16 codes, two of them zero
        ("e2m3", 63, 7.5, 0.125),
        ("e3m2", 63, 28.0, 0.0625),
        ("e4m3", 253, 448.0, 2.0**-9),  # 256 - 2 NaN - 1 double zero
        ("e5m2", 247, 57344.0, 2.0**-16),  # 256 - 2 inf - 6 NaN - 1
    ],
)
def test_levels(name: str, count: int, largest: float, smallest: float) -> None:
    levels = float_levels(float_format(name))
    assert levels.size == count
    assert np.all(np.diff(levels) > 0)
    assert levels[-1] == largest == -levels[0]
    assert levels[levels > 0][0] == smallest


@given(st.sampled_from([E2M1, E3M2, E4M3, E5M2]), st.floats(-1e6, 1e6))
def test_rounding_is_nearest_idempotent_and_odd(fmt: FloatFormat, value: float) -> None:
    x = np.array([value])
    y = round_to_float(x, fmt)
    levels = float_levels(fmt)
    assert abs(value - y[0]) == pytest.approx(np.abs(levels - value).min(), abs=0)
    assert round_to_float(y, fmt)[0] == y[0]
    assert round_to_float(-x, fmt)[0] == -y[0]


def test_shared_scale_of_mx() -> None:
    # amax 5: floor(log2 5) = 2; E2M1 has emax 2, so the scale is 2^0; amax 0.9: 2^(-1 - 2).
    np.testing.assert_array_equal(round_scale_e8m0(np.array([5.0, 0.9, 0.0]), E2M1), [1, 2.0**-3, 1])
    # E8M0 stops at 2^-127
    assert round_scale_e8m0(np.array([2.0**-200]), E4M3)[0] == 2.0**-127


def test_unknown_float_format_is_named() -> None:
    with pytest.raises(InputError, match="e4m4"):
        float_format("e4m4")
