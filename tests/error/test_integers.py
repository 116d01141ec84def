"""Uniform quantizers: the worked product, ranges, granularities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from viewer.error.integers import (
    affine_grid,
    code_range,
    integer_product,
    quantize_integer,
    symmetric_grid,
)
from viewer.error.layout import TensorStats
from viewer.errors import InputError


def test_worked_integer_product() -> None:
    # S1 = 2.2 / 255 = 0.008627451; Z1 = 127 - 1.0 / S1 = 11.09 -> 11; Z2 = 127 - 1.2 / S2 = -12.09 -> -12
    # S3 = 2.8 / 255 = 0.010980392; Z3 = 127 - 2.0 / S3 = -55.14 -> -55
    a, b, c = affine_grid(-1.2, 1.0, 8), affine_grid(-1.0, 1.2, 8), affine_grid(-0.8, 2.0, 8)
    assert float(a.scale) == pytest.approx(0.008627451, abs=5e-10)
    assert float(b.scale) == pytest.approx(0.008627451, abs=5e-10)
    assert float(c.scale) == pytest.approx(0.010980392, abs=5e-10)
    assert (int(a.zero_point), int(b.zero_point), int(c.zero_point)) == (11, -12, -55)
    product = integer_product(0.3, 0.5, ((-1.2, 1.0), (-1.0, 1.2), (-0.8, 2.0)))
    assert product.q_a == 46  # rint(0.3 / S1) + 11 = 35 + 11
    assert product.q_b == 46  # rint(0.5 / S2) - 12 = 58 - 12
    assert product.multiplier == pytest.approx(0.006778711, abs=5e-10)  # S1 S2 / S3
    assert product.accumulator == 2030  # (46 - 11) * (46 + 12) = 35 * 58
    assert product.q_c == -41  # rint(0.006778711 * 2030) - 55 = 14 - 55
    assert product.value == pytest.approx(14 * 2.8 / 255)  # 0.15373 for 0.15
    assert product.value == pytest.approx(0.15, abs=2.8 / 255 / 2)


def test_product_saturates() -> None:
    # 1.0 * 1.2 = 1.2 does not fit a result range of -1 .. 1: the code stops at 127
    assert integer_product(1.0, 1.2, ((-1.2, 1.0), (-1.0, 1.2), (-1.0, 1.0))).q_c == 127


def test_code_ranges() -> None:
    assert code_range(8) == (-128, 127)
    assert code_range(9) == (-256, 255)
    assert code_range(8, signed=False) == (0, 255)
    with pytest.raises(InputError, match="1 to 32 bits, got 40"):
        code_range(40)


def test_one_sided_range_is_widened_to_hold_zero() -> None:
    # 2 .. 4 becomes 0 .. 4: s = 4 / 255, unsigned zero point 255 - 4 / s = 0; 0 is exact
    grid = affine_grid(2.0, 4.0, 8, signed=False)
    assert float(grid.scale) == pytest.approx(4 / 255)
    assert int(grid.zero_point) == 0
    assert grid.round_trip(np.array([0.0]))[0] == 0
    # -4 .. -2 becomes -4 .. 0: the zero point is the largest code
    assert int(affine_grid(-4.0, -2.0, 8, signed=False).zero_point) == 255


def test_symmetric_scale_is_amax_over_largest_code() -> None:
    grid = symmetric_grid(12.7, 8)
    assert float(grid.scale) == pytest.approx(0.1)
    np.testing.assert_allclose(grid.round_trip(np.array([12.7, -12.8, -99.0, 0.04])), [12.7, -12.8, -12.8, 0])
    assert symmetric_grid(12.7, 8, narrow=True).round_trip(np.array([-99.0]))[0] == pytest.approx(-12.7)
    with pytest.raises(InputError, match="2 bits"):
        symmetric_grid(1.0, 1)


@pytest.mark.parametrize("symmetric", [True, False])
def test_granularities_nest(symmetric: bool) -> None:
    x = np.random.default_rng(0).standard_normal((8, 64))
    channel = quantize_integer(x, 4, symmetric=symmetric, granularity="channel")
    np.testing.assert_array_equal(
        channel, quantize_integer(x, 4, symmetric=symmetric, granularity="group", group=64)
    )
    np.testing.assert_array_equal(
        channel, quantize_integer(x, 4, symmetric=symmetric, granularity="block", block=(1, 64))
    )
    tensor = quantize_integer(x, 4, symmetric=symmetric, granularity="tensor")
    np.testing.assert_array_equal(
        tensor, quantize_integer(x, 4, symmetric=symmetric, granularity="block", block=(8, 64))
    )
    # half of a tensor with the range of all of it is half of the result
    stats = TensorStats(float(x.min()), float(x.max()))
    half = quantize_integer(x[:4], 4, symmetric=symmetric, granularity="tensor", stats=stats)
    np.testing.assert_array_equal(half, tensor[:4])


def test_a_group_that_does_not_divide_the_row_has_a_short_last_group() -> None:
    # groups of 4 in a row of 6: the last scale covers 2 values, 100 / 7 does not touch the first four
    x = np.array([[1.0, -7.0, 3.0, 2.0, 100.0, -3.0]])
    y = quantize_integer(x, 4, granularity="group", group=4)
    np.testing.assert_allclose(y, [[1, -7, 3, 2, 100, 0]])


def test_unknown_granularity_and_bad_group() -> None:
    x = np.ones((2, 4))
    with pytest.raises(InputError, match=r"chanel.*did you mean 'channel'"):
        quantize_integer(x, 8, granularity="chanel")
    with pytest.raises(InputError, match="group size"):
        quantize_integer(x, 8, granularity="group", group=0)
    with pytest.raises(InputError, match="finite"):
        affine_grid(-np.inf, 1.0, 8)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-1e3, 1e3)),
    st.integers(2, 8),
    st.booleans(),
    st.sampled_from(["tensor", "channel", "group"]),
)
def test_error_is_at_most_one_step(x: np.ndarray, bits: int, symmetric: bool, granularity: str) -> None:
    y = quantize_integer(x, bits, symmetric=symmetric, granularity=granularity, group=3)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    span = max(x.max(), 0) - min(x.min(), 0)
    step = np.abs(x).max() / (2 ** (bits - 1) - 1) if symmetric else span / (2**bits - 1)
    # symmetric rounding is off by half a step; a rounded zero point shifts the range by another half
    assert np.abs(x - y).max() <= step * (0.5 if symmetric else 1.0) * (1 + 1e-9) + 1e-12
