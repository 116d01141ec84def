"""Kernel tables from other tools, as rows of the neutral form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from viewer.calibration.tables import read_frame
from viewer.errors import unknown

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("auto", "neutral", "aiconfigurator", "ncu", "torch", "bench")


def read_kernels(
    path: Path, form: str = "auto", hardware: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A neutral kernel table from a file of some tool, and notes on what was left out.

    Raises InputError when the file cannot be read or its form is not known.
    """
    if form not in FORMS:
        raise unknown("form of kernel data", form, FORMS)
    del hardware
    return read_frame(path), []
