"""What every kernel class model shares: the device's rates, the work of a kernel, its bound.

A *kernel class model* is a module of this package (``gemm``, ``attention_decode``, ...) with the names of
:class:`KernelModel`. It is called with a *table*: one kernel a row, numeric columns as float arrays of one
length, text columns as one ``str`` each, because the caller has grouped the rows by ``KEY_COLUMNS`` first.
Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TextArray = NDArray[np.str_]
Table = Mapping[str, Any]
Constants = Mapping[str, float | str]

BOUNDS = ("memory", "compute", "vector", "transcendental", "link", "cache", "latency")
"""Names of the resources that can bound a kernel; the codes of :func:`bound` index this tuple."""

REGIMES = ("tiny", "memory", "transition", "compute")
TINY_S = 5e-6
"""A kernel whose bound is under 5 us is dominated by its launch (regime ``tiny``)."""

LABELS = ("calibrated", "family", "uncalibrated")


@dataclass(frozen=True, slots=True)
class Device:
    """The rates of one device, SI units, that the efficiency models may use.

    ``tensor_peak`` and ``vector_peak`` map a math type ("bf16", "fp8", "int8", "fp32" ...) to dense
    operations/s at the rated clock; ``boost`` is maximum clock / rated clock of the tensor units (1 when the
    datasheet gives one clock only). ``l2_bandwidth`` is measured, or an estimate (``l2_note`` says which).
    """

    name: str
    architecture: str
    family: str
    kind: str
    core_count: float
    rated_hz: float
    maximum_hz: float
    tensor_peak: Mapping[str, float]
    vector_peak: Mapping[str, float]
    exp_per_s: float
    dram_bandwidth: float
    l2_bytes: float
    l2_bandwidth: float
    l2_note: str = ""
    links: Mapping[str, float] = field(default_factory=dict)
    tdp_w: float = 0.0

    @property
    def boost(self) -> float:
        """Maximum clock over the rated clock, at least 1."""
        return max(1.0, self.maximum_hz / self.rated_hz) if self.rated_hz > 0 else 1.0

    @property
    def l2_ceiling(self) -> float:
        """Bytes/s that the L2 cannot exceed: 64 bytes a cycle into each core of a GPU at its maximum clock.

        Bounds use it (they must not exceed a possible time); estimates use ``l2_bandwidth``. Source: 64 B/clk
        per SM port in the NVIDIA A100 whitepaper's 5120 B/clk for 80 slices and later parts alike.
        """
        if self.kind != "gpu" or self.core_count <= 0:
            return self.l2_bandwidth
        return max(self.l2_bandwidth, 64.0 * self.core_count * max(self.maximum_hz, self.rated_hz))

    @property
    def node_link(self) -> float:
        """Bytes/s in one direction of the fastest link within a node; 0 when there is none."""
        return max(self.links.values(), default=0.0)

    def peak(self, math_type: str) -> float:
        """Dense operations/s at the rated clock of the unit that runs ``math_type``.

        The tensor unit when it has the type, else the vector unit, else the narrowest wider type that the
        tensor unit has ("fp8" on Ampere runs as 16-bit). Raises KeyError by name when nothing fits.
        """
        for candidate in _RUNS_AS.get(math_type, (math_type,)):
            if candidate in self.tensor_peak:
                return self.tensor_peak[candidate]
            if candidate in self.vector_peak and candidate == math_type:
                return self.vector_peak[candidate]
        for candidate in _RUNS_AS.get(math_type, (math_type,)):
            if candidate in self.vector_peak:
                return self.vector_peak[candidate]
        have = ", ".join(sorted({*self.tensor_peak, *self.vector_peak}))
        raise KeyError(f"{self.name} has no rate for {math_type} (it has: {have})")


# A narrow type that the unit lacks is converted up, never down: the order of the first native one.
_RUNS_AS: Mapping[str, tuple[str, ...]] = {
    "bf16": ("bf16", "fp16", "tf32", "fp32"),
    "fp16": ("fp16", "bf16", "tf32", "fp32"),
    "fp8": ("fp8", "fp16", "bf16", "fp32"),
    "fp6": ("fp6", "fp8", "fp16", "bf16", "fp32"),
    "fp4": ("fp4", "fp8", "fp16", "bf16", "fp32"),
    "int8": ("int8", "fp16", "bf16", "fp32"),
    "int4": ("int4", "int8", "fp16", "bf16", "fp32"),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What a kernel must do at least; each member is an array over the rows, or a number.

    ``flops`` run at ``peak`` (operations/s, rated clock; times ``Device.boost`` in the bound), ``exps`` on
    the special units, ``bytes_`` is the least DRAM traffic of a cold run. ``warm``: the working set was
    read just before, so the part that fits the L2 comes from there. ``link_bytes`` cross ``link_bandwidth``.
    """

    flops: FloatArray | float
    peak: float
    bytes_: FloatArray | float
    warm: NDArray[np.bool_] | bool = False
    exps: FloatArray | float = 0.0
    vector_flops: FloatArray | float = 0.0
    vector_peak: float = 0.0
    link_bytes: FloatArray | float = 0.0
    link_bandwidth: float = 0.0


