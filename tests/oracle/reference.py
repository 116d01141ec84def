"""Counts of the reference implementations, live: a model on the meta device under torch's FLOP counter."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReferenceCounts:
    """Parameters, FLOPs by kind of call for a prefill and the decode step after it, cached values after the prefill."""

    parameters: int
    prefill: dict[str, int]
    decode: dict[str, int]
    kv_values: int


def reference_model(config: dict[str, Any], auto: str = "AutoModelForCausalLM") -> Any:
    """The reference model of ``config`` on the meta device, attention eager.

    Experts run as one batched product over the T*k assigned rows, so that nothing depends on data.
    """
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    raw = {key: value for key, value in config.items() if key != "model_type"}
    raw.setdefault("pad_token_id", 0)  # some classes default to a row that a small vocabulary does not have
    cfg = CONFIG_MAPPING[config["model_type"]](**raw)
    cfg._experts_implementation = "batched_mm"
    with torch.device("meta"):
        model = getattr(transformers, auto).from_config(
            cfg, attn_implementation="eager", dtype=torch.bfloat16
        )
    return model.eval()


def reference_counts(
    config: dict[str, Any], batch: int, prompt: int, all_logits: bool = False
) -> ReferenceCounts:
    """A prefill of batch x prompt tokens with logits for the last position (or all), then one decode step."""
    import torch
    from transformers import DynamicCache

    model = reference_model(config)
    cache = DynamicCache(config=model.config)
    ids = torch.zeros((batch, prompt), dtype=torch.long, device="meta")
    model.config.pad_token_id = (
        None  # GPT-2 would look for padding in the values, which a shape does not have
    )
    keep = 0 if all_logits else 1
    name = "cache_params" if "mamba" in config["model_type"] else "past_key_values"
    prefill = flops_of(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=keep, **{name: cache}))
    kv_values = _cached(cache)
    decode = flops_of(
        lambda: model(input_ids=ids[:, :1], use_cache=True, logits_to_keep=keep, **{name: cache})
    )
    return ReferenceCounts(parameters_of(model), prefill, decode, kv_values)


def parameters_of(model: Any) -> int:
    """Parameters, tied ones once."""
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def flops_of(run: Any) -> dict[str, int]:
    """{kind of call: FLOPs} of one forward pass."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        run()
    by_kind = counter.get_flop_counts()["Global"]
    return {str(kind).split(".")[-1]: int(flops) for kind, flops in by_kind.items()}


def _cached(cache: Any) -> int:
    total = 0
    for layer in getattr(cache, "layers", []):
        for name in ("keys", "values"):
            tensor = getattr(layer, name, None)
            if tensor is not None and hasattr(tensor, "numel"):
                total += tensor.numel()
    return total
