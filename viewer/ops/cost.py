"""What an op costs: FLOPs, special-function evaluations and bytes by role. No hardware, no seconds.

``@cost_of(Kind)`` registers the one cost function of an op kind. The default bytes are those of the op's inputs,
outputs and streamed weights; a kind adds its FLOPs and overrides what differs (a gather, a cache, a state).
1 FMA = 2 FLOPs everywhere (as XLA's HloCostAnalysis and PyTorch's flop counter count).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from viewer.graph import Op
from viewer.workload import Number, Step


@dataclass(slots=True)
class OpCost:
    """Counts of one instance of an op for one step.

    ``products``: dense FLOPs of each matrix product, in the order of ``op.math``. ``vector_flops`` run on the vector
    (CUDA core) unit, ``transcendentals`` on the special-function unit. Bytes are those that must cross DRAM at least
    once; ``weight_bytes`` and the KV bytes include their metadata. ``workspace_bytes``: traffic of temporary
    buffers inside the op; ``comm_bytes``: bytes of the full buffer of a collective. ``dense_factor``: dense FLOPs per
    FLOP of ``products`` where zero inputs are skipped.
    """

    products: tuple[Number, ...] = ()
    vector_flops: Number = 0.0
    transcendentals: Number = 0.0
    weight_bytes: Number = 0.0
    weight_metadata_bytes: Number = 0.0
    activation_read_bytes: Number = 0.0
    activation_write_bytes: Number = 0.0
    kv_read_bytes: Number = 0.0
    kv_write_bytes: Number = 0.0
    state_read_bytes: Number = 0.0
    state_write_bytes: Number = 0.0
    workspace_bytes: Number = 0.0
    comm_bytes: Number = 0.0
    dense_factor: Number = 1.0
    choice: Any = None  # small integer codes of a variant chosen per point (see op.choice_labels)

    @property
    def dram_bytes(self) -> Number:
        """All bytes that cross DRAM."""
        return (
            self.weight_bytes
            + self.activation_read_bytes
            + self.activation_write_bytes
            + self.kv_read_bytes
            + self.kv_write_bytes
            + self.state_read_bytes
            + self.state_write_bytes
            + self.workspace_bytes
        )


#: Row kinds that may be empty in a step.
SKIPPABLE_ROWS = frozenset({"sampled", "source", "image", "frames"})

CostFunction = Callable[[Any, Step], OpCost]
_COSTS: dict[type[Op], CostFunction] = {}
_F = TypeVar("_F", bound=CostFunction)


def cost_of(kind: type[Op]) -> Callable[[_F], _F]:
    """Register the cost function of an op kind; a second one for the same kind is refused."""

    def register(function: _F) -> _F:
        if kind in _COSTS:
            raise ValueError(f"{kind.__name__} has a cost function already: {_COSTS[kind].__name__}")
        _COSTS[kind] = function
        return function

    return register


def op_kinds() -> tuple[type[Op], ...]:
    """The op kinds that can be costed."""
    return tuple(_COSTS)


def base_cost(op: Op, step: Step) -> OpCost:
    """Bytes of the inputs, the outputs and the streamed weights; no FLOPs.

    What processes no rows (an encoder in a decode step, a head that samples nothing) streams no weights.
    """
    read: Number = 0.0
    for kind, row_bytes in op.read_row_bytes:
        read = read + step.rows(kind) * row_bytes
    write: Number = 0.0
    for kind, row_bytes in op.write_row_bytes:
        write = write + step.rows(kind) * row_bytes
    runs: Number = 1.0
    rows_kind = getattr(op, "rows", "tokens")
    if rows_kind.partition(":")[0] in SKIPPABLE_ROWS:
        runs = np.greater(step.rows(rows_kind), 0.0) * 1.0
    return OpCost(
        weight_bytes=op.weight_stream_bytes * runs,
        weight_metadata_bytes=op.weight_stream_metadata_bytes * runs,
        activation_read_bytes=read,
        activation_write_bytes=write,
    )


def count(op: Op, step: Step) -> OpCost:
    """The cost of one instance of ``op`` in ``step``."""
    cost = _COSTS[type(op)](op, step)
    for kind, flops in op.extra_vector:
        rows = 1.0 if kind == "once" else step.rows(kind)
        cost.vector_flops = cost.vector_flops + rows * flops
    return cost
