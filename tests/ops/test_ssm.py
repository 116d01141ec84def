"""State-space layers: published state size, decode and chunked prefill formulas, chunks against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.models import build_graph, load_model
from viewer.ops import count
from viewer.ops.ssm import chunk_sum
from viewer.workload import Segment, Step, decode_step, prefill_step

MAMBA2 = build_graph(load_model("mamba2-2.7b"))
NEXT = build_graph(load_model("qwen3-next-80b-a3b"))


def scan_of(graph):
    return next(op for _, op in graph if op.name == "ssm_scan")


def test_mamba2_state_of_a_sequence():
    # 80 heads * 64 * 128 = 655 360 values * 64 layers * 4 B = 167.8 MB
    op = scan_of(MAMBA2)
    assert op.states[0].values == 655_360
    assert 64 * op.states[0].bytes == pytest.approx(167.8e6, rel=1e-3)


def test_mamba2_decode():
    # 5 * 80 * 64 * 128 + 2 * 80 * 64 = 3 287 040 FLOPs a layer, all on the vector unit; state read and written
    cost = count(scan_of(MAMBA2), decode_step(1.0, 100.0))
    assert cost.vector_flops == 3_287_040
    assert cost.products == (0.0,)
    assert cost.state_read_bytes == cost.state_write_bytes == 655_360 * 4


def test_mamba2_prefill():
    # two chunks of 256: T * (2*Q*N*G + 2*Q*H*P + 4*N*H*P) = 512 * (65 536 + 2 621 440 + 2 621 440)
    cost = count(scan_of(MAMBA2), prefill_step(1.0, 512.0))
    assert cost.products == (512 * (65_536 + 2_621_440 + 2_621_440),)
    assert cost.state_read_bytes == 0.0  # nothing was cached
    assert cost.state_write_bytes == 655_360 * 4


def test_deltanet_decode_and_prefill():
    # 32 heads of 128 x 128: 7 * 128 * 128 FLOPs each, and 3 * 128 to normalise q and k
    cost = count(scan_of(NEXT), decode_step(1.0, 10.0))
    assert cost.vector_flops == 32 * (7 * 128 * 128 + 3 * 128)
    # chunk 64: per token and head 2*64*(3*128 + 2*128) + 6*128*128 + 64^2/3
    whole = count(scan_of(NEXT), prefill_step(1.0, 64.0))
    assert float(whole.products[0]) == pytest.approx(64 * 32 * (2 * 64 * 640 + 6 * 128 * 128 + 64**2 / 3))


@given(n=st.integers(2, 900), chunk=st.sampled_from([16, 64, 256]), power=st.sampled_from([1, 2, 3]))
def test_chunk_sum_is_the_sum(n, chunk, power):
    full, rest = divmod(n, chunk)
    expected = full * chunk**power + rest**power
    assert chunk_sum(Step((Segment(1.0, float(n)),), 1.0), chunk, power) == expected


@given(chunks=st.lists(st.integers(1, 5), min_size=1, max_size=5))
@pytest.mark.parametrize("graph", [MAMBA2, NEXT], ids=["mamba2", "deltanet"])
def test_chunks_sum_to_the_whole(graph, chunks):
    op = scan_of(graph)
    done, flops = 0, 0.0
    for size in chunks:
        new = size * op.chunk
        flops += float(count(op, prefill_step(1.0, float(new), float(done))).products[0])
        done += new
    assert flops == pytest.approx(float(count(op, prefill_step(1.0, float(done))).products[0]))


def test_mixed_lengths_as_arrays():
    op = scan_of(MAMBA2)
    new = np.array([1.0, 7.0, 300.0])
    grid = count(op, prefill_step(2.0, new, 5.0))
    for i, n in enumerate(new):
        single = count(op, prefill_step(2.0, float(n), 5.0))
        assert grid.products[0][i] == single.products[0]
        assert grid.vector_flops[i] == single.vector_flops
        assert grid.transcendentals[i] == single.transcendentals
