"""What the sharding pass knows while it walks through the ops of one group of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from viewer.formats import TensorFormat
from viewer.graph import Op, Tensor
from viewer.ops.collective import AllGather, AllReduce, ReduceScatter
from viewer.parallel.layout import Layout

WidthRule = Callable[[Op, float], float]


@dataclass
class Walk:
    """``share``: part of a tensor's width on this device; ``partial``: sums that other ranks hold parts of.

    ``stream``: tensors that hold T/tp rows (sequence parallelism; written as width/tp, which gives the same bytes and
    FLOPs); ``gathered``: stream tensors whose gathered copy exists. ``routed``: share of the rows that go to experts.
    ``expert_format``: narrow format of the rows that are sent to experts. ``widths``: tensors whose parts are cut
    differently (a fused qkv, a Mamba-2 input).
    """

    layout: Layout
    where: str
    share: dict[str, float] = field(default_factory=dict)
    partial: dict[str, tuple[Tensor, str]] = field(default_factory=dict)
    stream: set[str] = field(default_factory=set)
    gathered: set[str] = field(default_factory=set)
    widths: dict[str, WidthRule] = field(default_factory=dict)
    kv_heads: int = 0
    kv_kept: int = 0
    routed: float = 1.0
    expert_format: TensorFormat | None = None
    out: list[Op] = field(default_factory=list)

    @property
    def tp(self) -> int:
        """Tensor-parallel degree."""
        return self.layout.tp

    def label(self, op: Op) -> str:
        """The op in messages."""
        return f"tp={self.tp}: {op.name} of layers {self.where}" if self.where[:1].isdigit() else op.name

    def rows(self, kind: str) -> str:
        """The row kind on this device: a share of the rows that go to experts."""
        if self.routed == 1.0 or not kind.startswith("routed:"):
            return kind
        return f"routed:{float(kind.partition(':')[2]) * self.routed!r}"

    def tensor(self, op: Op, tensor: Tensor) -> Tensor:
        """The tensor as this device holds it when ``op`` touches it."""
        rule = self.widths.get(tensor.name)
        width = rule(op, tensor.width) if rule else tensor.width * self.share.get(tensor.name, 1.0)
        if tensor.name in self.stream and tensor.name not in self.gathered:
            width = width / self.tp
        rows = self.rows(tensor.rows)
        if width == tensor.width and rows == tensor.rows:
            return tensor
        return replace(tensor, width=int(width) if float(width).is_integer() else width, rows=rows)

    def tensors(self, op: Op, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """All of them."""
        return tuple(self.tensor(op, t) for t in tensors)

    def is_cut(self, tensor: Tensor) -> bool:
        """Whether this device holds a part of its width."""
        return tensor.name in self.widths or self.share.get(tensor.name, 1.0) != 1.0

    def written(self, op: Op) -> None:
        """Forget what was known of tensors that ``op`` writes anew."""
        for tensor in op.outputs:
            self.gathered.discard(tensor.name)

    def settle(self, op: Op, *, elementwise: bool) -> None:
        """Sum what ``op`` reads and other ranks hold parts of; gather what it needs whole."""
        for tensor in op.inputs:
            if tensor.name in self.partial:
                self.reduce(tensor.name, scatter=elementwise)
        if elementwise:
            return
        for tensor in op.inputs:
            if tensor.name in self.stream and tensor.name not in self.gathered:
                part = replace(tensor, width=tensor.width / self.tp)
                self.out.append(
                    AllGather(_base(tensor.name) + "_all_gather", (part,), (tensor,), ranks=self.tp)
                )
                self.gathered.add(tensor.name)

    def reduce(self, name: str, *, scatter: bool) -> None:
        """Add the sum over the tensor-parallel ranks; under sequence parallelism each keeps its rows of it."""
        tensor, _ = self.partial.pop(name)
        inputs = [tensor]
        if name.endswith("_block_out"):  # parallel attention and feed-forward: their sum is reduced once
            others = [n for n in self.partial if n.endswith("_block_out")]
            inputs += [self.partial.pop(n)[0] for n in others]
        if scatter and self.stream:
            part = replace(tensor, width=tensor.width / self.tp)
            self.stream.update(t.name for t in inputs)
            op: Op = ReduceScatter(_base(name) + "_reduce_scatter", tuple(inputs), (part,), ranks=self.tp)
            if len(inputs) > 1:
                op = replace(op, inputs=(tensor,))
        else:
            op = AllReduce(_base(name) + "_all_reduce", tuple(inputs), (tensor,), ranks=self.tp)
        self.out.append(op)


def _base(name: str) -> str:
    """attn_block_out -> attn, hidden -> embed: the name of a collective says what it completes."""
    return {"hidden": "embed", "embedded": "embed"}.get(
        name, name.removesuffix("_block_out").removesuffix("_out")
    )
