"""Storage: graph + compression policy -> graph whose weights, caches and activations are stored as the policy says.

Runs on the unfused graph, so that a rule can name q_proj alone. Layers that a policy treats differently become groups
of their own. What is executed (math types, conversion work) follows later, in lowering.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from viewer.compression import Compression, OpFormats
from viewer.formats import TensorFormat
from viewer.graph import Cache, Graph, LayerGroup, Op, Tensor, Weight, layer_range_name
from viewer.ops.attention import Attention, AttentionBase, ScoreMatmul, ValueMatmul, pair_rows
from viewer.ops.elementwise import CacheAppend, Softmax
from viewer.ops.linear import Linear
from viewer.ops.mla import IndexScore
from viewer.ops.moe import ExpertLinear
from viewer.ops.ssm import StateOp
from viewer.ops.token_pruning import FULL_LAYERS
from viewer.sparsity import AttentionNM, AttentionPattern, KeepRatio, LowRank, PagedSelection

#: Attention whose keys and values are cached as they are: what attention and cache schemes apply to.
PLAIN_ATTENTION = (Attention, ScoreMatmul, ValueMatmul)


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
    stored = _one_table(replace(graph, groups=tuple(groups), notes=(*graph.notes, *policy.notes)))
    return _with_tokens(_with_attention(stored, policy), policy)


def _range_name(prefix: str, layers: tuple[int, ...]) -> str:
    return f"{prefix}:{layer_range_name(layers)}" if prefix else layer_range_name(layers)


def _stored(
    group: LayerGroup, policy: Compression, layer: int | None, n_layers: int, default16: str
) -> LayerGroup:
    ops: list[Op] = []
    for op in group.ops:
        ops += _store_op(op, policy.resolve(op.name, layer, n_layers, default16))
    return group.with_ops(_read_as_written(ops))


def _store_op(op: Op, chosen: OpFormats) -> list[Op]:
    changes: dict[str, Any] = {}
    if isinstance(op, Linear):
        changes["weights"] = tuple(_weight(w, chosen) for w in op.weights)
        changes["operands"] = (chosen.activation,) * op.products
        changes["outputs"] = tuple(_sixteen_to(t, chosen) for t in op.outputs)
        changes["dynamic"] = chosen.activation_dynamic
        changes["hadamard"] = chosen.hadamard
        if chosen.activation_sparsity is not None:
            changes["zeros"] = chosen.activation_sparsity.sparsity
    elif op.weights and op.kind == "embedding":
        # positions and token types are never quantized (llama.cpp src/llama-quant.cpp says so of its own)
        changes["weights"] = (_weight(op.weights[0], chosen), *op.weights[1:])
    if isinstance(op, StateOp) and chosen.state is not None:
        changes["states"] = tuple(replace(state, format=chosen.state) for state in op.states)
    cache = getattr(op, "cache", None)
    if cache is not None and getattr(cache, "quantizable", True):
        changes["cache"] = _cache(cache, chosen)
    if isinstance(op, AttentionBase) and not isinstance(op, IndexScore):
        changes["operands"] = _attention_operands(op, chosen)
    stored = replace(op, **changes) if changes else op
    return _factors(stored) if isinstance(stored, Linear) else [stored]


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


def _factors(op: Linear) -> list[Op]:
    """A low-rank weight as two products, x V then U, with r values a row between them; others as they are.

    Where the factors would hold more values than the weight, it stays dense (the scheme says so when it executes).
    """
    matrices = [w for w in op.weights if w.cols > 1]
    if type(op) not in (Linear, ExpertLinear) or len(matrices) != 1:
        return [op]
    weight = matrices[0]
    scheme = weight.sparsity
    if not isinstance(scheme, LowRank) or not scheme.pays(weight.rows, weight.cols):
        return [op]
    rank, out = scheme.rank, op.outputs[0]
    inner = Tensor(out.name + "_rank", rank, op.rows, out.format if out.format.element_bits <= 16 else
                   op.inputs[0].format)  # fmt: skip
    right = replace(weight, name=weight.name + ".v", rows=rank, sparsity=None)
    left = replace(weight, name=weight.name + ".u", cols=rank, sparsity=None)
    vectors = tuple(w for w in op.weights if w.cols == 1)
    first = replace(
        op,
        name=op.name + "_in",
        outputs=(inner,),
        weights=(right,),
        out_features=rank,
        bias=0,
        shard="row" if op.shard == "row" else None,
    )
    second = replace(
        op,
        name=op.name + "_out",
        inputs=(inner,),
        weights=(left, *vectors),
        in_features=rank,
        shard=None if op.shard == "row" else op.shard,
        hadamard=False,
        zeros=0.0,
        approximates=scheme.name,
    )
    return [first, second]


def _read_as_written(ops: list[Op]) -> list[Op]:
    """Consumers of a product's narrow output read it in that format, until another op writes the tensor anew."""
    narrow: dict[str, TensorFormat] = {}
    out: list[Op] = []
    for op in ops:
        if narrow and any(t.name in narrow for t in op.inputs):
            inputs = tuple(replace(t, format=narrow[t.name]) if t.name in narrow else t for t in op.inputs)
            op = replace(op, inputs=inputs)
        for tensor in op.outputs:
            if isinstance(op, Linear) and tensor.format.is_quantized:
                narrow[tensor.name] = tensor.format
            else:
                narrow.pop(tensor.name, None)
        out.append(op)
    return out


