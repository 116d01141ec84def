"""The executive summary: sentences whose numbers are computed from the scenarios."""

from __future__ import annotations

import math
from typing import Any

from viewer.analysis import Analysis
from viewer.errors import InputError
from viewer.scenario import Scenario
from viewer.units import format_quantity as si
from viewer.whatif import Comparison, solve
from viewer.workload import Decode, Prefill

#: A gain below this is called nothing.
NOTHING = 1.02


def title_of(comparison: Comparison) -> str:
    """A title from what varies."""
    first = comparison.analyses[0]
    name = f"{first.plan.model.name} on {first.plan.hardware.label}"
    if len(comparison.labels) == 1:
        return f"Roofline of {name}"
    varied = [
        f
        for f in ("model", "hardware", "compression")
        if len({getattr(s, f) for s in comparison.scenarios}) > 1
    ]
    if varied == ["compression"]:
        return f"{name}: what would quantizing change?"
    return f"{name}: {len(comparison.labels)} scenarios compared"


def summary_sentences(comparison: Comparison) -> list[str]:
    """What a reader takes away, most important first."""
    first = comparison.analyses[0]
    sentences = [_time_sentence(comparison.labels[0], first), _memory_sentence(first)]
    for index in range(1, len(comparison.labels)):
        base, other = comparison.scenarios[0], comparison.scenarios[index]
        sentences.append(_gain_sentence(comparison, index) + pay_off_text(base, other))
    risks = [
        r for r in comparison.rows[1:] if r["min_sqnr_db"] is not None and math.isfinite(r["min_sqnr_db"])
    ]
    return [*sentences, _risk_sentence(risks)] if risks else sentences


def rounded(value: float) -> str:
    """Three significant digits, never an exponent: 28.0, 975, 14,100."""
    return f"{float(f'{value:.3g}'):,.{max(0, 2 - len(str(int(abs(value)))) + 1)}f}"


def _share(result: Analysis, bound: str) -> float:
    total = result.sums["time_s"] or 1.0
    return float(sum(r["repeat"] * r["time_s"] for r in result.rows if r["bound"] == bound) / total)


def _time_sentence(label: str, result: Analysis) -> str:
    t = result.totals
    main = max(
        ("memory", "compute", "vector", "transcendental", "link", "latency"), key=lambda b: _share(result, b)
    )
    words = {"memory": "memory traffic", "compute": "the tensor units", "vector": "the vector units"}
    what = {"prefill": "A prefill", "decode": "A decode step", "generate": "A whole answer"}
    kind = "cannot take less than" if t.label == "bound" else "is estimated to take"
    name = what.get(result.scenario.workload.phase, "A step")
    return (
        f"{name} with {label} {kind} {si(t.time_s, 's')} ({rounded(t.tokens_per_s)} tokens/s); "
        f"{100 * _share(result, main):.0f} % of it is bound by {words.get(main, main)}."
    )


def _memory_sentence(result: Analysis) -> str:
    m = result.memory
    if m.fits is None:
        return f"It needs {si(m.total_bytes, 'B')}; the capacity of the device is not known."
    verdict = "fits" if m.fits else "does not fit"
    limits = [f"largest batch {m.max_batch:,}" if m.max_batch is not None else ""]
    limits.append(f"longest context {m.max_context:,}" if m.max_context is not None else "")
    return (
        f"It needs {si(m.total_bytes, 'B')} of {si(m.usable_bytes, 'B')} usable memory and {verdict} "
        f"({', '.join(x for x in limits if x)}, with everything else as it is)."
    )


def _gain_sentence(comparison: Comparison, index: int) -> str:
    base, row = comparison.rows[0], comparison.rows[index]
    gain = row["speedup"]
    if abs(gain - 1) < NOTHING - 1:
        time = f"gains nothing in time ({si(row['time_s'], 's')} against {si(base['time_s'], 's')})"
    elif gain > 1:
        time = f"is {gain:.2f} × faster ({si(row['time_s'], 's')} instead of {si(base['time_s'], 's')})"
    else:
        time = f"is {1 / gain:.2f} × slower ({si(row['time_s'], 's')} instead of {si(base['time_s'], 's')})"
    memory = f"needs {si(row['total_bytes'], 'B')} instead of {si(base['total_bytes'], 'B')}"
    return f"{comparison.labels[index]} {time} and {memory}."


def pay_off_text(base: Scenario, other: Scenario) -> str:
    """Decode and prefill of a setting against the base: where it helps and where it stops to; "" if not comparable."""
    same = (
        base.model == other.model
        and base.hardware == other.hardware
        and base.compression != other.compression
    )
    if not same:
        return ""
    decode, prefill = decode_pay_off(base, other), prefill_gain(base, other)
    if decode["gain"] < NOTHING:
        text = " Decode gains nothing at batch 1"
    elif decode["until"] is not None:
        text = f" Decode gains {decode['gain']:.2f} × at batch 1 and less than 10 % from batch {decode['until']:,} on"
    else:
        text = f" Decode gains {decode['gain']:.2f} × at batch 1 and more than 10 % at every batch"
    tokens = f"{prefill['prompt']:,} tokens"
    if abs(prefill["gain"] - 1) < NOTHING - 1:
        return text + f"; a prefill of {tokens} gains nothing."
    if prefill["gain"] > 1:
        return text + f"; a prefill of {tokens} is {prefill['gain']:.2f} × faster."
    return text + f"; a prefill of {tokens} is {1 / prefill['gain']:.2f} × slower."


def decode_pay_off(base: Scenario, other: Scenario) -> dict[str, Any]:
    """Gain of decode at batch 1, and the smallest batch at which it is below 10 % (None: never)."""
    lengths = base.workload.numeric()
    context = int(lengths.get("context", lengths.get("prompt", 1024.0)))
    load = Decode(batch=1, context=context)
    times = [Analysis(s.with_(workload=load, fidelity="bound")).totals.time_s for s in (base, other)]
    try:
        found = solve(
            other.with_(workload=load, fidelity="bound"), "batch", against=base.compression, gain=1.1
        )
        until = None if found.answer is None else int(found.answer)
    except InputError:
        until = None
    return {"gain": times[0] / times[1], "until": until, "context": context}


def prefill_gain(base: Scenario, other: Scenario) -> dict[str, Any]:
    """Gain of a prefill of the scenario's prompt (2048 where it has none)."""
    prompt = int(base.workload.numeric().get("prompt", 2048.0))
    load = Prefill(batch=1, prompt=prompt)
    times = [Analysis(s.with_(workload=load, fidelity="bound")).totals.time_s for s in (base, other)]
    return {"gain": times[0] / times[1], "prompt": prompt}


def _risk_sentence(rows: list[dict[str, Any]]) -> str:
    each = [f"{r['scenario']} {r['risk']} (lowest tensor {r['min_sqnr_db']:.1f} dB)" for r in rows]
    kinds = sorted({r["distribution"] for r in rows})
    return (
        f"Error risk: {', '.join(each)}. The score is ordinal, from {' and '.join(kinds)} distributions; it is not a "
        "perplexity."
    )
