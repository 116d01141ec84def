"""Configurations of unknown model_type: read by what their keys show, or refused naming the key."""

from __future__ import annotations

import pytest

from viewer.errors import InputError
from viewer.models import build_graph, spec_of

BASE = {
    "model_type": "something_new",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "intermediate_size": 128,
}
EXPERTS = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}


@pytest.mark.parametrize(
    ("extra", "known"),
    [
        ({}, "llama"),
        (EXPERTS, "dots1"),
        ({**EXPERTS, **LATENT}, "deepseek_v3"),
    ],
)
def test_reads_by_keys_with_a_note(extra, known):
    spec = spec_of({**BASE, **extra})
    assert "'something_new' is not known" in spec.notes[-1]
    ours = build_graph(spec).parameter_count
    reference = build_graph(spec_of({**BASE, **extra, "model_type": known})).parameter_count
    if known == "dots1":  # which also norms q and k: 2 * 16 values in each of 2 layers
        reference -= 2 * 2 * 16
    assert ours == reference


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"ssm_state_size": 16}, "ssm_state_size shows state-space layers"),
        ({"linear_num_value_heads": 4}, "linear_num_value_heads shows linear attention"),
        ({"hybrid_override_pattern": "M*"}, "hybrid_override_pattern shows a pattern"),
        ({"encoder_layers": 2}, "encoder_layers shows an encoder"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is true"),
        ({"layer_types": ["mamba", "full_attention"]}, "layer_types has 'mamba'"),
        ({"index_topk": 16}, "index_topk shows sparse attention"),
        ({"num_experts": 4}, "missing num_experts_per_tok"),
        ({"num_local_experts": 4, "num_experts_per_tok": 5}, "picks 5 experts, but there are only 4"),
        ({"kv_lora_rank": 8}, "missing qk_nope_head_dim"),
    ],
)
def test_refuses_what_it_cannot_count(extra, message):
    with pytest.raises(InputError, match=message) as caught:
        spec_of({**BASE, **extra})
    assert "\n" not in str(caught.value)


def test_text_model_of_an_unknown_wrapper():
    inner = {**BASE, "model_type": "qwen3", "head_dim": 16}
    spec = spec_of({"model_type": "some_vl", "text_config": inner, "vision_config": {}})
    assert build_graph(spec).parameter_count == build_graph(spec_of(inner)).parameter_count
    assert "only the text model (text_config)" in spec.notes[-1]


@pytest.mark.parametrize(
    "kind", ["jamba", "mixtral", "deepseek_v3", "mamba2", "qwen3_next", "gemma4_text", "t5", "dit"]
)
def test_missing_keys_are_named(kind):
    with pytest.raises(InputError) as caught:
        spec_of({"model_type": kind})
    assert "missing" in str(caught.value)
    assert "\n" not in str(caught.value)
