"""Gemma 4: local and global layers of different head width, shared caches, keys as values, experts beside the MLP.

Facts are those of the reference class (transformers 5).
"""

from __future__ import annotations

from dataclasses import replace

from viewer.models.blocks.gemma4 import Gemma4LayerSpec, PerLayerInputSpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, mlp_spec, model_spec, windowed
from viewer.models.experts import moe_spec
from viewer.models.families.gemma import local_layers
from viewer.models.family import family
from viewer.models.spec import AttentionSpec, ModelSpec
from viewer.models.towers import Head

#: Class defaults of Gemma4TextConfig (transformers 5): multimodal files leave out what equals them.
GEMMA4_TEXT = {
    "vocab_size": 262_144,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131_072,
}


@family("gemma4_text", "gemma4_unified_text")
def read_gemma4_text(cfg: Config) -> ModelSpec:
    """Five local layers, then a global one; the last layer is always global.

    Global layers: head width global_head_dim (512), num_global_key_value_heads where attention_k_eq_v (then without a
    v_proj: values are the keys' projection). The last num_kv_shared_layers read the cache of an earlier layer of
    their kind and have no k, v of their own; with use_double_wide_mlp their feed-forward is twice as wide.
    """
    bias = cfg.flag("attention_bias", False)
    traits = Traits(
        activation="gelu", tied=True, head_dim=256, qk_norm="head", q_bias=bias, kv_bias=bias, o_bias=bias
    )
    count = cfg.integer("layers")
    local = [*local_layers(cfg, 6)[:-1], False]
    first_shared = count - cfg.integer("num_kv_shared_layers", 0, low=0)
    own = windowed(attention_spec(cfg, traits), cfg.integer("sliding_window", 512))
    wide = _global_attention(cfg, traits)
    mlp = mlp_spec(cfg, traits)
    experts = None
    if cfg.flag("enable_moe_block", False):
        extra = cfg.integer("hidden") + cfg.integer("experts")  # router.scale and per_expert_scale
        experts = moe_spec(cfg, traits, router_weights=extra)
    per_layer = cfg.integer("hidden_size_per_layer_input", 256, low=0)
    layers = []
    for index in range(count):
        mixer, ffn = (own if local[index] else wide), mlp
        if index >= first_shared:
            mixer = replace(mixer, reuses_cache=True)
            if cfg.flag("use_double_wide_mlp", False):
                ffn = replace(mlp, intermediate=2 * mlp.intermediate)
        layers.append(Gemma4LayerSpec(mixer, ffn, experts, per_layer))
    towers: tuple[Head, ...] = ()
    if per_layer:
        table = PerLayerInputSpec(cfg.integer("vocab_size_per_layer_input", 262_144), count, per_layer)
        towers = (Head(stem=(table,)),)
    return model_spec(cfg, traits, tuple(layers), towers=towers)  # type: ignore[arg-type]


def _global_attention(cfg: Config, traits: Traits) -> AttentionSpec:
    shared_values = cfg.flag("attention_k_eq_v", False)
    kv_heads = cfg.optional("num_global_key_value_heads") if shared_values else None
    return attention_spec(
        cfg,
        traits,
        head_dim=cfg.integer("global_head_dim", 512),
        kv_heads=kv_heads,
        value_shared=shared_values,
    )


@family("gemma4", "gemma4_unified")
def read_gemma4(cfg: Config) -> ModelSpec:
    """The multimodal wrapper: the text model of ``text_config``, whose missing keys take the class defaults."""
    text = cfg.sub("text_config")
    if text is None:
        raise cfg.fail("missing text_config (a gemma4 configuration wraps gemma4_text)")
    tied = cfg.flag("tie_word_embeddings", True)
    return read_gemma4_text(text.merged(**GEMMA4_TEXT, tie_word_embeddings=tied))
