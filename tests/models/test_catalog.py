"""Every catalog entry reproduces its published parameter count; families keep their own facts."""

from __future__ import annotations

import pytest

from viewer.models import build_graph, catalog_names, load_model, spec_of

#: Published counts that hold more than the text model: router biases (buffers in the reference), prediction layers.
BESIDE_THE_MODEL = {
    "deepseek-v3": 58 * 256,
    "deepseek-r1": 58 * 256,
    "kimi-k2": 60 * 384,
    "qwen3-next-80b-a3b": 1_650_471_424,
}


@pytest.mark.parametrize("name", catalog_names())
def test_published_count(name):
    spec = load_model(name)
    graph = build_graph(spec, vision=bool(spec.vision))
    assert graph.parameter_count + BESIDE_THE_MODEL.get(name, 0) == spec.published


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        # active parameters as their model cards round them
        ("mixtral-8x22b", 39.1),
        ("qwen3-30b-a3b", 3.35),
        ("qwen3-235b-a22b", 22.2),
        ("deepseek-v3", 36.7),
        ("gpt-oss-20b", 4.19),
        ("olmoe-1b-7b", 1.28),
    ],
)
def test_active_parameters(name, billions):
    graph = build_graph(load_model(name))
    active = graph.active_parameter_count
    if name == "deepseek-v3":
        active -= 129_280 * 7168  # the card's 37 B leave out one of the two embeddings
    assert active / 1e9 == pytest.approx(billions, abs=0.15)


def test_gemma4_shares_caches_and_keys():
    config = {
        "model_type": "gemma4_text",
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "head_dim": 16,
        "global_head_dim": 32,
        "num_kv_shared_layers": 2,
        "sliding_window": 8,
        "hidden_size_per_layer_input": 0,
    }
    graph = build_graph(spec_of(config))
    appends = [(g.repeat, op) for g, op in graph if op.kind == "kv_append"]
    # layers 0-4 and 6-9 local, 5 global with keys as values (both cached), 10 and 11 read earlier caches
    assert sum(repeat for repeat, _ in appends) == 10
    glob = next(op for repeat, op in appends if repeat == 1)
    assert (glob.cache.heads, glob.cache.widths, glob.cache.window) == (1, (32, 32), None)
    names = [op.name for g, op in graph if g.layers == (5,)]
    assert "k_proj" in names
    assert "v_proj" not in names
    last = [op.name for g, op in graph if 11 in g.layers]
    assert "k_proj" not in last
    assert "attention" in last


def test_llama4_chunks_and_drops_rotary():
    config = {
        "model_type": "llama4_text",
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "attention_chunk_size": 16,
    }
    graph = build_graph(spec_of(config))
    for group, op in graph:
        if op.name == "attention":
            whole = group.layers == (3, 7)
            assert op.chunk == (None if whole else 16)
            assert any(o.name == "rope" for o in group.ops) is not whole
