"""Steps: pair counts in closed form against sums, and the identities between phases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.workload import Segment, Step, causal_pairs, chunked_pairs, decode_step, prefill_step

small = st.integers(1, 80)
cached = st.integers(0, 120)


@given(n=small, c=cached, w=st.one_of(st.none(), st.integers(1, 150)))
def test_causal_pairs_is_the_sum(n, c, w):
    expected = sum(min(c + i, w or 10**9) for i in range(1, n + 1))
    assert causal_pairs(Segment(1.0, float(n), float(c)), w) == expected


@given(n=small, c=cached, chunk=st.integers(1, 60))
def test_chunked_pairs_is_the_sum(n, c, chunk):
    expected = sum((p % chunk) + 1 for p in range(c, c + n))
    assert chunked_pairs(Segment(1.0, float(n), float(c)), float(chunk)) == expected


@given(parts=st.lists(small, min_size=1, max_size=6), w=st.one_of(st.none(), st.integers(1, 150)))
def test_chunks_sum_to_the_whole_prefill(parts, w):
    done, total = 0, 0.0
    for n in parts:
        total += causal_pairs(Segment(1.0, float(n), float(done)), w)
        done += n
    assert total == causal_pairs(Segment(1.0, float(done)), w)


@given(n=small, c=cached, w=st.integers(1, 300))
def test_a_window_that_covers_everything_is_full_attention(n, c, w):
    seg = Segment(1.0, float(n), float(c))
    if w >= n + c:
        assert causal_pairs(seg, w) == causal_pairs(seg)
    else:
        assert causal_pairs(seg, w) <= causal_pairs(seg)


def test_known_pair_counts():
    assert prefill_step(1.0, 2048.0).causal_pairs() == 2_098_176  # 2048 * 2049 / 2
    # W = 4096, S = 8192: 4096 * 4097 / 2 + 4096 * 4096 = 25 167 872, 75.0 % of 33 558 528
    assert prefill_step(1.0, 8192.0).causal_pairs(4096) == 25_167_872


def test_decode_steps_sum_to_a_prefill_chunk():
    # n single-token steps from c cached: sum over i of (c + i) = the pairs of one chunk of n after c
    total = sum(decode_step(3.0, float(100 + i)).causal_pairs() for i in range(7))
    assert total == Step((Segment(3.0, 7.0, 100.0),), 3.0).causal_pairs()


def test_arrays_broadcast_as_open_grids():
    step = prefill_step(np.array([1.0, 2.0, 4.0])[:, None], np.array([8.0, 16.0])[None, :])
    assert step.causal_pairs().shape == (3, 2)
    assert step.causal_pairs()[2, 1] == 4 * 16 * 17 / 2
    assert step.tokens[1, 0] == 16


def test_a_tree_counts_depths():
    # 3 nodes in a chain have depths 1, 2, 3: the same as three new tokens
    chain = Segment(1.0, 3.0, 50.0)
    tree = Segment(1.0, 3.0, 50.0, depth_sum=6.0)
    assert causal_pairs(tree) == causal_pairs(chain)
    assert causal_pairs(Segment(1.0, 3.0, 50.0, depth_sum=4.0)) == 3 * 50 + 4


def test_unknown_row_kind_is_refused():
    with pytest.raises(KeyError, match="unknown row kind"):
        prefill_step(1.0, 4.0).rows("nonsense")
