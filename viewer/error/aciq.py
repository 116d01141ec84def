"""ACIQ: the clip that minimizes the expected error of a uniform quantizer, in closed form (arXiv:1810.05723).

MSE(alpha) = clipping + alpha^2 / (3 * 4^M) for M bits over [-alpha, alpha] (step 2 alpha / 2^M, step^2 / 12).
"""

from __future__ import annotations

import math

import numpy as np

from viewer.error.layout import Array
from viewer.errors import InputError, unknown


def laplace_mse(alpha: float, bits: int, b: float = 1.0) -> float:
    """2 b^2 e^(-alpha / b) + alpha^2 / (3 * 4^M) for a Laplace distribution of scale b."""
    return float(2 * b * b * math.exp(-alpha / b) + alpha**2 / (3 * 4**bits))


def gaussian_mse(alpha: float, bits: int, sigma: float = 1.0) -> float:
    """(s^2 + a^2)(1 - erf(a / sqrt(2) s)) - sqrt(2 / pi) a s e^(-a^2 / 2 s^2) + a^2 / (3 * 4^M)."""
    tail = math.erfc(alpha / (math.sqrt(2) * sigma))
    clipping = (sigma**2 + alpha**2) * tail
    clipping -= math.sqrt(2 / math.pi) * alpha * sigma * math.exp(-(alpha**2) / (2 * sigma**2))
    return float(clipping + alpha**2 / (3 * 4**bits))


def optimal_clip(kind: str, bits: int) -> float:
    """The clip of least MSE, in units of b ("laplace") or sigma ("gaussian").

    The derivative is monotone in alpha, so bisection finds its root:
    laplace:  -2 e^-a + 2 a / (3 * 4^M) = 0, that is a e^a = 3 * 4^M;
    gaussian: 2 (a erfc(a / sqrt 2) - sqrt(2 / pi) e^(-a^2 / 2)) + 2 a / (3 * 4^M) = 0.
    """
    if not 1 <= bits <= 32:
        raise InputError(f"bits must lie in 1 .. 32, got {bits}")
    step = 2 / (3 * 4**bits)
    slopes = {
        "laplace": lambda a: -2 * math.exp(-a) + a * step,
        "gaussian": lambda a: (
            2 * (a * math.erfc(a / math.sqrt(2)) - math.sqrt(2 / math.pi) * math.exp(-a * a / 2)) + a * step
        ),
    }
    if kind not in slopes:
        raise unknown("ACIQ distribution", kind, slopes)
    low, high = 0.0, 64.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slopes[kind](middle) < 0 else (low, middle)
    return (low + high) / 2


def aciq_clip(x: Array, bits: int, kind: str | None = None) -> tuple[float, float]:
    """(low, high) = mean -+ alpha for the values ``x``; the scale is b = E|x - mean| or sigma = std.

    Without ``kind`` the distribution whose E|x| / std is closer decides: sqrt(2 / pi) = 0.798 Gaussian,
    1 / sqrt(2) = 0.707 Laplace. (The paper fixes it per tensor by the better fit.)
    """
    values = np.asarray(x, np.float64)
    mean, std = float(values.mean()), float(values.std())
    b = float(np.abs(values - mean).mean())
    if kind is None:
        midpoint = (math.sqrt(2 / math.pi) + math.sqrt(0.5)) / 2
        kind = "gaussian" if b > midpoint * std else "laplace"
    alpha = optimal_clip(kind, bits) * (std if kind == "gaussian" else b)
    return mean - alpha, mean + alpha
