"""The reference implementations, run live on shape-only tensors, count what the models here count: zero differences.

Eager attention, MLA naive, logits for the last position; routed experts on exactly T*k rows. One configuration per
family is fixed (first choices), more are drawn. Needs torch and transformers (the ``oracle`` extra).
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.anchors.counting import kv_values, linear_flops, matmul_flops
from tests.oracle.draws import FAMILIES, LINEAR_ONLY
from viewer.models import build_graph, catalog_names, spec_of
from viewer.ops.mla import IndexScore
from viewer.workload import Segment, Step, decode_step, prefill_step

pytestmark = [pytest.mark.oracle, pytest.mark.slow]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from tests.oracle.reference import flops_of, parameters_of, reference_counts, reference_model  # noqa: E402

#: Families that a causal reference in transformers does not read: none there, encoder-decoders, image models.
NO_CAUSAL_REFERENCE = {"chatglm", "dit", "t5", "whisper", "vit"}
#: Families that run another family's code.
SAME_CODE = {"kimi_k2": "deepseek_v3"}


def differences(config: dict[str, Any], batch: int, prompt: int) -> dict[str, float]:
    """Ours minus reference, for what differs."""
    family = config["model_type"]
    # Gemma 4's reference runs layers with shared caches on the last position only unless all logits are asked for
    all_logits = family.startswith("gemma4")
    reference = reference_counts(config, batch, prompt, all_logits)
    graph = build_graph(spec_of(config), attention="eager", mla="naive")
    prefill, decode = prefill_step(batch, prompt), decode_step(batch, prompt)
    if all_logits:
        prefill = Step(prefill.segments, batch * prompt)
    count = linear_flops if family in LINEAR_ONLY else matmul_flops
    found = {"parameters": float(graph.parameter_count - reference.parameters)}
    for phase, step, flops in (("prefill", prefill, reference.prefill), ("decode", decode, reference.decode)):
        kinds = ("mm", "addmm") if family in LINEAR_ONLY else tuple(k for k in flops if k != "convolution")
        theirs = sum(flops.get(kind, 0) for kind in kinds)
        found[phase] = count(graph, step) - theirs + indexer_sums(graph, step)
    # the reference keeps the indexer's keys in a cache of their own
    found["kv"] = kv_values(graph, prefill, one_less=True) - reference.kv_values - index_keys(graph, prefill)
    return {what: value for what, value in found.items() if value}


def indexer_sums(graph: Any, step: Step) -> float:
    """The weighted sum over index heads, 2*H per pair: vector work here, a batched product in the reference."""
    ops = ((group, op) for group, op in graph if isinstance(op, IndexScore))
    return sum(group.repeat * float(step.all_pairs()) * 2.0 * op.heads for group, op in ops)


def index_keys(graph: Any, step: Step) -> float:
    ops = ((group, op) for group, op in graph if op.name == "index_kv_append")
    return sum(group.repeat * float(step.cached_after()) * op.cache.values_per_token for group, op in ops)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_fixed_configuration(family: str) -> None:
    config = {"model_type": family, **FAMILIES[family](lambda _, choices: choices[0])}
    assert differences(config, batch=2, prompt=37) == {}


@pytest.mark.parametrize("family", sorted(FAMILIES))
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),  # shrinking builds hundreds of models
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_drawn_configurations(family: str, data: st.DataObject) -> None:
    made = FAMILIES[family](lambda name, choices: data.draw(st.sampled_from(choices), label=name))
    batch, prompt = data.draw(st.integers(1, 3)), data.draw(st.integers(5, 70))
    assert differences({"model_type": family, **made}, batch, prompt) == {}


def catalog_config(name: str) -> dict[str, Any]:
    text = (resources.files("viewer.models") / "catalog" / f"{name}.json").read_text("utf-8")
    config: dict[str, Any] = json.loads(text)["config"]
    config.pop("quantization_config", None)
    config["model_type"] = SAME_CODE.get(config["model_type"], config["model_type"])
    return config


def decoders() -> list[str]:
    """Catalog entries that a causal reference reads."""
    return [n for n in catalog_names() if catalog_config(n)["model_type"] not in NO_CAUSAL_REFERENCE]


@pytest.mark.parametrize("name", decoders())
def test_catalog_parameters(name: str) -> None:
    config = catalog_config(name)
    inner = config.get("text_config")
    if inner is not None:
        config = {"tie_word_embeddings": config.get("tie_word_embeddings", True), **inner}
    ours = build_graph(spec_of(config)).parameter_count
    assert ours == parameters_of(reference_model(config))


def test_t5_counts() -> None:
    config = {
        "model_type": "t5",
        "vocab_size": 320,
        "d_model": 48,
        "d_kv": 12,
        "d_ff": 80,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
    }
    model = reference_model(config, "AutoModelForSeq2SeqLM")
    source = torch.zeros((2, 19), dtype=torch.long, device="meta")
    target = torch.zeros((2, 5), dtype=torch.long, device="meta")
    flops = flops_of(lambda: model(input_ids=source, decoder_input_ids=target, use_cache=True))
    graph = build_graph(spec_of(config), attention="eager")
    step = Step((Segment(2.0, 5.0),), 10.0, source=(Segment(2.0, 19.0),))
    assert graph.parameter_count == parameters_of(model)
    assert matmul_flops(graph, step) == sum(flops.values())


def test_whisper_counts() -> None:
    config = {
        "model_type": "whisper",
        "vocab_size": 51865,
        "d_model": 48,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 80,
        "decoder_ffn_dim": 96,
        "max_source_positions": 30,
        "num_mel_bins": 16,
    }
    model = reference_model(config, "AutoModelForSpeechSeq2Seq")
    mel = torch.zeros((2, 16, 60), dtype=torch.bfloat16, device="meta")
    target = torch.zeros((2, 5), dtype=torch.long, device="meta")
    flops = flops_of(lambda: model(input_features=mel, decoder_input_ids=target, use_cache=True))
    graph = build_graph(spec_of(config), attention="eager")
    step = Step((Segment(2.0, 5.0),), 10.0, source=(Segment(2.0, 30.0),))
    assert graph.parameter_count == parameters_of(model)
    assert matmul_flops(graph, step) == sum(flops.values())


def test_vit_counts() -> None:
    config = {
        "model_type": "vit",
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 80,
        "image_size": 32,
        "patch_size": 8,
        "num_labels": 10,
    }
    model = reference_model(config, "AutoModelForImageClassification")
    pixels = torch.zeros((3, 3, 32, 32), dtype=torch.bfloat16, device="meta")
    flops = flops_of(lambda: model(pixel_values=pixels))
    graph = build_graph(spec_of(config), attention="eager")
    assert graph.parameter_count == parameters_of(model)
    # the reference embeds 16 patches and then adds the class token; here the token's row goes through the product too
    extra = 3 * 2 * (3 * 8 * 8) * 48
    assert matmul_flops(graph, prefill_step(3, 17)) - extra == sum(flops.values())
