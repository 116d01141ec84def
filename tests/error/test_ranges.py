"""Choosing a range: each method on values whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from viewer.error.integers import symmetric_grid
from viewer.error.metrics import cosine, mse
from viewer.error.ranges import (
    alternating_cosine_scales,
    cosine_range,
    factor_range,
    kl_range,
    minmax_range,
    moving_average_range,
    mse_range,
    normal_range,
    percentile_range,
    select_range,
)
from viewer.errors import InputError


def test_simple_ranges_by_hand() -> None:
    x = np.array([-1.0, 0.0, 4.0])
    assert minmax_range(x) == (-1, 4)
    assert factor_range(x, 0.5) == (-0.5, 2)
    # 0 .. 10000 at 99.99 %: 0.005 % from each side is 0.5
    assert percentile_range(np.arange(10001.0)) == pytest.approx((0.5, 9999.5))
    assert normal_range(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == (-5, 7)  # 1 -+ 3 * 2


def test_moving_average_by_hand() -> None:
    # c = 0.5: (-1, 2) -> (-1, 3) after max 4: 0.5 * 2 + 0.5 * 4 -> min -3: 0.5 * -1 + 0.5 * -3 = -2, max 1.5
    # + 0 = 1.5
    batches = [np.array([-1.0, 2.0]), np.array([-1.0, 4.0]), np.array([-3.0, 0.0])]
    assert moving_average_range(batches, 0.5) == (-2.0, 1.5)
    assert moving_average_range(batches, 1.0) == (-3.0, 0.0)  # only the last batch counts
    with pytest.raises(InputError, match="at least one batch"):
        moving_average_range([])


def test_mse_search_finds_the_optimal_step_of_a_gaussian() -> None:
    # Max 1960, table II: the best step of 16 uniform levels is 0.3352 sigma; codes -8 .. 7, so alpha = 7
    # steps
    x = np.random.default_rng(0).standard_normal(200_000)
    low, high = mse_range(x, 4)
    alpha = max(-low, high)
    assert alpha / 7 == pytest.approx(0.3352, abs=0.01)
    best = mse(x, symmetric_grid(alpha, 4).round_trip(x))
    assert best < mse(x, symmetric_grid(np.abs(x).max(), 4).round_trip(x)) / 2


@pytest.mark.parametrize("method", ["kl", "mse", "cosine", "percentile", "aciq"])
def test_one_outlier_is_clipped(method: str) -> None:
    x = np.random.default_rng(0).standard_normal(100_000)
    x[0] = 100.0
    bits = 4 if method in ("mse", "cosine", "aciq") else 8
    _, high = select_range(x, method, bits=bits)
    assert 2 < high < 20


def test_kl_keeps_all_of_a_uniform_distribution() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 200_000)
    assert kl_range(x)[1] == pytest.approx(1.0, abs=0.02)
    assert kl_range(np.zeros(4)) == (0.0, 0.0)
    with pytest.raises(InputError, match="more than 128 bins"):
        kl_range(x, bins=100)


def test_cosine_search_beats_min_max() -> None:
    x = np.random.default_rng(0).laplace(size=50_000)
    low, high = cosine_range(x, 4)
    found = symmetric_grid(max(-low, high), 4).round_trip(x)
    assert cosine(x, found) > cosine(x, symmetric_grid(np.abs(x).max(), 4).round_trip(x))


def test_alternating_search_improves_the_layer_output() -> None:
    rng = np.random.default_rng(0)
    weight, inputs = rng.laplace(size=(32, 64)), rng.laplace(size=(128, 64))
    target = inputs @ weight.T

    def score(w_amax: float, x_amax: float) -> float:
        w = symmetric_grid(w_amax, 4).round_trip(weight)
        return cosine(target, symmetric_grid(x_amax, 4).round_trip(inputs) @ w.T)

    w_amax, x_amax, found = alternating_cosine_scales(weight, inputs, bits=(4, 4))
    assert found == pytest.approx(score(w_amax, x_amax))
    assert found > score(np.abs(weight).max(), np.abs(inputs).max()) + 0.001
    assert 0.5 <= w_amax / np.abs(weight).max() <= 1.2
    assert 0.5 <= x_amax / np.abs(inputs).max() <= 1.2


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'percentile'"):
        select_range(np.ones(4), "percentil")
    with pytest.raises(InputError, match="finite"):
        select_range(np.array([np.nan]), "mse")
    for call in (lambda: factor_range(np.ones(2), 1.5), lambda: percentile_range(np.ones(2), 20)):
        with pytest.raises(InputError):
            call()
