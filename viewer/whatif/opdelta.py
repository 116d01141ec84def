"""Per op: the regime it was in and is in, what changed, and why, in words.

The survey's regimes (A.4): (1) memory-bound before and after: time falls with the bytes; (2) memory-bound turns
compute-bound; (3) compute-bound before and after: fewer bytes bring nothing.
"""

from __future__ import annotations

from typing import Any

from viewer.analysis import Analysis
from viewer.compression.names import FUSED
from viewer.graph import layer_range_name
from viewer.units import format_quantity as si

REGIMES = {
    ("memory", "memory"): (1, "memory-bound before and after"),
    ("memory", "compute"): (2, "memory-bound turns compute-bound"),
    ("compute", "compute"): (3, "compute-bound before and after"),
    ("compute", "memory"): (4, "compute-bound turns memory-bound"),
}
_RESOURCES = ("tensor_time_s", "vector_time_s", "special_time_s", "dram_time_s", "link_time_s")
_SIDES = ("compute", "compute", "compute", "memory", "link")
_SUMMED = (
    "time_s", "lower_time_s", "dram_bytes", "weight_bytes", "kv_read_bytes", "kv_write_bytes", "matmul_flops",
    "bitops", "vector_flops", *_RESOURCES,
)  # fmt: skip
_UNITS = ("tensor unit", "vector unit", "special-function unit", "DRAM", "link")
#: Names of the same work, fused or apart (a mix of formats leaves some parts of a fused product on their own).
_WHOLE = {**FUSED, "qk_proj": "qkv_proj", "q_a_proj": "qkv_a_proj", "kv_a_proj": "qkv_a_proj"}
#: Changes of less than this are not told.
TOLD = 0.005


def canonical(name: str) -> str:
    """One name for an op whether it runs fused or apart: q_proj and qkv_proj are the same work."""
    if any(name == whole or name.endswith("_" + whole) for whole in _WHOLE.values()):
        return name
    for part, whole in _WHOLE.items():
        if name == part or name.endswith("_" + part):
            return name.removesuffix(part) + whole
    return name


def op_deltas(before: Analysis, after: Analysis) -> list[dict[str, Any]]:
    """One row per phase, op and set of layers that are treated alike in both analyses."""
    rows = []
    for phase in dict.fromkeys(row["phase"] for row in (*before.rows, *after.rows)):
        old, new = _by_place(before, phase), _by_place(after, phase)
        alike: dict[tuple[Any, ...], list[Any]] = {}
        for place in dict.fromkeys((*old, *new)):
            where, name = place
            key = (name, old.get(place, ()), new.get(place, ()), where if isinstance(where, str) else "")
            alike.setdefault(key, []).append(where)
        for (name, was, now, outside), places in alike.items():
            layers = outside or layer_range_name(tuple(sorted(places)))
            steps = next(p.steps for p in (*before.parts, *after.parts) if p.phase == phase)
            rows.append(
                _delta(phase, name, layers, len(places) * steps, _Side(before, was), _Side(after, now))
            )
    return rows


def _by_place(result: Analysis, phase: str) -> dict[tuple[Any, str], tuple[int, ...]]:
    """(layer or group name, canonical op) -> indices of rows, for one phase."""
    count = len(result.plan.pairs)
    starts = [i * count for i, part in enumerate(result.parts) if part.phase == phase]
    out: dict[tuple[Any, str], tuple[int, ...]] = {}
    for start in starts:
        for index, (group, op) in enumerate(result.plan.pairs):
            for where in group.layers or (group.name,):
                key = where, canonical(op.name)
                out[key] = (*out.get(key, ()), start + index)
    return out


class _Side:
    """Rows of one analysis that together are one op, summed for one layer."""

    def __init__(self, result: Analysis, indices: tuple[int, ...]) -> None:
        rows = [result.rows[i] for i in indices]
        ops = [result.plan.pairs[i % len(result.plan.pairs)][1] for i in indices]
        self.there = bool(rows)
        self.sums = {name: sum(float(row[name]) for row in rows) for name in _SUMMED}
        busiest = max(range(len(_RESOURCES)), key=lambda i: self.sums[_RESOURCES[i]])
        self.side, self.limit = _SIDES[busiest], _UNITS[busiest]
        self.math = "+".join(dict.fromkeys(row["math_types"] for row in rows))
        weights = [w for op in ops for w in op.weights if w.cols > 1]
        self.weights = "+".join(dict.fromkeys(_stored(w) for w in weights))
        caches = [c for c in (getattr(op, "cache", None) for op in ops) if c is not None]
        self.kv = "+".join(dict.fromkeys(f.name for c in caches for f in c.formats))


