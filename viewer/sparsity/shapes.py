"""Structured pruning: fewer heads, channels, layers or tokens. Shapes shrink, every engine gains."""

from __future__ import annotations

import math
from dataclasses import dataclass

# what each axis is kept a multiple of (Ascend AMCT ``ascend_optimized`` aligns channels to 16)
ALIGNMENT = {"heads": 1, "layers": 1, "experts": 1, "tokens": 1, "ffn": 16, "channels": 16}


@dataclass(frozen=True, slots=True)
class Structured:
    """A fraction ``removed`` of one axis of the model is gone.

    axis: "heads" (query heads, with their KV heads in the same share), "ffn" (intermediate width),
    "channels" (hidden width), "layers", "experts", or "tokens" (rows that later layers still see).
    """

    axis: str
    removed: float

    @property
    def name(self) -> str:
        """``ffn25``: a quarter of the intermediate width removed."""
        return f"{self.axis}{100 * self.removed:g}"

    @property
    def hardware_need(self) -> str:
        """Nothing."""
        return f"none; sizes stay multiples of {ALIGNMENT[self.axis]}"

    def kept(self, size: int, multiple: int | None = None) -> int:
        """How much of ``size`` stays: at least the kept share, rounded up to the alignment, never 0.

        ``multiple`` overrides the alignment (query heads of a GQA model go in whole KV groups).
        """
        unit = multiple or ALIGNMENT[self.axis]
        # the tiny slack keeps 0.7 * 10 at 7 rather than 7.000000000000001 -> 8
        wanted = math.ceil(size * (1.0 - self.removed) / unit - 1e-9) * unit
        return min(size, max(unit, wanted))
