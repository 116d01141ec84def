"""Gated DeltaNet hybrids: Qwen3-Next and Qwen3.5, dense or with experts; every fourth layer is full attention.

Facts are those of the reference classes (transformers 5): q_proj is twice as wide (output gate), shared expert with a
sigmoid gate, a quarter of each head rotated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from viewer.models.blocks.ssm import DeltaNetSpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, mlp_spec
from viewer.models.experts import ffn_choice, has_experts, moe_spec
from viewer.models.family import family
from viewer.models.spec import ModelSpec

#: Class defaults of Qwen3_5TextConfig (transformers 5): multimodal files may leave out what equals them.
QWEN35_TEXT = {
    "vocab_size": 248_320,
    "hidden_size": 4096,
    "intermediate_size": 12_288,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 256,
}


@family("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")
def read_gated_deltanet(cfg: Config) -> ModelSpec:
    """``full_attention_interval`` (4) or ``layer_types`` says which layers attend; others keep a d_k x d_v state."""
    bias = cfg.flag("attention_bias", False)
    traits = Traits(q_bias=bias, kv_bias=bias, o_bias=bias, qk_norm="head", head_dim=256, rotary_factor=0.25)
    attention = attention_spec(cfg, traits, output_gate=True)
    linear = DeltaNetSpec(
        key_heads=cfg.integer("linear_num_key_heads", 16),
        value_heads=cfg.integer("linear_num_value_heads", 32),
        key_dim=cfg.integer("linear_key_head_dim", 128),
        value_dim=cfg.integer("linear_value_head_dim", 128),
        conv=cfg.integer("linear_conv_kernel_dim", 4),
        split_projections=cfg.model_type != "qwen3_next",
    )
    if linear.value_heads % linear.key_heads:
        raise cfg.fail(
            f"linear_num_value_heads {linear.value_heads} is not a multiple of {linear.key_heads} key heads"
        )
    types, interval = cfg.items("layer_types"), cfg.integer("full_attention_interval", 4)

    def mixer(index: int) -> Any:
        if types:
            return linear if index < len(types) and types[index] == "linear_attention" else attention
        return linear if (index + 1) % interval else attention

    ffn: Any = None
    if has_experts(cfg):
        experts = moe_spec(cfg, traits)
        ffn = ffn_choice(cfg, traits, replace(experts, shared_gate=experts.shared is not None))
    dense = None if ffn else mlp_spec(cfg, traits)
    return decoder(cfg, traits, mixer_at=mixer, ffn_at=ffn or (lambda _: dense))


@family("qwen3_5", "qwen3_5_moe")
def read_qwen35(cfg: Config) -> ModelSpec:
    """The multimodal wrapper: the text model of ``text_config``."""
    text = cfg.sub("text_config")
    if text is None:
        raise cfg.fail("missing text_config (a qwen3_5 configuration wraps a text model)")
    tied = cfg.flag("tie_word_embeddings", False)
    defaults = {**QWEN35_TEXT, "model_type": f"{cfg.model_type}_text", "tie_word_embeddings": tied}
    return read_gated_deltanet(text.merged(**defaults))
