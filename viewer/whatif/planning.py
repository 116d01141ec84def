"""``plan``: formats (and sparsity) per layer group and tensor role under budgets, with the least error."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from viewer.compression.names import layer_spec
from viewer.error import ErrorAssessment
from viewer.errors import InputError, unknown
from viewer.risk import Measured, Sensitivities, risk_of
from viewer.scenario import SCHEMA_VERSION, Scenario
from viewer.units import format_quantity as si
from viewer.whatif.plan_solver import Selection, extremes, select
from viewer.whatif.plan_units import Measures, Problem, Unit, policy_json

if TYPE_CHECKING:
    import pandas as pd

#: Budget name -> unit.
BUDGETS = {"memory_bytes": "B", "tpot_s": "s", "ttft_s": "s", "energy_j": "J"}
CANDIDATES = ("w16a16", "w8a16", "w6a16-g128", "w4a16-g128", "w3a16-g128", "w8a8-int8", "w8a8-fp8")
CACHE = ("kv16", "kv8", "kv4")
#: What the pruning plan chooses from: 2:4, and ranks that each matrix may or may not gain from.
PRUNING = ("w16a16", "2:4", "rank2048", "rank1024", "rank512", "rank256")
#: Rounds in which budgets are tightened by what additive costs missed.
ROUNDS = 4


@dataclass(frozen=True)
class PlanResult:
    """A plan. ``scenario`` holds it as its compression; ``compression`` is what a file of it says.

    ``noise``, ``bound_noise``: of the residual stream, of this plan and of any plan that meets the budgets.
    ``before``/``after``: measures at every unit's first option and under the plan, from whole analyses.
    """

    scenario: Scenario
    feasible: bool
    compression: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    budgets: dict[str, float]
    before: Measures
    after: Measures
    least: Measures
    noise: float
    bound_noise: float
    proven: bool
    error: ErrorAssessment | None
    solve_s: float
    total_s: float
    notes: tuple[str, ...]
    front: tuple[dict[str, Any], ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """One row per run of layers and family that got the same choice."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``roofline plan --json``."""
        error = self.error
        return {
            "schema": SCHEMA_VERSION, "scenario": self.scenario.full(), "feasible": self.feasible,
            "compression": self.compression, "rows": list(self.rows), "budgets": self.budgets,
            "before": self.before, "after": self.after, "least": self.least,
            "stream_noise": self.noise, "stream_noise_bound": self.bound_noise, "proven_optimal": self.proven,
            "stream_sqnr_db": None if error is None else error.stream_sqnr_db,
            "min_sqnr_db": None if error is None else error.min_sqnr_db,
            "risk": None if error is None else error.risk,
            "distribution": None if error is None else error.distribution,
            "solve_s": self.solve_s, "total_s": self.total_s, "front": list(self.front), "notes": list(self.notes),
        }  # fmt: skip

    def chart(self, theme: str = "light") -> dict[str, Any]:
        """The front of speed against error, and what each layer got, as a plotly figure dict."""
        from viewer.charts.whatif_plan import plan_chart

        return plan_chart(self.to_dict(), theme)


