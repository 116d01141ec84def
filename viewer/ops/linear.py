"""Linear layers and the embedding gather."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from viewer.graph import Op
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.workload import Number, Step

#: Rows of x that one pass over the unpacked weight serves in a weight-only kernel: four 16-row MMA tiles, the largest
#: thread-block tile of Marlin (IST-DASLab/marlin, csrc/marlin_cuda_kernel.cu, thread_m_blocks <= 4).
UNPACK_TILE_ROWS = 64.0


@dataclass(frozen=True)
class Linear(Op):
    """y[rows, out] = x[rows, in] W[in, out] (+ b). Several weights side by side are one fused product.

    ``rows``: the row kind of x. ``shard``: how tensor parallelism splits it (column: outputs, row: inputs,
    vocab: outputs of the head); None is replicated. ``bias``: values of the bias vectors.
    ``dynamic``: scales of quantized inputs are computed at run time; ``hadamard``: inputs are rotated online.
    ``zeros``: share of the inputs that is zero, whose weight columns are not read. ``approximates``: the low-rank
    scheme whose second factor this is. ``unpack_flops``: vector work of one
    pass over the stored weights (set by lowering); a pass serves UNPACK_TILE_ROWS rows.
    """

    rows: str = "tokens"
    in_features: int = 0
    out_features: int = 0
    bias: int = 0
    shard: Literal["column", "row", "vocab"] | None = None
    dynamic: bool = False
    hadamard: bool = False
    zeros: float = 0.0
    approximates: str = ""
    unpack_flops: float = 0.0
    kind: ClassVar[str] = "linear"
    products: ClassVar[int] = 1

    @cached_property
    def row_flops(self) -> float:
        """2 * in * out, the dense FLOPs of one row."""
        return 2.0 * self.in_features * self.out_features

    @cached_property
    def matrix_bytes(self) -> tuple[float, float]:
        """(bytes, metadata bytes) of the matrices among the streamed weights (biases are vectors)."""
        found = [w for w in self.weights if w.cols > 1]
        return sum(w.stored_bytes for w in found), sum(w.metadata_bytes for w in found)


@cost_of(Linear)
def linear_cost(op: Linear, step: Step) -> OpCost:
    """F = 2*T*i*o (+ T*o for the bias, on the vector unit); bytes = weights + T*i*b_a + T*o*b_out (modelling 2.1)."""
    rows = step.rows(op.rows)
    cost = base_cost(op, step)
    cost.products = (rows * op.row_flops,)
    if op.bias:
        cost.vector_flops = rows * float(op.bias)
    if op.unpack_flops:
        cost.vector_flops = cost.vector_flops + op.unpack_flops * np.ceil(rows / UNPACK_TILE_ROWS)
    if op.zeros:
        skip_columns(op, cost, 1.0 - np.power(op.zeros, rows), np.greater(rows, 0.0) * 1.0)
    return cost


def skip_columns(op: Linear, cost: OpCost, share: Number, streamed: Number = 1.0) -> None:
    """Only ``share`` of the weight columns are read and multiplied: the union of the tokens' non-zero inputs.

    share = 1 - zeros^rows; ``streamed``: the part of the weights that the op reads at all (experts that are hit).
    """
    whole, metadata = op.matrix_bytes
    cost.weight_bytes = cost.weight_bytes - (1.0 - share) * streamed * whole
    cost.weight_metadata_bytes = cost.weight_metadata_bytes - (1.0 - share) * streamed * metadata
    cost.products = tuple(flops * share for flops in cost.products)
    cost.dense_factor = 1.0 / np.maximum(share, 1e-300)


@dataclass(frozen=True)
class Embedding(Op):
    """Gather of rows of one or more tables (token, position, type), summed: rows are read, never the table.

    ``adds``: values added per row beyond the first table; 0 for a plain gather. ``unpack_flops``: vector work that
    turns one stored row into 16-bit values.
    """

    adds: float = 0.0
    unpack_flops: float = 0.0
    kind: ClassVar[str] = "embedding"


@cost_of(Embedding)
def embedding_cost(op: Embedding, step: Step) -> OpCost:
    """Reads T rows of each table, writes T*h values; T*adds vector FLOPs (XLA counts a gather by its output)."""
    cost = base_cost(op, step)
    rows = step.rows(op.outputs[0].rows)
    row_bytes = sum(w.format.row_bytes(w.cols) for w in op.weights)
    cost.weight_bytes = rows * row_bytes
    cost.weight_metadata_bytes = rows * sum(w.format.row_metadata_bytes(w.cols) for w in op.weights)
    cost.vector_flops = rows * (op.adds + op.unpack_flops)
    return cost
