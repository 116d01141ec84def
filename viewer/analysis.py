"""Analyze one scenario: glue between plan, counts, times, memory and the frame. No formulas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer import memory as mem
from viewer.energy import Energy, energy_account
from viewer.planned import Plan, evaluate, plan_of, scenario_notes
from viewer.results import frame_of, rows_of, totals_of
from viewer.roofline import Evaluation, OpSeconds, bound_seconds
from viewer.scenario import SCHEMA_VERSION, Scenario, scenario_from
from viewer.workload import Decode, Generation, Step, Workload, decode_step

if TYPE_CHECKING:
    import pandas as pd

    from viewer.compression import Compression

#: Decode steps of an answer that are evaluated one by one. The time of a step is piecewise linear in the context, so
#: the mean over this many equally spaced steps stands for a longer answer.
MAX_DECODE_POINTS = 256


@dataclass(frozen=True)
class Totals:
    """Sums over the network. Times in seconds; ``energy_j`` is the bound TDP x time (None without a TDP)."""

    matmul_flops: float
    dense_matmul_flops: float
    vector_flops: float
    transcendentals: float
    bitops: float
    bops_mac: float
    dram_bytes: float
    weight_bytes: float
    kv_read_bytes: float
    kv_write_bytes: float
    activation_bytes: float
    time_s: float
    lower_time_s: float
    upper_time_s: float
    time_low_s: float
    time_high_s: float
    tokens_per_s: float
    energy_j: float | None
    label: str


@dataclass(frozen=True)
class Memory:
    """The memory account of one device in bytes, and the largest batch and context that fit (None: no capacity)."""

    weight_bytes: float
    kv_cache_bytes: float
    kv_values: float
    state_bytes: float
    activation_peak_bytes: float
    overhead_bytes: float
    total_bytes: float
    capacity_bytes: float | None
    usable_bytes: float | None
    fits: bool | None
    max_batch: int | None
    max_context: int | None


@dataclass(frozen=True)
class Part:
    """One phase of a workload: its step, how many times it runs, and how many points stand for these times."""

    phase: str
    step: Step
    steps: int
    points: int = 1


class Analysis:
    """The answer to one scenario. Everything is computed when first asked for and never changes."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.plan: Plan = plan_of(scenario)

    @cached_property
    def parts(self) -> list[Part]:
        """The phases of the workload."""
        return parts_of(self.scenario.workload)

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """Counts and times per phase."""
        return [evaluate(self.plan, part.step) for part in self.parts]

    @cached_property
    def seconds(self) -> list[list[OpSeconds]]:
        """Seconds per op and phase: the bound, or an estimate with its interval."""
        pairs = zip(self.parts, self.evaluations, strict=True)
        return [op_seconds(self.scenario, self.plan, part.step, evaluation) for part, evaluation in pairs]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per op group and phase."""
        rows: list[dict[str, Any]] = []
        for part, evaluation, seconds in zip(self.parts, self.evaluations, self.seconds, strict=True):
            rows += rows_of(evaluation, self.plan.rates, seconds, part.phase, part.steps)
        return rows

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per op group (and phase)."""
        return frame_of(self.rows)

    @cached_property
    def sums(self) -> dict[str, float]:
        """Totals of every summed column."""
        return totals_of(self.rows)

    def time_s(self) -> float:
        """Total time alone, without rows or frame: the quick path of solvers and sliders."""
        total = 0.0
        for part, evaluation, seconds in zip(self.parts, self.evaluations, self.seconds, strict=True):
            total += part.steps * float(np.mean(evaluation.total([one.time_s for one in seconds])))
        return total

    @cached_property
    def totals(self) -> Totals:
        """Typed totals."""
        s = self.sums
        tdp = self.plan.hardware.tdp_w
        tokens = produced_tokens(self.scenario.workload)
        label, low, high = self._interval()
        return Totals(
            **{name: s[name] for name in _DIRECT},
            time_low_s=low,
            time_high_s=high,
            activation_bytes=s["activation_read_bytes"] + s["activation_write_bytes"],
            tokens_per_s=float(tokens) / s["time_s"] if s["time_s"] else 0.0,
            energy_j=None if tdp is None else float(tdp.value) * s["time_s"],
            label=label,
        )

    def _interval(self) -> tuple[str, float, float]:
        """(label, low, high) of the total time."""
        if self.scenario.assumptions.fidelity == "bound":
            return "bound", self.sums["time_low_s"], self.sums["time_high_s"]
        from viewer.estimates import combined_interval, worst_label

        names = ("time_s", "time_low_s", "time_high_s")
        each = [tuple(row["repeat"] * row[n] for n in names) for row in self.rows]
        low, high = combined_interval([row["kind"] for row in self.rows], each)
        main = [
            row["label"] for row in self.rows if row["repeat"] * row["time_s"] > 0.02 * self.sums["time_s"]
        ]
        return worst_label(main), low, high

    @cached_property
    def phases(self) -> dict[str, float | None]:
        """Time to first token and mean time per output token, in seconds."""
        by_phase: dict[str, float] = {}
        for row in self.rows:
            by_phase[row["phase"]] = by_phase.get(row["phase"], 0.0) + row["repeat"] * row["time_s"]
        steps = {part.phase: part.steps for part in self.parts}
        decode = by_phase.get("decode")
        return {
            "ttft_s": by_phase.get("prefill"),
            "tpot_s": None if decode is None else decode / max(1, steps["decode"]),
        }

    @cached_property
    def memory(self) -> Memory:
        """The memory account, with the largest batch and context that fit."""
        return memory_account(self.scenario, self.plan, self.parts)

    @cached_property
    def fusion(self) -> dict[str, Any]:
        """What the fusion preset saves against unfused execution of the same scenario: kernels, bytes, seconds."""
        eager = Analysis(self.scenario.with_(fusion="eager"))
        own, other = self.sums, eager.sums
        kernels, unfused = (sum(row["repeat"] for row in one.rows) for one in (self, eager))
        return {
            "preset": self.scenario.assumptions.fusion,
            "kernels": kernels,
            "eager_kernels": unfused,
            "saved_dram_bytes": other["dram_bytes"] - own["dram_bytes"],
            "eager_time_s": other["time_s"],
            "saved_time_s": other["time_s"] - own["time_s"],
        }

    @cached_property
    def energy(self) -> Energy:
        """Joules and cost of all devices: the bound from the power limit, the estimate per bit and per FLOP."""
        tokens, price = (
            float(produced_tokens(self.scenario.workload)),
            self.scenario.assumptions.price_per_hour,
        )
        devices = self.scenario.parallel.devices
        return energy_account(self.rows, self.plan.hardware, devices, tokens, self.sums["time_s"], price)

    @cached_property
    def error(self) -> dict[str, Any]:
        """The accuracy side: least and median SQNR over the ops in dB, a risk class, assumed or measured."""
        from viewer.risk import risk_of

        return risk_of(self.scenario).summary()

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know: model and hardware notes, lengths beyond the model's limit, ignored options."""
        return (*self.plan.notes, *scenario_notes(self.scenario, self.plan))

    def _repr_html_(self) -> str:
        from viewer.tables import analysis_html

        return analysis_html(self)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``roofline analyze --json``."""
        from dataclasses import asdict

        model = self.plan.model
        return {
            "schema": SCHEMA_VERSION,
            "scenario": self.scenario.full(),
            "model": {
                "name": model.name,
                "model_type": model.model_type,
                "parameter_count": self.plan.parameter_count,
                "published_parameter_count": model.published,
                "active_parameter_count": self.plan.active_parameter_count,
            },
            "hardware": {"name": self.plan.hardware.name, "devices": self.scenario.parallel.devices},
            "devices": self.scenario.parallel.devices,
            "ops": [
                {**row, "math_types": row["math_types"].split("+"), "notes": list(row["notes"])}
                for row in self.rows
            ],
            "totals": asdict(self.totals),
            "memory": asdict(self.memory),
            "phases": self.phases,
            "energy": asdict(self.energy),
            "fusion": self.fusion,
            "error": self.error,
            "notes": list(self.notes),
        }


_DIRECT = (
    "matmul_flops",
    "dense_matmul_flops",
    "vector_flops",
    "transcendentals",
    "bitops",
    "bops_mac",
    "dram_bytes",
    "weight_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
    "time_s",
    "lower_time_s",
    "upper_time_s",
)


def analyze(
    model: str | Scenario,
    hardware: str = "",
    workload: Workload | None = None,
    compression: str | Compression = "checkpoint",
    **options: Any,
) -> Analysis:
    """Analyze one scenario: ``analyze(model="llama-2-13b", hardware="nvidia/a6000", workload=Decode(context=2047))``.

    ``options``: any field of Assumptions or Parallel (``fusion="eager"``, ``tp=2`` …). Raises InputError in one line.
    """
    if isinstance(model, Scenario):
        return Analysis(model)
    return Analysis(make_scenario(model, hardware, workload, compression, **options))


def make_scenario(
    model: str,
    hardware: str,
    workload: Workload | None = None,
    compression: str | Compression = "checkpoint",
    **options: Any,
) -> Scenario:
    """A scenario from plain arguments; InputError names an unknown option and the nearest one."""
    from viewer.scenario import Assumptions, Parallel

    data: dict[str, Any] = {"model": model, "hardware": hardware, "compression": compression}
    data["workload"] = (workload or Decode()).model_dump()
    data["assumptions"] = {k: v for k, v in options.items() if k in Assumptions.model_fields}
    data["parallel"] = {k: v for k, v in options.items() if k in Parallel.model_fields}
    rest = {k: v for k, v in options.items() if k not in data["assumptions"] and k not in data["parallel"]}
    parallel = rest.pop("parallel", None)
    if parallel is not None:
        data["parallel"] = parallel.model_dump() if isinstance(parallel, Parallel) else dict(parallel)
    assumptions = rest.pop("assumptions", None)
    if assumptions is not None:
        base = assumptions.model_dump() if isinstance(assumptions, Assumptions) else dict(assumptions)
        data["assumptions"] = {**base, **data["assumptions"]}
    return scenario_from({**data, **rest})


def op_seconds(scenario: Scenario, plan: Plan, step: Step, evaluation: Evaluation) -> list[OpSeconds]:
    """Seconds per op under the scenario's fidelity: its bound, or an estimate of the kernel that would run."""
    a = scenario.assumptions
    if a.fidelity == "bound":
        return bound_seconds(evaluation.times, a.overlap, a.launch_s)
    from viewer.estimates import estimated_seconds

    return estimated_seconds(plan, evaluation, step, a.launch, a.threads)


