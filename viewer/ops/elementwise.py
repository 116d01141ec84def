"""Norms, residual adds, rotary embedding, cache append, activations, softmax: vector-unit work.

FLOPs per element follow modelling 2.8: RMSNorm 4, LayerNorm 7, add 1, RoPE 3 per rotated element, SwiGLU 5 with two
special-function evaluations (exp, reciprocal), softmax 4 with one exp. One special function per row for a norm (rsqrt).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from viewer.graph import Cache, Op
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.workload import Step

#: (vector FLOPs, special-function evaluations) per element of each activation function.
#: silu x*sigmoid(x): exp, add, reciprocal, multiply; gelu (tanh form): 8 with one tanh; relu2: max and square.
ACTIVATIONS: dict[str, tuple[float, float]] = {
    "silu": (4.0, 2.0),
    "gelu": (8.0, 1.0),
    "relu": (1.0, 0.0),
    "relu2": (2.0, 0.0),
    "identity": (0.0, 0.0),
    "sigmoid": (2.0, 2.0),
}


@dataclass(frozen=True)
class Elementwise(Op):
    """``flops`` vector FLOPs and ``special`` special-function evaluations per row of kind ``rows``."""

    rows: str = "tokens"
    flops: float = 0.0
    special: float = 0.0
    kind: ClassVar[str] = "elementwise"


@dataclass(frozen=True)
class Norm(Elementwise):
    """RMSNorm or LayerNorm over the last axis."""

    kind: ClassVar[str] = "norm"


@dataclass(frozen=True)
class Add(Elementwise):
    """Residual add: reads two, writes one."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True)
class AddNorm(Elementwise):
    """Residual add fused with the norm that follows: reads two, writes the sum and the normed row."""

    kind: ClassVar[str] = "add_norm"


@dataclass(frozen=True)
class Activation(Elementwise):
    """Activation of a feed-forward block, gated (multiplies by the other half) or plain."""

    function: str = "silu"
    gated: bool = True
    kind: ClassVar[str] = "activation"


@dataclass(frozen=True)
class Rope(Elementwise):
    """Rotary position embedding of queries and keys."""

    kind: ClassVar[str] = "rope"


@dataclass(frozen=True)
class Softmax(Elementwise):
    """Row softmax of an explicit score matrix."""

    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class CacheAppend(Elementwise):
    """Writes new rows into the cache that it owns; the cache counts towards the memory of the model."""

    cache: Cache | None = None
    kind: ClassVar[str] = "kv_append"


@dataclass(frozen=True)
class RopeAppend(CacheAppend):
    """Rotary embedding and cache append in one kernel."""

    kind: ClassVar[str] = "rope_append"


def elementwise_cost(op: Elementwise, step: Step) -> OpCost:
    """FLOPs = rows*flops, special = rows*special; bytes of inputs, outputs, weights."""
    cost = base_cost(op, step)
    rows = step.rows(op.rows)
    cost.vector_flops = rows * op.flops
    cost.transcendentals = rows * op.special
    return cost


for _kind in (Elementwise, Norm, Add, AddNorm, Activation, Rope, Softmax):
    cost_of(_kind)(elementwise_cost)


def append_cost(op: CacheAppend, step: Step) -> OpCost:
    """As element-wise, plus T * token_bytes of cache written (the new tokens only)."""
    cost = elementwise_cost(op, step)
    if op.cache is not None:
        cost.kv_write_bytes = step.rows(op.rows) * op.cache.token_bytes
    return cost


cost_of(CacheAppend)(append_cost)
cost_of(RopeAppend)(append_cost)
