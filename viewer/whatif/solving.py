"""``solve``: crossovers and inverses, exact. What batch, length, rate or memory makes a condition hold?

A condition is a margin (>= 0 where it holds) over one unknown:
    turns compute-bound   sum of compute times - sum of DRAM times of the asked ops
    stops helping         gain * time(this) - time(the other setting)
    meets a target        1 - time / target, or 1 - memory / usable memory
All of its runs are found (viewer.whatif.roots); a condition that holds on more than one stretch says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from viewer.errors import InputError, unknown
from viewer.scenario import Scenario
from viewer.units import format_quantity
from viewer.whatif.probing import Probe
from viewer.whatif.roots import Margin, Run, Runs, Values, real_runs, whole_runs
from viewer.whatif.solution import Solution

WHEN = ("compute-bound", "memory-bound")
#: Gains below which a setting is listed as not helping, besides the asked one.
LISTED_GAINS = (2.0, 1.5, 1.1, 1.01)
#: Two times this close are equal: sums of the same terms in another order.
EQUAL = 1e-12


def solve(
    scenario: Scenario,
    unknown: str,
    *,
    when: str | None = None,
    against: str | None = None,
    gain: float = 1.0,
    op: str | None = None,
    layer: int | None = None,
    fits: bool | None = None,
    tpot_s: float | None = None,
    ttft_s: float | None = None,
    time_s: float | None = None,
) -> Solution:
    """The value of ``unknown`` at which a condition holds, with every other number of ``scenario`` as it is.

    unknown: a length or count of the workload (batch, prompt, context …), ``bandwidth``, ``peak``, ``memory`` or
        ``devices``. ``max-batch`` and the like also ask that it fits in memory.
    when: ``compute-bound`` or ``memory-bound``: the smallest value from which ``op``, ``layer`` or the network is so.
    against: another compression; the smallest value at which this one is at most ``gain`` times faster than it.
    fits, tpot_s, ttft_s, time_s: targets; the largest length or count, the smallest rate or memory that meets all.

    Returns a Solution: ``answer`` (whole for lengths), ``exact`` (on the real line), ``frame``, ``chart()``. Raises
    InputError for a question that makes no sense (an unknown that the phase has not, a target of another phase).
    """
    if unknown.startswith("max-"):
        unknown, fits = unknown.removeprefix("max-"), True if fits is None else fits
    targets = {"tpot_s": tpot_s, "ttft_s": ttft_s, "time_s": time_s}
    given = {name: value for name, value in targets.items() if value is not None}
    _check(when, against, gain, fits, given)
    if unknown in ("memory", "devices"):
        from viewer.whatif.sizing import devices_for, memory_for

        if when or against or op or layer is not None:
            raise InputError(f"{unknown} answers targets only (fits, tpot, ttft, time)")
        return memory_for(scenario) if unknown == "memory" else devices_for(scenario, given)
    probe = Probe(scenario, unknown, op, layer)
    if when is not None:
        return _turning(probe, when)
    if against is not None:
        return _pay_off(probe, against, gain)
    return _target(probe, bool(fits), given)


def _check(
    when: str | None, against: str | None, gain: float, fits: bool | None, given: dict[str, float]
) -> None:
    if when is not None and when not in WHEN:
        raise _unknown_when(when)
    if sum([when is not None, against is not None, bool(fits) or bool(given)]) > 1:
        raise InputError("one question at a time: when, against, or targets")
    if not gain > 0:
        raise InputError(f"gain {gain}: needs a number above 0")
    for name, value in given.items():
        if not (value > 0 and np.isfinite(value)):
            raise InputError(f"{name.removesuffix('_s')} {value}: needs a time above 0")


def _unknown_when(when: str) -> InputError:
    return unknown("condition", when, WHEN)


def runs_of(probe: Probe, margin: Margin) -> Runs:
    """All runs of a margin on the probe's domain."""
    low, high = probe.domain
    if probe.whole:
        return whole_runs(margin, int(low), int(high), probe.dense)
    return real_runs(margin, low, high)


# --- the three questions ---------------------------------------------------------------------------


