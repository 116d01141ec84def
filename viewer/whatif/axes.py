"""Axes of a sweep: ``batch=1:512:log:40``, ``context=1000:2000:lin:11``, ``compression=w16a16,w4a16-g128``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from viewer.errors import InputError, unknown
from viewer.units import parse

#: Numeric axes that are lengths and counts: rounded to whole numbers and made unique.
WHOLE = frozenset(
    {"batch", "prompt", "context", "cached", "output", "chunk", "draft", "nodes", "tp", "pp", "ep", "dp"}
)
#: Numeric axes that change rates: absolute bandwidth and peaks as a multiple of the device's.
RATES = {"bandwidth": "B/s", "bandwidth_scale": "", "compute_scale": ""}
#: Axes whose values are names; each value is an evaluation of its own.
NAMES = ("model", "hardware", "compression", "fusion", "attention", "mla", "clock", "fidelity")
#: Numeric axes that change the structure of what runs, so each value is an evaluation of its own.
STRUCTURE = ("tp", "pp", "ep", "dp", "output")
MAX_AXIS_POINTS = 10_000_000


@dataclass(frozen=True)
class Axis:
    """A named list of values: an array for a numeric axis, a tuple of strings for a discrete one."""

    name: str
    values: npt.NDArray[np.float64] | tuple[str, ...]

    @property
    def discrete(self) -> bool:
        """Whether each value is an evaluation of its own."""
        return isinstance(self.values, tuple) or self.name in STRUCTURE


def known_axes() -> tuple[str, ...]:
    """Names that an axis may have."""
    from viewer.workload import workload_kinds

    fields = {f for kind in workload_kinds().values() for f in kind.model_fields if f != "phase"}
    return tuple(sorted({*fields, *RATES, *NAMES, *STRUCTURE}))


def axis_of(spec: str) -> Axis:
    """An axis from text; InputError says what was given, what is allowed, and the nearest name."""
    name, separator, body = spec.partition("=")
    name = name.strip()
    if not separator or not body.strip():
        raise InputError(
            f"axis {spec[:80]!r} is not name=start:stop:log:count, name=start:stop:lin:count or name=v1,v2"
        )
    return make_axis(name, body.strip())


def make_axis(name: str, values: Any) -> Axis:
    """An axis from a spec such as ``"1:512:log:40"``, a list, or an array."""
    if name not in known_axes():
        raise unknown("axis", name, known_axes())
    if name in NAMES:
        words = [values] if isinstance(values, str) else list(values)
        texts = [w.strip() for text in words for w in str(text).split(",") if w.strip()]
        return Axis(name, tuple(dict.fromkeys(texts)))
    numbers = _generated(name, values) if isinstance(values, str) and ":" in values else _listed(name, values)
    if name in WHOLE:
        numbers = np.unique(np.round(numbers))
    if numbers.size == 0 or not np.all(np.isfinite(numbers)) or float(numbers.min()) < 0:
        raise InputError(f"axis {name}: needs at least one finite value >= 0")
    return Axis(name, numbers.astype(np.float64))


def _generated(name: str, spec: str) -> npt.NDArray[np.float64]:
    parts = spec.split(":")
    if len(parts) not in (3, 4) or parts[2] not in ("log", "lin"):
        raise InputError(f"axis {name}={spec[:60]!r} is not start:stop:log:count or start:stop:lin:count")
    start, stop = (parse(p, RATES.get(name, "")) for p in parts[:2])
    count = 50 if len(parts) == 3 else int(parse(parts[3]))
    if not 1 <= count <= MAX_AXIS_POINTS:
        raise InputError(f"axis {name}: {count} points (allowed: 1 to {MAX_AXIS_POINTS})")
    if parts[2] == "log":
        if start <= 0 or stop <= 0:
            raise InputError(
                f"axis {name}: a logarithmic axis needs positive ends, not {parts[0]}:{parts[1]}"
            )
        return np.geomspace(start, stop, count)
    return np.linspace(start, stop, count)


def _listed(name: str, values: Any) -> npt.NDArray[np.float64]:
    if isinstance(values, str):
        values = [v for v in values.split(",") if v.strip()]
    items: Iterable[Any] = values if isinstance(values, Sequence | np.ndarray) else [values]
    return np.array(
        [parse(v, RATES.get(name, "")) if isinstance(v, str) else float(v) for v in items], dtype=float
    )
