"""Which module models which op. A module of this package is one kernel class model (see base.KernelModel)."""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from typing import cast

from viewer.calibration.base import KernelModel
from viewer.errors import unknown

MODULES = ("gemm", "attention_prefill", "attention_decode", "elementwise", "moe", "collectives", "profiled")


@lru_cache(maxsize=1)
def models() -> dict[str, KernelModel]:
    """Kernel class models by op name."""
    found: dict[str, KernelModel] = {}
    for name in MODULES:
        full = f"viewer.calibration.{name}"
        if importlib.util.find_spec(full) is None:
            continue
        module = cast(KernelModel, importlib.import_module(full))
        found.update(dict.fromkeys(module.OPS, module))
    return found


def model_for(op: str) -> KernelModel:
    """The model of an op. Raises InputError with the nearest op name."""
    table = models()
    if op not in table:
        raise unknown("op", op, table)
    return table[op]
