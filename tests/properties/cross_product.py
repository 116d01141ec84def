"""Every model under every preset on every device in both phases, as arrays.

A lowered graph depends on the model, the preset and what a chip can do, not on how fast it is. So devices with the same
abilities share a graph, and one evaluation rates all of them: phases along the first axis, devices along the second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from hardware_specs import available as devices_available
from hardware_specs import load as load_hardware
from viewer import memory
from viewer.compression import Compression
from viewer.compression import available as presets_available
from viewer.compression import load as load_compression
from viewer.compression.shape import reshape
from viewer.errors import InputError
from viewer.fusion import fuse
from viewer.graph import Graph
from viewer.lowering import lower
from viewer.models import ModelSpec, build_graph, load_model
from viewer.planned import Plan, evaluate
from viewer.roofline import Rates
from viewer.storage import store
from viewer.workload import Segment, Step

#: Prefill of 2 x 512 tokens and decode of 2 requests with 1024 cached tokens, along the first axis.
NEW, CACHED, BATCH = np.array([[512.0], [1.0]]), np.array([[0.0], [1024.0]]), 2.0
PHASES = ("prefill", "decode")
#: Why a diffusion model or an image encoder has no decode step.
NO_DECODE = "one pass: no cache and no next token"
#: Compressed steps that take this many times as long as 16 bits are listed: a result, but one to look at.
SLOWER = 1.5


@lru_cache(maxsize=1)
def device_rates() -> tuple[tuple[str, ...], Rates]:
    """Names of all devices, and every rate as one row over them (NaN where a device has no such unit)."""
    devices = [load_hardware(name) for name in devices_available()]
    keys = {("tensor", kind) for hw in devices for kind in hw.capabilities.tensor_types}
    keys |= {("vector", kind) for hw in devices for kind in hw.capabilities.vector_types}

    def row(unit: str, kind: str) -> Any:
        return np.array([hw.peak(unit, kind) if hw.has_peak(unit, kind) else np.nan for hw in devices])

    dram = np.array([hw.memory("dram").bandwidth_bytes_per_s.value for hw in devices])
    products = {key: row(*key) for key in sorted(keys)}
    return tuple(hw.name for hw in devices), Rates(
        products, dram, row("vector", "fp32"), row("special", "exp")
    )


@lru_cache(maxsize=1)
def device_classes() -> tuple[tuple[Any, tuple[bool, bool], tuple[int, ...]], ...]:
    """(capabilities, whether vector and special-function roofs are known, indices) of devices that are alike."""
    groups: dict[Any, list[int]] = {}
    for index, name in enumerate(devices_available()):
        hw = load_hardware(name)
        known = hw.has_peak("vector", "fp32"), hw.has_peak("special", "exp")
        groups.setdefault((hw.capabilities, known), []).append(index)
    return tuple((*key, tuple(members)) for key, members in groups.items())


def rates_of(members: list[int], known: tuple[bool, bool]) -> Rates:
    """The rates of some devices, shape (1, devices)."""
    rates = device_rates()[1]
    pick = np.array(members)[None, :]
    assert isinstance(rates.vector_flops_per_s, np.ndarray)
    assert isinstance(rates.special_per_s, np.ndarray)
    assert isinstance(rates.dram_bytes_per_s, np.ndarray)
    return Rates(
        {key: value[pick] for key, value in rates.products.items()},  # type: ignore[index]
        rates.dram_bytes_per_s[pick],
        rates.vector_flops_per_s[pick] if known[0] else None,
        rates.special_per_s[pick] if known[1] else None,
    )


def stored_graph(model: ModelSpec, policy: Compression) -> Graph:
    """The serving graph of a model under a policy, before any chip is known."""
    model = reshape(model, policy)
    graph = build_graph(model, "flash", "auto")
    return fuse(store(graph, policy, model.dtype), "serving")


def steps(model: ModelSpec) -> Step:
    """Prefill and decode as one step of two rows (the first alone where there is no next token)."""
    rows = 1 if model.one_pass else 2
    return Step((Segment(BATCH, NEW[:rows], CACHED[:rows]),), BATCH)


@dataclass
class Findings:
    """Counts of points, reasons why some have no answer, and what breaks a rule."""

    points: int = 0
    answered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    anomalies: list[str] = field(default_factory=list)
    slower: dict[str, float] = field(default_factory=dict)


def run(models: Iterable[str], presets: Iterable[str] | None = None) -> Findings:
    """Evaluate the product of models x presets x all devices x both phases."""
    found = Findings()
    names = tuple(presets if presets is not None else presets_available())
    for model_name in models:
        model = load_model(model_name)
        step = steps(model)
        dense = np.full((2, len(device_rates()[0])), np.nan)
        for preset in ("w16a16", *(n for n in names if n != "w16a16")):
            graph = _graph(model, preset, found)
            if graph is None:
                continue
            for where, values in _times(graph, step, preset, model_name, found):
                if preset == "w16a16":
                    dense[: len(values["lower"]), values["members"]] = values["lower"]
                _check(where, values, dense, found)
    return found


def _graph(model: ModelSpec, preset: str, found: Findings) -> Graph | None:
    try:
        return stored_graph(model, load_compression(preset))
    except InputError as error:
        found.points += 2 * len(devices_available())
        found.reasons[str(error).splitlines()[0]] += 2 * len(devices_available())
        return None


def _lowered(
    graph: Graph, spec: ModelSpec, found: Findings
) -> Iterator[tuple[Graph, list[int], tuple[bool, bool]]]:
    """Distinct lowered graphs (notes apart) with the devices that run them."""
    merged: dict[Any, tuple[Graph, list[int]]] = {}
    for capabilities, known, members in device_classes():
        found.points += 2 * len(members)
        try:
            lowered = lower(graph, capabilities, spec.dtype, fuse_quantize=True)
        except InputError as error:
            found.reasons[str(error).splitlines()[0]] += 2 * len(members)
            continue
        missing = len(members) if spec.one_pass else 0
        found.answered += 2 * len(members) - missing
        if missing:
            found.reasons[NO_DECODE] += missing
        merged.setdefault((known, *map(_executed, lowered)), (lowered, []))[1].extend(members)
    for key, (lowered, members) in merged.items():
        yield lowered, members, key[0]


def _executed(pair: tuple[Any, Any]) -> tuple[Any, ...]:
    """What an op's counts and times depend on, of what lowering may have changed."""
    op = pair[1]
    math = tuple((m.unit, m.math_type, m.executed) for m in op.math)
    formats = tuple(t.format.name for t in (*op.inputs, *op.outputs))
    more = getattr(op, "unpack_flops", 0.0), getattr(op, "pair_flops", 0.0)
    return op.name, math, formats, op.extra_vector, more


