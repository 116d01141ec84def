"""T5 and Whisper: an encoder of the source and a decoder with cross-attention.

Facts are those of the reference classes (transformers 5), arXiv:1910.10683 and arXiv:2212.04356.
"""

from __future__ import annotations

from dataclasses import replace

from viewer.models.blocks.encoder_decoder import AudioStemSpec, CrossLayerSpec, CrossSpec
from viewer.models.config import Config
from viewer.models.decoder import ACTIVATION_NAMES
from viewer.models.family import family
from viewer.models.spec import LAYER, RMS, AttentionSpec, MLPSpec, ModelSpec
from viewer.models.towers import Stack

#: Source tokens of T5 when a workload names none: the length it was trained on.
T5_SOURCE = 512


@family("t5", "mt5", "umt5")
def read_t5(cfg: Config) -> ModelSpec:
    """RMSNorm, no biases, relu or gated-gelu; a table of position biases in the first layer of each stack.

    UMT5 has that table in every layer. The encoder embeds with the decoder's (shared) table. Without
    ``tie_word_embeddings`` the head is tied (T5), with false it is not (v1.1, Flan).
    """
    h, heads = cfg.integer("hidden"), cfg.integer("heads")
    head_dim = cfg.integer("d_kv")
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_dim=head_dim)
    kind = cfg.text("feed_forward_proj", "relu").lower()
    name = kind.removeprefix("gated-")
    mlp = MLPSpec(
        intermediate=cfg.integer("d_ff"),
        gated=kind.startswith("gated-"),
        activation=ACTIVATION_NAMES.get(name, "relu"),
    )
    table = cfg.integer("relative_attention_num_buckets", 32) * heads
    layers = cfg.integer("layers")
    everywhere = cfg.model_type == "umt5"
    cross = CrossSpec(attention, h)
    encoder = CrossLayerSpec(replace(attention, causal=False), mlp)
    decoder = CrossLayerSpec(attention, mlp, cross)

    def stack(layer: CrossLayerSpec, count: int) -> tuple[CrossLayerSpec, ...]:
        with_table = replace(layer, extra_weights=table)
        return (with_table,) * count if everywhere else (with_table, *(layer,) * (count - 1))

    tower = Stack("encoder_", "source", h, stack(encoder, layers), final_norm=RMS)
    return ModelSpec(
        name=cfg.model_type,
        model_type=cfg.model_type,
        hidden=h,
        vocab=cfg.integer("vocab"),
        layers=stack(decoder, cfg.integer("num_decoder_layers", layers)),
        tied=cfg.flag("tie_word_embeddings", True),
        dtype=cfg.dtype,
        towers=(tower,),
        default_source=T5_SOURCE,
    )


@family("whisper")
def read_whisper(cfg: Config) -> ModelSpec:
    """Two convolutions, learned positions, LayerNorm, GELU; biases on q, v and o, not on k; tied head."""
    h, source = cfg.integer("hidden"), cfg.integer("max_source_positions", 1500)

    def layer(side: str) -> tuple[AttentionSpec, MLPSpec]:
        heads = cfg.integer(f"{side}_attention_heads")
        if h % heads:
            raise cfg.fail(f"d_model {h} is not a multiple of {side}_attention_heads {heads}")
        attention = AttentionSpec(
            heads=heads,
            kv_heads=heads,
            head_dim=h // heads,
            q_bias=True,
            kv_bias=True,
            k_bias=False,
            o_bias=True,
        )
        mlp = MLPSpec(cfg.integer(f"{side}_ffn_dim"), gated=False, activation="gelu", bias=True)
        return attention, mlp

    enc_attention, enc_mlp = layer("encoder")
    dec_attention, dec_mlp = layer("decoder")
    encoder = CrossLayerSpec(replace(enc_attention, causal=False), enc_mlp, norm=LAYER)
    decoder = CrossLayerSpec(dec_attention, dec_mlp, CrossSpec(dec_attention, h), norm=LAYER)
    tower = Stack(
        prefix="encoder_",
        rows="source",
        hidden=h,
        layers=(encoder,) * cfg.integer("encoder_layers"),
        stem=(AudioStemSpec(cfg.integer("num_mel_bins", 80), source),),
        final_norm=LAYER,
    )
    return ModelSpec(
        name="whisper",
        model_type="whisper",
        hidden=h,
        vocab=cfg.integer("vocab"),
        layers=(decoder,) * cfg.integer("decoder_layers"),
        tied=cfg.flag("tie_word_embeddings", True),
        positions=cfg.integer("max_target_positions", 448),
        final_norm=LAYER,
        dtype=cfg.dtype,
        max_positions=cfg.integer("max_target_positions", 448),
        towers=(tower,),
        default_source=source,
    )
