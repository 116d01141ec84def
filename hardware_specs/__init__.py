"""Descriptions of accelerators and CPUs, one file a device, every figure with its source.

``load("nvidia/a6000")`` returns a ``Hardware``; ``available()`` lists the names. Importing this package
reads no file and imports neither pydantic nor yaml; both come with the first ``load``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardware_specs.campaigns import measured_for
from hardware_specs.errors import HardwareError
from hardware_specs.load import load
from hardware_specs.names import available, resolve

if TYPE_CHECKING:
    from hardware_specs.quantity import Figure, Quantity
    from hardware_specs.schema import Capabilities, Hardware, Link, Measured, MemoryLevel, Rate

_LAZY = {
    "Figure": "quantity",
    "Quantity": "quantity",
    "Capabilities": "schema",
    "Hardware": "schema",
    "Link": "schema",
    "Measured": "schema",
    "MemoryLevel": "schema",
    "Rate": "schema",
}

__all__ = [
    "Capabilities",
    "Figure",
    "Hardware",
    "HardwareError",
    "Link",
    "Measured",
    "MemoryLevel",
    "Quantity",
    "Rate",
    "available",
    "load",
    "measured_for",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"hardware_specs.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
