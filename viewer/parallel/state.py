"""State-space and linear-attention layers over devices: heads and channels are cut, B and C repeated where fewer.

Mamba-2 under tensor parallelism: arXiv:2405.21060 section 8.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from viewer.graph import Op, State
from viewer.ops.ssm import Conv1d, DeltaScan, SelectiveScan, SSDScan, StateOp
from viewer.parallel.layout import divided, kept_heads
from viewer.parallel.walk import Walk, WidthRule


def state_widths(ops: Sequence[Op], walk: Walk) -> dict[str, WidthRule]:
    """How tensors that hold both divided and repeated parts are cut."""
    if walk.tp == 1:
        return {}
    for op in ops:
        if isinstance(op, SSDScan):
            kept = kept_heads(op.groups, walk.tp, walk.label(op))
            shared = 2.0 * op.groups * op.state
            rule = _with_shared(op.heads * op.head_dim, shared, shared * kept / op.groups, walk.tp)
            return {op.inputs[0].name: rule}
        if isinstance(op, DeltaScan):
            values = op.heads * op.value_dim
            keys = op.inputs[0].width - values
            heads = round(keys / (2 * op.key_dim))
            kept = kept_heads(heads, walk.tp, walk.label(op))
            return {op.inputs[0].name: _with_shared(values, keys, keys * kept / heads, walk.tp)}
    return {}


def _with_shared(own: float, shared: float, kept: float, tp: int) -> WidthRule:
    """A view wider than ``own`` holds the ``shared`` part, of which this device has ``kept``; the rest is divided."""

    def width(op: Op, full: float) -> float:
        _ = op
        return full / tp if full <= own else (full - shared) / tp + kept

    return width


def state_op(op: StateOp, walk: Walk) -> Op:
    """The op with its share of heads or channels, of weights and of the state."""
    walk.settle(op, elementwise=False)
    if walk.tp == 1 or not any(walk.is_cut(t) for t in op.inputs):
        return op
    inputs = walk.tensors(op, op.inputs)
    for tensor in op.outputs:
        if tensor.name not in walk.widths:
            walk.share[tensor.name] = 1.0 / walk.tp
    changes: dict[str, Any] = {}
    if isinstance(op, Conv1d):
        old, new = float(op.channels), float(inputs[0].width)
        changes["channels"] = int(new)
    elif isinstance(op, SelectiveScan):
        old, new = float(op.inner), float(divided(op.inner, walk.tp, walk.label(op)))
        changes["inner"] = int(new)
    elif isinstance(op, SSDScan | DeltaScan):
        old, new = float(op.heads), float(divided(op.heads, walk.tp, walk.label(op)))
        changes["heads"] = int(new)
        if isinstance(op, SSDScan):
            changes["groups"] = kept_heads(op.groups, walk.tp, walk.label(op))
    else:
        return op
    ratio = new / old
    states = tuple(State(round(s.values * ratio), s.format) for s in op.states)
    weights = tuple(replace(w, rows=round(w.rows * ratio)) for w in op.weights)
    outputs = walk.tensors(op, op.outputs)
    return replace(op, inputs=inputs, outputs=outputs, weights=weights, states=states, **changes)
