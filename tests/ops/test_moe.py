"""Routed experts: expected distinct experts against simulation and published numbers, padding, popularity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.errors import InputError
from viewer.models import build_graph, load_model, spec_of
from viewer.ops import count
from viewer.ops.routing import Routing, distinct_experts, hit_probabilities, padded_rows
from viewer.workload import decode_step, prefill_step


@pytest.mark.parametrize(
    ("experts", "top_k", "tokens", "expected"),
    [
        # 8 * (1 - 0.75^T)
        (8, 2, 1, 2.0),
        (8, 2, 4, 5.46875),
        (8, 2, 8, 7.20),
        (8, 2, 32, 8.00),
        # 256 * (1 - (31/32)^T)
        (256, 8, 1, 8.0),
        (256, 8, 8, 57.42),
        (256, 8, 64, 222.44),
        (256, 8, 256, 255.92),
    ],
)
def test_distinct_experts(experts, top_k, tokens, expected):
    assert distinct_experts(float(tokens), experts, top_k) == pytest.approx(expected, abs=0.005)


def test_distinct_experts_by_simulation():
    rng = np.random.default_rng(7)
    draws = [len({e for _ in range(12) for e in rng.permutation(16)[:3]}) for _ in range(4000)]
    # standard error of 4000 draws is about 0.017
    assert distinct_experts(12.0, 16, 3) == pytest.approx(np.mean(draws), abs=0.08)


def test_deepseek_v3_expert_bytes_at_64_tokens():
    # 222.44 experts * 3 * 7168 * 2048 values * 1 B (FP8) = 9.80 GB a layer; BF16 is twice that
    graph = build_graph(load_model("deepseek-v3"))
    step = decode_step(64.0, 4096.0)
    ops = {op.name: op for group, op in graph if group.layers and group.layers[-1] == 60}
    read = sum(count(ops[f"experts_{name}"], step).weight_bytes for name in ("gate", "up", "down"))
    assert read / 2 == pytest.approx(9.80e9, rel=1e-3)


def test_active_parameters():
    # Mixtral: 46 702 792 704 - 32 layers * 6 idle experts * 3 * 4096 * 14336
    graph = build_graph(load_model("mixtral-8x7b"))
    assert graph.active_parameter_count == 46_702_792_704 - 32 * 6 * 3 * 4096 * 14336 == 12_879_925_248


@given(
    experts=st.integers(2, 64),
    share=st.floats(0.01, 1.0),
    zipf=st.floats(0.0, 3.0),
    tokens=st.integers(1, 500),
)
def test_popularity_keeps_its_identities(experts, share, zipf, tokens):
    top_k = max(1, int(experts * share))
    skewed = Routing(zipf=zipf)
    p = hit_probabilities(experts, top_k, skewed)
    assert p.sum() == pytest.approx(top_k)
    assert p.max() <= 1.0 + 1e-12
    hit = distinct_experts(float(tokens), experts, top_k, skewed)
    # concave in p: the uniform load hits most; never fewer than k, never more than E
    assert top_k * (1 - 1e-9) <= hit <= distinct_experts(float(tokens), experts, top_k) * (1 + 1e-9)
    assert distinct_experts(1.0, experts, top_k, skewed) == pytest.approx(top_k)


def test_histogram_of_equal_loads_is_uniform():
    even = Routing(histogram=(3.0,) * 8)
    assert distinct_experts(5.0, 8, 2, even) == pytest.approx(distinct_experts(5.0, 8, 2))


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        (Routing(histogram=(1.0, 2.0)), "2 entries, the model has 8"),
        (Routing(histogram=(1.0,) + (0.0,) * 7), "1 experts have load"),
    ],
)
def test_histograms_that_do_not_fit_are_refused(routing, message):
    with pytest.raises(InputError, match=message):
        hit_probabilities(8, 2, routing)


def test_padding_by_simulation():
    rng = np.random.default_rng(11)
    experts, top_k, tokens, tile = 8, 2, 40, 16
    rows = []
    for _ in range(3000):
        picks = np.concatenate([rng.permutation(experts)[:top_k] for _ in range(tokens)])
        load = np.bincount(picks, minlength=experts)
        rows.append((np.ceil(load / tile) * tile).sum())
    expected = padded_rows(float(tokens), experts, top_k, Routing(tile_rows=tile))
    assert expected == pytest.approx(np.mean(rows), rel=0.01)


@given(tokens=st.integers(1, 3000), tile=st.sampled_from([1, 8, 64, 128]))
def test_padding_is_between_none_and_one_tile_an_expert(tokens, tile):
    rows = float(padded_rows(float(tokens), 16, 2, Routing(tile_rows=tile)))
    hit = distinct_experts(float(tokens), 16, 2)
    assert tokens * 2 * (1 - 1e-9) <= rows <= tokens * 2 + hit * (tile - 1) + 1e-6 * rows


def test_padding_only_moves_flops():
    spec = load_model("mixtral-8x7b")
    plain, padded = build_graph(spec), build_graph(spec, routing=Routing(tile_rows=64))
    step = decode_step(4.0, 100.0)
    for name in ("experts_gate", "experts_down"):
        a, b = (count(next(op for _, op in g if op.name == name), step) for g in (plain, padded))
        # at T = 4 each expert that is hit pads to one tile: 64 * E_hit rows instead of 8
        assert b.products[0] / a.products[0] == pytest.approx(64 * 5.46875 / 8)
        assert a.weight_bytes == b.weight_bytes


DENSE = {
    "model_type": "mixtral",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 100,
}


@given(tokens=st.integers(1, 300), batch=st.integers(1, 9))
def test_one_expert_of_one_is_dense(tokens, batch):
    moe = build_graph(spec_of({**DENSE, "num_local_experts": 1, "num_experts_per_tok": 1}))
    dense = build_graph(spec_of({**DENSE, "model_type": "llama"}))
    step = prefill_step(float(batch), float(tokens))
    layer = {op.name: count(op, step) for group, op in moe if group.layers}
    plain = {op.name: count(op, step) for group, op in dense if group.layers}
    for ours, theirs in (
        ("experts_gate", "gate_proj"),
        ("experts_up", "up_proj"),
        ("experts_down", "down_proj"),
    ):
        assert layer[ours].products == plain[theirs].products
        assert layer[ours].weight_bytes == pytest.approx(plain[theirs].weight_bytes)
        assert layer[ours].activation_read_bytes == plain[theirs].activation_read_bytes
        assert layer[ours].activation_write_bytes == plain[theirs].activation_write_bytes
    assert layer["experts_act"].vector_flops == plain["mlp_act"].vector_flops


def test_permute_and_combine_traffic():
    # T*k*h*2 B read and written by the gather; T*k*h*2 B (and T*2k 32-bit choices) read, T*h*2 B written by the sum
    graph = build_graph(load_model("mixtral-8x7b"))
    step = prefill_step(1.0, 10.0)
    ops = {op.name: count(op, step) for _, op in graph}
    rows = 10 * 2 * 4096 * 2
    permute, combine = ops["moe_permute"], ops["moe_combine"]
    assert (permute.activation_read_bytes, permute.activation_write_bytes) == (rows, rows)
    assert combine.activation_read_bytes == rows + 10 * 4 * 4
    assert combine.activation_write_bytes == 10 * 4096 * 2
