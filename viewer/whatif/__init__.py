"""What-if: the same functions for Python, the command and the dashboard."""

from __future__ import annotations

from viewer.whatif.axes import Axis, axis_of, make_axis
from viewer.whatif.sweeping import sweep, sweep_chunks

__all__ = ["Axis", "axis_of", "make_axis", "sweep", "sweep_chunks"]
