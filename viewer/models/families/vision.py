"""Image encoders: ViT as a model of its own, SigLIP as the tower of a multimodal model.

A patch embedding is a linear layer on the pixels of a patch (a convolution whose stride is its size). Facts are those
of the reference classes (transformers 5) and of arXiv:2010.11929, arXiv:2303.15343.
"""

from __future__ import annotations

from viewer.models.blocks.encoder_decoder import PatchStemSpec, ProjectSpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, activation_name, attention_spec
from viewer.models.family import family
from viewer.models.spec import LAYER, RMS, LayerSpec, MLPSpec, ModelSpec
from viewer.models.towers import Head, Stack

ENCODER = Traits(norm=LAYER, gated=False, activation="gelu", positions="none")


def encoder_layer(cfg: Config, qkv_bias: bool = True) -> LayerSpec:
    """Norm, bidirectional attention with biases, norm, plain GELU feed-forward with biases."""
    attention = attention_spec(cfg, ENCODER, causal=False, q_bias=qkv_bias, kv_bias=qkv_bias, o_bias=True)
    mlp = MLPSpec(
        intermediate=cfg.integer("ffn"), gated=False, activation=activation_name(cfg, "gelu"), bias=True
    )
    return LayerSpec(mixer=attention, ffn=mlp, norm=LAYER)


def patches(cfg: Config) -> int:
    """Patches of an image: (image_size / patch_size)^2."""
    side, patch = cfg.integer("image_size"), cfg.integer("patch_size")
    if side < patch:
        raise cfg.fail(f"image_size {side} is smaller than patch_size {patch}")
    return (side // patch) ** 2


def siglip_stack(cfg: Config, project_to: int, tokens_after: int) -> Stack:
    """A SigLIP tower, its last norm, and a projector that pools to ``tokens_after`` tokens (norm, linear)."""
    count, channels = patches(cfg), cfg.integer("num_channels", 3)
    hidden = cfg.integer("hidden")
    stem = PatchStemSpec(values=channels * cfg.integer("patch_size") ** 2, positions=count)
    projector = ProjectSpec("projector", hidden, project_to, rows=f"image:{tokens_after}", norm=RMS)
    return Stack(
        prefix="vision_",
        rows=f"image:{count}",
        hidden=hidden,
        layers=(encoder_layer(cfg),) * cfg.integer("layers"),
        stem=(stem,),
        tail=(projector,),
        final_norm=LAYER,
    )


@family("vit")
def read_vit(cfg: Config) -> ModelSpec:
    """ViT with a class token and a classifier on it (num_labels, 1000 unless id2label says otherwise).

    One request is one image: a prefill of (image_size / patch_size)^2 + 1 tokens.
    """
    count, hidden = patches(cfg) + 1, cfg.integer("hidden")
    values = cfg.integer("num_channels", 3) * cfg.integer("patch_size") ** 2
    stem = PatchStemSpec(values=values, positions=count, extra=hidden)
    names = cfg.raw.get("id2label")
    labels = cfg.integer("num_labels", len(names) if isinstance(names, dict) else 1000)
    head = Head(
        stem=(stem,),
        tail=(ProjectSpec("classifier", hidden, labels, bias=True, rows="requests"),),
    )
    return ModelSpec(
        name="vit",
        model_type="vit",
        hidden=hidden,
        vocab=0,
        layers=(encoder_layer(cfg, cfg.flag("qkv_bias", True)),) * cfg.integer("layers"),
        final_norm=LAYER,
        has_head=False,
        dtype=cfg.dtype,
        max_positions=count,
        notes=(f"one image is a prefill of {count} tokens",),
        towers=(head,),
        one_pass=True,
    )
