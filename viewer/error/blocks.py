"""Scaled low-bit floats: FP8 with a float scale, OCP MX formats, NVFP4."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from viewer.error.floats import E2M1, E4M3, FloatFormat, round_scale_e8m0, round_to_float
from viewer.error.layout import GRANULARITIES, Array, TensorStats, by_block, by_group, nonzero, row_amax
from viewer.errors import unknown

MX_BLOCK = 32  # OCP MX 1.0 section 5.1
NVFP4_BLOCK = 16


def quantize_scaled_float(
    x: Array,
    fmt: FloatFormat,
    *,
    granularity: str = "channel",
    group: int = 128,
    block: tuple[int, int] = (128, 128),
    stats: TensorStats | None = None,
) -> Array:
    """``x`` (rows, cols) as low-bit floats with the absmax scale s = amax / largest (s itself unrounded)."""

    def rows(part: Array) -> Array:
        scale = nonzero(row_amax(part) / np.asarray(fmt.largest, part.dtype))
        return round_to_float(part / scale, fmt) * scale

    if granularity == "channel":
        return rows(x)
    if granularity == "group":
        return by_group(x, group, rows)
    if granularity == "block":
        return by_block(x, *block, rows)
    if granularity != "tensor":
        raise unknown("granularity", granularity, GRANULARITIES)
    amax = stats.amax if stats else float(np.abs(x).max(initial=0.0))
    scale = np.asarray(amax / fmt.largest or 1.0, x.dtype)
    return np.asarray(round_to_float(x / scale, fmt) * scale)


def quantize_mx(x: Array, element: FloatFormat, *, block: int = MX_BLOCK) -> Array:
    """OCP MX: blocks of 32 values share an E8M0 scale 2^(floor(log2 amax) - emax); elements saturate."""

    def rows(part: Array) -> Array:
        scale = round_scale_e8m0(row_amax(part), element)
        return round_to_float(part / scale, element) * scale

    return by_group(x, block, rows)


def quantize_nvfp4(x: Array, *, stats: TensorStats | None = None, block: int = NVFP4_BLOCK) -> Array:
    """NVFP4: E2M1 elements, an E4M3 scale per 16 values, an FP32 scale per tensor.

    s_tensor = amax_tensor / (448 * 6); s_block = E4M3(amax_block / 6 / s_tensor) * s_tensor. A block scale
    that underflows E4M3 (below 2^-9 of the tensor scale) leaves a block of zeros, as on the hardware.
    """
    amax = stats.amax if stats else float(np.abs(x).max(initial=0.0))
    tensor_scale = np.asarray(amax / (E4M3.largest * E2M1.largest) or 1.0, x.dtype)

    def rows(part: Array) -> Array:
        scale = round_to_float(row_amax(part) / (E2M1.largest * tensor_scale), E4M3) * tensor_scale
        return np.where(scale > 0, round_to_float(part / nonzero(scale), E2M1) * scale, 0.0).astype(x.dtype)

    return by_group(x, block, rows)


def element_rounder(fmt: FloatFormat) -> Callable[[Array], Array]:
    """A function that stores values in ``fmt`` without any scale (a plain cast that saturates)."""
    return lambda x: round_to_float(x, fmt)
