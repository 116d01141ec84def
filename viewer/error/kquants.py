"""GGUF block types: simple blocks of 32 and k-quant super-blocks of 256 with low-bit scales inside.

The layouts are those of llama.cpp (ggml-common.h: block_q4_0 ... block_q6_K). Simple blocks follow the
reference rounding. The k-quants and IQ4_XS search the scale of each sub-block over a few shrink factors for
the smallest squared error; llama.cpp weights that search by x^2, so its result differs by a few tenths of a
dB.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from viewer.error.codebooks import IQ4_NL_LEVELS, nearest_level
from viewer.error.floats import FP16, round_to_float
from viewer.error.layout import Array, by_group, row_amax

SUPER_BLOCK = 256
SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)


def _fp16(x: Array) -> Array:
    return round_to_float(x, FP16)


def _inverse(scale: Array) -> Array:
    """1 / scale, 0 where the scale is 0 (the block then decodes to zeros)."""
    return np.where(scale != 0, 1 / np.where(scale != 0, scale, 1), 0)


def quantize_simple_symmetric(x: Array, bits: int) -> Array:
    """Q4_0, Q5_0: d = (the value of largest magnitude, with sign) / -2^(b-1), q in -2^(b-1) .. 2^(b-1) -
    1."""
    half = 2 ** (bits - 1)

    def rows(part: Array) -> Array:
        peak = np.take_along_axis(part, np.abs(part).argmax(axis=1)[:, None], axis=1)
        scale = peak / -half
        codes = np.clip(np.floor(part * _inverse(scale) + half + 0.5), 0, 2 * half - 1) - half
        return np.asarray(codes * _fp16(scale))

    return by_group(x, 32, rows)


def quantize_simple_affine(x: Array, bits: int) -> Array:
    """Q4_1, Q5_1: d = (max - min) / (2^b - 1), a float minimum, both FP16; the range need not contain 0."""

    def rows(part: Array) -> Array:
        low = part.min(axis=1, keepdims=True)
        scale = (part.max(axis=1, keepdims=True) - low) / (2**bits - 1)
        codes = np.clip(np.floor((part - low) * _inverse(scale) + 0.5), 0, 2**bits - 1)
        return np.asarray(codes * _fp16(scale) + _fp16(low))

    return by_group(x, 32, rows)


def quantize_q8_0(x: Array) -> Array:
    """Q8_0: d = amax / 127 in FP16, 32 values a block."""

    def rows(part: Array) -> Array:
        scale = row_amax(part) / 127
        return np.asarray(np.rint(part * _inverse(scale)) * _fp16(scale))

    return by_group(x, 32, rows)


def _super_blocks(x: Array, sub: int, quantize: Callable[[Array], Array]) -> Array:
    """Applies ``quantize`` to (n, 256 / sub, sub) super-blocks; a short tail is padded with zeros."""

    def rows(part: Array) -> Array:
        pad = -part.shape[1] % SUPER_BLOCK
        whole = np.pad(part, ((0, 0), (0, pad))) if pad else part
        return quantize(whole.reshape(-1, SUPER_BLOCK // sub, sub)).reshape(whole.shape)[:, : part.shape[1]]

    return by_group(x, SUPER_BLOCK, rows)


def _best(x: Array, candidates: list[Array]) -> Array:
    """For each sub-block the index of the candidate with the smallest squared error."""
    errors = np.stack([np.square(x - c).sum(axis=-1) for c in candidates])
    return np.asarray(errors.argmin(axis=0))


def _affine_sub_block(x: Array, levels: int) -> tuple[Array, Array]:
    """(scale, -minimum >= 0) of each sub-block over the shrink factors, shapes (n, subs, 1)."""
    low = np.minimum(x.min(axis=-1, keepdims=True), 0)
    high = np.maximum(x.max(axis=-1, keepdims=True), 0)
    scales, candidates = [], []
    for shrink in SHRINKS:
        scale = (high - low) * shrink / levels
        codes = np.clip(np.rint((x - low * shrink) * _inverse(scale)), 0, levels)
        scales.append((scale, -low * shrink))
        candidates.append(codes * scale + low * shrink)
    choice = _best(x, candidates)[None, ..., None]
    pick: Callable[[int], Array] = lambda i: np.take_along_axis(  # noqa: E731
        np.stack([s[i] for s in scales]), choice, axis=0
    )[0]
    return pick(0), pick(1)


def quantize_k_affine(x: Array, bits: int, *, sub: int, scale_bits: int) -> Array:
    """Q2_K (sub 16, 4-bit scales), Q4_K and Q5_K (sub 32, 6-bit scales): x = d sc q - dmin m, d and dmin in
    FP16."""
    levels, top = 2**bits - 1, 2**scale_bits - 1

    def blocks(part: Array) -> Array:
        scale, minimum = _affine_sub_block(part, levels)
        d, d_min = (_fp16(v.max(axis=1, keepdims=True) / top) for v in (scale, minimum))
        scale = np.clip(np.rint(scale * _inverse(d)), 0, top) * d
        minimum = np.clip(np.rint(minimum * _inverse(d_min)), 0, top) * d_min
        codes = np.clip(np.rint((part + minimum) * _inverse(scale)), 0, levels)
        return np.asarray(codes * scale - minimum)

    return _super_blocks(x, sub, blocks).astype(x.dtype, copy=False)


def quantize_k_symmetric(x: Array, bits: int, *, scale_bits: int) -> Array:
    """Q3_K (6-bit scales), Q6_K (8-bit scales): 16 sub-blocks of 16, x = d sc q, q in -2^(b-1) .. 2^(b-1) -
    1.

    The scale is signed, so the value of largest magnitude can take the code -2^(b-1).
    """
    half, top = 2 ** (bits - 1), 2 ** (scale_bits - 1)

    def decode(part: Array, scale: Array) -> Array:
        return np.asarray(np.clip(np.rint(part * _inverse(scale)), -half, half - 1) * scale)

    def blocks(part: Array) -> Array:
        peak = np.take_along_axis(part, np.abs(part).argmax(axis=-1)[..., None], axis=-1)
        options = [peak * (shrink / -half) for shrink in SHRINKS]
        choice = _best(part, [decode(part, s) for s in options])[None, ..., None]
        scale = np.take_along_axis(np.stack(options), choice, axis=0)[0]
        d = _fp16(np.abs(scale).max(axis=1, keepdims=True) / (top - 1))
        return decode(part, np.clip(np.rint(scale * _inverse(d)), -top, top - 1) * d)

    return _super_blocks(x, 16, blocks).astype(x.dtype, copy=False)


def quantize_iq4(x: Array, *, scale_bits: int | None = None) -> Array:
    """IQ4_NL (``scale_bits`` None: FP16 scale per 32) and IQ4_XS (6-bit scales in super-blocks of 256).

    16 fixed levels, of which the largest magnitude (-127) meets the peak; signed scales, searched as above.
    """
    levels = np.asarray(IQ4_NL_LEVELS, dtype=np.float64)

    def decode(part: Array, scale: Array) -> Array:
        return nearest_level(part * _inverse(scale), levels) * scale

    def blocks(part: Array) -> Array:
        peak = np.take_along_axis(part, np.abs(part).argmax(axis=-1)[..., None], axis=-1)
        options = [peak * (sign * shrink / levels[0]) for shrink in SHRINKS for sign in (1.0, -1.0)]
        choice = _best(part, [decode(part, s) for s in options])[None, ..., None]
        scale = np.take_along_axis(np.stack(options), choice, axis=0)[0]
        if scale_bits is None:
            return decode(part, _fp16(scale))
        top = 2 ** (scale_bits - 1)
        d = _fp16(np.abs(scale).max(axis=1, keepdims=True) / (top - 1))
        return decode(part, np.clip(np.rint(scale * _inverse(d)), -top, top - 1) * d)

    return _super_blocks(x, 32, blocks).astype(x.dtype, copy=False)


def quantize_tq(x: Array) -> Array:
    """TQ1_0, TQ2_0: 256 values, d = amax in FP16, codes -1, 0, 1: exact for ternary weights, poor for
    others."""

    def rows(part: Array) -> Array:
        scale = row_amax(part)
        return np.asarray(np.rint(part * _inverse(scale)) * _fp16(scale))

    return by_group(x, SUPER_BLOCK, rows)
