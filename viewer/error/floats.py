"""Low-bit floating-point formats: rounding to nearest even with gradual underflow and saturation.

A format with a sign, ``exponent_bits`` and ``mantissa_bits`` holds (-1)^s (1 + m / 2^M) 2^(e - bias), and
below the smallest normal exponent the subnormals (m / 2^M) 2^(1 - bias). Sources: OCP 8-bit Floating Point
Specification 1.0 (E4M3, E5M2), OCP Microscaling Formats (MX) 1.0 section 5.3 (E2M3, E3M2, E2M1, E8M0), IEEE
754.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from viewer.error.layout import Array
from viewer.errors import unknown


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A binary float format.

    ``mantissa_bits``: stored fraction bits; ``min_exponent``: exponent of the smallest normal (1 - bias);
    ``max_exponent``: exponent of the largest finite value (the ``emax`` of the MX specification);
    ``largest``: largest finite value (E4M3 loses its topmost code to NaN: 448, not 480).
    """

    name: str
    mantissa_bits: int
    min_exponent: int
    max_exponent: int
    largest: float

    @property
    def smallest_normal(self) -> float:
        """2^min_exponent."""
        return float(2.0**self.min_exponent)

    @property
    def smallest_subnormal(self) -> float:
        """2^(min_exponent - mantissa_bits): the underflow limit."""
        return float(2.0 ** (self.min_exponent - self.mantissa_bits))


FP64 = FloatFormat("fp64", 52, -1022, 1023, (2.0 - 2.0**-52) * 2.0**1023)
FP32 = FloatFormat("fp32", 23, -126, 127, (2.0 - 2.0**-23) * 2.0**127)
TF32 = FloatFormat("tf32", 10, -126, 127, (2.0 - 2.0**-10) * 2.0**127)
BF16 = FloatFormat("bf16", 7, -126, 127, (2.0 - 2.0**-7) * 2.0**127)
FP16 = FloatFormat("fp16", 10, -14, 15, 65504.0)
E5M2 = FloatFormat("e5m2", 2, -14, 15, 57344.0)
E4M3 = FloatFormat("e4m3", 3, -6, 8, 448.0)
E3M2 = FloatFormat("e3m2", 2, -2, 4, 28.0)
E2M3 = FloatFormat("e2m3", 3, 0, 2, 7.5)
E2M1 = FloatFormat("e2m1", 1, 0, 2, 6.0)

FLOAT_FORMATS = {f.name: f for f in (FP64, FP32, TF32, BF16, FP16, E5M2, E4M3, E3M2, E2M3, E2M1)}


def float_format(name: str) -> FloatFormat:
    """The float format called ``name``; InputError when there is none."""
    if name not in FLOAT_FORMATS:
        raise unknown("float format", name, FLOAT_FORMATS)
    return FLOAT_FORMATS[name]


def exponent_floor(x: Array) -> Array:
    """floor(log2 |x|) as int32, exact; 0 maps to a very small exponent."""
    mantissa, exponent = np.frexp(x)  # |x| = mantissa * 2^exponent with 0.5 <= mantissa < 1
    return np.where(mantissa == 0.0, np.int32(-1074), exponent - 1)


def round_to_float(x: Array, fmt: FloatFormat) -> Array:
    """Each value rounded to the nearest one of ``fmt`` (ties to even), saturating at +-largest.

    step(x) = 2^(max(floor(log2 |x|), min_exponent) - mantissa_bits); q = rint(x / step) * step. Any shape;
    the dtype of ``x`` is kept, so rounding to FP32 or FP64 only shows an error when ``x`` is wider than that.
    """
    if np.finfo(x.dtype).nmant <= fmt.mantissa_bits and fmt.min_exponent <= np.finfo(x.dtype).minexp:
        return x.copy()  # every value of this dtype is one of the format
    step = np.ldexp(np.ones((), x.dtype), np.maximum(exponent_floor(x), fmt.min_exponent) - fmt.mantissa_bits)
    limit = min(fmt.largest, float(np.finfo(x.dtype).max))
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(np.rint(x / step) * step, -limit, limit), dtype=x.dtype)


def float_levels(fmt: FloatFormat) -> Array:
    """All finite values of ``fmt``, ascending, one zero; for formats of at most 16 bits."""
    fractions = np.arange(2**fmt.mantissa_bits) / 2**fmt.mantissa_bits
    subnormal = fractions * fmt.smallest_normal
    exponents = np.arange(fmt.min_exponent, fmt.max_exponent + 1)
    normal = ((1.0 + fractions)[None, :] * np.ldexp(1.0, exponents)[:, None]).ravel()
    positive = np.concatenate([subnormal, normal[normal <= fmt.largest]])
    return np.concatenate([-positive[:0:-1], positive])


def round_scale_e8m0(amax: Array, element: FloatFormat) -> Array:
    """The shared MX scale 2^(floor(log2 amax) - emax), clamped to E8M0 (2^-127 .. 2^127); 1 where amax is 0.

    OCP MX 1.0 section 6.3. The largest elements may saturate (amax / scale lies in [2^emax, 2^(emax + 1))).
    """
    exponent = np.clip(exponent_floor(amax) - element.max_exponent, -127, 127)
    return np.where(amax > 0, np.ldexp(np.ones((), amax.dtype), exponent), np.ones((), amax.dtype))
