"""Lowering: a graph plus what the chip can do (no rates) -> a graph whose products know their math type."""

from __future__ import annotations

from dataclasses import replace

from hardware_specs import Capabilities, HardwareError
from viewer.formats import TensorFormat
from viewer.graph import Graph, LayerGroup, Math, Op


def lower(graph: Graph, capabilities: Capabilities) -> Graph:
    """The graph with one :class:`Math` per product of every op."""

    def change(group: LayerGroup) -> LayerGroup:
        return group.with_ops([_lower_op(op, capabilities) for op in group.ops])

    return graph.map_groups(change)


def _lower_op(op: Op, caps: Capabilities) -> Op:
    if not op.products:
        return op
    return replace(op, math=tuple(_sixteen_bit(op.inputs[0].format, caps) for _ in range(op.products)))


def _sixteen_bit(fmt: TensorFormat, caps: Capabilities) -> Math:
    for math_type in (fmt.name, "fp16", "bf16", "fp32"):
        if math_type in caps.tensor_types:
            note = "" if math_type == fmt.name else f"{fmt.name} runs as {math_type}"
            return Math("tensor", math_type, fmt.element_bits, fmt.element_bits, 1.0, note)
    raise HardwareError(
        f"no 16-bit or FP32 matrix rate on this device (it has: {', '.join(sorted(caps.tensor_types))})"
    )
