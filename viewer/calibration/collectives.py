"""Collectives inside a node: all_reduce, all_gather, reduce_scatter, alltoall over ``ranks`` devices.

``bytes`` S is the full buffer (all_gather's output, reduce_scatter's input, the reduced tensor).

    S' = S 2(n-1)/n  (all_reduce),  S (n-1)/n  (the others): what a ring puts on each link in one direction
    line1 = a1 + S'/(e1 link);  line2 = a1 + a2 + S'/(e2 link)
    T = (a0^4 + min(line1, line2)^4)^(1/4)

Two straight lines because NCCL has low-latency protocols for small messages and a bandwidth protocol for
large ones, and takes the faster; the fourth-power sum rounds the corner to the floor a0 (launch and
synchronisation). a0, a1, a2 microseconds; e1, e2 fractions of the link rate in one direction, so that they
carry over to a device with another link. Above 1 an in-switch reduction sends less than a ring would.
Ranks between two fitted counts are interpolated over log2 n, beyond them the nearest count stands.
Ring factors: nccl-tests doc/PERFORMANCE.md (bus bandwidth).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from viewer.calibration import additive_defaults
from viewer.calibration.attention_common import log2
from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray, Work

OPS: tuple[str, ...] = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
REQUIRED: tuple[str, ...] = ("ranks", "bytes")
DEFAULTS: Mapping[str, float | str] = {"library": ""}
KEY_COLUMNS: tuple[str, ...] = ("op", "library")
FAMILY_DEFAULTS: Mapping[str, Constants] = additive_defaults.COLLECTIVES
GROUP: tuple[str, ...] = ("bytes",)
SMOOTHING: Mapping[str, float] = {"anchors": 64.0, "ridge": 0.02}

NAMES = ("a0", "a1", "e1", "a2", "e2")
IN_SWITCH = ("hopper", "blackwell")
"""Families whose switches can reduce in flight (NVLink SHARP): an all-reduce then sends S once each way."""


def ring_bytes(op: str, ranks: FloatArray, size: FloatArray) -> FloatArray:
    """Bytes that a ring puts on each link in one direction: 2(n-1)/n S for all_reduce, else (n-1)/n S."""
    share = (ranks - 1) / ranks
    return size * share * (2.0 if op == "all_reduce" else 1.0)


def work(table: Table, device: Device) -> Work:
    """Link bytes: a ring's, or S where the switch can reduce in flight and that is less."""
    ranks, size = np.asarray(table["ranks"], dtype=float), np.asarray(table["bytes"], dtype=float)
    least = ring_bytes(str(table["op"]), ranks, size)
    if str(table["op"]) == "all_reduce" and device.family in IN_SWITCH:
        least = np.minimum(least, size)
    return Work(
        flops=np.zeros_like(size),
        peak=device.peak("fp32"),
        bytes_=np.zeros_like(size),
        link_bytes=least,
        link_bandwidth=device.node_link,
    )


def check(table: Table, device: Device) -> str:  # noqa: ARG001
    """ "" when the device has a link to its neighbours, else the reason."""
    return "" if device.node_link > 0 else f"{device.name} has no link between devices in its description"


def class_key(table: Table) -> str | TextArray:
    """``all_reduce|nccl-2.27.3|all``: one class an op and library version."""
    return f"{table['op']}|{table.get('library') or '-'}|all"


def _curve(theta: FloatArray, ring: FloatArray, link: float) -> FloatArray:
    """Microseconds of the module's formula; theta = (a0, a1, e1, a2, e2) of shape (5,) or (5, rows)."""
    a0, a1, e1, a2, e2 = theta
    low = a1 + 1e6 * ring / (e1 * link)
    high = a1 + a2 + 1e6 * ring / (e2 * link)
    return np.asarray((a0**4 + np.minimum(low, high) ** 4) ** 0.25)


def _fit_ranks(ring: FloatArray, time_us: FloatArray, link: float) -> FloatArray:
    """Five constants of one rank count: robust least squares of ln T from a few starts."""
    from scipy.optimize import least_squares

    floor = float(np.quantile(time_us, 0.1))
    top = float((1e6 * ring / time_us).max() / link)

    def residual(log_theta: FloatArray) -> FloatArray:
        return np.asarray(np.log(_curve(np.exp(log_theta), ring, link) / time_us))

    best, best_cost = np.zeros(5), np.inf
    for share in (0.1, 0.3, 0.6):
        for step in (5.0, 25.0):
            start = np.log([floor, 0.6 * floor, share * top, step, top])
            found = least_squares(residual, start, loss="soft_l1", f_scale=0.05, bounds=_box(floor))
            if found.cost < best_cost:
                best, best_cost = found.x, found.cost
    return np.asarray(np.exp(best))


def _box(floor: float) -> tuple[FloatArray, FloatArray]:
    low = np.log([0.05 * floor, 0.02 * floor, 1e-3, 1e-2, 1e-3])
    return low, np.log([2 * floor, 3 * floor, 3.0, 500.0, 3.0])


def fit(table: Table, device: Device, time_s: FloatArray) -> Constants:
    """Constants ``"8.a0"`` ... of each rank count in the table (at least five rows each)."""
    ranks = np.asarray(table["ranks"], dtype=float)
    ring = ring_bytes(str(table["op"]), ranks, np.asarray(table["bytes"], dtype=float))
    found: dict[str, float | str] = {}
    for n in np.unique(ranks):
        rows = ranks == n
        if rows.sum() >= 5:
            theta = _fit_ranks(ring[rows], np.asarray(time_s)[rows] * 1e6, device.node_link)
            found.update({f"{n:.0f}.{k}": float(f"{v:.5g}") for k, v in zip(NAMES, theta, strict=True)})
    if not found:
        raise ValueError("a collective needs at least five sizes at one rank count")
    return found


def m2(table: Table, device: Device, constants: Constants) -> FloatArray:
    """Seconds of each row; constants are interpolated over log2 of the ranks."""
    ranks = np.asarray(table["ranks"], dtype=float)
    ring = ring_bytes(str(table["op"]), ranks, np.asarray(table["bytes"], dtype=float))
    known = np.array(sorted({float(k.partition(".")[0]) for k in constants if k.endswith(".a0")}))
    theta = np.stack(
        [
            np.interp(log2(ranks), log2(known), [float(constants[f"{n:.0f}.{k}"]) for n in known])
            for k in NAMES
        ]
    )
    return _curve(theta, ring, device.node_link) * 1e-6


def coordinates(table: Table, device: Device, constants: Constants, m2_s: FloatArray) -> FloatArray:  # noqa: ARG001
    """(rows, 2): log2 of the bytes in units of 1.5, log2 of the ranks in units of 1."""
    return np.stack([log2(np.asarray(table["bytes"])) / 1.5, log2(np.asarray(table["ranks"]))], axis=1)