def _times(
    graph: Graph, step: Step, preset: str, model: str, found: Findings
) -> Iterator[tuple[str, dict[str, Any]]]:
    spec = load_model(model)
    phases = PHASES[:1] if spec.one_pass else PHASES
    held = memory.account(graph, step).total(0.0)
    for lowered, members, known in _lowered(graph, spec, found):
        plan = Plan(spec, None, lowered, rates_of(members, known), (), tuple(lowered), 0, 0)  # type: ignore[arg-type]
        evaluation = evaluate(plan, step)
        pairs, times = evaluation.ops, evaluation.times
        lower_s, upper_s = (np.zeros((len(phases), len(members))) for _ in range(2))
        for (group, _), time in zip(pairs, times, strict=True):
            lower_s += float(group.repeat) * time.lower
            upper_s += float(group.repeat) * time.upper
        yield (
            f"{model} {preset}",
            {
                "members": members,
                "lower": lower_s,
                "upper": upper_s,
                "least": min(float(np.min(t.lower)) for t in times),
                "memory": held,
            },
        )


def _check(where: str, values: dict[str, Any], dense: Any, found: Findings) -> None:
    """Finite and positive, lower <= upper, nothing negative; and not far slower than 16 bits on the same device."""
    lower_s, upper_s, names = values["lower"], values["upper"], device_rates()[0]
    where += f" on {names[values['members'][0]]} (and {len(values['members']) - 1} like it)"
    if not (
        np.isfinite(lower_s).all() and np.isfinite(upper_s).all() and np.isfinite(values["memory"]).all()
    ):
        found.anomalies.append(f"{where}: not finite")
    elif not (lower_s > 0).all():
        found.anomalies.append(f"{where}: a total of zero or less")
    elif not (lower_s <= upper_s * (1 + 1e-12)).all():
        found.anomalies.append(f"{where}: lower above upper")
    elif values["least"] < 0:
        found.anomalies.append(f"{where}: an op takes negative time")
    ratio = lower_s / dense[: len(lower_s), values["members"]]
    for phase, row in zip(PHASES, ratio, strict=False):
        worst = int(np.argmax(row))
        if row[worst] > SLOWER:
            device = names[values["members"][worst]]
            found.slower[f"{where.split(' on ')[0]} {phase} on {device}"] = float(row[worst])
