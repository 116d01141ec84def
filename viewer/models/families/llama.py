"""Llama and the decoders that are Llama up to biases, norms of q and k, windows and fused projections.

Facts are those of the reference classes (transformers 5): which layers have biases, whether q and k are normed, whether
the head is tied by default, whether the checkpoint stores qkv and gate/up as one matrix.
"""

from __future__ import annotations

from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, windowed
from viewer.models.family import family
from viewer.models.spec import LAYER, ModelSpec, NormSpec

LLAMA = Traits()


@family(
    "llama", "yi", "internlm2", "internlm3", "exaone", "smollm3", "seed_oss", "granite", "arcee", "ministral"
)
def read_llama(cfg: Config) -> ModelSpec:
    """``attention_bias`` adds biases to q, k, v and o; ``mlp_bias`` to the feed-forward."""
    bias = cfg.flag("attention_bias", False)
    mlp_bias = cfg.flag("mlp_bias", False)
    tied = cfg.model_type in ("smollm3",)
    traits = Traits(q_bias=bias, kv_bias=bias, o_bias=bias, mlp_bias=mlp_bias, tied=tied)
    return decoder(cfg, traits)


@family("mistral")
def read_mistral(cfg: Config) -> ModelSpec:
    """``sliding_window`` applies to every layer (v0.1); null is full attention (v0.2 and later)."""
    spec = windowed(attention_spec(cfg, LLAMA), cfg.optional("sliding_window"))
    return decoder(cfg, LLAMA, mixer_at=lambda _: spec)


@family("qwen2")
def read_qwen2(cfg: Config) -> ModelSpec:
    """Biases on q, k, v and not on o; a window only with ``use_sliding_window``."""
    return _qwen(cfg, Traits(q_bias=True, kv_bias=True))


@family("qwen3")
def read_qwen3(cfg: Config) -> ModelSpec:
    """RMSNorm of q and k per head; ``attention_bias`` adds biases to q, k, v and o."""
    bias = cfg.flag("attention_bias", False)
    return _qwen(cfg, Traits(q_bias=bias, kv_bias=bias, o_bias=bias, qk_norm="head", head_dim=128))


def _qwen(cfg: Config, traits: Traits) -> ModelSpec:
    full = attention_spec(cfg, traits)
    window = cfg.optional("sliding_window") if cfg.flag("use_sliding_window", False) else None
    first = cfg.integer("max_window_layers", cfg.integer("layers"), low=0)
    types = cfg.items("layer_types")
    local = windowed(full, window)

    def mixer(index: int) -> object:
        if types and index < len(types):
            return local if types[index] == "sliding_attention" else full
        return local if index >= first else full

    return decoder(cfg, traits, mixer_at=mixer)


@family("phi3")
def read_phi3(cfg: Config) -> ModelSpec:
    """One qkv matrix and one gate/up matrix; a window where the file has one (Phi-3-mini: 2047)."""
    traits = Traits(fused_qkv=True, fused_gate_up=True)
    spec = windowed(attention_spec(cfg, traits), cfg.optional("sliding_window"))
    return decoder(cfg, traits, mixer_at=lambda _: spec)


@family("gemma")
def read_gemma(cfg: Config) -> ModelSpec:
    """Gated GELU, head_dim in the file (256), tied head."""
    return decoder(cfg, Traits(activation="gelu", tied=True, head_dim=256))


@family("olmo2", "olmo3")
def read_olmo2(cfg: Config) -> ModelSpec:
    """Norms after the blocks, RMSNorm over all of q and all of k."""
    return decoder(cfg, Traits(norms="post", qk_norm="full"))


@family("glm", "glm4")
def read_glm(cfg: Config) -> ModelSpec:
    """Half of each head is rotated, one gate/up matrix; GLM-4-0414 norms before and after each block.

    q, k, v have biases unless ``attention_bias`` is false.
    """
    bias = cfg.flag("attention_bias", True)
    traits = Traits(
        q_bias=bias,
        kv_bias=bias,
        fused_gate_up=True,
        rotary_factor=0.5,
        norms="sandwich" if cfg.model_type == "glm4" else "pre",
    )
    return decoder(cfg, traits)


@family("chatglm")
def read_chatglm(cfg: Config) -> ModelSpec:
    """ChatGLM2/3: one qkv matrix with bias, gated SiLU in one matrix, multi-query groups, half rotary."""
    traits = Traits(
        q_bias=cfg.flag("add_qkv_bias", False) or cfg.flag("add_bias_linear", False),
        o_bias=cfg.flag("add_bias_linear", False),
        mlp_bias=cfg.flag("add_bias_linear", False),
        fused_qkv=True,
        fused_gate_up=True,
        rotary_factor=0.5,
    )
    groups = cfg.optional("multi_query_group_num") if cfg.flag("multi_query_attention", False) else None
    spec = attention_spec(cfg, traits, kv_heads=groups or cfg.integer("heads"))
    return decoder(cfg, traits, mixer_at=lambda _: spec)


@family("cohere", "cohere2")
def read_cohere(cfg: Config) -> ModelSpec:
    """Attention and feed-forward in parallel under one LayerNorm without bias; tied head; cohere2 has windows."""
    norm = NormSpec("layer", 1)
    qk = "full" if cfg.flag("use_qk_norm", False) else None  # a weight per head and value
    traits = Traits(norm=norm, parallel=True, tied=True, qk_norm=qk)  # type: ignore[arg-type]
    full = attention_spec(cfg, traits)
    types = cfg.items("layer_types")
    pattern = cfg.integer("sliding_window_pattern", 4)
    window = cfg.optional("sliding_window") if cfg.model_type == "cohere2" else None

    def mixer(index: int) -> object:
        if types and index < len(types):
            is_local = types[index] == "sliding_attention"
        else:
            is_local = (index + 1) % pattern != 0
        return windowed(full, window) if window and is_local else full

    return decoder(cfg, traits, mixer_at=mixer)


@family("stablelm")
def read_stablelm(cfg: Config) -> ModelSpec:
    """LayerNorm with bias, a quarter of each head rotated, optional biases on q, k, v."""
    bias = cfg.flag("use_qkv_bias", False)
    traits = Traits(norm=LAYER, q_bias=bias, kv_bias=bias, rotary_factor=0.25)
    return decoder(cfg, traits)
