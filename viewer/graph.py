"""The graph: tensors, weights, ops, and groups of identical layers. Structure only: no hardware, no workload.

An op reads ``inputs``, streams ``weights`` and writes ``outputs``; its bytes follow from those (see ops/cost.py) unless
its kind says otherwise. Layers that are identical are one group with a multiplicity, so cost grows with groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from viewer import formats
from viewer.formats import TensorFormat
from viewer.steps import Segment, Step

BF16 = formats.get("bf16")
FP16 = formats.get("fp16")
FP32 = formats.get("fp32")


@dataclass(frozen=True)
class Tensor:
    """An activation: ``rows`` is a kind that the step resolves (tokens, sampled, pairs:W …), ``width`` values a row."""

    name: str
    width: float
    rows: str = "tokens"
    format: TensorFormat = BF16

    @cached_property
    def row_bytes(self) -> float:
        """Bytes of one row, metadata included."""
        return float(self.format.row_bytes(self.width))


@dataclass(frozen=True)
class Weight:
    """``count`` stored parameter tensors of ``rows`` (out) x ``cols`` (in) values in one storage format.

    ``tied``: a second use of a tensor that is counted and stored elsewhere (a tied head): traffic, no parameters.
    ``sparsity``: a scheme of viewer.sparsity, or None for dense.
    """

    name: str
    rows: int
    cols: int = 1
    count: int = 1
    format: TensorFormat = BF16
    sparsity: Any = None
    tied: bool = False

    @property
    def values(self) -> int:
        """Logical values (parameters) of all ``count`` tensors."""
        return self.rows * self.cols * self.count

    @cached_property
    def stored_bytes(self) -> float:
        """Bytes in memory, metadata included."""
        if self.sparsity is not None:
            return float(self.count * self.sparsity.stored_bytes(self.format, self.rows, self.cols))
        return float(self.count * self.format.stored_bytes(self.rows, self.cols))

    @cached_property
    def metadata_bytes(self) -> float:
        """The part of ``stored_bytes`` that is scales, zero points and indices."""
        if self.sparsity is not None:
            return float(self.count * self.sparsity.metadata_bytes(self.format, self.rows, self.cols))
        return float(self.count * self.format.metadata_bytes(self.rows, self.cols))


@dataclass(frozen=True)
class Cache:
    """What one layer keeps per request: ``widths`` are the row widths kept per token (K heads x d, V heads x d_v, …).

    ``heads`` rows of each width are kept per token. ``window``: at most that many tokens are kept. ``memory``: whose
    tokens: "self" (the request's own), "source" (an encoder's output), or "activation" (keys and values that live only
    within the step: encoders keep nothing). ``quantizable``: whether a compression policy may change its formats.
    ``kept``: the share of the tokens that an evicting cache keeps. ``page``: tokens of a page with a summary (minimum
    and maximum of its keys, in 16 bits); 0 is none.
    """

    heads: int
    widths: tuple[int, ...]
    formats: tuple[TensorFormat, ...]
    window: float | None = None
    memory: str = "self"
    quantizable: bool = True
    kept: float = 1.0
    page: int = 0

    @cached_property
    def values_per_token(self) -> int:
        """Values kept per token."""
        return self.heads * sum(self.widths)

    @cached_property
    def page_row_bytes(self) -> float:
        """Bytes of one page's summary: minimum and maximum of the keys, 2 bytes each (arXiv:2406.10774)."""
        return 2.0 * self.heads * self.widths[0] * 2.0

    @cached_property
    def token_bytes(self) -> float:
        """Bytes kept per token, metadata included."""
        return float(sum(self.part_bytes))

    @cached_property
    def part_bytes(self) -> tuple[float, ...]:
        """Bytes per token of each part (keys, values), metadata included."""
        return tuple(self.heads * f.row_bytes(w) for f, w in zip(self.formats, self.widths, strict=True))

    @cached_property
    def metadata_token_bytes(self) -> float:
        """The part of ``token_bytes`` that is scales and zero points."""
        pairs = zip(self.formats, self.widths, strict=True)
        return float(sum(self.heads * f.row_metadata_bytes(w) for f, w in pairs))


@dataclass(frozen=True)
class State:
    """A recurrent state of fixed size per request (state-space layers): ``values`` numbers in ``format``."""

    values: int
    format: TensorFormat = FP32

    @cached_property
    def bytes(self) -> float:
        """Bytes per request."""
        return float(self.format.row_bytes(self.values))


