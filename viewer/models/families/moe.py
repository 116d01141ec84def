"""Decoders with softmax attention and routed experts: Mixtral, Qwen-MoE, OLMoE, GLM-4.5, MiniMax-M2 and relatives.

Facts are those of the reference classes (transformers 5): biases, norms of q and k, which layers are dense.
"""

from __future__ import annotations

from dataclasses import replace

from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, mlp_spec, windowed
from viewer.models.experts import ffn_choice, moe_spec
from viewer.models.family import family
from viewer.models.spec import LAYER, ModelSpec


def _sparse_decoder(cfg: Config, traits: Traits, window: int | None = None, **over: object) -> ModelSpec:
    experts = moe_spec(cfg, traits, **over)
    spec = windowed(attention_spec(cfg, traits), window)
    return decoder(cfg, traits, mixer_at=lambda _: spec, ffn_at=ffn_choice(cfg, traits, experts))


@family("mixtral", "minimax_m2")
def read_mixtral(cfg: Config) -> ModelSpec:
    """Experts of ``intermediate_size`` in every layer; MiniMax-M2 norms all of q and all of k, head_dim 128."""
    if cfg.model_type == "minimax_m2":
        return _sparse_decoder(cfg, Traits(qk_norm="full", head_dim=128))
    return _sparse_decoder(cfg, Traits(), window=cfg.optional("sliding_window"))


@family("qwen2_moe")
def read_qwen2_moe(cfg: Config) -> ModelSpec:
    """Biases on q, k, v (qkv_bias); shared experts scaled by a sigmoid gate; dense layers by mlp_only_layers."""
    bias = cfg.flag("qkv_bias", True)
    traits = Traits(q_bias=bias, kv_bias=bias)
    experts = moe_spec(cfg, traits)
    experts = replace(experts, shared_gate=experts.shared is not None)
    full = attention_spec(cfg, traits)
    mixers = full
    return decoder(cfg, traits, mixer_at=lambda _: mixers, ffn_at=ffn_choice(cfg, traits, experts))


@family("qwen3_moe")
def read_qwen3_moe(cfg: Config) -> ModelSpec:
    """RMSNorm of q and k per head, no shared expert, dense layers by mlp_only_layers and decoder_sparse_step."""
    bias = cfg.flag("attention_bias", False)
    window = cfg.optional("sliding_window") if cfg.flag("use_sliding_window", False) else None
    return _sparse_decoder(cfg, Traits(q_bias=bias, kv_bias=bias, o_bias=bias, qk_norm="head"), window)


@family("olmoe")
def read_olmoe(cfg: Config) -> ModelSpec:
    """RMSNorm over all of q and all of k; experts of ``intermediate_size``."""
    bias = cfg.flag("attention_bias", False)
    return _sparse_decoder(cfg, Traits(q_bias=bias, kv_bias=bias, o_bias=bias, qk_norm="full"))


@family("phimoe")
def read_phimoe(cfg: Config) -> ModelSpec:
    """LayerNorm with bias, optional biases of attention and head."""
    bias = cfg.flag("attention_bias", False)
    head = cfg.flag("lm_head_bias", False)
    traits = Traits(norm=LAYER, q_bias=bias, kv_bias=bias, o_bias=bias, head_bias=head)
    return _sparse_decoder(cfg, traits, cfg.optional("sliding_window"))


@family("granitemoe", "granitemoeshared")
def read_granitemoe(cfg: Config) -> ModelSpec:
    """Experts of ``intermediate_size``; one gate/up matrix; the shared variant adds ``shared_intermediate_size``."""
    bias = cfg.flag("attention_bias", False)
    traits = Traits(q_bias=bias, kv_bias=bias, o_bias=bias)
    width = cfg.integer("shared_intermediate_size", 0, low=0)
    shared = mlp_spec(cfg, traits, intermediate=width, fused_gate_up=True) if width else None
    return _sparse_decoder(cfg, traits, fused_gate_up=True, shared=shared)


@family("glm4_moe", "dots1")
def read_glm4_moe(cfg: Config) -> ModelSpec:
    """First layers dense (first_k_dense_replace), shared experts, norms of q and k (GLM: where use_qk_norm)."""
    bias = cfg.flag("attention_bias", False)
    glm = cfg.model_type == "glm4_moe"
    normed = cfg.flag("use_qk_norm", False) if glm else True
    traits = Traits(
        q_bias=bias,
        kv_bias=bias,
        o_bias=bias and not glm,
        qk_norm="head" if normed else None,
        rotary_factor=0.5 if glm else 1.0,
    )
    return _sparse_decoder(cfg, traits)


@family("ernie4_5_moe")
def read_ernie_moe(cfg: Config) -> ModelSpec:
    """``moe_num_experts``, ``moe_k``; layers from moe_layer_start_index to _end_index, every moe_layer_interval-th.

    The router's correction bias is a parameter here (one value an expert), unlike in DeepSeek's family.
    """
    bias = cfg.flag("use_bias", False)
    traits = Traits(q_bias=bias, kv_bias=bias, o_bias=bias, mlp_bias=bias, head_bias=bias, tied=True)
    count = cfg.integer("moe_num_experts")
    experts = moe_spec(cfg, traits, experts=count, top_k=cfg.integer("moe_k"), router_weights=count)
    layers = cfg.integer("layers")
    start = cfg.integer("moe_layer_start_index", 1, low=0)
    end = cfg.integer("moe_layer_end_index", -1, low=-1)
    end = layers - 1 if end == -1 else end
    interval = cfg.integer("moe_layer_interval", 1)
    dense = mlp_spec(cfg, traits)
    return decoder(
        cfg,
        traits,
        ffn_at=lambda i: experts if (i + 1) % interval == 0 and start <= i <= end else dense,
    )
