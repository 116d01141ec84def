"""What ``solve`` answers: the value, where the condition holds, the table, and the curve for a chart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from viewer.scenario import SCHEMA_VERSION, Scenario

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Solution:
    """An answer. ``answer`` is None where nothing in the range meets the condition.

    ``answer``: whole for lengths and counts, in ``unit`` for rates. ``exact``: the same end on the real line.
    ``rows``: one per condition; ``main`` marks the one that was asked. ``curves``: x and what was compared.
    """

    question: str
    answer: float | None
    exact: float | None
    unknown: str
    unit: str
    monotone: bool
    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    scenario: Scenario
    curves: dict[str, list[float]] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """Whether there is a solution."""
        return self.answer is not None

    @property
    def frame(self) -> pd.DataFrame:
        """One row per condition."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``roofline solve --json``."""
        return {
            "schema": SCHEMA_VERSION,
            "scenario": self.scenario.full(),
            "question": self.question,
            "found": self.found,
            "unknown": self.unknown,
            "unit": self.unit,
            "answer": self.answer,
            "exact": self.exact,
            "monotone": self.monotone,
            "rows": list(self.rows),
            "notes": list(self.notes),
        }

    def chart(self, theme: str = "light") -> dict[str, Any]:
        """The plotly figure dict of the curves with the answer marked."""
        from viewer.charts.whatif_solve import solve_chart

        return solve_chart(self.curves, self.to_dict(), theme)
