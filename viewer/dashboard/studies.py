"""What the Sweep & solve page asks of the what-if functions, and how their answers become series and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from viewer.errors import InputError
from viewer.scenario import Scenario
from viewer.units import format_quantity
from viewer.whatif import solve, sweep
from viewer.whatif.sensitivity import sensitivity, upgrade_sentence
from viewer.workload import MAX_COUNT

#: Axis -> title of the axis with its unit.
AXES = {
    "batch": "batch (requests)",
    "prompt": "prompt (tokens)",
    "context": "context (tokens)",
    "output": "output (tokens)",
}
#: Column -> (label, title with unit, factor).
FIGURES: dict[str, tuple[str, str, float]] = {
    "tpot_s": ("time per output token", "time per output token (ms)", 1e3),
    "ttft_s": ("time to first token", "time to first token (ms)", 1e3),
    "time_s": ("time in all", "time in all (ms)", 1e3),
    "tokens_per_s": ("throughput", "throughput (tokens/s)", 1.0),
    "total_bytes": ("device memory", "device memory (GB)", 1e-9),
    "dram_bytes": ("DRAM traffic", "DRAM traffic (GB)", 1e-9),
}
UNKNOWNS = ("batch", "prompt", "context", "output", "bandwidth", "peak", "memory", "devices")
CONDITIONS: dict[str, str] = {
    "fits": "it fits in memory",
    "tpot_s": "time per token ≤ value (ms)",
    "ttft_s": "time to first token ≤ value (ms)",
    "time_s": "time in all ≤ value (ms)",
    "compute-bound": "it is compute-bound",
    "memory-bound": "it is memory-bound",
    "pay-off": "it gains less than × value",
    "cost": "10⁶ tokens cost ≤ value ($)",
}
#: A gain below this is "does not help any more".
HELPS = 1.05
POINTS = 56


def figure_options() -> list[dict[str, str]]:
    """Options of the figure select."""
    return [{"value": name, "label": label} for name, (label, _, _) in FIGURES.items()]


def condition_options() -> list[dict[str, str]]:
    """Options of the condition select."""
    return [{"value": name, "label": label} for name, label in CONDITIONS.items()]


@dataclass(frozen=True)
class Study:
    """Series of a sweep with their gains, marks where gains end, and these as sentences."""

    series: list[dict[str, Any]]
    gains: list[dict[str, Any]]
    x_title: str
    y_title: str
    marks: list[dict[str, Any]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def along(
    scenario: Scenario, axis: str, span: tuple[Any, Any], figure: str, settings: Sequence[str]
) -> Study:
    """A figure along an axis under several compressions; gains are time of the first / time of each."""
    if axis not in AXES:
        raise InputError(f"axis {axis[:20]!r} is not one of {', '.join(AXES)}")
    if axis not in scenario.workload.numeric():
        phase = scenario.workload.phase
        words = ", ".join(n for n in scenario.workload.numeric() if n in AXES)
        raise InputError(f"phase {phase} has no {axis}: sweep along {words}")
    if figure not in FIGURES:
        raise InputError(f"figure {figure[:20]!r} is not one of {', '.join(FIGURES)}")
    if not settings:
        raise InputError("choose at least one setting")
    _, title, factor = FIGURES[figure]
    values = _span(axis, *span)
    frame = sweep(scenario, {"compression": list(settings), axis: values})
    found = {name: frame[frame["compression"] == name] for name in settings}
    column = figure if frame[figure].notna().any() else "time_s"
    if column != figure:
        title = FIGURES["time_s"][1]
        factor = FIGURES["time_s"][2]
    series = [_series(name, part, axis, part[column].to_numpy() * factor) for name, part in found.items()]
    timed = "time_s" if column not in ("tpot_s", "ttft_s") else column
    first = found[settings[0]][timed].to_numpy()
    gains = [_series(name, part, axis, first / part[timed].to_numpy()) for name, part in found.items()]
    marks, sentences = crossings(gains, axis)
    return Study(series, gains, AXES[axis], title, marks, sentences)


def _span(axis: str, low: Any, high: Any) -> list[float]:
    for name, value in (("from", low), ("to", high)):
        if not isinstance(value, int | float) or not math.isfinite(value) or not 1 <= value <= MAX_COUNT:
            raise InputError(f"{name}: a whole number from 1 to {MAX_COUNT:,}")
    if high <= low:
        raise InputError("to: larger than from")
    count = 24 if axis == "output" else POINTS
    return [float(v) for v in np.unique(np.round(np.geomspace(low, high, count)))]


def _series(name: str, part: Any, axis: str, values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "x": [int(v) for v in part[axis]],
        "y": [float(f"{v:.5g}") if np.isfinite(v) else None for v in values],
        "fits": [bool(v) if v == v and v is not None else True for v in part["fits"].fillna(True)],
    }


def crossings(gains: Sequence[dict[str, Any]], axis: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Where each setting's gain over the first falls below 5 %: marks for the chart, and sentences."""
    marks, sentences = [], []
    reference = gains[0]["name"]
    for one in gains[1:]:
        helping = [y is not None and y >= HELPS for y in one["y"]]
        if not any(helping):
            sentences.append(f"{one['name']} gains less than 5 % over {reference} everywhere in this range.")
            continue
        last = max(i for i, ok in enumerate(helping) if ok)
        best = max(y for y in one["y"] if y is not None)
        if last + 1 == len(helping):
            sentences.append(
                f"{one['name']} helps over the whole range (up to × {best:.3g} over {reference})."
            )
            continue
        x = one["x"][last + 1]
        marks.append({"x": x, "text": f"{one['name']}: {x:,}"})
        sentences.append(
            f"{one['name']} stops helping near {axis} {x:,} (gain over {reference} below 5 %); at best × {best:.3g}."
        )
    return marks, sentences


