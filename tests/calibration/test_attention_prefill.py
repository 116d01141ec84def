"""Prefill attention: work and tiles by hand, windows, what more work costs, a fit of known constants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.additive_support import attention, attention_grid, gpu
from viewer.calibration import additive, base
from viewer.calibration import attention_prefill as prefill

BASE = {"pack": 0, "tile_m": 128, "tile_n": 64, "shrink": 1, "span": 2, "occ": 1, "split": 0, "ramp": 0.5}
CONSTANTS = {
    **{f"any.#{k}": float(v) for k, v in BASE.items()},
    "any.t0": 8.0,
    "any.ms": 1.4,
    "any.long": 0.8,
    "any.waves": 1.0,
    "any.kv": 1.2,
}


def test_work_of_one_causal_prompt() -> None:
    # one prompt of 4 tokens, H = 2, K = 1, D = 8: pairs 4*5/2 = 10, FLOPs 4*2*8*10 = 640
    # bytes: Q and O 2*4*2*8*2 = 256, K and V 2*4*1*8*2 = 128
    table = attention(1, batch=1, seq=4, n_heads=2, n_kv_heads=1, head_dim=8)
    found = prefill.work(table, gpu())
    assert found.flops == pytest.approx([640])
    assert found.bytes_ == pytest.approx([256 + 128])
    assert found.exps == pytest.approx([20])


def test_narrow_cache_halves_the_kv_bytes_and_keeps_the_math_type() -> None:
    # as above with 1-byte K and V: 256 + 64; the products stay 16-bit
    table = attention(1, batch=1, seq=4, n_heads=2, n_kv_heads=1, head_dim=8, kv_format="fp8_e4m3")
    found = prefill.work(table, gpu())
    assert found.bytes_ == pytest.approx([320])
    assert found.peak == 100e12
    assert prefill.work({**table, "act_format": "fp8_e4m3"}, gpu()).peak == 200e12


def test_window_pairs() -> None:
    # 5 tokens that see 2 positions each, themselves included: 1 + 2 + 2 + 2 + 2 = 9 = 2*3/2 + 3*2
    assert prefill.pairs(np.array([5.0]), np.array([2.0])) == pytest.approx([9])
    wide = prefill.work(attention(1, window=100000), gpu())
    assert wide.flops == pytest.approx(prefill.work(attention(1), gpu()).flops)


def test_tiles_of_a_small_case() -> None:
    # s = 256, H = 8, D = 128, unpacked 128 x 64: 2 tile rows a head, 16 CTAs; n = 4 tiles across;
    # avg = (4 + 1)/2 + (128/64 - 1)/2 = 3; tile time 4*128*64*128*100/100e12 = 4.194304 us
    table = attention(1, batch=1, seq=256, n_heads=8, n_kv_heads=8)
    terms = prefill.terms(table, gpu(), BASE)
    assert terms["cta"] == pytest.approx([16 / 100])
    assert terms["ms"] == pytest.approx([16 * 3 * 4.194304 / 100])
    assert terms["long"] == pytest.approx([4 * 4.194304])
    assert terms["waves"] == pytest.approx([1])
    # 1 wave or less: the longest CTA is the whole makespan
    assert terms["lpt"] == pytest.approx([4 * 4.194304 - 16 * 3 * 4.194304 / 100])


def test_longest_first_schedule_is_level_at_two_and_four_layers() -> None:
    # tile rows of 1..n tiles over P cores: 2P rows pair a long one with a short one, so that the makespan is
    # the mean load; 3P rows leave the last layer unpaired: (2 + 1 - 4/3) n = 1.67 n against a mean of 1.5 n
    table = attention(1, batch=200 / 64, seq=8192, n_heads=1, n_kv_heads=1)  # 64 tile rows a prompt
    assert prefill.terms(table, gpu(), BASE)["lpt"] == pytest.approx([0], abs=1e-9)
    odd = prefill.terms({**table, "batch": np.array([300 / 64])}, gpu(), BASE)
    longest = 128 * 4.194304  # n = 8192/64 tiles
    assert odd["lpt"] == pytest.approx([(3 - 4 / 3) * longest - odd["ms"][0]])


def test_packing_shares_a_tile_between_the_heads_of_a_group() -> None:
    # 16 query rows of 4 heads fill one 64-row tile: 2 prompts x 8 groups = 16 CTAs instead of 2 x 32
    table = attention(1, seq=16)
    assert prefill.terms(table, gpu(), BASE)["cta"] == pytest.approx([0.64])
    assert prefill.terms(table, gpu(), {**BASE, "pack": 1})["cta"] == pytest.approx([0.16])


def test_a_window_bounds_the_work_and_a_chunk_lowers_it_further() -> None:
    table = attention(1, seq=4096, window=1024)
    whole = prefill.terms(table, gpu(), {**BASE, "span": 1})["ms"]
    window = prefill.terms(table, gpu(), {**BASE, "span": 2})["ms"]
    chunk = prefill.terms(table, gpu(), {**BASE, "span": 3})["ms"]
    assert whole[0] > window[0] > chunk[0]
    # chunks of 16 tiles: (16 + 1)/2 + (2 - 1)/2 = 9 tiles a row; all 64 tiles: (64 + 1)/2 + 1/2 = 33
    assert chunk[0] / whole[0] == pytest.approx(9 / 33)


def test_kernel_write_terms_only_where_the_call_has_that_kernel() -> None:
    assert "kvw" in prefill.terms(attention(1), gpu(), BASE)
    assert "kvw" not in prefill.terms(attention(1, includes="rope,kv_write"), gpu(), BASE)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 64), st.integers(1, 4096), st.sampled_from([(32, 8), (8, 8), (64, 1)]), st.integers(1, 8)
)
def test_more_prompts_never_take_less_time(batch: int, seq: int, heads: tuple[int, int], more: int) -> None:
    shape = {"seq": [seq, seq], "n_heads": heads[0], "n_kv_heads": heads[1]}
    table = attention(2, batch=[batch, batch + more], **shape)
    low, high = prefill.m2(table, gpu(), CONSTANTS)
    assert high >= low > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 64), st.integers(1, 8192), st.floats(0.25, 4.0))
def test_all_rates_doubled_halve_the_terms_of_time(batch: int, seq: int, factor: float) -> None:
    table = attention(1, batch=batch, seq=seq)
    fast = gpu(
        tensor_peak={"bf16": 100e12 * factor},
        dram_bandwidth=1e12 * factor,
        l2_bandwidth=5e12 * factor,
    )
    slow_terms, fast_terms = (prefill.terms(table, g, BASE) for g in (gpu(), fast))
    for name in ("ms", "long", "qo", "kv", "l2", "reread"):
        assert fast_terms[name] * factor == pytest.approx(slow_terms[name])


def test_fit_finds_the_tile_and_predicts_unseen_heads() -> None:
    truth = {**CONSTANTS, "any.#tile_n": 128.0, "any.#pack": 1.0}
    device, train = gpu(), attention_grid(1)
    time_s = prefill.m2(train, device, truth)
    found = prefill.fit(train, device, time_s)
    unseen = attention(3, n_heads=[48, 24, 8], n_kv_heads=[8, 4, 1], seq=[2048, 700, 64])
    assert prefill.m2(unseen, device, found) == pytest.approx(prefill.m2(unseen, device, truth), rel=0.03)


def test_small_windows_and_wide_heads_have_leaves_of_their_own() -> None:
    table = attention(4, window=[0, 128, 8192, 0], head_dim=[128, 64, 128, 512])
    assert prefill.leaf(table, gpu()).tolist() == ["full/128", "window/64w", "full/128", "wide/512"]


@pytest.mark.parametrize("family", sorted(prefill.FAMILY_DEFAULTS))
def test_family_defaults_predict_any_shape_above_zero(family: str) -> None:
    table = attention_grid(5, head_dim=96.0)
    estimate = prefill.m2(table, gpu(), prefill.FAMILY_DEFAULTS[family])
    assert np.all(np.isfinite(estimate))
    assert np.all(estimate > 1e-6)


def test_class_key_names_formats_and_library() -> None:
    assert prefill.class_key(attention(1, library="vllm-0.24.0", kv_format="fp8_e4m3")) == "bf16+kv8|vllm|all"
    assert prefill.class_key(attention(1, act_format="fp8_e4m3", kv_format="fp8_e4m3")) == "fp8|-|all"


def test_a_device_without_a_rate_is_named() -> None:
    reason = prefill.check(attention(1), gpu(tensor_peak={}, vector_peak={}))
    assert "test/gpu" in reason
    assert prefill.check(attention(1), gpu()) == ""


def test_bound_is_below_the_estimate_of_the_defaults() -> None:
    table = attention_grid(7)
    bound_s, _ = base.bound(prefill.work(table, gpu()), gpu())
    assert np.all(prefill.m2(table, gpu(), prefill.FAMILY_DEFAULTS["any"]) > bound_s)


def test_coordinates_are_one_row_a_kernel() -> None:
    table = attention_grid(2, rows=7)
    x = prefill.coordinates(table, gpu(), CONSTANTS, prefill.m2(table, gpu(), CONSTANTS))
    assert x.shape[0] == 7
    assert np.all(np.isfinite(x))


def test_parts_of_the_estimate_sum_to_it() -> None:
    table = attention_grid(4, rows=50)
    parts = additive.breakdown(prefill.MODEL, table, gpu(), CONSTANTS)
    assert sum(parts.values()) == pytest.approx(prefill.m2(table, gpu(), CONSTANTS))
