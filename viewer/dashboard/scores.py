"""What the shipped calibrations are worth: left-out errors per device, op and kernel class."""

from __future__ import annotations

from functools import cache
from typing import Any

from viewer.calibration.store import ClassFit
from viewer.charts.ladder import RUNGS


@cache
def devices() -> tuple[str, ...]:
    """Devices with a shipped calibration, the one with the most classes first."""
    from viewer.calibration.lookup import shipped_by_hardware

    book = shipped_by_hardware()
    return tuple(sorted(book, key=lambda name: (-len(book[name].classes), name)))


def ops_of(device: str) -> tuple[str, ...]:
    """Kinds of op that are calibrated on a device: matrix products first, then those with the most classes."""
    found: dict[str, int] = {}
    for fit, _ in _classes(device):
        found[fit.op] = found.get(fit.op, 0) + 1
    return tuple(sorted(found, key=lambda op: (op != "gemm", -found[op], op)))


def score_rows(device: str, op: str = "") -> list[dict[str, Any]]:
    """One row per class of a device (of ``op`` alone when given); M0 ... M3 are errors as shares."""
    rows = []
    for index, (fit, created) in enumerate(_classes(device)):
        if op in ("", fit.op):
            row: dict[str, Any] = {
                "id": str(index),
                "op": fit.op,
                "label": fit.key.replace("|", " · "),
                "points": fit.points,
                "groups": fit.groups,
                "created": created,
                "source": ", ".join(fit.sources),
            }
            rows.append(row | {rung: _error(fit, rung) for rung in RUNGS} | _tails(fit))
    return rows


def _tails(fit: ClassFit) -> dict[str, float | None]:
    """Median, 90 % quantile and bias of the model that predicts, as shares."""
    best = fit.scores.get("M3", {})
    return {name: None if name not in best else best[name] / 100 for name in ("median", "p90", "bias")}


def _error(fit: ClassFit, rung: str) -> float | None:
    """The mean relative error on left-out groups without tiny kernels (launch time only)."""
    score = fit.scores.get(rung, {})
    return score["non_tiny"] / 100 if "non_tiny" in score else None


def _classes(device: str) -> list[tuple[ClassFit, str]]:
    from viewer.calibration.store import shipped

    return [(fit, one.created) for one in shipped() if one.hardware == device for fit in one.classes]


def sentence(rows: list[dict[str, Any]]) -> str:
    """The median class's error, before and after."""
    scored = [row for row in rows if row["M0"] is not None and row["M3"] is not None]
    if not scored:
        return "No class of this kind has a score."
    before, after = (sorted(row[rung] for row in scored)[len(scored) // 2] for rung in ("M0", "M3"))
    points = sum(row["points"] for row in scored)
    return (
        f"{len(scored)} kernel classes, {points:,} measured points: the roofline alone misses by {before:.0%} in the"
        f" median class, the calibrated model by {after:.1%}, on shapes it was not fitted to."
    )
