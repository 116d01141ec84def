"""GGUF's names for tensors and hyper-parameters, as the ones used here."""

from __future__ import annotations

import re
from typing import Any

from viewer.checkpoints.tensors import Site, TensorInfo
from viewer.errors import InputError, unknown

# general.architecture: model_type of the configuration (llama.cpp ``gguf-py/gguf/constants.py`` names)
ARCHITECTURES = {
    "llama": "llama", "mistral3": "mistral", "qwen2": "qwen2", "qwen2moe": "qwen2_moe", "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe", "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text", "phi2": "phi",
    "phi3": "phi3", "deepseek2": "deepseek_v3", "gpt-oss": "gpt_oss", "falcon": "falcon", "gpt2": "gpt2",
    "gptneox": "gpt_neox", "bloom": "bloom", "mpt": "mpt", "starcoder2": "starcoder2", "command-r": "cohere",
    "glm4": "glm4", "chatglm": "chatglm", "olmo2": "olmo2", "granite": "granite", "mamba": "mamba",
    "mamba2": "mamba2", "jamba": "jamba", "opt": "opt", "stablelm": "stablelm", "internlm2": "llama",
}  # fmt: skip

_IN_LAYER: dict[str, tuple[str, ...]] = {
    "attn_q": ("q_proj",), "attn_k": ("k_proj",), "attn_v": ("v_proj",), "attn_qkv": ("qkv_proj",),
    "attn_output": ("o_proj",), "attn_q_a": ("q_a_proj",), "attn_q_b": ("q_b_proj",),
    "attn_kv_a_mqa": ("kv_a_proj",), "attn_kv_b": ("kv_b_proj",), "attn_k_b": ("kv_b_proj",),
    "ffn_gate": ("gate_proj",), "ffn_up": ("up_proj", "gate_up_proj"), "ffn_down": ("down_proj",),
    "ffn_gate_inp": ("router",), "ffn_gate_exps": ("experts_gate", "experts_gate_up"),
    "ffn_up_exps": ("experts_up",), "ffn_gate_up_exps": ("experts_gate", "experts_up", "experts_gate_up"),
    "ffn_down_exps": ("experts_down",), "ffn_gate_shexp": ("shared_gate_proj",),
    "ffn_up_shexp": ("shared_up_proj",), "ffn_down_shexp": ("shared_down_proj",),
    "ffn_gate_inp_shexp": ("shared_expert_gate",), "ssm_in": ("in_proj",), "ssm_out": ("out_proj",),
    "ssm_x": ("x_proj",), "ssm_dt": ("dt_proj",), "attn_norm": ("attn_norm",), "ffn_norm": ("mlp_norm",),
}  # fmt: skip
_TOP = {
    "token_embd": "embed",
    "output": "lm_head",
    "output_norm": "final_norm",
    "position_embd": "position_embed",
}
_BLOCK = re.compile(r"blk\.(\d{1,5})\.([a-z0-9_]{1,40})\.weight")


def sites_of(name: str) -> tuple[Site, ...]:
    """(op, layer) pairs of a tensor such as ``blk.3.attn_q.weight``; empty for biases and unknown names."""
    if match := _BLOCK.fullmatch(name):
        return tuple((op, int(match[1])) for op in _IN_LAYER.get(match[2], ()))
    op = _TOP.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
    return ((op, None),) if op else ()


# configuration key: metadata keys below the architecture's name, first one found
_INTEGERS = {
    "num_hidden_layers": ("block_count",),
    "hidden_size": ("embedding_length",),
    "intermediate_size": ("feed_forward_length",),
    "num_attention_heads": ("attention.head_count",),
    "num_key_value_heads": ("attention.head_count_kv",),
    "head_dim": ("attention.key_length",),
    "max_position_embeddings": ("context_length",),
    "sliding_window": ("attention.sliding_window",),
    "num_local_experts": ("expert_count",),
    "num_experts_per_tok": ("expert_used_count",),
    "moe_intermediate_size": ("expert_feed_forward_length",),
    "n_shared_experts": ("expert_shared_count",),
    "shared_expert_intermediate_size": ("expert_shared_feed_forward_length",),
    "first_k_dense_replace": ("leading_dense_block_count",),
    "q_lora_rank": ("attention.q_lora_rank",),
    "kv_lora_rank": ("attention.kv_lora_rank",),
    "state_size": ("ssm.state_size",),
    "conv_kernel": ("ssm.conv_kernel",),
}
MAX_LAYERS = 10_000
_NEEDED = ("num_hidden_layers", "hidden_size")


