"""Writing a report: the suffix of the file decides; what cannot be made says so before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from viewer.cli.common import atomic
from viewer.errors import InputError
from viewer.report import html, markdown
from viewer.report.browser import find_browser, print_pdf
from viewer.report.content import Report
from viewer.report.pictures import require_backend, write_pictures
from viewer.report.themes import Style

FORMATS = (".html", ".md", ".pdf", ".png", ".svg")


def check_format(path: Path) -> str:
    """How the file will be made; InputError for an unknown suffix or when nothing here can make it."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(
            f"{path.name}: unknown kind of report {suffix or '(none)'!r} (allowed: {', '.join(FORMATS)})"
        )
    if suffix == ".pdf":
        return "browser" if find_browser() else require_backend("a PDF")
    return require_backend(f"a {suffix[1:]} picture") if suffix in (".png", ".svg") else "text"


def write_report(report: Report, path: Path, style: Style) -> list[Path]:
    """Write the report; returns the files. Pictures of further charts get the chart's name: FILE-time.png …"""
    how = check_format(path)
    suffix = path.suffix.lower()
    if suffix == ".html":
        atomic(path, _text(html.render(report, style)))
        return [path]
    if suffix == ".md":
        atomic(path, _text(markdown.render(report)))
        return [path]
    if suffix == ".pdf":
        atomic(
            path,
            lambda p: (
                print_pdf(html.render(report, style), p) if how == "browser" else plain_pdf(report, p, style)
            ),
        )
        return [path]
    charts = report.charts
    paths = [
        path if i == 0 else path.with_name(f"{path.stem}-{c.name}{suffix}") for i, c in enumerate(charts)
    ]
    write_pictures(charts, paths, style)
    return paths


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, "utf-8")


def plain_pdf(report: Report, path: Path, style: Style) -> None:
    """A PDF without a browser: a page of sentences, then a page per chart (matplotlib)."""
    import textwrap

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    from viewer.report.plain import fill

    with PdfPages(path) as pages, mpl.rc_context({"pdf.fonttype": 42}):
        cover = Figure(figsize=(8.27, 11.69))
        lines: Sequence[str] = [
            report.title,
            report.subtitle,
            "",
            *(f"• {s}" for s in report.summary),
            "",
            *report.notes,
        ]
        text = "\n".join("\n".join(textwrap.wrap(line, 92)) or "" for line in lines)
        cover.text(0.07, 0.95, text, va="top", fontsize=9.5, linespacing=1.5)
        pages.savefig(cover)
        for chart in report.charts:
            figure = Figure(figsize=(8.27, 5.8), layout="constrained")
            fill(figure, chart, style)
            pages.savefig(figure)
