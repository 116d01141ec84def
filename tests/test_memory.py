"""The memory account: live activations by hand, limits against brute force, pages and windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer import Decode, Generation, Prefill, analyze
from viewer.memory import largest


def test_live_activations_of_8b():
    # at the MLP: residual 8192*4096*2 B = 67.1 MB, gate_up 469.8 MB, its activation 234.9 MB
    result = analyze("llama-3.1-8b", "nvidia/h100-sxm", Prefill(prompt=8192))
    expected = 8192 * 2 * (4096 + 2 * 14336 + 14336)
    assert result.memory.activation_peak_bytes == expected


def test_eager_scores_are_live_twice():
    # scores and probabilities of 32 heads x 2048 x 2048, residual and q's place: the peak is at the softmax
    eager = analyze("llama-2-7b", "nvidia/a100-sxm-80gb", Prefill(prompt=2048), fusion="eager").memory
    scores = 32 * 2048 * 2048 * 2
    assert eager.activation_peak_bytes == 2 * scores + 2048 * 4096 * 2


@given(batch=st.integers(1, 40), context=st.integers(0, 9000))
@settings(max_examples=25, deadline=None)
def test_max_batch_is_the_last_that_fits(batch, context):
    def memory(b, c):
        return analyze("llama-2-13b", "nvidia/a6000", Decode(batch=b, context=c)).memory

    found = memory(batch, context)
    if found.max_batch:
        assert memory(found.max_batch, context).fits
    assert not memory(found.max_batch + 1, context).fits
    if found.max_context:
        assert memory(batch, found.max_context).fits
    assert not memory(batch, found.max_context + 1).fits or found.max_context == 0


def test_generation_is_limited_by_its_last_step():
    result = analyze("llama-2-13b", "nvidia/a6000", Generation(batch=4, prompt=1000, output=101))
    assert result.memory.kv_values == 4 * 1100 * 409_600  # the last new token is never cached
    best = result.memory.max_batch
    assert analyze("llama-2-13b", "nvidia/a6000", Generation(batch=best, prompt=1000, output=101)).memory.fits
    assert not analyze(
        "llama-2-13b", "nvidia/a6000", Generation(batch=best + 1, prompt=1000, output=101)
    ).memory.fits


def test_pages_round_up_capacity_not_values():
    plain = analyze("llama-2-7b", "nvidia/a6000", Decode(context=16)).memory
    paged = analyze("llama-2-7b", "nvidia/a6000", Decode(context=16), page_tokens=16).memory
    assert plain.kv_values == paged.kv_values
    assert paged.kv_cache_bytes == plain.kv_cache_bytes / 17 * 32  # 17 positions take two pages of 16


def test_a_window_caps_the_cache():
    # Mistral-7B v0.1: 32 layers * 2 * 8 heads * 128 * 2 B = 131 072 B a token, at most 4096 tokens
    memory = analyze("mistral-7b", "nvidia/a6000", Decode(context=20_000)).memory
    assert memory.kv_cache_bytes == 4096 * 131_072
    assert memory.max_context == 1_000_000_000  # the cache has stopped growing


@given(limit=st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_largest_finds_any_threshold(limit):
    assert largest(lambda n: np.asarray(n) <= limit) == limit


def test_no_capacity_answers_null():
    memory = analyze("llama-2-7b", "cpu/epyc-9654", Decode()).memory
    assert memory.fits is None
    assert memory.max_batch is None
    assert memory.capacity_bytes is None


def test_tied_heads_are_stored_once():
    # GPT-2: 124 439 808 parameters in 16 bits
    assert analyze("gpt-2", "nvidia/a6000", Decode(context=10)).memory.weight_bytes == pytest.approx(
        2 * 124_439_808
    )
