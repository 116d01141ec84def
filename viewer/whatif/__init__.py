"""What-if: the same functions for Python, the command and the dashboard."""

from __future__ import annotations

from viewer.whatif.axes import Axis, axis_of, make_axis
from viewer.whatif.comparing import Comparison, compare
from viewer.whatif.planning import PlanResult, plan
from viewer.whatif.sensitivity import sensitivity, upgrade_sentence
from viewer.whatif.solution import Solution
from viewer.whatif.solving import solve
from viewer.whatif.sweeping import sweep, sweep_chunks

__all__ = [
    "Axis",
    "Comparison",
    "PlanResult",
    "Solution",
    "axis_of",
    "compare",
    "make_axis",
    "plan",
    "sensitivity",
    "solve",
    "sweep",
    "sweep_chunks",
    "upgrade_sentence",
]