@dataclass(frozen=True)
class Math:
    """How one matrix product of an op is executed: chosen by lowering, read by roofline.

    ``executed``: executed FLOPs / dense FLOPs (2:4 on a sparse unit is 0.5). ``rate_factor``: no rate, but the
    multiple of the dense peak at which executed FLOPs count (1.0 everywhere: a sparse unit halves the FLOPs).
    """

    unit: str = "tensor"
    math_type: str = "bf16"
    a_bits: float = 16.0
    b_bits: float = 16.0
    executed: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class Op:
    """Base of all ops. ``math`` has one entry per matrix product of the op, in the order of its cost function.

    ``extra_vector``: conversion work as (row kind or "once", vector FLOPs per row), set by lowering. ``operands``: how
    a policy wants the first operands (activations; queries, probabilities); empty is as they are stored.
    """

    name: str
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    weights: tuple[Weight, ...] = ()
    math: tuple[Math, ...] = ()
    notes: tuple[str, ...] = ()
    operands: tuple[TensorFormat, ...] = ()
    extra_vector: tuple[tuple[str, float], ...] = ()
    kind: ClassVar[str] = "op"
    products: ClassVar[int] = 0
    collective: ClassVar[str] = ""
    choice_labels: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def parameter_count(self) -> int:
        """Logical parameters that this op owns."""
        return sum(w.values for w in self.weights if not w.tied)

    @cached_property
    def active_parameter_count(self) -> int:
        """Parameters that one token uses (routed experts override it: k of E)."""
        return self.parameter_count

    @cached_property
    def weight_stored_bytes(self) -> float:
        """Bytes of its own weights in memory (tied ones are stored elsewhere)."""
        return sum(w.stored_bytes for w in self.weights if not w.tied)

    @cached_property
    def weight_stream_bytes(self) -> float:
        """Bytes read when every weight is streamed once."""
        return sum(w.stored_bytes for w in self.weights)

    @cached_property
    def weight_stream_metadata_bytes(self) -> float:
        """The metadata part of ``weight_stream_bytes``."""
        return sum(w.metadata_bytes for w in self.weights)

    @cached_property
    def read_row_bytes(self) -> tuple[tuple[str, float], ...]:
        """(row kind, bytes per row) of the inputs, merged by kind."""
        return _merge(self.inputs)

    @cached_property
    def write_row_bytes(self) -> tuple[tuple[str, float], ...]:
        """(row kind, bytes per row) of the outputs, merged by kind."""
        return _merge(self.outputs)

    def with_(self, **changes: Any) -> Op:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def _merge(tensors: tuple[Tensor, ...]) -> tuple[tuple[str, float], ...]:
    by_kind: dict[str, float] = {}
    for tensor in tensors:
        by_kind[tensor.rows] = by_kind.get(tensor.rows, 0.0) + tensor.row_bytes
    return tuple(by_kind.items())


@dataclass(frozen=True)
class LayerGroup:
    """Layers that are identical: ``layers`` are their indices (empty for what runs once, outside the stack).

    ``passes``: how often a step runs the group, once for each micro-batch. ``tokens_kept``: the share of the tokens
    that these layers see (token pruning).
    """

    name: str
    ops: tuple[Op, ...]
    layers: tuple[int, ...] = ()
    passes: int = 1
    tokens_kept: float = 1.0

    @property
    def copies(self) -> int:
        """How many layers the group stands for (each with weights of its own)."""
        return max(1, len(self.layers))

    @property
    def repeat(self) -> int:
        """How many times its ops run in one step."""
        return self.copies * self.passes

    def with_ops(self, ops: list[Op] | tuple[Op, ...]) -> LayerGroup:
        """The group with other ops."""
        return replace(self, ops=tuple(ops))


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: it is a cache key
class Graph:
    """Groups in execution order (prologue, layers, epilogue) and notes that readers of the result must see.

    ``replicas``: data-parallel copies among which the requests of a step are divided; ``micro_batches``: passes in
    which one replica runs its requests. ``default_source``: source tokens of an encoder-decoder model when a step names
    none.
    """

    groups: tuple[LayerGroup, ...]
    n_layers: int
    notes: tuple[str, ...] = field(default=())
    replicas: int = 1
    micro_batches: int = 1
    default_source: int = 0

    def fit(self, step: Step) -> Step:
        """The step as this model takes it: with the encoder's tokens, which the first step of a request encodes."""
        if not self.default_source or step.source:
            return step
        source = []
        for seg in step.segments:
            first = np.equal(seg.cached, 0.0) * float(self.default_source)
            source.append(Segment(seg.count, first, float(self.default_source) - first))
        return replace(step, source=tuple(source))

    def __iter__(self) -> Iterator[tuple[LayerGroup, Op]]:
        for group in self.groups:
            for op in group.ops:
                yield group, op

    @cached_property
    def prunes_tokens(self) -> bool:
        """Whether some layers see only a share of the tokens."""
        return any(group.tokens_kept != 1.0 for group in self.groups)

    @cached_property
    def parameter_count(self) -> int:
        """Logical parameters of the model."""
        return sum(group.copies * op.parameter_count for group, op in self)

    @cached_property
    def active_parameter_count(self) -> int:
        """Parameters that one token uses: all, less the experts that it does not pick."""
        return sum(group.copies * op.active_parameter_count for group, op in self)

    def map_groups(self, change: Any) -> Graph:
        """The graph with ``change(group) -> group`` applied to each group."""
        return replace(self, groups=tuple(change(group) for group in self.groups))


def layer_range_name(layers: tuple[int, ...]) -> str:
    """``(0..39) -> '0-39'``; ``(0, 2, 4) -> '0-4:2'``; anything else is listed, shortened in the middle."""
    if len(layers) == 1:
        return str(layers[0])
    steps = {b - a for a, b in pairwise(layers)}
    if len(steps) == 1:
        step = steps.pop()
        return f"{layers[0]}-{layers[-1]}" + (f":{step}" if step != 1 else "")
    runs: list[str] = []
    start = last = layers[0]
    for layer in (*layers[1:], -1):
        if layer == last + 1:
            last = layer
            continue
        runs.append(str(start) if start == last else f"{start}-{last}")
        start = last = layer
    return ",".join(runs) if len(runs) <= 6 else ",".join(runs[:3]) + ",…," + runs[-1]
