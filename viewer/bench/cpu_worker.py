"""A fresh process that runs CPU benchmarks: one JSON request on stdin, one JSON line per finished job on stdout.

A probe that dies (an illegal instruction, no memory) takes this process with it, not the campaign.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from viewer.bench import cpu_blas, host
from viewer.bench.cpu_build import Pool, Probes
from viewer.bench.cpu_plan import BLAS_PROBES, Job
from viewer.bench.statistics import Sampling, StopRule

BATCH_S = 0.005
WARM_UP_S = 0.05
SHORTEST_S = 0.05

Batch = Callable[[int], tuple[float, float]]


def _calibrate(batch: Batch) -> int:
    """Repetitions that make a batch of about BATCH_S; the calls warm up caches, clocks and pages."""
    reps, started = 1, time.monotonic()
    best = batch(1)[0]
    while best < BATCH_S / 2 and reps < 1 << 40:
        reps = max(reps * 2, int(reps * min(100.0, 0.8 * BATCH_S / max(best, 1e-9))))
        best = min(batch(reps)[0], batch(reps)[0])
    while time.monotonic() - started < WARM_UP_S:
        batch(reps)
    return reps


def measure(batch: Batch, rule: StopRule, reps: int | None) -> dict[str, Any]:
    """Samples batches until the rule is satisfied. ``batch(reps)`` -> (seconds, core clock or 0)."""
    reps = reps or _calibrate(batch)
    batch(reps)
    busy, own, began = host.busy_seconds(), host.own_seconds(), time.monotonic()
    sampling, clocks = Sampling(rule), []
    while sampling.verdict() == "more":
        seconds, hz = batch(reps)
        sampling.add(max(seconds, 1e-9))
        clocks.append(hz)
    elapsed = time.monotonic() - began
    busy_after = host.busy_seconds()
    other = None
    if busy is not None and busy_after is not None:
        spent_by_others = busy_after - busy - (host.own_seconds() - own)
        other = max(0.0, spent_by_others / (elapsed * len(host.usable_cpus())))
    return {
        "seconds": sampling.seconds,
        "clock_hz": clocks,
        "reps": reps,
        "stopped": sampling.verdict(),
        "other_cpu_share": other,
    }


def _run_probe(job: Job, probes: Probes, request: dict[str, Any], rule: StopRule) -> dict[str, Any]:
    counts = probes.counts(job.probe, job.bytes)
    if counts is None:
        return {"skip": f"this processor or compiler has no {job.probe}"}
    cpus: list[int] = request["cpus"][: job.threads]
    pool: Pool
    with probes.open(job.probe, cpus, job.bytes, request["seed"]) as pool:
        error = pool.check()

        def batch(reps: int) -> tuple[float, float]:
            seconds, hz = pool.sample(reps, 1)
            return seconds[0], hz[0]

        found = measure(batch, rule, job.reps)
    return found | {
        "ops_per_rep": counts[0] * job.threads,
        "bytes_per_rep": counts[1] * job.threads,
        "error": error,
    }


def _run(job: Job, probes: Probes | None, request: dict[str, Any], rule: StopRule) -> dict[str, Any]:
    if job.probe in BLAS_PROBES:
        clock = probes.clock_hz if probes else lambda: 0.0
        return cpu_blas.run(job, request["seed"], clock, lambda batch: measure(batch, rule, job.reps))
    if probes is None:
        return {"skip": "no compiled probes"}
    return _run_probe(job, probes, request, rule)


def serve(request: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    """Runs the jobs of a request within its budget of seconds.

    Each job keeps a minimum, so a busy machine overruns; jobs that only repeat earlier ones are then left out.
    """
    probes = Probes(Path(request["library"])) if request.get("library") else None
    rule, jobs = StopRule(**request["rule"]), [Job(**j) for j in request["jobs"]]
    ends = time.monotonic() + request["budget_s"]
    for index, job in enumerate(jobs):
        share = (ends - time.monotonic()) / (len(jobs) - index)
        if share <= 0 and request.get("repeat"):
            emit({"id": job.id, "skip": "not repeated in another process: out of time"})
            continue
        limit = max(SHORTEST_S, min(rule.max_seconds, share))
        hurried = replace(rule, max_seconds=limit, min_seconds=min(rule.min_seconds, limit))
        try:
            found = _run(job, probes, request, hurried)
        except (RuntimeError, MemoryError, ValueError, ImportError) as error:
            found = {"skip": str(error)[:300]}
        emit({"id": job.id} | found)


def main() -> None:
    """Entry point of the process."""

    def emit(row: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()

    serve(json.loads(sys.stdin.read()), emit)


if __name__ == "__main__":
    main()
