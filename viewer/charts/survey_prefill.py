"""The survey's figure 9: prefill time against prompt length by setting, with the three regimes as bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure
from viewer.charts.survey_curves import survey_curves


def survey_prefill(
    rows: Sequence[dict[str, Any]],
    crossovers: Sequence[dict[str, Any]],
    regimes: Sequence[dict[str, Any]],
    theme: str = "light",
) -> Figure:
    """``rows``: prompt, compression, time_s, speedup; ``regimes``: stretches of the prompt axis."""
    return survey_curves(rows, crossovers, regimes, "prompt", "prompt (tokens)", "prefill time (s)", theme)
