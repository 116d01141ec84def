"""DiT: a class-conditional diffusion transformer on latent patches (arXiv:2212.09748).

One request is one image: a prefill of (sample_size / patch_size)^2 tokens is one denoising step. Classifier-free
guidance doubles the batch; an image takes steps x (2 with guidance, else 1) passes.
"""

from __future__ import annotations

from viewer.models.blocks.dit import DiTLayerSpec, DiTStemSpec, DiTTailSpec
from viewer.models.config import Config
from viewer.models.family import family
from viewer.models.spec import AttentionSpec, MLPSpec, ModelSpec
from viewer.models.towers import Head

#: Width of the sinusoidal timestep embedding (DiT's TimestepEmbedder: frequency_embedding_size).
FREQUENCIES = 256


@family("dit")
def read_dit(cfg: Config) -> ModelSpec:
    """Biases everywhere, GELU feed-forward of mlp_ratio x hidden, one label row more than classes (guidance)."""
    hidden, heads = cfg.integer("hidden"), cfg.integer("heads")
    head_dim = cfg.integer("head_dim", hidden // heads)
    patch, size = cfg.integer("patch_size"), cfg.integer("sample_size")
    channels = cfg.integer("in_channels")
    out = cfg.integer("out_channels", 2 * channels if cfg.flag("learn_sigma", True) else channels)
    tokens = (size // patch) ** 2
    attention = AttentionSpec(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        q_bias=True,
        kv_bias=True,
        o_bias=True,
        fused_qkv=True,
        causal=False,
    )
    mlp = MLPSpec(int(cfg.number("mlp_ratio", 4.0) * hidden), gated=False, activation="gelu", bias=True)
    labels = cfg.integer("num_embeds_ada_norm", 1000, low=0)
    stem = DiTStemSpec(patch**2 * channels, tokens, FREQUENCIES, labels + 1 if labels else 0)
    return ModelSpec(
        name="dit",
        model_type="dit",
        hidden=hidden,
        vocab=0,
        layers=(DiTLayerSpec(attention, mlp),) * cfg.integer("layers"),
        final_norm=None,
        has_head=False,
        dtype=cfg.dtype,
        max_positions=tokens,
        notes=(f"one denoising step of an image is a prefill of {tokens} tokens",),
        towers=(Head(stem=(stem,), tail=(DiTTailSpec(patch**2 * out),)),),
        one_pass=True,
    )
