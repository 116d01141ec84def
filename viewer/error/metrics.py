"""Error measures between a tensor and what quantization makes of it: MSE, SQNR, cosine, kurtosis, error
split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from viewer.error.integers import AffineGrid
from viewer.error.layout import Array
from viewer.errors import InputError


def mse(x: Array, x_hat: Array) -> float:
    """E[(x - x_hat)^2], in float64."""
    return float(np.mean(np.square(np.asarray(x, np.float64) - x_hat)))


def to_db(power_ratio: float) -> float:
    """10 log10 of a power ratio; +inf for a ratio of infinity, -inf for 0."""
    return float(10 * np.log10(power_ratio)) if power_ratio > 0 else float("-inf")


def sqnr_db(x: Array, x_hat: Array) -> float:
    """10 log10(E[x^2] / E[(x - x_hat)^2]); +inf when nothing changed."""
    noise = mse(x, x_hat)
    return to_db(float(np.mean(np.square(np.asarray(x, np.float64)))) / noise) if noise else float("inf")


def cosine(x: Array, x_hat: Array) -> float:
    """<x, x_hat> / (|x| |x_hat|); 1 when both are zero, 0 when one is."""
    a, b = np.asarray(x, np.float64).ravel(), np.asarray(x_hat, np.float64).ravel()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float(not a.any() and not b.any())


def error_split(x: Array, grid: AffineGrid) -> tuple[float, float]:
    """(clipping MSE, rounding MSE) of a uniform grid: they sum to the MSE.

    A value outside [s (q_min - z), s (q_max - z)] counts as clipped, with all its error.
    """
    low, high = grid.dequantize(np.asarray(grid.q_min)), grid.dequantize(np.asarray(grid.q_max))
    squared = np.square(np.asarray(x, np.float64) - grid.round_trip(x))
    clipped = (x < low) | (x > high)
    return float(np.where(clipped, squared, 0).mean()), float(np.where(clipped, 0, squared).mean())


@dataclass(slots=True)
class ErrorSums:
    """Running sums over the parts of one tensor, so that its errors need no second copy of it.

    Add parts with ``add``; all sums are float64. Moments are about zero except for the kurtosis, which is
    central.
    """

    count: int = 0
    total: float = 0.0
    square: float = 0.0
    cube: float = 0.0
    fourth: float = 0.0
    noise: float = 0.0
    cross: float = 0.0
    square_hat: float = 0.0

    def add(self, x: Array, x_hat: Array) -> None:
        """Adds one part of the tensor; shapes must agree."""
        if x.shape != x_hat.shape:
            raise InputError(f"shapes differ: {x.shape} and {x_hat.shape}")
        a, b = np.asarray(x, np.float64).ravel(), np.asarray(x_hat, np.float64).ravel()
        squared = a * a
        self.count += a.size
        self.total += float(a.sum())
        self.square += float(squared.sum())
        self.cube += float(squared @ a)
        self.fourth += float(squared @ squared)
        self.cross += float(a @ b)
        self.square_hat += float(b @ b)
        difference = a - b
        self.noise += float(difference @ difference)

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self.noise / self.count if self.count else 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio in dB; +inf without noise."""
        return to_db(self.square / self.noise) if self.noise else float("inf")

    @property
    def cosine(self) -> float:
        """Cosine similarity."""
        norm = (self.square * self.square_hat) ** 0.5
        return self.cross / norm if norm else float(self.square == self.square_hat)

    @property
    def kurtosis(self) -> float:
        """E[(x - mean)^4] / var^2 (3 for a Gaussian, 6 for a Laplace); nan for a constant tensor."""
        if not self.count:
            return float("nan")
        m1, m2 = self.total / self.count, self.square / self.count
        m3, m4 = self.cube / self.count, self.fourth / self.count
        variance = m2 - m1 * m1
        central = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4
        return central / variance**2 if variance > 1e-12 * m2 else float("nan")
