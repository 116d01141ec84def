"""Seconds of collectives: alpha-beta cost over the links of a device, the best of the known algorithms.

With S bytes of the full buffer, n ranks, alpha seconds per hop and beta bytes/s per direction (modelling 7; factors as
nccl-tests' PERFORMANCE.md): all-reduce ring 2(n-1)*alpha + 2(n-1)/n*S/beta, tree 2*ceil(log2 n)*alpha + 2S/beta,
in-switch 2*alpha + S/beta; all-gather, reduce-scatter, all-to-all (n-1)*alpha + (n-1)/n*S/beta; message alpha + S/beta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware_specs import Hardware, HardwareError
from viewer.graph import Graph
from viewer.ops.collective import Collective
from viewer.ops.cost import OpCost
from viewer.workload import Number

#: Seconds of one hop of the low-latency protocol, in NCCL's own tuning tables (NVIDIA/nccl, src/graph/tuning.cc at
#: 01afd20, hwLat, ring, LL): NVLink 0.47 us, PCIe 1.0 us, network 2.7 us. A floor: the base latency of a kernel
#: (3.6 us there) is launch, not link, and belongs to an estimate.
ALPHA_S = {"fabric": 0.47e-6, "pcie": 1.0e-6, "network": 2.7e-6}
#: Devices of one host where the description does not say: eight cards, as in PCIe servers and HGX boards.
HOST_DEVICES = 8
#: Architectures whose switch can reduce (NVLink SHARP: NVSwitch of the third generation, Hopper tuning guide).
IN_SWITCH = frozenset({"sm_90", "sm_100", "sm_103"})


@dataclass(frozen=True)
class Fabric:
    """One level of links: up to ``devices`` devices, ``beta`` bytes/s per direction and device, ``alpha`` s a hop."""

    name: str
    beta: float
    alpha: float
    devices: int
    mesh: bool = False
    in_switch: bool = False

    def rate(self, ranks: int) -> float:
        """Bytes/s that one of ``ranks`` devices can send: in a mesh only the links to the others of the group."""
        return self.beta * (ranks - 1) / (self.devices - 1) if self.mesh else self.beta


@dataclass(frozen=True)
class LinkRates:
    """The fabrics of a device, inner (fast, few) to outer, and the share of collective time that hides behind work."""

    fabrics: tuple[Fabric, ...]
    overlap: float = 0.0

    def seconds(self, op: Collective, cost: OpCost) -> Number:
        """Exposed seconds of one collective."""
        full = self.time_s(op.collective, cost.comm_bytes, op.ranks, op.stride, getattr(op, "copies", 1.0))
        return full * (1.0 - self.overlap)

    def path(self, ranks: int, stride: int) -> tuple[Fabric | None, int, Fabric]:
        """(inner fabric, ranks that it joins, fabric that joins all); no inner one where one fabric joins all."""
        inner: Fabric | None = None
        joined = 1
        for fabric in self.fabrics:
            members = min(ranks, fabric.devices // stride)
            if members >= ranks:
                return inner, joined, fabric
            if members > joined and ranks % members == 0:
                inner, joined = fabric, members
        raise HardwareError(_too_few(self.fabrics, ranks * stride))

    def time_s(self, kind: str, size: Number, ranks: int, stride: int = 1, copies: float = 1.0) -> Number:
        """Seconds of a collective of ``size`` bytes (full buffer) over ``ranks`` devices ``stride`` apart.

        Across two levels: all-reduce is reduce-scatter inside, all-reduce of a part outside, all-gather inside (or
        flat, whichever is less); gather and scatter add their levels; all-to-all runs on both levels at once.
        """
        if ranks == 1:
            return size * 0.0
        inner, joined, outer = self.path(ranks, stride)
        if kind == "all_to_all":
            return _all_to_all(size, ranks, copies, inner, joined, outer)
        flat = _flat(kind, size, ranks, outer)
        if inner is None or kind == "p2p":
            return flat
        groups = ranks // joined
        if kind == "all_reduce":
            inside = 2.0 * _share(size, joined, inner)
        else:
            inside = _share(size, joined, inner)
        return _least([flat, inside + _flat(kind, size / joined, groups, outer)])


def _share(size: Number, ranks: int, fabric: Fabric) -> Number:
    """Ring all-gather or reduce-scatter: (n-1)*alpha + (n-1)/n * S/beta."""
    return (ranks - 1) * fabric.alpha + size * ((ranks - 1) / ranks / fabric.rate(ranks))


def _flat(kind: str, size: Number, ranks: int, fabric: Fabric) -> Number:
    if kind == "all_reduce":
        return _least(list(all_reduce_s(size, ranks, fabric).values()))
    if kind == "p2p":
        return fabric.alpha + size / fabric.rate(ranks)
    return _share(size, ranks, fabric)


def _least(times: list[Number]) -> Number:
    best = times[0]
    for time in times[1:]:
        best = np.minimum(best, time)
    return best


def all_reduce_s(size: Number, ranks: int, fabric: Fabric) -> dict[str, Number]:
    """Seconds of an all-reduce by algorithm: ring, tree, and in-switch where the switch reduces."""
    beta = fabric.rate(ranks)
    hops = math.ceil(math.log2(ranks)) if ranks > 1 else 0
    times: dict[str, Number] = {
        "ring": 2.0 * (ranks - 1) * fabric.alpha + size * (2.0 * (ranks - 1) / ranks / beta),
        "tree": 2.0 * hops * fabric.alpha + size * (2.0 / beta),
    }
    if fabric.in_switch:
        times["in-switch"] = 2.0 * fabric.alpha + size / beta
    return times


def _all_to_all(
    size: Number, ranks: int, copies: float, inner: Fabric | None, joined: int, outer: Fabric
) -> Number:
    """(n-1)*alpha + (n-1)/n*S/beta; across nodes a row crosses once per other node that has one of its experts.

    With m nodes and k picks the expected number of other nodes is (m-1)*(1 - (1 - 1/m)^k); S holds k copies of a row.
    Inside, all k copies travel. Both levels work at once: the slower counts.
    """
    if inner is None:
        return _share(size, ranks, outer)
    nodes = ranks // joined
    crossing = min(copies, (nodes - 1) * (1.0 - (1.0 - 1.0 / nodes) ** copies)) / copies
    outside = (nodes - 1) * outer.alpha + size * (crossing / outer.rate(ranks))
    slower: Number = np.maximum(outside, _share(size, joined, inner))
    return slower


def links_of(
    hardware: Hardware,
    *,
    link_bytes_per_s: float | None = None,
    network_bytes_per_s: float | None = None,
    link_latency_s: float | None = None,
    network_latency_s: float | None = None,
    node_devices: int | None = None,
) -> tuple[Fabric, ...]:
    """The fabrics of a device, from its description; arguments replace or add what it does not say.

    ``link_bytes_per_s`` stands for the links inside a node of ``node_devices``, ``network_bytes_per_s`` for one
    device's share of the network between nodes; both per direction.
    """
    found: list[Fabric] = []
    known = [k.devices for k in hardware.links if k.scope == "node" and k.reaches != "host" and k.devices]
    host = node_devices or max([*known, HOST_DEVICES])
    if link_bytes_per_s is not None:
        found.append(Fabric("given link", link_bytes_per_s, ALPHA_S["fabric"], host))
    else:
        found += [
            _fabric(k, hardware, host) for k in hardware.links if k.scope == "node" and k.reaches != "host"
        ]
    for link in hardware.links:
        if link.scope == "network" and network_bytes_per_s is None:
            found.append(_network(link.name, link.bandwidth_per_direction_bytes_per_s.value))
    if network_bytes_per_s is not None:
        found.append(_network("network", network_bytes_per_s))
    found.sort(key=lambda f: (f.name == "network", -f.beta))
    levels: list[Fabric] = []
    for fabric in found:  # an outer level must join more devices, or it is never used
        if not levels or fabric.devices > levels[-1].devices:
            levels.append(_with_latency(fabric, link_latency_s, network_latency_s))
    return tuple(levels)


def _fabric(link: Any, hardware: Hardware, host: int) -> Fabric:
    pcie = link.name.lower().startswith("pcie")
    devices = link.devices or host
    return Fabric(
        link.name,
        float(link.bandwidth_per_direction_bytes_per_s.value),
        ALPHA_S["pcie" if pcie else "fabric"],
        devices,
        mesh=link.topology == "mesh",
        in_switch=link.topology == "switch" and hardware.architecture.rstrip("a") in IN_SWITCH,
    )


def _network(name: str, beta: float) -> Fabric:
    return Fabric(name, beta, ALPHA_S["network"], 1_000_000)


def _with_latency(fabric: Fabric, link_s: float | None, network_s: float | None) -> Fabric:
    given = network_s if fabric.devices == 1_000_000 else link_s
    if given is None:
        return fabric
    return Fabric(fabric.name, fabric.beta, given, fabric.devices, fabric.mesh, fabric.in_switch)


def link_rates(hardware: Hardware, graph: Graph, overlap: float = 0.0, **given: Any) -> LinkRates | None:
    """Rates for the collectives of ``graph``; None where it has none. HardwareError names the link that is missing."""
    used = {(op.ranks, op.stride) for _, op in graph if isinstance(op, Collective) and op.ranks > 1}
    if not used:
        return None
    rates = LinkRates(links_of(hardware, **given), overlap)
    if not rates.fabrics:
        raise HardwareError(
            f"{hardware.name} has no link between devices; give link_bytes_per_s (bytes/s, per direction)"
        )
    for ranks, stride in sorted(used):
        try:
            rates.path(ranks, stride)
        except HardwareError as error:
            raise HardwareError(f"{hardware.name}: {error}") from None
    return rates


def _too_few(fabrics: tuple[Fabric, ...], devices: int) -> str:
    widest = fabrics[-1]
    return (
        f"{devices} devices need a network between nodes ({widest.name} joins {widest.devices}); "
        "give network_bytes_per_s (bytes/s per device, per direction)"
    )


def describe(rates: LinkRates) -> str:
    """One line for the reader: the links, their rates and latencies."""
    parts = [
        f"{f.name} {f.beta / 1e9:g} GB/s per direction, {f.alpha * 1e6:g} us a hop" for f in rates.fabrics
    ]
    hidden = f"; {rates.overlap:.0%} of their time hidden" if rates.overlap else ""
    return "collectives: " + "; ".join(parts) + hidden


__all__ = ["Fabric", "LinkRates", "all_reduce_s", "describe", "link_rates", "links_of"]
