"""Error measures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.error.metrics import ErrorSums, cosine, mse, sqnr_db, to_db
from viewer.errors import InputError


def test_by_hand() -> None:
    # error 1 on each of 2 values, signal 9 and 16: MSE 1, SQNR 10 log10(12.5) = 10.97 dB
    x, y = np.array([3.0, 4.0]), np.array([2.0, 5.0])
    assert mse(x, y) == 1
    assert sqnr_db(x, y) == pytest.approx(10.969, abs=1e-3)
    assert cosine(x, y) == pytest.approx(26 / (5 * math.sqrt(29)))  # (6 + 20) / (5 sqrt 29)
    assert sqnr_db(x, x) == math.inf
    assert to_db(0.0) == -math.inf
    assert (cosine(np.zeros(2), np.zeros(2)), cosine(x, np.zeros(2))) == (1.0, 0.0)


@given(st.integers(1, 50), st.integers(0, 2**31))
def test_sums_over_parts_equal_the_whole(cut: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(60) + 3
    y = x + 0.1 * rng.standard_normal(60)
    sums = ErrorSums()
    sums.add(x[:cut], y[:cut])
    sums.add(x[cut:], y[cut:])
    assert sums.count == 60
    assert sums.mse == pytest.approx(mse(x, y))
    assert sums.sqnr_db == pytest.approx(sqnr_db(x, y))
    assert sums.cosine == pytest.approx(cosine(x, y))
    centred = x - x.mean()
    assert sums.kurtosis == pytest.approx((centred**4).mean() / (centred**2).mean() ** 2)


def test_kurtosis_of_known_distributions() -> None:
    rng = np.random.default_rng(0)
    for x, expected in ((rng.standard_normal(10**6), 3.0), (rng.laplace(size=10**6), 6.0)):
        sums = ErrorSums()
        sums.add(x, x)
        assert sums.kurtosis == pytest.approx(expected, rel=0.03)
    constant = ErrorSums()
    constant.add(np.full(5, 2.0), np.full(5, 2.0))
    assert math.isnan(constant.kurtosis)


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="shapes differ"):
        ErrorSums().add(np.zeros(2), np.zeros(3))
