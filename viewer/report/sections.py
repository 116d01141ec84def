"""The sections of a report after its rooflines."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

from viewer.charts.base import percent, seconds
from viewer.charts.memory_bar import memory_bar
from viewer.charts.pareto import pareto
from viewer.charts.registry import row_charts
from viewer.charts.sweep_lines import sweep_lines
from viewer.charts.whatif_compare import compare_chart
from viewer.errors import InputError
from viewer.report.blocks import Chart, Section, Table, table_of
from viewer.report.summary import decode_pay_off, prefill_gain, rounded
from viewer.units import format_quantity as si
from viewer.whatif import Comparison, sweep

#: Points of the sweep along the batch or the prompt.
SWEEP = {
    "decode": ("batch", "1:1024:log:41"),
    "prefill": ("prompt", "16:32768:log:41"),
    "generate": ("batch", "1:512:log:31"),
}


def time_and_memory(comparison: Comparison) -> Section:
    """Where time and memory go."""
    rows, analyses = comparison.rows, comparison.analyses
    accounts = list(zip(comparison.labels, (a.memory for a in analyses), strict=True))
    charts = (
        Chart("time", "Time and memory", "Bound and memory by kind of every scenario.",
              lambda theme: compare_chart(rows, theme), rows, 150 + 44 * len(rows)),
        Chart("memory", "Memory against capacity", "Weights, cache, state, live activations and runtime.",
              lambda theme: memory_bar(accounts, theme), rows, 170 + 40 * len(rows)),
    )  # fmt: skip
    columns = [
        ("scenario", lambda r: r["scenario"]),
        ("time", lambda r: f"{si(r['time_s'], 's')} ({r['label']})"),
        ("estimate, 90 %", _estimate),
        ("tokens/s", lambda r: rounded(r["tokens_per_s"])),
        ("DRAM traffic", lambda r: si(r["dram_bytes"], "B")),
        ("memory", lambda r: si(r["total_bytes"], "B")),
        ("fits", lambda r: {True: "yes", False: "no", None: "–"}[r["fits"]]),
        ("energy, at most", lambda r: si(r["energy_j"], "J")),
    ]
    return Section("Time and memory", (), charts, (table_of("scenarios", rows, columns, range(1, 8)),))


def _estimate(row: dict[str, Any]) -> str:
    if not row.get("estimate_time_s"):
        return "–"
    span = f"{si(row['estimate_low_s'], 's')} to {si(row['estimate_high_s'], 's')}"
    return f"{si(row['estimate_time_s'], 's')} ({span}; {row['estimate_label']})"


def registered_charts(comparison: Comparison) -> Section | None:
    """Every registered chart of the first scenario's rows."""
    rows = comparison.analyses[0].rows
    charts = tuple(
        Chart(one.name, one.title, one.caption, partial(one.draw, rows), rows)
        for one in row_charts().values()
    )
    return Section("More charts", (f"Of {comparison.labels[0]}.",), charts) if charts else None


def what_if(comparison: Comparison) -> Section:
    """Ratios to the first scenario, and the ops that change most."""
    columns = [
        ("setting", lambda r: r["scenario"]),
        ("faster", lambda r: f"{r['speedup']:.2f} ×"),
        ("memory", lambda r: f"{r['total_ratio']:.2f} ×"),
        ("traffic", lambda r: f"{r['dram_ratio']:.2f} ×"),
        ("bit operations", lambda r: f"{r['bitops_ratio']:.3g} ×"),
        ("largest batch", lambda r: "–" if r["max_batch"] is None else f"{r['max_batch']:,}"),
        ("lowest SQNR", lambda r: _decibel(r["min_sqnr_db"])),
        ("error risk", lambda r: f"{r['risk']} ({r['distribution']})"),
    ]
    tables: list[Table] = [table_of("what-if", comparison.rows, columns, range(1, 7))]
    deltas = sorted(comparison.op_rows, key=lambda r: -r["repeat"] * r["time_s_before"])
    ops = [
        ("scenario", lambda r: r["scenario"]),
        ("op", lambda r: r["name"]),
        ("before", lambda r: seconds(r["time_s_before"])),
        ("after", lambda r: seconds(r["time_s_after"])),
        ("regime", lambda r: r["regime_name"]),
        ("why", lambda r: r["why"]),
    ]
    total = comparison.analyses[0].totals.time_s or 1.0
    shown = [r for r in deltas if _changes(r, total)][:24]
    tables.append(
        table_of(
            "ops that change",
            shown,
            ops,
            (2, 3),
            "Ops of 1 % of the time and more whose time changes; one instance each.",
        )
    )
    return Section("What each setting changes", (), (), tuple(tables))


