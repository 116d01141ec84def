"""What an architecture is: per layer a mixer (attention, state space …) and a feed-forward, in plain frozen values.

A family file turns a configuration into a :class:`ModelSpec`; ``build.py`` turns that into a graph. Numbers are counts
of values; nothing here knows formats, workloads or hardware.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class NormSpec:
    """A normalisation: RMSNorm (one weight per value) or LayerNorm (weight and, by default, bias)."""

    kind: Literal["rms", "layer"] = "rms"
    weights_per_value: int = 1

    @property
    def flops_per_value(self) -> float:
        """RMSNorm 4 (square, add, scale, weight), LayerNorm 7 (modelling 2.8)."""
        return 4.0 if self.kind == "rms" else 7.0


RMS = NormSpec("rms", 1)
LAYER = NormSpec("layer", 2)


@dataclass(frozen=True)
class AttentionSpec:
    """Softmax attention with ``heads`` query heads and ``kv_heads`` cached heads.

    ``qk_norm``: None, "head" (a weight of head_dim shared by the heads), "full" (a weight over all heads) or "none"
    (a norm without weight). ``rotary_dim``: rotated values per head (0: none). ``sinks``: learned sink logits per head.
    ``output_gate``: q_proj is twice as wide and gates the output. ``value_shared``: values are the keys' projection
    (no v_proj, both are cached). ``reuses_cache``: reads an earlier layer's cache (no k, v, append). ``k_bias``: the
    bias of k where it differs from that of v. ``span``: tokens that attend to each other in a vision tower.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int = 0
    q_bias: bool = False
    kv_bias: bool = False
    o_bias: bool = False
    qk_norm: Literal["head", "full", "none"] | None = None
    v_norm: bool = False
    rotary_dim: int = 0
    window: int | None = None
    chunk: int | None = None
    sinks: bool = False
    output_gate: bool = False
    value_shared: bool = False
    reuses_cache: bool = False
    fused_qkv: bool = False
    causal: bool = True
    k_bias: bool | None = None
    span: int = 0
    extra: tuple[tuple[str, Any], ...] = ()

    @property
    def v_dim(self) -> int:
        """Value width per head (head_dim unless stated)."""
        return self.value_dim or self.head_dim


@dataclass(frozen=True)
class MLPSpec:
    """Feed-forward: gated (gate, up, down) or plain (up, down) of ``intermediate`` values."""

    intermediate: int
    gated: bool = True
    activation: str = "silu"
    bias: bool = False
    fused_gate_up: bool = False


@dataclass(frozen=True)
class LayerSpec:
    """One layer. ``norms``: "pre", "post" (after the block, before the add) or "sandwich" (both).

    ``parallel``: mixer and feed-forward read the same input and are added together; ``parallel_norms``: how many norms
    such a layer has. A layer may lack a mixer or a feed-forward (hybrids that list them as layers of their own).
    """

    mixer: Any = None
    ffn: Any = None
    norm: NormSpec = RMS
    norms: Literal["pre", "post", "sandwich"] = "pre"
    parallel: bool = False
    parallel_norms: int = 1


@dataclass(frozen=True)
class ModelSpec:
    """A whole network.

    ``positions``: rows of a learned position table (0: none). ``embed_dim``: width of the embedding when it differs
    from ``hidden`` (projected). ``embed_norm``: a norm after the embedding. ``head_bias``: values of the head's bias.
    ``max_positions``: the length the model was made for (a longer one is computed, with a note). ``towers``: parts
    (encoder, vision) that a family's builder emits. ``default_source``: source tokens of an encoder-decoder model when
    a workload names none (0: a decoder alone). ``vision``: towers for images, built on demand. ``one_pass``: no cache
    and no next token (diffusion, image encoders): a step is one pass over all tokens. ``published``: the
    published parameter count and its source.
    """

    name: str
    model_type: str
    hidden: int
    vocab: int
    layers: tuple[Any, ...]
    tied: bool = False
    positions: int = 0
    embed_dim: int = 0
    embed_norm: NormSpec | None = None
    final_norm: NormSpec | None = RMS
    head_bias: bool = False
    has_head: bool = True
    dtype: str = "bf16"
    max_positions: int | None = None
    published: int | None = None
    published_source: str = ""
    notes: tuple[str, ...] = ()
    towers: tuple[Any, ...] = ()
    vision: tuple[Any, ...] = ()
    default_source: int = 0
    one_pass: bool = False
    quantization: Any = field(default=None, compare=False)
    config: Any = field(default=None, compare=False, repr=False)
    checkpoint: Any = field(default=None, compare=False, repr=False)
