"""Answers in closed form or by trying: how much memory, how many devices."""

from __future__ import annotations

from typing import Any

from viewer.analysis import Analysis
from viewer.errors import InputError
from viewer.scenario import Scenario
from viewer.units import format_quantity
from viewer.whatif.solution import Solution

#: Tensor-parallel degrees that are tried for a number of devices.
DEGREES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def memory_for(scenario: Scenario) -> Solution:
    """Smallest device memory that holds the scenario: total bytes / utilization."""
    result = Analysis(scenario)
    memory = result.memory
    share = scenario.assumptions.memory_utilization
    need = memory.total_bytes / share
    row = _row("memory", "B", "fits in memory", need, main=True)
    row["times_device"] = None if memory.capacity_bytes is None else need / memory.capacity_bytes
    parts = {
        name: getattr(memory, name)
        for name in (
            "weight_bytes",
            "kv_cache_bytes",
            "state_bytes",
            "activation_peak_bytes",
            "overhead_bytes",
        )
    }
    note = f"{format_quantity(memory.total_bytes, 'B', 4)} held / {share:g} usable: " + ", ".join(
        f"{name.removesuffix('_bytes').replace('_', ' ')} {format_quantity(value, 'B')}"
        for name, value in parts.items()
        if value
    )
    curves = {"x": [0.0, 1.0], **{name: [value, value] for name, value in parts.items() if value}}
    return Solution(
        "smallest memory that fits", need, need, "memory", "B", True, (row,), (note,), scenario, curves
    )


def devices_for(scenario: Scenario, targets: dict[str, float]) -> Solution:
    """Fewest tensor-parallel devices that fit and meet the targets; each degree is a row with its figures."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    curves: dict[str, list[float]] = {"x": []}
    answer: int | None = None
    for degree in DEGREES:
        try:
            result = Analysis(scenario.with_(tp=degree))
            figures = _figures(result, targets)
        except InputError as error:
            notes.append(f"{degree} devices: {error}")
            if degree > 1:
                break
            raise
        fits = result.memory.fits is not False
        met = fits and all(figures[name] <= target for name, target in targets.items())
        row = _row("devices", "", f"tp = {degree}", degree if met else None, main=False)
        if not met:
            row["holds"] = "does not fit" if not fits else "too slow"
        rows.append({**row, **figures, "total_bytes": result.memory.total_bytes, "fits": result.memory.fits})
        curves["x"].append(float(degree))
        for name, target in targets.items():
            label = f"{name.removesuffix('_s')} over its target"
            curves.setdefault(label, []).append(figures[name] / target)
        if met:
            answer = degree
            rows[-1]["main"] = True
            break
    if answer is None:
        rows.append(_row("devices", "", "none of the layouts that were tried", None, main=True))
    words = " and ".join(
        f"{n.removesuffix('_s')} <= {format_quantity(t, 's', 4)}" for n, t in targets.items()
    )
    question = "fewest devices (tensor parallel) that fit" + (f" with {words}" if words else "")
    return Solution(
        question, answer, answer, "devices", "", True, tuple(rows), tuple(notes), scenario, curves
    )


def _figures(result: Analysis, targets: dict[str, float]) -> dict[str, float]:
    phase = result.scenario.workload.phase
    known = {"time_s": result.totals.time_s, **{k: v for k, v in result.phases.items() if v is not None}}
    if phase == "decode":
        known["tpot_s"] = result.totals.time_s
    if phase == "prefill":
        known["ttft_s"] = result.totals.time_s
    for name in targets:
        if name not in known:
            raise InputError(f"phase {phase} has no {name.removesuffix('_s')}")
    return known


def _row(unknown: str, unit: str, condition: str, answer: float | None, *, main: bool) -> dict[str, Any]:
    text = "" if answer is None else format_quantity(answer, unit, 4) if unit else f"{answer:g}"
    return {
        "condition": condition,
        "unknown": unknown,
        "unit": unit,
        "answer": answer,
        "exact": answer,
        "times_device": None,
        "holds": f"from {text} on" if text else "nowhere",
        "runs": int(answer is not None),
        "monotone": True,
        "at_edge": False,
        "scanned_to": answer,
        "main": main,
    }
