"""Storage: graph + compression policy -> graph whose weights, caches and activations are stored as the policy says.

Runs on the unfused graph, so that a rule can name q_proj alone. Layers that a policy treats differently become groups
of their own. What is executed (math types, conversion work) follows later, in lowering.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from viewer.compression import Compression, OpFormats
from viewer.graph import Cache, Graph, LayerGroup, Op, Tensor, Weight, layer_range_name
from viewer.ops.attention import AttentionBase
from viewer.ops.linear import Linear


def store(graph: Graph, policy: Compression, default16: str) -> Graph:
    """The graph under ``policy``; ``default16`` is the checkpoint's own 16-bit type."""
    groups: list[LayerGroup] = []
    for group in graph.groups:
        if not group.layers:
            groups.append(_stored(group, policy, None, graph.n_layers, default16))
            continue
        names = tuple(op.name for op in group.ops)
        for layers in policy.layer_classes(names, group.layers, graph.n_layers, default16):
            prefix = (
                group.name.rpartition(":")[0] if ":" in group.name and not group.name[0].isdigit() else ""
            )
            name = group.name if layers == group.layers else _range_name(prefix, layers)
            part = replace(group, name=name, layers=layers)
            groups.append(_stored(part, policy, layers[0], graph.n_layers, default16))
    return replace(graph, groups=tuple(groups), notes=(*graph.notes, *policy.notes))


def _range_name(prefix: str, layers: tuple[int, ...]) -> str:
    return f"{prefix}:{layer_range_name(layers)}" if prefix else layer_range_name(layers)


def _stored(
    group: LayerGroup, policy: Compression, layer: int | None, n_layers: int, default16: str
) -> LayerGroup:
    ops = [_store_op(op, policy.resolve(op.name, layer, n_layers, default16)) for op in group.ops]
    return group.with_ops(ops)


def _store_op(op: Op, chosen: OpFormats) -> Op:
    changes: dict[str, Any] = {}
    if isinstance(op, Linear):
        changes["weights"] = tuple(_weight(w, chosen) for w in op.weights)
        changes["operands"] = (chosen.activation,) * op.products
        changes["outputs"] = tuple(_sixteen_to(t, chosen) for t in op.outputs)
        changes["dynamic"] = chosen.activation_dynamic
        changes["hadamard"] = chosen.hadamard
    elif op.weights and op.kind in ("embedding",):
        changes["weights"] = tuple(_weight(w, chosen) for w in op.weights)
    cache = getattr(op, "cache", None)
    if cache is not None and getattr(cache, "quantizable", True):
        changes["cache"] = _cache(cache, chosen)
    if isinstance(op, AttentionBase):
        changes["operands"] = _attention_operands(op, chosen)
    return replace(op, **changes) if changes else op


def _weight(weight: Weight, chosen: OpFormats) -> Weight:
    """Matrices take the policy's format; vectors (biases, norms) stay in the checkpoint's own type."""
    if weight.cols == 1:
        return weight
    return replace(weight, format=chosen.weight, sparsity=chosen.sparsity)


def _sixteen_to(tensor: Tensor, chosen: OpFormats) -> Tensor:
    return tensor if tensor.format.element_bits > 16 else replace(tensor, format=chosen.output)


def _cache(cache: Cache, chosen: OpFormats) -> Cache:
    kinds = (chosen.kv_k, chosen.kv_v) if len(cache.widths) > 1 else (chosen.kv_k,)
    return replace(cache, formats=tuple(kinds[min(i, len(kinds) - 1)] for i in range(len(cache.widths))))


def _attention_operands(op: AttentionBase, chosen: OpFormats) -> tuple[Any, ...]:
    if op.products == 2:
        return (chosen.query, chosen.probabilities)
    return (chosen.probabilities,) if op.kind == "pv_matmul" else (chosen.query,)
