"""The layout of devices: how tensor, data, expert and pipeline parallelism share them.

Devices = tp * pp * dp. Experts spread over ``ep`` devices of one stage: inside the tensor-parallel group when ep <= tp
(each expert is then cut tp/ep ways), over ep/tp replicas of the attention when ep > tp.
"""

from __future__ import annotations

from dataclasses import dataclass

from viewer.errors import InputError


@dataclass(frozen=True)
class Layout:
    """Degrees after the rules: ``dp`` counts the replicas that ep > tp implies; ``cut``: devices that share an expert.

    ``span``: attention replicas whose tokens meet in one expert layer (ep / tp, or 1).
    """

    tp: int
    pp: int
    ep: int
    dp: int
    sequence: bool
    micro_batches: int

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.tp * self.pp * self.dp

    @property
    def cut(self) -> int:
        """Ways in which one expert is cut: tp where experts are not spread, tp/ep, or 1."""
        return max(1, self.tp // self.ep)

    @property
    def span(self) -> int:
        """Attention replicas that share one set of experts."""
        return max(1, self.ep // self.tp)

    @property
    def shards(self) -> bool:
        """Whether a layer is cut at all."""
        return self.tp > 1 or self.ep > 1


def make_layout(
    tp: int = 1, pp: int = 1, ep: int = 1, dp: int = 1, sequence: bool = False, micro_batches: int = 1
) -> Layout:
    """The layout of some degrees; InputError where they cannot be put together. ep > tp implies dp >= ep / tp."""
    if max(tp, ep) % min(tp, ep):
        raise InputError(f"ep={ep} and tp={tp}: one must be a multiple of the other")
    span = max(1, ep // tp)
    replicas = max(dp, span)
    if replicas % span:
        raise InputError(f"ep={ep} with tp={tp} needs dp to be a multiple of {span} (given {dp})")
    if sequence and tp == 1:
        raise InputError("sequence parallelism needs tp > 1")
    return Layout(tp, pp, ep, replicas, sequence, micro_batches)


def divided(value: int, ways: int, what: str) -> int:
    """value / ways; InputError by name where it does not divide."""
    if value % ways:
        raise InputError(f"{what}: {value} cannot be divided over {ways} devices")
    return value // ways


def kept_heads(heads: int, tp: int, what: str) -> int:
    """Key/value heads on one device: K/tp, or one (replicated) when tp is a multiple of K; InputError otherwise."""
    if heads % tp == 0:
        return heads // tp
    if tp % heads == 0:
        return 1
    raise InputError(
        f"{what}: {heads} key/value heads can be neither divided over nor repeated on {tp} devices"
    )
