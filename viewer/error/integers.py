"""Uniform (integer) quantizers: affine and symmetric, per tensor, channel, group or 2-D block.

q = clip(rint(x / s) + z, q_min, q_max),  x_hat = s (q - z)
asymmetric: s = (max - min) / (q_max - q_min), z = rint(q_max - max / s), the range first widened to contain 0
symmetric:  s = amax / (2^(b - 1) - 1), z = 0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from viewer.error.layout import GRANULARITIES, Array, TensorStats, by_block, by_group, nonzero, row_amax
from viewer.errors import InputError, unknown


@dataclass(frozen=True, slots=True)
class AffineGrid:
    """A uniform grid: ``scale`` and integer ``zero_point`` (scalars or (rows, 1)), codes ``q_min ..
    q_max``."""

    scale: Array
    zero_point: Array
    q_min: int
    q_max: int

    def quantize(self, x: Array) -> Array:
        """Integer codes (as floats) of ``x``: clip(rint(x / s) + z, q_min, q_max)."""
        return np.asarray(np.clip(np.rint(x / self.scale) + self.zero_point, self.q_min, self.q_max))

    def dequantize(self, q: Array) -> Array:
        """s (q - z)."""
        return np.asarray((q - self.zero_point) * self.scale)

    def round_trip(self, x: Array) -> Array:
        """What ``x`` becomes after quantization: dequantize(quantize(x)), in the dtype of ``x``."""
        return self.dequantize(self.quantize(x)).astype(x.dtype, copy=False)


def code_range(bits: int, *, signed: bool = True) -> tuple[int, int]:
    """(q_min, q_max): (-2^(b-1), 2^(b-1) - 1) signed, (0, 2^b - 1) unsigned; 1 <= bits <= 32."""
    if not 1 <= bits <= 32:
        raise InputError(f"integer formats have 1 to 32 bits, got {bits}")
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def affine_grid(low: Array | float, high: Array | float, bits: int, *, signed: bool = True) -> AffineGrid:
    """Asymmetric grid over [low, high], widened to contain 0 so that 0 is exact.

    s = (max - min) / (q_max - q_min); z = rint(q_max - max / s). A range of zero width gets s = 1.
    """
    q_min, q_max = code_range(bits, signed=signed)
    lo, hi = np.minimum(low, 0.0), np.maximum(high, 0.0)
    if np.any(~np.isfinite(lo)) or np.any(~np.isfinite(hi)):
        raise InputError("the range of an affine grid must be finite")
    scale = nonzero(np.asarray((hi - lo) / (q_max - q_min)))
    zero_point = np.clip(np.rint(q_max - hi / scale), q_min, q_max)
    return AffineGrid(scale, zero_point, q_min, q_max)


def symmetric_grid(amax: Array | float, bits: int, *, narrow: bool = False) -> AffineGrid:
    """Symmetric grid: s = amax / (2^(b-1) - 1), z = 0; ``narrow`` drops the code -2^(b-1). Needs bits >=
    2."""
    q_min, q_max = code_range(bits)
    if bits < 2:
        raise InputError("a symmetric grid needs at least 2 bits (1-bit formats are sign quantizers)")
    scale = nonzero(np.asarray(amax / q_max))
    return AffineGrid(scale, np.zeros((), scale.dtype), -q_max if narrow else q_min, q_max)


def _rows(x: Array, bits: int, symmetric: bool) -> Array:
    """Quantizes (n, size) rows, one grid per row."""
    if symmetric:
        return symmetric_grid(row_amax(x), bits).round_trip(x)
    grid = affine_grid(x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True), bits, signed=False)
    return grid.round_trip(x)


def quantize_integer(
    x: Array,
    bits: int,
    *,
    symmetric: bool = True,
    granularity: str = "channel",
    group: int = 128,
    block: tuple[int, int] = (128, 128),
    stats: TensorStats | None = None,
) -> Array:
    """``x`` (rows, cols) after min-max (absmax) uniform quantization to ``bits``, in the dtype of ``x``.

    granularity: "tensor" (one grid; ``stats`` gives the range when ``x`` is a part of the tensor), "channel"
    (one per row), "group" (``group`` consecutive values of a row) or "block" (2-D tiles). Scales are not
    rounded to a storage format: an FP16 scale moves the error by less than 0.01 dB.
    """
    quantize: Callable[[Array], Array] = lambda rows: _rows(rows, bits, symmetric)  # noqa: E731
    if granularity == "channel":
        return quantize(x)
    if granularity == "group":
        return by_group(x, group, quantize)
    if granularity == "block":
        return by_block(x, *block, quantize)
    if granularity != "tensor":
        raise unknown("granularity", granularity, GRANULARITIES)
    low, high = (stats.low, stats.high) if stats else (float(x.min()), float(x.max()))
    if symmetric:
        return symmetric_grid(max(-low, high, 0.0), bits).round_trip(x)
    return affine_grid(low, high, bits, signed=False).round_trip(x)


@dataclass(frozen=True, slots=True)
class IntegerProduct:
    """The trace of one affine integer product a * b -> c: codes, multiplier M = s_a s_b / s_c and the
    result."""

    q_a: int
    q_b: int
    accumulator: int
    multiplier: float
    q_c: int
    value: float


def integer_product(
    a: float,
    b: float,
    ranges: tuple[tuple[float, float], tuple[float, float], tuple[float, float]],
    *,
    bits: int = 8,
) -> IntegerProduct:
    """a * b through signed affine integers whose (min, max) ranges for a, b and the result are given.

    accumulator = (q_a - z_a)(q_b - z_b)  (INT32 on hardware); M = s_a s_b / s_c;
    q_c = clip(rint(M * accumulator) + z_c); value = s_c (q_c - z_c).
    """
    grid_a, grid_b, grid_c = (affine_grid(low, high, bits) for low, high in ranges)
    q_a, q_b = int(grid_a.quantize(np.float64(a))), int(grid_b.quantize(np.float64(b)))  # type: ignore[arg-type]
    accumulator = (q_a - int(grid_a.zero_point)) * (q_b - int(grid_b.zero_point))
    multiplier = float(grid_a.scale * grid_b.scale / grid_c.scale)
    shifted = round(multiplier * accumulator) + int(grid_c.zero_point)
    q_c = min(max(shifted, grid_c.q_min), grid_c.q_max)
    return IntegerProduct(
        q_a, q_b, accumulator, multiplier, q_c, float(grid_c.dequantize(np.asarray(float(q_c))))
    )
