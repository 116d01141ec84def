"""ModelSpec -> graph of unfused ops, with identical layers grouped."""

from __future__ import annotations

from typing import Any, Literal

from viewer import formats
from viewer.graph import Graph, LayerGroup, Op, layer_range_name
from viewer.models import blocks as _blocks  # registers the emitters
from viewer.models.emit import Context, emit
from viewer.models.layers import norm_op
from viewer.models.spec import ModelSpec
from viewer.ops.linear import Embedding, Linear
from viewer.ops.routing import UNIFORM, Routing

__all__ = ["build_graph"]
_ = _blocks


def build_graph(
    spec: ModelSpec,
    attention: Literal["flash", "eager"] = "flash",
    mla: str = "auto",
    routing: Routing = UNIFORM,
    vision: bool = False,
) -> Graph:
    """The graph of one pass: prologue (embedding, towers), layer groups in order of first layer, epilogue.

    ``attention``: flash (one kernel) or eager (scores in memory). ``mla``: auto, naive or absorbed. ``routing``: how
    tokens spread over experts (uniform, Zipf, a histogram; padding to tiles). ``vision``: with the image towers of a
    multimodal model (its own count and every text-only workload leave them out).
    """
    ctx = Context(
        hidden=spec.hidden,
        dtype=formats.get(spec.dtype),
        attention=attention,
        mla=mla,
        n_layers=len(spec.layers),
        routing=routing,
    )
    groups: list[LayerGroup] = []
    towers = (*spec.vision, *spec.towers) if vision else spec.towers
    for tower in towers:
        groups += tower.opening(spec, ctx)
    prologue = _prologue(spec, ctx)
    if prologue:
        groups.append(LayerGroup("embedding", tuple(prologue)))
    by_spec: dict[Any, list[int]] = {}
    for index, layer in enumerate(spec.layers):
        by_spec.setdefault(layer, []).append(index)
    for layer, indices in by_spec.items():
        members = tuple(indices)
        ops = emit(layer, ctx.at(layer=indices[0]))
        groups.append(LayerGroup(layer_range_name(members), tuple(ops), members))
    epilogue = _epilogue(spec, ctx)
    if epilogue:
        groups.append(LayerGroup("head", tuple(epilogue)))
    for tower in towers:
        groups += tower.closing(spec, ctx)
    return Graph(
        tuple(groups),
        len(spec.layers),
        spec.notes,
        default_source=spec.default_source,
    )


def _prologue(spec: ModelSpec, ctx: Context) -> list[Op]:
    if not spec.vocab:
        return []
    width = spec.embed_dim or spec.hidden
    weights = [ctx.weight("embed", spec.vocab, width)]
    if spec.positions:
        weights.append(ctx.weight("position_embed", spec.positions, width))
    name = "hidden" if width == spec.hidden else "embedded"
    ops: list[Op] = [
        Embedding(
            name="embed",
            outputs=(ctx.tensor(name, width),),
            weights=tuple(weights),
            adds=float(width) if spec.positions else 0.0,
        )
    ]
    if width != spec.hidden:
        ops.append(ctx.linear("embed_proj", ("embedded", width), ("hidden", spec.hidden)))
    if spec.embed_norm is not None:
        ops.append(norm_op(spec.embed_norm, ctx, "embed_norm", "hidden", "hidden"))
    return ops


def _epilogue(spec: ModelSpec, ctx: Context) -> list[Op]:
    ops: list[Op] = []
    source = "hidden"
    if spec.final_norm is not None:
        ops.append(norm_op(spec.final_norm, ctx, "final_norm", "hidden", "normed"))
        source = "normed"
    if not spec.has_head:
        return ops
    width = spec.embed_dim or spec.hidden
    if width != spec.hidden:
        ops.append(ctx.linear("head_proj", (source, spec.hidden), ("embedded", width), rows="sampled"))
        source = "embedded"
    weights = [ctx.weight("lm_head", spec.vocab, width, tied=spec.tied)]
    if spec.head_bias:
        weights.append(ctx.weight("lm_head.bias", spec.vocab))
    ops.append(
        Linear(
            name="lm_head",
            inputs=(ctx.tensor(source, width, "sampled"),),
            outputs=(ctx.tensor("logits", spec.vocab, "sampled", "fp32"),),
            weights=tuple(weights),
            rows="sampled",
            in_features=width,
            out_features=spec.vocab,
            bias=spec.vocab if spec.head_bias else 0,
            shard="vocab",
        )
    )
    return ops
