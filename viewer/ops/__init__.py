"""Op kinds and what each costs. Importing this package registers every kind."""

from __future__ import annotations

import importlib
import pkgutil

from viewer.ops.cost import OpCost, cost_of, count, op_kinds

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["OpCost", "cost_of", "count", "op_kinds"]
