"""Times kernels on a GPU: warm-up, samples under the stopping rule with the clock beside each, one record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from viewer.bench.build import Build
from viewer.bench.cuda_driver import Gpu
from viewer.bench.nvml import Monitor, Reading
from viewer.bench.operands import Array
from viewer.bench.schema import Flag, KernelInfo, Record, Result, Samples, Stats, Unit, Validity
from viewer.bench.statistics import Sampling, StopRule, summarize

BATCH_S = 0.010
STAMP_WORDS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often: the standard campaign, or a quick look."""

    rule: StopRule = field(default_factory=lambda: StopRule(min_seconds=5.0, max_seconds=15.0))
    warm_up_s: float = 1.0
    idle_s: float = 0.5
    burst_samples: int = 9
    sweep_points: int = 9

    @classmethod
    def quick(cls) -> Settings:
        """A look: some tenths of a second each, no bursts."""
        rule = StopRule(min_samples=10, min_seconds=0.1, half_width=0.01, max_seconds=0.5)
        return cls(rule=rule, warm_up_s=0.1, idle_s=0.0, burst_samples=0, sweep_points=5)


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to time. ``enqueue(n)`` puts n units of work on the stream; ops and bytes are of one unit.

    ``check()`` -> relative error of a fresh run. ``stamps()`` -> clock stamps of the last launch, or None.
    """

    id: str
    metric: str
    unit: Unit
    enqueue: Callable[[int], None]
    ops: float
    bytes: float
    counted: str
    check: Callable[[], float]
    limit: float = 0.0
    stamps: Callable[[], Array] | None = None
    build: Build | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    distribution: str = "random normal; integers uniform"
    expected_op_per_clock: float | None = None


@dataclass(slots=True)
class Timer:
    """A device with its monitor and settings; ``measure`` turns Work into records."""

    gpu: Gpu
    monitor: Monitor
    settings: Settings
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def measure(self, work: Work) -> list[Record]:
        """The sustained record, and a burst record where settings ask for one."""
        error = work.check()
        units = self._calibrate(work)
        records = []
        if self.settings.burst_samples and work.unit == "op/s":
            burst, readings = self._burst(work, units)
            records.append(self._record(work, units, burst, readings, error, "burst"))
        started = self.clock()
        while self.clock() - started < self.settings.warm_up_s:
            self.gpu.timed(lambda: work.enqueue(units))
        sampling, readings = self._sustained(work, units)
        records.append(self._record(work, units, sampling, readings, error, "sustained"))
        return records

    def _calibrate(self, work: Work) -> int:
        units = 1
        seconds = self.gpu.timed(lambda: work.enqueue(1))
        while seconds < BATCH_S and units < 1 << 30:
            units = max(2 * units, int(units * min(100.0, 1.1 * BATCH_S / max(seconds, 1e-6))))
            seconds = self.gpu.timed(lambda n=units: work.enqueue(n))  # type: ignore[misc]
        return units

    def _burst(self, work: Work, units: int) -> tuple[Sampling, list[Reading]]:
        sampling, readings = Sampling(self.settings.rule), []
        for _ in range(self.settings.burst_samples):
            self.sleep(self.settings.idle_s)
            sampling.add(self.gpu.timed(lambda: work.enqueue(units)))
            readings.append(self.monitor.read())
        return sampling, readings

    def _sustained(self, work: Work, units: int) -> tuple[Sampling, list[Reading]]:
        sampling, readings = Sampling(self.settings.rule), []
        while sampling.verdict() == "more":
            sampling.add(self.gpu.timed(lambda: work.enqueue(units)))
            readings.append(self.monitor.read())
        return sampling, readings

    def _record(
        self,
        work: Work,
        units: int,
        sampling: Sampling,
        readings: list[Reading],
        error: float,
        regime: Literal["burst", "sustained"],
    ) -> Record:
        summary = summarize(sampling.seconds)
        stopped = "fixed" if regime == "burst" else sampling.verdict()
        amount = {"op/s": work.ops, "B/s": work.bytes}.get(work.unit, max(work.ops, 1.0)) * units
        rate = work.unit in ("op/s", "B/s")
        per_clock = None
        if work.stamps is not None and work.ops:
            per_clock = op_per_clock(work.stamps(), work.ops * units)
        return Record(
            id=f"cuda.{work.id}" + (".burst" if regime == "burst" else ""),
            kernel=kernel_info(work),
            result=Result(
                metric=work.metric,
                unit=work.unit,
                value=amount / summary.median if rate else summary.median / amount,
                best=amount / summary.min if rate else summary.min / amount,
                uncertainty=summary.ci_half_width,
                regime=regime,
                ops=work.ops * units,
                bytes=work.bytes * units,
                counted=work.counted,
                distribution=work.distribution,
                batch=units,
                **work.facts,
            ),
            samples=_samples(sampling, readings),
            stats=Stats.of(summary, process_medians=[summary.median], stopped=stopped),
            flags=_flags(work, readings, summary.median / summary.min, stopped),
            validity=Validity(
                numeric_error=error if np.isfinite(error) else None,
                numeric_ok=bool(error <= work.limit),
                op_per_clock_per_core=per_clock,
                expected_op_per_clock=work.expected_op_per_clock,
                note="operations per clock and SM from clock64 of the last launch" if per_clock else "",
            ),
        )


def op_per_clock(stamps: Array, ops: float) -> float | None:
    """Operations per clock and SM from (blocks, STAMP_WORDS) stamps of one launch of ``ops`` operations.

    Each block did ops / blocks. For each SM: its blocks' operations over the span from its first begin to its last
    end in its own clock; the median over the SMs. None when the stamps make no sense.
    """
    begin, end, sm = stamps[:, 0].astype(np.float64), stamps[:, 1].astype(np.float64), stamps[:, 4]
    rates = []
    for one in np.unique(sm):
        mine = sm == one
        span = end[mine].max() - begin[mine].min()
        if span > 0:
            rates.append(ops / len(stamps) * int(mine.sum()) / span)
    return float(np.median(rates)) if rates else None


def kernel_info(work: Work) -> KernelInfo:
    """What the record keeps of the compiled kernel."""
    built = work.build
    if built is None or built.module is None:
        return KernelInfo(id=work.id)
    return KernelInfo(
        id=built.kernel,
        source_sha256=built.module.source_sha256,
        cubin_sha256=built.module.cubin_sha256,
        arch=built.arch,
        instruction=built.instruction,
        opcodes=built.opcodes,
        registers=built.registers,
        shared_bytes=built.shared_bytes,
        spill_bytes=built.spill_bytes,
        compiler=built.module.compiler,
    )


def _samples(sampling: Sampling, readings: list[Reading]) -> Samples:
    def column(name: str) -> list[float] | None:
        values = [getattr(r, name) for r in readings]
        return None if any(v is None for v in values) else values

    energy = column("energy_j")
    return Samples(
        seconds=sampling.seconds,
        process=[0] * len(sampling.seconds),
        clock_hz=column("clock_hz"),
        power_w=column("power_w"),
        temperature_c=column("temperature_c"),
        energy_j=energy[-1] - energy[0] if energy else None,
    )


def _flags(work: Work, readings: list[Reading], spread: float, stopped: str) -> list[Flag]:
    flags: list[Flag] = []
    if any(r.throttled for r in readings):
        flags.append("throttled")
    if spread > 1.05:
        flags.append("disturbed")
    if stopped == "not_converged":
        flags.append("not_converged")
    if work.build is not None and work.build.status == "emulated":
        flags.append("emulated")
    return flags
