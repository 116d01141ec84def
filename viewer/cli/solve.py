"""``roofline solve``: crossovers, limits and requirements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, SCENARIO_OPTIONS, command_with, console, emit, note, scenario_of
from viewer.cli.pictures import CHART_OPTION, check_chart, write_chart

if TYPE_CHECKING:
    from viewer.whatif import Solution

UPGRADE = ("upgrade", "sensitivity")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("solve")(command_with({**SCENARIO_OPTIONS, **OUTPUT_OPTIONS, **CHART_OPTION}, solve_command))


def solve_command(
    model: Annotated[str | None, typer.Argument(help="catalog name or file")] = None,
    hardware: Annotated[str | None, typer.Argument(help="device name or file")] = None,
    unknown: Annotated[
        str,
        typer.Option(
            "--for",
            help="batch, prompt, context …, max-batch, max-context, bandwidth, peak, memory, devices, upgrade",
        ),
    ] = "max-batch",
    when: Annotated[str | None, typer.Option(help="compute-bound or memory-bound")] = None,
    against: Annotated[
        str | None, typer.Option(help="where --compression stops helping against this one")
    ] = None,
    gain: Annotated[float, typer.Option(help="with --against: at most this much faster")] = 1.0,
    op: Annotated[
        str | None, typer.Option(help="ask of one op (--fusion eager has the unfused ones)")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="ask of one layer")] = None,
    fits: Annotated[bool | None, typer.Option("--fits/--no-fits", help="it must fit in memory")] = None,
    tpot: Annotated[str | None, typer.Option(help="time per output token, such as 20ms")] = None,
    ttft: Annotated[str | None, typer.Option(help="time to first token, such as 500ms")] = None,
    time: Annotated[str | None, typer.Option(help="time of the whole workload")] = None,
    options: Any = None,
) -> int:
    """The value at which a condition holds: a crossover, the largest load, the least hardware. Status 1: none.

    Examples: roofline solve llama-2-13b a6000 --for batch --when compute-bound --op q_proj --fusion eager;
    --for max-batch --tpot 40ms; --for prompt --compression w4a16-g128 --against w16a16 --phase prefill;
    --for bandwidth --tpot 10ms; --for upgrade
    """
    from viewer.units import parse
    from viewer.whatif import solve

    check_chart(options["chart"])
    scenario = scenario_of(model, hardware, options)
    if unknown in UPGRADE:
        return _upgrade(scenario, options)
    given = {"tpot_s": tpot, "ttft_s": ttft, "time_s": time}
    targets = {name: parse(text, "s") for name, text in given.items() if text is not None}
    found = solve(
        scenario, unknown, when=when, against=against, gain=gain, op=op, layer=layer, fits=fits, **targets
    )
    for line in found.notes:
        note(line)
    if options["chart"] is not None:
        write_chart(found.chart(), options["chart"], found.question)
    emit(options, lambda: found.frame, found.to_dict, lambda: print_solution(found))
    return 0 if found.found else 1


def value_text(row: dict[str, Any], name: str) -> str:
    """An answer with its unit; a dash where there is none."""
    from viewer.units import format_quantity as si

    value = row[name]
    if value is None:
        return "–"
    if row["unit"]:
        return si(value, row["unit"], 5)
    return f"{value:,.0f}" if name == "answer" else f"{value:,.2f}"


def print_solution(found: Solution) -> None:
    """The answer in one line, then a line per condition."""
    from rich.table import Table

    out = console()
    main = next(r for r in found.rows if r["main"])
    if found.answer is None:
        out.print(f"{found.question}: no solution")
    else:
        exact = "" if found.exact == found.answer else f" (exactly {value_text(main, 'exact')})"
        out.print(f"{found.question}: {value_text(main, 'answer')}{exact}")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("condition")
    for heading in ("answer", "exact"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("holds")
    for row in found.rows:
        table.add_row(row["condition"], value_text(row, "answer"), value_text(row, "exact"), row["holds"])
    out.print(table)


def _upgrade(scenario: Any, options: dict[str, Any]) -> int:
    from rich.table import Table

    from viewer.units import format_quantity as si
    from viewer.whatif import sensitivity, upgrade_sentence

    frame = sensitivity(scenario)
    if scenario.assumptions.fidelity != "bound":
        note("sensitivities are those of the bound: an estimate knows this device only at its own rates")

    def table() -> None:
        shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for heading in ("resource", "-10 %", "now", "+10 %", "gain", "elasticity", "if free"):
            shown.add_column(heading, justify="left" if heading == "resource" else "right", no_wrap=True)
        for r in frame.to_dict(orient="records"):
            shown.add_row(
                r["resource"],
                si(r["slower_s"], "s", 4),
                si(r["time_s"], "s", 4),
                si(r["faster_s"], "s", 4),
                f"{100 * r['gain']:.2f} %",
                f"{r['elasticity']:.3f}",
                f"{1 + r['without_limit_gain']:.3g}x",
            )
        out = console()
        out.print(upgrade_sentence(frame))
        out.print(shown)

    def data() -> dict[str, Any]:
        rows = frame.to_dict(orient="records")
        return {"schema": 1, "scenario": scenario.full(), "rows": rows, "reading": upgrade_sentence(frame)}

    if options["chart"] is not None:
        from viewer.charts.tornado import tornado

        write_chart(tornado(frame.to_dict(orient="records")), options["chart"], "Sensitivity")  # type: ignore[arg-type]
    emit(options, lambda: frame, data, table)
    return 0
