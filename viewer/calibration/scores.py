"""Errors of predictions against measurements: the ladder's three-constant rung, folds, scores, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from viewer.calibration.base import REGIMES, Device, FloatArray, Table, Work, datasheet_roofline

BEATS = 0.03
"""A measurement that is more than 3 % under the bound beats it."""
COVERAGE = (0.05, 0.95)
FEW_POINTS = 40


def fit_m1(work: Work, device: Device, time_s: FloatArray) -> tuple[float, float, float]:
    """(t0 seconds, share of the peak, share of the bandwidth) of M1 by robust least squares of log time."""
    compute_s, memory_s = datasheet_roofline(work, device)

    def residual(x: FloatArray) -> FloatArray:
        return np.log(time_s / m1_seconds((np.exp(x[0]), np.exp(x[1]), np.exp(x[2])), compute_s, memory_s))

    start = np.log([max(float(np.quantile(time_s, 0.02)) * 0.7, 2e-7), 0.7, 0.7])
    low, high = np.log([1e-7, 0.01, 0.01]), np.log([1.0, 1.5, 1.5])
    out = least_squares(residual, np.clip(start, low + 1e-6, high - 1e-6), bounds=(low, high), loss="soft_l1",
                        f_scale=0.1, max_nfev=200)  # fmt: skip
    t0, ec, em = (float(v) for v in np.exp(out.x))
    return t0, ec, em


def m1_seconds(
    constants: tuple[float, float, float], compute_s: FloatArray, memory_s: FloatArray
) -> FloatArray:
    """t0 + max(compute / ec, memory / em)."""
    t0, ec, em = constants
    return t0 + np.maximum(compute_s / ec, memory_s / em)


def group_ids(table: Table, columns: tuple[str, ...], rows: int) -> NDArray[np.int64]:
    """A number for each distinct combination of the group columns."""
    stack = np.stack([np.broadcast_to(np.asarray(table[c], dtype=float), rows) for c in columns], axis=1)
    _, inverse = np.unique(stack, axis=0, return_inverse=True)
    return np.asarray(inverse).reshape(-1).astype(np.int64)


def folds(groups: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Fold of each row: whole groups, in a seeded random order, dealt round; at most one fold a group."""
    distinct = int(groups.max()) + 1 if groups.size else 0
    order = np.random.default_rng(seed).permutation(distinct)
    fold_of_group = np.empty(distinct, dtype=np.int64)
    fold_of_group[order] = np.arange(distinct) % max(1, min(count, distinct))
    return fold_of_group[groups]


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of one set of rows; shares and relative errors are fractions (0.05 is 5 %)."""

    rows: int
    mape: float
    median: float
    p90: float
    bias: float
    coverage: float | None = None
    beats_bound: float | None = None


def score(
    predicted_s: FloatArray, time_s: FloatArray, low_s: FloatArray | None = None,
    high_s: FloatArray | None = None, bound_s: FloatArray | None = None,
) -> Score | None:  # fmt: skip
    """Scores of predictions: relative error (predicted - measured) / measured; None without rows."""
    good = np.isfinite(predicted_s) & (time_s > 0)
    if not good.any():
        return None
    error = predicted_s[good] / time_s[good] - 1
    size = np.abs(error)
    coverage = beats = None
    if low_s is not None and high_s is not None:
        coverage = float(np.mean((time_s[good] >= low_s[good]) & (time_s[good] <= high_s[good])))
    if bound_s is not None:
        beats = float(np.mean(time_s[good] < bound_s[good] * (1 - BEATS)))
    return Score(int(good.sum()), float(size.mean()), float(np.median(size)), float(np.quantile(size, 0.9)),
                 float(error.mean()), coverage, beats)  # fmt: skip


def by_regime(predicted_s: FloatArray, time_s: FloatArray, codes: NDArray[np.int64]) -> dict[str, float]:
    """Mean relative error by regime, of the rows that are not tiny, their bias and p90, in fractions."""
    out: dict[str, float] = {}
    for code, name in enumerate(REGIMES):
        one = score(predicted_s[codes == code], time_s[codes == code])
        if one is not None:
            out[name] = one.mape
    rest = score(predicted_s[codes > 0], time_s[codes > 0])
    if rest is not None:
        out |= {"non_tiny": rest.mape, "bias": rest.bias, "p90": rest.p90, "median": rest.median}
    return out


def interval_quantiles(
    predicted_s: FloatArray, time_s: FloatArray, codes: NDArray[np.int64], inflate: float = 1.05
) -> dict[str, tuple[float, float]]:
    """5 % and 95 % quantiles of log(measured / predicted) on left-out rows, by regime and over "all".

    Quantiles of n residuals under-cover; they are stretched by ``inflate`` and by 1 + 2/sqrt(n). A regime
    of fewer than 40 rows is mixed with all rows.
    """
    ratio = np.log(time_s / predicted_s)
    ratio_ok = np.isfinite(ratio)
    everything = _stretched(ratio[ratio_ok], inflate)
    out = {"all": everything}
    for code, name in enumerate(REGIMES):
        part = ratio[ratio_ok & (codes == code)]
        if len(part) >= FEW_POINTS:
            out[name] = _stretched(part, inflate)
        elif len(part) >= 8:
            own = _stretched(part, inflate)
            out[name] = (min(own[0], everything[0]), max(own[1], everything[1]))
    return out


def _stretched(ratio: FloatArray, inflate: float) -> tuple[float, float]:
    low, high = (float(v) for v in np.quantile(ratio, COVERAGE))
    middle = float(np.median(ratio))
    factor = inflate * (1 + 0.6 / np.sqrt(len(ratio)))
    return min(middle + (low - middle) * factor, -0.01), max(middle + (high - middle) * factor, 0.01)


def as_percent(values: Mapping[str, float]) -> dict[str, float]:
    """Fractions to percent with two decimals (for files and tables)."""
    return {name: round(100 * value, 2) for name, value in values.items()}