def _decibel(value: float | None) -> str:
    """A ratio in dB; a dash where nothing is rounded (infinite) or known."""
    return "–" if value is None or math.isinf(value) else f"{value:.1f} dB"


def _changes(row: dict[str, Any], total: float) -> bool:
    """Whether an op matters (1 % of the time) and its time or regime changes."""
    before, after = row["repeat"] * row["time_s_before"], row["repeat"] * row["time_s_after"]
    return bool(max(before, after) > 0.01 * total and abs(after - before) > 0.01 * before)


def sweep_section(comparison: Comparison) -> Section | None:
    """Time along the batch (decode, answers) or the prompt (prefill)."""
    phase = comparison.scenarios[0].workload.phase
    if phase not in SWEEP:
        return None
    axis, spec = SWEEP[phase]
    series, rows = [], []
    for label, scenario in zip(comparison.labels, comparison.scenarios, strict=True):
        frame = sweep(scenario.with_(fidelity="bound"), {axis: spec})
        fits = [bool(f) if f == f and f is not None else True for f in frame["fits"].astype(object)]
        per = frame[axis] if axis == "batch" else 1.0
        series.append({"name": label, "x": list(frame[axis]), "y": list(1e3 * frame["time_s"]), "fits": fits})
        rows += [
            {"scenario": label, axis: x, "time_s": t, "time_per_request_s": p}
            for x, t, p in zip(frame[axis], frame["time_s"], frame["time_s"] / per, strict=True)
        ]
    caption = f"Bound of the {phase} along the {axis}; dotted where it does not fit in memory."
    chart = Chart("sweep", f"Time along the {axis}", caption,
                  lambda theme: sweep_lines(series, axis, "time (ms)", theme), rows)  # fmt: skip
    return Section(f"Along the {axis}", (), (chart,))


def pay_off(comparison: Comparison) -> Section | None:
    """Where each setting stops helping, in numbers."""
    base = comparison.scenarios[0]
    rows = []
    for label, other in list(zip(comparison.labels, comparison.scenarios, strict=True))[1:]:
        if (other.model, other.hardware) != (
            base.model,
            base.hardware,
        ) or other.compression == base.compression:
            continue
        decode, prefill = decode_pay_off(base, other), prefill_gain(base, other)
        rows.append({"setting": label, **{f"decode_{k}": v for k, v in decode.items()}, **prefill})
    if not rows:
        return None
    columns = [
        ("setting", lambda r: r["setting"]),
        ("decode, batch 1", lambda r: f"{r['decode_gain']:.2f} × faster"),
        ("less than 10 % from batch", lambda r: f"{r['decode_until']:,}" if r["decode_until"] else "never"),
        ("at context", lambda r: f"{r['decode_context']:,}"),
        ("prefill", lambda r: f"{r['gain']:.2f} × at {r['prompt']:,} tokens"),
    ]
    return Section("Where a setting pays off", (), (), (table_of("pay-off", rows, columns, (1, 2, 3, 4)),))


def speed_and_error(comparison: Comparison) -> Section | None:
    """Pareto of speed against error."""
    rows = [r for r in comparison.rows if r["stream_sqnr_db"] is not None]
    if len(rows) < 2:
        return None
    points = [
        {
            "label": r["scenario"],
            "x": 1e3 * r["time_s"],
            "y": 100 * 10 ** (-r["stream_sqnr_db"] / 20),
            "fits": r["fits"] is not False,
            "hover": f"{r['scenario']}: {seconds(r['time_s'])}, {r['stream_sqnr_db']:.1f} dB at the end of the network",
        }
        for r in rows
    ]
    chart = Chart(
        "pareto", "Speed against error",
        "Error: noise over signal at the end of the network, 10^(-SQNR/20); assumed distributions, ordinal only.",
        lambda theme: pareto(points, "time (ms)", "relative error of the output (%)", theme), rows,
    )  # fmt: skip
    return Section("Speed against error", (), (chart,))


def ops_section(comparison: Comparison) -> Section:
    """All ops of the first scenario."""
    first = comparison.analyses[0]
    total = first.totals.time_s or 1.0
    columns = [
        ("op", lambda r: r["name"] if len(first.parts) == 1 else f"{r['phase']}: {r['name']}"),
        ("layers", lambda r: r["layer_group"]),
        ("×", lambda r: f"{r['repeat']:,}"),
        ("FLOPs", lambda r: si(r["matmul_flops"] + r["vector_flops"], "")),
        ("bytes", lambda r: si(r["dram_bytes"], "B")),
        ("FLOP/B", lambda r: f"{r['arithmetic_intensity']:.3g}"),
        ("type", lambda r: r["math_types"]),
        ("bound", lambda r: r["bound"]),
        ("time each", lambda r: seconds(r["time_s"])),
        ("share", lambda r: percent(r["repeat"] * r["time_s"] / total)),
    ]
    table = table_of("ops", first.rows, columns, (2, 3, 4, 5, 8, 9), f"{comparison.labels[0]}; per instance.")
    return Section("Every op", (), (), (table,))


