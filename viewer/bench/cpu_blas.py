"""NumPy's matrix products and copies: the library beside our own loops, and the fallback without a compiler."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from viewer.bench.cpu_plan import Job

Batch = Callable[[int], tuple[float, float]]


def blas_info() -> list[dict[str, Any]]:
    """What threadpoolctl sees (library, version, architecture, threads), or an empty list without it."""
    try:
        import threadpoolctl
    except ImportError:
        return []
    keep = ("user_api", "internal_api", "version", "num_threads", "architecture", "threading_layer")
    return [{k: lib.get(k) for k in keep} for lib in threadpoolctl.threadpool_info()]


def limit_threads(threads: int) -> contextlib.AbstractContextManager[Any]:
    """At most ``threads`` BLAS threads within the context; does nothing without threadpoolctl."""
    try:
        import threadpoolctl
    except ImportError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any] = threadpoolctl.threadpool_limits(threads, "blas")
    return limits


def run(
    job: Job,
    seed: int,
    clock: Callable[[], float],
    sample: Callable[[Batch], dict[str, Any]],
) -> dict[str, Any]:
    """Runs one BLAS or NumPy job; ``sample`` applies the stopping rule to a batch function."""
    rng = np.random.default_rng(seed)
    step, ops, moved, check = _prepare(job, rng)
    with limit_threads(job.threads):

        def batch(reps: int) -> tuple[float, float]:
            began = time.perf_counter()
            for _ in range(reps):
                step()
            seconds = time.perf_counter() - began
            return seconds, clock()

        found = sample(batch)
    extra = {"ops_per_rep": ops, "bytes_per_rep": moved, "error": check(), "blas": blas_info()}
    return found | extra


Prepared = tuple[Callable[[], object], float, float, Callable[[], float]]


def _prepare(job: Job, rng: np.random.Generator) -> Prepared:
    """(step, operations, bytes, check -> relative error) of a job."""
    n = job.size
    if job.probe == "gemm_f32":
        a, b = (rng.standard_normal((n, n), dtype=np.float32) for _ in range(2))
        out = np.empty((n, n), np.float32)

        def gemm_error() -> float:
            want = a[:4].astype(np.float64) @ b.astype(np.float64)
            return float(np.abs(out[:4] - want).max() / np.abs(want).max())

        return (lambda: np.matmul(a, b, out=out)), 2.0 * n**3, 4.0 * 3 * n * n, gemm_error
    if job.probe == "gemv_f32":
        a, x = rng.standard_normal((n, n), dtype=np.float32), rng.standard_normal(n, dtype=np.float32)
        y = np.empty(n, np.float32)

        def gemv_error() -> float:
            want = a[:64].astype(np.float64) @ x.astype(np.float64)
            return float(np.abs(y[:64] - want).max() / np.abs(want).max())

        return (lambda: np.matmul(a, x, out=y)), 2.0 * n * n, 4.0 * (n * n + 2 * n), gemv_error
    source = rng.standard_normal(job.bytes // 4, dtype=np.float32)
    if job.probe == "np_copy":
        target = np.empty_like(source)
        step = lambda: np.copyto(target, source)  # noqa: E731
        return step, 0.0, 2.0 * source.nbytes, lambda: 0.0 if np.array_equal(source, target) else 1.0
    return (lambda: source.sum()), float(source.size), float(source.nbytes), lambda: 0.0
