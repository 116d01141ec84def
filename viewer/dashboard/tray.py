"""Scenarios side by side: names that say what differs, the figures of each, and gains against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from viewer.analysis import Analysis
from viewer.charts.base import seconds
from viewer.dashboard.copying import named
from viewer.dashboard.state import Flat, scenario_of
from viewer.errors import InputError

#: At most so many scenarios are compared at once.
MAX_SCENARIOS = 16


@dataclass(frozen=True)
class Entry:
    """One scenario of the comparison: its name, its state and its result, or the complaint."""

    label: str
    flat: Flat
    result: Analysis | None
    complaint: str = ""


def label_of(flat: Flat, reference: Flat) -> str:
    """What sets ``flat`` apart from ``reference``: ``w4a16-g128``, ``batch 16``, or ``now``."""
    plain, other = named(flat), named(reference)
    parts = []
    for name in {**other, **plain}:
        if plain.get(name) != other.get(name):
            value = plain.get(name, "default")
            parts.append(
                str(value) if name in ("model", "hardware", "compression", "phase") else f"{name} {value}"
            )
    if plain.get("compression") != other.get("compression") and "compression" not in plain:
        parts = [p for p in parts if p != "default"] + ["checkpoint"]
    return ", ".join(parts)[:60] or "now"


def entries_of(flat: Flat, others: Sequence[str], pins: Sequence[Flat], files: Any) -> list[Entry]:
    """The present scenario, the same under other compressions, and the pinned ones; each evaluated once."""
    wanted: list[tuple[str, Flat]] = [(str(flat.get("compression") or "as stored (now)"), flat)]
    wanted += [(name, {**flat, "compression": name}) for name in others]
    wanted += [(label_of(pin, flat), pin) for pin in pins]
    seen: list[Flat] = []
    out = []
    for label, state in wanted[:MAX_SCENARIOS]:
        if state in seen:
            continue
        seen.append(state)
        try:
            out.append(Entry(label, state, Analysis(scenario_of(state, files))))
        except InputError as error:
            out.append(Entry(label, state, None, str(error)))
    return out


def rows_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One table row per scenario with its gains against the first."""
    first = next((e.result for e in entries if e.result is not None), None)
    rows = []
    for index, entry in enumerate(entries):
        row: dict[str, Any] = {"id": f"{index}", "label": entry.label}
        if entry.result is None or first is None:
            rows.append(row | {"notes": entry.complaint})
            continue
        r, t, m = entry.result, entry.result.totals, entry.result.memory
        row |= {
            "ttft_s": r.phases["ttft_s"],
            "tpot_s": r.phases["tpot_s"],
            "time_s": t.time_s,
            "gain": first.totals.time_s / t.time_s if t.time_s else None,
            "tokens_per_s": t.tokens_per_s,
            "total_bytes": m.total_bytes,
            "weight_bytes": m.weight_bytes,
            "kv_cache_bytes": m.kv_cache_bytes,
            "fits": "–" if m.fits is None else "yes" if m.fits else "no",
            "max_batch": m.max_batch,
            "bitops": t.bitops,
            "energy_j": t.energy_j,
            "label_kind": t.label,
            "notes": "; ".join(dict.fromkeys(r.notes)),
        }
        rows.append(row)
    return rows


def with_errors(
    rows: list[dict[str, Any]], entries: Sequence[Entry]
) -> tuple[list[dict[str, Any]], list[Any]]:
    """The rows with error and risk from ``compare``, and its per-op changes (regime and reason) against the first."""
    from viewer.whatif import compare

    good = [(i, e) for i, e in enumerate(entries) if e.result is not None]
    scenarios = [e.result.scenario for _, e in good if e.result is not None]
    found = compare(scenarios, estimates=False)
    places = {s: k for k, s in enumerate(found.scenarios)}
    for index, entry in good:
        assert entry.result is not None
        other = found.rows[places[entry.result.scenario]]
        rows[index] |= {name: finite(other[name]) for name in ("stream_sqnr_db", "min_sqnr_db")}
        rows[index]["risk"] = other["risk"]
    names = {
        label: next(e.label for _, e in good if e.result and e.result.scenario == s)
        for label, s in zip(found.labels, found.scenarios, strict=True)
    }
    changes = [{**row, "scenario": names[row["scenario"]]} for row in found.op_rows]
    return rows, changes


def finite(value: Any) -> float | None:
    """The number, or None where it is not finite or not there."""
    return float(value) if value is not None and abs(value) < float("inf") else None


def by_bound(result: Analysis, phase: str | None) -> dict[str, float]:
    """Seconds per bound of one phase (one step of it), or of everything."""
    steps = {part.phase: part.steps for part in result.parts}
    out: dict[str, float] = {}
    for row in result.rows:
        if phase in (None, row["phase"]):
            value = row["repeat"] * row["time_s"] / (steps[row["phase"]] if phase else 1)
            out[row["bound"]] = out.get(row["bound"], 0.0) + value
    return out


def verdict(entries: Sequence[Entry]) -> str:
    """One sentence: the fastest setting that fits, and its gain."""
    good = [e for e in entries if e.result is not None]
    fitting = [e for e in good if e.result is not None and e.result.memory.fits is not False]
    if not good:
        return ""
    if not fitting:
        return "None of these fits the device's memory."
    best = min(fitting, key=lambda e: e.result.totals.time_s if e.result else float("inf"))
    assert best.result is not None
    assert good[0].result is not None
    gain = good[0].result.totals.time_s / best.result.totals.time_s
    if best is good[0] or gain < 1.005:
        return f"Nothing here beats the present setting ({seconds(best.result.totals.time_s)})."
    return (
        f"{best.label} is the fastest that fits: {seconds(best.result.totals.time_s)} instead of"
        f" {seconds(good[0].result.totals.time_s)}, × {gain:.3g}."
    )
