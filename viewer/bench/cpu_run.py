"""A CPU campaign: plan, fresh worker processes, records, and what to keep when it is interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from viewer.bench import cpu_build, host
from viewer.bench.cpu_expect import expected_op_per_clock
from viewer.bench.cpu_plan import MEANINGS, Job, plan
from viewer.bench.schema import Flag, KernelInfo, Record, Result, Samples, Stats, Validity
from viewer.bench.statistics import QUICK, STANDARD, StopRule, combine, quantile, summarize

FULL_BUDGET_S = 105.0
QUICK_BUDGET_S = 25.0
PROCESSES = 3
ERROR_LIMIT = 1e-4
CORETYPE = "OPENBLAS_CORETYPE"

Report = Callable[[str], None]


class Worker:
    """One fresh process; iterate it for finished jobs (dicts), close it early to stop."""

    def __init__(self, request: dict[str, Any], *, native_blas: bool) -> None:
        environment = dict(os.environ)
        if native_blas:
            environment.pop(CORETYPE, None)
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(p for p in (root, environment.get("PYTHONPATH")) if p)
        command = [sys.executable, "-m", "viewer.bench.cpu_worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request))
        self._process.stdin.close()
        self._process.stdin = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                yield json.loads(line)
            except ValueError:
                continue  # something else printed to stdout

    def close(self) -> str:
        """Ends the process; its last words when it failed."""
        if self._process.poll() is None:
            try:
                self._process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        _, errors = self._process.communicate()
        if not self._process.returncode:
            return ""
        last = (errors or "").strip().splitlines()[-1:] or [f"exit status {self._process.returncode}"]
        return last[0][:300]


def build_or_explain(report: Report) -> tuple[cpu_build.Built | None, str]:
    """The compiled probes, or None and the reason, which the report gets as well."""
    try:
        return cpu_build.build(), ""
    except cpu_build.BuildError as error:
        report(f"{error}; falling back to NumPy (quality C)")
        return None, str(error)


def run(
    *,
    quick: bool,
    seed: int,
    report: Report,
    keep: Callable[[list[Record]], None],
    jobs: list[Job] | None = None,
    rule: StopRule | None = None,
    budget_s: float | None = None,
) -> tuple[list[Record], list[str]]:
    """Runs the campaign; ``keep`` gets the finished records after each job. Returns (records, notes).

    Headline jobs run in PROCESSES fresh processes (one in quick mode). KeyboardInterrupt passes through after
    the worker is gone; what was finished by then has been given to ``keep``.
    """
    built, why = build_or_explain(report)
    notes = [why] if why else []
    if jobs is None:
        jobs = plan(quick=quick, compiled=built is not None, environment_blas=CORETYPE in os.environ)
    rule = rule or (QUICK if quick else STANDARD)
    ends = time.monotonic() + (budget_s or (QUICK_BUDGET_S if quick else FULL_BUDGET_S))
    passes = 1 if quick else PROCESSES
    found: dict[str, list[dict[str, Any]]] = {}
    records: dict[str, Record] = {}
    batches = _batches(jobs, passes)
    work = sum(len(group) for group in batches)
    for group in batches:
        group_now = [replace(j, reps=found[j.id][0]["reps"]) if j.id in found else j for j in group]
        budget = max(1.0, (ends - time.monotonic()) * len(group) / max(work, 1))
        work -= len(group)
        request = {
            "library": str(built.path) if built else None,
            "seed": seed,
            "cpus": host.pinnable(host.usable_cpus()),
            "rule": asdict(rule),
            "budget_s": budget,
            "jobs": [j.as_dict() for j in group_now],
            "repeat": all(j.id in found for j in group),
        }
        notes += _run_group(request, group_now, built, found, records, report, keep)
    return [records[j.id] for j in jobs if j.id in records], notes


def _batches(jobs: list[Job], passes: int) -> list[list[Job]]:
    """One list per process: everything first (BLAS without a forced kernel apart), then the headlines again."""
    plain = [j for j in jobs if not j.native_blas]
    native = [j for j in jobs if j.native_blas]
    again = [[j for j in plain if j.headline] for _ in range(passes - 1)]
    return [group for group in (plain, native, *again) if group]


def _run_group(
    request: dict[str, Any],
    group: list[Job],
    built: cpu_build.Built | None,
    found: dict[str, list[dict[str, Any]]],
    records: dict[str, Record],
    report: Report,
    keep: Callable[[list[Record]], None],
) -> list[str]:
    by_id, notes, done = {j.id: j for j in group}, [], 0
    worker = Worker(request, native_blas=group[0].native_blas)
    try:
        for row in worker:
            job = by_id[row["id"]]
            done += 1
            if "skip" in row:
                notes.append(f"{job.id}: {row['skip']}")
                report(f"[{done}/{len(group)}] {job.id}: skipped, {row['skip']}")
                continue
            found.setdefault(job.id, []).append(row)
            record = records[job.id] = make_record(job, found[job.id], built)
            keep(list(records.values()))
            report(f"[{done}/{len(group)}] {describe(record)}")
    finally:
        last_words = worker.close()
    if last_words:
        notes.append(f"a worker process failed after {done} of {len(group)} jobs: {last_words}")
        report(notes[-1])
    return notes


def describe(record: Record) -> str:
    """One line: id, value, uncertainty, flags."""
    result = record.result
    scale, unit = {"op/s": (1e9, "Gop/s"), "B/s": (1e9, "GB/s")}.get(result.unit, (1.0, result.unit))
    flags = f"  [{', '.join(record.flags)}]" if record.flags else ""
    value = f"{result.value / scale:.4g} {unit} +- {100 * result.uncertainty:.1f} %"
    return f"{record.id}: {value} (best {result.best / scale:.4g}){flags}"


def make_record(job: Job, rows: list[dict[str, Any]], built: cpu_build.Built | None) -> Record:
    """The record of a job from its rows, one per fresh process."""
    seconds = [s for row in rows for s in row["seconds"]]
    summary = summarize(seconds)
    medians = [summarize(row["seconds"]).median for row in rows]
    within = max(summarize(row["seconds"]).ci_half_width for row in rows)
    clocks = [hz for row in rows for hz in row["clock_hz"]]
    others = [row["other_cpu_share"] for row in rows if row["other_cpu_share"] is not None]
    blas = rows[0].get("blas")
    own = built if blas is None else None
    return Record(
        id=job.id,
        kernel=KernelInfo(
            id=job.probe,
            source_sha256=own.source_sha256 if own else None,
            compiler=f"{own.compiler} {' '.join(own.flags)}" if own else None,
            log=json.dumps(blas) if blas else None,
        ),
        result=_result(job, rows[0], combine(medians, within), summary.min),
        samples=Samples(
            seconds=seconds,
            process=[i for i, row in enumerate(rows) for _ in row["seconds"]],
            clock_hz=clocks if any(clocks) else None,
        ),
        stats=Stats.of(
            summary,
            process_medians=medians,
            stopped=rows[-1]["stopped"],
            other_cpu_share=max(others) if others else None,
        ),
        flags=_flags(rows, summary.median / summary.min, clocks, max(others, default=0.0)),
        validity=_validity(job, rows, clocks, summary.min),
    )


def _result(job: Job, row: dict[str, Any], headline: tuple[float, float], best_s: float) -> Result:
    meaning = MEANINGS[job.probe]
    ops, moved = row["ops_per_rep"] * row["reps"], row["bytes_per_rep"] * row["reps"]
    work = ops if meaning.unit == "op/s" else moved
    return Result(
        metric=meaning.metric,
        unit=meaning.unit,
        value=work / headline[0],
        best=work / best_s,
        uncertainty=headline[1],
        dtype=meaning.dtype or None,
        accumulate=meaning.accumulate or None,
        threads=job.threads,
        working_set_bytes=job.bytes * job.threads or None,
        ops=ops,
        bytes=moved,
        counted=meaning.counted,
        shape={"m": job.size, "n": job.size, "k": job.size} if job.size else {},
        distribution="uniform in [-1, 1), integers uniform",
        cache_state=job.level,
        batch=row["reps"],
        quality="C" if job.probe.startswith("np_") else "A",
        note="BLAS kernel chosen without OPENBLAS_CORETYPE" if job.native_blas else "",
    )


def _flags(
    rows: list[dict[str, Any]], best_to_median: float, clocks: list[float], other: float
) -> list[Flag]:
    flags: list[Flag] = []
    third = len(clocks) // 3
    if third and any(clocks):
        first, last = usual_clock(clocks[:third]), usual_clock(clocks[-third:])
        if last < 0.97 * first:
            flags.append("throttled")
    if best_to_median > 1.05 or other > 0.05:
        flags.append("disturbed")
    if any(row["stopped"] == "not_converged" for row in rows):
        flags.append("not_converged")
    return flags


def _validity(job: Job, rows: list[dict[str, Any]], clocks: list[float], best_s: float) -> Validity:
    ops = rows[0]["ops_per_rep"] * rows[0]["reps"]
    error = max(row["error"] for row in rows)
    hz = usual_clock(clocks)
    per_clock = ops / best_s / hz / job.threads if hz and ops else None
    return Validity(
        numeric_error=error if error == error else None,
        numeric_ok=bool(error < ERROR_LIMIT),
        op_per_clock_per_core=per_clock,
        expected_op_per_clock=expected_op_per_clock(job.probe),
        note="operations per clock from the fastest batch and the upper-decile clock" if per_clock else "",
    )


def usual_clock(clocks: list[float]) -> float:
    """The clock that the core holds: the upper decile, because an interrupted measurement only reads low."""
    return quantile(sorted(clocks), 0.9)
