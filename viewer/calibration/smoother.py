"""The measured correction (M3): log(t / M2) smoothed over physics features with few anchors.

    K(x, y) = (1 + sqrt(3) d) exp(-sqrt(3) d),  d = |x - y|            (Matern, order 3/2)
    alpha   = argmin sum_i w_i (z_i - K(x_i, X_a) alpha)^2 / ridge + alpha' K(X_a, X_a) alpha
    M3      = M2 exp(K(x, X_a) alpha)

X_a are at most 250 anchors chosen from the measured points by the largest remaining variance (pivoted
Cholesky). Robust: two reweightings w_i = 1 / sqrt(1 + (residual_i / 0.08)^2), because 1-3 % of published
points are more than 1.5 x off their neighbours. Far from every anchor the correction fades to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import FloatArray

ANCHORS = 250
RIDGE = 0.25
CLIP = 0.5
ROBUST = 0.08
CHUNK = 16384


def matern(x: FloatArray, y: FloatArray) -> FloatArray:
    """(rows of x, rows of y) correlation matrix; formula in the module docstring."""
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2.0 * (x @ y.T)
    d = np.sqrt(3.0 * np.maximum(squared, 0.0))
    out: FloatArray = (1.0 + d) * np.exp(-d)
    return out


def choose_anchors(x: FloatArray, limit: int = ANCHORS) -> NDArray[np.int64]:
    """Rows of x whose correlation with the others explains most: pivoted Cholesky, greedy."""
    count = min(limit, len(x))
    remaining = np.ones(len(x))
    factors = np.zeros((count, len(x)))
    chosen: list[int] = []
    for step in range(count):
        pivot = int(remaining.argmax())
        if remaining[pivot] < 1e-6:
            break
        column = matern(x, x[pivot : pivot + 1])[:, 0]
        if step:
            column = column - factors[:step].T @ factors[:step, pivot]
        factors[step] = column / np.sqrt(remaining[pivot])
        remaining = np.maximum(remaining - factors[step] ** 2, 0.0)
        remaining[pivot] = 0.0
        chosen.append(pivot)
    return np.array(chosen, dtype=np.int64)


def fit_correction(
    x: FloatArray, log_ratio: FloatArray, weight: FloatArray, *, anchors: int = ANCHORS, ridge: float = RIDGE
) -> tuple[NDArray[np.int64], FloatArray]:
    """(rows of x that are anchors, alpha) from log(t / M2) of measured rows."""
    rows = choose_anchors(x, anchors)
    z = np.clip(log_ratio, -CLIP, CLIP)
    cross, inner = matern(x, x[rows]), matern(x[rows], x[rows])
    w = weight.astype(float).copy()
    alpha = np.zeros(len(rows))
    for _ in range(3):
        normal = cross.T @ (cross * w[:, None]) + ridge * (inner + 1e-6 * np.eye(len(rows)))
        alpha = np.linalg.solve(normal, cross.T @ (w * z))
        w = weight / np.sqrt(1.0 + ((z - cross @ alpha) / ROBUST) ** 2)
    return rows, alpha


def correction(x: FloatArray, anchor_x: FloatArray, alpha: FloatArray) -> FloatArray:
    """log(M3 / M2) of each row of x, in chunks of bounded memory."""
    out = np.empty(len(x))
    for start in range(0, len(x), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = matern(x[part], anchor_x) @ alpha
    return out
