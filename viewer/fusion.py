"""Fusion: graph -> graph. What runs as one kernel reads its inputs once and keeps its inner tensors on chip.

Presets: ``eager`` (nothing), ``flash`` (fused attention only), ``inductor`` (element-wise chains fused, linears
apart) and ``serving`` (also q, k, v and gate, up as one product). FLOPs add, inner tensors' bytes vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from viewer.graph import Graph, LayerGroup, Op, Tensor
from viewer.ops.elementwise import Activation, Add, AddNorm, CacheAppend, Elementwise, Norm, Rope, RopeAppend
from viewer.ops.linear import Linear

Fusion: TypeAlias = Literal["eager", "flash", "inductor", "serving"]
Pass: TypeAlias = Callable[[list[Op]], list[Op]]

#: Linears that read the same input and run as one product: (names, name of the fused one).
MERGED_LINEARS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("q_proj", "k_proj", "v_proj"), "qkv_proj"),
    (("q_proj", "k_proj"), "qk_proj"),
    (("gate_proj", "up_proj"), "gate_up_proj"),
    (("experts_gate", "experts_up"), "experts_gate_up"),
    (("q_a_proj", "kv_a_proj"), "qkv_a_proj"),
    (("q_proj", "kv_a_proj"), "q_kv_a_proj"),
)


def split_prefix(name: str, names: Sequence[str]) -> str | None:
    """The tower prefix of ``name`` if what follows it is in ``names`` ("encoder_q_proj" -> "encoder_")."""
    for known in names:
        if name == known or name.endswith("_" + known):
            return name.removesuffix(known)
    return None


def merge_linears(ops: list[Op]) -> list[Op]:
    """q, k, v -> qkv_proj; gate, up -> gate_up_proj: x is read once. Only where the weight formats agree."""
    for names, fused_name in MERGED_LINEARS:
        index = 0
        while index < len(ops):
            run = ops[index : index + len(names)]
            prefix = _mergeable(run, names)
            if prefix is None:
                index += 1
                continue
            ops = [*ops[:index], _merged(run, prefix + fused_name), *ops[index + len(names) :]]
    return ops


def _mergeable(run: list[Op], names: tuple[str, ...]) -> str | None:
    if len(run) != len(names) or not all(isinstance(op, Linear) for op in run):
        return None
    prefix = split_prefix(run[0].name, names[:1])
    if prefix is None or tuple(op.name for op in run) != tuple(prefix + n for n in names):
        return None
    first = run[0]
    same = all(
        op.inputs == first.inputs
        and op.operands == first.operands
        and getattr(op, "zeros", 0.0) == getattr(first, "zeros", 0.0)
        and {(w.format, w.sparsity) for w in op.weights[:1]}
        == {(w.format, w.sparsity) for w in first.weights[:1]}
        for op in run
    )
    return prefix if same else None


def _merged(run: Sequence[Op], name: str) -> Linear:
    linears = [op for op in run if isinstance(op, Linear)]
    first = linears[0]
    return replace(
        first,
        name=name,
        outputs=tuple(t for op in linears for t in op.outputs),
        weights=tuple(w for op in linears for w in op.weights),
        out_features=sum(op.out_features for op in linears),
        bias=sum(op.bias for op in linears),
    )


def merge_adds(ops: list[Op]) -> list[Op]:
    """Two residual adds in a row (parallel attention and feed-forward) become one that reads three tensors."""
    out: list[Op] = []
    for op in ops:
        last = out[-1] if out else None
        if isinstance(op, Add) and isinstance(last, Add) and last.outputs == op.outputs:
            inputs = (*last.inputs[:-1], *op.inputs)
            out[-1] = replace(op, inputs=inputs, flops=op.flops + last.flops)
        else:
            out.append(op)
    return out


def merge_add_norm(ops: list[Op]) -> list[Op]:
    """A residual add and the norm after it become add_norm; the last add of a layer joins the next layer's norm.

    Layer 0 is counted like the others (its add belongs to the last layer, whose sum the final norm reads).
    """
    merged: dict[int, Op] = {}
    gone: set[int] = set()
    for index, op in enumerate(ops):
        before = (index - 1) % len(ops)
        add = ops[before]
        if type(op) is not Norm or not isinstance(add, Add) or op.inputs[0].name != "hidden":
            continue
        gone.add(before)
        merged[index] = AddNorm(
            name=op.name.replace("_norm", "_add_norm"),
            inputs=add.inputs,
            outputs=(*add.outputs, *op.outputs),
            weights=op.weights,
            rows=op.rows,
            flops=op.flops + add.flops,
            special=op.special,
        )
    return [merged.get(index, op) for index, op in enumerate(ops) if index not in gone]


def merge_rope_append(ops: list[Op]) -> list[Op]:
    """q/k norm, RoPE and cache append in a row become rope_append: q, k, v read once, q and the cache written."""
    out: list[Op] = []
    index = 0
    while index < len(ops):
        end = index
        while end < len(ops) and _position_work(ops[end]):
            end += 1
        run = ops[index:end]
        if len(run) > 1 and isinstance(run[-1], CacheAppend):
            out.append(_rope_append(run))
            index = end
        else:
            out.append(ops[index])
            index += 1
    return out


def _position_work(op: Op) -> bool:
    return isinstance(op, Rope | CacheAppend) or op.name.endswith("qk_norm")


def _rope_append(run: list[Op]) -> RopeAppend:
    append = run[-1]
    assert isinstance(append, CacheAppend)
    work = [op for op in run if isinstance(op, Elementwise)]
    tensors: dict[str, Tensor] = {}
    for op in run:
        for tensor in op.inputs:
            known = tensors.get(tensor.name)
            if known is None or known.width < tensor.width:
                tensors[tensor.name] = tensor
    cache = append.cache
    if "qkv" in tensors and cache is not None:
        # one tensor holds q, k and v: the norm or rotary op names q + k of it, the append k + v
        extra = cache.heads * cache.widths[-1]
        tensors["qkv"] = replace(tensors["qkv"], width=run[0].inputs[0].width + extra)
    written = [t for t in run[0].outputs if t.name not in ("k", "v")]
    if written and written[0].name == "qkv" and cache is not None:
        written = [replace(written[0], width=written[0].width - cache.heads * cache.widths[0])]
    return RopeAppend(
        name=append.name.replace("kv_append", "rope_append"),
        inputs=tuple(tensors.values()),
        outputs=tuple(written),
        weights=tuple(w for op in run for w in op.weights),
        rows=append.rows,
        flops=sum(op.flops for op in work),
        special=sum(op.special for op in work),
        cache=cache,
    )


def name_activations(ops: list[Op]) -> list[Op]:
    """mlp_act -> silu_mul, gelu_mul …: the name of the fused kernel."""

    def renamed(op: Op) -> Op:
        if isinstance(op, Activation) and op.gated and op.name.endswith("mlp_act"):
            return replace(op, name=op.name.removesuffix("mlp_act") + f"{op.function}_mul")
        return op

    return [renamed(op) for op in ops]


PASSES: dict[str, tuple[Pass, ...]] = {
    "eager": (),
    "flash": (),
    "inductor": (merge_adds, merge_add_norm, merge_rope_append, name_activations),
    "serving": (merge_linears, merge_adds, merge_add_norm, merge_rope_append, name_activations),
}


def fuse(graph: Graph, preset: Fusion) -> Graph:
    """The graph as the preset's kernels run it. Attention itself is fused when the graph is built (build_graph)."""

    def change(group: LayerGroup) -> LayerGroup:
        ops = list(group.ops)
        if group.layers:
            for one in PASSES[preset]:
                ops = one(ops)
        return group.with_ops(ops)

    return graph.map_groups(change)


def kernels(graph: Graph) -> Iterator[tuple[str, int]]:
    """(op name, launches) of a fused graph."""
    for group, op in graph:
        yield op.name, group.repeat
