"""Scenario -> plan: the lowered graph of a scenario and the rates it runs at. Structure only, cached.

Everything here depends on the discrete choices (model, hardware, compression, fusion, layout) and not on any length or
batch, so a sweep or a slider reuses one plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from hardware_specs import Hardware, HardwareError
from hardware_specs import load as load_hardware
from viewer.compression import Compression, read_quantization
from viewer.compression import load as load_compression
from viewer.compression.shape import reshape
from viewer.errors import InputError
from viewer.fusion import fuse
from viewer.graph import Graph, Op
from viewer.links import describe, link_rates
from viewer.lowering import lower
from viewer.models import ModelSpec, build_graph, load_model
from viewer.ops import count
from viewer.ops.collective import PipelineWait
from viewer.ops.routing import Routing
from viewer.ops.token_pruning import kept_step
from viewer.parallel import Layout, make_layout, shard, split_step, stage
from viewer.roofline import Evaluation, OpTime, Rates, rate, rates_for
from viewer.scenario import Parallel, Scenario
from viewer.storage import store
from viewer.workload import Number, Step


@dataclass(frozen=True, eq=False)
class Plan:
    """What a scenario runs: model, device, lowered graph, rates, and notes for the reader."""

    model: ModelSpec
    hardware: Hardware
    graph: Graph
    rates: Rates
    notes: tuple[str, ...]
    pairs: tuple[tuple[Any, Op], ...]
    parameter_count: int
    active_parameter_count: int


def plan_of(scenario: Scenario) -> Plan:
    """The plan of a scenario; InputError in one line for an unknown name, an unreadable file or a missing peak."""
    a = scenario.assumptions
    structure = (a.fusion, a.attention, a.mla, a.clock, a.dequantize, str(a.expert_zipf))
    plan = _plan(scenario.model, scenario.hardware, scenario.compression, scenario.parallel, structure)
    if plan.model.one_pass and scenario.workload.phase not in ("prefill", "diffusion"):
        raise InputError(
            f"{plan.model.name} has no cache and no next token: phase {scenario.workload.phase} means nothing for it "
            f"(allowed: prefill, diffusion; {'; '.join(plan.model.notes)})"
        )
    if a.bandwidth_scale != 1.0 or a.compute_scale != 1.0:
        return with_rates(plan, plan.rates.scaled(a.compute_scale, a.bandwidth_scale))
    return plan


def with_rates(plan: Plan, rates: Rates) -> Plan:
    """The plan at other rates."""
    return replace(plan, rates=rates)


@lru_cache(maxsize=512)
def _plan(
    model_name: str,
    hardware_name: str,
    compression: str,
    parallel: Parallel,
    structure: tuple[str, ...],
) -> Plan:
    fusion, attention, mla, clock, dequantize, zipf = structure
    layout = layout_of(parallel)
    model = load_model(model_name)
    hardware = hardware_of(hardware_name)
    policy = policy_of(model, compression)
    if hardware.kind == "cpu":
        policy = block_operands(policy)
    model = reshape(model, policy)
    eager = fusion == "eager" or attention == "eager"
    graph = build_graph(model, "eager" if eager else "flash", mla, Routing(zipf=float(zipf)))
    parameters = graph.parameter_count
    active = graph.active_parameter_count
    graph = store(graph, policy, model.dtype)
    if layout.devices > 1:
        graph = shard(graph, layout)
    graph = fuse(graph, fusion)  # type: ignore[arg-type]
    try:
        graph = lower(
            graph,
            hardware.capabilities,
            model.dtype,
            fuse_quantize=fusion in ("inductor", "serving"),
            separate=dequantize == "separate",
        )
        rates = rates_for(hardware, graph, clock)
        graph = stage(graph, layout)
        rates = with_links(rates, hardware, graph, parallel)
    except HardwareError as error:
        raise InputError(str(error)) from None
    notes = (*model.notes, *graph.notes, *rates.notes, *_layout_notes(layout, parallel))
    notes = tuple(dict.fromkeys(notes))
    return Plan(
        model=model,
        hardware=hardware,
        graph=graph,
        rates=rates,
        notes=notes,
        pairs=tuple(graph),
        parameter_count=parameters,
        active_parameter_count=active,
    )


def policy_of(model: ModelSpec, compression: str) -> Compression:
    """The compression policy of a scenario: a preset, a file, rules as JSON, or what the checkpoint says."""
    if compression.lstrip().startswith("{"):
        from viewer.models.config import parse_json

        return load_compression(parse_json(compression, "compression"))
    return load_compression(compression, _checkpoint_policy(model))


def block_operands(policy: Compression) -> Compression:
    """GGUF weights on a processor: engines bring the activations to 8-bit blocks before each product (Q8_0 for blocks
    of 32, Q8_K for K-quants; llama.cpp ggml-cpu.c, ``vec_dot_type``), so the products are integer ones."""
    rules = []
    for rule in policy.rules:
        if rule.weight and rule.weight.startswith("gguf_") and rule.activation is None:
            blocks = "gguf_q8_k" if rule.weight.endswith(("_k", "_xs", "_xxs", "_s", "_m")) else "gguf_q8_0"
            rule = rule.model_copy(update={"activation": blocks})
        rules.append(rule)
    fields = {name: getattr(policy, name) for name in Compression.model_fields}
    return Compression.model_validate({**fields, "rules": tuple(rules)})


def _checkpoint_policy(model: ModelSpec) -> Compression | None:
    """What the checkpoint itself says: its ``quantization_config``, and on top the real formats of its tensors."""
    said = None if model.config is None else read_quantization(model.config)
    if model.checkpoint is not None and model.checkpoint.compression is not None:
        stored: Compression = model.checkpoint.compression
        return stored if said is None else said.then(stored)
    return said


def hardware_of(name: str) -> Hardware:
    """A hardware description by name or file; InputError in one line."""
    try:
        return load_hardware(name)
    except HardwareError as error:
        raise InputError(str(error)) from None


def layout_of(parallel: Parallel) -> Layout:
    """The devices of a scenario; InputError where the degrees cannot be put together."""
    p = parallel
    return make_layout(p.tp, p.pp, p.ep, p.dp, p.sequence, p.micro_batches)


def with_links(rates: Rates, hardware: Hardware, graph: Graph, parallel: Parallel) -> Rates:
    """The rates with those of the links that the collectives of ``graph`` use, and a note that names them."""
    names = (
        "link_bytes_per_s",
        "network_bytes_per_s",
        "link_latency_s",
        "network_latency_s",
        "node_devices",
    )
    given = {name: getattr(parallel, name) for name in names}
    link = link_rates(hardware, graph, parallel.comm_overlap, **given)
    return rates if link is None else replace(rates, link=link, notes=(*rates.notes, describe(link)))


def _layout_notes(layout: Layout, parallel: Parallel) -> tuple[str, ...]:
    if layout.devices == 1:
        return ()
    notes = [f"{layout.devices} devices: every value is for one of them, the batch is that of all together"]
    if layout.dp > parallel.dp:
        notes.append(
            f"ep={layout.ep} with tp={layout.tp}: attention runs as {layout.dp} data-parallel replicas"
        )
    if 1 < layout.ep <= layout.tp:
        notes.append(
            "experts inside a tensor-parallel group: every rank has every token, the all-reduce combines"
        )
    return tuple(notes)


def evaluate(plan: Plan, step: Step) -> Evaluation:
    """Counts and times of every op of one device for one step of all of them (numbers or arrays)."""
    graph = plan.graph
    return evaluate_local(plan, split_step(step, graph.replicas, graph.micro_batches))


def evaluate_local(plan: Plan, step: Step) -> Evaluation:
    """The same for a step that holds one replica's requests of one micro-batch already."""
    ops = [op for _, op in plan.pairs]
    step = plan.graph.fit(step)
    with np.errstate(over="ignore"):
        if plan.graph.prunes_tokens:
            steps = {g.tokens_kept: kept_step(step, g.tokens_kept) for g in plan.graph.groups}
            costs = [count(op, steps[group.tokens_kept]) for group, op in plan.graph]
        else:
            costs = [count(op, step) for op in ops]
        times = rate(ops, costs, plan.rates)
        if isinstance(ops[-1], PipelineWait):
            times[-1] = _wait(ops[-1], step, plan.rates)
    return Evaluation(plan.pairs, costs, times)


