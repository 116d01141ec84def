"""Solve for a price: the smallest batch whose tokens cost no more than a target, at a price per device and hour."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from viewer.charts.sweep_lines import sweep_lines
from viewer.energy import cost_per_million_tokens
from viewer.errors import InputError
from viewer.planned import layout_of
from viewer.scenario import Scenario
from viewer.whatif import sweep

_POINTS = 64
_LARGEST = 4096


@dataclass(frozen=True)
class Priced:
    """The answer in a sentence, notes, rows of the table, and the curve of the cost along the batch."""

    sentence: str
    rows: list[dict[str, Any]]
    series: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def chart(self, theme: str) -> dict[str, Any]:
        """Cost per million tokens along the batch."""
        return sweep_lines(self.series, "batch (requests)", "cost ($ per million tokens)", theme)


def priced(scenario: Scenario, price_per_hour: Any, target: Any) -> Priced:
    """The smallest batch with cost = price * devices / 3600 / tokens_per_s * 10^6 <= ``target`` ($) that fits.

    InputError for a price or target that is no number above 0, and for a workload without a batch.
    """
    price, wanted = _money("price", price_per_hour), _money("value", target)
    if "batch" not in scenario.workload.numeric():
        raise InputError(f"phase {scenario.workload.phase} has no batch to solve for")
    batches = [float(b) for b in np.unique(np.round(np.geomspace(1, _LARGEST, _POINTS)))]
    frame = sweep(scenario, {"batch": batches})
    devices = layout_of(scenario.parallel).devices
    costs = np.atleast_1d(cost_per_million_tokens(price, devices, frame["tokens_per_s"].to_numpy()))
    fits = [bool(one) for one in frame["fits"].fillna(True)]
    good = [i for i, cost in enumerate(costs) if cost <= wanted and fits[i]]
    most = max((i for i, one in enumerate(fits) if one), default=None)
    if good:
        i = good[0]
        text = f"From batch {batches[i]:,.0f} on: ${costs[i]:.3g} per million tokens (asked: ${wanted:.3g})."
    elif most is None:
        text = "No batch fits in memory."
    else:
        text = f"None: ${costs[most]:.3g} per million tokens at batch {batches[most]:,.0f}, the largest that fits here."
    row = {
        "condition": f"cost <= {wanted:.3g} $ per million tokens",
        "holds": f"at {price:.3g} $ per device and hour, {devices} device{'s' * (devices > 1)}",
        "answer": batches[good[0]] if good else None,
        "unit": "requests",
    }
    series = {
        "name": "cost",
        "x": [int(b) for b in batches],
        "y": [float(f"{c:.5g}") if math.isfinite(c) else None for c in costs],
        "fits": fits,
    }
    word = "prompt" if scenario.workload.phase == "prefill" else "output"
    return Priced(text, [row], [series], [f"Tokens are {word} tokens; the devices are used all the time."])


def _money(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise InputError(f"{name}: an amount in $ above 0")
    return float(value)
