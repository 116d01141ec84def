"""From the name of a storage format (or of a pruning scheme) to the function that shows its error.

Integer, float, code-book and power-of-two formats follow from the fields of their ``TensorFormat``, so a
format that is new in the registry needs nothing here. A name may join formats and pruning: ``int4_g128+2:4``
prunes first. Pruning names: ``N:M``, ``unstructured_0.5`` (or csr, coo, bitmap, tiled_csl), ``lowrank_0.25``
(share of the full rank).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from viewer import formats
from viewer.error import blocks, codebooks, kquants, pruning
from viewer.error.floats import E2M1, E2M3, E3M2, E4M3, E5M2, FLOAT_FORMATS, FloatFormat
from viewer.error.integers import quantize_integer
from viewer.error.layout import Array, TensorStats
from viewer.errors import InputError, unknown
from viewer.formats import TensorFormat

Apply = Callable[[Array, TensorStats | None], Array]

_ELEMENTS: dict[str, FloatFormat] = {
    "fp8_e4m3": E4M3, "fp8_e5m2": E5M2, "fp6_e2m3": E2M3, "fp6_e3m2": E3M2, "fp6": E2M3, "fp4": E2M1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantizer:
    """How a named setting changes a tensor.

    ``apply(x, stats)``: x (rows, cols) float32 or float64 to what is read back, same shape and dtype;
    ``stats`` is the range of the whole tensor when x is a part of it (needed iff ``needs_stats``). Parts
    must hold a multiple of ``row_multiple`` rows (2-D blocks), or the whole tensor when ``whole`` is true.
    """

    name: str
    apply: Apply
    needs_stats: bool = False
    row_multiple: int = 1
    whole: bool = False
    note: str = ""


@lru_cache(maxsize=1024)
def quantizer(name: str) -> Quantizer:
    """The quantizer of a format or pruning name, or of several joined by ``+``; InputError for an unknown
    one."""
    parts = [_single(part.strip()) for part in name.split("+")]
    if len(parts) == 1:
        return parts[0]
    parts.sort(
        key=lambda part: pruning.parse(part.name) is None
    )  # stable: prune first, then store what is kept

    def apply(x: Array, stats: TensorStats | None) -> Array:
        for part in parts:
            x = part.apply(x, stats)
        return x

    return Quantizer(
        name,
        apply,
        needs_stats=any(part.needs_stats for part in parts),
        row_multiple=max(part.row_multiple for part in parts),
        whole=any(part.whole for part in parts),
        note="; ".join(part.note for part in parts if part.note),
    )


def _single(name: str) -> Quantizer:
    scheme = pruning.parse(name)
    if scheme is None:
        return _from_format(formats.get(name))
    return Quantizer(name, lambda x, _: scheme.apply(x), row_multiple=scheme.row_multiple, whole=scheme.whole)


def _from_format(fmt: TensorFormat) -> Quantizer:
    """The quantizer of a storage format, chosen by its fields."""
    if fmt.name.startswith("gguf_"):
        apply, note = _gguf(fmt)
        return Quantizer(fmt.name, apply, needs_stats=fmt.microscale == "nv", note=note)
    if fmt.microscale == "nv":
        return Quantizer(fmt.name, lambda x, s: blocks.quantize_nvfp4(x, stats=s), needs_stats=True)
    if fmt.microscale == "mx":
        element = _element(fmt)
        return Quantizer(fmt.name, lambda x, _: blocks.quantize_mx(x, element, block=fmt.group))
    if fmt.codebook:
        return Quantizer(fmt.name, _lookup(fmt))
    if fmt.value_type.startswith("pot"):
        bits, block = int(fmt.element_bits), fmt.group or None
        return Quantizer(
            fmt.name, lambda x, _: codebooks.quantize_power_of_two(x, bits, block=block, scaled=True)
        )
    if fmt.value_type == "ternary":
        return Quantizer(fmt.name, lambda x, _: codebooks.quantize_ternary(x, block=fmt.group or None))
    if fmt.value_type == "b1":
        return Quantizer(fmt.name, lambda x, _: codebooks.quantize_sign(x, block=fmt.group or None))
    return _scalar(fmt)


def _scalar(fmt: TensorFormat) -> Quantizer:
    """Plain casts, scaled FP8 and uniform integers."""
    if fmt.value_type in FLOAT_FORMATS:
        rounder = blocks.element_rounder(FLOAT_FORMATS[fmt.value_type])
        return Quantizer(fmt.name, lambda x, _: rounder(x))
    shared = fmt.scaling == "tensor"
    tile = (fmt.block_rows, fmt.group)
    rows = fmt.block_rows if fmt.scaling == "block" else 1
    if fmt.value_type in _ELEMENTS:
        element = _element(fmt)
        return Quantizer(
            fmt.name,
            lambda x, s: blocks.quantize_scaled_float(
                x, element, granularity=fmt.scaling, group=fmt.group, block=tile, stats=s
            ),
            needs_stats=shared,
            row_multiple=rows,
        )
    if not fmt.is_integer:
        raise InputError(f"no quantizer for the value type {fmt.value_type!r} of format {fmt.name!r}")
    if fmt.scaling == "none":
        return Quantizer(fmt.name, lambda x, _: x, note="an accumulator type: taken as exact")
    bits = int(fmt.element_bits)
    return Quantizer(
        fmt.name,
        lambda x, s: quantize_integer(
            x, bits, symmetric=fmt.symmetric, granularity=fmt.scaling, group=fmt.group, block=tile, stats=s
        ),
        needs_stats=shared,
        row_multiple=rows,
    )


def _element(fmt: TensorFormat) -> FloatFormat:
    if fmt.value_type not in _ELEMENTS:
        raise unknown(f"element type of format {fmt.name!r}", fmt.value_type, _ELEMENTS)
    return _ELEMENTS[fmt.value_type]


def _lookup(fmt: TensorFormat) -> Apply:
    """bitsandbytes code books."""
    levels = np.asarray(codebooks.BNB_FP4_LEVELS if "fp4" in fmt.name else codebooks.nf4_levels())
    double = fmt.super_group > 0
    return lambda x, _: codebooks.quantize_lookup(
        x, levels, block=fmt.group, double_quant=double, second_block=fmt.super_group or 256
    )


# Block types without a quantizer of their own: lattice code books are stood in for by a k-quant of nearest
# bits.
_GGUF_NEAREST = {
    "iq3_s": "q3_k", "iq3_xxs": "q3_k", "iq2_s": "q2_k", "iq2_xs": "q2_k", "iq2_xxs": "q2_k",
    "q8_1": "q8_0", "q8_k": "q8_0",
}  # fmt: skip


def _gguf(fmt: TensorFormat) -> tuple[Apply, str]:
    """(function, note) of a GGUF block type."""
    kind = fmt.name.removeprefix("gguf_")
    near = _GGUF_NEAREST.get(kind, kind)
    table: dict[str, Callable[[Array], Array]] = {
        "q4_0": lambda x: kquants.quantize_simple_symmetric(x, 4),
        "q5_0": lambda x: kquants.quantize_simple_symmetric(x, 5),
        "q4_1": lambda x: kquants.quantize_simple_affine(x, 4),
        "q5_1": lambda x: kquants.quantize_simple_affine(x, 5),
        "q8_0": kquants.quantize_q8_0,
        "q2_k": lambda x: kquants.quantize_k_affine(x, 2, sub=16, scale_bits=4),
        "q3_k": lambda x: kquants.quantize_k_symmetric(x, 3, scale_bits=6),
        "q4_k": lambda x: kquants.quantize_k_affine(x, 4, sub=32, scale_bits=6),
        "q5_k": lambda x: kquants.quantize_k_affine(x, 5, sub=32, scale_bits=6),
        "q6_k": lambda x: kquants.quantize_k_symmetric(x, 6, scale_bits=8),
        "iq4_nl": kquants.quantize_iq4,
        "iq4_xs": lambda x: kquants.quantize_iq4(x, scale_bits=6),
        "tq1_0": kquants.quantize_tq,
        "tq2_0": kquants.quantize_tq,
        "mxfp4": lambda x: blocks.quantize_mx(x, E2M1, block=fmt.group),
        "q1_0": lambda x: codebooks.quantize_sign(x, block=fmt.group),
        "iq1_s": lambda x: codebooks.quantize_ternary(x, block=fmt.group),
        "iq1_m": lambda x: codebooks.quantize_ternary(x, block=fmt.group),
    }
    if kind == "nvfp4":
        return lambda x, s: blocks.quantize_nvfp4(x, stats=s), ""
    if near not in table:
        raise InputError(f"no quantizer for the GGUF type {kind!r}")
    function, note = table[near], ""
    if near != kind:
        note = f"{kind} is stood in for by {near}, which has about as many bits and no lattice code book"
    elif kind.startswith("iq1"):
        note = f"{kind} is stood in for by ternary values with a scale per {fmt.group}"
    return lambda x, _: function(x), note