def assumptions(comparison: Comparison) -> Section:
    """What the numbers rest on, and how far estimates were from measurements."""
    a = comparison.scenarios[0].assumptions
    label = comparison.analyses[0].totals.label
    kind = (
        "A bound: no kernel can be faster."
        if label == "bound"
        else f"An estimate ({label}) with its 5–95 % interval."
    )
    text = (
        f"{kind} Fusion {a.fusion}, attention {a.attention}, clock {a.clock}; compute and memory "
        f"{'overlap fully' if a.overlap == 1 else f'overlap to {a.overlap:.0%}'}; {a.memory_utilization:.0%} of the "
        f"device memory is usable, {si(a.overhead_bytes, 'B')} go to the runtime."
    )
    tables = []
    scores = _scores(comparison.scenarios[0].hardware)
    if scores:
        columns = [
            ("kind of kernel", lambda r: r["op"]),
            ("kernel classes", lambda r: f"{r['classes']:,}"),
            ("measurements", lambda r: f"{r['points']:,}"),
            ("mean error", lambda r: f"{r['mean']:.1f} %"),
            ("worst class", lambda r: f"{r['worst']:.1f} % ({r['worst_class']})"),
        ]
        caption = (
            "Mean absolute error of estimates on shapes that no fit has seen (kernels of 5 µs and more)."
        )
        tables.append(table_of("validation", scores, columns, (1, 2, 3), caption))
    return Section("Assumptions and validation", (text, *comparison.notes), (), tuple(tables))


def _scores(hardware: str) -> list[dict[str, Any]]:
    """Left-out scores of the device's calibration; [] where it has none."""
    from viewer.calibration.lookup import shipped_by_hardware
    from viewer.planned import hardware_of

    try:
        name = hardware_of(hardware).name
        calibration = shipped_by_hardware().get(name)
    except (InputError, OSError):
        return []
    if calibration is None:
        return []
    by_op: dict[str, list[tuple[float, Any]]] = {}
    for fit in calibration.classes:
        error = _left_out(fit)
        if error is not None:
            by_op.setdefault(fit.op, []).append((error, fit))
    return [
        {
            "op": op,
            "classes": len(found),
            "points": sum(fit.points for _, fit in found),
            "mean": sum(error for error, _ in found) / len(found),
            "worst": max(error for error, _ in found),
            "worst_class": max(found, key=lambda pair: pair[0])[1].key,
        }
        for op, found in sorted(by_op.items())
    ]


def _left_out(fit: Any) -> float | None:
    """Error of the rung that estimates use (the better of M2 and M3 on left-out groups), in percent."""
    found = [fit.scores.get(rung, {}).get("non_tiny") for rung in ("M2", "M3")]
    known = [float(v) for v in found if v is not None]
    return min(known) if known else None


def provenance(comparison: Comparison) -> Section:
    """The hardware figures of the first scenario with kind, check and source."""
    hw = comparison.analyses[0].plan.hardware
    rows = [f.model_dump() if hasattr(f, "model_dump") else dict(vars(f)) for f in hw.figures()]
    columns = [
        ("figure", lambda r: r["what"]),
        ("value", lambda r: _value(r["value"], r["unit"])),
        ("kind", lambda r: r["kind"]),
        ("checked", lambda r: r["seen"]),
        ("source", lambda r: r["source"]),
    ]
    model = comparison.analyses[0].plan
    text = f"{model.model.name}: {model.parameter_count:,} parameters"
    if model.model.published:
        text += f" (published: {model.model.published:,}; {model.model.published_source})"
    return Section("Provenance", (text + ".",), (), (table_of("hardware", rows, columns, (1,), hw.label),))


def _value(value: float, unit: str) -> str:
    prefixed = unit in ("B", "B/s", "FLOP/s", "OP/s", "op/s", "Hz", "W", "s")
    return si(value, unit, 4) if prefixed else f"{value:,.6g} {unit}".rstrip()


def scenarios_section(comparison: Comparison) -> Section:
    """The scenarios as JSON, to reproduce every number."""
    code = tuple(
        (label, json.dumps(s.compact(), indent=1))
        for label, s in zip(comparison.labels, comparison.scenarios, strict=True)
    )
    text = "Save one as a file and run: roofline analyze --scenario FILE"
    return Section("Scenarios", (text,), (), (), code)
