"""A CUDA campaign: everything to measure on one GPU, in fresh processes, merged into one record each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from viewer.bench import build, cuda_compute, cuda_memory
from viewer.bench.cuda_bench import Settings, Timer, Work
from viewer.bench.cuda_driver import Gpu, GpuError, find_driver
from viewer.bench.kernels import Arch, Kernel, select
from viewer.bench.nvml import Monitor
from viewer.bench.schema import Flag, Record, Result, Samples, Stats
from viewer.bench.statistics import combine, summarize

FLAGS: tuple[Flag, ...] = ("throttled", "disturbed", "not_converged", "emulated")
Keep = Callable[[Record], None]
Report = Callable[[str], None]


def pci_address(facts: dict[str, Any]) -> str:
    """``0000:17:00.0`` from the driver's attributes."""
    return f"{facts['pci_domain']:08x}:{facts['pci_bus']:02x}:{facts['pci_device']:02x}.0"


def device_arch(gpu: Gpu) -> Arch:
    """The architecture to build for."""
    facts = gpu.facts
    return Arch.of_device(facts["compute_capability_major"], facts["compute_capability_minor"])


def campaign(
    timer: Timer, kernels: list[Kernel], compiler: build.Compiler, seed: int, keep: Keep, report: Report
) -> None:
    """Builds for the device, then measures all that is native; every failure is reported and skipped."""
    gpu, arch = timer.gpu, device_arch(timer.gpu)
    builds = {}
    for row in build.build_all(kernels, arch, compiler):
        if row.status == "native" and not row.problems:
            builds[row.kernel] = row
        elif row.status in ("emulated", "failed") or row.problems:
            report(f"{row.kernel}: not measured, {'; '.join(row.problems) or row.note}")
    for name, make in works(gpu, builds, timer.settings, seed):
        try:
            made = make()
            for work in made:
                for record in timer.measure(work):
                    keep(record)
        except GpuError as error:
            report(f"{name}: {error}")
        finally:
            gpu.release()


Make = Callable[[], list[Work]]


def works(
    gpu: Gpu, builds: dict[str, build.Build], settings: Settings, seed: int
) -> Iterator[tuple[str, Make]]:
    """(name, maker) of each group of work; a group's memory is freed before the next is made."""

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed)

    if {"dram.write", "dram.read"} <= set(builds):
        yield "dram", lambda: cuda_memory.Dram(gpu, builds, rng()).works()
    if "l2.read" in builds:
        yield "l2", lambda: cuda_memory.l2_works(gpu, builds["l2.read"], settings, rng())
    if {"chase.l1", "chase.l2"} & set(builds):
        yield "latency", lambda: cuda_memory.chase_works(gpu, builds, rng())
    if {"launch.empty", "launch.chain"} <= set(builds):
        yield "launch", lambda: cuda_memory.launch_works(gpu, builds)
        yield "link", lambda: cuda_memory.link_works(gpu, rng())
    for name, row in builds.items():
        if row.kernel.split(".")[0] in ("mma", "wgmma", "vector", "special", "shared"):
            yield name, lambda row=row: [cuda_compute.work_for(gpu, row, rng())]  # type: ignore[misc]


def merged(records: list[Record]) -> Record:
    """One record of the same benchmark from several fresh processes: the median of their medians."""
    if len(records) == 1:
        return records[0]
    first = records[0]
    # every process sized its own batch: bring the samples to the first one's
    seconds, process = [], []
    for number, record in enumerate(records):
        factor = first.result.batch / record.result.batch
        seconds += [s * factor for s in record.samples.seconds]
        process += [number] * len(record.samples.seconds)
    summary = summarize(seconds)
    medians = [r.stats.median * first.result.batch / r.result.batch for r in records]
    within = max((r.stats.ci95_hi - r.stats.ci95_lo) / 2 / r.stats.median for r in records)
    headline, uncertainty = combine(medians, within)
    rate = first.result.unit in ("op/s", "B/s")
    factor = first.stats.median / headline
    value = first.result.value * factor if rate else first.result.value / factor
    best = max(r.result.best for r in records) if rate else min(r.result.best for r in records)
    raised = {flag for r in records for flag in r.flags}
    flags = [flag for flag in FLAGS if flag in raised]
    worst = max(records, key=lambda r: (not r.validity.numeric_ok, r.validity.numeric_error or 0.0))
    result: Result = first.result.model_copy(
        update={"value": value, "best": best, "uncertainty": uncertainty}
    )

    def joined(name: str) -> list[float] | None:
        columns = [getattr(r.samples, name) for r in records]
        return None if any(c is None for c in columns) else [x for c in columns for x in c]

    energies = [r.samples.energy_j for r in records]
    samples = Samples(
        seconds=seconds,
        process=process,
        clock_hz=joined("clock_hz"),
        power_w=joined("power_w"),
        temperature_c=joined("temperature_c"),
        energy_j=None if any(e is None for e in energies) else sum(e for e in energies if e is not None),
    )
    stats = Stats.of(summary, process_medians=medians, stopped=records[-1].stats.stopped)
    return first.model_copy(
        update={
            "result": result,
            "samples": samples,
            "stats": stats,
            "flags": flags,
            "validity": worst.validity,
        }
    )


def open_timer(ordinal: int, settings: Settings) -> Timer:
    """The device, its monitor and the settings; GpuError in one line where there is no GPU."""
    gpu = Gpu(find_driver(), ordinal)
    return Timer(gpu, Monitor(pci_address(gpu.facts)), settings)


def main() -> None:
    """A fresh process: a JSON request on stdin, a record a line on stdout, messages on stderr."""
    request = json.loads(sys.stdin.read())
    settings = Settings.quick() if request["quick"] else Settings()
    if request.get("sustained_only"):
        settings = replace(settings, burst_samples=0)
    compiler = build.find_compiler(request["compiler"])
    if compiler is None:
        raise SystemExit(build.NO_COMPILER)

    def keep(record: Record) -> None:
        sys.stdout.write(record.model_dump_json() + "\n")
        sys.stdout.flush()

    def report(line: str) -> None:
        sys.stdout.write(json.dumps({"report": line}) + "\n")
        sys.stdout.flush()

    timer = open_timer(request["device"], settings)
    campaign(timer, select(request["kernels"]), compiler, request["seed"], keep, report)
    if request.get("libraries"):
        from viewer.bench import torch_kernels

        torch_kernels.stream(request["quick"], request["device"], request["seed"], report)


if __name__ == "__main__":
    main()
