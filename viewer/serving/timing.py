"""Seconds of a step of a scenario, for numbers or arrays: bound or estimate, whichever the scenario asks for."""

from __future__ import annotations

from viewer.analysis import op_seconds
from viewer.planned import evaluate, plan_of
from viewer.scenario import Scenario
from viewer.workload import Number, Step


def step_seconds(scenario: Scenario, step: Step) -> Number:
    """Seconds of one step of all devices together (its requests are spread over the replicas)."""
    plan = plan_of(scenario)
    evaluation = evaluate(plan, step)
    return evaluation.total([s.time_s for s in op_seconds(scenario, plan, step, evaluation)])
