"""Choosing the range (threshold) of a uniform quantizer from calibration values.

Every method returns (low, high); the grid over it is ``affine_grid`` (asymmetric) or ``symmetric_grid`` with
max(|low|, |high|). Methods: minmax, factor, percentile, moving_average, kl, mse, aciq, normal, cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from viewer.error.aciq import aciq_clip
from viewer.error.integers import AffineGrid, affine_grid, symmetric_grid
from viewer.error.layout import Array
from viewer.error.metrics import cosine, mse
from viewer.errors import InputError, unknown

Range = tuple[float, float]


def minmax_range(x: Array) -> Range:
    """(min, max): no clipping, all error is rounding."""
    return float(x.min()), float(x.max())


def factor_range(x: Array, factor: float = 0.9) -> Range:
    """(factor * min, factor * max), 0 < factor <= 1."""
    if not 0 < factor <= 1:
        raise InputError(f"the range factor must lie in (0, 1], got {factor}")
    low, high = minmax_range(x)
    return factor * low, factor * high


def percentile_range(x: Array, percentile: float = 99.99) -> Range:
    """The central ``percentile`` per cent of the values: quantiles (100 - p) / 2 and (100 + p) / 2."""
    if not 50 <= percentile <= 100:
        raise InputError(f"the percentile must lie in 50 .. 100, got {percentile}")
    tail = (100 - percentile) / 2
    low, high = np.percentile(x, [tail, 100 - tail])
    return float(low), float(high)


def moving_average_range(batches: Iterable[Array], c: float = 0.1) -> Range:
    """Exponential moving average over batches: low <- (1 - c) low + c min(batch), likewise high; starts at
    batch 0."""
    if not 0 < c <= 1:
        raise InputError(f"the averaging constant must lie in (0, 1], got {c}")
    result: Range | None = None
    for batch in batches:
        low, high = minmax_range(batch)
        result = (
            (low, high) if result is None else ((1 - c) * result[0] + c * low, (1 - c) * result[1] + c * high)
        )
    if result is None:
        raise InputError("a moving average needs at least one batch")
    return result


def normal_range(mean: Array, std: Array, deviations: float = 3.0) -> Range:
    """Range from normalization parameters (batch-norm based): min(mean - k std) .. max(mean + k std)."""
    return float((mean - deviations * std).min()), float((mean + deviations * std).max())


def _grid(low: float, high: float, bits: int, symmetric: bool) -> AffineGrid:
    return symmetric_grid(max(-low, high, 0.0), bits) if symmetric else affine_grid(low, high, bits)


def _shrink_search(
    x: Array, bits: int, symmetric: bool, cost: Callable[[Array], float], steps: int, smallest: float
) -> Range:
    """The scaled (min, max) range of least ``cost`` of the quantized values, over ``steps`` shrink
    factors."""
    low, high = minmax_range(x)
    factors = np.linspace(smallest, 1.0, steps)
    costs = [cost(_grid(f * low, f * high, bits, symmetric).round_trip(x)) for f in factors]
    best = float(factors[int(np.argmin(costs))])
    return best * low, best * high


def mse_range(
    x: Array, bits: int = 8, *, symmetric: bool = True, steps: int = 100, smallest: float = 0.01
) -> Range:
    """Least squared error over shrunk min-max ranges."""
    return _shrink_search(x, bits, symmetric, lambda q: mse(x, q), steps, smallest)


def cosine_range(
    x: Array, bits: int = 8, *, symmetric: bool = True, steps: int = 100, smallest: float = 0.01
) -> Range:
    """Largest cosine similarity over shrunk min-max ranges."""
    return _shrink_search(x, bits, symmetric, lambda q: -cosine(x, q), steps, smallest)


def kl_range(x: Array, bits: int = 8, *, bins: int = 2048) -> Range:
    """Symmetric range of least KL divergence between the histogram of |x| and its quantized image.

    For each threshold of i bins the reference P has the clipped mass added to its last bin; the candidate Q
    spreads each of 2^(b-1) merged groups evenly over its non-empty bins (the calibration of TensorRT, GTC
    2017 talk 7310).
    """
    amax = float(np.abs(x).max())
    if amax == 0:
        return 0.0, 0.0
    counts = np.histogram(np.abs(x), bins=bins, range=(0.0, amax))[0].astype(float)
    groups = 2 ** (bits - 1)
    if bins <= groups:
        raise InputError(f"needs more than {groups} bins for {bits} bits, got {bins}")
    stops = range(groups, bins + 1, max(1, (bins - groups) // 256))
    divergences = [_divergence(counts, stop, groups) for stop in stops]
    threshold = (stops[int(np.argmin(divergences))]) * amax / bins
    return -threshold, threshold


def _divergence(counts: Array, stop: int, groups: int) -> float:
    """KL(P || Q) of clipping the histogram at ``stop`` bins and merging them into ``groups``."""
    inside = counts[:stop]
    reference = inside.copy()
    reference[-1] += counts[stop:].sum()
    group = np.arange(stop) * groups // stop
    occupied = reference > 0
    mass = np.bincount(group, inside, groups)
    used = np.bincount(group, occupied, groups)
    candidate = np.where(occupied, (mass / np.maximum(used, 1))[group], 0.0)
    if not candidate.any():
        return float("inf")
    p, q = reference / reference.sum(), candidate / candidate.sum()
    q = np.where(occupied, np.maximum(q, 1e-12), q)
    return float(np.sum(p[occupied] * np.log(p[occupied] / q[occupied])))


def select_range(x: Array, method: str, *, bits: int = 8, symmetric: bool = True) -> Range:
    """(low, high) of ``x`` by the named method with its default options; InputError for an unknown name."""
    if x.size == 0 or not np.isfinite(x).all():
        raise InputError("range selection needs at least one value, all finite")
    methods: dict[str, Callable[[], Range]] = {
        "minmax": lambda: minmax_range(x),
        "factor": lambda: factor_range(x),
        "percentile": lambda: percentile_range(x),
        "moving_average": lambda: moving_average_range(x.reshape(-1, x.shape[-1])),
        "kl": lambda: kl_range(x, bits),
        "mse": lambda: mse_range(x, bits, symmetric=symmetric),
        "cosine": lambda: cosine_range(x, bits, symmetric=symmetric),
        "aciq": lambda: aciq_clip(x, bits),
        "normal": lambda: normal_range(x.mean(axis=0), x.std(axis=0)),
    }
    if method not in methods:
        raise unknown("range selection method", method, methods)
    return methods[method]()


def alternating_cosine_scales(
    weight: Array, inputs: Array, *, bits: tuple[int, int] = (8, 8), rounds: int = 3, steps: int = 40
) -> tuple[float, float, float]:
    """(weight amax, input amax, cosine) that maximize the cosine of the layer output, alternating between
    the two.

    weight (out, in), inputs (tokens, in); candidates 0.5 .. 1.2 of the absmax (EasyQuant, arXiv:2006.16669);
    each search holds the other scale fixed, so the cosine never falls from round to round.
    """
    target = inputs @ weight.T
    peaks = np.array([np.abs(weight).max(), np.abs(inputs).max()], dtype=float)
    scales = peaks.copy()
    tensors = (weight, inputs)

    def quantized(which: int, amax: float) -> Array:
        return symmetric_grid(amax, bits[which]).round_trip(tensors[which])

    best = cosine(target, quantized(1, scales[1]) @ quantized(0, scales[0]).T)
    for _ in range(rounds):
        before = best
        for which in (0, 1):
            other = quantized(1 - which, scales[1 - which])
            for amax in peaks[which] * np.linspace(0.5, 1.2, steps):
                mine = quantized(which, float(amax))
                score = cosine(target, other @ mine.T if which == 0 else mine @ other.T)
                if score > best:
                    best, scales[which] = score, amax
        if best == before:
            break
    return float(scales[0]), float(scales[1]), best
