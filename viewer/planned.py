"""Scenario -> plan: the lowered graph of a scenario and the rates it runs at. Structure only, cached.

Everything here depends on the discrete choices (model, hardware, compression, fusion, layout) and not on any length or
batch, so a sweep or a slider reuses one plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hardware_specs import Hardware, HardwareError
from hardware_specs import load as load_hardware
from viewer.compression import Compression, read_quantization
from viewer.compression import load as load_compression
from viewer.errors import InputError
from viewer.fusion import fuse
from viewer.graph import Graph, Op
from viewer.lowering import lower
from viewer.models import ModelSpec, build_graph, load_model
from viewer.ops import count
from viewer.roofline import Evaluation, Rates, rate, rates_for
from viewer.scenario import Parallel, Scenario
from viewer.storage import store
from viewer.workload import Step


@dataclass(frozen=True, eq=False)
class Plan:
    """What a scenario runs: model, device, lowered graph, rates, and notes for the reader."""

    model: ModelSpec
    hardware: Hardware
    graph: Graph
    rates: Rates
    notes: tuple[str, ...]
    pairs: tuple[tuple[object, Op], ...]
    parameter_count: int
    active_parameter_count: int


def plan_of(scenario: Scenario) -> Plan:
    """The plan of a scenario; InputError in one line for an unknown name, an unreadable file or a missing peak."""
    a = scenario.assumptions
    structure = (a.fusion, a.attention, a.mla, a.clock)
    plan = _plan(scenario.model, scenario.hardware, scenario.compression, scenario.parallel, structure)
    if a.bandwidth_scale != 1.0 or a.compute_scale != 1.0:
        return with_rates(plan, plan.rates.scaled(a.compute_scale, a.bandwidth_scale))
    return plan


def with_rates(plan: Plan, rates: Rates) -> Plan:
    """The plan at other rates."""
    from dataclasses import replace

    return replace(plan, rates=rates)


@lru_cache(maxsize=512)
def _plan(
    model_name: str,
    hardware_name: str,
    compression: str,
    parallel: Parallel,
    structure: tuple[str, str, str, str],
) -> Plan:
    fusion, attention, mla, clock = structure
    if parallel != Parallel():
        raise InputError("parallel layouts are not part of this version: use one device")
    model = load_model(model_name)
    hardware = hardware_of(hardware_name)
    eager = fusion == "eager" or attention == "eager"
    graph = build_graph(model, "eager" if eager else "flash", mla)
    parameters = graph.parameter_count
    policy = policy_of(model, compression)
    graph = fuse(store(graph, policy, model.dtype), fusion)  # type: ignore[arg-type]
    try:
        graph = lower(
            graph, hardware.capabilities, model.dtype, fuse_quantize=fusion in ("inductor", "serving")
        )
        rates = rates_for(hardware, graph, clock)
    except HardwareError as error:
        raise InputError(str(error)) from None
    notes = tuple(dict.fromkeys((*model.notes, *graph.notes, *rates.notes)))
    return Plan(
        model=model,
        hardware=hardware,
        graph=graph,
        rates=rates,
        notes=notes,
        pairs=tuple(graph),
        parameter_count=parameters,
        active_parameter_count=parameters - inactive_parameters(graph),
    )


def policy_of(model: ModelSpec, compression: str) -> Compression:
    """The compression policy of a scenario: a preset, a file, rules as JSON, or what the checkpoint says."""
    if compression.lstrip().startswith("{"):
        from viewer.models.config import parse_json

        return load_compression(parse_json(compression, "compression"))
    return load_compression(compression, _checkpoint_policy(model))


def _checkpoint_policy(model: ModelSpec) -> Compression | None:
    """What the checkpoint itself says: real formats of its tensors, else its ``quantization_config``, else None."""
    if model.checkpoint is not None and model.checkpoint.compression is not None:
        stored: Compression = model.checkpoint.compression
        return stored
    if model.config is None:
        return None
    return read_quantization(model.config)


def hardware_of(name: str) -> Hardware:
    """A hardware description by name or file; InputError in one line."""
    try:
        return load_hardware(name)
    except HardwareError as error:
        raise InputError(str(error)) from None


def inactive_parameters(graph: Graph) -> int:
    """Parameters that a token does not touch: sum over expert ops of (E - k)/E of their weights."""
    idle = 0
    for group, op in graph:
        experts, top_k = getattr(op, "experts", 0), getattr(op, "top_k", 0)
        if experts and getattr(op, "routed", False):
            idle += group.repeat * op.parameter_count * (experts - top_k) // experts
    return idle


def evaluate(plan: Plan, step: Step) -> Evaluation:
    """Counts and times of every op of the plan for one step (numbers or arrays)."""
    with np.errstate(over="ignore"):
        costs = [count(op, step) for _, op in plan.pairs]
        times = rate([op for _, op in plan.pairs], costs, plan.rates)
    return Evaluation(plan.pairs, costs, times)
