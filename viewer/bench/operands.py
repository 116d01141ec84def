"""Random operands of matrix instructions: their codes, where each thread holds them, and the right answer.

Layouts follow the PTX ISA (sections "Matrix fragments for mma" and "wgmma: shared-memory matrix layout"): lane
= 4 g + t. A register holds 32 / bits neighbours along K, here called a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rng = np.random.Generator

BITS = {"fp64": 64, "tf32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "int4": 4, "fp4": 4, "b1": 1}
#: 2:4 metadata "first half of every group is kept", in every type; and both halves in turn, for timing
FIRST_HALF = 0x44444444
BOTH_HALVES = 0xE4E4E4E4
#: neighbours along K among which half are kept: pairs for TF32, fours, eights for INT4
GROUP = {"tf32": 2, "fp16": 4, "bf16": 4, "fp8": 4, "int8": 4, "int4": 8}


def _e4m3_values() -> Array:
    """Value of each of the 256 E4M3 codes (OCP FP8): bias 7, no infinities, 0x7f and 0xff are NaN."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value = np.where(code & 128, -value, value)
    value[(code & 127) == 127] = np.nan
    return np.asarray(value)


E4M3 = _e4m3_values()
#: E2M1 (OCP MX): sign, then these magnitudes
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def random_codes(rng: Rng, dtype: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """(codes, values): normal numbers for floats, uniform integers; never constants."""
    if dtype in ("int8", "int4"):
        top = 127 if dtype == "int8" else 7
        value = rng.integers(-top, top + 1, shape)
        return value.astype(np.uint32) & ((1 << BITS[dtype]) - 1), value.astype(np.float64)
    if dtype == "fp4":
        code = rng.integers(0, 16, shape)
        return code.astype(np.uint32), E2M1[code]
    if dtype == "b1":
        value = rng.integers(0, 2, shape)
        return value.astype(np.uint32), value.astype(np.float64)
    if dtype == "fp8":
        # magnitudes 2^-3 ... 2^1, either sign: normal-like, far from NaN
        code = (rng.integers(4, 9, shape) << 3) | rng.integers(0, 8, shape) | (rng.integers(0, 2, shape) << 7)
        return code.astype(np.uint32), E4M3[code]
    normal = rng.standard_normal(shape)
    if dtype == "fp64":
        return normal.view(np.uint64), normal
    if dtype == "fp16":
        half = normal.astype(np.float16)
        return half.view(np.uint16).astype(np.uint32), half.astype(np.float64)
    word = normal.astype(np.float32).view(np.uint32) & np.uint32(
        0xFFFF0000 if dtype == "bf16" else 0xFFFFE000
    )
    value = word.view(np.float32).astype(np.float64)
    return (word >> 16 if dtype == "bf16" else word).astype(np.uint32), value


def negated(dtype: str, codes: Array) -> Array:
    """Codes of the negative values (of the complement for single bits)."""
    bits = BITS[dtype]
    if dtype in ("int8", "int4"):
        return np.asarray((~codes + 1) & np.uint32((1 << bits) - 1))
    sign = codes.dtype.type(1 << (bits - 1))
    return np.asarray(codes ^ sign)


def packed(dtype: str, codes: Array) -> Array:
    """(rows, k) codes -> (rows, chunks) 32-bit words, the first element in the lowest bits (64-bit: as they are)."""
    bits = BITS[dtype]
    if bits >= 32:
        return codes
    each = 32 // bits
    split = codes.reshape(codes.shape[0], -1, each).astype(np.uint64)
    shifted = split << (np.arange(each, dtype=np.uint64) * np.uint64(bits))
    return np.asarray(shifted.sum(axis=2, dtype=np.uint64), np.uint32)


_LANE = np.arange(32)
_G, _T = _LANE // 4, _LANE % 4


def a_registers(dtype: str, m: int, words: Array) -> Array:
    """(m, chunks) -> (32 lanes, registers) of an A fragment."""
    chunks = words.shape[1]
    columns = [words[_G + row, _T + start] for start in range(0, chunks, 4) for row in range(0, m, 8)]
    if dtype != "fp64" and len(columns) != 4:
        raise ValueError(f"an A fragment of {len(columns)} registers")
    return np.stack(columns, axis=1)


def b_registers(words: Array) -> Array:
    """(8 columns, chunks) of B transposed -> (32 lanes, registers) of a B fragment."""
    return np.stack([words[_G, _T + start] for start in range(0, words.shape[1], 4)], axis=1)


def mma_result(m: int, registers: Array) -> Array:
    """(32 lanes, m*8/32 values) accumulators -> (m, 8)."""
    out = np.empty((m, 8), registers.dtype)
    for i in range(registers.shape[1]):
        out[_G + 8 * (i // 2), 2 * _T + i % 2] = registers[:, i]
    return out


def expanded(dtype: str, values: Array) -> Array:
    """Compressed (rows, k/2) values -> (rows, k) with the first half of every group, zeros elsewhere."""
    keep = GROUP[dtype] // 2
    groups = values.reshape(values.shape[0], -1, keep)
    return np.concatenate([groups, np.zeros_like(groups)], axis=2).reshape(values.shape[0], -1)


@dataclass(frozen=True, slots=True)
class Operands:
    """Device data and the result to expect from one iteration."""

    data: Array
    expected: Array
    scale: float


def mma_operands(
    rng: Rng, dtype: str, tile: tuple[int, int, int], chains: int, *, sparse: bool, swing: bool
) -> Operands:
    """One fragment set of ``mma_rate``: A0, A1, then B of each chain; expected (chains, m, n) after one iteration.

    swing: A1 = -A0, so that accumulators return to zero (timing); else A1 is independent (checking).
    """
    m, n, k = tile
    kept = k // 2 if sparse else k
    codes0, values0 = random_codes(rng, dtype, (m, kept))
    codes1, values1 = random_codes(rng, dtype, (m, kept))
    if swing:
        codes1, values1 = negated(dtype, codes0), (1 - values0 if dtype == "b1" else -values0)
    a = values0 + values1
    a = expanded(dtype, a) if sparse else a
    parts = [a_registers(dtype, m, packed(dtype, c)) for c in (codes0, codes1)]
    expected, scale = [], 0.0
    for _ in range(chains):
        codes, values = random_codes(rng, dtype, (n, k))
        parts.append(b_registers(packed(dtype, codes)))
        expected.append(a @ values.T)
        scale = max(scale, float((np.abs(a) @ np.abs(values.T)).max()))
    return Operands(np.concatenate(parts, axis=1), np.stack(expected), scale or 1.0)


def core_matrices(data: Array) -> Array:
    """(rows, k bytes) -> bytes in core-matrix order: 8 rows x 16 bytes, adjacent along K, then along rows."""
    rows, width = data.shape
    return np.ascontiguousarray(data.reshape(rows // 8, 8, width // 16, 16).transpose(0, 2, 1, 3)).reshape(-1)


def _row_bytes(dtype: str, codes: Array) -> Array:
    words = np.ascontiguousarray(packed(dtype, codes).astype("<u4"))
    return words.view(np.uint8).reshape(codes.shape[0], -1)


def wgmma_operands(
    rng: Rng, dtype: str, k: int, slices: int, rounds: int, *, sparse: bool, swing: bool
) -> Operands:
    """Shared-memory images of ``wgmma_rate``: A of both warpgroups, then B; expected (2, 64, 256).

    swing: odd slices have -A and the B of the slice before them.
    """
    kept = k // 2 if sparse else k
    images: list[Array] = []
    totals = np.zeros((2, 64, 256))
    sizes = np.zeros((2, 64, 256))
    b_codes: list[Array] = []
    b_values: list[Array] = []
    for s in range(slices):
        codes, values = random_codes(rng, dtype, (256, k))
        if swing and s % 2:
            codes, values = b_codes[-1], b_values[-1]
        b_codes.append(codes)
        b_values.append(values)
    for group in range(2):
        last: tuple[Array, Array] | None = None
        for s in range(slices):
            codes, values = random_codes(rng, dtype, (64, kept))
            if swing and s % 2 and last is not None:
                codes = negated(dtype, last[0])
                values = 1 - last[1] if dtype == "b1" else -last[1]
            last = codes, values
            images.append(core_matrices(_row_bytes(dtype, codes)))
            full = expanded(dtype, values) if sparse else values
            totals[group] += rounds * (full @ b_values[s].T)
            sizes[group] += rounds * (np.abs(full) @ np.abs(b_values[s].T))
    images += [core_matrices(_row_bytes(dtype, c)) for c in b_codes]
    return Operands(np.concatenate(images), totals, float(sizes.max()) or 1.0)


def wgmma_result(registers: Array) -> Array:
    """(128 threads, 128 values) accumulators of one warpgroup -> (64, 256)."""
    out = np.empty((64, 256), registers.dtype)
    thread = np.arange(128)
    row = 16 * (thread // 32) + (thread % 32) // 4
    for i in range(registers.shape[1]):
        out[row + 8 * (i // 2 % 2), 8 * (i // 4) + 2 * (thread % 4) + i % 2] = registers[:, i]
    return out