def _stored(weight: Any) -> str:
    name: str = weight.format.name
    return name + (f" {weight.sparsity.name}" if weight.sparsity is not None else "")


def _delta(phase: str, name: str, layers: str, repeat: int, old: _Side, new: _Side) -> dict[str, Any]:
    number, regime = REGIMES.get((old.side, new.side), (0, f"{old.side}-bound, then {new.side}-bound"))
    if not (old.there and new.there):
        number, regime = 0, "runs only after" if new.there else "runs only before"
    row: dict[str, Any] = {
        "phase": phase, "name": name, "layers": layers, "repeat": repeat, "regime": number, "regime_name": regime,
        "bound_before": old.side if old.there else None, "bound_after": new.side if new.there else None,
    }  # fmt: skip
    for column in ("time_s", "dram_bytes", "weight_bytes", "matmul_flops", "bitops"):
        row[f"{column}_before"], row[f"{column}_after"] = old.sums[column], new.sums[column]
    row["speedup"] = old.sums["time_s"] / new.sums["time_s"] if new.sums["time_s"] and old.there else None
    row["math_before"], row["math_after"] = old.math, new.math
    row["weights_before"], row["weights_after"] = old.weights, new.weights
    row["why"] = why(old, new, regime)
    return row


def why(old: _Side, new: _Side, regime: str) -> str:
    """What changed and what came of it, in one sentence."""
    if not old.there or not new.there:
        one = new if new.there else old
        return f"{regime}: {si(one.sums['time_s'], 's')}, {si(one.sums['dram_bytes'], 'B')}"
    causes = _causes(old, new)
    was, now = old.sums["time_s"], new.sums["time_s"]
    ratio = was / now if now else 1.0
    if abs(ratio - 1.0) < TOLD:
        result = "time stays" if not causes else "yet time stays"
    else:
        factor = f"{ratio:.3g}x faster" if ratio > 1 else f"{1 / ratio:.3g}x slower"
        result = f"{si(was, 's')} -> {si(now, 's')} ({factor})"
    text = "; ".join(causes) or "nothing changes"
    return f"{text}; {result}: {regime}{_because(old, new, ratio) if causes else ''}"


def _causes(old: _Side, new: _Side) -> list[str]:
    told = []
    if old.weights != new.weights:
        bytes_ = f"{si(old.sums['weight_bytes'], 'B')} -> {si(new.sums['weight_bytes'], 'B')}"
        told.append(f"weights {old.weights} -> {new.weights} ({bytes_})")
    if old.kv != new.kv and old.kv and new.kv:
        told.append(f"cache {old.kv} -> {new.kv}")
    if old.math != new.math:
        told.append(f"math {old.math} -> {new.math}")
    for column, label, unit in (("dram_bytes", "DRAM", "B"), ("matmul_flops", "executed", "FLOP")):
        a, b = old.sums[column], new.sums[column]
        if max(a, b) and abs(a - b) > TOLD * max(a, b):
            told.append(f"{label} {si(a, unit)} -> {si(b, unit)}")
    return told


def _because(old: _Side, new: _Side, ratio: float) -> str:
    if (old.side, new.side) == ("memory", "memory"):
        return ", time follows the bytes" if abs(ratio - 1) >= TOLD else ""
    if (old.side, new.side) == ("memory", "compute"):
        return f", now the {new.limit} is the limit and fewer bytes would bring nothing more"
    if (old.side, new.side) == ("compute", "compute"):
        faster = old.math != new.math and ratio > 1 + TOLD
        return ", the faster math type brings the gain" if faster else ", fewer bytes bring nothing"
    if (old.side, new.side) == ("compute", "memory"):
        return ", the arithmetic got cheap enough for the bytes to count"
    return ""
