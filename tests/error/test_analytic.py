"""Closed forms against quadrature, sampling and published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from viewer.error.aciq import aciq_clip, gaussian_mse, laplace_mse, optimal_clip
from viewer.error.analytic import (
    absmax_integer_sqnr_db,
    clipped_uniform_mse,
    expected_square_amax,
    fixed_levels_sqnr_db,
    levels_mse,
    n_of_m_sqnr_db,
    unstructured_sqnr_db,
)
from viewer.error.distributions import (
    DISTRIBUTIONS,
    Distribution,
    Gaussian,
    Laplace,
    OutlierChannels,
    StudentT,
    distribution,
    partial_moments,
)
from viewer.error.floats import BF16, E4M3, float_levels, round_to_float
from viewer.error.integers import quantize_integer, symmetric_grid
from viewer.error.metrics import error_split, mse, sqnr_db
from viewer.errors import InputError

ALL = [Gaussian(), Gaussian(3.0), Laplace(), Laplace(2.0), StudentT(5.0), StudentT(9.0), OutlierChannels()]


def test_aciq_clips() -> None:
    # published optima (arXiv:1810.05723): Laplace in units of b, Gaussian in units of sigma; +- 0.01
    laplace = {2: 2.83, 3: 3.89, 4: 5.03, 8: 9.90}
    gaussian = {2: 1.71, 3: 2.15, 4: 2.55, 8: 3.92}
    for bits, clip in laplace.items():
        assert optimal_clip("laplace", bits) == pytest.approx(clip, abs=0.011)
    for bits, clip in gaussian.items():
        assert optimal_clip("gaussian", bits) == pytest.approx(clip, abs=0.011)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_aciq_clip_is_the_minimum_of_its_formula(bits: int) -> None:
    for kind, formula in (("laplace", laplace_mse), ("gaussian", gaussian_mse)):
        best = optimal_clip(kind, bits)
        grid = np.linspace(0.5, 12, 4601)
        values = [formula(a, bits) for a in grid]
        assert best == pytest.approx(grid[int(np.argmin(values))], abs=0.003)
    # a e^a = 3 * 4^M for Laplace
    a = optimal_clip("laplace", bits)
    assert a * math.exp(a) == pytest.approx(3 * 4**bits, rel=1e-9)


def test_aciq_formulas_are_integrals() -> None:
    # clipping part: 2 * integral of (x - a)^2 p(x) beyond a; rounding part: step^2 / 12 with step 2 a / 2^M
    for dist, formula in ((Laplace(1.0), laplace_mse), (Gaussian(1.0), gaussian_mse)):
        clipping = 2 * quad(lambda x, d=dist: (x - 2.0) ** 2 * float(d.density(np.float64(x))), 2.0, 60.0)[0]
        assert formula(2.0, 4) == pytest.approx(clipping + (2 * 2.0 / 16) ** 2 / 12)
    assert laplace_mse(3.0, 4, b=2.0) == pytest.approx(4 * laplace_mse(1.5, 4))
    assert gaussian_mse(3.0, 4, sigma=2.0) == pytest.approx(4 * gaussian_mse(1.5, 4))


def test_aciq_recognizes_the_distribution() -> None:
    rng = np.random.default_rng(0)
    low, high = aciq_clip(2 + 0.5 * rng.standard_normal(100_000), 4)
    assert (low, high) == pytest.approx((2 - 2.55 * 0.5, 2 + 2.55 * 0.5), abs=0.02)
    low, high = aciq_clip(rng.laplace(scale=0.3, size=100_000), 4)
    assert high == pytest.approx(5.03 * 0.3, rel=0.02)
    with pytest.raises(InputError, match="cauchy"):
        optimal_clip("cauchy", 4)


@pytest.mark.parametrize("dist", ALL, ids=lambda d: f"{d}")
def test_partial_moments_are_integrals(dist: Distribution) -> None:
    for low, high in ((-1.5, 0.4), (0.2, 3.0), (-0.1, 7.0)):
        got = partial_moments(dist, np.array(low), np.array(high))
        for k in range(3):
            value = quad(lambda x, k=k: x**k * float(dist.density(np.float64(x))), low, high)[0]
            assert float(got[k]) == pytest.approx(value, abs=1e-8)
    whole = partial_moments(dist, np.array(-np.inf), np.array(np.inf))
    np.testing.assert_allclose([float(m) for m in whole], [1, 0, dist.variance], atol=1e-9)


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_samples_have_the_stated_variance(name: str) -> None:
    dist = distribution(name)
    x = dist.sample(np.random.default_rng(0), 512, 4000)
    assert x.var() == pytest.approx(dist.variance, rel=0.02)
    assert abs(x.mean()) < 0.01


def test_clipped_grid_error_is_exact_and_splits() -> None:
    rng = np.random.default_rng(0)
    for dist in (Gaussian(), Laplace(), StudentT()):
        x = dist.sample(rng, 1000, 1000)
        rounding, clipping = clipped_uniform_mse(dist, 2.5, 4)
        grid = symmetric_grid(2.5, 4, narrow=True)
        clip_found, round_found = error_split(x, grid)
        assert rounding == pytest.approx(round_found, rel=0.01)
        assert clipping == pytest.approx(clip_found, rel=0.05)
        assert clip_found + round_found == pytest.approx(mse(x, grid.round_trip(x)), rel=1e-9)


def test_trade_off_through_the_scale() -> None:
    # a wider clip rounds more and clips less; the best lies between
    totals = []
    for alpha in (1.0, 2.5, 6.0):
        rounding, clipping = clipped_uniform_mse(Gaussian(), alpha, 4)
        totals.append((rounding, clipping))
    assert totals[0][0] < totals[1][0] < totals[2][0]
    assert totals[0][1] > totals[1][1] > totals[2][1]
    assert sum(totals[1]) < min(sum(totals[0]), sum(totals[2]))


def test_uniform_noise_is_step_squared_over_12() -> None:
    rounding, _ = levels_mse(Gaussian(), np.arange(-1000, 1001) * 0.01)
    assert rounding == pytest.approx(0.01**2 / 12, rel=1e-6)


def test_casts_to_floats() -> None:
    # p(x) is smooth, so a float of M bits has relative noise about 2^-2M / 12 * E[2^2e] / E[x^2]: 31.5 dB
    # for M = 3
    for fmt, expected in ((E4M3, 31.5), (BF16, 55.6)):
        found = fixed_levels_sqnr_db(Gaussian(), float_levels(fmt))
        assert found == pytest.approx(expected, abs=0.1)
    x = StudentT().sample(np.random.default_rng(0), 500, 4096)
    assert fixed_levels_sqnr_db(StudentT(), float_levels(E4M3)) == pytest.approx(
        sqnr_db(x, round_to_float(x, E4M3)), abs=0.1
    )


def test_expected_largest_of_n() -> None:
    # one value: E[x^2] = variance; exponential tails: E[max^2] of n Laplace(b=1) = H2 + H1^2 with
    # H1 = 1 + 1/2 = 1.5, H2 = 1 + 1/4 for n = 2: 1.25 + 2.25 = 3.5 (maximum of two exponentials)
    assert expected_square_amax(Gaussian(), 1) == pytest.approx(1.0, abs=1e-4)
    assert expected_square_amax(Laplace(1.0), 2) == pytest.approx(3.5, abs=1e-3)
    x = Gaussian().sample(np.random.default_rng(0), 4000, 128)
    assert expected_square_amax(Gaussian(), 128) == pytest.approx(
        np.square(np.abs(x).max(axis=1)).mean(), rel=0.01
    )


@pytest.mark.parametrize(("bits", "count"), [(8, 4096), (8, 128), (4, 128), (6, 32)])
def test_absmax_integers_without_sampling(bits: int, count: int) -> None:
    for dist in (Gaussian(), Laplace()):
        x = dist.sample(np.random.default_rng(1), 2**21 // count, count)
        found = sqnr_db(x, quantize_integer(x, bits))
        assert absmax_integer_sqnr_db(dist, bits, count) == pytest.approx(found, abs=0.3)


def test_pruning_of_known_distributions() -> None:
    # Laplace b: half lies below t = b ln 2; lost = b^2 (2 - 2^-1 ((ln 2)^2 + 2 ln 2 + 2)) = 0.0667 b^2
    t = math.log(2)
    lost = 2 - 0.5 * (t * t + 2 * t + 2)
    assert unstructured_sqnr_db(Laplace(), 0.5) == pytest.approx(10 * math.log10(2 / lost), abs=1e-6)
    assert unstructured_sqnr_db(Gaussian(), 0.5) == pytest.approx(11.5, abs=0.05)
    assert n_of_m_sqnr_db(Gaussian(), 2, 4) == pytest.approx(8.8, abs=0.05)
    assert n_of_m_sqnr_db(Laplace(), 2, 4) == pytest.approx(11.0, abs=0.05)
    # 1 of 2 loses the smaller of two; exact for an exponential |x| of mean b: min is exponential of mean b /
    # 2, E[min^2] = b^2 / 2, per value b^2 / 4 of 2 b^2: 9.03 dB
    assert n_of_m_sqnr_db(Laplace(), 1, 2) == pytest.approx(10 * math.log10(8), abs=1e-3)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="sparsity"):
        unstructured_sqnr_db(Gaussian(), 1.0)
    with pytest.raises(InputError, match="4:4"):
        n_of_m_sqnr_db(Gaussian(), 4, 4)
    with pytest.raises(InputError, match="clip above 0"):
        clipped_uniform_mse(Gaussian(), 0.0, 4)
    with pytest.raises(InputError, match="gausian"):
        distribution("gausian")
