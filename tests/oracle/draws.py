"""Random configurations of each family: what hypothesis draws, as a config.json of small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Pick = Callable[[str, list[Any]], Any]
Config = dict[str, Any]


def base(pick: Pick) -> Config:
    """Keys that every decoder has; heads divide the hidden size."""
    heads = pick("heads", [2, 4, 8])
    return {
        "vocab_size": pick("vocab", [320, 512]),
        "hidden_size": heads * pick("width", [16, 24, 32]),
        "intermediate_size": pick("ffn", [48, 96, 160]),
        "num_hidden_layers": pick("layers", [2, 4, 7]),
        "num_attention_heads": heads,
        "num_key_value_heads": pick("kv", [1, 2]),
        "max_position_embeddings": 512,
    }


def wide(pick: Pick) -> Config:
    """As base, with a head width of its own."""
    return {**base(pick), "head_dim": pick("head_dim", [16, 24, 40])}


def local(pick: Pick) -> Config:
    """As wide, with a window (always shorter or longer than a drawn prompt)."""
    return {**wide(pick), "sliding_window": pick("window", [8, 16, 64])}


def gpt(pick: Pick) -> Config:
    """GPT-2 style names."""
    heads = pick("heads", [2, 4])
    return {
        "vocab_size": 320,
        "n_embd": heads * pick("width", [16, 32]),
        "n_layer": pick("layers", [1, 3]),
        "n_head": heads,
        "n_positions": 512,
        "n_inner": pick("ffn", [None, 72]),
    }


def gptj(pick: Pick) -> Config:
    """GPT-J: rotary on part of a head."""
    return {**gpt(pick), "rotary_dim": 8}


def opt(pick: Pick) -> Config:
    """OPT names."""
    heads = pick("heads", [2, 4])
    hidden = heads * pick("width", [16, 32])
    return {
        "vocab_size": 320,
        "hidden_size": hidden,
        "word_embed_proj_dim": hidden,
        "ffn_dim": pick("ffn", [64, 96]),
        "num_hidden_layers": pick("layers", [1, 3]),
        "num_attention_heads": heads,
        "max_position_embeddings": 512,
    }


def bloom(pick: Pick) -> Config:
    """BLOOM names."""
    heads = pick("heads", [2, 4])
    return {"vocab_size": 320, "hidden_size": heads * 16, "n_layer": pick("layers", [1, 3]), "n_head": heads}


def falcon(pick: Pick) -> Config:
    """Falcon, old architecture with one key/value head."""
    heads = pick("heads", [2, 4])
    return {
        "vocab_size": 320,
        "hidden_size": heads * 16,
        "num_hidden_layers": pick("layers", [1, 3]),
        "num_attention_heads": heads,
        "multi_query": True,
        "new_decoder_architecture": False,
        "bias": pick("bias", [True, False]),
    }


def routed(pick: Pick, experts: str, top_k: str = "num_experts_per_tok") -> Config:
    """Expert counts under the family's keys."""
    return {experts: pick("experts", [4, 6, 8]), top_k: pick("k", [1, 2, 3])}


def moe(experts: str, shape: Callable[[Pick], Config] = base, **fixed: Any) -> Callable[[Pick], Config]:
    """A family with experts under ``experts``; list values of ``fixed`` are drawn from."""

    def make(pick: Pick) -> Config:
        drawn = {k: pick(k, v) if isinstance(v, list) else v for k, v in fixed.items()}
        return {**shape(pick), **routed(pick, experts), **drawn}

    return make


def mla(pick: Pick) -> Config:
    """Latent attention with experts after the first dense layers."""
    heads = pick("heads", [2, 4])
    return {
        **base(pick),
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "q_lora_rank": pick("q_rank", [16, 24]),
        "kv_lora_rank": pick("kv_rank", [16, 40]),
        "qk_nope_head_dim": pick("nope", [8, 12]),
        "qk_rope_head_dim": 8,
        "head_dim": 8,
        "v_head_dim": pick("value", [12, 20]),
        "n_routed_experts": 8,
        "num_experts_per_tok": pick("k", [1, 3]),
        "moe_intermediate_size": 40,
        "n_shared_experts": pick("shared", [1, 2]),
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": pick("dense", [0, 1]),
    }


def sparse_mla(pick: Pick) -> Config:
    """Latent attention with the sparse indexer."""
    return {**mla(pick), "index_topk": 16, "index_n_heads": pick("ih", [2, 4]), "index_head_dim": 16}


def gemma4(pick: Pick) -> Config:
    """Two head widths, shared caches, per-layer inputs."""
    return {
        **local(pick),
        "num_hidden_layers": 12,
        "global_head_dim": pick("global", [32, 48]),
        "num_kv_shared_layers": pick("shared", [0, 3]),
        "hidden_size_per_layer_input": pick("ple", [12, 20]),
        "vocab_size_per_layer_input": 320,
        "use_double_wide_mlp": pick("double", [True, False]),
    }


def llama4(pick: Pick) -> Config:
    """Chunked attention, experts in every or every second layer."""
    return {
        **wide(pick),
        "attention_chunk_size": pick("chunk", [8, 64]),
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 120,
        "interleave_moe_layer_step": pick("step", [1, 2]),
    }


def mamba(pick: Pick) -> Config:
    """Mamba-1."""
    return {
        "vocab_size": 320,
        "hidden_size": pick("hidden", [48, 64]),
        "num_hidden_layers": pick("layers", [1, 3]),
        "state_size": pick("state", [8, 16]),
        "conv_kernel": pick("conv", [3, 4]),
        "use_bias": pick("bias", [True, False]),
    }


