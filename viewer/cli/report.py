"""``roofline report``: one or several scenarios as HTML, Markdown, PDF or pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, SCENARIO_OPTIONS, command_with, emit, note, scenario_of
from viewer.errors import InputError

if TYPE_CHECKING:
    from viewer.report import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    options = {k: v for k, v in SCENARIO_OPTIONS.items() if k not in ("compression", "scenario")}
    app.command("report")(command_with({**options, **OUTPUT_OPTIONS}, report_command))


def report_command(
    model: Annotated[str | None, typer.Argument(help="catalog name or file")] = None,
    hardware: Annotated[str | None, typer.Argument(help="device name or file")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="FILE.html, .md, .pdf, .png or .svg")] = Path(
        "report.html"
    ),
    compression: Annotated[list[str] | None, typer.Option(help="repeat it to compare settings")] = None,
    scenario: Annotated[list[Path] | None, typer.Option(help="saved scenarios; repeat it to compare")] = None,
    theme: Annotated[str, typer.Option(help="screen, dark, paper or slides")] = "screen",
    title: Annotated[str, typer.Option(help="title of the report")] = "",
    force: Annotated[bool, typer.Option("--force", help="overwrite the file")] = False,
    options: Any = None,
) -> int:
    """Write a report with summary, rooflines, breakdowns, what-if table, pay-off, sources and the scenario's JSON.

    Example: roofline report llama-2-13b a6000 --compression w16a16 --compression w4a16-g128+kv4 -o report.html
    """
    from viewer.report import build_report, write_report
    from viewer.report.themes import style_of
    from viewer.report.write import check_format

    style = style_of(theme)
    how = check_format(out)
    if out.exists() and not force:
        raise InputError(f"{out} exists already; --force overwrites it")
    report = build_report(_scenarios(model, hardware, compression, scenario, options), title)
    files = write_report(report, out, style)
    if how == "matplotlib":
        note("drawn with matplotlib (no Chromium found): plainer than the HTML report")
    emit(options, lambda: _frame(report), lambda: _data(report, files), lambda: _print(files))
    return 0


def _print(files: list[Path]) -> None:
    for file in files:
        print(file)


def _frame(report: Report) -> Any:
    """One row per scenario, unrounded."""
    import pandas as pd

    tables = (table for section in report.sections for table in section.tables)
    return pd.DataFrame(next((list(t.rows) for t in tables if t.name == "scenarios"), []))


def _data(report: Report, files: list[Path]) -> dict[str, Any]:
    return {
        "schema": 1,
        "title": report.title,
        "summary": list(report.summary),
        "files": [str(file) for file in files],
        "scenarios": [scenario.full() for scenario in report.scenarios],
        "notes": list(report.notes),
    }


def _scenarios(
    model: str | None,
    hardware: str | None,
    compressions: list[str] | None,
    files: list[Path] | None,
    options: Any,
) -> list[Any]:
    if files and not compressions:
        return [scenario_of(model, hardware, {**options, "scenario": f}) for f in files]
    base: list[Path | None] = [*files] if files else [None]
    chosen: list[str | None] = [*compressions] if compressions else [None]
    return [
        scenario_of(model, hardware, {**options, "scenario": f, "compression": c})
        for f in base
        for c in chosen
    ]
