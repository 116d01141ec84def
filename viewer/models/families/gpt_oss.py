"""gpt-oss: alternating windows of 128, sink logits per head, biases on attention, router and experts."""

from __future__ import annotations

from typing import Any

from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, windowed
from viewer.models.experts import moe_spec
from viewer.models.families.gemma import local_layers
from viewer.models.family import family
from viewer.models.spec import ModelSpec


@family("gpt_oss")
def read_gpt_oss(cfg: Config) -> ModelSpec:
    """Even layers see a window (128); every layer has experts of ``intermediate_size`` with one gate/up matrix.

    The activation clamps and scales (swiglu_limit); counted as SwiGLU. Source: the reference class (transformers 5).
    """
    bias = cfg.flag("attention_bias", True)
    traits = Traits(q_bias=bias, kv_bias=bias, o_bias=bias, head_dim=64)
    experts = moe_spec(cfg, traits, router_bias=True, expert_bias=True, fused_gate_up=True)
    full = attention_spec(cfg, traits, sinks=True)
    local = windowed(full, cfg.integer("sliding_window", 128))
    is_local = local_layers(cfg, 2)

    def mixer(index: int) -> Any:
        return local if is_local[index] else full

    return decoder(cfg, traits, mixer_at=mixer, ffn_at=lambda _: experts)