def config_of(metadata: dict[str, Any], tensors: tuple[TensorInfo, ...], where: str) -> dict[str, Any]:
    """A configuration like a config.json's from GGUF metadata and the tensors' shapes.

    Raises:
        InputError: the architecture is unknown, or a size is missing.
    """
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise unknown(f"general.architecture of {where}", str(architecture), ARCHITECTURES)
    config: dict[str, Any] = {"model_type": ARCHITECTURES[architecture]}
    for key, aliases in _INTEGERS.items():
        for name in aliases:
            value = _whole(metadata.get(f"{architecture}.{name}"), f"{where}: {architecture}.{name}")
            if value is not None:
                config.setdefault(key, value)
    for key in _NEEDED:
        if key not in config:
            raise InputError(f"{where}: {architecture}.{_INTEGERS[key][0]} is missing")
    if not 1 <= config["num_hidden_layers"] <= MAX_LAYERS:
        raise InputError(f"{where}: block_count {config['num_hidden_layers']} (allowed: 1 to {MAX_LAYERS})")
    config["vocab_size"] = _vocabulary(metadata, tensors, architecture, where)
    names = {tensor.name for tensor in tensors}
    config["tie_word_embeddings"] = "output.weight" not in names
    config["torch_dtype"] = "bfloat16" if any(t.dtype == "bf16" for t in tensors) else "float16"
    _family(config, architecture, metadata)
    return config


def _whole(value: Any, what: str) -> int | None:
    """An integer; of a list with one value per layer the largest one (they must agree or have zeros)."""
    if isinstance(value, list):
        kinds = {v for v in value if isinstance(v, int) and v > 0}
        if len(kinds) > 1:
            raise InputError(f"{what}: differs from layer to layer ({sorted(kinds)[:4]})")
        value = next(iter(kinds), None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise InputError(f"{what}: {str(value)[:40]!r} is no size")
    return value


def _vocabulary(
    metadata: dict[str, Any], tensors: tuple[TensorInfo, ...], architecture: str, where: str
) -> int:
    for tensor in tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) == 2:
            return tensor.shape[0]
    size = _whole(metadata.get(f"{architecture}.vocab_size"), f"{where}: vocab_size")
    tokens = metadata.get("tokenizer.ggml.tokens")
    found = size or (len(tokens) if isinstance(tokens, (list, range)) else 0)
    if not found:
        raise InputError(f"{where}: neither token_embd.weight nor a vocabulary size")
    return found


def _family(config: dict[str, Any], architecture: str, metadata: dict[str, Any]) -> None:
    """What families call by other names."""
    experts = config.get("num_local_experts")
    if architecture == "llama" and experts:
        config["model_type"] = "mixtral"
    if architecture in ("qwen2moe", "qwen3moe") and experts:
        config["num_experts"] = config.pop("num_local_experts")
    if architecture == "deepseek2":
        config["n_routed_experts"] = config.pop("num_local_experts", None)
        rope = _whole(metadata.get("deepseek2.rope.dimension_count"), "rope.dimension_count") or 64
        key = metadata.get(
            "deepseek2.attention.key_length_mla", metadata.get("deepseek2.attention.key_length")
        )
        value = metadata.get(
            "deepseek2.attention.value_length_mla", metadata.get("deepseek2.attention.value_length")
        )
        config.pop("head_dim", None)
        # with MLA, head_count_kv is 1 (one latent); the expanded heads are as many as the queries'
        config["num_key_value_heads"] = config.get("num_attention_heads")
        config["qk_rope_head_dim"] = rope
        config["qk_nope_head_dim"] = (_whole(key, "key_length") or 128 + rope) - rope
        config["v_head_dim"] = _whole(value, "value_length") or 128
    if architecture in ("mamba", "mamba2"):
        config.pop("num_attention_heads", None)
        config.pop("num_key_value_heads", None)
