"""Where a margin changes sign, exactly: every whole number up to a limit is looked at, the rest by brackets.

A margin is a function of an array that is >= 0 where a condition holds. Nothing is assumed monotone: all runs are found
as far as ``scanned`` says, and whether there is more than one is part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Margin = Callable[[Values], Any]

#: Whole numbers that are looked at one by one, from the low end.
DENSE = 1 << 16
#: Points of the geometric grid above those (and of the grid of a continuous unknown).
GRID = 2048


@dataclass(frozen=True)
class Run:
    """A stretch on which the condition holds. ``first``/``last``: its ends that were looked at (whole numbers are
    exact); ``start``/``stop``: the same ends on the real line. ``open_low``/``open_high``: it goes on beyond."""

    first: float
    last: float
    start: float
    stop: float
    open_low: bool
    open_high: bool


@dataclass(frozen=True)
class Runs:
    """All runs of a condition on a domain. ``scanned``: up to here no run can have been missed."""

    runs: tuple[Run, ...]
    low: float
    high: float
    scanned: float

    @property
    def monotone(self) -> bool:
        """Whether the condition changes at most once on the domain."""
        ends = sum((not r.open_low) + (not r.open_high) for r in self.runs)
        return ends <= 1


def whole_runs(margin: Margin, low: int, high: int, dense: int = DENSE) -> Runs:
    """Runs of ``margin(n) >= 0`` over the whole numbers low..high.

    Every number from ``low`` to ``low + dense - 1`` is evaluated; above, a geometric grid of GRID numbers, whose sign
    changes are bisected to neighbours. ``start``/``stop`` are the real roots between neighbours.
    """
    top = min(high, low + dense - 1)
    numbers = np.arange(low, top + 1, dtype=np.float64)
    if high > top:
        above = np.unique(np.round(np.geomspace(top + 1, high, GRID)))
        numbers = np.concatenate([numbers, above[above > top]])
    holds = _holds(margin, numbers)
    found = []
    for first, last in _stretches(holds):
        begin, end = numbers[first], numbers[last]
        start, stop = begin, end
        if first:
            begin = _neighbour(margin, numbers[first - 1], begin)
            start = real_root(margin, begin - 1, begin)
        if last < len(numbers) - 1:
            end = _neighbour(margin, numbers[last + 1], end)
            stop = real_root(margin, end + 1, end)
        found.append(Run(begin, end, start, stop, first == 0, last == len(numbers) - 1))
    return Runs(tuple(found), float(low), float(high), float(top))


def real_runs(margin: Margin, low: float, high: float) -> Runs:
    """Runs of ``margin(x) >= 0`` for positive real x, on a logarithmic grid whose sign changes are refined."""
    numbers = np.geomspace(low, high, GRID)
    holds = _holds(margin, numbers)
    found = []
    for first, last in _stretches(holds):
        begin, end = numbers[first], numbers[last]
        if first:
            begin = real_root(margin, numbers[first - 1], begin)
        if last < len(numbers) - 1:
            end = real_root(margin, numbers[last + 1], end)
        found.append(Run(begin, end, begin, end, first == 0, last == len(numbers) - 1))
    return Runs(tuple(found), low, high, high)


def _holds(margin: Margin, numbers: Values) -> npt.NDArray[np.bool_]:
    value = np.broadcast_to(np.asarray(margin(numbers), dtype=float), numbers.shape)
    return np.asarray(value >= 0)


def _stretches(holds: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, last) index of each stretch of True."""
    padded = np.concatenate([[False], holds, [False]]).astype(np.int8)
    steps = np.diff(padded)
    pairs = zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
    return [(int(a), int(b) - 1) for a, b in pairs]


def _neighbour(margin: Margin, fails: float, holds: float) -> float:
    """The whole number next to a failing one at which the condition holds, between ``fails`` and ``holds``."""
    while abs(holds - fails) > 1:
        inner = np.unique(np.round(np.linspace(fails, holds, 66)[1:-1]))
        inner = inner[(inner != fails) & (inner != holds)]
        if not inner.size:
            break
        inner = inner if holds > fails else inner[::-1]
        good = np.flatnonzero(_holds(margin, inner))
        if good.size:
            first = int(good[0])
            holds, fails = inner[first], inner[first - 1] if first else fails
        else:
            fails = inner[-1]
    return float(holds)


def real_root(margin: Margin, fails: float, holds: float) -> float:
    """The real x nearest to ``fails`` at which the condition holds: the bracket is cut until no float lies inside."""
    while True:
        inner = np.linspace(fails, holds, 34)[1:-1]
        inner = inner[(inner != fails) & (inner != holds)]
        if not inner.size:
            return float(holds)
        good = np.flatnonzero(_holds(margin, inner))
        if good.size:
            first = int(good[0])
            holds, fails = inner[first], inner[first - 1] if first else fails
        else:
            fails = inner[-1]
