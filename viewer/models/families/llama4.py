"""Llama 4: block-local attention with rotary in three layers of four, full attention without rotary in the fourth.

One routed expert per token and one shared expert; dense layers in between where interleave_moe_layer_step is 2. Facts
are those of the reference class (transformers 5).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, mlp_spec
from viewer.models.experts import moe_spec
from viewer.models.family import family
from viewer.models.spec import ModelSpec

#: Class defaults of Llama4TextConfig (transformers 5): multimodal files may leave out what equals them.
LLAMA4_TEXT = {
    "vocab_size": 202_048,
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "max_position_embeddings": 131_072,
}


@family("llama4_text")
def read_llama4_text(cfg: Config) -> ModelSpec:
    """``no_rope_layers`` (1: rotary), else every no_rope_layer_interval-th has none; ``attention_chunk_size`` 8192."""
    bias = cfg.flag("attention_bias", False)
    normed: Literal["none"] | None = "none" if cfg.flag("use_qk_norm", True) else None
    traits = Traits(q_bias=bias, kv_bias=bias, o_bias=bias, head_dim=128)
    rotary = cfg.items("no_rope_layers")
    interval = cfg.integer("no_rope_layer_interval", 4)
    types = cfg.items("layer_types")
    plain = attention_spec(cfg, traits)
    chunk = cfg.optional("attention_chunk_size") if "attention_chunk_size" in cfg.raw else 8192
    mixers = {
        (rope, local): replace(
            plain,
            rotary_dim=plain.rotary_dim if rope else 0,
            qk_norm=normed if rope else None,
            chunk=chunk if local else None,
        )
        for rope in (True, False)
        for local in (True, False)
    }

    def mixer(index: int) -> Any:
        rope = bool(rotary[index]) if index < len(rotary) else (index + 1) % interval != 0
        local = types[index] == "chunked_attention" if index < len(types) else rope
        return mixers[rope, local]

    shared = mlp_spec(cfg, traits)
    experts = moe_spec(cfg, traits, shared=shared, fused_gate_up=True)
    dense = mlp_spec(cfg, traits, intermediate=cfg.integer("intermediate_size_mlp", 16_384))
    step = cfg.integer("interleave_moe_layer_step", 1)
    listed = {i for i in cfg.items("moe_layers") if isinstance(i, int)}

    def ffn(index: int) -> Any:
        sparse = index in listed if listed else (index + 1) % step == 0
        return experts if sparse else dense

    return decoder(cfg, traits, mixer_at=mixer, ffn_at=ffn)


@family("llama4")
def read_llama4(cfg: Config) -> ModelSpec:
    """The multimodal wrapper: the text model of ``text_config``, whose missing keys take the class defaults."""
    text = cfg.sub("text_config")
    if text is None:
        raise cfg.fail("missing text_config (a llama4 configuration wraps llama4_text)")
    tied = cfg.flag("tie_word_embeddings", False)
    return read_llama4_text(text.merged(**LLAMA4_TEXT, tie_word_embeddings=tied))
