"""A ``model_type`` that is not known, read by its keys: dense or with experts, plain or latent attention, with a note.

What the keys show and this reader cannot count is refused by name: state-space layers, linear attention, encoders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from viewer.models.blocks.mla import MLASpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, mlp_spec, windowed
from viewer.models.experts import ffn_choice, has_experts, moe_spec
from viewer.models.families.mla import mla_spec
from viewer.models.family import model_types, reader_of
from viewer.models.spec import ModelSpec

#: Keys of layers that have no generic reading -> what they show.
REFUSED_KEYS = {
    "ssm_state_size": "state-space layers",
    "state_size": "state-space layers",
    "mamba_d_state": "state-space layers",
    "mamba_num_heads": "state-space layers",
    "mamba_expand": "state-space layers",
    "hybrid_override_pattern": "a pattern of layer kinds",
    "layers_block_type": "a list of layer kinds",
    "attn_layer_period": "attention in some layers only",
    "linear_num_value_heads": "linear attention",
    "linear_attn_config": "linear attention",
    "lru_width": "recurrent layers",
    "rescale_every": "recurrent layers",
    "encoder_layers": "an encoder",
    "num_encoder_layers": "an encoder",
    "num_decoder_layers": "an encoder and a decoder",
    "compress_ratios": "compressed attention",
    "hc_mult": "several residual streams",
}
LAYER_KINDS = ("full_attention", "sliding_attention", "attention", "global", "local")
#: Keys under which a multimodal configuration holds its text model.
TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config")


def read_generic(cfg: Config) -> ModelSpec:
    """A configuration of unknown ``model_type``; InputError names the key that cannot be counted."""
    given = cfg.model_type or "(absent)"
    for key in TEXT_KEYS:
        inner = cfg.sub(key)
        if inner is not None:
            return _wrapped(cfg, inner, key)
    if not (cfg.has("hidden") and cfg.has("layers")):
        if not cfg.model_type:
            raise cfg.fail("no model_type, hidden size or layer count: not a model configuration")
        known = ", ".join(model_types()[:6])
        raise cfg.fail(f"model_type {given!r} is unknown and its keys are not ordinary (known: {known}, …)")
    _refuse(cfg, given)
    traits = Traits(q_bias=_bias(cfg), kv_bias=_bias(cfg), o_bias=_bias(cfg))
    mixers = _mixers(cfg, traits)
    how = ["latent attention" if cfg.has("kv_lora_rank") else "attention"]
    if has_experts(cfg):
        experts = moe_spec(cfg, traits)
        how.append(f"{experts.experts} experts of which {experts.top_k} run")
        spec = decoder(cfg, traits, mixer_at=mixers, ffn_at=ffn_choice(cfg, traits, experts))
    else:
        mlp = mlp_spec(cfg, traits)
        how.append("a gated feed-forward")
        spec = decoder(cfg, traits, mixer_at=mixers, ffn_at=lambda _: mlp)
    note = f"model_type {given!r} is not known: read by its keys as a Llama-like decoder ({', '.join(how)})"
    return replace(spec, notes=(*spec.notes, note))


def _bias(cfg: Config) -> bool:
    return cfg.flag("attention_bias", False)


def _wrapped(cfg: Config, inner: Config, key: str) -> ModelSpec:
    """The text model of a multimodal configuration, by its own model_type where that is known."""
    text = inner
    if "tie_word_embeddings" in cfg.raw:
        text = inner.merged(tie_word_embeddings=cfg.raw["tie_word_embeddings"])
    reader = reader_of(text.model_type)
    spec = reader(text) if reader is not None else read_generic(text)
    note = f"only the text model ({key}) of {cfg.model_type or 'this configuration'!r} is counted"
    return replace(spec, notes=(*spec.notes, note))


def _refuse(cfg: Config, given: str) -> None:
    for key, what in REFUSED_KEYS.items():
        if cfg.raw.get(key) is not None:
            raise cfg.fail(
                f"model_type {given!r} is unknown and its key {key} shows {what}, which has no reader"
            )
    if cfg.raw.get("is_encoder_decoder") is True:
        raise cfg.fail(f"model_type {given!r} is unknown and is_encoder_decoder is true: no reader")
    if cfg.has("index_topk") and not cfg.has("kv_lora_rank"):
        raise cfg.fail(
            f"model_type {given!r} is unknown and its key index_topk shows sparse attention without MLA"
        )
    for kind in cfg.items("layer_types"):
        if kind not in LAYER_KINDS:
            allowed = ", ".join(LAYER_KINDS)
            raise cfg.fail(f"layer_types has {str(kind)[:40]!r}, which has no reader (allowed: {allowed})")


def _mixers(cfg: Config, traits: Traits) -> Any:
    if cfg.has("kv_lora_rank"):
        latent: MLASpec = mla_spec(cfg)
        return lambda _: latent
    full = attention_spec(cfg, traits)
    local = windowed(full, cfg.optional("sliding_window"))
    types = cfg.items("layer_types")
    if not types:
        everywhere = cfg.has("sliding_window") and cfg.flag("use_sliding_window", True)
        return lambda _: local if everywhere else full
    return lambda index: (
        local if index < len(types) and types[index] in ("sliding_attention", "local") else full
    )
