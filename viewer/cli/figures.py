"""``roofline figures``: the survey's figures 6 to 9 as data, pictures, crossovers and a sentence of reading each."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, atomic, clean, command_with, console, emit, note

if TYPE_CHECKING:
    from viewer.whatif.survey import SurveyFigure

WIDTH, HEIGHT = 1100, 660


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("figures")(command_with(OUTPUT_OPTIONS, figures_command))


def figures_command(
    out: Annotated[Path, typer.Option(help="folder to write to; made if it is not there")],
    model: Annotated[str, typer.Option(help="catalog name or file")] = "llama-2-13b",
    hardware: Annotated[str, typer.Option(help="device name or file")] = "nvidia/a6000",
    theme: Annotated[str, typer.Option(help="light or dark")] = "light",
    pictures: Annotated[
        bool, typer.Option(help="also PNG and SVG, where Chromium and kaleido are there")
    ] = True,
    options: Any = None,
) -> int:
    """The survey's four figures for any model and device: CSV, JSON, HTML, PNG and SVG files, crossovers in numbers.

    --csv and --parquet carry the crossovers, --json everything.

    Example: roofline figures --out figures --model llama-3.1-8b --hardware nvidia/h100-sxm
    """
    from viewer.whatif.survey import figures

    found = figures(model, hardware)
    for figure in found:
        for line in figure.notes:
            note(f"figure {figure.number}: {line}")
    out.mkdir(parents=True, exist_ok=True)
    write_all(found, out, theme)
    if pictures:
        _pictures(found, out, theme)
    emit(
        options,
        lambda: _crossover_frame(found),
        lambda: [f.to_dict() for f in found],
        lambda: print_figures(found, out),
    )
    return 0


def _crossover_frame(found: list[SurveyFigure]) -> Any:
    import pandas as pd

    return pd.DataFrame([{"figure": f.number, **row} for f in found for row in f.crossovers])


def write_all(found: list[SurveyFigure], out: Path, theme: str) -> None:
    """Data (CSV, JSON), crossovers, one page per figure and one with all; plotly.js once, beside them."""
    from plotly.offline import get_plotlyjs

    _write(out / "plotly.min.js", get_plotlyjs())
    for figure in found:
        _write(out / f"{figure.name}.csv", figure.frame.to_csv(index=False))
        _write(out / f"{figure.name}.json", json.dumps(clean(figure.to_dict()), indent=1, allow_nan=False))
        _write(out / f"{figure.name}.html", page([figure], theme))
    _write(out / "crossovers.csv", _crossover_frame(found).to_csv(index=False))
    _write(out / "figures.html", page(found, theme))
    _write(out / "figures.md", markdown(found))


def _write(path: Path, text: str) -> None:
    atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def page(found: list[SurveyFigure], theme: str) -> str:
    """One HTML page: title, picture, reading and crossovers of each figure. Opens offline (plotly.min.js beside it)."""
    from viewer.charts.base import CONFIG
    from viewer.charts.palette import theme_of

    colours = theme_of(theme)
    parts = [_section(f, theme) for f in found]
    config = json.dumps(CONFIG)
    style = (
        f"body{{font:14px/1.5 system-ui,sans-serif;color:{colours.ink};background:{colours.paper};max-width:1160px;"
        f"margin:24px auto;padding:0 16px}}table{{border-collapse:collapse}}td,th{{padding:2px 14px 2px 0;"
        f"text-align:left}}td.n{{text-align:right;font-variant-numeric:tabular-nums}}p{{max-width:90ch}}"
        f".plot{{height:{HEIGHT}px}}"
    )
    script = (
        "for(const e of document.querySelectorAll('script.figure')){const f=JSON.parse(e.textContent);"
        f"Plotly.newPlot(e.previousElementSibling,f.data,f.layout,{config});}}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(found[0].title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style>'
        f'<script src="plotly.min.js"></script></head><body>{"".join(parts)}<script>{script}</script></body></html>\n'
    )


def _section(figure: SurveyFigure, theme: str) -> str:
    data = json.dumps(clean(figure.chart(theme)), allow_nan=False).replace("<", "\\u003c")
    rows = "".join(
        f"<tr><td>{escape(row['crossover'])}</td><td class=n>{value_of(row)}</td>"
        f"<td>{escape(str(row['unknown']))}</td></tr>"
        for row in figure.crossovers
    )
    return (
        f"<section><h2>{escape(figure.title)}</h2>"
        f'<div class="plot" role="img" aria-label="{escape(figure.reading)}"></div>'
        f'<script class="figure" type="application/json">{data}</script>'
        f"<p>{escape(figure.reading)}</p><table>{rows}</table></section>"
    )


def value_of(row: dict[str, Any]) -> str:
    """A crossover in words: whole where it counts something, with the exact root beside it."""
    value, exact = row["value"], row.get("exact")
    if value is None:
        return "never"
    if exact is None:
        return f"{value:,.1f}"
    return f"{value:,} ({exact:,.2f})"


def markdown(found: list[SurveyFigure]) -> str:
    """Readings and crossovers as Markdown."""
    lines = []
    for figure in found:
        lines += [f"## {figure.title}", "", f"![{figure.title}]({figure.name}.svg)", "", figure.reading, ""]
        lines += ["| crossover | value | of |", "| --- | ---: | --- |"]
        lines += [f"| {row['crossover']} | {value_of(row)} | {row['unknown']} |" for row in figure.crossovers]
        for regime in figure.extra.get("regimes", ()):
            end = "on" if regime["to"] == float("inf") else f"to {regime['to']:,.1f}"
            lines.append(f"| regime {regime['regime']} | from {regime['from']:,.1f} {end} | |")
        lines.append("")
    return "\n".join(lines)


def _pictures(found: list[SurveyFigure], out: Path, theme: str) -> None:
    """PNG and SVG by kaleido and a browser; a note where they are missing."""
    try:
        import kaleido
    except ImportError:
        note("no PNG or SVG: pip install 'roofline[images]'; the HTML pages have the pictures")
        return
    from viewer.charts import figure as wrapped
    from viewer.charts.palette import theme_of

    browser: Any = kaleido
    browser.start_sync_server(n=1, silence_warnings=True)  # one browser for all pictures
    try:
        for one in found:
            drawn = wrapped(one.chart(theme))
            drawn.update_layout(paper_bgcolor=theme_of(theme).paper)
            for suffix, scale in (("png", 2), ("svg", 1)):
                data = drawn.to_image(format=suffix, width=WIDTH, height=HEIGHT, scale=scale)
                _write_bytes(out / f"{one.name}.{suffix}", data)
    except Exception as error:  # no browser, or one that does not start
        note(f"no PNG or SVG: {str(error).strip().splitlines()[0][:120]}")
    finally:
        browser.stop_sync_server(silence_warnings=True)


def _write_bytes(path: Path, data: bytes) -> None:
    atomic(path, lambda temporary: temporary.write_bytes(data))


def print_figures(found: list[SurveyFigure], out: Path) -> None:
    """Readings and crossovers for a person."""
    from rich.table import Table

    shown = console()
    for figure in found:
        shown.print(f"Figure {figure.number}: {figure.title}")
        shown.print(f"  {figure.reading}")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 2))
        table.add_column("crossover")
        table.add_column("value", justify="right", no_wrap=True)
        table.add_column("of")
        for row in figure.crossovers:
            table.add_row(row["crossover"], value_of(row), str(row["unknown"]))
        shown.print(table)
        for regime in figure.extra.get("regimes", ()):
            end = "on" if regime["to"] == float("inf") else f"to {regime['to']:,.1f}"
            pair = f"{regime['against']} -> {regime['setting']}"
            shown.print(f"  regime {regime['regime']} ({pair}): from {regime['from']:,.1f} {end}")
    shown.print(f"written to {out}")
