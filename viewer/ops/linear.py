"""Linear layers and the embedding gather."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from viewer.graph import Op
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.workload import Step


@dataclass(frozen=True)
class Linear(Op):
    """y[rows, out] = x[rows, in] W[in, out] (+ b). Several weights side by side are one fused product.

    ``rows``: the row kind of x. ``shard``: how tensor parallelism splits it (column: outputs, row: inputs,
    vocab: outputs of the head); None is replicated. ``bias``: values of the bias vectors.
    ``dynamic``: scales of quantized inputs are computed at run time; ``hadamard``: inputs are rotated online.
    """

    rows: str = "tokens"
    in_features: int = 0
    out_features: int = 0
    bias: int = 0
    shard: Literal["column", "row", "vocab"] | None = None
    dynamic: bool = False
    hadamard: bool = False
    kind: ClassVar[str] = "linear"
    products: ClassVar[int] = 1

    @cached_property
    def row_flops(self) -> float:
        """2 * in * out, the dense FLOPs of one row."""
        return 2.0 * self.in_features * self.out_features


@cost_of(Linear)
def linear_cost(op: Linear, step: Step) -> OpCost:
    """F = 2*T*i*o (+ T*o for the bias, on the vector unit); bytes = weights + T*i*b_a + T*o*b_out (modelling 2.1)."""
    rows = step.rows(op.rows)
    cost = base_cost(op, step)
    cost.products = (rows * op.row_flops,)
    if op.bias:
        cost.vector_flops = rows * float(op.bias)
    return cost


@dataclass(frozen=True)
class Embedding(Op):
    """Gather of rows of one or more tables (token, position, type), summed: rows are read, never the table.

    ``adds``: values added per row beyond the first table; 0 for a plain gather.
    """

    adds: float = 0.0
    kind: ClassVar[str] = "embedding"


@cost_of(Embedding)
def embedding_cost(op: Embedding, step: Step) -> OpCost:
    """Reads T rows of each table, writes T*h values; T*adds vector FLOPs (XLA counts a gather by its output)."""
    cost = base_cost(op, step)
    rows = step.rows(op.outputs[0].rows)
    row_bytes = sum(w.format.row_bytes(w.cols) for w in op.weights)
    cost.weight_bytes = rows * row_bytes
    cost.weight_metadata_bytes = rows * sum(w.format.row_metadata_bytes(w.cols) for w in op.weights)
    cost.vector_flops = rows * op.adds
    return cost
