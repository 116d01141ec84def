"""The error side of a scenario: what its device really executes, as settings per op and layer, judged by viewer.error.

Formats are read from the lowered graph, so activations that a chip leaves in 16 bits bring no error of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from viewer.compression import Compression
from viewer.error import ErrorAssessment, OpSetting, assess
from viewer.formats import TensorFormat
from viewer.graph import Graph, Op, Weight
from viewer.models import load_model
from viewer.ops.attention import AttentionBase
from viewer.ops.linear import Linear
from viewer.planned import plan_of, policy_of
from viewer.scenario import Scenario

Sensitivities = Mapping[tuple[str, int | None], float]
Measured = Mapping[tuple[str, int | None, str], float]

#: Weights that lose values when an axis of the model is pruned.
PRUNED_OPS: dict[str, tuple[str, ...]] = {
    "heads": ("q_proj", "k_proj", "v_proj", "qkv_proj", "q_b_proj", "kv_b_proj", "o_proj"),
    "ffn": ("gate_proj", "up_proj", "gate_up_proj", "down_proj", "experts_gate", "experts_up", "experts_gate_up",
            "experts_down", "shared_gate_proj", "shared_up_proj", "shared_down_proj"),
    "experts": ("experts_gate", "experts_up", "experts_gate_up", "experts_down"),
}  # fmt: skip


class Risk(NamedTuple):
    """An assessment and what it leaves out."""

    assessment: ErrorAssessment
    notes: tuple[str, ...] = ()

    @property
    def risk(self) -> str:
        """The class of what was assessed; "unknown" where the setting has only parts that nothing can judge."""
        return "unknown" if self.notes and not self.assessment.columns["op"] else self.assessment.risk

    def summary(self) -> dict[str, Any]:
        """The ``error`` block of an analysis: least and median SQNR of ops, and the stream's, in dB (None: exact)."""
        a = self.assessment
        return {
            "min_sqnr_db": _finite(a.min_sqnr_db),
            "median_sqnr_db": _finite(a.median_sqnr_db),
            "stream_sqnr_db": _finite(a.stream_sqnr_db),
            "risk": self.risk,
            "distribution": a.distribution,
            "not_assessed": list(self.notes),
        }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def narrow(fmt: TensorFormat) -> str | None:
    """The format's name if it has an error to speak of; None for 16 bits and more."""
    return fmt.name if fmt.element_bits < 16 or fmt.is_quantized else None


def _weight_name(weight: Weight, op: Op, pruned: str) -> str | None:
    scheme = weight.sparsity.name if weight.sparsity is not None else getattr(op, "approximates", "")
    return "+".join(part for part in (narrow(weight.format), scheme, pruned) if part) or None


def setting_of(op: Op, layer: int | None, pruned: str = "") -> OpSetting | None:
    """What one lowered op loses; None where nothing is narrow or missing. Factors of a low rank count as one op."""
    weight = act = kv = None
    numel = 0.0
    name = op.name
    if isinstance(op, Linear) or op.kind == "embedding":
        matrices = [w for w in op.weights if w.cols > 1]
        numel = float(sum(w.values for w in matrices))
        weight = _weight_name(matrices[0], op, pruned) if matrices else None
        if isinstance(op, Linear):
            zeros = f"actsparse{100 * op.zeros:g}" if op.zeros else ""
            found = [narrow(f) for f in op.operands[:1]]
            act = "+".join(part for part in (*found, zeros) if part) or None
            if op.approximates:
                name = name.removesuffix("_out")
    elif isinstance(op, AttentionBase) and op.cache is not None and op.kind != "index_score":
        kv = narrow(op.cache.formats[-1 if op.kind == "pv_matmul" else 0])
        act = narrow(op.operands[0]) if op.operands else None
    if weight is None and act is None and kv is None:
        return None
    return OpSetting(name, layer, weight, act, kv, numel)


def settings_of(graph: Graph, policy: Compression) -> list[OpSetting]:
    """The settings of every op of every layer of a lowered, unfused graph."""
    axes: dict[str, list[str]] = {}
    for scheme in policy.structured():
        for op_name in PRUNED_OPS.get(scheme.axis, ()):
            if scheme.removed:
                axes.setdefault(op_name, []).append(scheme.name)
    found = []
    for group in graph.groups:
        for op in group.ops:
            setting = setting_of(op, None, "+".join(axes.get(op.name, ())))
            if setting is not None:
                layers = group.layers or (None,)
                found += [setting._replace(layer=layer) for layer in layers]
    return found


@lru_cache(maxsize=256)
def _settings(model: str, hardware: str, compression: str) -> tuple[tuple[OpSetting, ...], tuple[str, ...]]:
    scenario = Scenario(model=model, hardware=hardware, compression=compression)
    plan = plan_of(scenario.with_(fusion="eager"))
    policy = policy_of(load_model(model), compression)
    unknown = [s.name for s in policy.structured() if s.axis not in PRUNED_OPS]
    notes = tuple(f"the error of {name} is not assessed" for name in (*unknown, *policy.attention))
    return tuple(settings_of(plan.graph, policy)), notes


def risk_of(
    scenario: Scenario, *, sensitivities: Sensitivities | None = None, measured: Measured | None = None
) -> Risk:
    """Assessment of the scenario's compression on its device; ``measured`` and ``sensitivities`` as in ``assess``.

    One device's view of the whole model: parallel layouts change no value. Cached without the two options.
    """
    if sensitivities is None and measured is None:
        return _assumed(scenario.model, scenario.hardware, scenario.compression)
    settings, notes = _settings(scenario.model, scenario.hardware, scenario.compression)
    return Risk(assess(settings, sensitivities=sensitivities, measured=measured), notes)


@lru_cache(maxsize=256)
def _assumed(model: str, hardware: str, compression: str) -> Risk:
    settings, notes = _settings(model, hardware, compression)
    return Risk(assess(settings), notes)