class KernelModel(Protocol):
    """The names that a module must have to be a kernel class model (modules satisfy it structurally).

    Optional: ``ANCHOR_COLUMNS`` (numeric columns that identify a row of a class; REQUIRED when absent) and
    ``m2_and_coordinates(table, device, constants) -> (m2_s, features)`` (both at the price of one).
    """

    OPS: tuple[str, ...]
    """Values of the column ``op`` that it handles."""
    REQUIRED: tuple[str, ...]
    """Numeric columns that a row must have, finite and positive (else it is not predicted, with a note)."""
    DEFAULTS: Mapping[str, float | str]
    """Optional columns of the table and the value that stands for an empty cell."""
    KEY_COLUMNS: tuple[str, ...]
    """Text columns (and small integers) that the caller groups by; each arrives as one value."""
    GROUP: tuple[str, ...]
    """Columns whose combination names a shape group for leave-one-group-out."""
    FAMILY_DEFAULTS: Mapping[str, Constants]
    """Constants by family ("ampere", "ada", "hopper", "any"), used when no calibration file has the class."""

    def check(self, table: Table, device: Device) -> str:
        """Why this class cannot be predicted on the device ("" when it can)."""

    def work(self, table: Table, device: Device) -> Work:
        """FLOPs and bytes of each row."""

    def class_key(self, table: Table) -> str | TextArray:
        """Kernel class ``"formats|library|rest"``: formats as ``act*weight`` (or one), library ``-`` if unnamed."""

    def m2(self, table: Table, device: Device, constants: Constants) -> FloatArray:
        """Physics estimate of the seconds of each row, with the constants of one class."""

    def coordinates(self, table: Table, device: Device, constants: Constants, m2_s: FloatArray) -> FloatArray:
        """(rows, features): physics features, scaled so that one unit is one correlation length of M3."""

    def fit(self, table: Table, device: Device, time_s: FloatArray) -> Constants:
        """Constants of one class from measurements (raises ValueError when there are too few rows)."""


def seconds_by_resource(work: Work, device: Device, *, maximum_clock: bool = True) -> dict[str, FloatArray]:
    """Least seconds on each resource, arrays of one shape.

    memory of a cold row: B / bw; of a warm row: max(B - L2, 0) / bw + min(B, L2) / l2_ceiling
    compute: flops / (peak * boost), vector and transcendental alike; link: bytes / link bandwidth.
    """
    boost = device.boost if maximum_clock else 1.0
    total = np.asarray(work.bytes_, dtype=float)
    cold_s = total / device.dram_bandwidth
    if device.l2_bytes > 0 and device.l2_ceiling > device.dram_bandwidth and np.any(work.warm):
        resident = np.minimum(total, device.l2_bytes)
        warm_s = (total - resident) / device.dram_bandwidth + resident / device.l2_ceiling
        memory_s = np.where(work.warm, warm_s, cold_s)
    else:
        memory_s = cold_s
    times = {"memory": memory_s, "compute": np.asarray(work.flops, dtype=float) / (work.peak * boost)}
    if np.any(work.vector_flops) and work.vector_peak > 0:
        times["vector"] = np.asarray(work.vector_flops, dtype=float) / (work.vector_peak * boost)
    if np.any(work.exps) and device.exp_per_s > 0:
        times["transcendental"] = np.asarray(work.exps, dtype=float) / (device.exp_per_s * boost)
    if np.any(work.link_bytes) and work.link_bandwidth > 0:
        times["link"] = np.asarray(work.link_bytes, dtype=float) / work.link_bandwidth
    return times


def bound(work: Work, device: Device) -> tuple[FloatArray, IntArray]:
    """The time no kernel can beat (maximum clocks, L2-aware), and the code in BOUNDS of its resource."""
    times = seconds_by_resource(work, device)
    names = list(times)
    stack = np.stack(np.broadcast_arrays(*times.values()))
    best = stack.argmax(axis=0)
    codes = np.array([BOUNDS.index(name) for name in names])[best]
    return stack.max(axis=0), codes


def datasheet_roofline(work: Work, device: Device) -> tuple[FloatArray, FloatArray]:
    """(compute seconds, memory seconds) of rung M0 at rated clocks with every byte from DRAM."""
    compute_s = np.asarray(work.flops, dtype=float) / work.peak
    memory_s = np.asarray(work.bytes_, dtype=float) / device.dram_bandwidth
    if np.any(work.link_bytes) and work.link_bandwidth > 0:
        memory_s = np.maximum(memory_s, np.asarray(work.link_bytes, dtype=float) / work.link_bandwidth)
    both = np.broadcast_arrays(compute_s, memory_s)
    return both[0], both[1]


def regime(work: Work, device: Device) -> IntArray:
    """Code in REGIMES: tiny (M0 under 5 us), memory (t_mem > 4 t_comp), compute (reverse), transition."""
    compute_s, memory_s = datasheet_roofline(work, device)
    code = np.where(memory_s > 4 * compute_s, 1, np.where(compute_s > 4 * memory_s, 3, 2))
    return np.where(np.maximum(compute_s, memory_s) < TINY_S, 0, code).astype(np.int64)
