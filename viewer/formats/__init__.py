"""Number formats: what is stored, in how many bits, and what converts to what without rounding."""

from __future__ import annotations

from viewer.formats.base import TensorFormat
from viewer.formats.lattice import VALUE_TYPES, converts_exactly, wider
from viewer.formats.registry import available, get

FP64 = get("fp64")
FP32 = get("fp32")
TF32 = get("tf32")
BF16 = get("bf16")
FP16 = get("fp16")

__all__ = [
    "BF16",
    "FP16",
    "FP32",
    "FP64",
    "TF32",
    "VALUE_TYPES",
    "TensorFormat",
    "available",
    "converts_exactly",
    "get",
    "wider",
]