def feasibility_grid(scenario: Scenario, columns: int = 34, rows: int = 26) -> tuple[dict[str, Any], str]:
    """Time and share of usable memory over batch and length, for the map; and the title of the length axis."""
    load = scenario.workload.numeric()
    length = "context" if "context" in load else "prompt"
    if "batch" not in load or length not in load:
        raise InputError(f"phase {scenario.workload.phase} has no batch and length to map")
    batches = _whole(1, max(256.0, 4 * load["batch"]), rows)
    lengths = _whole(128, max(131072.0, 2 * load[length]), columns)
    frame = sweep(scenario, {"batch": batches, length: lengths})
    shape = (len(batches), len(lengths))
    column = "tpot_s" if frame["tpot_s"].notna().any() else "time_s"
    usable = _usable(scenario)
    times = (frame[column].to_numpy() * 1e3).reshape(shape)
    loads = (frame["total_bytes"].to_numpy() / usable).reshape(shape)
    data = {
        "x": [int(v) for v in lengths],
        "y": [int(v) for v in batches],
        "time_ms": [[_digits(v) for v in row] for row in times],
        "load": [[_digits(v) for v in row] for row in loads],
        "here": [load[length], load["batch"]],
    }
    return data, AXES[length]


def _usable(scenario: Scenario) -> float:
    from viewer.planned import plan_of

    dram = plan_of(scenario).hardware.memory("dram")
    if dram is None or dram.capacity_bytes is None:
        return math.inf
    return float(dram.capacity_bytes.value) * scenario.assumptions.memory_utilization


def _whole(low: float, high: float, count: int) -> list[float]:
    return [float(v) for v in np.unique(np.round(np.geomspace(low, high, count)))]


def _digits(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def sensitivities(scenario: Scenario) -> tuple[list[dict[str, Any]], str]:
    """Rows of the sensitivity, and what to upgrade next in a sentence."""
    frame = sensitivity(scenario)
    rows: Any = frame.to_dict("records")
    return rows, upgrade_sentence(frame)


def solved(scenario: Scenario, unknown: str, condition: str, value: Any, against: str) -> Any:
    """The solution of an inverse question."""
    if condition not in CONDITIONS:
        raise InputError(f"condition {condition[:20]!r} is not one of {', '.join(CONDITIONS)}")
    number = value if isinstance(value, int | float) and math.isfinite(value) else None
    if condition in ("tpot_s", "ttft_s", "time_s"):
        if number is None or number <= 0:
            raise InputError("value: a time in milliseconds above 0")
        targets: dict[str, Any] = {condition: number / 1e3}
        if unknown not in ("bandwidth", "peak", "memory", "devices"):
            targets["fits"] = True
        return solve(scenario, unknown, **targets)
    if condition in ("compute-bound", "memory-bound"):
        return solve(scenario, unknown, when=condition)
    if condition == "pay-off":
        if number is None or number <= 0:
            raise InputError("value: a gain such as 1.1")
        return solve(scenario, unknown, against=against, gain=float(number))
    return solve(scenario, unknown, fits=True)


def sentence_of(found: Any) -> str:
    """The answer in a sentence."""
    if found.answer is None:
        return f"{found.question}: there is none."
    if found.unit:
        return f"{found.question}: {format_quantity(found.answer, found.unit, 4)}"
    return f"{found.question}: {found.answer:,.0f}"
