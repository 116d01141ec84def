"""Collectives: what devices exchange. Bytes of the full buffer only; what they cost in seconds is for viewer.links.

The full buffer (as in nccl-tests) is the reduced tensor of an all-reduce, the output of an all-gather, the input of a
reduce-scatter, what one rank sends in an all-to-all, the message of a point-to-point send. All per device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from viewer.graph import Op
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.workload import Step


@dataclass(frozen=True)
class Collective(Op):
    """A group of ``ranks`` devices whose neighbours are ``stride`` apart in the numbering of devices.

    Devices are numbered with tensor parallelism innermost, then data parallelism, then pipeline stages, so a group
    covers ranks * stride devices in a row. ``full``: which side is the full buffer.
    """

    ranks: int = 1
    stride: int = 1
    full: ClassVar[Literal["inputs", "outputs"]] = "outputs"
    kind: ClassVar[str] = "collective"


@dataclass(frozen=True)
class AllReduce(Collective):
    """Every rank ends with the sum over ranks."""

    kind: ClassVar[str] = "all_reduce"
    collective: ClassVar[str] = "all_reduce"


@dataclass(frozen=True)
class AllGather(Collective):
    """Every rank ends with the parts of all ranks."""

    kind: ClassVar[str] = "all_gather"
    collective: ClassVar[str] = "all_gather"


@dataclass(frozen=True)
class ReduceScatter(Collective):
    """Every rank ends with its part of the sum over ranks."""

    full: ClassVar[Literal["inputs", "outputs"]] = "inputs"
    kind: ClassVar[str] = "reduce_scatter"
    collective: ClassVar[str] = "reduce_scatter"


@dataclass(frozen=True)
class AllToAll(Collective):
    """Every rank sends a part of its buffer to each other rank (dispatch of tokens to experts, and their return).

    ``copies``: copies of one row in the buffer (experts per token). Between nodes a row crosses once per node that
    needs it and is copied inside (DeepSeek-V3 report, arXiv:2412.19437 section 3.2.2).
    """

    copies: float = 1.0
    full: ClassVar[Literal["inputs", "outputs"]] = "inputs"
    kind: ClassVar[str] = "all_to_all"
    collective: ClassVar[str] = "all_to_all"


@dataclass(frozen=True)
class SendReceive(Collective):
    """One message to the next pipeline stage (or from the one before)."""

    kind: ClassVar[str] = "p2p"
    collective: ClassVar[str] = "p2p"


@dataclass(frozen=True)
class PipelineWait(Op):
    """The time in which this stage has nothing to do: the other stages' times, once per step.

    ``rest``: (how often, op) of the other stages. No counts: their work is on other devices.
    """

    rest: tuple[tuple[int, Op], ...] = ()
    kind: ClassVar[str] = "pipeline_wait"


def collective_cost(op: Collective, step: Step) -> OpCost:
    """comm_bytes = rows * row bytes of the full side; the buffers are read and written in memory once.

    The adds of a reduction (at most one per value received) are not counted: they run beside the transfer.
    """
    cost = base_cost(op, step)
    side = op.read_row_bytes if op.full == "inputs" else op.write_row_bytes
    for kind, row_bytes in side:
        cost.comm_bytes = cost.comm_bytes + step.rows(kind) * row_bytes
    return cost


for _kind in (AllReduce, AllGather, ReduceScatter, AllToAll, SendReceive):
    cost_of(_kind)(collective_cost)


@cost_of(PipelineWait)
def wait_cost(op: PipelineWait, step: Step) -> OpCost:
    """Nothing on this device."""
    _ = (op, step)
    return OpCost()
