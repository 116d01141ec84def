"""Dequantization by a kernel of its own: reads the stored weights, writes 16-bit ones, which the product then reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from viewer import formats
from viewer.graph import Op, Weight
from viewer.ops.cost import OpCost, cost_of, count
from viewer.ops.linear import Linear
from viewer.workload import Step


@dataclass(frozen=True)
class Dequantize(Op):
    """Unpacks the weights of ``product`` (as it was: stored weights, unpacking inside). Owns them."""

    product: Linear | None = None
    kind: ClassVar[str] = "dequantize"

    @cached_property
    def active_parameter_count(self) -> int:
        """Parameters that one token uses: those of the product."""
        return self.product.active_parameter_count if self.product is not None else self.parameter_count


@cost_of(Dequantize)
def dequantize_cost(op: Dequantize, step: Step) -> OpCost:
    """Reads what the product would have streamed, writes it in 16 bits, c_dq vector ops a value (modelling 4.3).

    weight_bytes = stored bytes of the weights that the step uses (experts that are hit); workspace = their 16-bit size.
    """
    product = op.product
    assert product is not None
    cost = count(product, step)
    share = cost.weight_bytes / product.weight_stream_bytes
    return OpCost(
        weight_bytes=cost.weight_bytes,
        weight_metadata_bytes=cost.weight_metadata_bytes,
        vector_flops=share * product.unpack_flops,
        workspace_bytes=share * _sixteen_bytes(product),
    )


def _sixteen_bytes(product: Linear) -> float:
    return sum(2.0 * w.values for w in product.weights if w.cols > 1)


def separate_dequantize(ops: list[Op], default16: str) -> list[Op]:
    """Every product that unpacks its weights becomes a dequantize kernel and a product of 16-bit weights."""
    out: list[Op] = []
    sixteen = formats.get(default16)
    for op in ops:
        if not isinstance(op, Linear) or not op.unpack_flops:
            out.append(op)
            continue

        def opened(weight: Weight) -> Weight:
            wide = replace(weight, format=sixteen, sparsity=None) if weight.cols > 1 else weight
            return replace(wide, tied=True)

        out.append(Dequantize("dequantize_" + op.name.removesuffix("_proj"), weights=op.weights, product=op))
        out.append(replace(op, weights=tuple(map(opened, op.weights)), unpack_flops=0.0))
    return out
