"""From an analysis to what the Analyze page shows: figures in words, table rows, guards. No Dash, no formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.analysis import Analysis
from viewer.charts.base import amount, percent, seconds, significant
from viewer.charts.palette import BOUND_COLOURS
from viewer.charts.roofs import roofs_of
from viewer.dashboard.files import label_of

Row = dict[str, Any]


def headline(result: Analysis) -> str:
    """One line that names the scenario."""
    load = result.scenario.workload
    lengths = ", ".join(f"{name} {value:,.0f}" for name, value in load.numeric().items() if value)
    setting = result.scenario.compression
    setting = (
        "" if setting == "checkpoint" else f" · {label_of(setting.rsplit('/', 1)[-1]).removesuffix('.json')}"
    )
    return f"{result.plan.model.name} on {result.plan.hardware.label}{setting} · {load.phase}: {lengths}"


def roofs_for(result: Analysis, others: Sequence[Row] = ()) -> list[Row]:
    """The device's roofs, with those that the scenario uses marked, at the scenario's clock and scales."""
    a = result.scenario.assumptions
    used = {
        (row["unit"], math)
        for row in [*result.rows, *others]
        if row["matmul_flops"]
        for math in row["math_types"].split("+")
    }
    return roofs_of(result.plan.hardware, used, a.clock, a.compute_scale, a.bandwidth_scale)


def figures(result: Analysis) -> list[dict[str, str]]:
    """The headline figures: key (what to explain), label, value, what stands below."""
    totals, phases, memory = result.totals, result.phases, result.memory
    load = result.scenario.workload
    out = []
    if phases["ttft_s"] is not None:
        out.append(_figure("ttft_s", "Time to first token", seconds(phases["ttft_s"]), totals.label))
    if phases["tpot_s"] is not None:
        out.append(
            _figure("tpot_s", "Time per output token", seconds(phases["tpot_s"]), f"{totals.label}, mean")
        )
    if load.phase == "generate":
        out.append(_figure("time_s", "Whole answer", seconds(totals.time_s), totals.label))
    word = "prompt tokens" if load.phase == "prefill" else "output tokens"
    out.append(_figure("tokens_per_s", "Throughput", f"{significant(totals.tokens_per_s)} /s", word))
    if memory.capacity_bytes:
        share = memory.total_bytes / memory.capacity_bytes
        below = f"{percent(share)} of {amount(memory.capacity_bytes, 'B')}"
        state = "fits" if memory.fits else "does not fit"
        out.append(
            _figure("total_bytes", "Device memory", amount(memory.total_bytes, "B"), f"{below} · {state}")
        )
    else:
        out.append(
            _figure("total_bytes", "Device memory", amount(memory.total_bytes, "B"), "capacity not known")
        )
    if memory.max_batch is not None:
        out.append(_figure("max_batch", "Largest batch", f"{memory.max_batch:,}", "at these lengths"))
    if totals.energy_j is not None:
        out.append(_figure("energy_j", "Energy", energy(totals.energy_j), "at most: TDP × time"))
    return out


def energy(joules: float) -> str:
    """Energy with a prefix in both directions: ``5.07 kJ``."""
    return amount(joules, "W").replace("W", "J") if joules >= 1 else amount(joules, "J")


def _figure(key: str, label: str, value: str, below: str) -> dict[str, str]:
    return {"key": key, "label": label, "value": value, "below": below}


def shares(result: Analysis) -> list[dict[str, Any]]:
    """Share of the total time by bound, largest first."""
    by_bound: dict[str, float] = {}
    for row in result.rows:
        by_bound[row["bound"]] = by_bound.get(row["bound"], 0.0) + row["repeat"] * row["time_s"]
    total = sum(by_bound.values()) or 1.0
    ordered = sorted(by_bound.items(), key=lambda item: -item[1])
    return [
        {"bound": bound, "share": value / total, "colour": BOUND_COLOURS.get(bound, "#8c8c8c")}
        for bound, value in ordered
    ]


TABLE_COLUMNS = (
    "matmul_flops",
    "dram_bytes",
    "weight_bytes",
    "kv_read_bytes",
    "arithmetic_intensity",
    "time_s",
)


def table_rows(result: Analysis) -> list[Row]:
    """Rows of the op table: one per op group and phase, numbers in SI units."""
    total = result.totals.time_s or 1.0
    rows = []
    for row in result.rows:
        all_s = row["repeat"] * row["time_s"]
        entry: Row = {name: _short(row[name]) for name in TABLE_COLUMNS if row[name]}
        entry |= {
            "name": row["name"],
            "phase": row["phase"],
            "layers": row["layer_group"],
            "repeat": row["repeat"],
            "bound": row["bound"],
            "math": row["math_types"].upper(),
            "total_s": _short(all_s),
            "share": round(all_s / total, 6),
        }
        if row["notes"]:
            entry["notes"] = "; ".join(row["notes"])
        rows.append(entry)
    return rows


def _short(value: float) -> float:
    """Six significant digits: what the table sorts by; the downloads have all of them."""
    return float(f"{value:.6g}")


def guards(result: Analysis) -> list[dict[str, str]]:
    """What a reader must see: level (``stop``, ``warn``, ``note``) and one line each."""
    out: list[dict[str, str]] = []
    memory, model = result.memory, result.plan.model
    if memory.fits is False and memory.usable_bytes is not None:
        over = amount(memory.total_bytes - memory.usable_bytes, "B")
        tip = f"; batch {memory.max_batch:,} fits" if memory.max_batch else "; no batch fits at these lengths"
        out.append(
            {
                "level": "stop",
                "text": f"Out of memory by {over}: {amount(memory.total_bytes, 'B')} needed,"
                f" {amount(memory.usable_bytes, 'B')} usable{tip}. Times are as if it fitted.",
            }
        )
    if model.published and model.published != result.plan.parameter_count:
        gap = result.plan.parameter_count / model.published - 1
        out.append(
            {
                "level": "warn",
                "text": f"{result.plan.parameter_count:,} parameters counted, {model.published:,} published"
                f" ({gap:+.2%}).",
            }
        )
    above = [
        row["name"]
        for row in result.rows
        if row["peak_flops_per_s"] and row["matmul_flops"] > row["peak_flops_per_s"] * row["time_s"] * 1.0001
    ]
    if above:
        out.append({"level": "warn", "text": f"Above their roof: {', '.join(dict.fromkeys(above))}."})
    a = result.scenario.assumptions
    if a.bandwidth_scale != 1 or a.compute_scale != 1:
        text = f"Not the real device: bandwidth ×{a.bandwidth_scale:.3g}, compute ×{a.compute_scale:.3g}."
        out.append({"level": "warn", "text": text})
    out += [{"level": "note", "text": note} for note in dict.fromkeys(result.notes)]
    kinds = {n for row in result.rows for n in row["notes"] if "convert" in n or "dequant" in n}
    out += [{"level": "note", "text": text} for text in sorted(kinds)[:3]]
    return out
