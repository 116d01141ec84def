"""Tensor, sequence and expert parallelism: graph -> the graph of one device, with the collectives that follow.

Linears are cut by their ``shard`` hint: by columns (outputs), by rows (inputs; the result is a sum over ranks) or by
vocabulary. What is element-wise between them follows its tensors. A sum over ranks is completed where something needs
it whole: before the residual add, the norm or the next product (Megatron-LM, arXiv:1909.08053; sequence: 2205.05198).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from viewer.errors import InputError
from viewer.graph import Graph, LayerGroup, Op, Weight
from viewer.ops.attention import AttentionBase
from viewer.ops.collective import AllGather
from viewer.ops.elementwise import Add, CacheAppend, Elementwise, Norm
from viewer.ops.linear import Embedding, Linear
from viewer.ops.mla import LatentUp
from viewer.ops.moe import ExpertLinear, MoeCombine, MoePermute
from viewer.ops.ssm import StateOp
from viewer.parallel.experts import combine, expert_linear, permute, routed_share, taken_format
from viewer.parallel.layout import Layout, divided, kept_heads
from viewer.parallel.state import state_op, state_widths
from viewer.parallel.walk import Walk

#: Tensors of the residual stream, which sequence parallelism spreads over the rows.
STREAM = ("hidden",)


def shard(graph: Graph, layout: Layout) -> Graph:
    """The graph of one device of a stage. Raises InputError, by name, for what cannot be divided."""
    if layout.ep > 1 and not any(isinstance(op, ExpertLinear) for _, op in graph):
        raise InputError(f"ep={layout.ep}: the model has no routed experts")
    if layout.shards:
        graph = graph.map_groups(lambda group: shard_group(group, layout))
    return replace(graph, replicas=layout.dp)


def shard_group(group: LayerGroup, layout: Layout) -> LayerGroup:
    """One group of layers on one device."""
    walk = Walk(layout, group.name)
    if layout.sequence:
        walk.stream.update(STREAM)
    _attention_facts(group.ops, walk)
    walk.widths.update(state_widths(group.ops, walk))
    walk.routed = routed_share(group.ops, layout)
    walk.expert_format = taken_format(group.ops)
    for op in group.ops:
        _shard_op(op, walk)
    for name in list(walk.partial):
        if name in walk.partial:
            walk.reduce(name, scatter=True)
    return group.with_ops(walk.out)


def _attention_facts(ops: Sequence[Op], walk: Walk) -> None:
    """Key/value heads of the group, and how a fused qkv is cut."""
    core = next((op for op in ops if isinstance(op, AttentionBase) and op.kind != "index_score"), None)
    if core is None or core.cache is None or walk.tp == 1:
        return
    if any(isinstance(op, Linear) and op.shard == "column" for op in ops):
        divided(core.heads, walk.tp, f"tp={walk.tp}: attention heads of layers {walk.where}")
    cache = core.cache
    walk.kv_heads = cache.heads
    walk.kv_kept = kept_heads(cache.heads, walk.tp, f"tp={walk.tp}: {core.name} of layers {walk.where}")
    key, value = cache.heads * cache.widths[0], cache.heads * cache.widths[-1]

    def width(op: Op, full: float) -> float:
        """q is divided, k and v keep their heads: which of them a view holds follows from the op."""
        if isinstance(op, AttentionBase):
            held = 0
        elif isinstance(op, CacheAppend):
            held = key + value
        else:
            held = key + value if isinstance(op, Linear) else key
        return (full - held) / walk.tp + held * walk.kv_kept / walk.kv_heads

    walk.widths["qkv"] = width


def _shard_op(op: Op, walk: Walk) -> None:
    if isinstance(op, Embedding):
        _embedding(op, walk)
    elif isinstance(op, ExpertLinear):
        walk.out.append(expert_linear(op, walk))
    elif isinstance(op, MoePermute):
        walk.settle(op, elementwise=False)
        walk.out += permute(op, walk)
    elif isinstance(op, MoeCombine):
        walk.out += combine(op, walk)
    elif isinstance(op, Linear):
        _linear(op, walk)
    elif isinstance(op, AttentionBase):
        walk.out.append(_attention(op, walk))
    elif isinstance(op, StateOp):
        walk.out.append(state_op(op, walk))
    elif isinstance(op, Elementwise):
        _elementwise(op, walk)
    else:
        walk.settle(op, elementwise=False)
        walk.out.append(replace(op, inputs=walk.tensors(op, op.inputs), outputs=walk.tensors(op, op.outputs)))
    walk.written(op)


def _embedding(op: Embedding, walk: Walk) -> None:
    """Vocabulary-parallel table (the first weight); other tables are small and kept whole; the rows are summed."""
    if walk.tp == 1:
        walk.out.append(op)
        return
    table, *others = op.weights
    rows = math.ceil(table.rows / walk.tp)  # serving pads the vocabulary to a multiple of the ranks
    walk.out.append(replace(op, weights=(replace(table, rows=rows), *others)))
    for tensor in op.outputs:
        walk.partial[tensor.name] = (tensor, op.name)


def _linear(op: Linear, walk: Walk) -> None:
    if walk.tp == 1 or op.shard is None:
        walk.settle(op, elementwise=False)
        _gather_cut(op, walk)
        walk.out.append(op)
    elif op.shard == "row":
        _row(op, walk)
    elif op.shard == "vocab":
        _head(op, walk)
    else:
        walk.settle(op, elementwise=False)
        walk.out.append(_column(op, walk))


def _gather_cut(op: Op, walk: Walk) -> None:
    """A product that is not cut reads the whole of what others hold in parts."""
    for tensor in op.inputs:
        if walk.is_cut(tensor):
            part = walk.tensor(op, tensor)
            walk.out.append(AllGather(f"{tensor.name}_all_gather", (part,), (tensor,), ranks=walk.tp))
            walk.share[tensor.name] = 1.0
            walk.widths.pop(tensor.name, None)


def _column(op: Linear, walk: Walk) -> Op:
    """Outputs over the ranks; keys and values keep max(1, K/tp) heads."""
    share = 1.0 / walk.tp
    if walk.kv_heads and op.name.endswith(("k_proj", "v_proj")):
        share = walk.kv_kept / walk.kv_heads
    rules = [walk.widths[t.name] for t in op.outputs if t.name in walk.widths]
    if rules:
        out = rules[0](op, op.out_features)
        share = out / op.out_features
    else:
        out = op.out_features * share
    if not float(out).is_integer():
        raise InputError(
            f"{walk.label(op)}: {op.out_features} outputs cannot be divided over {walk.tp} devices"
        )
    for tensor in op.outputs:
        if tensor.name not in walk.widths:
            walk.share[tensor.name] = share
    changes: dict[str, Any] = {}
    if isinstance(op, LatentUp):
        changes["heads"] = divided(op.heads, walk.tp, f"tp={walk.tp}: heads of {op.name}")
    return replace(
        op,
        inputs=walk.tensors(op, op.inputs),
        outputs=walk.tensors(op, op.outputs),
        weights=tuple(scaled_rows(w, share) for w in op.weights),
        out_features=int(out),
        bias=round(op.bias * share),
        **changes,
    )


def scaled_rows(weight: Weight, share: float) -> Weight:
    """A weight with a share of its rows (outputs), at least one."""
    return replace(weight, rows=max(1, round(weight.rows * share)))


def _row(op: Linear, walk: Walk) -> None:
    """Inputs over the ranks: the output is a sum over them. The bias is added once and kept whole."""
    walk.settle(op, elementwise=False)
    for tensor in op.inputs:
        if not walk.is_cut(tensor):
            walk.share[tensor.name] = 1.0 / walk.tp
    inputs = walk.tensors(op, op.inputs)
    features = divided(op.in_features, walk.tp, f"{walk.label(op)} inputs")
    weights = tuple(replace(w, cols=features) if w.cols == op.in_features else w for w in op.weights)
    walk.out.append(replace(op, inputs=inputs, weights=weights, in_features=features))
    for tensor in op.outputs:
        walk.partial[tensor.name] = (tensor, op.name)


def _head(op: Linear, walk: Walk) -> None:
    """Vocabulary over the ranks, then an all-gather of the logits of the sampled rows."""
    walk.settle(op, elementwise=False)
    out = math.ceil(op.out_features / walk.tp)
    share = out / op.out_features
    full = op.outputs[0]
    part = replace(full, width=out)
    weights = tuple(replace(w, rows=out) if w.rows == op.out_features else w for w in op.weights)
    bias = round(op.bias * share)
    walk.out.append(replace(op, outputs=(part,), weights=weights, out_features=out, bias=bias))
    walk.out.append(AllGather(f"{full.name}_all_gather", (part,), (full,), ranks=walk.tp))


def _attention(op: AttentionBase, walk: Walk) -> Op:
    """Query heads over the ranks, key/value heads with them or repeated; a latent (one head) stays whole."""
    walk.settle(op, elementwise=False)
    if walk.tp == 1 or not any(walk.is_cut(t) for t in op.inputs):
        return op
    heads = divided(op.heads, walk.tp, f"tp={walk.tp}: attention heads of layers {walk.where}")
    cache = op.cache
    if cache is not None:
        cache = replace(cache, heads=kept_heads(cache.heads, walk.tp, walk.label(op)))
    for tensor in op.outputs:
        walk.share[tensor.name] = 1.0 / walk.tp
    weights = tuple(scaled_rows(w, 1.0 / walk.tp) if w.rows == op.heads else w for w in op.weights)
    return replace(
        op,
        heads=heads,
        cache=cache,
        weights=weights,
        inputs=walk.tensors(op, op.inputs),
        outputs=walk.tensors(op, op.outputs),
    )


def _elementwise(op: Elementwise, walk: Walk) -> None:
    """Width follows the tensors; FLOPs follow the width. A sum over ranks passes through what is linear in it."""
    if _linear_in_partial(op, walk):
        for tensor in op.outputs:
            walk.partial[tensor.name] = (tensor, op.name)
        for tensor in op.inputs:
            if tensor.name not in {t.name for t in op.outputs}:
                walk.partial.pop(tensor.name, None)
        walk.out.append(replace(op, inputs=walk.tensors(op, op.inputs), outputs=walk.tensors(op, op.outputs)))
        return
    in_stream = isinstance(op, Norm | Add) and _reads_stream(op, walk)
    walk.settle(op, elementwise=in_stream)
    if in_stream:
        walk.stream.update(t.name for t in op.outputs)
        walk.gathered.difference_update({t.name for t in (*op.inputs, *op.outputs)})
    changes: dict[str, Any] = {}
    if isinstance(op, CacheAppend) and op.cache is not None and any(walk.is_cut(t) for t in op.inputs):
        changes["cache"] = replace(op.cache, heads=kept_heads(op.cache.heads, walk.tp, walk.label(op)))
    widest = max(op.inputs, key=lambda t: t.width, default=None)
    for tensor in op.outputs:
        if widest is not None and tensor.name not in walk.share and tensor.name not in walk.widths:
            walk.share[tensor.name] = walk.share.get(widest.name, 1.0)
    cut = [t for t in (*op.inputs, *op.outputs) if walk.is_cut(t)]
    inputs, outputs = walk.tensors(op, op.inputs), walk.tensors(op, op.outputs)
    before = sum(t.width for t in op.outputs or op.inputs)
    after = sum(t.width for t in outputs or inputs)
    ratio = after / before if before else 1.0
    changes["weights"] = tuple(
        scaled_rows(w, ratio) if any(w.values == t.width for t in cut) else w for w in op.weights
    )
    changes.update(
        inputs=inputs,
        outputs=outputs,
        rows=walk.rows(op.rows),
        flops=op.flops * ratio,
        special=op.special * ratio,
    )
    walk.out.append(replace(op, **changes))


def _linear_in_partial(op: Elementwise, walk: Walk) -> bool:
    """An add of two sums over ranks, or a scaling of one by what every rank has, is a sum over ranks itself."""
    if isinstance(op, Add):
        return bool(op.inputs) and all(t.name in walk.partial for t in op.inputs)
    return op.name.endswith("shared_scale") and op.inputs[0].name in walk.partial


def _reads_stream(op: Op, walk: Walk) -> bool:
    if not walk.stream:
        return False
    return all(t.name in walk.stream or t.name in walk.partial for t in op.inputs)
