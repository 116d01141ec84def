"""Reports: the same content as interactive HTML, Markdown, or pictures."""

from __future__ import annotations

from viewer.report.content import Chart, Report, Section, Table, build_report
from viewer.report.write import FORMATS, write_report

__all__ = ["FORMATS", "Chart", "Report", "Section", "Table", "build_report", "write_report"]
