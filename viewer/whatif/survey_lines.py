"""The survey's figures 8 and 9: time against batch and against prompt length."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from viewer.scenario import Scenario
from viewer.whatif.survey import (
    BATCHES,
    CONTEXT,
    PROMPTS,
    SETTINGS,
    WIDTHS,
    Rows,
    SurveyFigure,
    curves,
    number,
    pay_off_points,
    regimes,
    runnable,
    turning_points,
)
from viewer.workload import Decode, Prefill

NARROW = "w4a16-g128"


def decode_figure(base: Scenario) -> SurveyFigure:
    """Figure 8: decode time against batch for weight widths at a context of 1024."""
    base = base.with_(workload=Decode(batch=1, context=CONTEXT))
    settings, notes = runnable(base, WIDTHS)
    rows = curves(base, settings, "batch", BATCHES)
    turning = turning_points(base, settings, "batch")
    crossovers = turning + pay_off_points(base, [(b, a) for a, b in pairwise(settings)], "batch")
    return SurveyFigure(
        8, "fig8_decode", f"Decode time of {base.model} against batch, context {CONTEXT}", rows, crossovers,
        _decode_reading(rows, crossovers), _draw_decode, {"regimes": regimes(turning, NARROW)}, tuple(notes),
    )  # fmt: skip


def prefill_figure(base: Scenario) -> SurveyFigure:
    """Figure 9: prefill time against prompt length by setting."""
    base = base.with_(workload=Prefill(prompt=CONTEXT))
    settings, notes = runnable(base, SETTINGS)
    rows = curves(base, settings, "prompt", PROMPTS)
    turning = turning_points(base, settings, "prompt")
    others = [(s, "w16a16") for s in settings if s != "w16a16"]
    crossovers = turning + pay_off_points(base, others, "prompt")
    return SurveyFigure(
        9, "fig9_prefill", f"Prefill time of {base.model} against prompt length", rows, crossovers,
        _prefill_reading(rows, crossovers), _draw_prefill, {"regimes": regimes(turning, NARROW)}, tuple(notes),
    )  # fmt: skip


def _value(crossovers: Rows, start: str) -> float | None:
    return next((row["value"] for row in crossovers if row["crossover"].startswith(start)), None)


def _gain(rows: Rows, axis: str, value: float, setting: str) -> float:
    mine = [r for r in rows if r["compression"] == setting]
    return float(min(mine, key=lambda r: abs(r[axis] - value))["speedup"])


def _story(rows: Rows, crossovers: Rows, axis: str, unit: str) -> str:
    """The three regimes of going from 16-bit to 4-bit weights, in words; what does not occur is not told."""
    narrow, wide = (_value(crossovers, f"{s}: linear") for s in (NARROW, "w16a16"))
    gain = _gain(rows, axis, 1, NARROW)
    start = (
        f"at {axis} 1 the linear layers are memory-bound and 4-bit weights are {gain:.3g}x as fast as 16-bit ones "
        "(regime 1)"
        if narrow is None or narrow > 1
        else f"even at {axis} 1 4-bit weights, {gain:.3g}x as fast as 16-bit ones, are bound by their unpacking"
    )
    middle = "; they never turn compute-bound with 4-bit weights"
    if narrow is not None:
        middle = f"; from {number(narrow)} {unit} on they are compute-bound with 4-bit weights (regime 2)"
    end = ", never with 16-bit ones"
    if wide is not None:
        end = f", from {number(wide)} on with 16-bit ones too (regime 3)"
    return start + middle + end


def _decode_reading(rows: Rows, crossovers: Rows) -> str:
    stops = _value(crossovers, "w2a16-g128 is less than 1 % faster than w4a16-g128")
    less = (
        ""
        if stops is None
        else f"; 2-bit weights gain less than 1 % on 4-bit ones from batch {number(stops)} on"
    )
    text = _story(rows, crossovers, "batch", "requests")
    return f"{text[0].upper()}{text[1:]}{less}; what is left grows with the cache that every request reads."


def _prefill_reading(rows: Rows, crossovers: Rows) -> str:
    gone = _value(crossovers, f"{NARROW} is less than 1 % faster than w16a16")
    less = "" if gone is None else f"; from {number(gone)} tokens on 4-bit weights gain less than 1 %"
    eight = [r for r in rows if r["compression"] in ("w8a8-int8", "w8a8-fp8")]
    best = max(eight, key=lambda r: (r["prompt"], r["speedup"]), default=None)
    last = ""
    if best and best["speedup"] > 1.01:
        last = (
            f", whereas {best['compression']}, which multiplies in 8 bits, keeps {best['speedup']:.3g}x at "
        )
        last += f"{best['prompt']:,} tokens"
    text = _story(rows, crossovers, "prompt", "tokens")
    return f"{text[0].upper()}{text[1:]}{less}{last}."


def _draw_decode(figure: SurveyFigure, theme: str) -> dict[str, Any]:
    from viewer.charts.survey_decode import survey_decode

    return survey_decode(figure.rows, figure.crossovers, figure.extra["regimes"], theme)


def _draw_prefill(figure: SurveyFigure, theme: str) -> dict[str, Any]:
    from viewer.charts.survey_prefill import survey_prefill

    return survey_prefill(figure.rows, figure.crossovers, figure.extra["regimes"], theme)
