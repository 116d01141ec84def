"""Where activations are quantized: in the kernel that makes them, or in a kernel of their own.

A product whose first operand is narrower than the stored tensor needs that tensor quantized. Serving kernels let
the norm or the activation function write the narrow rows; otherwise (and after attention) a quantize op is inserted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from viewer import conversion
from viewer.formats import TensorFormat
from viewer.graph import Op, Tensor
from viewer.ops.cost import cost_of
from viewer.ops.elementwise import Activation, AddNorm, Elementwise, Norm, elementwise_cost
from viewer.ops.linear import Linear
from viewer.ops.moe import MoePermute


@dataclass(frozen=True)
class Quantize(Elementwise):
    """Reads a 16-bit tensor twice over the row (absmax, scale), writes it narrow with its scales."""

    kind: ClassVar[str] = "quantize"


cost_of(Quantize)(elementwise_cost)


def quantize_inputs(ops: list[Op], fused: bool) -> list[Op]:
    """The ops with every narrow first operand produced somewhere."""
    ops = _before_permute(ops)
    index = 0
    while index < len(ops):
        op = ops[index]
        target = _wanted(op)
        if target is None:
            index += 1
            continue
        producer = _producer(ops, index, op.inputs[0].name)
        # everyone who reads what the producer wrote, also those before this op (a router beside the experts)
        users = _users(ops, index if producer is None else producer + 1, op.inputs[0].name)
        same = [i for i in users if _wanted(ops[i]) == target]
        if (
            fused
            and producer is not None
            and _can_write_narrow(ops[producer], op.inputs[0])
            and same == users
        ):
            ops = _fold(ops, producer, same, target)
        else:
            ops = _insert(ops, index, same, target)
    return ops


def _before_permute(ops: list[Op]) -> list[Op]:
    """Where all experts want the same narrow rows, the permutation moves narrow rows: a token is quantized once."""
    out = list(ops)
    for index, op in enumerate(ops):
        if not isinstance(op, MoePermute):
            continue
        name = op.outputs[0].name
        users = _users(out, index + 1, name)
        wanted = {_wanted(out[user]) for user in users}
        target = wanted.pop() if len(wanted) == 1 else None
        if target is None:
            continue
        outputs = (replace(op.outputs[0], format=target), *op.outputs[1:])
        out[index] = replace(op, outputs=outputs, operands=(target,))
        for user in users:
            out[user] = _reading(out[user], name, name, target)
    return out


def narrow_probabilities(ops: list[Op]) -> list[Op]:
    """Where P V takes narrow probabilities with one scale, the softmax of the eager form writes them narrow."""
    wanted = {
        op.operands[0]
        for op in ops
        if op.kind == "pv_matmul" and op.operands and op.operands[0].scaling in ("none", "tensor")
    }
    if len(wanted) != 1:
        return ops
    target = wanted.pop()
    out = []
    for op in ops:
        if op.kind not in ("softmax", "pv_matmul"):
            out.append(op)
            continue
        inputs, outputs = (
            tuple(replace(t, format=target) if t.name == "probs" else t for t in ts)
            for ts in (op.inputs, op.outputs)
        )
        out.append(replace(op, inputs=inputs, outputs=outputs))
    return out


def _wanted(op: Op) -> TensorFormat | None:
    """The narrow format that a linear layer wants its input in, if it is not stored so."""
    if not isinstance(op, Linear | MoePermute) or not op.operands or not op.inputs:
        return None
    fmt = op.operands[0]
    return fmt if fmt.is_quantized and op.inputs[0].format != fmt else None


def _users(ops: list[Op], start: int, name: str) -> list[int]:
    """Ops from ``start`` on that read this value of ``name`` (until it is written anew)."""
    found = []
    for index in range(start, len(ops)):
        if any(t.name == name for t in ops[index].inputs):
            found.append(index)
        if any(t.name == name for t in ops[index].outputs):
            break
    return found


def _producer(ops: list[Op], before: int, name: str) -> int | None:
    for index in range(before - 1, -1, -1):
        if any(t.name == name for t in ops[index].outputs):
            return index
    return None


def _can_write_narrow(op: Op, tensor: Tensor) -> bool:
    made = [t for t in op.outputs if t.name == tensor.name]
    return (
        isinstance(op, Norm | AddNorm | Activation)
        and made[0].width == tensor.width
        and tensor.name != "hidden"
    )


def _quantize_ops(op: Op, width: float) -> float:
    per_value = conversion.QUANTIZE_OPS_PER_VALUE if getattr(op, "dynamic", True) else 1.0
    return per_value * width


def _fold(ops: list[Op], producer: int, users: list[int], target: TensorFormat) -> list[Op]:
    out = list(ops)
    name = ops[users[0]].inputs[0].name
    made = ops[producer]
    width = ops[users[0]].inputs[0].width
    rows = next(t.rows for t in made.outputs if t.name == name)
    out[producer] = replace(
        made,
        outputs=tuple(replace(t, format=target) if t.name == name else t for t in made.outputs),
        extra_vector=(*made.extra_vector, (rows, _quantize_ops(ops[users[0]], width))),
    )
    for index in users:
        out[index] = _reading(ops[index], name, name, target)
    return out


def _reading(op: Op, name: str, new_name: str, target: TensorFormat) -> Op:
    inputs = tuple(replace(t, name=new_name, format=target) if t.name == name else t for t in op.inputs)
    return replace(op, inputs=inputs)


def _insert(ops: list[Op], index: int, users: list[int], target: TensorFormat) -> list[Op]:
    producer = _producer(ops, index, ops[index].inputs[0].name)
    tensor = ops[index].inputs[0]
    if producer is not None:
        made = next(t for t in ops[producer].outputs if t.name == tensor.name)
        if made.rows == "tokens":  # experts read each token's row k times: it is quantized once
            tensor = replace(tensor, rows=made.rows)
    narrow = replace(tensor, name=tensor.name + "_q", format=target)
    op = Quantize(
        name="quantize_" + _short(ops[index]),
        inputs=(tensor,),
        outputs=(narrow,),
        rows=tensor.rows,
        flops=_quantize_ops(ops[index], tensor.width),
    )
    out = [_reading(o, tensor.name, narrow.name, target) if i in users else o for i, o in enumerate(ops)]
    return [*out[:index], op, *out[index:]]


def _short(op: Op) -> str:
    """The part of a name that says whose inputs are quantized."""
    return op.name.removesuffix("_proj").replace("moe_permute", "experts")
