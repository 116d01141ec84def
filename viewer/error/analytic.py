"""Quantization errors without sampling: closed forms and quadrature for a known distribution.

Scope: scalar quantizers with a fixed grid (exact, cell by cell), absmax scaling (high-resolution
approximation), N:M and unstructured magnitude pruning (exact). ``scipy`` is imported on first use.
"""

from __future__ import annotations

import math

import numpy as np

from viewer.error.distributions import Distribution, partial_moments
from viewer.error.layout import Array
from viewer.error.metrics import to_db
from viewer.errors import InputError


def levels_mse(dist: Distribution, levels: Array) -> tuple[float, float]:
    """(inner, outer) MSE of rounding to the nearest of the ascending ``levels``.

    Each cell contributes M2 - 2 l M1 + l^2 M0; ``outer`` is the part beyond the first and last level
    (clipping), ``inner`` the rest (rounding).
    """
    levels = np.asarray(levels, float)
    edges = (levels[1:] + levels[:-1]) / 2
    low = np.concatenate([levels[:1], edges])
    high = np.concatenate([edges, levels[-1:]])

    def total(a: Array, b: Array, centre: Array) -> float:
        m0, m1, m2 = partial_moments(dist, a, b)
        return float(np.maximum(m2 - 2 * centre * m1 + centre**2 * m0, 0).sum())

    outer = total(np.array([-np.inf, levels[-1]]), np.array([levels[0], np.inf]), levels[[0, -1]])
    return total(low, high, levels), outer


def clipped_uniform_mse(dist: Distribution, alpha: float, bits: int) -> tuple[float, float]:
    """(rounding, clipping) MSE of the symmetric grid k * alpha / (2^(b-1) - 1), |k| <= 2^(b-1) - 1, exact."""
    if alpha <= 0 or bits < 2:
        raise InputError(f"needs a clip above 0 and at least 2 bits, got {alpha} and {bits}")
    top = 2 ** (bits - 1) - 1
    return levels_mse(dist, np.arange(-top, top + 1) * (alpha / top))


def expected_square_amax(dist: Distribution, count: int) -> float:
    """E[max |x|^2] over ``count`` independent values: integral of 2 t (1 - F(t)^n) dt, F the cdf of |x|.

    Quadrature on a logarithmic grid of 20 000 points up to where 1 - F^n < 1e-9.
    """
    if count < 1:
        raise InputError(f"needs at least one value, got {count}")
    scale = math.sqrt(dist.variance)
    t = np.concatenate([[0.0], np.geomspace(1e-4, 1e5, 20_000)]) * scale
    below = dist.cumulative_moments(t)[0]
    log_inside = np.log1p(-np.clip(2 * (1 - below), 0, 1 - 1e-16))
    return float(np.trapezoid(2 * t * -np.expm1(count * log_inside), t))


def absmax_integer_sqnr_db(dist: Distribution, bits: int, count: int) -> float:
    """SQNR of symmetric b-bit integers with an absmax scale per ``count`` independent values.

    MSE = E[s^2] / 12, s = amax / (2^(b-1) - 1): within 0.3 dB for b >= 4; the value that sets the scale
    has no error of its own, hence the factor 1 - 1 / count.
    """
    step_squared = expected_square_amax(dist, count) / (2 ** (bits - 1) - 1) ** 2
    return to_db(dist.variance / (step_squared / 12 * (1 - 1 / count)))


def fixed_levels_sqnr_db(dist: Distribution, levels: Array) -> float:
    """SQNR in dB of rounding to fixed levels (a plain cast to a low-bit float: ``float_levels``)."""
    return to_db(dist.variance / sum(levels_mse(dist, levels)))


def unstructured_sqnr_db(dist: Distribution, sparsity: float) -> float:
    """SQNR of zeroing the share ``sparsity`` of smallest magnitudes: E[x^2] / integral of x^2 p over |x| <
    t."""
    if not 0 < sparsity < 1:
        raise InputError(f"sparsity must lie strictly between 0 and 1, got {sparsity}")
    low, high = 0.0, 1e6 * math.sqrt(dist.variance)
    for _ in range(200):  # bisection on P(|x| < t) = sparsity
        t = (low + high) / 2
        inside = float(partial_moments(dist, np.array(-t), np.array(t))[0])
        low, high = (t, high) if inside < sparsity else (low, t)
    lost = float(partial_moments(dist, np.array(-low), np.array(low))[2])
    return to_db(dist.variance / lost)


def n_of_m_sqnr_db(dist: Distribution, keep: int, out_of: int) -> float:
    """SQNR of keeping the N largest magnitudes of every M independent values.

    A value is lost when at least N of the M - 1 others are larger: MSE = integral of
    x^2 p(x) P(Binomial(M - 1, P(|y| > |x|)) >= N) dx. Trapezoidal rule, 20 000 points.
    """
    if not 0 < keep < out_of:
        raise InputError(f"N:M sparsity keeps 1 .. M - 1 of M values, got {keep}:{out_of}")
    x = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 20_000)]) * math.sqrt(dist.variance)
    larger = np.clip(2 * (1 - dist.cumulative_moments(x)[0]), 0, 1)
    others = out_of - 1
    lost = sum(
        math.comb(others, k) * larger**k * (1 - larger) ** (others - k) for k in range(keep, others + 1)
    )
    return to_db(dist.variance / float(np.trapezoid(2 * x * x * dist.density(x) * lost, x)))
