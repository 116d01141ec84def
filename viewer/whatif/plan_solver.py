"""The choice as an integer program (HiGHS through SciPy), and by trying everything for a check.

minimize sum noise[u,o] x[u,o]  subject to  sum_o x[u,o] = 1,  sum cost[m,u,o] x[u,o] <= budget[m] - first[m].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from viewer.whatif.plan_units import Measures, Unit

#: Relative gap at which the solver stops.
GAP = 1e-6
TIME_LIMIT_S = 30.0


@dataclass(frozen=True)
class Selection:
    """The chosen option per unit. ``noise``: of the selection; ``bound_noise``: no selection can have less.

    ``proven``: the solver closed the gap. ``picks`` is empty where no selection meets the budgets.
    """

    picks: tuple[int, ...]
    noise: float
    bound_noise: float
    proven: bool


def select(units: Sequence[Unit], room: Mapping[str, float], time_limit_s: float = TIME_LIMIT_S) -> Selection:
    """The selection of least noise whose costs, as differences to the first options, stay within ``room``."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    noise = np.array([c.noise for u in units for c in u.choices])
    owner = np.repeat(np.arange(len(units)), [len(u.choices) for u in units])
    one_each = csr_array((np.ones(noise.size), (owner, np.arange(noise.size))))
    limits = [LinearConstraint(one_each, 1.0, 1.0)]
    for name, allowed in room.items():
        cost = np.array([c.cost[name] for u in units for c in u.choices])
        scale = float(np.abs(cost).max()) or 1.0
        if not np.any(cost):
            if allowed < 0:
                return Selection((), math.inf, math.inf, True)
            continue
        limits.append(LinearConstraint(csr_array(cost[None, :] / scale), -np.inf, allowed / scale))
    size = float(np.abs(noise).max()) or 1.0
    found = milp(
        noise / size,
        integrality=np.ones(noise.size, dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=limits,
        options={"time_limit": time_limit_s, "mip_rel_gap": GAP},
    )
    if found.x is None:
        return Selection((), math.inf, math.inf, found.status == 2)
    chosen = found.x > 0.5
    picks, start = [], 0
    for unit in units:
        picks.append(int(np.argmax(found.x[start : start + len(unit.choices)])))
        start += len(unit.choices)
    dual = found.mip_dual_bound
    bound = (
        float(noise[chosen].sum()) if dual is None else min(float(dual) * size, float(noise[chosen].sum()))
    )
    return Selection(tuple(picks), float(noise[chosen].sum()), bound, found.status == 0)


def exhaustive(units: Sequence[Unit], room: Mapping[str, float]) -> Selection:
    """The same by trying every combination: for small cases only."""
    best: tuple[float, tuple[int, ...]] | None = None
    for picks in itertools.product(*(range(len(u.choices)) for u in units)):
        chosen = [u.choices[i] for u, i in zip(units, picks, strict=True)]
        if any(sum(c.cost[m] for c in chosen) > allowed for m, allowed in room.items()):
            continue
        noise = math.fsum(c.noise for c in chosen)
        if best is None or noise < best[0]:
            best = noise, picks
    if best is None:
        return Selection((), math.inf, math.inf, True)
    return Selection(best[1], best[0], best[0], True)


def extremes(units: Sequence[Unit], first: Measures) -> dict[str, tuple[float, float]]:
    """(least, largest) value of each measure that any selection can have."""
    out = {}
    for name, start in first.items():
        low = start + sum(min(c.cost[name] for c in u.choices) for u in units)
        high = start + sum(max(c.cost[name] for c in u.choices) for u in units)
        out[name] = low, high
    return out
