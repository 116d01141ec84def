"""What a plan decides about: units (ops x a block of layers) and, for each, options with their cost and error.

Costs are differences to the unit's first option, measured by whole analyses with that option in all layers of a kind:
identical layers cost the same, so a block costs its share. Errors are differences too: the noise that the block's
layers add to the residual stream with the option, less that with the first one, of what the device executes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from viewer.analysis import Analysis
from viewer.compression import Compression, OpFormats
from viewer.compression import load as load_compression
from viewer.compression.names import is_linear, layer_spec
from viewer.error import OpSetting, assess
from viewer.errors import InputError
from viewer.formats import TensorFormat
from viewer.graph import Graph, Op
from viewer.ops.attention import AttentionBase
from viewer.ops.linear import Linear
from viewer.planned import plan_of
from viewer.risk import Measured, Sensitivities, settings_of
from viewer.scenario import Scenario
from viewer.whatif.opdelta import canonical
from viewer.whatif.risk import unfused
from viewer.workload import Decode, Generation, Prefill

Measures = dict[str, float]
HEAD = "lm_head"


@dataclass(frozen=True)
class Choice:
    """One option of one unit: its rules, its cost against the first option, and its noise."""

    name: str
    rules: tuple[dict[str, Any], ...]
    cost: Measures
    noise: float


@dataclass(frozen=True)
class Unit:
    """Ops of a block of layers that are decided together. ``layers`` is empty for the head."""

    family: str
    ops: tuple[str, ...]
    layers: tuple[int, ...]
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A scenario, what may be chosen, and how errors are weighed."""

    scenario: Scenario
    candidates: tuple[str, ...]
    cache_candidates: tuple[str, ...]
    blocks: int = 8
    head: bool = False
    sensitivities: Sensitivities | None = None
    measured: Measured | None = None
    wanted: tuple[str, ...] = ("memory_bytes", "tpot_s")
    known: dict[str, Measures] = field(default_factory=dict)
    executed: dict[str, list[OpSetting]] = field(default_factory=dict)

    @cached_property
    def graph(self) -> Graph:
        """The unfused graph, on which policies work."""
        return unfused(self.scenario.model)[0]

    @cached_property
    def default16(self) -> str:
        """The checkpoint's 16-bit type."""
        return unfused(self.scenario.model)[1]

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """All units with their options, priced."""
        found: list[Unit] = []
        for group in self.graph.groups:
            for family, ops in self._families(group.ops, bool(group.layers)).items():
                names = self.cache_candidates if family == "cache" else self.candidates
                costs = {name: self._cost(ops, group.layers, name) for name in names}
                for block in _blocks(group.layers, self.blocks):
                    share = len(block) / len(group.layers) if group.layers else 1.0
                    choices = tuple(
                        Choice(
                            name,
                            self.rules(ops, block, name),
                            {key: value * share for key, value in costs[name].items()},
                            self._noise(self.rules(ops, group.layers, name), block) - self._noise((), block),
                        )
                        for name in names
                    )
                    found.append(Unit(family, tuple(op.name for op in ops), block, choices))
        return tuple(u for u in found if len(u.choices) > 1 or u.choices)

    def _families(self, ops: Sequence[Op], stacked: bool) -> dict[str, list[Op]]:
        """Ops that share a decision: parts of one fused product, and the cache of a layer."""
        out: dict[str, list[Op]] = {}
        for op in ops:
            if isinstance(op, Linear) and (is_linear(op.name) if stacked else self.head and op.name == HEAD):
                out.setdefault(canonical(op.name), []).append(op)
            elif self.cache_candidates and isinstance(op, AttentionBase) and op.cache is not None and stacked:
                out.setdefault("cache", []).append(op)
        return out

    def policy_of(self, name: str) -> Compression:
        """The policy of one candidate; what changes shapes is not a choice per op."""
        policy = load_compression(name)
        if policy.structure or policy.attention:
            raise InputError(
                f"candidate {name[:40]!r} changes the model's shapes; a plan chooses formats and sparsity"
            )
        return policy

    def _noise(self, rules: Sequence[dict[str, Any]], layers: tuple[int, ...]) -> float:
        """Noise that ``layers`` (none: what runs outside the stack) bring to the stream under ``rules``."""
        wanted: set[int | None] = set(layers) if layers else {None}
        return self._stream([s for s in self._settings(rules) if s.layer in wanted])

    def _stream(self, settings: list[OpSetting]) -> float:
        if not settings:
            return 0.0
        error = assess(settings, sensitivities=self.sensitivities, measured=self.measured)
        return float(10.0 ** (-error.stream_sqnr_db / 10.0))

    def _settings(self, rules: Sequence[dict[str, Any]]) -> list[OpSetting]:
        """What the device executes under ``rules``, op by op and layer by layer."""
        policy = self.compression(rules)
        text = policy_json(policy)
        if text not in self.executed:
            graph = plan_of(self.scenario.with_(compression=text, fusion="eager")).graph
            self.executed[text] = settings_of(graph, policy)
        return self.executed[text]

    @cached_property
    def base_noise(self) -> float:
        """Noise with every unit's first option."""
        return self._stream(self._settings(()))

    def _formats(self, op: Op, name: str) -> OpFormats:
        """What candidate ``name`` says of an op of the stack (a head is treated like a linear layer)."""
        asked = "o_proj" if op.name == HEAD else op.name
        return self.policy_of(name).resolve(asked, 0, self.graph.n_layers, self.default16)

    def rules(self, ops: Sequence[Op], layers: tuple[int, ...], name: str) -> tuple[dict[str, Any], ...]:
        """The compression rules of one choice: ops alike in one rule."""
        spec = layer_spec(set(layers), self.graph.n_layers) if layers else "all"
        by_rule: dict[tuple[tuple[str, Any], ...], list[str]] = {}
        for op in ops:
            said = _said(op, self._formats(op, name), self.default16)
            # a cache belongs to all ops that write or read it, whatever they are called under a fusion
            asked = "*" if isinstance(op, AttentionBase) else op.name
            by_rule.setdefault(tuple(said.items()), []).append(asked)
        return tuple({"ops": names, "layers": spec, **dict(said)} for said, names in by_rule.items())

    def _cost(self, ops: Sequence[Op], layers: tuple[int, ...], name: str) -> Measures:
        """Difference to the first candidate, with the option in all ``layers``."""
        first = self.measure(())
        if all(self._formats(op, name) == self._formats(op, self._first(op)) for op in ops):
            return dict.fromkeys(first, 0.0)
        changed = self.measure(self.rules(ops, layers, name))
        return {key: changed[key] - first[key] for key in first}

    def _first(self, op: Op) -> str:
        return self.cache_candidates[0] if isinstance(op, AttentionBase) else self.candidates[0]

    def measure(self, rules: Sequence[dict[str, Any]]) -> Measures:
        """The wanted figures with ``rules`` on top of every unit's first option."""
        policy = self.compression(rules)
        text = policy_json(policy)
        if text not in self.known:
            self.known[text] = measures_of(self.scenario.with_(compression=text), self.wanted)
        return self.known[text]

    def compression(self, rules: Sequence[dict[str, Any]], name: str = "plan") -> Compression:
        """A policy: every unit's first option, then ``rules``."""
        base: list[Any] = [*self.policy_of(self.candidates[0]).rules]
        if self.cache_candidates:
            base += self.policy_of(self.cache_candidates[0]).rules
        return Compression.model_validate({"name": name, "rules": [*base, *rules]})


