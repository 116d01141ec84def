"""A scenario as functions of one unknown: times, memory and resource sums for whole arrays of its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from viewer.analysis import MAX_DECODE_POINTS, op_seconds
from viewer.errors import InputError, unknown
from viewer.ops.linear import Linear
from viewer.planned import Plan, evaluate, plan_of
from viewer.roofline import OpSeconds, OpTime
from viewer.scenario import Scenario
from viewer.whatif.grid import evaluate_points, rated
from viewer.whatif.roots import DENSE, Values
from viewer.workload import MAX_COUNT, Generation

#: Unknowns that change rates: name -> axis of the grid that scales them.
RATE_AXES = {"bandwidth": "bandwidth_scale", "peak": "compute_scale"}
#: Range of a rate, as a multiple of the device's, in which an answer is looked for.
RATE_RANGE = (1e-6, 1e6)

#: Instead of an op's name: all linear layers of the stack together, as in compression rules.
LINEARS = "@linear"


@dataclass(frozen=True)
class Probe:
    """``scenario`` with one unknown: a length or count of its workload, or ``bandwidth`` or ``peak``.

    ``op`` (or ``@linear``), ``layer``: ask of one op, of one layer, or (both None) of the network. Rates are multiples
    of the device's.
    """

    scenario: Scenario
    unknown: str
    op: str | None = None
    layer: int | None = None

    def __post_init__(self) -> None:
        lengths = tuple(self.scenario.workload.numeric())
        if self.unknown not in lengths and self.unknown not in RATE_AXES:
            allowed = [n for n in lengths if n != "output"]
            raise unknown("quantity to solve for", self.unknown, [*allowed, *RATE_AXES])
        if not self.whole and self.scenario.assumptions.fidelity != "bound":
            raise InputError(
                f"{self.unknown} is answered by the bound: an estimate knows the device at its own rates"
            )
        _ = self.chosen

    @property
    def whole(self) -> bool:
        """Whether the unknown counts things."""
        return self.unknown not in RATE_AXES

    @property
    def domain(self) -> tuple[float, float]:
        """Smallest and largest value that is looked at."""
        if not self.whole:
            return RATE_RANGE
        return (0.0 if self.unknown in ("context", "cached") else 1.0), float(MAX_COUNT)

    @property
    def dense(self) -> int:
        """How many whole numbers are worth looking at one by one (an answer's decode steps cost more)."""
        load = self.scenario.workload
        return DENSE // min(load.output, MAX_DECODE_POINTS) if isinstance(load, Generation) else DENSE

    @cached_property
    def plan(self) -> Plan:
        """What runs."""
        return plan_of(self.scenario)

    @cached_property
    def chosen(self) -> tuple[Any, ...]:
        """The (group, op) pairs that are asked about."""
        pairs = self.plan.pairs
        if self.layer is not None:
            pairs = tuple(p for p in pairs if self.layer in p[0].layers)
            if not pairs:
                count = self.plan.graph.n_layers
                raise InputError(f"layer {self.layer}: {self.plan.model.name} has layers 0 to {count - 1}")
        if self.op == LINEARS:
            return tuple(p for p in pairs if isinstance(p[1], Linear) and p[0].layers)
        if self.op is not None:
            names = [op.name for _, op in pairs]
            if self.op not in names:
                raise unknown("op", self.op, dict.fromkeys((*names, LINEARS)), limit=30)
            pairs = tuple(p for p in pairs if p[1].name == self.op)
        return pairs

    @property
    def scope(self) -> str:
        """In words, what is asked about."""
        where = "network" if self.layer is None else f"layer {self.layer}"
        return f"{self.op} ({where})" if self.op and self.layer is not None else self.op or where

    def axes(self, values: Values) -> dict[str, Any]:
        """The grid axis of the unknown."""
        return {RATE_AXES.get(self.unknown, self.unknown): values}

    @cached_property
    def _known(self) -> dict[tuple[str, bytes], Any]:
        return {}

    def _once(self, name: str, values: Values, compute: Callable[[Values], Any]) -> Any:
        """``compute(values)``, kept for the big arrays that several conditions ask about."""
        values = np.asarray(values, dtype=float)
        if values.size < 256:
            return compute(values)
        key = name, values.tobytes()
        if key not in self._known:
            self._known.clear()
            self._known[key] = compute(values)
        return self._known[key]

    def points(self, values: Values) -> dict[str, Any]:
        """Columns of the sweep (times, memory, tokens/s) at ``values``, in blocks of bounded memory."""
        found: dict[str, Any] = self._once("points", values, self._points)
        return found

    def _points(self, values: Values) -> dict[str, Any]:
        block = max(1, self.dense)
        parts = [
            evaluate_points(self.scenario, self.axes(values[i : i + block]), (len(values[i : i + block]),))
            for i in range(0, len(values), block)
        ]
        return parts[0] if len(parts) == 1 else {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    def resources(self, values: Values) -> tuple[Any, Any]:
        """(compute seconds, DRAM seconds), summed over the asked ops; an op's compute is its slowest compute unit.

        Layers count once in a layer's sum, ``repeat`` times in the network's.
        """
        compute: Any = 0.0
        memory: Any = 0.0
        for repeat, time, _ in self._timed(values):
            tensor, vector, special, dram, _ = time.resources
            compute = compute + repeat * np.maximum(np.maximum(tensor, vector), special)
            memory = memory + repeat * dram
        return compute, memory

    def seconds(self, values: Values) -> Any:
        """Time of what is asked about; of the whole workload where nothing is picked."""
        if self.op is None and self.layer is None:
            return self.points(values)["time_s"]
        return self._once("seconds", values, self._seconds)

    def _seconds(self, values: Values) -> Any:
        total: Any = 0.0
        for repeat, _, one in self._timed(values):
            total = total + repeat * one.time_s
        return total

    def _timed(self, values: Values) -> list[tuple[float, OpTime, OpSeconds]]:
        """(multiplicity, resource times, seconds) of every asked op."""
        load = self.scenario.workload
        if isinstance(load, Generation):
            raise InputError("phase generate has two kinds of step: ask of phase prefill or decode")
        axes = self.axes(np.asarray(values, dtype=float))
        plan = rated(replace(self.plan, pairs=self.chosen), axes)
        over = {k: v for k, v in axes.items() if k == self.unknown and self.whole}
        step = load.step(**over)
        evaluation = evaluate(plan, step)
        seconds = op_seconds(self.scenario, plan, step, evaluation)
        single = self.layer is not None
        return [
            (1.0 if single else float(group.repeat), time, one)
            for (group, _), time, one in zip(evaluation.ops, evaluation.times, seconds, strict=True)
        ]
