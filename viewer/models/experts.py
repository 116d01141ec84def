"""Reading the mixture-of-experts keys of a configuration: how many experts, how wide, in which layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from viewer.models.blocks.moe import MoESpec
from viewer.models.config import Config
from viewer.models.decoder import Traits, activation_name, mlp_spec
from viewer.models.spec import MLPSpec

#: Keys that say a model has routed experts.
EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
#: Total width of the shared experts under one key.
SHARED_WIDTH_KEYS = ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size")
#: Number of shared experts, each of the width of a routed one.
SHARED_COUNT_KEYS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")


def has_experts(cfg: Config) -> bool:
    """Whether the configuration states routed experts (more than one)."""
    for key in EXPERT_KEYS:
        value = cfg.raw.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            return True
        if isinstance(value, list):
            return True
    return False


def moe_spec(cfg: Config, traits: Traits, **over: Any) -> MoESpec:
    """The routed and shared experts of a layer; refuses k > E by name."""
    experts = over.pop("experts", None) or cfg.integer("experts")
    top_k = over.pop("top_k", None) or cfg.integer("top_k")
    if top_k > experts:
        raise cfg.fail(f"each token picks {top_k} experts, but there are only {experts}")
    width = over.pop("intermediate", None) or cfg.optional("moe_intermediate_size") or cfg.integer("ffn")
    shared = over.pop("shared", None) or _shared(cfg, traits, width)
    fields: dict[str, Any] = {
        "gated": traits.gated,
        "activation": activation_name(cfg, traits.activation),
        "shared": shared,
    }
    return MoESpec(experts=experts, top_k=top_k, intermediate=width, **{**fields, **over})


def _shared(cfg: Config, traits: Traits, width: int) -> MLPSpec | None:
    for key in SHARED_WIDTH_KEYS:
        total = cfg.integer(key, 0, low=0)
        if total:
            return mlp_spec(cfg, traits, intermediate=total)
    for key in SHARED_COUNT_KEYS:
        count = cfg.integer(key, 0, low=0)
        if count:
            return mlp_spec(cfg, traits, intermediate=count * width)
    return None


def sparse_layers(cfg: Config) -> Callable[[int], bool]:
    """Which layers have experts, from whichever of the usual keys the file has.

    ``mlp_layer_types`` (a list), ``first_k_dense_replace`` with ``moe_layer_freq`` (DeepSeek, GLM, Kimi),
    ``mlp_only_layers`` with ``decoder_sparse_step`` (Qwen): layer i is sparse iff (i + 1) % step == 0.
    """
    types = cfg.items("mlp_layer_types")
    if types:
        return lambda index: index < len(types) and types[index] in ("sparse", "moe")
    first = cfg.integer("first_k_dense_replace", 0, low=0)
    frequency = cfg.raw.get("moe_layer_freq", 1)
    dense = {i for i in cfg.items("mlp_only_layers") if isinstance(i, int)}
    step = cfg.integer("decoder_sparse_step", 1)

    def sparse(index: int) -> bool:
        if index < first or index in dense or (index + 1) % step:
            return False
        if isinstance(frequency, list):
            return index < len(frequency) and bool(frequency[index])
        return not isinstance(frequency, int) or frequency < 2 or index % frequency == 0

    return sparse


def ffn_choice(cfg: Config, traits: Traits, experts: MoESpec) -> Callable[[int], Any]:
    """``ffn_at`` for :func:`viewer.models.decoder.decoder`: experts where the keys say so, dense elsewhere."""
    sparse = sparse_layers(cfg)
    dense: list[MLPSpec] = []

    def at(index: int) -> Any:
        if sparse(index):
            return experts
        if not dense:
            dense.append(mlp_spec(cfg, traits))
        return dense[0]

    return at
