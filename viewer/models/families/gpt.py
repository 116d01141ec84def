"""GPT-style decoders: plain feed-forward, LayerNorm with bias, biases on linears, learned positions or ALiBi.

Facts are those of the reference classes (transformers 5), checked by the parameter counts of published models.
"""

from __future__ import annotations

from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder
from viewer.models.family import family
from viewer.models.spec import LAYER, ModelSpec, NormSpec

PLAIN = Traits(
    norm=LAYER,
    gated=False,
    activation="gelu",
    q_bias=True,
    kv_bias=True,
    o_bias=True,
    mlp_bias=True,
    ffn_multiple=4,
)


def _traits(**over: object) -> Traits:
    from dataclasses import replace

    return replace(PLAIN, **over)  # type: ignore[arg-type]


@family("gpt2")
def read_gpt2(cfg: Config) -> ModelSpec:
    """Learned positions, one qkv matrix, tied head."""
    return decoder(cfg, _traits(positions="learned", fused_qkv=True, tied=True))


@family("gptj")
def read_gptj(cfg: Config) -> ModelSpec:
    """Parallel attention and feed-forward under one norm; biases on the feed-forward and the head only."""
    traits = _traits(
        q_bias=False, kv_bias=False, o_bias=False, parallel=True, head_bias=True, rotary_factor=0.25
    )
    return decoder(cfg, traits)


@family("gpt_neox")
def read_neox(cfg: Config) -> ModelSpec:
    """Parallel residual with two norms, one qkv matrix, a quarter of each head rotated (rotary_pct)."""
    bias = cfg.flag("attention_bias", True)
    traits = _traits(
        q_bias=bias,
        kv_bias=bias,
        o_bias=bias,
        fused_qkv=True,
        parallel=cfg.flag("use_parallel_residual", True),
        parallel_norms=2,
        rotary_factor=0.25,
    )
    return decoder(cfg, traits)


@family("gpt_bigcode")
def read_bigcode(cfg: Config) -> ModelSpec:
    """GPT-2 with one key/value head (multi_query)."""
    traits = _traits(positions="learned", fused_qkv=True, tied=True)
    kv = 1 if cfg.flag("multi_query", True) else cfg.integer("heads")
    spec = attention_spec(cfg, traits, kv_heads=kv)
    return decoder(cfg, traits, mixer_at=lambda _: spec)


@family("opt")
def read_opt(cfg: Config) -> ModelSpec:
    """Learned positions with two extra rows, ReLU, tied head; OPT-350m projects its embedding, norms after blocks."""
    hidden = cfg.integer("hidden")
    width = cfg.integer("word_embed_proj_dim", hidden)
    before = cfg.flag("do_layer_norm_before", True)
    traits = _traits(
        positions="learned",
        position_offset=2,
        activation="relu",
        tied=True,
        norms="pre" if before else "post",
    )
    over = {} if before else {"final_norm": None}
    return decoder(cfg, traits, embed_dim=0 if width == hidden else width, **over)


@family("bloom")
def read_bloom(cfg: Config) -> ModelSpec:
    """ALiBi, one qkv matrix, a norm after the embedding, tied head."""
    return decoder(cfg, _traits(positions="alibi", fused_qkv=True, embed_norm=LAYER, tied=True))


@family("falcon", "refinedweb", "refinedwebmodel")
def read_falcon(cfg: Config) -> ModelSpec:
    """One qkv matrix, no biases on linears; parallel with one norm (7B) or two (40B and up); ALiBi in falcon-rw."""
    bias = cfg.flag("bias", False)
    new = cfg.flag("new_decoder_architecture", cfg.model_type == "refinedweb")
    parallel = cfg.flag("parallel_attn", True) or new
    traits = _traits(
        q_bias=bias,
        kv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        fused_qkv=True,
        parallel=parallel,
        parallel_norms=cfg.integer("num_ln_in_parallel_attn", 2 if new else 1),
        positions="alibi" if cfg.flag("alibi", False) else "rope",
        tied=True,
    )
    if new:
        kv = cfg.optional("kv_heads") or cfg.integer("heads")
    else:
        kv = 1 if cfg.flag("multi_query", True) else cfg.integer("heads")
    spec = attention_spec(cfg, traits, kv_heads=kv)
    return decoder(cfg, traits, mixer_at=lambda _: spec)


@family("phi")
def read_phi(cfg: Config) -> ModelSpec:
    """Parallel attention and feed-forward under one norm, biases everywhere, the head's too; half of a head rotated."""
    return decoder(cfg, _traits(parallel=True, head_bias=True, rotary_factor=0.5))


@family("mpt")
def read_mpt(cfg: Config) -> ModelSpec:
    """ALiBi, one qkv matrix, LayerNorm without bias (no_bias), tied head."""
    traits = _traits(
        norm=NormSpec("layer", 1),
        q_bias=False,
        kv_bias=False,
        o_bias=False,
        mlp_bias=False,
        fused_qkv=True,
        positions="alibi",
        tied=True,
        ffn_multiple=cfg.integer("expansion_ratio", 4),
    )
    return decoder(cfg, traits)


@family("starcoder2")
def read_starcoder2(cfg: Config) -> ModelSpec:
    """Plain GELU feed-forward with biases (use_bias), rotary, tied head, optional window on every layer."""
    bias = cfg.flag("use_bias", True)
    traits = _traits(q_bias=bias, kv_bias=bias, o_bias=bias, mlp_bias=bias, tied=True, ffn_multiple=None)
    spec = attention_spec(cfg, traits, window=cfg.optional("sliding_window"))
    return decoder(cfg, traits, mixer_at=lambda _: spec)


@family("nemotron")
def read_nemotron(cfg: Config) -> ModelSpec:
    """LayerNorm1p, squared ReLU without gate, no biases, half of a head rotated."""
    bias = cfg.flag("attention_bias", False)
    mlp_bias = cfg.flag("mlp_bias", False)
    traits = _traits(
        activation="relu2", q_bias=bias, kv_bias=bias, o_bias=bias, mlp_bias=mlp_bias, rotary_factor=0.5
    )
    return decoder(cfg, traits)
