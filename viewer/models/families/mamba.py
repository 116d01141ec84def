"""Mamba, Falcon-Mamba and Mamba-2: a norm and a state-space mixer per layer, nothing else.

Facts are those of the reference classes (transformers 5) and of arXiv:2312.00752, arXiv:2405.21060.
"""

from __future__ import annotations

import math

from viewer.models.blocks.ssm import Mamba2Spec, MambaSpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, decoder
from viewer.models.family import family
from viewer.models.spec import ModelSpec


def dt_rank(cfg: Config, key: str, hidden: int) -> int:
    """The rank of the step size: a number, or "auto" (also when absent) for ceil(hidden / 16)."""
    value = cfg.raw.get(key, "auto")
    return math.ceil(hidden / 16) if value == "auto" or value is None else cfg.integer(key)


@family("mamba", "falcon_mamba")
def read_mamba(cfg: Config) -> ModelSpec:
    """``state_size``, ``conv_kernel``, ``expand`` (or intermediate_size), ``time_step_rank``; tied head by default."""
    hidden = cfg.integer("hidden")
    spec = MambaSpec(
        inner=cfg.optional("ffn") or cfg.optional("d_inner") or cfg.integer("expand", 2) * hidden,
        state=cfg.integer("state_size", 16),
        conv=cfg.integer("conv_kernel", 4),
        dt_rank=dt_rank(cfg, "time_step_rank", hidden),
        conv_bias=cfg.flag("use_conv_bias", True),
        proj_bias=cfg.flag("use_bias", False),
        norms="plain" if cfg.model_type == "falcon_mamba" else None,
    )
    return decoder(cfg, Traits(tied=True), mixer_at=lambda _: spec, ffn_at=lambda _: None)


@family("mamba2")
def read_mamba2(cfg: Config) -> ModelSpec:
    """``num_heads`` x ``head_dim`` = expand x hidden, ``n_groups``, ``state_size``, ``chunk_size``."""
    hidden, heads = cfg.integer("hidden"), cfg.integer("num_heads")
    head_dim = cfg.integer("head_dim")
    expand = cfg.integer("expand", 2)
    if heads * head_dim != expand * hidden:
        raise cfg.fail(
            f"num_heads {heads} x head_dim {head_dim} is not expand {expand} x hidden size {hidden}"
        )
    bias = cfg.flag("use_bias", False)
    spec = Mamba2Spec(
        heads=heads,
        head_dim=head_dim,
        state=cfg.integer("state_size"),
        groups=cfg.integer("n_groups"),
        conv=cfg.integer("conv_kernel", 4),
        chunk=cfg.integer("chunk_size", 256),
        conv_bias=cfg.flag("use_conv_bias", True),
        in_bias=bias,
        out_bias=bias,
    )
    return decoder(cfg, Traits(), mixer_at=lambda _: spec, ffn_at=lambda _: None)
