"""Which probes a CPU campaign runs, at which thread counts and working sets, and what each one means."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from viewer.bench import host

KIB = 1024
MIB = 1024 * KIB
DOT_BYTES = 256 * KIB  # weights of a dot probe per thread: beyond L1, inside L2
DRAM_BYTES = 256 * MIB  # per array over all threads, or 4 x the last-level cache
# One array that is only read stays in part in a cache that does not evict the oldest line first: on Zen 5 (32 MiB L3)
# two threads read 128 MiB at 76 GB/s, 512 MiB at 59 and 1.5 GiB at 57: with a share 1/n in the cache, 1/(1 - 1/n).
READ_CACHES = 16


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a probe's number is: metric and unit, number formats, and how operations are counted."""

    metric: str
    unit: Literal["op/s", "B/s"]
    dtype: str
    accumulate: str
    counted: str


_MAC = "2 operations per multiply-add, loop trips x instructions x lanes"
_DOT = "2 operations per stored weight and column; bytes are the stored weight rows"
_BYTES = "bytes read and written by the program; write-allocate not counted"
MEANINGS: dict[str, Meaning] = {
    "fma_f32": Meaning("fma_rate", "op/s", "fp32", "fp32", _MAC),
    "fma_f64": Meaning("fma_rate", "op/s", "fp64", "fp64", _MAC),
    "dot_bf16": Meaning("dot_rate", "op/s", "bf16", "fp32", _MAC),
    "dot_int8": Meaning("dot_rate", "op/s", "int8", "int32", _MAC),
    "exp_f32": Meaning("exp_rate", "op/s", "fp32", "", "one operation per base-2 exponential"),
    "read": Meaning("read_bandwidth", "B/s", "", "", _BYTES),
    "copy": Meaning("copy_bandwidth", "B/s", "", "", _BYTES),
    "triad": Meaning("triad_bandwidth", "B/s", "fp32", "fp32", _BYTES),
    "copy_nt": Meaning("copy_nt_bandwidth", "B/s", "", "", _BYTES),
    "triad_nt": Meaning("triad_nt_bandwidth", "B/s", "fp32", "fp32", _BYTES),
    **{
        name + suffix: Meaning("weight_dot_rate", "op/s", name, accumulate, _DOT + columns)
        for name, accumulate in (("q8_0", "int32"), ("q4_0", "int32"), ("q4_k", "int32"), ("f16", "fp32"))
        for suffix, columns in (("", ""), ("_x4", "; 4 columns share each unpacked weight"))
    },
    "f32": Meaning("weight_dot_rate", "op/s", "fp32", "fp32", _DOT),
    "gemm_f32": Meaning("gemm_rate", "op/s", "fp32", "fp32", "2 m n k"),
    "gemv_f32": Meaning("gemv_bandwidth", "B/s", "fp32", "fp32", "4 (m n + m + n) bytes"),
    "np_copy": Meaning("copy_bandwidth", "B/s", "", "", _BYTES),
    "np_sum": Meaning("read_bandwidth", "B/s", "", "", _BYTES),
}
BLAS_PROBES = ("gemm_f32", "gemv_f32", "np_copy", "np_sum")
COMPUTE = ("fma_f32", "fma_f64", "dot_bf16", "dot_int8", "exp_f32")
DOTS = ("q8_0", "q4_0", "q4_k", "f16", "f32", "q8_0_x4", "q4_0_x4", "q4_k_x4", "f16_x4")


@dataclass(frozen=True, slots=True)
class Job:
    """One benchmark. ``bytes`` is per array and thread (BLAS: the matrix side is ``size``).

    ``headline`` jobs are repeated in fresh processes. ``native_blas`` runs without OPENBLAS_CORETYPE.
    """

    id: str
    probe: str
    threads: int
    bytes: int = 0
    level: str = ""
    size: int = 0
    headline: bool = True
    native_blas: bool = False
    reps: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the worker process."""
        return asdict(self)


def thread_counts(processors: int, *, quick: bool) -> list[int]:
    """1, 2, 4 ... and all; quick: 1 and all."""
    counts = [1] if quick else [2**i for i in range(12) if 2**i < processors]
    return sorted({*counts, 1, processors})


def _pages(n: float) -> int:
    """Bytes rounded down to whole pages of 4 KiB, at least one."""
    return max(4096, int(n) // 4096 * 4096)


def level_bytes(threads: int, cache: dict[str, dict[str, int]]) -> dict[str, int]:
    """Working set per thread that sits in each cache: half of a thread's part of it."""
    found = {}
    for level, facts in cache.items():
        # a cache shared by several processors is divided among the threads that share it
        sharers = min(threads, facts["shared_by"])
        found[level] = _pages(facts["bytes"] / 2 / max(sharers, 1))
    return found


def dram_bytes(threads: int, *, quick: bool, caches: int = 4) -> int:
    """Bytes per array and thread, ``caches`` times the last-level cache, within an eighth of the memory."""
    last = max((c["bytes"] for c in host.caches().values()), default=32 * MIB)
    total = max(DRAM_BYTES // (2 if quick else 1), caches * last)
    memory = host.memory_bytes() or 8 * 1024 * MIB
    return _pages(min(total, memory / 8) / threads)


def plan(*, quick: bool, compiled: bool, environment_blas: bool) -> list[Job]:
    """All jobs in running order. ``environment_blas``: the environment forces a BLAS kernel, so run both."""
    processors = len(host.usable_cpus())
    counts = thread_counts(processors, quick=quick)
    jobs: list[Job] = []
    if compiled:
        for t in counts:
            jobs += _compiled_jobs(t, edge=t in (1, processors), quick=quick)
    else:
        jobs += [
            Job(f"cpu.{p}.dram.t1", p, 1, dram_bytes(1, quick=quick), "dram") for p in ("np_sum", "np_copy")
        ]
    side = 1024 if quick else 2048
    for t in sorted({1, processors}):
        for native in (False, True) if environment_blas else (False,):
            tag = ".native" if native else ""
            for size in (side,) if quick else (512, side):
                jobs.append(
                    Job(f"cpu.gemm_f32.{size}{tag}.t{t}", "gemm_f32", t, 0, "", size, not compiled, native)
                )
            jobs.append(Job(f"cpu.gemv_f32.8192{tag}.t{t}", "gemv_f32", t, 0, "dram", 8192, False, native))
    return jobs


def _compiled_jobs(t: int, *, edge: bool, quick: bool) -> list[Job]:
    dram = dram_bytes(t, quick=quick)
    beyond = dram_bytes(t, quick=quick, caches=READ_CACHES)
    jobs = [Job(f"cpu.{p}.t{t}", p, t) for p in COMPUTE]
    jobs.append(Job(f"cpu.read.dram.t{t}", "read", t, beyond, "dram"))
    jobs += [Job(f"cpu.{p}.t{t}", p, t, DOT_BYTES, "l2") for p in DOTS if not (quick and p == "f32")]
    if edge:
        for p in ("copy", "triad", "copy_nt", "triad_nt"):
            jobs.append(Job(f"cpu.{p}.dram.t{t}", p, t, dram, "dram"))
        for level, size in level_bytes(t, host.caches()).items():
            jobs.append(Job(f"cpu.read.{level}.t{t}", "read", t, size, level))
            if not quick:
                jobs.append(
                    Job(f"cpu.triad.{level}.t{t}", "triad", t, _pages(size / 3), level, headline=False)
                )
        for p in ("q8_0", "q4_0", "q4_k", "f16"):
            jobs.append(Job(f"cpu.{p}.dram.t{t}", p, t, beyond, "dram", headline=False))
    return jobs
