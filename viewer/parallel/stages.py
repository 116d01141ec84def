"""Pipeline stages: the whole graph -> the graph of the stage with the most weights, and the wait for the others.

Layers are dealt in order; what is left over goes to the middle stages, since the first holds the embedding and the
last the head. One step of m micro-batches takes sum_s t_s + (m - 1) * max_s t_s (identical jobs through a fixed chain),
so the largest stage works m * t_max and waits for sum_s t_s - t_max: with equal stages a share (p - 1) / (m + p - 1).
"""

from __future__ import annotations

from dataclasses import replace

from viewer.errors import InputError
from viewer.graph import Graph, LayerGroup, Op, Tensor, layer_range_name
from viewer.ops.collective import PipelineWait, SendReceive
from viewer.parallel.layout import Layout


def bubble(stages: int, micro_batches: int) -> float:
    """Idle share of a pipeline of equal stages: (p - 1) / (m + p - 1) (GPipe, arXiv:1811.06965)."""
    return (stages - 1) / (micro_batches + stages - 1)


def stage_sizes(layers: int, stages: int) -> list[int]:
    """Layers of each stage: L // p each, one more for stages from the last but one backwards."""
    sizes = [layers // stages] * stages
    order = [*range(stages - 2, 0, -1), stages - 1, 0]
    for index in range(layers % stages):
        sizes[order[index]] += 1
    return sizes


def stage(graph: Graph, layout: Layout) -> Graph:
    """The graph of the largest stage, with a message per micro-batch and the wait. pp = 1: only micro-batches."""
    passes = layout.micro_batches
    if layout.pp == 1:
        return _in_passes(graph, passes)
    if layout.pp > graph.n_layers:
        raise InputError(f"pp={layout.pp}: the model has {graph.n_layers} layers")
    stages = split_stages(graph, layout)
    own = max(stages, key=_held_bytes)
    rest = tuple((g.repeat, op) for s in stages if s is not own for g in s for op in g.ops)
    wait = LayerGroup("pipeline", (PipelineWait("pipeline_wait", rest=rest),))
    groups = tuple(replace(g, passes=passes) for g in own)
    return replace(graph, groups=(*groups, wait), micro_batches=passes)


def _in_passes(graph: Graph, passes: int) -> Graph:
    if passes == 1:
        return graph
    groups = tuple(replace(g, passes=passes) for g in graph.groups)
    return replace(graph, groups=groups, micro_batches=passes)


def _held_bytes(groups: tuple[LayerGroup, ...]) -> tuple[float, float]:
    """Stored bytes, then streamed bytes: the head breaks the tie with an embedding of the same size."""
    stored = sum(g.repeat * op.weight_stored_bytes for g in groups for op in g.ops)
    streamed = sum(
        g.repeat * op.weight_stream_bytes for g in groups for op in g.ops if op.kind != "embedding"
    )
    return stored, streamed


def split_stages(graph: Graph, layout: Layout) -> list[tuple[LayerGroup, ...]]:
    """The groups of each stage: layers in order, what comes before them first, what comes after them last.

    A tied head on another stage than its table is stored there too. Each stage but the first receives, each but the
    last sends one message of T rows per micro-batch; sends and receives run in both directions at once, one is counted.
    """
    first, last = _stack(graph)
    sizes = stage_sizes(graph.n_layers, layout.pp)
    stages: list[tuple[LayerGroup, ...]] = []
    begin = 0
    for index, size in enumerate(sizes):
        layers = range(begin, begin + size)
        begin += size
        groups = [part for g in graph.groups[first:last] if (part := _part(g, layers)) is not None]
        if index == 0:
            groups = [*graph.groups[:first], *groups]
        if index == layout.pp - 1:
            groups += [_untied(g) for g in graph.groups[last:]]
        message = _message(graph, layout)
        if message is not None:
            groups.append(LayerGroup("pipeline_send", (message,)))
        stages.append(tuple(groups))
    return stages


def _stack(graph: Graph) -> tuple[int, int]:
    """Indices of the first group of the decoder's layers and of the first one after them.

    Towers come before the embedding (where there is one); their layers count from zero again.
    """
    names = [g.name for g in graph.groups]
    start = names.index("embedding") + 1 if "embedding" in names else 0
    inside = [i for i, g in enumerate(graph.groups) if g.layers and i >= start]
    return (inside[0], inside[-1] + 1) if inside else (start, start)


def _part(group: LayerGroup, layers: range) -> LayerGroup | None:
    own = tuple(i for i in group.layers if i in layers)
    if not own:
        return None
    return replace(group, layers=own, name=layer_range_name(own))


def _untied(group: LayerGroup) -> LayerGroup:
    def stored(op: Op) -> Op:
        if not any(w.tied for w in op.weights):
            return op
        return replace(op, weights=tuple(replace(w, tied=False) for w in op.weights))

    return group.with_ops([stored(op) for op in group.ops])


def _message(graph: Graph, layout: Layout) -> SendReceive | None:
    hidden = _hidden(graph)
    if hidden is None:
        return None
    return SendReceive("pipeline_send", (hidden,), (hidden,), ranks=2, stride=layout.tp * layout.dp)


def _hidden(graph: Graph) -> Tensor | None:
    found = [t for _, op in graph for t in op.outputs if t.name == "hidden" and t.rows == "tokens"]
    return max(found, key=lambda t: t.width, default=None)