def mamba2(pick: Pick) -> Config:
    """Mamba-2: heads x head_dim = 2 x hidden."""
    heads, dim = pick("heads", [4, 8]), pick("dim", [8, 16])
    return {
        **mamba(pick),
        "hidden_size": heads * dim // 2,
        "num_heads": heads,
        "head_dim": dim,
        "n_groups": pick("groups", [1, 2]),
        "chunk_size": 16,
    }


def jamba(pick: Pick) -> Config:
    """Eight layers: one attention, experts in every second."""
    return {
        **base(pick),
        "num_hidden_layers": 8,
        "num_experts": pick("experts", [2, 4]),
        "num_experts_per_tok": 2,
        "mamba_d_state": pick("state", [8, 16]),
        "mamba_dt_rank": 12,
    }


def nemotron_h(pick: Pick) -> Config:
    """Layers by pattern."""
    return {
        **wide(pick),
        "hybrid_override_pattern": pick("pattern", ["M-M*E", "MM*-", "E*M-M"]),
        "ssm_state_size": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "n_groups": 2,
        "chunk_size": 16,
        "n_routed_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 40,
        "moe_shared_expert_intermediate_size": 56,
    }


def falcon_h1(pick: Pick) -> Config:
    """Attention and Mamba-2 side by side."""
    return {
        **wide(pick),
        "mamba_d_ssm": 96,
        "mamba_n_heads": pick("mh", [4, 6]),
        "mamba_d_state": 8,
        "mamba_n_groups": pick("groups", [1, 2]),
        "mamba_chunk_size": 16,
        "mamba_rms_norm": pick("norm", [True, False]),
    }


def deltanet(pick: Pick) -> Config:
    """Gated DeltaNet hybrids."""
    return {
        **wide(pick),
        "num_hidden_layers": pick("deep", [4, 6]),
        "linear_num_key_heads": 2,
        "linear_num_value_heads": pick("values", [2, 4]),
        "linear_key_head_dim": 16,
        "linear_value_head_dim": pick("vd", [16, 24]),
    }


MOE_SHARED = {"moe_intermediate_size": [24, 40], "shared_expert_intermediate_size": [32, 56]}
DSEEK = {"moe_intermediate_size": 40, "n_shared_experts": [1, 2], "first_k_dense_replace": [0, 1]}

FAMILIES: dict[str, Callable[[Pick], Config]] = {
    "llama": base,
    "mistral": local,
    "qwen2": base,
    "qwen3": wide,
    "phi3": base,
    "gemma": wide,
    "gemma2": local,
    "gemma3_text": local,
    "gemma4_text": gemma4,
    "olmo2": base,
    "glm4": wide,
    "cohere2": local,
    "starcoder2": base,
    "gpt2": gpt,
    "gptj": gptj,
    "gpt_neox": lambda pick: {
        **{k: v for k, v in base(pick).items() if "key_value" not in k},
        "rotary_pct": 0.25,
    },
    "opt": opt,
    "bloom": bloom,
    "falcon": falcon,
    "mixtral": moe("num_local_experts"),
    "qwen2_moe": moe("num_experts", **MOE_SHARED, mlp_only_layers=[[], [1]]),
    "qwen3_moe": moe("num_experts", wide, moe_intermediate_size=40, decoder_sparse_step=[1, 2]),
    "olmoe": moe("num_experts"),
    "phimoe": lambda pick: {
        **moe("num_local_experts")(pick),
        "num_experts_per_tok": 2,
    },  # its sparse mixer takes 2
    "granitemoe": moe("num_local_experts"),
    "granitemoeshared": moe("num_local_experts", shared_intermediate_size=[0, 44]),
    "minimax_m2": moe("num_local_experts", wide),
    "glm4_moe": moe(
        "n_routed_experts", wide, **DSEEK, use_qk_norm=[True, False], attention_bias=[True, False]
    ),
    "dots1": moe("n_routed_experts", wide, **DSEEK),
    "ernie4_5_moe": lambda pick: {
        **base(pick),
        **routed(pick, "moe_num_experts", "moe_k"),
        "moe_intermediate_size": 40,
        "moe_num_shared_experts": pick("shared", [0, 2]),
        "use_bias": pick("bias", [True, False]),
    },
    "gpt_oss": moe("num_local_experts", local),
    "llama4_text": llama4,
    "deepseek_v2": mla,
    "deepseek_v3": mla,
    "glm4_moe_lite": lambda pick: {**mla(pick), "first_k_dense_replace": 1},  # the class fixes it
    "deepseek_v32": sparse_mla,
    "glm_moe_dsa": sparse_mla,
    "mamba": mamba,
    "falcon_mamba": mamba,
    "mamba2": mamba2,
    "jamba": jamba,
    "nemotron_h": nemotron_h,
    "falcon_h1": falcon_h1,
    "qwen3_next": lambda pick: {
        **deltanet(pick),
        **moe("num_experts", lambda _: {}, **MOE_SHARED)(pick),
    },
    "qwen3_5_text": deltanet,
    "qwen3_5_moe_text": lambda pick: {
        **deltanet(pick),
        **moe("num_experts", lambda _: {}, **MOE_SHARED)(pick),
    },
}
#: Families whose scans (or, in Llama 4, dense products over all experts) differ: linear layers only.
LINEAR_ONLY = frozenset(
    (
        "mamba",
        "falcon_mamba",
        "mamba2",
        "jamba",
        "nemotron_h",
        "falcon_h1",
        "qwen3_next",
        "qwen3_5_text",
        "qwen3_5_moe_text",
        "llama4_text",
    )
)
