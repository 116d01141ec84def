"""What a report says, independent of how it is written: sections of sentences, charts and tables with their data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from viewer import __version__
from viewer.analysis import Analysis
from viewer.charts.roofline import roofline
from viewer.charts.roofs import roofs_of
from viewer.errors import InputError
from viewer.report import sections as parts
from viewer.report.blocks import Chart, Section, Table
from viewer.report.summary import summary_sentences, title_of
from viewer.scenario import Scenario
from viewer.whatif import Comparison, compare

__all__ = ["Chart", "Report", "Section", "Table", "build_report"]
MAX_SCENARIOS = 12
MAX_ROOFLINES = 3
Draw = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class Report:
    """A title, the sentences of the summary, and sections."""

    title: str
    subtitle: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    scenarios: tuple[Scenario, ...]
    version: str = __version__
    notes: tuple[str, ...] = field(default=())

    @property
    def charts(self) -> list[Chart]:
        """All charts in order."""
        return [chart for section in self.sections for chart in section.charts]


def build_report(scenarios: Sequence[Scenario], title: str = "") -> Report:
    """The report of one scenario, or of several against the first. Raises InputError for none or too many."""
    if not 1 <= len(scenarios) <= MAX_SCENARIOS:
        raise InputError(f"a report takes 1 to {MAX_SCENARIOS} scenarios, not {len(scenarios)}")
    comparison = compare(list(scenarios))
    found = [
        _rooflines(comparison),
        parts.time_and_memory(comparison),
        parts.what_if(comparison) if len(scenarios) > 1 else None,
        parts.sweep_section(comparison),
        parts.pay_off(comparison),
        parts.speed_and_error(comparison) if len(scenarios) > 1 else None,
        parts.registered_charts(comparison),
        parts.ops_section(comparison),
        parts.assumptions(comparison),
        parts.provenance(comparison),
        parts.scenarios_section(comparison),
    ]
    return Report(
        title=title or title_of(comparison),
        subtitle=_subtitle(comparison),
        summary=tuple(summary_sentences(comparison)),
        sections=tuple(section for section in found if section is not None),
        scenarios=tuple(scenarios),
        notes=comparison.notes,
    )


def _subtitle(comparison: Comparison) -> str:
    first = comparison.analyses[0]
    load = ", ".join(
        f"{k} {v:,}"
        for k, v in first.scenario.workload.model_dump().items()
        if isinstance(v, int) and (v or k == "context")
    )
    return f"{first.plan.model.name} on {first.plan.hardware.label} · {first.scenario.workload.phase}, {load}"


def roofline_of(result: Analysis, base: Analysis | None = None) -> Draw:
    """The roofline chart of a result as a function of the theme; ``base`` is drawn hollow, with arrows and gains."""

    def draw(theme: str) -> dict[str, Any]:
        a = result.scenario.assumptions
        used = {(r["unit"], m) for r in result.rows if r["matmul_flops"] for m in r["math_types"].split("+")}
        roofs = roofs_of(result.plan.hardware, used, a.clock, a.compute_scale, a.bandwidth_scale)
        return roofline(result.rows, roofs, theme, baseline=base.rows if base else ())

    return draw


def _rooflines(comparison: Comparison) -> Section:
    charts: list[Chart] = []
    for label, result in list(zip(comparison.labels, comparison.analyses, strict=True))[:MAX_ROOFLINES]:
        caption = (
            f"{label}. Area is the share of time, colour what bounds the op, shape its kind. Black: the roofs "
            "that these ops use; dotted: the other roofs of the chip."
        ) + (f" Hollow: {comparison.labels[0]}, with the gain of each op." if charts else "")
        base = comparison.analyses[0] if charts else None
        charts.append(
            Chart(
                f"roofline-{len(charts) + 1}",
                f"Roofline: {label}",
                caption,
                roofline_of(result, base),
                result.rows,
            )
        )
    return Section("Rooflines", (), tuple(charts))
