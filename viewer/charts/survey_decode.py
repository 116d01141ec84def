"""The survey's figure 8: decode time against batch for weight widths, with the three regimes as bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viewer.charts.base import Figure
from viewer.charts.survey_curves import survey_curves


def survey_decode(
    rows: Sequence[dict[str, Any]],
    crossovers: Sequence[dict[str, Any]],
    regimes: Sequence[dict[str, Any]],
    theme: str = "light",
) -> Figure:
    """``rows``: batch, compression, time_s, speedup; ``regimes``: stretches of the batch axis."""
    return survey_curves(
        rows, crossovers, regimes, "batch", "batch (requests)", "time per decode step (s)", theme
    )