def _wait(op: PipelineWait, step: Step, rates: Rates) -> OpTime:
    """The other stages' times, once. It counts as bound by what their longest op is bound by."""
    others = [other for _, other in op.rest]
    times = rate(others, [count(other, step) for other in others], rates)
    lower: Number = 0.0
    upper: Number = 0.0
    longest: Number = 0.0
    bound: Number = 0.0
    for (repeat, _), time in zip(op.rest, times, strict=True):
        lower, upper = lower + repeat * time.lower, upper + repeat * time.upper
        bound = np.where(repeat * time.lower > longest, time.bound, bound)
        longest = np.maximum(longest, repeat * time.lower)
    return OpTime((0.0, 0.0, 0.0, 0.0, 0.0), lower, upper, np.asarray(bound, dtype=np.int64), lower * 0.0)


def scenario_notes(scenario: Scenario, plan: Plan) -> list[str]:
    """Notes that depend on the lengths and options of the scenario."""
    notes = []
    limit = plan.model.max_positions
    load = scenario.workload.numeric()
    reach = (
        load.get("context", 0.0) + load.get("prompt", 0.0) + load.get("cached", 0.0) + load.get("output", 0.0)
    )
    if limit and reach > limit:
        notes.append(f"{reach:.0f} positions are beyond the {limit} that {plan.model.name} was made for")
    a = scenario.assumptions
    if a.threads is not None and plan.hardware.kind != "cpu":
        notes.append(f"threads={a.threads} is ignored: {plan.hardware.name} is no processor")
    has_mla = any(op.kind.startswith("mla") for _, op in plan.pairs)
    if a.mla != "auto" and not has_mla:
        notes.append(f"mla={a.mla} is ignored: {plan.model.name} has no latent attention")
    if a.fusion == "eager" and a.attention == "flash":
        notes.append("fusion=eager runs attention unfused")
    return notes
