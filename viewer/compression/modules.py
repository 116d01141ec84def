"""Module names of checkpoints and the ops they are here.

A quantizer names modules (``model.layers.3.self_attn.q_proj``); a policy names ops and layers. ``candidates``
lists the names under which an op may be known, so that ignore lists, globs and patterns can be asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

# op: its module names inside a layer, by family
SUFFIXES: dict[str, tuple[str, ...]] = {
    "q_proj": ("self_attn.q_proj", "attention.wq", "attn.q_proj", "attention.q_proj"),
    "k_proj": ("self_attn.k_proj", "attention.wk", "attn.k_proj", "attention.k_proj"),
    "v_proj": ("self_attn.v_proj", "attention.wv", "attn.v_proj", "attention.v_proj"),
    "qkv_proj": (
        "self_attn.qkv_proj", "attn.c_attn", "self_attention.query_key_value", "attention.query_key_value",
    ),
    "o_proj": (
        "self_attn.o_proj", "attention.wo", "attn.out_proj", "self_attn.out_proj", "attn.c_proj",
        "self_attention.dense", "attention.dense", "self_attn.dense",
    ),
    "q_a_proj": ("self_attn.q_a_proj",),
    "q_b_proj": ("self_attn.q_b_proj",),
    "kv_a_proj": ("self_attn.kv_a_proj_with_mqa", "self_attn.kv_a_proj"),
    "kv_b_proj": ("self_attn.kv_b_proj",),
    "gate_proj": ("mlp.gate_proj", "feed_forward.gate_proj", "feed_forward.w1"),
    "up_proj": (
        "mlp.up_proj", "feed_forward.up_proj", "feed_forward.w3", "fc1", "mlp.fc1", "mlp.c_fc", "mlp.fc_in",
        "mlp.dense_h_to_4h",
    ),
    "gate_up_proj": ("mlp.gate_up_proj",),
    "down_proj": (
        "mlp.down_proj", "feed_forward.down_proj", "feed_forward.w2", "fc2", "mlp.fc2", "mlp.c_proj",
        "mlp.fc_out", "mlp.dense_4h_to_h",
    ),
    "router": ("mlp.gate", "block_sparse_moe.gate", "feed_forward.router", "mlp.router", "mlp.gate.wg"),
    "experts_gate": (
        "mlp.experts.0.gate_proj", "block_sparse_moe.experts.0.w1", "feed_forward.experts.0.gate_proj",
        "mlp.experts.gate_proj", "feed_forward.experts.gate_proj", "mlp.experts.gate_up_proj",
        "feed_forward.experts.gate_up_proj", "mlp.experts",
    ),
    "experts_up": (
        "mlp.experts.0.up_proj", "block_sparse_moe.experts.0.w3", "feed_forward.experts.0.up_proj",
        "mlp.experts.up_proj", "feed_forward.experts.up_proj", "mlp.experts.gate_up_proj",
        "feed_forward.experts.gate_up_proj", "mlp.experts",
    ),
    "experts_down": (
        "mlp.experts.0.down_proj", "block_sparse_moe.experts.0.w2", "feed_forward.experts.0.down_proj",
        "mlp.experts.down_proj", "feed_forward.experts.down_proj", "mlp.experts",
    ),
    "shared_gate_proj": (
        "mlp.shared_experts.gate_proj", "mlp.shared_expert.gate_proj", "feed_forward.shared_expert.gate_proj",
    ),
    "shared_up_proj": (
        "mlp.shared_experts.up_proj", "mlp.shared_expert.up_proj", "feed_forward.shared_expert.up_proj",
    ),
    "shared_down_proj": (
        "mlp.shared_experts.down_proj", "mlp.shared_expert.down_proj", "feed_forward.shared_expert.down_proj",
    ),
    "in_proj": ("mixer.in_proj", "mamba.in_proj", "linear_attn.in_proj_qkvz", "linear_attn.in_proj_qkv"),
    "x_proj": ("mixer.x_proj", "mamba.x_proj"),
    "dt_proj": ("mixer.dt_proj", "mamba.dt_proj"),
    "out_proj": ("mixer.out_proj", "mamba.out_proj", "linear_attn.out_proj"),
}  # fmt: skip

SUFFIXES["experts_gate_up"] = SUFFIXES["experts_gate"]
SUFFIXES["shared_gate_up_proj"] = SUFFIXES["shared_gate_proj"]

# ops outside the stack, and their full names
TOP: dict[str, tuple[str, ...]] = {
    "lm_head": ("lm_head", "language_model.lm_head", "model.lm_head", "embed_out", "output"),
    "embed": (
        "model.embed_tokens", "language_model.model.embed_tokens", "embed_tokens", "transformer.wte",
    ),
}  # fmt: skip

PREFIXES = (
    "model.layers.", "language_model.model.layers.", "model.language_model.layers.", "transformer.h.",
    "model.decoder.layers.", "backbone.layers.", "transformer.encoder.layers.", "gpt_neox.layers.",
)  # fmt: skip

# Ops that quantizers of whole models touch. Routers are not among them: most are no linear *modules*.
QUANTIZED = tuple(op for op in SUFFIXES if op != "router")

_LAYER = re.compile(r"(?:.{0,200}\.)?(?:layers|h|blocks)\.(\d{1,5})\.(.{1,300})")
_EXPERT = re.compile(r"(experts)\.\d{1,5}\.")
_NOT_TEXT = ("vision", "visual", "image", "audio", "multi_modal")


@lru_cache(maxsize=16)
def _ops_by_suffix() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for op, suffixes in SUFFIXES.items():
        for suffix in suffixes:
            found.setdefault(suffix, []).append(op)
    return {suffix: tuple(ops) for suffix, ops in found.items()}


def is_text_module(name: str) -> bool:
    """False for vision and audio towers."""
    return not name.lower().startswith(_NOT_TEXT) and ".vision" not in name.lower()


def ops_of(name: str) -> tuple[tuple[str, int | None], ...]:
    """(op, layer) pairs that a full module name stands for; empty when it is none that is counted here."""
    name = name.removesuffix(".weight")
    if not is_text_module(name):
        return ()
    for op, names in TOP.items():
        if name in names:
            return ((op, None),)
    match = _LAYER.fullmatch(name)
    if not match:
        return ()
    suffix = _EXPERT.sub(r"\1.0.", match[2], count=1)
    return tuple((op, int(match[1])) for op in _ops_by_suffix().get(suffix, ()))


def candidates(op: str, layer: int | None) -> Iterator[str]:
    """Full names under which ``op`` of ``layer`` may appear in a checkpoint."""
    if layer is None:
        yield from TOP.get(op, ())
        return
    for prefix in PREFIXES[:3] if op not in ("qkv_proj", "up_proj", "down_proj", "o_proj") else PREFIXES:
        for suffix in SUFFIXES.get(op, ()):
            yield f"{prefix}{layer}.{suffix}"
