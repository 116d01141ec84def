"""What a policy itself asks for, op by op, before a device is known (viewer.risk says what a device executes of it)."""

from __future__ import annotations

from functools import lru_cache

from viewer.compression import Compression, OpFormats
from viewer.error import OpSetting, assumed_sqnr_db
from viewer.graph import Graph, Op
from viewer.models import build_graph, load_model
from viewer.ops.attention import AttentionBase
from viewer.ops.linear import Linear
from viewer.risk import narrow


@lru_cache(maxsize=64)
def unfused(model_name: str) -> tuple[Graph, str]:
    """(graph of single ops, the checkpoint's 16-bit type) of a model."""
    model = load_model(model_name)
    return build_graph(model, "flash"), model.dtype


def setting_of(op: Op, layer: int | None, chosen: OpFormats) -> OpSetting | None:
    """What a policy's answer means for the error of one op; None where it changes nothing."""
    weight = act = kv = None
    numel = 0.0
    if isinstance(op, Linear) or op.kind == "embedding":
        matrices = [w for w in op.weights if w.cols > 1]
        numel = float(sum(w.values for w in matrices))
        parts = [narrow(chosen.weight), chosen.sparsity.name if chosen.sparsity else None]
        weight = "+".join(p for p in parts if p) or None if matrices else None
        act = narrow(chosen.activation) if isinstance(op, Linear) else None
    elif isinstance(op, AttentionBase) and op.cache is not None:
        kv = _worst(narrow(chosen.kv_k), narrow(chosen.kv_v))
        act = _worst(narrow(chosen.query), narrow(chosen.probabilities))
    if weight is None and act is None and kv is None:
        return None
    return OpSetting(op.name, layer, weight, act, kv, numel)


def _worst(first: str | None, second: str | None) -> str | None:
    names = [n for n in (first, second) if n]
    return min(names, key=lambda n: assumed_sqnr_db(n, "laplace")) if names else None


def settings_of(graph: Graph, policy: Compression, default16: str) -> list[OpSetting]:
    """The settings of every op of every layer under ``policy``."""
    found = []
    for group in graph.groups:
        for op in group.ops:
            for layer in group.layers or (None,):
                chosen = policy.resolve(op.name, layer, graph.n_layers, default16)
                setting = setting_of(op, layer, chosen)
                found += [setting] if setting else []
    return found