def plan(
    scenario: Scenario,
    *,
    memory_bytes: float | None = None,
    tpot_s: float | None = None,
    ttft_s: float | None = None,
    energy_j: float | None = None,
    candidates: Sequence[str] = CANDIDATES,
    cache: Sequence[str] = CACHE,
    blocks: int = 8,
    head: bool = False,
    sensitivities: Sensitivities | None = None,
    measured: Measured | None = None,
    front: int = 0,
) -> PlanResult:
    """The compression of least error that meets the budgets, chosen per block of layers and tensor role.

    memory_bytes, tpot_s, ttft_s, energy_j: budgets; without any, what fits the device's memory.
    candidates: settings for linear layers, cache: for the cache; the first is what a unit has before. blocks: runs of
    layers per kind of layer. head: also the output head. sensitivities, measured: of the error side (viewer.error).
    front: points of the front of time against error to compute as well.

    Exact for additive costs (branch and bound, gap 1e-6); whole analyses check the result and tighten the budgets where
    costs were not additive. Raises InputError for an unknown candidate; ``feasible`` is False where nothing meets them.
    """
    given = {"memory_bytes": memory_bytes, "tpot_s": tpot_s, "ttft_s": ttft_s, "energy_j": energy_j}
    budgets = {name: float(value) for name, value in given.items() if value is not None}
    _check(budgets, candidates, blocks)
    start = time.perf_counter()
    wanted = tuple(dict.fromkeys(("memory_bytes", _speed(budgets, scenario), *budgets)))
    budgets = budgets or _device_memory(scenario)
    problem = Problem(
        scenario, tuple(dict.fromkeys(candidates)), tuple(dict.fromkeys(cache)), blocks, head, sensitivities,
        measured, wanted,
    )  # fmt: skip
    units = problem.units
    if not units:
        raise InputError(f"{scenario.model} has no linear layer that a plan could change")
    begin = time.perf_counter()
    found, after = _rounds(problem, units, budgets)
    solve_s = time.perf_counter() - begin
    result = _result(problem, units, found, after, budgets, solve_s, start)
    if front:
        from dataclasses import replace

        result = replace(
            result, front=tuple(_front(problem, units, _speed(budgets, scenario), budgets, front))
        )
    return result


def _check(budgets: Mapping[str, float], candidates: Sequence[str], blocks: int) -> None:
    for name, value in budgets.items():
        if name not in BUDGETS:
            raise unknown("budget", name, BUDGETS)
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"budget {name}: needs a number above 0, not {value}")
    if not candidates:
        raise InputError("a plan needs at least one candidate for linear layers")
    if not 1 <= blocks <= 1024:
        raise InputError(f"blocks {blocks}: allowed are 1 to 1024")


def _speed(budgets: Mapping[str, float], scenario: Scenario) -> str:
    """The measure of speed: the one that has a budget, else that of the scenario's phase."""
    for name in ("tpot_s", "ttft_s"):
        if name in budgets:
            return name
    return "ttft_s" if scenario.workload.phase == "prefill" else "tpot_s"


def _device_memory(scenario: Scenario) -> dict[str, float]:
    from viewer.planned import plan_of

    dram = plan_of(scenario).hardware.memory("dram")
    if dram is None or dram.capacity_bytes is None:
        raise InputError("a plan needs a budget: this device's memory capacity is not known")
    return {"memory_bytes": scenario.assumptions.memory_utilization * float(dram.capacity_bytes.value)}


def _rounds(
    problem: Problem, units: Sequence[Unit], budgets: Mapping[str, float]
) -> tuple[Selection, Measures]:
    """Select, check by a whole analysis, and tighten a budget by what it was missed by."""
    first = problem.measure(())
    room = {name: value - first[name] for name, value in budgets.items()}
    found, after = Selection((), math.inf, math.inf, True), first
    bound = -math.inf
    for _ in range(ROUNDS):
        found = select(units, room)
        bound = found.bound_noise if bound == -math.inf else bound
        if not found.picks:
            return found, first
        after = problem.measure(rules_of(problem, units, found.picks))
        missed = {n: after[n] - v for n, v in budgets.items() if after[n] > v * (1.0 + 1e-12)}
        if not missed:
            return Selection(found.picks, found.noise, min(bound, found.noise), found.proven), after
        for name, excess in missed.items():
            room[name] -= excess
    return Selection((), math.inf, bound, False), first


def rules_of(problem: Problem, units: Sequence[Unit], picks: Sequence[int]) -> list[dict[str, Any]]:
    """The rules of a selection; blocks of the same family that got the same choice are one rule."""
    merged: dict[tuple[Any, ...], set[int]] = {}
    for unit, pick in zip(units, picks, strict=True):
        if pick == 0:
            continue
        for rule in unit.choices[pick].rules:
            key = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in rule.items() if k != "layers")
            merged.setdefault(key, set()).update(unit.layers)
    out = []
    for key, layers in merged.items():
        spec = layer_spec(layers, problem.graph.n_layers) if layers else "all"
        rule = {k: list(v) if isinstance(v, tuple) else v for k, v in key}
        out.append({"ops": rule.pop("ops"), "layers": spec, **rule})
    return out


