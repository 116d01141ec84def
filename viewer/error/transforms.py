"""What can be done about the error: bias correction, scale migration, channel splitting, better rounding.

Weights are (out, in), activations (tokens, in), y = x W^T.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from viewer.error.integers import symmetric_grid
from viewer.error.layout import Array, row_amax
from viewer.errors import InputError


def bias_correction(weight: Array, weight_hat: Array, input_mean: Array) -> Array:
    """What to subtract from the bias so that the mean output stays: (W_hat - W) E[x], shape (out,).

    arXiv:1906.04721 section 4.2.
    """
    return np.asarray((np.asarray(weight_hat, np.float64) - weight) @ input_mean)


def migration_scales(weight: Array, input_amax: Array, alpha: float = 0.5) -> Array:
    """Per input channel s_j = max|x_j|^alpha / max|W_j|^(1 - alpha); then x / s and W * s keep y exact.

    SmoothQuant, arXiv:2211.10438 eq. 4. alpha 1 moves all difficulty to the weights, 0 all to the
    activations, 0.5 equalizes both ranges. Channels without range keep s = 1. Free at run time when folded
    into the previous norm.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"the migration strength must lie in 0 .. 1, got {alpha}")
    weight_amax = np.abs(weight).max(axis=0)
    usable = (weight_amax > 0) & (input_amax > 0)
    w, x = np.where(usable, weight_amax, 1.0), np.where(usable, input_amax, 1.0)
    return np.where(usable, x**alpha / w ** (1 - alpha), 1.0)


def split_outlier_channels(weight: Array, share: float = 0.02) -> tuple[Array, Array, float]:
    """Outlier channel splitting (arXiv:1901.09504): (expanded weight, source column of each, cost factor).

    The ceil(share * in) input channels of largest |w| are halved and duplicated; the activation of a split
    channel is used twice (x[:, sources]), so the product is unchanged while the range falls. FLOPs, weight
    and activation bytes grow by the cost factor (in + split) / in. The same channel may be split again (2,
    3, ... copies).
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share of split channels must lie in 0 .. 1, got {share}")
    cols = weight.shape[1]
    copies = np.ones(cols, dtype=int)
    amax = np.abs(weight).max(axis=0)
    for _ in range(int(np.ceil(share * cols))):
        copies[int(np.argmax(amax / copies))] += 1
    sources = np.repeat(np.arange(cols), copies)
    return weight[:, sources] / copies[sources], sources, sources.size / cols


def stochastic_round(x: Array, rng: np.random.Generator) -> Array:
    """floor(x + u), u uniform in 0 .. 1: unbiased, with twice the MSE of rounding to nearest."""
    return np.asarray(np.floor(x + rng.random(x.shape)))


def feedback_round(weight: Array, inputs: Array, bits: int, *, damping: float = 0.01) -> Array:
    """Loss-aware rounding: columns in order, each column's error is compensated by the columns not yet
    rounded.

    Minimizes |x W^T - x W_hat^T|^2 greedily with H = x^T x (GPTQ, arXiv:2210.17323 section 3: Cholesky
    factor of H^-1, damping = share of the mean diagonal); symmetric grid per row. ``inputs`` is (tokens, in).
    """
    work = np.array(weight, dtype=np.float64)
    x = np.asarray(inputs, np.float64)
    hessian = x.T @ x
    mean_diagonal = float(np.mean(np.diag(hessian))) or 1.0
    hessian[np.diag_indices_from(hessian)] += damping * mean_diagonal
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    grid = symmetric_grid(row_amax(work), bits)
    out = np.empty_like(work)
    for j in range(work.shape[1]):
        out[:, j : j + 1] = grid.round_trip(work[:, j : j + 1])
        error = (work[:, j] - out[:, j]) / upper[j, j]
        work[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    return out


def choose_rounding(weight: Array, inputs: Array, bits: int) -> tuple[Array, str]:
    """The better of nearest and feedback rounding by output error on ``inputs``, with its name."""
    w, x = np.asarray(weight, np.float64), np.asarray(inputs, np.float64)
    options: dict[str, Callable[[], Array]] = {
        "nearest": lambda: symmetric_grid(row_amax(w), bits).round_trip(w),
        "feedback": lambda: feedback_round(w, x, bits),
    }
    results = {name: build() for name, build in options.items()}
    best = min(results, key=lambda name: float(np.square(x @ (results[name] - w).T).sum()))
    return results[best], best


def hessian_sensitivity(mean_trace: float, weight: Array, weight_hat: Array) -> float:
    """HAWQ-V2 (arXiv:1911.03852 eq. 8): mean Hessian trace * |W_hat - W|^2, a first guess at the loss
    increase."""
    difference = np.asarray(weight_hat, np.float64) - weight
    return float(mean_trace * np.sum(difference * difference))
