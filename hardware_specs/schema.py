"""The description of one device: a strict, frozen, versioned schema.

Every rate is for dense operands with FP32 (integers: INT32) accumulation unless its field says
otherwise, in operations per second where one fused multiply-add is two. Capacities are bytes,
bandwidths bytes per second, clocks hertz. What is not known is absent; asking for it raises by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field, model_validator

from hardware_specs.errors import HardwareError, unknown
from hardware_specs.quantity import Figure, Quantity, Strict

SCHEMA_VERSION = 1

DeviceKind = Literal["gpu", "cpu", "tpu", "npu", "soc"]
MathType = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4", "b1"]
Clock = Literal["rated", "maximum"]
PEAK_CLOCKS: tuple[str, ...] = get_args(Clock)
UNITS = ("tensor", "tensor_f16acc", "vector", "special")
MATH_TYPES: tuple[str, ...] = get_args(MathType)


class Rate(Strict):
    """Peak of one unit for one math type.

    ``peak`` is in op/s at the clock named by ``clock`` (Hopper quotes tensor peaks at 1830 MHz and FP32
    at 1980). ``op_per_clock`` is per core, so that cores x op_per_clock x clock should reproduce the peak;
    where it does not, or where there is no such product, ``Hardware.exceptions`` says why.
    """

    peak: Quantity
    op_per_clock: Quantity | None = None
    clock: Clock = "rated"
    accumulate: Literal["fp64", "fp32", "fp16", "int32"] | None = None


class Compute(Strict):
    """Rates by unit and math type.

    ``tensor`` is the matrix unit, whatever its vendor calls it (tensor core, matrix core, XMX, MME, MXU,
    AMX tile). A chip without one (most CPUs, the GPUs of Apple up to the M4) multiplies matrices on its
    SIMD lanes: then ``tensor`` repeats those rates, because a matrix product has to run somewhere.
    ``tensor_f16acc`` is the same unit with FP16 accumulation (twice as fast on GeForce).
    ``special`` is the special-function unit: base-2 exponentials per second.
    """

    tensor: dict[MathType, Rate] = Field(default_factory=dict)
    tensor_f16acc: dict[Literal["fp16", "fp8"], Rate] = Field(default_factory=dict)
    vector: dict[MathType, Rate] = Field(default_factory=dict)
    special: dict[Literal["exp"], Rate] = Field(default_factory=dict)

    def unit(self, unit: str) -> dict[str, Rate]:
        """The rates of one unit by math type; HardwareError for a word that is not a unit."""
        if unit not in UNITS:
            raise unknown("unit", unit, UNITS)
        rates: dict[str, Rate] = getattr(self, unit)
        return rates


class SparseRule(Strict):
    """How much faster the tensor unit runs structured-sparse operands than dense ones, for some types."""

    types: tuple[MathType, ...] = Field(min_length=1)
    factor: Quantity
    pattern: str = Field(default="2:4", pattern=r"^(?:\d+:\d+|M:N)$")


class MemoryLevel(Strict):
    """One level of the memory. ``per`` says whether the figures are of the device or of one core.

    ``usable_bytes`` is what a program can get of the capacity (shared memory of an L1 that is split).
    """

    capacity_bytes: Quantity | None = None
    bandwidth_bytes_per_s: Quantity | None = None
    usable_bytes: Quantity | None = None
    per: Literal["device", "core"] = "device"
    technology: str | None = Field(default=None, max_length=200)


class Memory(Strict):
    """``dram``; ``llc``, a last-level cache behind the L2; ``l2``; ``shared``, the L1 or scratchpad."""

    dram: MemoryLevel | None = None
    llc: MemoryLevel | None = None
    l2: MemoryLevel | None = None
    shared: MemoryLevel | None = None


class Link(Strict):
    """A connection of the device. Vendors print both directions together; here it is one direction.

    ``reaches``: other ``device``s of the kind, the ``host``, or ``any`` of both (PCIe).
    ``devices``: how many devices the link joins at most, where known. ``scope`` is ``node`` for a
    scale-up fabric (NVLink, xGMI, ICI) and ``network`` for what needs a NIC.
    """

    name: str = Field(min_length=1, max_length=80)
    bandwidth_per_direction_bytes_per_s: Quantity
    scope: Literal["node", "network"] = "node"
    reaches: Literal["device", "host", "any"] = "device"
    devices: int | None = Field(default=None, ge=2, le=1_000_000)
    topology: Literal["switch", "mesh", "torus", "bridge", "point-to-point"] | None = None


class Clocks(Strict):
    """``rated_hz``: behind the datasheet's peaks; ``maximum_hz``: what the chip may hold; ``base_hz``.

    CPUs: rated is the all-core turbo (or, where none is published, the base clock) and maximum the boost.
    """

    rated_hz: Quantity | None = None
    maximum_hz: Quantity | None = None
    base_hz: Quantity | None = None


class RateException(Strict):
    """Why a peak is not cores x op_per_clock x clock."""

    unit: Literal["tensor", "tensor_f16acc", "vector", "special"]
    types: tuple[str, ...] = Field(min_length=1)
    reason: str = Field(min_length=10, max_length=500)


class Measured(Quantity):
    """A published measurement, beside the datasheet's figure and never in its place."""

    metric: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)
    unit: Literal["B/s", "op/s", "s", "cycles", "op/clk/core", "op/s/core"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the choice of number formats may know of a device: which types it runs, and no rates."""

    kind: str
    architecture: str
    tensor_types: frozenset[str]
    vector_types: frozenset[str]
    sparse_types: frozenset[str]
    block_scaled_types: frozenset[str]


class Hardware(Strict):
    """One device. Fields are what the file says; methods answer and raise what is missing by name."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9]+(?:[-./][a-z0-9.]+)*$", max_length=80)
    label: str = Field(min_length=1, max_length=80)
    vendor: str = Field(pattern=r"^[a-z0-9-]+$", max_length=40)
    kind: DeviceKind
    architecture: str = Field(pattern=r"^[A-Za-z0-9_.+-]+$", max_length=40)
    note: str | None = Field(default=None, max_length=1000)
    core_count: Quantity | None = None
    core_name: str | None = Field(default=None, max_length=40)
    clocks: Clocks = Clocks()
    tdp_w: Quantity | None = None
    compute: Compute
    sparse: tuple[SparseRule, ...] = ()
    block_scaled: tuple[MathType, ...] = ()
    levels: Memory = Field(alias="memory")
    links: tuple[Link, ...] = ()
    measured: tuple[Measured, ...] = ()
    exceptions: tuple[RateException, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Hardware:
        for item in self.exceptions:
            for math_type in item.types:
                if math_type not in self.compute.unit(item.unit):
                    raise ValueError(f"exceptions: {item.unit} has no {math_type} that could be an exception")
        twice = [t for rule in self.sparse for t in rule.types if rule.pattern == "2:4"]
        for math_type in twice:
            if twice.count(math_type) > 1:
                raise ValueError(f"sparse: {math_type} has two 2:4 factors")
            if math_type not in self.compute.tensor:
                raise ValueError(f"sparse: the tensor unit has no {math_type}")
        for math_type in self.block_scaled:
            if math_type not in self.compute.tensor:
                raise ValueError(f"block_scaled: the tensor unit has no {math_type}")
        used = {rate.clock for unit in UNITS for rate in self.compute.unit(unit).values()}
        if "maximum" in used and self.clocks.maximum_hz is None:
            raise ValueError("clocks.maximum_hz: needed, because a rate says clock: maximum")
        return self

    def clock_hz(self, clock: str = "rated") -> float | None:
        """The ``rated``, ``maximum`` or ``base`` clock in Hz, or None where it is not known."""
        allowed = ("rated", "maximum", "base")
        if clock not in allowed:
            raise unknown("clock", clock, allowed)
        quantity: Quantity | None = getattr(self.clocks, f"{clock}_hz")
        return quantity.value if quantity else None

    def has_peak(self, unit: str, math_type: str) -> bool:
        """Whether the device runs ``math_type`` natively on ``unit`` and the rate is known."""
        return math_type in self.compute.unit(unit)

    def rate(self, unit: str, math_type: str) -> Rate:
        """The rate with its provenance; HardwareError names unit, type, device and what there is."""
        rates = self.compute.unit(unit)
        if math_type not in rates:
            there = ", ".join(rates) if rates else "nothing"
            raise HardwareError(f"{self.name}: no {unit} peak for {math_type!r} (it has: {there})")
        return rates[math_type]

    def peak(self, unit: str, math_type: str, clock: str = "rated") -> float:
        """Dense peak in op/s: the datasheet's figure (``rated``), or scaled to the ``maximum`` clock.

        maximum: peak x maximum_hz / (the clock behind the peak). Where no maximum is known the
        device is taken to hold no more than the clock behind its peaks. Missing rates raise HardwareError.
        """
        found = self.rate(unit, math_type)
        if clock not in PEAK_CLOCKS:
            raise unknown("clock", clock, PEAK_CLOCKS)
        reference, top = self.clock_hz(found.clock), self.clock_hz("maximum")
        if clock == "rated" or reference is None or top is None:
            return found.peak.value
        return found.peak.value * max(1.0, top / reference)

    def sparse_factor(self, math_type: str) -> float | None:
        """Speed-up of the tensor unit on 2:4 sparse weights, or None where it has none for this type."""
        for rule in self.sparse:
            if rule.pattern == "2:4" and math_type in rule.types:
                return rule.factor.value
        return None

    def memory(self, level: str) -> MemoryLevel | None:
        """A memory level (``dram``, ``llc``, ``l2``, ``shared``), or None where none is known.

        ``l2`` answers with the last-level cache where a device has no separate L2 in its description.
        """
        names = ("dram", "llc", "l2", "shared")
        if level not in names:
            raise unknown("memory level", level, names)
        found: MemoryLevel | None = getattr(self.levels, level)
        return self.levels.llc if found is None and level == "l2" else found

    def bandwidth_bytes_per_s(self, level: str) -> float | None:
        """Bandwidth of a memory level over the whole device (all cores together), or None if not known."""
        found = self.memory(level)
        if found is None or found.bandwidth_bytes_per_s is None:
            return None
        if found.per == "device":
            return found.bandwidth_bytes_per_s.value
        return found.bandwidth_bytes_per_s.value * self.core_count.value if self.core_count else None

    def measured_value(self, metric: str) -> Measured | None:
        """The published measurement of one metric (``dram_read_bandwidth``, ...), or None."""
        return next((m for m in self.measured if m.metric == metric), None)

    def peer_link(self, scope: str = "node") -> Link | None:
        """The fastest link between devices of this kind in ``scope``, or None."""
        links = [k for k in self.links if k.scope == scope and k.reaches != "host"]
        return max(links, key=lambda k: k.bandwidth_per_direction_bytes_per_s.value, default=None)

    @property
    def capabilities(self) -> Capabilities:
        """The types of the units, without any rate."""
        return Capabilities(
            kind=self.kind,
            architecture=self.architecture,
            tensor_types=frozenset(self.compute.tensor),
            vector_types=frozenset(self.compute.vector),
            sparse_types=frozenset(t for t in self.compute.tensor if self.sparse_factor(t)),
            block_scaled_types=frozenset(self.block_scaled),
        )

    def figures(self) -> list[Figure]:
        """Every number of the description with its unit and provenance, in reading order."""
        from hardware_specs.figures import list_figures

        return list_figures(self)
