"""``roofline compare``: one scenario under several settings, or several scenarios, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, SCENARIO_OPTIONS, command_with, console, emit, note, scenario_of
from viewer.cli.pictures import CHART_OPTION, check_chart, write_chart
from viewer.errors import InputError

if TYPE_CHECKING:
    from viewer.whatif import Comparison


def register(app: typer.Typer) -> None:
    """Add the command."""
    options = {k: v for k, v in SCENARIO_OPTIONS.items() if k not in ("compression", "scenario")}
    app.command("compare")(command_with({**options, **OUTPUT_OPTIONS, **CHART_OPTION}, compare_command))


def compare_command(
    model: Annotated[str | None, typer.Argument(help="catalog name or file")] = None,
    hardware: Annotated[str | None, typer.Argument(help="device name or file")] = None,
    compression: Annotated[
        list[str] | None, typer.Option(help="a setting; the first one is the reference")
    ] = None,
    scenario: Annotated[list[Path] | None, typer.Option(help="a saved scenario (JSON), any number")] = None,
    sensitivities: Annotated[
        Path | None, typer.Option(help="CSV or JSON of op, layer, sensitivity: weighs the error")
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="the table of ops instead of that of scenarios")] = False,
    estimate: Annotated[bool, typer.Option(help="also the calibrated estimate")] = True,
    options: Any = None,
) -> int:
    """What a setting changes: time, memory by kind, bitops, energy, error and risk; per op the regime and why.

    Example: roofline compare llama-2-13b a6000 --compression w16a16 --compression w4a16-g128 --batch 64
    """
    from viewer.whatif import compare

    check_chart(options["chart"])
    scenarios = []
    if scenario:
        for path in scenario:
            scenarios.append(scenario_of(model, hardware, {**_blank(), **options, "scenario": path}))
    if not scenario or (model and hardware and not scenario):
        scenarios.append(scenario_of(model, hardware, {**_blank(), **options}))
    if len(scenarios) * len(compression or [""]) < 2:
        raise InputError(
            "compare needs two settings: --compression A --compression B, or two --scenario files"
        )
    known = None
    if sensitivities is not None:
        from viewer.error import load_sensitivities

        known = load_sensitivities(sensitivities)
    found = compare(scenarios, compression or (), estimates=estimate, sensitivities=known)
    for line in found.notes:
        note(line)
    if options["chart"] is not None:
        write_chart(found.chart(), options["chart"], f"{found.labels[0]} and {len(found.labels) - 1} more")
    emit(
        options,
        lambda: found.ops if ops else found.frame,
        found.to_dict,
        lambda: print_ops(found) if ops else print_comparison(found),
    )
    return 0


def _blank() -> dict[str, Any]:
    return {"compression": None, "scenario": None}


def print_comparison(found: Comparison) -> None:
    """One row per scenario, then what happened to the ops by regime."""
    from rich.table import Table

    from viewer.units import format_quantity as si

    out = console()
    out.print(
        f"{found.scenarios[0].model} on {found.scenarios[0].hardware}: {found.scenarios[0].workload.phase}; "
        f"compared with {found.labels[0]}"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("scenario", max_width=22)
    for heading in ("bound", "gain", "estimate", "memory", "bitops", "energy", "SQNR", "risk"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        sqnr = row["stream_sqnr_db"]
        estimate = row["estimate_time_s"]
        table.add_row(
            row["scenario"],
            si(row["bound_time_s"], "s"),
            f"{row['speedup']:.3g}x",
            si(estimate, "s") if estimate else "–",
            si(row["total_bytes"], "B") + ("" if row["fits"] is not False else "!"),
            f"{row['bitops_ratio']:.3f}" if row["bitops_ratio"] else "–",
            si(row["energy_j"], "J"),
            "exact" if sqnr == float("inf") else f"{sqnr:.1f}",
            row["risk"][:10],
        )
    out.print(table)
    if any(row["fits"] is False for row in found.rows):
        out.print("! does not fit")
    for row in found.rows:
        if row["estimate_time_s"]:
            low, high = si(row["estimate_low_s"], "s"), si(row["estimate_high_s"], "s")
            out.print(f"{row['scenario']}: estimate between {low} and {high} ({row['estimate_label']})")
    _print_memory(found, out)
    for label in found.labels[1:]:
        shares = ", ".join(f"{100 * v:.3g} % {name}" for name, v in found.regimes(label).items())
        out.print(f"{label}, of the reference's time: {shares}")


def _print_memory(found: Comparison, out: Any) -> None:
    from viewer.units import format_quantity as si

    kinds = (
        ("weights", "weight_bytes"),
        ("cache", "kv_cache_bytes"),
        ("state", "state_bytes"),
        ("activations", "activation_peak_bytes"),
    )
    for row in found.rows:
        held = ", ".join(f"{name} {si(row[column], 'B')}" for name, column in kinds if row[column])
        out.print(f"{row['scenario']}: {held}")


def print_ops(found: Comparison) -> None:
    """Per op, one line: where it was, where it is, what changed and why."""
    out = console()
    for label in found.labels[1:]:
        out.print(f"{label} against {found.labels[0]}")
        still = []
        for row in (r for r in found.op_rows if r["scenario"] == label):
            if row["why"].startswith("nothing changes"):
                still.append(f"{row['name']} ({row['regime_name'].partition('-')[0]})")
            else:
                out.print(f"  {row['phase']} {row['name']} (layers {row['layers']}): {row['why']}")
        if still:
            out.print(f"  nothing changes: {', '.join(dict.fromkeys(still))}")
