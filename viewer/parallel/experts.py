"""Routed experts over devices: which rows and which weights one device has, dispatch and combine.

Inside a tensor-parallel group every rank has every token, so nothing is dispatched and the sum over ranks combines
(vLLM and TensorRT-LLM without data-parallel attention). Over replicas of the attention the tokens travel: an all-to-all
of T*k rows before the experts and one after them (DeepSeek-V3, arXiv:2412.19437 section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from viewer.formats import TensorFormat
from viewer.graph import Op, Tensor
from viewer.ops.collective import AllGather, AllToAll
from viewer.ops.moe import ExpertLinear, MoeCombine, MoePermute
from viewer.ops.routing import Routing, hit_probabilities
from viewer.parallel.layout import Layout, divided
from viewer.parallel.walk import Walk


def imbalance(experts: int, top_k: int, routing: Routing, ranks: int) -> float:
    """Load of the busiest rank over the mean, >= 1: max_r sum_{e on r} p_e / (k / ranks).

    Experts are dealt to the ranks in order of popularity, back and forth (a placement that balances load knows the
    popularity: DeepSeek-V3 report, redundant experts excepted). Uniform popularity gives 1: the spread of a finite
    batch around its mean is not counted.
    """
    if ranks == 1 or routing.uniform:
        return 1.0
    popular = np.sort(hit_probabilities(experts, top_k, routing))[::-1]
    order = np.arange(experts) % (2 * ranks)
    rank = np.where(order < ranks, order, 2 * ranks - 1 - order)
    return float(np.bincount(rank, weights=popular, minlength=ranks).max() * ranks / top_k)


def _first(ops: Sequence[Op]) -> ExpertLinear | None:
    return next((op for op in ops if isinstance(op, ExpertLinear)), None)


def routed_share(ops: Sequence[Op], layout: Layout) -> float:
    """Rows of experts on this device over the T*k rows of its own replica: span / ep, times the imbalance."""
    first = _first(ops)
    if first is None or layout.ep == 1:
        return 1.0
    return imbalance(first.experts, first.top_k, first.routing, layout.ep) * layout.span / layout.ep


def taken_format(ops: Sequence[Op]) -> TensorFormat | None:
    """The narrow format in which experts take their inputs (FP8 in DeepSeek-V3's dispatch); None: as they are."""
    first = _first(ops)
    if first is None or not first.operands or not first.operands[0].is_quantized:
        return None
    return first.operands[0]


def expert_linear(op: ExpertLinear, walk: Walk) -> Op:
    """E / ep experts, each cut by columns or rows over ``cut`` devices."""
    layout = walk.layout
    held = divided(op.experts, layout.ep, f"ep={layout.ep}: experts of layers {walk.where}")
    what = f"tp={walk.tp}: {op.name} of layers {walk.where}"
    column = op.shard == "column"
    out = divided(op.out_features, layout.cut, what) if column else op.out_features
    into = op.in_features if column else divided(op.in_features, layout.cut, what)
    weights = tuple(
        replace(
            w,
            count=max(1, w.count * held // op.experts),
            rows=w.rows * out // op.out_features,
            cols=into if w.cols == op.in_features else w.cols,
        )
        for w in op.weights
    )
    if column:
        for tensor in op.outputs:
            walk.share[tensor.name] = 1.0 / layout.cut
    return replace(
        op,
        inputs=walk.tensors(op, op.inputs),
        outputs=walk.tensors(op, op.outputs),
        weights=weights,
        rows=walk.rows(op.rows),
        in_features=into,
        out_features=out,
        bias=op.bias * out // op.out_features,
        held=held,
        token_scale=op.token_scale * layout.span,
    )


def _travels(layout: Layout) -> bool:
    """Whether tokens travel to their experts (they lie on other replicas)."""
    return layout.ep > layout.tp


def _sent(tensor: Tensor, layout: Layout) -> Tensor:
    """The rows that one rank sends: its 1/tp of the replica's T*k."""
    return replace(tensor, rows=f"routed:{float(tensor.rows.partition(':')[2]) / layout.tp!r}")


def permute(op: MoePermute, walk: Walk) -> list[Op]:
    """The gather of rows by expert; then the dispatch."""
    layout = walk.layout
    if not _travels(layout):
        return [replace(op, inputs=walk.tensors(op, op.inputs), outputs=walk.tensors(op, op.outputs),
                        rows=walk.rows(op.rows))]  # fmt: skip
    inputs = tuple(_sent(t, layout) for t in op.inputs)
    outputs = tuple(_sent(t, layout) for t in op.outputs)
    local = replace(op, inputs=inputs, outputs=outputs, rows=outputs[0].rows)
    sent, received = outputs[0], walk.tensor(op, op.outputs[0])
    if walk.expert_format is not None:  # narrow rows travel narrow, their scales with them
        sent = replace(sent, format=walk.expert_format)
        received = replace(received, format=walk.expert_format)
    return [local, _all_to_all("moe_dispatch", sent, received, op, layout)]


def _all_to_all(name: str, sent: Tensor, received: Tensor, op: Op, layout: Layout) -> AllToAll:
    per_token = float(op.inputs[0].rows.partition(":")[2])
    return AllToAll(name, (sent,), (received,), ranks=layout.ep, copies=per_token)


def combine(op: MoeCombine, walk: Walk) -> list[Op]:
    """The weighted sum of a token's rows; before it their return, after it the tokens of the other tp ranks.

    Without dispatch the result is a sum over the tensor-parallel ranks.
    """
    layout = walk.layout
    if not _travels(layout):
        inputs = walk.tensors(op, op.inputs)
        if walk.tp > 1:
            for tensor in op.outputs:
                walk.partial[tensor.name] = (tensor, op.name)
        return [replace(op, inputs=inputs, rows=walk.rows(op.rows))]
    expert_out, *others = op.inputs
    back = _sent(expert_out, layout)
    full = op.outputs[0]
    part = replace(full, width=full.width / walk.tp)  # T/tp rows, written as a width
    ops: list[Op] = [
        _all_to_all("moe_return", walk.tensor(op, expert_out), back, op, layout),
        replace(op, inputs=(back, *others), outputs=(part,), rows=back.rows),
    ]
    if walk.tp > 1:
        ops.append(AllGather("moe_all_gather", (part,), (full,), ranks=walk.tp))
    return ops
