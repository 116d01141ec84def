"""``roofline analyze``: one scenario as a table, JSON, CSV or Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, SCENARIO_OPTIONS, command_with, console, emit, note, scenario_of
from viewer.cli.pictures import CHART_OPTION, check_chart, write_chart

if TYPE_CHECKING:
    from viewer.analysis import Analysis


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("analyze")(
        command_with({**SCENARIO_OPTIONS, **OUTPUT_OPTIONS, **CHART_OPTION}, analyze_command)
    )


def analyze_command(
    model: Annotated[
        str | None, typer.Argument(help="catalog name, config.json, folder, .safetensors, .gguf")
    ] = None,
    hardware: Annotated[str | None, typer.Argument(help="device name, or a YAML/JSON file")] = None,
    draw: Annotated[str, typer.Option(help="what --chart draws: roofline, traffic …")] = "roofline",
    options: Any = None,
) -> int:
    """Analyze one scenario: time, bound and bytes of every op, totals, memory.

    Example: roofline analyze llama-2-13b nvidia/a6000 --phase decode --context 2047
    """
    from viewer.analysis import Analysis

    check_chart(options["chart"])
    _check_draw(draw)
    result = Analysis(scenario_of(model, hardware, options))
    for line in result.notes:
        note(line)
    if options["chart"] is not None:
        write_chart(_drawn(result, draw), options["chart"], f"{result.plan.model.name}: {draw}")
    emit(options, lambda: result.frame, result.to_dict, lambda: print_table(result))
    return 1 if result.memory.fits is False else 0


def _check_draw(draw: str) -> None:
    """Refuse a chart that does not exist before anything is computed."""
    if draw != "roofline":
        from viewer.charts.registry import row_charts
        from viewer.errors import unknown

        if draw not in row_charts():
            raise unknown("chart", draw, ["roofline", *row_charts()])


def _drawn(result: Analysis, draw: str) -> dict[str, Any]:
    """The roofline, or a registered chart of the rows."""
    if draw == "roofline":
        from viewer.report.content import roofline_of

        return roofline_of(result)("light")
    from viewer.charts.registry import row_charts

    return row_charts()[draw].draw(result.rows, "light")


def print_table(result: Analysis) -> None:
    """The table for a person: ops, totals, memory."""
    from rich.table import Table

    from viewer.units import format_quantity as si

    scenario = result.scenario
    out = console()
    load = " ".join(
        f"{k} {v}" for k, v in scenario.workload.model_dump().items() if k != "phase" and (v or k == "cached")
    )
    out.print(
        f"{result.plan.model.name} on {result.plan.hardware.name}: {scenario.workload.phase}, {load}, "
        f"{scenario.compression}, fusion {scenario.assumptions.fusion}"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("op", "×", "FLOPs", "bytes", "FLOP/B", "type", "bound", "time", "share"):
        table.add_column(
            heading, justify="left" if heading in ("op", "type", "bound") else "right", no_wrap=True
        )
    total = result.totals.time_s or 1.0
    many = len({row["phase"] for row in result.rows}) > 1
    for row in result.rows:
        name = f"{row['phase']}: {row['name']}" if many else row["name"]
        table.add_row(
            name,
            str(row["repeat"]),
            si(row["matmul_flops"] + row["vector_flops"], ""),
            si(row["dram_bytes"], "B"),
            f"{row['arithmetic_intensity']:.3g}",
            row["math_types"],
            row["bound"],
            si(row["time_s"], "s"),
            f"{100 * row['repeat'] * row['time_s'] / total:.1f}%",
        )
    out.print(table)
    print_totals(result, out)


def print_totals(result: Analysis, out: Any) -> None:
    """Totals, phases and memory in a few lines."""
    from viewer.units import format_quantity as si

    t, m = result.totals, result.memory
    if t.label == "bound":
        kind = f"bound; without overlap {si(t.upper_time_s, 's')}"
    else:
        interval = f"{si(t.time_low_s, 's')} to {si(t.time_high_s, 's')}"
        kind = f"estimate, {t.label}; 90 % {interval}; bound {si(t.lower_time_s, 's')}"
    out.print(f"total {si(t.time_s, 's', 5)} ({kind})")
    out.print(f"{si(t.matmul_flops, 'FLOP')}, {si(t.dram_bytes, 'B')}, {t.tokens_per_s:,.4g} tokens/s")
    phases = [f"{k.removesuffix('_s').upper()} {si(v, 's', 4)}" for k, v in result.phases.items() if v]
    if phases:
        out.print(", ".join(phases))
    saved = result.fusion
    if saved["preset"] != "eager":
        out.print(
            f"fusion {saved['preset']}: {saved['kernels']} kernels instead of {saved['eager_kernels']}, saves "
            f"{si(saved['saved_dram_bytes'], 'B')} and {si(saved['saved_time_s'], 's')}"
        )
    print_energy(result, out)
    fit = "no capacity known" if m.fits is None else "fits" if m.fits else "DOES NOT FIT"
    parts = (
        ("weights", m.weight_bytes),
        ("KV", m.kv_cache_bytes),
        ("state", m.state_bytes),
        ("activations", m.activation_peak_bytes),
        ("overhead", m.overhead_bytes),
    )
    held = ", ".join(f"{name} {si(value, 'B')}" for name, value in parts if value)
    out.print(f"memory {si(m.total_bytes, 'B')} of {si(m.usable_bytes, 'B')} usable: {fit} ({held})")
    out.print(f"max batch {m.max_batch}, max context {m.max_context}")


def print_energy(result: Analysis, out: Any) -> None:
    """Energy and cost of all devices together in one line, where the device has figures."""
    from viewer.units import format_quantity as si

    energy = result.energy
    parts = []
    if energy.bound_j is not None and energy.bound_j_per_token is not None:
        parts.append(
            f"at most {si(energy.bound_j, 'J')} ({si(energy.bound_j_per_token, 'J')} a token; bound)"
        )
    if energy.estimate_j is not None:
        parts.append(f"{si(energy.estimate_j, 'J')} for bits and FLOPs alone (estimate)")
    if energy.cost_per_million_tokens is not None:
        parts.append(f"{energy.cost_per_million_tokens:.3g} per million tokens")
    if parts:
        devices = result.scenario.parallel.devices
        out.print(f"energy{f' of {devices} devices' if devices > 1 else ''} " + ", ".join(parts))
