"""Decode attention: work and splits by hand, which kernel a library runs, a fit of known constants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.additive_support import attention, attention_grid, gpu
from viewer.calibration import attention_common as common
from viewer.calibration import attention_decode as decode
from viewer.calibration import base

BASE = {"mode": decode.NONE, "tile_n": 128, "occ": 1, "gp": 64, "ramp": 0.3, "skip": 1}
CONSTANTS = {
    **{f"any.#{k}": float(v) for k, v in {**BASE, "mode": decode.FILL2}.items()},
    "any.t0": 7.0,
    "any.chain": 0.6,
    "any.wave": 1.0,
    "any.dram": 0.5,
    "any.uni": 0.4,
}


def _split(units: float, slots: float, steps: float, mode: int, positions: float = 1e5) -> float:
    one = decode.splits(np.array([units]), slots, np.array([steps]), np.array([positions]), mode)
    return float(one[0])


def test_work_reads_the_cache_once() -> None:
    # b = 2, s = 512, H = 32, K = 8, D = 128: FLOPs 4*2*32*128*512 = 16 777 216
    # bytes: K and V 2*2*512*8*128*2 = 4 194 304, Q and O 2*2*32*128*2 = 32 768
    found = decode.work(attention(1), gpu())
    assert found.flops == pytest.approx([16_777_216])
    assert found.bytes_ == pytest.approx([4_194_304 + 32_768])


def test_a_window_limits_what_is_read() -> None:
    full, windowed = decode.work(attention(1), gpu()), decode.work(attention(1, window=128), gpu())
    assert windowed.flops == pytest.approx(np.asarray(full.flops) / 4)


def test_split_rules_by_hand() -> None:
    assert _split(10, 100, 40, decode.NONE) == 1
    assert _split(10, 100, 40, decode.FILL) == 10  # 100/10 splits fill the slots
    assert _split(10, 100, 8, decode.FILL2) == 4  # at least two steps each
    assert _split(90, 100, 40, decode.FA3) == 1  # 90 of 100 slots: full enough
    assert _split(10, 100, 4, decode.FA3) == 1  # four steps are not worth splitting
    assert _split(30, 100, 40, decode.FA3) == 3  # 0.9 of a wave, within 0.85 of the best
    assert _split(10, 100, 3, decode.FA2) == 3  # 0.1, 0.2, 0.3 of a wave: the most there are
    assert _split(10, 100, 40, decode.DYNAMIC) == 8  # ceil(1.1*10*40/100) = 5 steps each, 40/5
    assert _split(10, 100, 40, decode.XQA, 3000) == 16  # 2^floor(log2(min(80, 23.4)))
    assert _split(100, 100, 40, decode.XQA2, 3000) == 2  # 2 waves at most


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 400), st.sampled_from(range(10)))
def test_a_split_is_a_count_of_useful_parts(units: int, steps: int, mode: int) -> None:
    split = _split(units, 264.0, steps, mode, 128.0 * steps)
    assert split >= 1
    assert split <= max(128, steps)
    assert split == np.floor(split)


def test_terms_of_a_small_case() -> None:
    # u = 2*8 = 16 CTAs on 100 cores: one wave; n = 512/128 = 4 steps of scale 128*128/8192 = 2
    terms = decode.terms(attention(1), gpu(), BASE)
    assert terms["wave"] == pytest.approx([1])
    assert terms["step"] == pytest.approx([8])
    assert terms["chain"] == pytest.approx([8])
    assert terms["thr"] == pytest.approx([16 * 4 * 2 / 100])
    assert terms["split"] == pytest.approx([0])
    # 4.2 MB of KV in 10 MB of L2: 42 % of the L2, ramp 0.3 to 0.8
    share = (4_194_304 + 4 * 2 * 32 * 128) / 10e6
    assert terms["dram"] == pytest.approx([(share - 0.3) / 0.5 * 4_194_304 / 1e12 * 1e6])


def test_kernels_of_libraries() -> None:
    hopper, ampere = gpu("hopper"), gpu("ampere")
    assert common.kernel(attention(1, library="vllm-0.24.0"), hopper) == "fa3"
    assert common.kernel(attention(1, library="vllm"), ampere) == "fa2"
    assert common.kernel(attention(1, library="vllm", kv_format="fp8_e4m3"), ampere) == "generic"
    assert common.kernel(attention(1, library="sglang-0.5"), ampere) == "flashinfer"
    assert common.kernel(attention(1, library="trtllm-1.0.0"), ampere) == "xqa"
    assert common.kernel(attention(1), ampere) == "generic"


def test_flash_attention_2_packs_no_heads_under_a_window() -> None:
    table = attention(2, window=[0, 4096], library="vllm")
    units = decode.terms(table, gpu(), BASE)["uni"] * 100
    assert units == pytest.approx([16, 64])  # b K against b H


def test_leaves_follow_the_kernel() -> None:
    table = attention(3, n_heads=[8, 32, 64], n_kv_heads=[8, 8, 1])
    assert decode.leaf({**table, "library": "trtllm"}, gpu()).tolist() == ["one/128", "gqa/128", "big/128"]
    assert decode.leaf({**table, "library": "vllm"}, gpu("hopper")).tolist() == ["full/128"] * 3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 512), st.integers(1, 16384))
def test_a_longer_context_never_takes_less_time_without_splits(batch: int, seq: int) -> None:
    constants = {**CONSTANTS, "any.#mode": float(decode.NONE)}
    low, high = decode.m2(attention(2, batch=batch, seq=[seq, seq + 512]), gpu(), constants)
    assert high >= low > 0


def test_fit_predicts_unseen_heads() -> None:
    device, train = gpu(), attention_grid(1)
    found = decode.fit(train, device, decode.m2(train, device, CONSTANTS))
    unseen = attention(3, n_heads=[48, 24, 8], n_kv_heads=[8, 4, 1], seq=[2048, 700, 64], batch=[16, 4, 64])
    assert decode.m2(unseen, device, found) == pytest.approx(decode.m2(unseen, device, CONSTANTS), rel=0.05)


@pytest.mark.parametrize("family", sorted(decode.FAMILY_DEFAULTS))
def test_family_defaults_predict_any_shape_above_the_bound(family: str) -> None:
    table = attention_grid(5, head_dim=96.0)
    estimate = decode.m2(table, gpu(), decode.FAMILY_DEFAULTS[family])
    assert np.all(np.isfinite(estimate))
    assert np.median(estimate / base.bound(decode.work(table, gpu()), gpu())[0]) > 1