def _one_table(graph: Graph) -> Graph:
    """A tied head and the embedding are one table: both take the quantized format, the head's if both are."""
    found = {op.name: op for _, op in graph if op.name in ("embed", "lm_head") and op.weights}
    head, embed = found.get("lm_head"), found.get("embed")
    if head is None or embed is None or not head.weights[0].tied:
        return graph
    wanted = next((w for w in (head.weights[0], embed.weights[0]) if w.format.is_quantized), None)
    if wanted is None:
        return graph

    def change(group: LayerGroup) -> LayerGroup:
        ops = [_in_format(op, wanted) if op.name in found else op for op in group.ops]
        return group.with_ops(ops)

    return graph.map_groups(change)


def _in_format(op: Op, wanted: Weight) -> Op:
    table, *others = op.weights
    return replace(op, weights=(replace(table, format=wanted.format, sparsity=wanted.sparsity), *others))


def _with_attention(graph: Graph, policy: Compression) -> Graph:
    """Attention and cache schemes on every op that they can be applied to; a note where there is none."""
    schemes = policy.attention_schemes()
    if not schemes:
        return graph
    pruned = next((s for s in reversed(schemes) if isinstance(s, AttentionNM)), None)
    position = next((s for s in reversed(schemes) if not isinstance(s, AttentionNM)), None)
    applied = False

    def change(group: LayerGroup) -> LayerGroup:
        nonlocal applied
        caches = {
            op.cache
            for op in group.ops
            if isinstance(op, PLAIN_ATTENTION) and op.memory == "self" and op.causal
        }
        applied = applied or any(_takes(op, position, pruned) for op in group.ops)
        return group.with_ops(_scheme_ops(list(group.ops), position, pruned, caches))

    changed = graph.map_groups(change)
    names = " and ".join(s.name for s in schemes)
    note = () if applied else (f"{names} changes nothing: the model has no attention of that kind",)
    return replace(changed, notes=(*changed.notes, *note))


def _takes(op: Op, position: Any, pruned: Any) -> bool:
    """Whether a scheme changes this op: caches need a causal core, patterns and N:M serve encoders too."""
    if not isinstance(op, PLAIN_ATTENTION) or op.memory not in ("self", "encoder"):
        return False
    return pruned is not None or op.causal or isinstance(position, AttentionPattern)


def _scheme_ops(ops: list[Op], position: Any, pruned: Any, caches: set[Cache | None]) -> list[Op]:
    out: list[Op] = []
    moved: dict[str, str] = {}  # row kinds of the score matrix, before and after
    for op in ops:
        if isinstance(op, PLAIN_ATTENTION) and _takes(op, position, pruned):
            new = replace(op, scheme=position, value_sparsity=pruned)
            if op.cache in caches:
                new = replace(new, cache=_scheme_cache(op.cache, position))
            moved[pair_rows(op)] = pair_rows(new)
            out.append(new)
        elif isinstance(op, CacheAppend) and op.cache in caches:
            out.append(replace(op, cache=_scheme_cache(op.cache, position)))
        else:
            out.append(op)
    return [_scores(op, moved, pruned) for op in out]


def _scheme_cache(cache: Any, scheme: Any) -> Any:
    """What stays cached: a window with sinks, a share, or everything with page summaries."""
    if isinstance(scheme, AttentionPattern) and not scheme.random:
        kept = float(scheme.window + scheme.global_tokens)
        return replace(cache, window=kept if cache.window is None else min(cache.window, kept))
    if isinstance(scheme, KeepRatio):
        return replace(cache, kept=scheme.keep)
    return replace(cache, page=scheme.page) if isinstance(scheme, PagedSelection) else cache


def _scores(op: Op, moved: dict[str, str], pruned: Any) -> Op:
    """An explicit score matrix has the rows that the scheme leaves; pruned probabilities hold N of M and indices."""
    if not isinstance(op, ScoreMatmul | Softmax | ValueMatmul):
        return op

    def tensor(t: Tensor) -> Tensor:
        width = (
            t.width * pruned.score_bits(16.0) / 16.0 if pruned is not None and t.name == "probs" else t.width
        )
        return replace(t, rows=moved.get(t.rows, t.rows), width=width)

    changes: dict[str, Any] = {
        "inputs": tuple(map(tensor, op.inputs)),
        "outputs": tuple(map(tensor, op.outputs)),
    }
    if isinstance(op, Softmax):
        changes["rows"] = moved.get(op.rows, op.rows)
    return replace(op, **changes)


def _with_tokens(graph: Graph, policy: Compression) -> Graph:
    """Token pruning: layers after the first FULL_LAYERS process and cache a share of the tokens."""
    share = 1.0
    for scheme in policy.structured():
        if scheme.axis == "tokens":
            share *= 1.0 - scheme.removed
    if share == 1.0:
        return graph
    groups: list[LayerGroup] = []
    for group in graph.groups:
        if not group.layers or ":" in group.name.partition("-")[0]:
            groups.append(group)  # embedding, head, towers ("encoder:0-5")
            continue
        early = tuple(layer for layer in group.layers if layer < FULL_LAYERS)
        late = group.layers[len(early) :]
        if early:
            groups.append(replace(group, name=layer_range_name(early), layers=early))
        if late:
            ops = tuple(_kept_cache(op, share) for op in group.ops)
            name = layer_range_name(late)
            groups.append(replace(group, name=name, layers=late, ops=ops, tokens_kept=share))
    note = f"layers from {FULL_LAYERS} on see {100 * share:g} % of the tokens"
    return replace(graph, groups=tuple(groups), notes=(*graph.notes, note))


def _kept_cache(op: Op, share: float) -> Op:
    cache = getattr(op, "cache", None)
    if cache is None or cache.memory != "self":
        return op
    changes: dict[str, Any] = {"cache": replace(cache, kept=cache.kept * share)}
    return replace(op, **changes)
