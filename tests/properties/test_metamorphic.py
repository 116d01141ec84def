"""Relations that must hold between settings, whatever the numbers are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer import Decode, Prefill, analyze
from viewer.compression import load as load_compression
from viewer.formats import get
from viewer.planned import evaluate

MODELS = ("llama-2-7b", "llama-3.1-8b", "mixtral-8x7b", "deepseek-v2-lite", "jamba-v0.1", "gpt-2")
DEVICES = ("nvidia/a6000", "nvidia/h100-sxm", "nvidia/b200-sxm", "amd/mi300x", "cpu/epyc-9654")
loads = st.one_of(
    st.builds(Decode, batch=st.integers(1, 300), context=st.integers(0, 20_000)),
    st.builds(Prefill, batch=st.integers(1, 8), prompt=st.integers(1, 5000), cached=st.integers(0, 5000)),
)
some_model, some_device = st.sampled_from(MODELS), st.sampled_from(DEVICES)


def totals(model, device, load, compression, **options):
    return analyze(model, device, load, compression, **options).totals


@settings(max_examples=15)
@given(model=some_model, device=some_device, load=loads, cache=st.booleans())
def test_bytes_fall_with_bits(model, device, load, cache):
    names = [f"kv{b}-g64" for b in (8, 6, 5, 4, 3, 2)] if cache else [
        f"w{b}a16-g128" for b in (8, 7, 6, 5, 4)] + ["w3a16-g128", "w2a16-g128", "w1a16"]  # fmt: skip
    results = [analyze(model, device, load, name) for name in ("w16a16", *names)]
    stored = [r.memory.kv_cache_bytes if cache else r.memory.weight_bytes for r in results]
    moved = [r.totals.kv_read_bytes if cache else r.totals.weight_bytes for r in results]
    assert all(a >= b for values in (stored, moved) for a, b in pairwise(values))


@settings(max_examples=20)
@given(
    model=some_model,
    device=some_device,
    load=loads,
    preset=st.sampled_from(
        ("kvkeep100", "attn-w99999999", "heads0", "ffn0", "channels0", "layers0", "actsparse0", "quest-p16-n9999999")
    ),
)  # fmt: skip
def test_sparsity_zero_is_dense(model, device, load, preset):
    """Nothing removed: the same FLOPs, weight bytes and cache. (Choosing positions may still cost vector work.)"""
    dense, sparse = totals(model, device, load, "w16a16"), totals(model, device, load, preset)
    assert sparse.matmul_flops == pytest.approx(dense.matmul_flops, rel=1e-12)
    assert sparse.weight_bytes == dense.weight_bytes
    assert sparse.kv_write_bytes == dense.kv_write_bytes
    if not preset.startswith("quest"):
        assert sparse.kv_read_bytes == dense.kv_read_bytes


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scheme", ["sparse0-bitmap", "sparse0-block32"])
def test_unstructured_zero_multiplies_everything(model, scheme):
    """All values are kept: dense FLOPs, and never fewer bytes than dense (the places come on top)."""
    load = Prefill(prompt=300)
    dense, sparse = (totals(model, "nvidia/a6000", load, c) for c in ("w16a16", scheme))
    assert sparse.matmul_flops == dense.matmul_flops
    assert sparse.weight_bytes >= dense.weight_bytes


@given(bits=st.integers(2, 8), rows=st.integers(1, 4000), cols=st.integers(2, 4000))
def test_group_of_a_row_is_per_channel(bits, rows, cols):
    grouped, channel = get(f"int{bits}_g{cols}"), get(f"int{bits}_channel_s16")
    assert grouped.stored_bytes(rows, cols) == channel.stored_bytes(rows, cols)


def test_group_of_a_row_is_per_channel_in_the_totals():
    """13B with every row of 5120 one group: linear layers with 5120 inputs cost what per-channel INT4 does."""
    policy = '{"rules": [{"ops": ["q_proj", "o_proj"], "weight": "%s"}]}'
    both = [
        totals("llama-2-13b", "nvidia/a6000", Decode(), policy % name)
        for name in ("int4_g5120", "int4_channel_s16")
    ]
    assert both[0].weight_bytes == both[1].weight_bytes
    assert both[0].time_s == both[1].time_s


@settings(max_examples=20)
@given(
    model=some_model,
    device=some_device,
    load=loads,
    preset=st.sampled_from(("w16a16", "w4a16-g128", "w8a8-int8", "w4a4-g128+kv4", "2:4", "sparse50-csr")),
    factor=st.sampled_from((2.0, 0.5, 3.0)),
)
def test_doubling_every_rate_halves_the_time(model, device, load, preset, factor):
    once = analyze(model, device, load, preset)
    twice = analyze(model, device, load, preset, compute_scale=factor, bandwidth_scale=factor)
    assert twice.totals.time_s * factor == pytest.approx(once.totals.time_s, rel=1e-12)
    assert twice.totals.upper_time_s * factor == pytest.approx(once.totals.upper_time_s, rel=1e-12)


@settings(max_examples=15)
@given(
    model=some_model,
    device=some_device,
    load=loads,
    first=st.sampled_from(("w4a16-g128", "w8a8-int8", "nvfp4", "2:4")),
    second=st.sampled_from(("kv4", "kv8", "kvkeep50", "layers25", "attn-w512-g4-r0")),
)
def test_parts_join_in_any_order(model, device, load, first, second):
    """Parts that touch different tensors commute."""
    one, other = (totals(model, device, load, "+".join(pair)) for pair in ((first, second), (second, first)))
    assert one.time_s == other.time_s
    assert one.dram_bytes == other.dram_bytes


@settings(max_examples=15)
@given(
    model=some_model,
    device=some_device,
    preset=st.sampled_from(("w4a16-g128", "w8a8-fp8", "kvkeep20", "quest-p16-n8", "actsparse50", "quarot")),
    batches=st.lists(st.integers(1, 500), min_size=1, max_size=4),
    context=st.integers(0, 9000),
)
def test_an_array_is_its_points(model, device, preset, batches, context):
    plan = analyze(model, device, Decode(), preset).plan
    many = evaluate(plan, Decode().step(batch=np.array(batches, dtype=float), context=float(context)))
    sums = many.total([t.upper for t in many.times])
    for batch, value in zip(batches, np.broadcast_to(sums, (len(batches),)), strict=True):
        one = evaluate(plan, Decode(batch=batch, context=context).step())
        assert value == pytest.approx(float(one.total([t.upper for t in one.times])), rel=1e-12)


@settings(max_examples=25)
@given(keep=st.integers(1, 100), cached=st.integers(0, 5000), new=st.integers(1, 50))
def test_chunks_keep_what_they_keep(keep, cached, new):
    """An evicting cache never reads more than the whole one, and never less than its share."""
    load = Prefill(prompt=new, cached=cached)
    whole = totals("gpt-2", "nvidia/a6000", load, "w16a16").kv_read_bytes
    kept = totals("gpt-2", "nvidia/a6000", load, f"kvkeep{keep}").kv_read_bytes
    assert whole * keep / 100 <= kept + 1e-6 <= whole + 1e-6


def test_structure_composes_with_formats():
    """ffn25 leaves 3/4 of the feed-forward, and W4 g128 then stores it in 4.125 bits."""
    rows = {r["name"]: r for r in analyze("llama-2-13b", "nvidia/a6000", Decode(), "ffn25+w4a16-g128").rows}
    assert rows["down_proj"]["weight_bytes"] == 5120 * 10368 * 4.125 / 8
    assert load_compression("ffn25+w4a16-g128").structure == ("ffn25",)
