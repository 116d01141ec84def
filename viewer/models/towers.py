"""Towers: stacks beside the decoder (encoders, vision) and what surrounds the layers of a denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from viewer.graph import LayerGroup, Op, layer_range_name
from viewer.models.emit import Context, emit
from viewer.models.layers import norm_op
from viewer.models.spec import ModelSpec, NormSpec


class Tower:
    """Groups that run before the decoder's layers and after its head; both empty by default."""

    def opening(self, spec: ModelSpec, ctx: Context) -> list[LayerGroup]:
        """Groups before the layers."""
        _ = spec, ctx
        return []

    def closing(self, spec: ModelSpec, ctx: Context) -> list[LayerGroup]:
        """Groups after the layers."""
        _ = spec, ctx
        return []


@dataclass(frozen=True)
class Stack(Tower):
    """An encoder: ``stem`` and ``tail`` (specs of blocks that emit ops), layers and a final norm on rows ``rows``.

    Op names carry ``prefix``; ``hidden`` is the width of the stack.
    """

    prefix: str
    rows: str
    hidden: int
    layers: tuple[Any, ...]
    stem: tuple[Any, ...] = ()
    tail: tuple[Any, ...] = ()
    final_norm: NormSpec | None = None

    def opening(self, spec: ModelSpec, ctx: Context) -> list[LayerGroup]:
        """stem, groups of identical layers, final norm and tail."""
        _ = spec
        inner = ctx.at(prefix=self.prefix, rows=self.rows, hidden=self.hidden)
        label = self.prefix.rstrip("_")
        groups = []
        stem = [op for block in self.stem for op in emit(block, inner)]
        if stem:
            groups.append(LayerGroup(f"{label}:stem", tuple(stem)))
        by_spec: dict[Any, list[int]] = {}
        for index, layer in enumerate(self.layers):
            by_spec.setdefault(layer, []).append(index)
        for layer, indices in by_spec.items():
            members = tuple(indices)
            name = f"{label}:{layer_range_name(members)}"
            groups.append(LayerGroup(name, tuple(emit(layer, inner)), members))
        end: list[Op] = []
        if self.final_norm is not None:
            end.append(norm_op(self.final_norm, inner, "final_norm", "hidden", "normed"))
        end += [op for block in self.tail for op in emit(block, inner.at(source="normed"))]
        if end:
            groups.append(LayerGroup(f"{label}:tail", tuple(end)))
        return groups


@dataclass(frozen=True)
class Head(Tower):
    """Blocks around the layers of a model without vocabulary: ``stem`` before them, ``tail`` after its last norm."""

    stem: tuple[Any, ...] = ()
    tail: tuple[Any, ...] = ()

    def opening(self, spec: ModelSpec, ctx: Context) -> list[LayerGroup]:
        """The stem."""
        _ = spec
        ops = [op for block in self.stem for op in emit(block, ctx)]
        return [LayerGroup("stem", tuple(ops))] if ops else []

    def closing(self, spec: ModelSpec, ctx: Context) -> list[LayerGroup]:
        """The tail."""
        _ = spec
        ops = [op for block in self.tail for op in emit(block, ctx.at(source="normed"))]
        return [LayerGroup("tail", tuple(ops))] if ops else []
