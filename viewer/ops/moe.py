"""Routed experts: grouped matrix products whose weight traffic is that of the experts which a batch hits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.ops.elementwise import Elementwise, elementwise_cost
from viewer.ops.linear import UNPACK_TILE_ROWS, Linear, skip_columns
from viewer.ops.routing import UNIFORM, Routing, distinct_experts, padded_rows
from viewer.workload import Step


@dataclass(frozen=True)
class ExpertLinear(Linear):
    """y[r] = x[r] W[expert of r] over T * k assigned rows; each weight is a stack of ``held`` experts.

    ``rows`` is "routed:k" (k rows a token). ``experts``: experts of the whole layer; ``held``: those on this device
    (fewer under expert parallelism, where ``rows`` holds this device's share of the assignments). ``token_scale``:
    tokens that reach the layer per token of the step (more than 1 when attention is data parallel).
    """

    experts: int = 1
    top_k: int = 1
    held: int = 1
    token_scale: float = 1.0
    routing: Routing = UNIFORM
    kind: ClassVar[str] = "experts"

    @cached_property
    def active_parameter_count(self) -> int:
        """Parameters that one token uses: k of E experts."""
        return self.parameter_count * self.top_k // self.experts


@cost_of(ExpertLinear)
def expert_cost(op: ExpertLinear, step: Step) -> OpCost:
    """F = 2*T*k*i*o (+ padding to tiles); weights of the expected distinct experts E_hit, not of k and not of E.

    weight bytes = E_hit / E * stored bytes, E_hit = sum_e 1 - (1 - p_e)^T (modelling 2.5); activations T*k rows.
    """
    cost = base_cost(op, step)
    rows = step.rows(op.rows)
    tokens = step.tokens * op.token_scale
    executed = rows
    if op.routing.tile_rows > 1:
        assigned = tokens * float(op.top_k)
        padded = padded_rows(tokens, op.experts, op.top_k, op.routing)
        executed = padded * (rows / assigned)
    cost.products = (executed * op.row_flops,)
    share = distinct_experts(tokens, op.experts, op.top_k, op.routing) / op.experts
    cost.weight_bytes = share * op.weight_stream_bytes
    cost.weight_metadata_bytes = share * op.weight_stream_metadata_bytes
    if op.bias:
        cost.vector_flops = rows * float(op.bias)
    if op.unpack_flops:
        # each expert that is hit unpacks its own weights, once per tile of its rows
        passes = np.maximum(share, rows / (UNPACK_TILE_ROWS * op.held))
        cost.vector_flops = cost.vector_flops + op.unpack_flops * passes
    if op.zeros:
        each = rows / np.maximum(share * op.held, 1e-300)
        skip_columns(op, cost, 1.0 - np.power(op.zeros, each), share)
    return cost


@dataclass(frozen=True)
class RouterTopK(Elementwise):
    """Scores of E experts per token to k indices and weights: softmax or sigmoid, then E compares."""

    kind: ClassVar[str] = "router_topk"


@dataclass(frozen=True)
class MoePermute(Elementwise):
    """Gathers each token's row once per chosen expert: reads and writes T*k rows (modelling 2.5)."""

    kind: ClassVar[str] = "moe_permute"


@dataclass(frozen=True)
class MoeCombine(Elementwise):
    """Weighted sum of a token's k expert rows: reads T*k rows, writes T rows, 2 FLOPs a value read."""

    kind: ClassVar[str] = "moe_combine"


for _kind in (RouterTopK, MoePermute, MoeCombine):
    cost_of(_kind)(elementwise_cost)
