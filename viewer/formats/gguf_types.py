"""Block layouts of the GGUF tensor types.

(values a block, bytes a block, nominal element bits, value type, values a scale, symmetric, code book).
Bytes are the ``static_assert(sizeof(block_*))`` lines of llama.cpp ``ggml/src/ggml-common.h``; a test
compares them with the maintained ``gguf`` package (``GGML_QUANT_SIZES``) where that is installed.
IQ2 and IQ3 code books hold small signed integers (8, 25, 43 ... of ``ggml-common.h``), IQ4's
``kvalues_iq4nl`` are int8, IQ1 is ternary plus a shift: all of them multiply as int8.
"""

from __future__ import annotations

from viewer.formats.base import TensorFormat

_SOURCE = "llama.cpp ggml/src/ggml-common.h, static_assert(sizeof(block_*))"

# name: values, bytes, element bits, value type, values per scale, symmetric, code book
BLOCKS: dict[str, tuple[int, int, float, str, int, bool, bool]] = {
    "q1_0": (128, 18, 1, "b1", 128, True, False),
    "q4_0": (32, 18, 4, "int4", 32, True, False),
    "q4_1": (32, 20, 4, "int4", 32, False, False),
    "q5_0": (32, 22, 5, "int5", 32, True, False),
    "q5_1": (32, 24, 5, "int5", 32, False, False),
    "q8_0": (32, 34, 8, "int8", 32, True, False),
    # 36 bytes since the sum became a half; the maintained package still lists the older 40
    "q8_1": (32, 36, 8, "int8", 32, False, False),
    "q2_k": (256, 84, 2, "int2", 16, False, False),
    "q3_k": (256, 110, 3, "int3", 16, True, False),
    "q4_k": (256, 144, 4, "int4", 32, False, False),
    "q5_k": (256, 176, 5, "int5", 32, False, False),
    "q6_k": (256, 210, 6, "int6", 16, True, False),
    "q8_k": (256, 292, 8, "int8", 256, True, False),
    "iq1_s": (256, 50, 1.5, "int8", 32, False, True),
    "iq1_m": (256, 56, 1.5, "int8", 16, False, True),
    "iq2_xxs": (256, 66, 2, "int8", 32, True, True),
    "iq2_xs": (256, 74, 2, "int8", 16, True, True),
    "iq2_s": (256, 82, 2, "int8", 16, True, True),
    "iq3_xxs": (256, 98, 3, "int8", 32, True, True),
    "iq3_s": (256, 110, 3, "int8", 32, True, True),
    "iq4_nl": (32, 18, 4, "int8", 32, True, True),
    "iq4_xs": (256, 136, 4, "int8", 32, True, True),
    "tq1_0": (256, 54, 1.6, "ternary", 256, True, False),
    "tq2_0": (256, 66, 2, "ternary", 256, True, False),
    "mxfp4": (32, 17, 4, "fp4", 32, True, False),
    "nvfp4": (64, 36, 4, "fp4", 16, True, False),
}

# tensor types of a file that are plain numbers, by the format they are here
PLAIN = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "f64": "fp64"}


# enum ggml_type of llama.cpp ggml/include/ggml.h; the gaps are types that were removed
TYPE_IDS = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1", 10: "q2_k", 11: "q3_k",
    12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k", 16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s",
    20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs", 24: "i8", 25: "i16", 26: "i32", 27: "i64", 28: "f64",
    29: "iq1_m", 30: "bf16", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0",
}  # fmt: skip
# bytes of the plain types
PLAIN_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "f64": 8, "i8": 1, "i16": 2, "i32": 4, "i64": 8}


def block_of(kind: str) -> tuple[int, int]:
    """(values, bytes) of the smallest piece of a tensor of this type."""
    return (1, PLAIN_BYTES[kind]) if kind in PLAIN_BYTES else BLOCKS[kind][:2]


def build(kind: str) -> TensorFormat:
    """The format of GGUF block type ``kind`` (lower case, without the ``gguf_`` prefix)."""
    values, size, bits, value_type, group, symmetric, codebook = BLOCKS[kind]
    return TensorFormat(
        name=f"gguf_{kind}",
        element_bits=bits,
        value_type=value_type,
        scaling="group",
        group=group,
        packed_values=values,
        packed_bytes=size,
        symmetric=symmetric,
        codebook=codebook,
        microscale={"mxfp4": "mx", "nvfp4": "nv"}.get(kind, ""),
        description=f"GGUF {kind.upper()}: {size} bytes per {values} values",
        source=_SOURCE,
    )
