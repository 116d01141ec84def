"""Roofline performance analyzer for LLM inference: counts, bounds and calibrated estimates.

The public interface is loaded on first use, so that ``import viewer`` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Analysis": "viewer.analysis",
    "Assumptions": "viewer.scenario",
    "Decode": "viewer.workload",
    "Generation": "viewer.workload",
    "InputError": "viewer.errors",
    "Parallel": "viewer.scenario",
    "Prefill": "viewer.workload",
    "Scenario": "viewer.scenario",
    "analyze": "viewer.analysis",
    "compare": "viewer.whatif",
    "load_model": "viewer.models",
    "plan": "viewer.whatif",
    "sensitivity": "viewer.whatif",
    "solve": "viewer.whatif",
    "sweep": "viewer.whatif",
}

__all__ = sorted(_LAZY)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
