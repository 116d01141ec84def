"""Models with multi-head latent attention: DeepSeek V2 / V3 / R1 / V3.2, Kimi-K2, GLM-4.7-Flash, GLM-5.

Facts are those of the reference classes (transformers 5) and of arXiv:2405.04434, arXiv:2412.19437.
"""

from __future__ import annotations

from dataclasses import replace

from viewer.models.blocks.mla import IndexerSpec, MLASpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, decoder, mlp_spec
from viewer.models.experts import ffn_choice, has_experts, moe_spec
from viewer.models.family import family
from viewer.models.spec import ModelSpec


def mla_spec(cfg: Config) -> MLASpec:
    """MLA by q_lora_rank (null: a plain q_proj), kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim."""
    return MLASpec(
        heads=cfg.integer("heads"),
        q_rank=cfg.optional("q_lora_rank") or 0,
        kv_rank=cfg.integer("kv_lora_rank"),
        nope=cfg.integer("qk_nope_head_dim", low=0),
        rope=cfg.integer("qk_rope_head_dim"),
        value_dim=cfg.integer("v_head_dim"),
        bias=cfg.flag("attention_bias", False),
        indexer=_indexer(cfg),
    )


def _indexer(cfg: Config) -> IndexerSpec | None:
    if not cfg.has("index_topk"):
        return None
    return IndexerSpec(cfg.integer("index_n_heads"), cfg.integer("index_head_dim"), cfg.integer("index_topk"))


@family("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe_lite", "glm_moe_dsa")
def read_mla(cfg: Config) -> ModelSpec:
    """First layers dense (first_k_dense_replace), then routed and shared experts; DSA where index_topk is given.

    The router's correction bias is a buffer (not a parameter); multi-token-prediction layers are left out. GLM-5 shares
    one layer's sparse choice with the next ones (indexer_types, or all but every index_topk_freq-th layer).
    """
    traits = Traits(mlp_bias=cfg.model_type == "deepseek_v2" and cfg.flag("mlp_bias", False))
    if cfg.model_type in ("deepseek_v32", "glm_moe_dsa") and "first_k_dense_replace" not in cfg.raw:
        cfg = cfg.merged(first_k_dense_replace=3)
    if cfg.model_type == "glm4_moe_lite" and "first_k_dense_replace" not in cfg.raw:
        cfg = cfg.merged(first_k_dense_replace=1)
    own = mla_spec(cfg)
    shared = replace(own, own_indexer=False)
    types = cfg.items("indexer_types")
    notes: tuple[str, ...] = ()
    if cfg.integer("num_nextn_predict_layers", 0, low=0):
        notes = ("multi-token-prediction layers are left out (used only in speculative decoding)",)

    def mixer(index: int) -> MLASpec:
        return shared if index < len(types) and types[index] == "shared" else own

    if not has_experts(cfg):
        dense = mlp_spec(cfg, traits)
        return decoder(cfg, traits, mixer_at=mixer, ffn_at=lambda _: dense, notes=notes)
    ffn = ffn_choice(cfg, traits, moe_spec(cfg, traits))
    return decoder(cfg, traits, mixer_at=mixer, ffn_at=ffn, notes=notes)
