"""Parallel layouts as graph -> graph: shards sum to the whole, repeats are known, what cannot be cut is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer import Decode, Generation, InputError, Prefill, analyze
from viewer.ops.routing import Routing
from viewer.parallel import bubble
from viewer.parallel.experts import imbalance
from viewer.parallel.stages import stage_sizes

LOAD = Decode(batch=8, context=1000)
DENSE = (
    "llama-2-13b",
    "llama-3.1-8b",
    "falcon-40b",
    "bloom-176b",
    "gemma-3-27b",
    "opt-13b",
    "phi-3-mini",
    "qwen3-8b",
)


def rows(result: Any, kind: str) -> list[dict[str, Any]]:
    return [row for row in result.rows if row["kind"] == kind]


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("sequence", [False, True])
def test_tensor_shards_sum_to_the_whole(name: str, sequence: bool) -> None:
    # two devices: every model here has an even number of query and key/value heads; vocabularies pad to even
    for load in (LOAD, Prefill(batch=2, prompt=300)):
        whole = analyze(name, "nvidia/h100-sxm", load)
        half = analyze(name, "nvidia/h100-sxm", load, tp=2, sequence=sequence)
        assert half.totals.matmul_flops * 2 == pytest.approx(whole.totals.matmul_flops, rel=1e-4)
        assert half.memory.kv_cache_bytes * 2 == whole.memory.kv_cache_bytes
        assert half.totals.kv_read_bytes * 2 == pytest.approx(whole.totals.kv_read_bytes)
        # norms (and biases after a sum) are repeated: under 0.1 % of the weights
        assert 1.0 <= half.memory.weight_bytes * 2 / whole.memory.weight_bytes < 1.001


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v3", "mixtral-8x7b", "jamba-v0.1"])
def test_one_device_is_unchanged(name: str) -> None:
    plain = analyze(name, "nvidia/h200-sxm", LOAD)
    one = analyze(name, "nvidia/h200-sxm", LOAD, tp=1, pp=1, ep=1, dp=1, link_bytes_per_s=1e9)
    assert one.rows == plain.rows
    assert one.totals == plain.totals
    assert one.memory == plain.memory


def test_sequence_parallelism_divides_norms_and_adds() -> None:
    load = Prefill(batch=1, prompt=4096)
    whole = analyze("llama-3.1-8b", "nvidia/h100-sxm", load)
    part = analyze("llama-3.1-8b", "nvidia/h100-sxm", load, tp=8, sequence=True)
    assert part.totals.vector_flops * 8 == pytest.approx(whole.totals.vector_flops, rel=1e-3)
    plain = analyze("llama-3.1-8b", "nvidia/h100-sxm", load, tp=8)
    moved = sum(r["repeat"] * r["comm_bytes"] for r in plain.rows if r["kind"] == "all_reduce")
    split = sum(r["repeat"] * r["comm_bytes"] for r in part.rows if r["kind"] == "reduce_scatter")
    assert split == moved  # the same buffers, scattered and gathered


def test_all_reduces_of_a_layer() -> None:
    # Llama-2-13B, TP2: two per layer of T*h*2 B = 2048*5120*2 B, one for the embedding; 80 * 372.8 us = 29.8 ms
    load = Prefill(batch=1, prompt=2048)
    result = analyze("llama-2-13b", "nvidia/a6000", load, tp=2, link_latency_s=0.0)
    found = [r for r in rows(result, "all_reduce") if r["repeat"] == 40]
    assert [r["name"] for r in found] == ["attn_all_reduce", "mlp_all_reduce"]
    assert all(r["comm_bytes"] == 20971520 for r in found)
    assert sum(r["repeat"] * r["link_time_s"] for r in found) == pytest.approx(29.8e-3, rel=2e-3)
    # half of the linears and of the attention: (51.97 + 1.72) / 2 TFLOP at 154.8 = 173 ms
    work = sum(r["repeat"] * r["tensor_time_s"] for r in result.rows)
    assert work == pytest.approx(173e-3, rel=5e-3)


def test_decode_moves_kilobytes() -> None:
    result = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=4095), tp=8)
    reduce = next(r for r in rows(result, "all_reduce") if r["name"] == "attn_all_reduce")
    assert reduce["comm_bytes"] == 524288
    assert reduce["bound"] == "link"
    gather = rows(result, "all_gather")
    assert [r["name"] for r in gather] == ["logits_all_gather"]
    assert gather[0]["comm_bytes"] == 64 * 128256 * 4  # FP32 logits of the sampled rows


def test_parallel_attention_and_feed_forward_reduce_once() -> None:
    result = analyze("falcon-40b", "nvidia/h100-sxm", LOAD, tp=2)
    layers = [r for r in rows(result, "all_reduce") if r["repeat"] > 1]
    assert len(layers) == 1


def test_key_value_heads_are_repeated() -> None:
    # ChatGLM3: two key/value heads on eight devices: one each, four copies
    whole = analyze("chatglm3-6b", "nvidia/h100-sxm", LOAD)
    part = analyze("chatglm3-6b", "nvidia/h100-sxm", LOAD, tp=8)
    assert part.memory.kv_cache_bytes * 2 == whole.memory.kv_cache_bytes


def test_a_latent_is_not_cut() -> None:
    whole = analyze("deepseek-v3", "nvidia/h200-sxm", LOAD)
    part = analyze("deepseek-v3", "nvidia/h200-sxm", LOAD, tp=8)
    assert part.memory.kv_cache_bytes == whole.memory.kv_cache_bytes


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]))
def test_experts_sum_to_the_whole(tp: int, ep: int, dp: int) -> None:
    load = Decode(batch=64, context=500)
    whole = analyze("mixtral-8x7b", "nvidia/h200-sxm", load)
    given_dp = max(dp, ep // tp)
    part = analyze(
        "mixtral-8x7b", "nvidia/h200-sxm", load, tp=tp, ep=ep, dp=given_dp, network_bytes_per_s=50e9
    )
    devices = part.scenario.parallel.devices
    assert devices == tp * given_dp

    def experts(result: Any) -> float:
        return sum(r["repeat"] * r["matmul_flops"] for r in rows(result, "experts"))

    assert experts(part) * devices == pytest.approx(experts(whole))
    held = 8 * 3 * 4096 * 14336 * 32 * 2.0  # BF16 bytes of all experts
    copies = devices / max(tp, ep)
    own = part.memory.weight_bytes * devices - held * copies
    assert 0 < own < (whole.memory.weight_bytes - held) * devices * 1.001


def test_tokens_travel_between_replicas_only() -> None:
    load = Decode(batch=128, context=1000)
    spread = analyze("deepseek-v3", "nvidia/h200-sxm", load, ep=8)
    sent = {r["name"]: r for r in rows(spread, "all_to_all")}
    assert set(sent) == {"moe_dispatch", "moe_return"}
    # T*k*h*b of one replica: back as BF16, there as the FP8 that the experts take, an FP32 scale per 128 values
    assert sent["moe_return"]["comm_bytes"] == 128 / 8 * 8 * 7168 * 2
    assert sent["moe_dispatch"]["comm_bytes"] == 128 / 8 * 8 * (7168 + 7168 / 128 * 4)
    plain = analyze("deepseek-v3", "nvidia/h200-sxm", load, "w16a16", ep=8)
    assert rows(plain, "all_to_all")[0]["comm_bytes"] == 128 / 8 * 8 * 7168 * 2
    inside = analyze("deepseek-v3", "nvidia/h200-sxm", load, tp=8, ep=8)
    assert not rows(inside, "all_to_all")
    assert rows(inside, "all_reduce")


def test_experts_hit_are_those_of_all_replicas() -> None:
    # 8 replicas x 8 tokens hit as many of the 256 experts as 64 tokens do: 222.4 (modelling 2.5), 1/8 of them here
    load = Decode(batch=64, context=1000)
    whole = analyze("deepseek-v3", "nvidia/h200-sxm", load)
    part = analyze("deepseek-v3", "nvidia/h200-sxm", load, ep=8)
    total = sum(r["repeat"] * r["weight_bytes"] for r in rows(whole, "experts"))
    assert sum(r["repeat"] * r["weight_bytes"] for r in rows(part, "experts")) * 8 == pytest.approx(total)


def test_imbalance_of_popular_experts() -> None:
    assert imbalance(64, 4, Routing(), 8) == 1.0
    skewed = imbalance(64, 4, Routing(zipf=1.0), 8)
    assert 1.0 < skewed < 8.0
    assert imbalance(64, 4, Routing(zipf=1.0), 1) == 1.0


def test_pipeline_of_equal_stages() -> None:
    # p = 4 stages, m = 4 micro-batches: 3/7 of the time is waiting, up to head and embedding
    load = Prefill(batch=16, prompt=512)
    result = analyze("llama-2-70b", "nvidia/h100-sxm", load, pp=4, micro_batches=4)
    wait = rows(result, "pipeline_wait")[0]
    assert wait["time_s"] / result.totals.time_s == pytest.approx(bubble(4, 4), rel=0.01)
    assert bubble(4, 4) == 3 / 7


def test_pipeline_without_micro_batches_is_a_relay() -> None:
    # one micro-batch walks through all stages: the time of one device plus the messages
    whole = analyze("llama-3.1-8b", "nvidia/h100-sxm", LOAD)
    part = analyze("llama-3.1-8b", "nvidia/h100-sxm", LOAD, pp=2)
    messages = sum(r["time_s"] for r in rows(part, "p2p")) * 2
    assert part.totals.time_s == pytest.approx(whole.totals.time_s + messages, rel=1e-6)
    assert part.memory.kv_cache_bytes * 2 == whole.memory.kv_cache_bytes


def test_a_tied_head_is_stored_on_its_own_stage() -> None:
    whole = analyze("gemma-2-9b", "nvidia/h100-sxm", LOAD)
    part = analyze("gemma-2-9b", "nvidia/h100-sxm", LOAD, pp=2)
    table = 256000 * 3584 * 2.0
    assert part.memory.weight_bytes * 2 == pytest.approx(whole.memory.weight_bytes + table, rel=1e-4)


@given(st.integers(1, 200), st.integers(1, 32))
def test_stage_sizes(layers: int, stages: int) -> None:
    if stages > layers:
        return
    sizes = stage_sizes(layers, stages)
    assert sum(sizes) == layers
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == stages


def test_replicas_share_the_batch() -> None:
    whole = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=32, context=1000))
    half = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=1000), dp=2)
    assert half.totals.time_s == whole.totals.time_s
    assert half.totals.tokens_per_s == 2 * whole.totals.tokens_per_s
    assert half.memory.max_batch == 2 * (whole.memory.max_batch or 0)
    odd = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=63, context=1000), dp=2)
    assert odd.totals.time_s == whole.totals.time_s  # the larger replica has 32


def test_overlap_hides_a_share_of_the_links() -> None:
    full = analyze("llama-3.1-8b", "nvidia/h100-sxm", LOAD, tp=4)
    half = analyze("llama-3.1-8b", "nvidia/h100-sxm", LOAD, tp=4, comm_overlap=0.5)
    for a, b in zip(full.rows, half.rows, strict=True):
        assert b["link_time_s"] == pytest.approx(a["link_time_s"] * 0.5)


def test_generation_is_the_sum_of_its_phases() -> None:
    result = analyze("llama-3.1-8b", "nvidia/h100-sxm", Generation(batch=4, prompt=100, output=3), tp=2)
    steps = [Prefill(batch=4, prompt=100), Decode(batch=4, context=100), Decode(batch=4, context=101)]
    parts = sum(analyze("llama-3.1-8b", "nvidia/h100-sxm", s, tp=2).totals.time_s for s in steps)
    assert result.totals.time_s == pytest.approx(parts)


@pytest.mark.parametrize(
    ("name", "layout", "words"),
    [
        ("llama-3.1-8b", {"tp": 3}, "32 cannot be divided over 3"),
        ("gpt-2", {"tp": 8}, "attention heads"),
        ("llama-3.1-8b", {"ep": 2}, "no routed experts"),
        ("mixtral-8x7b", {"ep": 3}, "ep=3"),
        ("mixtral-8x7b", {"tp": 4, "ep": 6}, "multiple"),
        ("llama-3.1-8b", {"pp": 64}, "32 layers"),
        ("llama-3.1-8b", {"tp": 16}, "network_bytes_per_s"),
        ("llama-3.1-8b", {"sequence": True}, "tp > 1"),
    ],
)
def test_what_cannot_be_is_named(name: str, layout: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        analyze(name, "nvidia/h100-sxm", LOAD, **layout)


def test_a_device_without_links_is_named() -> None:
    with pytest.raises(InputError, match="no link between devices"):
        analyze("llama-3.1-8b", "apple/m2-ultra", LOAD, tp=2)
    given_link = analyze("llama-3.1-8b", "apple/m2-ultra", LOAD, tp=2, link_bytes_per_s=5e9)
    assert rows(given_link, "all_reduce")[0]["link_time_s"] > 0


def test_unpacking_of_experts_sums_to_the_whole() -> None:
    # MXFP4 experts: each tile of an expert's rows unpacks that expert's weights, on whichever device it lies
    load = Prefill(batch=8, prompt=512)
    whole = analyze("gpt-oss-20b", "nvidia/h100-sxm", load)
    part = analyze("gpt-oss-20b", "nvidia/h100-sxm", load, ep=4)

    def vector(result: Any) -> float:
        return sum(r["repeat"] * r["vector_flops"] for r in rows(result, "experts"))

    assert vector(part) * 4 == pytest.approx(vector(whole))
    # 4096 tokens x 4 experts / 32 experts = 512 rows, 8 tiles of 64 each: far from every row through every expert
    assert vector(whole) < sum(r["repeat"] * r["matmul_flops"] for r in rows(whole, "experts")) / 20
