"""Units: the only place that knows prefixes. Inside, everything is an SI float; strings exist at the boundary.

``parse("768 GB/s") -> 768e9``; ``format_quantity(768e9, "B/s") -> "768 GB/s"``. Decimal prefixes are powers of
ten, binary ones (Ki, Mi, Gi, Ti) powers of 1024; a vendor's "48 GB" of DRAM that means GiB is written GiB.
"""

from __future__ import annotations

import math
import re

from viewer.errors import InputError

DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
SMALL = {"m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12}
UNITS = ("B/s", "B", "FLOP/s", "OP/s", "FLOP", "OP", "Hz", "W", "s", "J", "")
_PATTERN = re.compile(r"^\s*([-+]?[0-9][0-9_]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ/]*)\s*$")


def parse(text: str | float, unit: str = "") -> float:
    """A number from text such as ``"768 GB/s"``, ``"48GiB"``, ``"1.8 GHz"`` or ``"20 ms"``.

    ``unit`` is the unit the caller expects; a bare number is taken to be in it. Raises InputError otherwise.
    """
    if isinstance(text, int | float):
        return float(text)
    match = _PATTERN.match(text[:64])
    if not match:
        raise InputError(
            f"{text[:64]!r} is not a quantity (expected a number and a unit, such as '768 GB/s')"
        )
    number, suffix = float(match[1].replace("_", "")), match[2]
    if not suffix:
        return number
    stem = suffix if not unit else suffix.removesuffix(unit)
    if unit and stem == suffix and suffix not in DECIMAL:
        raise InputError(f"{text[:64]!r} is not a quantity in {unit} (such as '2 G{unit}')")
    for table in (BINARY, DECIMAL, SMALL):
        if stem in table:
            return number * table[stem]
    raise InputError(
        f"{text[:64]!r} has an unknown prefix {stem!r} (allowed: {', '.join(filter(None, DECIMAL))}, Ki…Ti)"
    )


def format_quantity(value: float | None, unit: str = "", digits: int = 3) -> str:
    """``value`` with a decimal prefix, ``digits`` significant: ``format_quantity(0.0357, "s") -> '35.7 ms'``."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return f"0 {unit}".rstrip()
    steps = [("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)]
    if unit in ("s", "J", "$"):
        steps = [("", 1.0), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9)]
    magnitude = abs(value)
    prefix, scale = next((s for s in steps if magnitude >= s[1] * 0.9995), steps[-1])
    scaled = value / scale
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled)) + 1e-12)) if scaled else 0
    return f"{scaled:,.{decimals}f} {prefix}{unit}".rstrip()