def _result(
    problem: Problem,
    units: Sequence[Unit],
    found: Selection,
    after: Measures,
    budgets: dict[str, float],
    solve_s: float,
    start: float,
) -> PlanResult:
    first = problem.measure(())
    rules = rules_of(problem, units, found.picks) if found.picks else []
    policy = problem.compression(rules, "plan")
    chosen = problem.scenario.with_(compression=policy_json(policy))
    judged = risk_of(chosen, sensitivities=problem.sensitivities, measured=problem.measured)
    error, notes = judged.assessment, judged.notes
    least = {name: low for name, (low, _) in extremes(units, first).items()}
    if not found.picks:
        for name, value in budgets.items():
            unit = BUDGETS[name]
            notes += (
                f"{name} <= {si(value, unit, 4)}: the least that these candidates reach is {si(least[name], unit, 4)}",
            )
    data = policy.model_dump(mode="json")
    return PlanResult(
        scenario=chosen if found.picks else problem.scenario,
        feasible=bool(found.picks),
        compression=data if isinstance(data, dict) else {"base": data},
        rows=tuple(_rows(units, found.picks)),
        budgets=budgets,
        before=first,
        after=after,
        least=least,
        noise=max(0.0, found.noise + problem.base_noise),
        bound_noise=max(0.0, found.bound_noise + problem.base_noise),
        proven=found.proven,
        error=error if found.picks else None,
        solve_s=solve_s,
        total_s=time.perf_counter() - start,
        notes=notes,
    )


def _rows(units: Sequence[Unit], picks: Sequence[int]) -> list[dict[str, Any]]:
    """One row per family, choice and set of layers."""
    grouped: dict[tuple[str, str], list[tuple[Unit, Any]]] = {}
    for unit, pick in zip(units, picks, strict=False):
        choice = unit.choices[pick]
        grouped.setdefault((unit.family, choice.name), []).append((unit, choice))
    out = []
    for (family, name), members in grouped.items():
        layers = tuple(sorted({layer for unit, _ in members for layer in unit.layers}))
        row: dict[str, Any] = {
            "family": family,
            "choice": name,
            "layers": layer_spec(set(layers), 0) if layers else "head",
            "layer_count": max(1, len(layers)),
            "ops": ", ".join(members[0][0].ops),
            "noise": math.fsum(choice.noise for _, choice in members),
        }
        for measure in members[0][1].cost:
            row[f"{measure}_change"] = math.fsum(choice.cost[measure] for _, choice in members)
        out.append(row)
    return sorted(out, key=lambda r: (r["family"], -r["layer_count"]))


def _front(
    problem: Problem, units: Sequence[Unit], speed: str, budgets: Mapping[str, float], points: int
) -> list[dict[str, Any]]:
    """Least error for ``points`` values of the speed between the fastest selection and the first options."""
    first = problem.measure(())
    low, _ = extremes(units, first)[speed]
    rows = []
    others = {n: v - first[n] for n, v in budgets.items() if n != speed}
    for index in range(points):
        limit = low + (first[speed] - low) * (index / max(1, points - 1)) * (1 + 1e-9) + 1e-9 * abs(low)
        found = select(units, {**others, speed: limit - first[speed]})
        if not found.picks:
            continue
        after = problem.measure(rules_of(problem, units, found.picks))
        noise = max(0.0, found.noise + problem.base_noise)
        rows.append(
            {
                "limit": limit,
                "speed": speed,
                **after,
                "stream_noise": noise,
                "stream_sqnr_db": -10.0 * math.log10(noise) if noise else math.inf,
                "proven_optimal": found.proven,
                "compression": policy_json(problem.compression(rules_of(problem, units, found.picks))),
            }
        )
    return rows
