"""The compute-type rule: which unit multiplies two stored formats, in which type. One function, no exceptions.

``pick`` knows which types a chip has and nothing of how fast they are. The math type is the narrowest one that
  (i)   both operands convert to exactly (viewer.formats.lattice),
  (ii)  a unit of the chip has natively, and
  (iii) the scaling of the formats allows: scales that change along K need a block-scaled unit (MX, NVFP4), a
        per-group epilogue (integers, FP8 groups and blocks), or dequantization to floating point.
What does not run in its own type is converted up: to the checkpoint's 16-bit type, then TF32/FP32. Two integer
operands look at integer units first. A peak is never guessed: nothing that fits is an error by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd
from typing import Protocol

from viewer.errors import InputError
from viewer.formats import TensorFormat, converts_exactly

# math type: (bits, value types that the multiplier takes as they are)
MATH_TYPES: dict[str, tuple[int, tuple[str, ...]]] = {
    "b1": (1, ("b1",)),
    "int4": (4, ("int4",)),
    "fp4": (4, ("fp4",)),
    "fp6": (6, ("fp6_e2m3", "fp6_e3m2")),
    "int8": (8, ("int8",)),
    "fp8": (8, ("fp8_e4m3", "fp8_e5m2")),
    "fp16": (16, ("fp16",)),
    "bf16": (16, ("bf16",)),
    "tf32": (19, ("tf32",)),
    "fp32": (32, ("fp32",)),
    "fp64": (64, ("fp64",)),
}
_INTEGER_ORDER = ("b1", "int4", "int8", "fp8")
_FLOAT_ORDER = ("fp4", "fp6", "fp8")
_WIDE = ("tf32", "fp32", "fp64")
# value types that lose more than a note can say when they run in 16 bits
_NOT_16_BIT = frozenset({"fp32", "fp64", "tf32", "int16", "int32"})
_DIFFERENCE = {
    "fp16": "bf16 values run as fp16: what exceeds 65504 overflows",
    "bf16": "fp16 values run as bf16: 8 significant bits instead of 11",
}


class Capabilities(Protocol):
    """What ``pick`` may know of a device (``hardware_specs`` has the dataclass): types, and no rates."""

    @property
    def architecture(self) -> str: ...
    @property
    def tensor_types(self) -> frozenset[str]: ...
    @property
    def vector_types(self) -> frozenset[str]: ...
    @property
    def block_scaled_types(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """How one product runs.

    unit: "tensor" or "vector". math_type: key of the peak. upcast: wider than the formats alone ask for, because
    the chip or the scaling leaves nothing narrower. a_path, b_path: "native", "convert" (exact widening, scales
    stay outside) or "dequantize" (scales applied to the values). epilogue: "none", "scale" (per tensor or row)
    or "group" (partial sums rescaled every ``group`` values of K). zero_points: an integer product with zero
    points to correct. block_scaled: the unit applies the scales. accumulate: type of the peak's accumulator.
    """

    unit: str
    math_type: str
    upcast: bool
    a_path: str
    b_path: str
    epilogue: str
    group: int
    zero_points: bool
    block_scaled: bool
    accumulate: str
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def dequantize(self) -> bool:
        """True when an operand is unpacked to floating point before the product."""
        return "dequantize" in (self.a_path, self.b_path)


def pick(
    format_a: TensorFormat,
    format_b: TensorFormat,
    capabilities: Capabilities,
    *,
    default16: str = "fp16",
    a_scales_along_k: bool | None = None,
    b_scales_along_k: bool | None = None,
) -> Choice:
    """The unit and type that multiply ``format_a`` (activations, Q, P) by ``format_b`` (weights, K, V).

    ``default16``: the 16-bit type to prefer where both are possible (the checkpoint's own). The scales of a
    format run along K as the format says, unless ``*_scales_along_k`` tells otherwise: a value cache scaled
    per token, for one, has its scales along the K of probabilities x values.

    Raises:
        InputError: no unit of the chip multiplies the two; the message names the types it has.
    """
    along = (
        format_a.scales_along_k if a_scales_along_k is None else a_scales_along_k,
        format_b.scales_along_k if b_scales_along_k is None else b_scales_along_k,
    )
    order = _order(format_a, format_b, default16)
    exact = [t for t in order if _exact(format_a, t) and _exact(format_b, t)]
    allowed = [t for t in exact if _scaling_allows(t, format_a, format_b, along, capabilities)]
    for unit, math_type in _candidates(allowed, capabilities, format_a, format_b, default16):
        return _choice(unit, math_type, exact[0], format_a, format_b, along, capabilities)
    raise InputError(
        f"no unit of this device multiplies {format_a} by {format_b}: that needs one of "
        f"{', '.join(exact) or 'no known type'}; tensor unit: {_names(capabilities.tensor_types)}; "
        f"vector unit: {_names(capabilities.vector_types)}"
    )


def _names(types: Iterable[str]) -> str:
    return ", ".join(sorted(types)) or "none"


def _order(a: TensorFormat, b: TensorFormat, default16: str) -> tuple[str, ...]:
    """Math types from narrow to wide; integers before floats of the same width for two integer operands."""
    narrow = _INTEGER_ORDER if a.is_integer and b.is_integer else _FLOAT_ORDER
    sixteen = ("bf16", "fp16") if default16 == "bf16" else ("fp16", "bf16")
    return (*narrow, *sixteen, *_WIDE)


def _exact(fmt: TensorFormat, math_type: str) -> bool:
    return any(converts_exactly(fmt.value_type, value) for value in MATH_TYPES[math_type][1])


def _scaling_allows(
    math_type: str, a: TensorFormat, b: TensorFormat, along: tuple[bool, bool], chip: Capabilities
) -> bool:
    """Rule (iii). Types of 16 bits and more take dequantized values, so every scaling is allowed there."""
    if MATH_TYPES[math_type][0] >= 16:
        return True
    scaled = [fmt for fmt, k in zip((a, b), along, strict=True) if k]
    micro = {fmt.microscale for fmt in scaled}
    if micro <= {""}:
        return True  # a per-group epilogue (or a per-row scale) does it
    if len(micro) > 1 or math_type not in chip.block_scaled_types:
        return False
    # E4M3 scales per 16 are NVIDIA's (PTX ISA: mma with block scaling, kind mxf4nvf4), and only for FP4
    return micro == {"mx"} or (math_type == "fp4" and chip.architecture.startswith("sm_"))


def _candidates(
    allowed: list[str], chip: Capabilities, a: TensorFormat, b: TensorFormat, default16: str
) -> Iterable[tuple[str, str]]:
    """(unit, math type), best first.

    Exact types of up to 16 bits, then wider ones of the tensor unit, then the tensor unit's other 16-bit type
    (with a note), then the vector unit. BF16 on a chip without it runs as FP16 before anything wider.
    """
    values = {a.value_type, b.value_type}
    sixteen = (default16, *(t for t in ("fp16", "bf16") if t != default16))
    others = () if values & _NOT_16_BIT else tuple(("tensor", t) for t in sixteen if t in chip.tensor_types)
    if "bf16" in values and "bf16" not in chip.tensor_types | chip.vector_types:
        yield from others
    for math_type in (t for t in allowed if MATH_TYPES[t][0] <= 16):
        if math_type in chip.tensor_types:
            yield "tensor", math_type
        if math_type in chip.vector_types:
            yield "vector", math_type
    wide = [t for t in allowed if MATH_TYPES[t][0] > 16]
    yield from (("tensor", t) for t in wide if t in chip.tensor_types and (t != "fp64" or "fp64" in values))
    yield from others
    yield from (("vector", t) for t in wide if t in chip.vector_types)


def _path(fmt: TensorFormat, math_type: str, along: bool, block_scaled: bool) -> str:
    bits, values = MATH_TYPES[math_type]
    if fmt.value_type in values and not (along and bits >= 16):
        return "native"
    if bits >= 16 and (along or fmt.codebook):
        return "dequantize"
    return "native" if block_scaled and fmt.value_type in values else "convert"


def _choice(
    unit: str,
    math_type: str,
    wanted: str,
    a: TensorFormat,
    b: TensorFormat,
    along: tuple[bool, bool],
    chip: Capabilities,
) -> Choice:
    bits = MATH_TYPES[math_type][0]
    micro = bits < 16 and any(fmt.microscale and k for fmt, k in zip((a, b), along, strict=True))
    outside = [
        fmt.group for fmt, k in zip((a, b), along, strict=True) if k and bits < 16 and not fmt.microscale
    ]
    scaled = any(fmt.scaling != "none" for fmt in (a, b))
    upcast = bits > MATH_TYPES[wanted][0]
    integer = math_type in ("b1", "int4", "int8")
    return Choice(
        unit=unit,
        math_type=math_type,
        upcast=upcast,
        a_path=_path(a, math_type, along[0], micro),
        b_path=_path(b, math_type, along[1], micro),
        epilogue="group" if outside else "scale" if scaled else "none",
        group=gcd(*outside) if outside else 0,
        zero_points=integer and not (a.symmetric and b.symmetric),
        block_scaled=micro,
        accumulate="int32" if integer else "fp64" if math_type == "fp64" else "fp32",
        reason=_reason(math_type, wanted, upcast, a, b, chip),
        notes=_notes(math_type, a, b, chip),
    )


def _reason(
    math_type: str, wanted: str, upcast: bool, a: TensorFormat, b: TensorFormat, chip: Capabilities
) -> str:
    if not upcast:
        return f"{a} x {b} runs in {math_type}"
    has = wanted in chip.tensor_types or wanted in chip.vector_types
    why = f"no unit with the scales of {a} and {b}" if has else f"no {wanted} unit"
    return f"{a} x {b} converted up to {math_type}: {why} on {chip.architecture}"


def _notes(math_type: str, a: TensorFormat, b: TensorFormat, chip: Capabilities) -> tuple[str, ...]:
    notes = []
    other = {"fp16": "bf16", "bf16": "fp16"}.get(math_type)
    if other in (a.value_type, b.value_type):
        notes.append(_DIFFERENCE[math_type])
    if math_type == "fp8" and chip.architecture == "gfx942":
        # MI300X multiplies the FNUZ variants (bias one higher): the same values after halving the scale
        notes.append("fp8 runs as its FNUZ variant with doubled scales")
    return tuple(notes)
