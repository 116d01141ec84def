"""Gemma 2 and 3: alternating local and global attention, norms before and after each block, gated GELU, tied head.

Gemma 2 alternates one local, one global layer; Gemma 3 five local, one global, and norms q and k per head. Facts are
those of the reference classes (transformers 5).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from viewer.models.config import Config
from viewer.models.decoder import Traits, attention_spec, decoder, windowed
from viewer.models.families.vision import siglip_stack
from viewer.models.family import family
from viewer.models.spec import ModelSpec

#: Class defaults of Gemma3TextConfig: multimodal files leave out what equals them (Gemma-3-27B: vocab, pattern).
GEMMA3_TEXT = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 4096,
    "max_position_embeddings": 131_072,
}


def local_layers(cfg: Config, pattern: int) -> list[bool]:
    """For each layer whether it is local: ``layer_types`` where the file has it, else all but every pattern-th."""
    layers = cfg.integer("layers")
    types = cfg.items("layer_types")
    if types:
        if len(types) != layers:
            raise cfg.fail(f"layer_types has {len(types)} entries for {layers} layers")
        return [kind == "sliding_attention" for kind in types]
    return [(index + 1) % pattern != 0 for index in range(layers)]


@family("gemma2")
def read_gemma2(cfg: Config) -> ModelSpec:
    """Even layers see a window, odd ones everything; logits are soft-capped (not counted: 1 value in 3 FLOPs)."""
    bias = cfg.flag("attention_bias", False)
    traits = Traits(
        activation="gelu", tied=True, head_dim=256, norms="sandwich", q_bias=bias, kv_bias=bias, o_bias=bias
    )
    return _alternating(cfg, traits, pattern=2)


@family("gemma3_text")
def read_gemma3_text(cfg: Config) -> ModelSpec:
    """Five local layers, then a global one (sliding_window_pattern 6); RMSNorm of q and k per head."""
    bias = cfg.flag("attention_bias", False)
    traits = Traits(
        activation="gelu",
        tied=True,
        head_dim=256,
        norms="sandwich",
        qk_norm="head",
        q_bias=bias,
        kv_bias=bias,
        o_bias=bias,
    )
    return _alternating(cfg, traits, pattern=cfg.integer("sliding_window_pattern", 6))


def _alternating(cfg: Config, traits: Traits, pattern: int) -> ModelSpec:
    full = attention_spec(cfg, traits)
    local = windowed(full, cfg.optional("sliding_window"))
    is_local = local_layers(cfg, pattern)

    def mixer(index: int) -> Any:
        return local if is_local[index] else full

    return decoder(cfg, traits, mixer_at=mixer)


@family("gemma3")
def read_gemma3(cfg: Config) -> ModelSpec:
    """The multimodal wrapper: the text model of ``text_config``, whose missing keys take the class defaults.

    The SigLIP tower and its projector (average pool, norm, linear) are built for workloads with images.
    """
    text = cfg.sub("text_config")
    if text is None:
        raise cfg.fail("missing text_config (a gemma3 configuration wraps gemma3_text)")
    tied = cfg.flag("tie_word_embeddings", True)
    spec = read_gemma3_text(text.merged(**GEMMA3_TEXT, tie_word_embeddings=tied))
    vision = cfg.sub("vision_config")
    if vision is None:
        return spec
    tokens = cfg.integer("mm_tokens_per_image", 256)
    tower = siglip_stack(vision, project_to=spec.hidden, tokens_after=tokens)
    return replace(spec, vision=(tower,))
