"""Storage of the operands of a kernel row: bytes a value by format name, and the math type they run as."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from viewer import formats
from viewer.errors import InputError

# Names of the kernel tables that say "block" without its size: 128 x 128 (DeepSeek-V3, arXiv:2412.19437 3.3).
ALIASES = {"fp8_e4m3_block": "fp8_e4m3_b128", "fp8_e5m2_block": "fp8_e5m2_b128", "fp8": "fp8_e4m3",
           "float16": "fp16", "half": "fp16", "bfloat16": "bf16", "float32": "fp32"}  # fmt: skip
_LARGE = 4096  # a tensor large enough that per-tensor scales do not count
_MATH = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "lut16": "bf16", "ternary": "int8", "int2": "int8",
         "int3": "int8", "b1": "int8"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storage:
    """Bits of an element, bytes of a value with its share of scales, and the type of its values."""

    name: str
    value_type: str
    bits: float
    bytes_per_value: float


@lru_cache(maxsize=512)
def storage(name: str) -> Storage:
    """The storage of a format name of the kernel tables. Raises InputError for an unknown name."""
    try:
        found = formats.get(ALIASES.get(name, name))
    except ValueError as error:
        raise InputError(str(error)) from None
    per_value = found.bits_per_value(_LARGE, _LARGE) / 8.0
    return Storage(name, _MATH.get(found.value_type, found.value_type), found.element_bits, float(per_value))


@lru_cache(maxsize=512)
def math_type(act_format: str, weight_format: str) -> str:
    """Type in which the product runs: the value type of the wider operand."""
    act, weight = storage(act_format), storage(weight_format)
    return act.value_type if act.bits >= weight.bits else weight.value_type
