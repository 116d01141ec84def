"""A report as Markdown: sentences and tables; pictures are linked where they were written."""

from __future__ import annotations

from collections.abc import Mapping

from viewer.report.blocks import Section, Table
from viewer.report.content import Report


def render(report: Report, pictures: Mapping[str, str] | None = None) -> str:
    """The text. ``pictures``: chart name -> file name."""
    lines = [f"# {report.title}", "", report.subtitle, "", "## Summary", ""]
    lines += [f"* {text}" for text in report.summary]
    for section in report.sections:
        lines += _section(section, pictures or {})
    lines += ["", f"Made by roofline {report.version}.", ""]
    return "\n".join(lines)


def _section(section: Section, pictures: Mapping[str, str]) -> list[str]:
    lines = ["", f"## {section.title}", ""]
    for text in section.paragraphs:
        lines += [text, ""]
    for chart in section.charts:
        if chart.name in pictures:
            lines += [f"![{chart.title}]({pictures[chart.name]})", ""]
        lines += [f"*{chart.title}.* {chart.caption}", ""]
    for table in section.tables:
        lines += [*_table(table), ""]
    for name, text in section.code:
        lines += [f"{name}:", "", "```json", text, "```", ""]
    return lines


def _table(table: Table) -> list[str]:
    def row(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    rule = (
        "|" + "|".join(" ---: " if i in table.numeric else " --- " for i in range(len(table.columns))) + "|"
    )
    head = [f"{table.caption}", ""] if table.caption else []
    return [*head, row(table.columns), rule, *(row(r) for r in table.cells)]
