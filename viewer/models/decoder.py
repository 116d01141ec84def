"""The ordinary decoder: traits of a family plus its configuration keys become a ModelSpec.

A family whose layers are attention + dense feed-forward states its :class:`Traits` and calls :func:`decoder`; others
use the pieces (``attention_spec``, ``mlp_spec``) and put layers together themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from viewer.models.config import Config
from viewer.models.spec import RMS, AttentionSpec, LayerSpec, MLPSpec, ModelSpec, NormSpec

#: Names of activations in configurations -> names in ops.elementwise.ACTIVATIONS.
ACTIVATION_NAMES = {
    "silu": "silu",
    "swish": "silu",
    "swiglu": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu",
    "gelu_fast": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "quick_gelu": "gelu",
    "gelu_tanh": "gelu",
    "geglu": "gelu",
    "relu": "relu",
    "relu2": "relu2",
    "relu_squared": "relu2",
    "sigmoid": "sigmoid",
    "identity": "identity",
    "linear": "identity",
}


@dataclass(frozen=True)
class Traits:
    """What a family fixes in code rather than in its configuration file (facts of the reference classes).

    ``ffn_multiple``: feed-forward width as a multiple of hidden when the key is absent. ``position_offset``: rows of
    the position table beyond max_positions (OPT: 2). ``tied``: the default of tie_word_embeddings.
    """

    norm: NormSpec = RMS
    norms: Literal["pre", "post", "sandwich"] = "pre"
    gated: bool = True
    activation: str = "silu"
    q_bias: bool = False
    kv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    tied: bool = False
    positions: Literal["rope", "learned", "alibi", "none"] = "rope"
    position_offset: int = 0
    parallel: bool = False
    parallel_norms: int = 1
    qk_norm: Literal["head", "full", "none"] | None = None
    fused_qkv: bool = False
    fused_gate_up: bool = False
    ffn_multiple: int | None = None
    embed_norm: NormSpec | None = None
    head_dim: int | None = None
    rotary_factor: float = 1.0


def attention_spec(cfg: Config, traits: Traits, **over: Any) -> AttentionSpec:
    """The attention of a layer from the usual keys; refuses inconsistent head counts by name."""
    hidden, heads = cfg.integer("hidden"), cfg.integer("heads")
    kv_heads = over.pop("kv_heads", None) or cfg.optional("kv_heads") or heads
    if heads % kv_heads:
        raise cfg.fail(f"{heads} attention heads are not a multiple of {kv_heads} key/value heads")
    head_dim = over.pop("head_dim", None) or cfg.optional("head_dim") or traits.head_dim
    if head_dim is None:
        if hidden % heads:
            raise cfg.fail(f"hidden size {hidden} is not a multiple of {heads} heads, and head_dim is absent")
        head_dim = hidden // heads
    rotary = 0
    if traits.positions == "rope":
        rotary = rotary_dim(cfg, traits, head_dim)
    fields: dict[str, Any] = {
        "q_bias": traits.q_bias,
        "kv_bias": traits.kv_bias,
        "o_bias": traits.o_bias,
        "qk_norm": traits.qk_norm,
        "rotary_dim": rotary,
        "fused_qkv": traits.fused_qkv,
        **over,
    }
    return AttentionSpec(heads=heads, kv_heads=kv_heads, head_dim=head_dim, **fields)


def rotary_dim(cfg: Config, traits: Traits, head_dim: int) -> int:
    """Rotated values per head: rotary_dim, or head_dim times a factor (partial_rotary_factor, rotary_pct)."""
    explicit = cfg.optional("rotary_dim")
    if explicit is not None:
        return min(explicit, head_dim)
    factor = traits.rotary_factor
    for key in ("partial_rotary_factor", "rotary_pct", "rope_pct"):
        factor = cfg.number(key, factor)
    rope = cfg.raw.get("rope_parameters")
    if isinstance(rope, dict):
        inner = rope.get("full_attention", rope)
        if isinstance(inner, dict) and isinstance(inner.get("partial_rotary_factor"), int | float):
            factor = float(inner["partial_rotary_factor"])
    return int(head_dim * factor)


def ffn_width(cfg: Config, traits: Traits) -> int:
    """Feed-forward width: the key, or the family's multiple of the hidden size."""
    width = cfg.optional("ffn")
    if width is None:
        if traits.ffn_multiple is None:
            return cfg.integer("ffn")
        width = traits.ffn_multiple * cfg.integer("hidden")
    return width


def activation_name(cfg: Config, default: str) -> str:
    """The activation in our names; an unknown one is read as ``default`` (it only moves vector FLOPs)."""
    return ACTIVATION_NAMES.get(cfg.text("activation", default).lower(), default)


def mlp_spec(cfg: Config, traits: Traits, **over: Any) -> MLPSpec:
    """The dense feed-forward of a layer."""
    fields: dict[str, Any] = {
        "intermediate": over.pop("intermediate", None) or ffn_width(cfg, traits),
        "gated": traits.gated,
        "activation": activation_name(cfg, traits.activation),
        "bias": traits.mlp_bias,
        "fused_gate_up": traits.fused_gate_up and traits.gated,
    }
    return MLPSpec(**{**fields, **over})


def model_spec(cfg: Config, traits: Traits, layers: tuple[LayerSpec, ...], **over: Any) -> ModelSpec:
    """Embedding, head and facts around the layers."""
    max_positions = cfg.optional("max_positions")
    learned = 0
    if traits.positions == "learned":
        learned = cfg.integer("max_positions") + traits.position_offset
    fields: dict[str, Any] = {
        "name": cfg.text("_name_or_path") or cfg.model_type or "model",
        "model_type": cfg.model_type,
        "hidden": cfg.integer("hidden"),
        "vocab": cfg.integer("vocab"),
        "tied": cfg.flag("tie_word_embeddings", traits.tied),
        "positions": learned,
        "embed_norm": traits.embed_norm,
        "final_norm": traits.norm,
        "head_bias": traits.head_bias,
        "dtype": cfg.dtype,
        "max_positions": max_positions,
        **over,
    }
    return ModelSpec(layers=layers, **fields)


def layer_spec(cfg: Config, traits: Traits, mixer: Any, ffn: Any) -> LayerSpec:
    """A layer with the family's norms and arrangement."""
    _ = cfg
    return LayerSpec(
        mixer=mixer,
        ffn=ffn,
        norm=traits.norm,
        norms=traits.norms,
        parallel=traits.parallel,
        parallel_norms=traits.parallel_norms,
    )


def decoder(
    cfg: Config,
    traits: Traits,
    *,
    mixer_at: Callable[[int], Any] | None = None,
    ffn_at: Callable[[int], Any] | None = None,
    **over: Any,
) -> ModelSpec:
    """A stack of layers; ``mixer_at(i)`` and ``ffn_at(i)`` replace the ordinary attention and feed-forward."""
    attention = None if mixer_at else attention_spec(cfg, traits)
    mlp = None if ffn_at else mlp_spec(cfg, traits)
    made: dict[tuple[Any, Any], LayerSpec] = {}
    layers = []
    for index in range(cfg.integer("layers")):
        key = (mixer_at(index) if mixer_at else attention, ffn_at(index) if ffn_at else mlp)
        if key not in made:
            made[key] = layer_spec(cfg, traits, *key)
        layers.append(made[key])
    return model_spec(cfg, traits, tuple(layers), **over)


def windowed(spec: AttentionSpec, window: int | None) -> AttentionSpec:
    """The attention with a sliding window (None: full)."""
    return replace(spec, window=window)
