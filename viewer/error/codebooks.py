"""Non-uniform quantizers: NF4, IQ4_NL, power-of-two, ternary, sign, and levels fitted to the data."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np

from viewer.error.layout import Array, by_group, nonzero, row_amax
from viewer.errors import InputError

# Offset of the outermost quantile: bitsandbytes create_normal_map(offset=0.9677083); QLoRA, arXiv:2305.14314
# App. E.
NF4_OFFSET = 0.9677083

# Levels of llama.cpp's IQ4_NL in units of the block scale (ggml-common.h, kvalues_iq4nl).
IQ4_NL_LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


# Magnitudes of bitsandbytes' FP4 code book in units of 1/12: E2M1 with a smaller subnormal (functional.py,
# fp4 map).
_BNB_FP4_TWELFTHS = (0.0, 0.0625, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
BNB_FP4_LEVELS = tuple(sorted({sign * v / 12 for v in _BNB_FP4_TWELFTHS for sign in (-1, 1)}))


@cache
def nf4_levels() -> tuple[float, ...]:
    """The 16 levels of NormalFloat-4 in [-1, 1]: normal quantiles, 8 positive, 7 negative and an exact 0.

    positive: ppf of 8 points from 0.9677 towards 0.5 (of 9); negative: minus ppf of 7 points (of 8); all
    divided by the largest.
    """
    ppf = NormalDist().inv_cdf
    positive = [ppf(p) for p in np.linspace(NF4_OFFSET, 0.5, 9)[:-1]]
    negative = [-ppf(p) for p in np.linspace(NF4_OFFSET, 0.5, 8)[:-1]]
    return tuple(sorted(v / positive[0] for v in [*positive, 0.0, *negative]))


def nearest_level(x: Array, levels: Array) -> Array:
    """Each value replaced by the nearest of the ascending ``levels`` (a tie goes to the lower one)."""
    midpoints = ((levels[1:] + levels[:-1]) / 2).astype(x.dtype)
    return levels.astype(x.dtype)[np.searchsorted(midpoints, x)]


def quantize_lookup(
    x: Array, levels: Array, *, block: int = 64, double_quant: bool = False, second_block: int = 256
) -> Array:
    """NF4 and FP4 of bitsandbytes: blocks of 64 scaled by absmax to ``levels`` in [-1, 1] (``nf4_levels()``).

    ``double_quant`` stores the absmax in 8 bits per 256 blocks. Blocks are taken row by row (the library's
    run over the flat tensor; the same when 64 divides the row).

    Double quantization as QLoRA section 3: the mean absmax of the second-level block is subtracted and the
    rest is rounded to symmetric 8 bits (the library uses an 8-bit float there: slightly better for small
    absmax).
    """

    def rows(part: Array) -> Array:
        scale = row_amax(part)
        if double_quant:
            scale = by_group(scale.reshape(1, -1), second_block, _eight_bit_offset).reshape(-1, 1)
        return nearest_level(part / nonzero(scale), levels) * scale

    return by_group(x, block, rows)


def _eight_bit_offset(amax: Array) -> Array:
    """Rows of block scales rounded to 8 bits around their mean; never below zero."""
    filled = np.maximum((amax > 0).sum(axis=1, keepdims=True), 1)
    mean = (amax.sum(axis=1, keepdims=True) / filled).astype(amax.dtype)
    centred = np.where(amax > 0, amax - mean, 0)
    step = nonzero(np.abs(centred).max(axis=1, keepdims=True) / 127)
    return np.where(amax > 0, np.maximum(np.rint(centred / step) * step + mean, 0), 0)


def quantize_power_of_two(x: Array, bits: int, *, block: int | None = None, scaled: bool = False) -> Array:
    """Logarithmic: sign and 2^e with 2^(b-1) - 1 exponents below the peak of the row (or block), one code
    for 0.

    x_hat = sgn(x) 2^e with the nearest power of two (the midpoint of 2^e and 2^(e+1) is 1.5 * 2^e).
    ``scaled`` divides by the absmax first, so that the peak itself is a level. Needs bits >= 2.
    """
    if bits < 2:
        raise InputError(f"a power-of-two format needs at least 2 bits, got {bits}")

    def rows(part: Array) -> Array:
        scale = nonzero(row_amax(part)) if scaled else np.ones((), part.dtype)
        return (_powers(part / scale, 2 ** (bits - 1) - 2) * scale).astype(x.dtype, copy=False)

    return rows(x) if block is None else by_group(x, block, rows)


def _nearest_exponent(magnitude: Array) -> Array:
    """Exponent of the nearest power of two: v = m 2^e with 0.5 <= m < 1 lies nearer to 2^e when m > 0.75."""
    mantissa, exponent = np.frexp(magnitude)
    return np.where(mantissa > 0.75, exponent, exponent - 1)


def _powers(x: Array, depth: int) -> Array:
    """Rows rounded to +-2^e for ``depth`` + 1 exponents down from that of the peak, and 0."""
    magnitude, one = np.abs(x), np.ones((), x.dtype)
    top = _nearest_exponent(magnitude.max(axis=1, keepdims=True))
    lowest = top - depth
    exponent = np.maximum(_nearest_exponent(magnitude), lowest)
    kept = magnitude > np.ldexp(one, lowest - 1)  # the midpoint of 0 and the smallest level
    return np.asarray(np.sign(x) * np.where(kept, np.ldexp(one, exponent), 0))


def quantize_ternary(x: Array, *, block: int | None = None) -> Array:
    """s * clip(rint(x / s), -1, 1) with s = mean |x| of the row or of each block (BitNet b1.58,
    arXiv:2402.17764)."""

    def rows(part: Array) -> Array:
        scale = nonzero(np.abs(part).mean(axis=1, keepdims=True))
        return np.clip(np.rint(part / scale), -1, 1) * scale

    return rows(x) if block is None else by_group(x, block, rows)


def quantize_sign(x: Array, *, block: int | None = None) -> Array:
    """s * sign(x) with s = mean |x| of the row or block, the least-squares scale (XNOR-Net,
    arXiv:1603.05279)."""

    def rows(part: Array) -> Array:
        signs = np.where(part >= 0, 1, -1).astype(part.dtype)
        return np.asarray(signs * np.abs(part).mean(axis=1, keepdims=True))

    return rows(x) if block is None else by_group(x, block, rows)


def fit_levels(x: Array, count: int, *, iterations: int = 50) -> Array:
    """``count`` levels fitted to the data (Lloyd-Max, 1-D k-means), ascending; starts at the quantiles.

    level_i = mean of the values nearest to it; the mean squared error never grows from step to step.
    """
    if not 1 <= count <= 65536:
        raise InputError(f"the number of levels must lie in 1 .. 65536, got {count}")
    values = np.sort(np.asarray(x, dtype=np.float64).ravel())
    if values.size == 0:
        raise InputError("cannot fit levels to an empty tensor")
    levels = np.unique(np.quantile(values, (np.arange(count) + 0.5) / count))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(iterations):
        edges = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2, side="right")
        starts, stops = np.concatenate([[0], edges]), np.concatenate([edges, [values.size]])
        used = stops > starts
        fitted = (sums[stops[used]] - sums[starts[used]]) / (stops[used] - starts[used])
        if fitted.size == levels.size and np.allclose(fitted, levels, rtol=1e-9, atol=0):
            break
        levels = fitted
    return levels