def parts_of(
    workload: Workload,
    over: dict[str, Any] | None = None,
    trailing: dict[str, Any] | None = None,
    last: bool = False,
) -> list[Part]:
    """The phases of a workload: one step, or a prefill and the decode steps of an answer as one array.

    ``over`` replaces fields by arrays; ``trailing`` holds the same arrays with one more axis, along which the decode
    steps lie. ``last``: only the last decode step (what memory needs).
    """
    over = over or {}
    if not last:
        return [Part(*one) for one in workload.passes(over, trailing)]
    if isinstance(workload, Generation) and workload.output > 1:
        final = workload.decode_step(workload.output - 2.0, **over)
        return [Part("prefill", workload.step(**over), 1), Part("decode", final, workload.output - 1)]
    return [Part(workload.phase, workload.step(**over), 1)]


def produced_tokens(workload: Workload, over: dict[str, Any] | None = None) -> Any:
    """What the workload yields: prompt tokens processed, one token per decode request, an answer, images."""
    return workload.produced(**(over or {}))


def memory_account(scenario: Scenario, plan: Plan, parts: list[Part]) -> Memory:
    """The account at the end of the workload and the limits under the scenario's other numbers."""
    a = scenario.assumptions
    held = [mem.account(plan.graph, part.step, a.page_tokens) for part in parts]
    last = held[-1]
    peak = max(float(np.max(h.activation_peak_bytes)) for h in held)
    kv, values = float(np.max(last.kv_cache_bytes)), float(np.max(last.kv_values))
    state = float(np.max(last.state_bytes))
    total = last.weight_bytes + kv + state + peak + a.overhead_bytes
    dram = plan.hardware.memory("dram")
    capacity = None if dram is None or dram.capacity_bytes is None else float(dram.capacity_bytes.value)
    usable = None if capacity is None else a.memory_utilization * capacity
    return Memory(
        weight_bytes=last.weight_bytes,
        kv_cache_bytes=kv,
        kv_values=values,
        state_bytes=state,
        activation_peak_bytes=peak,
        overhead_bytes=a.overhead_bytes,
        total_bytes=total,
        capacity_bytes=capacity,
        usable_bytes=usable,
        fits=None if usable is None else total <= usable,
        max_batch=None if usable is None else _limit(scenario, plan, usable, "batch"),
        max_context=None if usable is None else _limit(scenario, plan, usable, "context"),
    )


def _limit(scenario: Scenario, plan: Plan, usable: float, axis: str) -> int | None:
    """Largest batch or length that fits with everything else as it is; None where the workload has no such axis."""
    a, load = scenario.assumptions, scenario.workload
    names = load.numeric()
    if axis == "context":
        axis = "context" if "context" in names else "prompt"
    if axis not in names:
        return None

    def total(values: Any) -> Any:
        if isinstance(load, Generation):
            batch = values if axis == "batch" else float(load.batch)
            prompt = values if axis == "prompt" else float(load.prompt)
            first = mem.account(plan.graph, load.step(batch=batch, prompt=prompt), a.page_tokens)
            end = mem.account(plan.graph, decode_step(batch, prompt + load.output - 2.0), a.page_tokens)
            kept = end.weight_bytes + end.kv_cache_bytes + end.state_bytes + a.overhead_bytes
            return kept + np.maximum(first.activation_peak_bytes, end.activation_peak_bytes)
        return mem.account(plan.graph, load.step(**{axis: values}), a.page_tokens).total(a.overhead_bytes)

    return mem.largest(lambda values: total(values) <= usable)