def _blocks(layers: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """``layers`` in at most ``count`` runs of nearly equal length."""
    if not layers:
        return [()]
    size = -(-len(layers) // count)
    return [layers[i : i + size] for i in range(0, len(layers), size)]


def _said(op: Op, chosen: OpFormats, default16: str) -> dict[str, Any]:
    def name(fmt: TensorFormat) -> str:
        return "default16" if fmt.name == default16 else fmt.name

    if isinstance(op, AttentionBase):
        return {"kv_k": name(chosen.kv_k), "kv_v": name(chosen.kv_v)}
    out: dict[str, Any] = {"weight": name(chosen.weight), "activation": name(chosen.activation)}
    out["sparsity"] = chosen.sparsity.name if chosen.sparsity else "none"
    if chosen.hadamard:
        out["hadamard"] = True
    return out


def policy_json(policy: Compression) -> str:
    """The policy as the JSON that a scenario holds."""
    import json

    data = policy.model_dump(mode="json")
    return data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))


def measures_of(scenario: Scenario, wanted: Sequence[str]) -> Measures:
    """memory_bytes, tpot_s, ttft_s, time_s and energy_j of a scenario, those that are wanted.

    A decode scenario answers ttft_s by the prefill of as many tokens as it has in context, a prefill one tpot_s by a
    decode step after it.
    """
    load = scenario.workload
    out: Measures = {}
    result = Analysis(scenario)
    if "memory_bytes" in wanted:
        out["memory_bytes"] = result.memory.total_bytes
    if isinstance(load, Generation):
        out |= {k: v for k, v in result.phases.items() if k in wanted and v is not None}
    elif "tpot_s" in wanted:
        context = load.context if isinstance(load, Decode) else getattr(load, "prompt", 1024)
        out["tpot_s"] = Analysis(scenario.with_(workload=Decode(batch=load.batch, context=context))).time_s()
    if "ttft_s" in wanted and "ttft_s" not in out:
        prompt = load.prompt if isinstance(load, Prefill) else max(1, getattr(load, "context", 1024))
        out["ttft_s"] = Analysis(scenario.with_(workload=Prefill(batch=load.batch, prompt=prompt))).time_s()
    if "energy_j" in wanted:
        tdp = result.plan.hardware.tdp_w
        if tdp is None:
            raise InputError(f"{result.plan.hardware.name} has no sourced power: no energy budget")
        out["energy_j"] = float(tdp.value) * result.time_s()
    return out
