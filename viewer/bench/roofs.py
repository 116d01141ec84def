"""NumPy's matrix products predicted from the measured roofs of the same campaign: held out, never fitted."""

from __future__ import annotations

from typing import Any

from viewer.bench.hardware_file import figure
from viewer.bench.schema import Campaign, Record

LEVELS = ("l1", "l2", "l3", "dram")


def _roof(record: Record | None) -> float | None:
    return None if record is None else float(figure(record)["value"])


def bandwidth_for(campaign: Campaign, threads: int, size_bytes: float) -> tuple[str, float] | None:
    """(level, bytes/s) of the smallest measured level that holds the working set, DRAM else; None if unmeasured.

    The read probe of a level covers half of it, so a set of up to twice the probe's still sits there.
    """
    for level in LEVELS:
        record = campaign.record(f"cpu.read.{level}.t{threads}")
        roof = _roof(record)
        if record is None or roof is None:
            continue
        if level == "dram" or size_bytes <= 2 * (record.result.working_set_bytes or 0):
            return level, roof
    return None


def products_against_roofs(campaign: Campaign) -> list[dict[str, Any]]:
    """One row per GEMM and GEMV: time bound, time measured, and the error of the bound taken as a prediction.

    bound_s = max(2 m n k / FMA rate, bytes / bandwidth of the level that holds the operands), roofs at the same
    thread count. error_pct = 100 (bound / measured - 1): 0 when the library reaches the roof, negative below it.
    A product that beats its bound by more than 2 % (error above 2) means that a roof is wrong.
    """
    rows = []
    for record in campaign.records:
        probe = record.kernel.id
        if probe not in ("gemm_f32", "gemv_f32"):
            continue
        threads = record.result.threads or 1
        peak = _roof(campaign.record(f"cpu.fma_f32.t{threads}"))
        n = record.result.shape.get("n", 0)
        one_bytes = 4.0 * (3 * n * n if probe == "gemm_f32" else n * n + 2 * n)
        one_ops = 2.0 * n**3 if probe == "gemm_f32" else 2.0 * n * n
        memory = bandwidth_for(campaign, threads, one_bytes)
        if peak is None or memory is None or not n:
            continue
        level, bandwidth = memory
        compute_s, memory_s = one_ops / peak, one_bytes / bandwidth
        bound_s = max(compute_s, memory_s)
        work = one_ops if record.result.unit == "op/s" else one_bytes
        measured_s = work / float(figure(record)["value"])
        rows.append(
            {
                "product": record.id,
                "threads": threads,
                "bound": "compute" if compute_s >= memory_s else f"memory ({level})",
                "bound_ms": 1e3 * bound_s,
                "measured_ms": 1e3 * measured_s,
                "error_pct": 100 * (bound_s / measured_s - 1),
                "flags": ",".join(record.flags),
            }
        )
    return rows
