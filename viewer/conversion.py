"""The work that conversions between stored and multiplied formats cost. Counts only: no rates, no hardware.

Lengths may be numbers or numpy arrays that broadcast. A vector op is one operation of the vector unit on one
value; bytes cross memory unless the function says that it is fused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from viewer.formats import TensorFormat
from viewer.formats.base import ceil_div
from viewer.precision import Choice

Numbers = float | npt.NDArray[np.float64]

# Vector ops that turn one stored weight into one operand value.
#   1: the lop3 trick on packed integers (arXiv:2211.10017), one cvt for FP8 and INT8
#   2: FP4/FP6 widened and scaled, K-quants with a scale and a minimum
#   3: code-book lookups, 2 to 4 in published kernels (NF4, IQ)
DEQUANTIZE_OPS_LOOKUP = 3.0
DEQUANTIZE_OPS_SCALED = 2.0
DEQUANTIZE_OPS_DIRECT = 1.0
# absmax (2: absolute value and maximum) and one multiply-round per value; two passes over the row
QUANTIZE_OPS_PER_VALUE = 3.0
# int32 -> float conversion and one multiply per output
SCALE_OPS_PER_OUTPUT = 2.0
# convert and FMA per output and K-group; with zero points the correction's FMA and its conversion as well
GROUP_OPS_PER_OUTPUT = 2.0
GROUP_OPS_PER_OUTPUT_ZERO_POINT = 4.0
# scale, round, clip
REQUANTIZE_OPS_PER_VALUE = 3.0


@dataclass(frozen=True, slots=True)
class Work:
    """Vector ops, bytes read and written, and extra kernels of one conversion."""

    vector_ops: Numbers = 0.0
    read_bytes: Numbers = 0.0
    write_bytes: Numbers = 0.0
    launches: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.vector_ops + other.vector_ops,
            self.read_bytes + other.read_bytes,
            self.write_bytes + other.write_bytes,
            self.launches + other.launches,
        )


def dequantize_ops_per_weight(fmt: TensorFormat) -> float:
    """Vector ops that unpack one value of ``fmt`` to 16 bits (0 for plain floats)."""
    if not fmt.is_quantized:
        return 0.0
    if fmt.codebook:
        return DEQUANTIZE_OPS_LOOKUP
    if fmt.microscale or (fmt.packed_values and fmt.scaling == "group"):
        return DEQUANTIZE_OPS_SCALED
    return DEQUANTIZE_OPS_DIRECT


def dequantize_fused(fmt: TensorFormat, rows: int, cols: int, tokens: Numbers, tile_m: Numbers) -> Work:
    """Dequantization inside the product: every tile of ``tile_m`` tokens unpacks the weight again.

    vector ops = c_dq * rows * cols * ceil(tokens / tile_m); no bytes beyond the product's own.
    """
    passes = np.ceil(np.asarray(tokens, dtype=float) / tile_m)
    return Work(vector_ops=dequantize_ops_per_weight(fmt) * rows * cols * passes)


def dequantize_separate(fmt: TensorFormat, target: TensorFormat, rows: int, cols: int) -> Work:
    """A kernel of its own: reads ``fmt``, writes ``target``; the product then reads ``target``.

    ``read_bytes`` holds both reads except the one the product pays anyway: replace the product's weight
    bytes by ``target.stored_bytes`` and add this.
    """
    return Work(
        vector_ops=dequantize_ops_per_weight(fmt) * rows * cols,
        read_bytes=fmt.stored_bytes(rows, cols),
        write_bytes=target.stored_bytes(rows, cols),
        launches=1,
    )


def convert_ops(choice: Choice, rows: int, cols: int, tokens: Numbers, tile_m: Numbers) -> Work:
    """Exact widening of the second operand in registers (INT4 to INT8, FP8 to FP16): 1 op per weight and tile."""
    if choice.b_path != "convert":
        return Work()
    return Work(vector_ops=DEQUANTIZE_OPS_DIRECT * rows * cols * np.ceil(np.asarray(tokens, float) / tile_m))


def quantize_activation(
    tokens: Numbers, width: int, fmt: TensorFormat, source: TensorFormat, *, fused: bool, dynamic: bool = True
) -> Work:
    """Activations of ``source`` become ``fmt``: statistics and scaling (static scales skip the statistics).

    Separate: reads tokens x width values of ``source``, writes ``fmt`` with its scales. Fused into the producer
    (norm, activation function): its output shrinks from ``source`` to ``fmt``, so ``write_bytes`` is negative.
    """
    ops = (QUANTIZE_OPS_PER_VALUE if dynamic else 1.0) * tokens * width
    stored = tokens * fmt.row_bytes(width)
    if fused:
        return Work(vector_ops=ops, write_bytes=stored - tokens * source.row_bytes(width))
    return Work(ops, tokens * source.row_bytes(width), stored, launches=1)


def epilogue(choice: Choice, tokens: Numbers, out_width: int, in_width: int) -> Work:
    """What follows the multiply-adds inside the same kernel, by ``choice.epilogue``.

    scale: 2 ops per output. group: 2 (with zero points 4) per output and K-group of ``choice.group`` values:
    the tensor unit waits for the vector unit (Atom, arXiv:2310.19102). Zero points of an integer product with
    row scales add rowsum(x), one add per input value, and one FMA per output; colsum(W) is known beforehand.
    A product of 16-bit operands pays nothing here: its scales are in the dequantized values.
    """
    if choice.epilogue == "none":
        return Work()
    if choice.epilogue == "group":
        per_output = GROUP_OPS_PER_OUTPUT_ZERO_POINT if choice.zero_points else GROUP_OPS_PER_OUTPUT
        return Work(vector_ops=per_output * tokens * out_width * ceil_div(in_width, choice.group))
    ops = SCALE_OPS_PER_OUTPUT * tokens * out_width
    if choice.zero_points:
        ops = ops + tokens * in_width + 2.0 * tokens * out_width
    return Work(vector_ops=ops)


def requantize(tokens: Numbers, width: int, fmt: TensorFormat, source: TensorFormat) -> Work:
    """The product's output is stored as ``fmt`` instead of ``source`` (fused): 3 ops a value, fewer bytes."""
    saved = tokens * (source.row_bytes(width) - fmt.row_bytes(width))
    return Work(vector_ops=REQUANTIZE_OPS_PER_VALUE * tokens * width, write_bytes=-saved)


def hadamard(tokens: Numbers, width: int, source: TensorFormat, *, fused: bool = True) -> Work:
    """An online Walsh-Hadamard rotation: tokens * width * log2(width) adds (QuaRot, arXiv:2404.00456).

    Widths that are no power of two are counted by the same formula. Separate: one more read and write.
    """
    ops = tokens * width * np.log2(width)
    if fused:
        return Work(vector_ops=ops)
    size = tokens * source.row_bytes(width)
    return Work(ops, size, size, launches=1)
