"""Sensitivity: what +-10 % of one resource does to the time, and so what to upgrade next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.analysis import Analysis, op_seconds
from viewer.planned import evaluate, with_rates
from viewer.roofline import Rates
from viewer.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

#: Stands for a resource without limit.
WITHOUT_LIMIT = 1e12


def resources_of(rates: Rates) -> dict[str, Any]:
    """Resource -> function that multiplies it in a set of rates."""

    def products(factor: float) -> Rates:
        return replace(
            rates, products={k: v * (factor if k[0] == "tensor" else 1.0) for k, v in rates.products.items()}
        )

    def vector(factor: float) -> Rates:
        moved = {k: v * (factor if k[0] == "vector" else 1.0) for k, v in rates.products.items()}
        known = rates.vector_flops_per_s
        return replace(rates, products=moved, vector_flops_per_s=None if known is None else known * factor)

    out = {
        "tensor peak": products,
        "vector peak": vector,
        "DRAM bandwidth": lambda f: replace(rates, dram_bytes_per_s=rates.dram_bytes_per_s * f),
    }
    special = rates.special_per_s
    if special is not None:
        out["special-function rate"] = lambda f: replace(rates, special_per_s=special * f)
    link = rates.link
    if link is not None:
        out["link bandwidth"] = lambda f: replace(
            rates, link=replace(link, fabrics=tuple(replace(one, beta=one.beta * f) for one in link.fabrics))
        )
    return out


def sensitivity(scenario: Scenario, change: float = 0.1) -> pd.DataFrame:
    """One row per resource, the one to upgrade next first.

    Columns: resource, time_s (now), slower_s and faster_s (resource -change and +change), gain (time now / time at
    +change - 1), elasticity (-d ln t / d ln resource, central), without_limit_gain (time now / time if it were
    free), next (bool). Elasticities of the roofs add up to 1 where no launch time is assumed.
    """
    import pandas as pd

    # kernels are estimated for the device as it is; how they would run on another one only the bound can say
    result = Analysis(scenario.with_(fidelity="bound"))
    now = _time(result, result.plan.rates)
    rows: list[dict[str, Any]] = []
    for name, scaled in resources_of(result.plan.rates).items():
        slower, faster = _time(result, scaled(1.0 - change)), _time(result, scaled(1.0 + change))
        free = _time(result, scaled(WITHOUT_LIMIT))
        slope = np.log(slower / faster) / np.log((1.0 + change) / (1.0 - change)) if faster else 0.0
        rows.append(
            {
                "resource": name,
                "change": change,
                "time_s": now,
                "slower_s": slower,
                "faster_s": faster,
                "gain": now / faster - 1.0 if faster else 0.0,
                "elasticity": float(slope),
                "without_limit_gain": now / free - 1.0 if free else float("inf"),
            }
        )
    rows.sort(key=lambda r: -r["gain"])
    for index, row in enumerate(rows):
        row["next"] = index == 0 and row["gain"] > 0
    return pd.DataFrame(rows)


def _time(result: Analysis, rates: Rates) -> float:
    plan = with_rates(result.plan, rates)
    total = 0.0
    for part in result.parts:
        evaluation = evaluate(plan, part.step)
        timed = op_seconds(result.scenario, plan, part.step, evaluation)
        seconds = evaluation.total([one.time_s for one in timed])
        total += part.steps * float(np.mean(seconds))
    return total


def upgrade_sentence(frame: pd.DataFrame) -> str:
    """What to upgrade next, in one sentence."""
    best = frame.iloc[0]
    if not bool(best["next"]):
        return "No resource of this device limits the time."
    return (
        f"Upgrade the {best['resource']} next: +{100 * best['change']:.0f} % makes it {100 * best['gain']:.2g} % "
        f"faster; without limit it would be {1 + best['without_limit_gain']:.3g}x as fast."
    )