def _turning(probe: Probe, when: str) -> Solution:
    sign = 1.0 if when == "compute-bound" else -1.0

    def margin(values: Values) -> Any:
        compute, memory = probe.resources(values)
        return sign * (compute - memory)

    rising = not (probe.unknown == "peak" and sign > 0) and not (probe.unknown == "bandwidth" and sign < 0)
    runs = runs_of(probe, margin)
    text = f"{probe.scope} is {when}"
    first = rising or probe.whole
    row = row_of(probe, runs, text, smallest=first, main=True)
    notes = () if runs.runs else (_closest(probe),)
    chart = ("compute units", "DRAM"), probe.resources
    return solution(probe, f"{probe.unknown} at which {text}", [row], runs, chart, notes)


def _closest(probe: Probe) -> str:
    """How near the condition comes, where it never holds."""
    low, high = probe.domain
    values = np.geomspace(max(low, 1.0) if probe.whole else low, high, 200)
    compute, memory = (np.broadcast_to(v, values.shape) for v in probe.resources(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = compute / memory
    return (
        f"compute time is {np.nanmin(ratio):.3g} to {np.nanmax(ratio):.3g} of DRAM time over the whole range"
    )


def _pay_off(probe: Probe, against: str, gain: float) -> Solution:
    other = replace(probe, scenario=probe.scenario.with_(compression=against))
    mine, theirs = probe.scenario.compression, against

    def at_most(limit: float) -> Margin:
        def margin(values: Values) -> Any:
            ours, its = probe.seconds(values), other.seconds(values)
            return ours * (limit * (1.0 + EQUAL)) - its

        return margin

    def row(limit: float, main: bool) -> tuple[dict[str, Any], Runs]:
        runs = runs_of(probe, at_most(limit))
        words = "no faster than" if limit == 1.0 else f"at most {limit:g}x faster than"
        text = f"{probe.scope}: {mine} is {words} {theirs}"
        return row_of(probe, runs, text, smallest=True, main=main), runs

    main, runs = row(gain, True)
    rows = [main, *(row(limit, False)[0] for limit in LISTED_GAINS if limit != gain)]
    low, high = probe.domain
    ends = np.array([low, high])
    ratio = np.broadcast_to(other.seconds(ends) / probe.seconds(ends), (2,))
    note = f"gain of {mine} over {theirs}: {ratio[0]:.4g}x at {low:g}, {ratio[1]:.4g}x at {high:g}"
    chart = (mine, theirs), lambda values: (probe.seconds(values), other.seconds(values))
    return solution(probe, f"{probe.unknown} at which {mine} stops helping", rows, runs, chart, (note,))


def _target(probe: Probe, fits: bool, given: dict[str, float]) -> Solution:
    margins: dict[str, Margin] = {}
    if fits or not given:
        margins["fits"] = _fit_margin(probe)
    for name, target in given.items():
        margins[name] = _time_margin(probe, name, target)
    if not probe.whole and not given:
        raise InputError(f"{probe.unknown} needs a target: tpot, ttft or time")

    def every(values: Values) -> Any:
        held = [np.broadcast_to(m(values), values.shape) for m in margins.values()]
        return np.min(np.stack(held), axis=0)

    words = {name: _target_words(name, given.get(name)) for name in margins}
    rows = []
    if len(margins) > 1:
        all_runs = runs_of(probe, every)
        rows.append(
            row_of(probe, all_runs, " and ".join(words.values()), smallest=not probe.whole, main=True)
        )
    for name, margin in margins.items():
        runs = runs_of(probe, margin)
        rows.append(row_of(probe, runs, words[name], smallest=not probe.whole, main=len(margins) == 1))
    best = "smallest" if not probe.whole else "largest"
    main = all_runs if len(margins) > 1 else runs
    series = "memory over usable memory", *(f"{n.removesuffix('_s')} over its target" for n in given)
    used = series if "fits" in margins else series[1:]

    def curves(values: Values) -> tuple[Any, ...]:
        return tuple(1.0 - np.broadcast_to(m(values), values.shape) for m in margins.values())

    return solution(probe, f"{best} {probe.unknown} that {rows[0]['condition']}", rows, main, (used, curves))


def _target_words(name: str, target: float | None) -> str:
    if target is None:
        return "fits in memory"
    label = {"tpot_s": "TPOT", "ttft_s": "TTFT", "time_s": "time"}[name]
    return f"has {label} <= {format_quantity(target, 's', 4)}"


def _fit_margin(probe: Probe) -> Margin:
    dram = probe.plan.hardware.memory("dram")
    if dram is None or dram.capacity_bytes is None:
        raise InputError(
            f"{probe.plan.hardware.name} has no sourced memory capacity: whether it fits is not known"
        )
    usable = probe.scenario.assumptions.memory_utilization * float(dram.capacity_bytes.value)
    # the test is total <= usable, as everywhere; the margin divides by a positive number only
    return lambda values: (usable - probe.points(values)["total_bytes"]) / usable


def _time_margin(probe: Probe, name: str, target: float) -> Margin:
    low = np.array([max(1.0, probe.domain[0])])
    if not np.isfinite(probe.points(low)[name][0]):
        phase = probe.scenario.workload.phase
        raise InputError(
            f"phase {phase} has no {name.removesuffix('_s')}: ask of phase generate or its own phase"
        )
    return lambda values: (target - probe.points(values)[name]) / target


# --- rows ------------------------------------------------------------------------------------------


def row_of(probe: Probe, runs: Runs, condition: str, *, smallest: bool, main: bool) -> dict[str, Any]:
    """One line of the answer: where the condition holds, and the end that was asked for."""
    picked: Run | None = None
    if runs.runs:
        picked = runs.runs[0] if smallest else runs.runs[-1]
    scale, unit = scale_of(probe)
    answer = None if picked is None else (picked.first if smallest else picked.last)
    exact = None if picked is None else (picked.start if smallest else picked.stop)
    at_edge = picked is not None and (picked.open_low if smallest else picked.open_high)
    return {
        "condition": condition,
        "unknown": probe.unknown,
        "unit": unit,
        "answer": None if answer is None else (int(answer) if probe.whole else answer * scale),
        "exact": None if exact is None else exact * scale,
        "times_device": None if probe.whole else answer,
        "holds": "; ".join(_stretch(run, probe, scale, unit) for run in runs.runs) or "nowhere",
        "runs": len(runs.runs),
        "monotone": runs.monotone,
        "at_edge": at_edge,
        "scanned_to": runs.scanned,
        "main": main,
    }


def scale_of(probe: Probe) -> tuple[float, str]:
    """What turns a multiple of the device's rate into a rate, and its unit; (1, "") for a length or count."""
    if probe.whole:
        return 1.0, ""
    rates = probe.plan.rates
    if probe.unknown == "bandwidth":
        return float(np.max(rates.dram_bytes_per_s)), "B/s"
    return float(max(np.max(v) for v in rates.products.values())), "FLOP/s"


def _stretch(run: Run, probe: Probe, scale: float, unit: str) -> str:
    def text(value: float) -> str:
        return f"{value:,.0f}" if probe.whole else format_quantity(value * scale, unit, 4)

    if run.open_low and run.open_high:
        return f"everywhere from {text(run.first)} to {text(run.last)}"
    if run.open_high:
        return f"from {text(run.first)} on"
    if run.open_low:
        return f"up to {text(run.last)}"
    return f"{text(run.first)} to {text(run.last)}"


def solution(
    probe: Probe,
    question: str,
    rows: list[dict[str, Any]],
    runs: Runs,
    chart: tuple[tuple[str, ...], Any],
    notes: tuple[str, ...] = (),
) -> Solution:
    """The answer with a curve around it."""
    main = next(r for r in rows if r["main"])
    if not runs.monotone:
        notes = (*notes, f"not monotone: it holds on {len(runs.runs)} stretches ({main['holds']})")
    if main["at_edge"]:
        notes = (*notes, "it holds at the end of the range that was looked at")
    if probe.whole and main["answer"] is not None and main["answer"] > runs.scanned:
        notes = (*notes, f"every value up to {runs.scanned:,.0f} was looked at, brackets above")
    names, curve = chart
    low, high = probe.domain
    centre = main["answer"] if probe.whole else main["times_device"]
    centre = centre if centre else (1.0 if not probe.whole else 256.0)
    left, right = max(low, centre / 32, 1.0 if probe.whole else 0.0), min(high, max(centre * 8, 16 * low))
    xs = np.geomspace(max(left, 1e-9), right, 97)
    xs = np.unique(np.round(xs)) if probe.whole else xs
    scale, unit = scale_of(probe)
    lines = [np.broadcast_to(np.asarray(v, dtype=float), xs.shape).tolist() for v in curve(xs)]
    series = {"x": (xs * scale).tolist(), **dict(zip(names, lines, strict=True))}
    return Solution(
        question=question,
        answer=main["answer"],
        exact=main["exact"],
        unknown=probe.unknown,
        unit=unit,
        monotone=runs.monotone,
        rows=tuple(rows),
        notes=notes,
        scenario=probe.scenario,
        curves=series,
    )
