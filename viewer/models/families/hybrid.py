"""Hybrids of attention and state-space layers: Jamba, Nemotron-H, Falcon-H1.

Facts are those of the reference classes (transformers 5).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from viewer.models.blocks.ssm import BranchSpec, Mamba2Spec, MambaSpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, mlp_spec, model_spec
from viewer.models.experts import moe_spec
from viewer.models.families.mamba import dt_rank
from viewer.models.family import family
from viewer.models.spec import LayerSpec, ModelSpec

#: Names of layer kinds in ``layers_block_type`` / ``layer_types`` -> letters of ``hybrid_override_pattern``.
LAYER_LETTERS = {
    "mamba": "M",
    "linear_attention": "M",
    "mamba2": "M",
    "attention": "*",
    "full_attention": "*",
    "moe": "E",
    "mlp": "-",
}


@family("jamba")
def read_jamba(cfg: Config) -> ModelSpec:
    """Attention in every attn_layer_period-th layer (no rotary), Mamba-1 elsewhere; experts in every second layer."""
    hidden = cfg.integer("hidden")
    traits = Traits(positions="none")
    attention = attention_spec(cfg, traits)
    mamba = MambaSpec(
        inner=cfg.integer("mamba_expand", 2) * hidden,
        state=cfg.integer("mamba_d_state", 16),
        conv=cfg.integer("mamba_d_conv", 4),
        dt_rank=dt_rank(cfg, "mamba_dt_rank", hidden),
        conv_bias=cfg.flag("mamba_conv_bias", True),
        proj_bias=cfg.flag("mamba_proj_bias", False),
        norms="weights",
    )
    period, offset = cfg.integer("attn_layer_period", 8), cfg.integer("attn_layer_offset", 4, low=0)
    every, start = cfg.integer("expert_layer_period", 2), cfg.integer("expert_layer_offset", 1, low=0)
    dense = mlp_spec(cfg, traits)
    experts = moe_spec(cfg, traits) if cfg.integer("experts", 16) > 1 else None
    return decoder(
        cfg,
        traits,
        mixer_at=lambda i: attention if i % period == offset else mamba,
        ffn_at=lambda i: experts if experts and i % every == start else dense,
    )


@family("nemotron_h")
def read_nemotron_h(cfg: Config) -> ModelSpec:
    """One block per layer, by ``hybrid_override_pattern``: M Mamba-2, * attention, - feed-forward, E experts.

    Squared ReLU without gate, no rotary embedding; shared experts of moe_shared_expert_intermediate_size.
    """
    bias, mlp_bias = cfg.flag("use_bias", False), cfg.flag("mlp_bias", False)
    traits = Traits(gated=False, activation="relu2", positions="none", head_dim=128, mlp_bias=mlp_bias)
    blocks: dict[str, Any] = {}

    def block(letter: str) -> Any:
        if letter == "M":
            return Mamba2Spec(
                heads=cfg.integer("mamba_num_heads"),
                head_dim=cfg.integer("mamba_head_dim"),
                state=cfg.integer("ssm_state_size"),
                groups=cfg.integer("mamba_n_groups", cfg.integer("n_groups", 8)),
                conv=cfg.integer("mamba_d_conv", cfg.integer("conv_kernel", 4)),
                chunk=cfg.integer("mamba_chunk_size", cfg.integer("chunk_size", 128)),
                conv_bias=cfg.flag("use_conv_bias", True),
                in_bias=bias,
                out_bias=bias,
                state_format="bf16"
                if cfg.text("mamba_ssm_cache_dtype") in ("bfloat16", "float16")
                else "fp32",
            )
        if letter == "*":
            return attention_spec(cfg, traits)
        if letter == "-":
            return mlp_spec(cfg, traits)
        return moe_spec(cfg, traits, latent=cfg.integer("moe_latent_size", 0, low=0))

    layers = []
    for letter in _pattern(cfg):
        part = blocks.setdefault(letter, block(letter) if letter not in blocks else None)
        layers.append(LayerSpec(mixer=part) if letter in "M*" else LayerSpec(ffn=part))
    return model_spec(cfg, traits, tuple(layers))


def _pattern(cfg: Config) -> str:
    pattern = cfg.text("hybrid_override_pattern")
    if not pattern:
        kinds = cfg.items("layers_block_type") or cfg.items("layer_types")
        if not kinds:
            raise cfg.fail("missing hybrid_override_pattern | layers_block_type")
        pattern = "".join(LAYER_LETTERS.get(str(kind), "?") for kind in kinds)
    strange = sorted(set(pattern) - set("M*E-"))
    if strange:
        raise cfg.fail(f"unknown layer kind {strange[0]!r} in the layer pattern (allowed: M, *, E, -)")
    if len(pattern) > 10_000:
        raise cfg.fail(f"{len(pattern)} layers are too many (allowed: 10000)")
    return pattern


@family("falcon_h1")
def read_falcon_h1(cfg: Config) -> ModelSpec:
    """Attention and Mamba-2 side by side in every layer under one norm, then a gated feed-forward."""
    bias, mlp_bias = cfg.flag("attention_bias", False), cfg.flag("mlp_bias", False)
    traits = Traits(q_bias=bias, kv_bias=bias, o_bias=bias, mlp_bias=mlp_bias)
    heads = cfg.integer("mamba_n_heads", 128)
    inner = cfg.optional("mamba_d_ssm") or cfg.integer("mamba_expand", 2) * cfg.integer("hidden")
    if inner % heads:
        raise cfg.fail(f"mamba_d_ssm {inner} is not a multiple of mamba_n_heads {heads}")
    mamba = Mamba2Spec(
        heads=heads,
        head_dim=inner // heads,
        state=cfg.integer("mamba_d_state", 256),
        groups=cfg.integer("mamba_n_groups", 1),
        conv=cfg.integer("mamba_d_conv", 4),
        chunk=cfg.integer("mamba_chunk_size", 256),
        conv_bias=cfg.flag("mamba_conv_bias", True),
        in_bias=cfg.flag("mamba_proj_bias", False),
        out_bias=cfg.flag("projectors_bias", False),
        gated_norm=cfg.flag("mamba_rms_norm", False),
    )
    mixer = BranchSpec((attention_spec(cfg, traits), replace(mamba)))
    return decoder(cfg, traits, mixer_at=lambda _: mixer)
