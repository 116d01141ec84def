"""Roofline performance analyzer for LLM inference: counts, bounds and calibrated estimates.

The public interface is loaded on first use, so that ``import viewer`` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viewer.analysis import Analysis, analyze
    from viewer.charts import figure
    from viewer.compression import Compression
    from viewer.compression.load import load as load_compression
    from viewer.errors import InputError
    from viewer.models import load_model
    from viewer.report import build_report, write_report
    from viewer.scenario import Assumptions, Parallel, Scenario
    from viewer.whatif import Comparison, PlanResult, Solution, compare, plan, solve, sweep
    from viewer.whatif.sensitivity import sensitivity
    from viewer.workload import (
        Beam,
        ChunkedPrefill,
        Decode,
        Diffusion,
        Generation,
        Mixed,
        Prefill,
        Verify,
    )

#: Public name -> (module, name there).
_LAZY = {
    "Analysis": ("viewer.analysis", "Analysis"),
    "Assumptions": ("viewer.scenario", "Assumptions"),
    "Beam": ("viewer.workload", "Beam"),
    "ChunkedPrefill": ("viewer.workload", "ChunkedPrefill"),
    "Comparison": ("viewer.whatif", "Comparison"),
    "Compression": ("viewer.compression", "Compression"),
    "Decode": ("viewer.workload", "Decode"),
    "Diffusion": ("viewer.workload", "Diffusion"),
    "Generation": ("viewer.workload", "Generation"),
    "InputError": ("viewer.errors", "InputError"),
    "Mixed": ("viewer.workload", "Mixed"),
    "Parallel": ("viewer.scenario", "Parallel"),
    "PlanResult": ("viewer.whatif", "PlanResult"),
    "Prefill": ("viewer.workload", "Prefill"),
    "Scenario": ("viewer.scenario", "Scenario"),
    "Solution": ("viewer.whatif", "Solution"),
    "Verify": ("viewer.workload", "Verify"),
    "analyze": ("viewer.analysis", "analyze"),
    "build_report": ("viewer.report", "build_report"),
    "compare": ("viewer.whatif", "compare"),
    "figure": ("viewer.charts", "figure"),
    "load_compression": ("viewer.compression", "load"),
    "load_model": ("viewer.models", "load_model"),
    "plan": ("viewer.whatif", "plan"),
    "sensitivity": ("viewer.whatif", "sensitivity"),
    "solve": ("viewer.whatif", "solve"),
    "sweep": ("viewer.whatif", "sweep"),
    "write_report": ("viewer.report", "write_report"),
}

__all__ = [
    "Analysis",
    "Assumptions",
    "Beam",
    "ChunkedPrefill",
    "Comparison",
    "Compression",
    "Decode",
    "Diffusion",
    "Generation",
    "InputError",
    "Mixed",
    "Parallel",
    "PlanResult",
    "Prefill",
    "Scenario",
    "Solution",
    "Verify",
    "analyze",
    "build_report",
    "compare",
    "figure",
    "load_compression",
    "load_model",
    "plan",
    "sensitivity",
    "solve",
    "sweep",
    "write_report",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
