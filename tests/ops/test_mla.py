"""Latent attention: DeepSeek-V3's published shape, both variants, and the choice between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.models import build_graph, load_model, spec_of
from viewer.ops import count
from viewer.workload import Segment, Step, decode_step, prefill_step

V3 = load_model("deepseek-v3")
GRAPHS = {mode: build_graph(V3, mla=mode) for mode in ("auto", "naive", "absorbed")}


def op_of(mode, name):
    return next(op for group, op in GRAPHS[mode] if group.layers and op.name == name)


def core_flops(mode, step):
    return sum(np.sum(count(op_of(mode, name), step).products, axis=0) for name in ("kv_b_proj", "attention"))


def test_parameters_of_a_layer():
    # q_a 7168*1536 + q_b 1536*24576 + kv_a 7168*576 + kv_b 512*32768 + o 16384*7168 = 187 105 280 (norms beside)
    names = ("q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj", "o_proj")
    assert sum(op_of("auto", name).parameter_count for name in names) == 187_105_280


def test_cache_of_a_token():
    # 512 + 64 values, 1152 B in BF16; expanded keys and values would be 128 * (192 + 128) * 2 = 81 920 B
    cache = op_of("auto", "kv_append").cache
    assert (cache.values_per_token, cache.token_bytes) == (576, 1152)


def test_decode_absorbed():
    # per query token and context row: 2176 FLOPs a head, 1152 B for all heads: 128 * 2176 / 1152 = 241.8 FLOP/B
    step = decode_step(1.0, 1_000_000.0)
    cost = count(op_of("absorbed", "attention"), step)
    assert sum(cost.products) == 2176 * 128 * 1_000_001
    assert sum(cost.products) / cost.kv_read_bytes == pytest.approx(241.78, rel=1e-4)
    # 2*N*d_n*c + 2*N*c*d_v = 33.55 MFLOP per query token
    assert count(op_of("absorbed", "kv_b_proj"), step).products == (33_554_432,)


def test_prefill_naive():
    # 640 FLOPs a pair and head; 33.55 MFLOP per context token
    step = prefill_step(1.0, 100.0, 50.0)
    pairs = 100 * 50 + 100 * 101 / 2
    assert sum(count(op_of("naive", "attention"), step).products) == 640 * 128 * pairs
    assert count(op_of("naive", "kv_b_proj"), step).products == (33_554_432 * 150,)


@pytest.mark.parametrize(
    ("new", "cached", "label"),
    [
        (1, 4096, "absorbed"),
        (170, 10**7, "absorbed"),
        (172, 10**7, "naive"),
        (512, 8192, "naive"),
        (512, 0, "naive"),
    ],
)
def test_choice(new, cached, label):
    # absorbed iff n_q < 33 554 432 / ((2176 - 640) * 128) = 170.67 when the context is long
    op = op_of("auto", "attention")
    cost = count(op, prefill_step(1.0, float(new), float(cached)))
    assert op.choice_labels[int(cost.choice)] == label


@given(new=st.integers(1, 2000), cached=st.integers(0, 100_000), batch=st.integers(1, 64))
def test_auto_is_the_cheaper_one(new, cached, batch):
    step = prefill_step(float(batch), float(new), float(cached))
    naive, absorbed, auto = (core_flops(mode, step) for mode in ("naive", "absorbed", "auto"))
    assert auto == min(naive, absorbed)


def test_a_mixed_step_chooses_per_segment():
    decodes, chunk = Segment(32.0, 1.0, 4096.0), Segment(1.0, 512.0, 2048.0)
    whole, first, second = Step((decodes, chunk), 32.0), Step((decodes,), 32.0), Step((chunk,), 0.0)
    assert core_flops("auto", whole) == core_flops("absorbed", first) + core_flops("naive", second)
    op = op_of("auto", "attention")
    assert op.choice_labels[int(count(op, whole).choice)] == "both"


def test_choice_over_a_grid_equals_single_points():
    new, cached = np.array([1.0, 100.0, 400.0])[:, None], np.array([0.0, 500.0, 50_000.0])[None, :]
    op = op_of("auto", "attention")
    grid = count(op, prefill_step(1.0, new, cached))
    for i, n in enumerate(new[:, 0]):
        for j, c in enumerate(cached[0]):
            single = count(op, prefill_step(1.0, n, c))
            assert grid.choice[i, j] == single.choice
            assert grid.products[0][i, j] == single.products[0]
            assert grid.kv_read_bytes[i, j] == single.kv_read_bytes


def test_eager_absorbed_has_the_same_products_in_a_decode():
    eager = build_graph(V3, attention="eager", mla="absorbed")
    step = decode_step(2.0, 300.0)
    names = ("qk_matmul", "pv_matmul")
    products = [count(next(op for _, op in eager if op.name == name), step).products[0] for name in names]
    assert tuple(products) == count(op_of("absorbed", "attention"), step).products


SPARSE = {
    "model_type": "deepseek_v32",
    "hidden_size": 7168,
    "num_hidden_layers": 1,
    "num_attention_heads": 128,
    "vocab_size": 1000,
    "intermediate_size": 1024,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "index_topk": 2048,
    "index_n_heads": 64,
    "index_head_dim": 128,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
}


def test_sparse_attention_reads_the_top_k():
    graph = build_graph(spec_of(SPARSE))
    ops = {op.name: op for _, op in graph}
    step = decode_step(1.0, 99_999.0)
    cost = count(ops["attention"], step)
    # 2048 of 100 000 latents; the indexer reads all 100 000 keys of 128 + 4 B and multiplies 2 * 64 * 128 each
    assert cost.kv_read_bytes == 2048 * 1152
    assert sum(cost.products) == 2176 * 128 * 2048
    index = count(ops["index_score"], step)
    assert index.products == (2 * 64 * 128 * 100_000,)
    assert index.kv_read_bytes == 100_000 * 132


def test_sparse_attention_below_its_top_k_is_dense():
    dense = build_graph(
        spec_of({k: v for k, v in SPARSE.items() if not k.startswith("index")}), mla="absorbed"
    )
    sparse = build_graph(spec_of(SPARSE), mla="absorbed")
    step = prefill_step(2.0, 300.0, 1500.0)
    costs = [count(next(op for _, op in g if op.name == "attention"), step) for g in (dense, sparse)]
    assert costs[0].products == costs[1].products
    assert costs[0].kv_read_bytes == costs[1].kv_read_bytes
