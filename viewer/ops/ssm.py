"""State-space and linear-attention layers: convolution, selective scan (Mamba-1), SSD (Mamba-2), gated delta rule.

The state has a fixed size per request. A step reads it where something is cached and writes it back. One new token
updates the state directly (vector unit); more tokens run in chunks as matrix products (arXiv:2405.21060, 2412.06464).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from viewer.graph import Op, State
from viewer.ops.cost import OpCost, base_cost, cost_of
from viewer.workload import Number, Segment, Step


@dataclass(frozen=True)
class StateOp(Op):
    """An op that keeps ``states`` per request between steps."""

    states: tuple[State, ...] = ()


@dataclass(frozen=True)
class Conv1d(StateOp):
    """Causal depthwise convolution of ``width`` taps over ``channels``; its state is the last width - 1 inputs.

    ``special`` and ``flops``: activation per channel and token (SiLU in Mamba), ``bias`` values added.
    """

    channels: int = 1
    width: int = 4
    flops: float = 0.0
    special: float = 0.0
    kind: ClassVar[str] = "conv1d"


@dataclass(frozen=True)
class SelectiveScan(StateOp):
    """Mamba-1: ``inner`` channels with ``state`` values each, updated token by token."""

    inner: int = 1
    state: int = 1
    kind: ClassVar[str] = "scan"


@dataclass(frozen=True)
class SSDScan(StateOp):
    """Mamba-2: ``heads`` of ``head_dim`` x ``state`` values, ``groups`` of B and C, chunks of ``chunk`` tokens."""

    heads: int = 1
    head_dim: int = 1
    state: int = 1
    groups: int = 1
    chunk: int = 256
    kind: ClassVar[str] = "scan"
    products: ClassVar[int] = 1


@dataclass(frozen=True)
class DeltaScan(StateOp):
    """Gated delta rule: ``heads`` states of ``key_dim`` x ``value_dim``, chunks of ``chunk`` tokens."""

    heads: int = 1
    key_dim: int = 1
    value_dim: int = 1
    chunk: int = 64
    kind: ClassVar[str] = "scan"
    products: ClassVar[int] = 1


def state_cost(op: StateOp, step: Step) -> OpCost:
    """Bytes of inputs, outputs, weights; the state is read where something is cached and written for each request."""
    cost = base_cost(op, step)
    size = sum(state.bytes for state in op.states)
    for seg in step.segments:
        cost.state_read_bytes = cost.state_read_bytes + seg.count * np.greater(seg.cached, 0.0) * size
        cost.state_write_bytes = cost.state_write_bytes + seg.count * size
    return cost


def single_tokens(step: Step) -> Number:
    """New tokens of segments that bring one token each."""
    total: Number = 0.0
    for seg in step.segments:
        total = total + seg.count * np.where(np.less_equal(seg.new, 1.0), seg.new, 0.0)
    return total


def chunk_sum(step: Step, chunk: float, power: int) -> Number:
    """Sum over chunks of (chunk length)^power, for segments of more than one token; the last chunk may be short."""

    def one(seg: Segment) -> Number:
        full = np.floor(seg.new / chunk)
        rest = seg.new - full * chunk
        return seg.count * np.where(np.less_equal(seg.new, 1.0), 0.0, full * chunk**power + rest**power)

    total: Number = 0.0
    for seg in step.segments:
        total = total + one(seg)
    return total


@cost_of(Conv1d)
def conv_cost(op: Conv1d, step: Step) -> OpCost:
    """2*width FLOPs per channel and token on the vector unit, plus the activation."""
    cost = state_cost(op, step)
    cost.vector_flops = step.tokens * op.channels * (2.0 * op.width + op.flops)
    cost.transcendentals = step.tokens * op.channels * op.special
    return cost


@cost_of(SelectiveScan)
def selective_scan_cost(op: SelectiveScan, step: Step) -> OpCost:
    """Per token, channel and state value: dt*A, exp, dt*B*x (2), decay and add (2), C*h and sum (2): 7 FLOPs, 1 exp.

    Plus per channel D*x, its add and softplus of dt (2 exp/log). Sequential in time: no matrix product in either phase;
    the state stays on chip within a step. Source: arXiv:2312.00752, algorithm 2 and section 3.3.2.
    """
    cost = state_cost(op, step)
    values = step.tokens * (op.inner * op.state)
    cost.vector_flops = 7.0 * values + step.tokens * (3.0 * op.inner)
    cost.transcendentals = values + step.tokens * (2.0 * op.inner)
    return cost


@cost_of(SSDScan)
def ssd_cost(op: SSDScan, step: Step) -> OpCost:
    """One token: 3*H*P*N (update) + 2*H*P*N (output) + 2*H*P (skip) vector FLOPs, H exp (modelling 2.6).

    Chunks of Q: per token 2*Q*N*G (C B^T) + 2*Q*H*P (intra) + 2*N*H*P (state) + 2*N*H*P (output) on the tensor unit;
    decay between the tokens of a chunk Q*H exp and 2*Q*H FLOPs, skip 2*H*P. Masked halves of a chunk are not skipped.
    """
    cost = state_cost(op, step)
    inner = float(op.heads * op.head_dim)
    once = single_tokens(step)
    linear, square = chunk_sum(step, op.chunk, 1), chunk_sum(step, op.chunk, 2)
    cost.products = (square * (2.0 * op.state * op.groups + 2.0 * inner) + linear * (4.0 * op.state * inner),)
    cost.vector_flops = (
        once * (5.0 * inner * op.state) + square * (2.0 * op.heads) + step.tokens * (2.0 * inner)
    )
    cost.transcendentals = (square + once) * float(op.heads) + step.tokens * (2.0 * op.heads)
    return cost


@cost_of(DeltaScan)
def delta_cost(op: DeltaScan, step: Step) -> OpCost:
    """One token, per head: 7*d_k*d_v (decay 1, S k 2, rank-1 update 2, S q 2) vector FLOPs (modelling 2.6).

    Chunks of C (WY form), per token and head: 2*C*(3*d_k + 2*d_v) + 6*d_k*d_v + C^2/3 on the tensor unit; decay C exp.
    """
    cost = state_cost(op, step)
    k, v, heads = float(op.key_dim), float(op.value_dim), float(op.heads)
    once = single_tokens(step)
    linear, square, cube = (chunk_sum(step, op.chunk, power) for power in (1, 2, 3))
    per_head = square * (2.0 * (3.0 * k + 2.0 * v)) + linear * (6.0 * k * v) + cube / 3.0
    cost.products = (per_head * heads,)
    cost.vector_flops = heads * (once * (7.0 * k * v) + square * 2.0 + step.tokens * (3.0 * k))
    cost.transcendentals = heads * (square + once + step.tokens * 3.0)
    return cost
