"""Collectives in seconds: the worked numbers, algorithms against each other, links that are missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_specs import HardwareError, load
from viewer.links import Fabric, LinkRates, all_reduce_s, links_of

SIZES = st.floats(min_value=1.0, max_value=1e12)
RANKS = st.integers(min_value=2, max_value=256)


def test_ring_of_eight_h100() -> None:
    # Llama-3-8B, TP8, decode of 64: T*h*2 B = 64*4096*2 = 524 288 B; 2*7/8*524288/450e9 = 2.039 us, and 14 hops
    free = Fabric("NVLink", 450e9, 0.0, 8)
    assert all_reduce_s(524288.0, 8, free)["ring"] == pytest.approx(2.039e-6, rel=1e-3)
    slow = Fabric("NVLink", 450e9, 1e-6, 8)
    assert all_reduce_s(524288.0, 8, slow)["ring"] == pytest.approx(2.039e-6 + 14e-6, rel=1e-3)


def test_two_a6000_over_a_bridge() -> None:
    # Llama-2-13B, TP2, prefill 2048: 2048*5120*2 B = 20 971 520 B; 2*1/2*S/56.25e9 = 372.8 us
    (bridge, *_) = links_of(load("nvidia/a6000"))
    assert bridge.beta == 56.25e9
    assert bridge.devices == 2
    assert all_reduce_s(20971520.0, 2, bridge)["ring"] - 2 * bridge.alpha == pytest.approx(372.8e-6, rel=1e-3)


def test_peer_bandwidth_is_per_direction() -> None:
    # H100: 900 GB/s is both ways; a device sends at most 450 GB/s
    rates = LinkRates(links_of(load("nvidia/h100-sxm"), link_latency_s=0.0))
    assert rates.time_s("p2p", 450e9, 2) == pytest.approx(1.0)


@given(SIZES, RANKS)
def test_ring_never_loses_to_tree_without_latency(size: float, ranks: int) -> None:
    times = all_reduce_s(size, ranks, Fabric("x", 1e11, 0.0, 1024))
    assert times["ring"] < times["tree"]


def test_ring_and_tree_cross_once() -> None:
    # equal when 2(n-1)a + 2(n-1)/n S/b = 2 log2(n) a + 2S/b: S = n*b*a*(n-1-log2 n) = 8*1e11*1e-6*4 = 3.2 MB
    fabric = Fabric("x", 1e11, 1e-6, 8)
    below, above = all_reduce_s(3.1e6, 8, fabric), all_reduce_s(3.3e6, 8, fabric)
    assert below["tree"] < below["ring"]
    assert above["ring"] < above["tree"]


@given(SIZES, st.integers(min_value=2, max_value=8))
def test_all_reduce_is_scatter_and_gather(size: float, ranks: int) -> None:
    rates = LinkRates((Fabric("x", 1e11, 1e-6, 8),))
    parts = rates.time_s("reduce_scatter", size, ranks) + rates.time_s("all_gather", size, ranks)
    assert all_reduce_s(size, ranks, rates.fabrics[0])["ring"] == pytest.approx(parts)
    assert rates.time_s("all_reduce", size, ranks) <= parts * (1 + 1e-12)


@given(SIZES, st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]))
def test_two_levels_lie_between_one_fast_and_one_slow(size: float, kind: str) -> None:
    fast, slow = Fabric("in", 1e12, 0.0, 8), Fabric("out", 1e11, 0.0, 64)
    both = LinkRates((fast, slow)).time_s(kind, size, 32, copies=1.0)
    assert both <= LinkRates((slow,)).time_s(kind, size, 32, copies=1.0) * (1 + 1e-9)
    assert both >= LinkRates((Fabric("in", 1e12, 0.0, 64),)).time_s(kind, size, 32, copies=1.0) * (1 - 1e-9)


def test_rows_cross_once_per_node() -> None:
    # 16 ranks on 2 nodes, 8 copies of a row: other node hit with 1 - (1/2)^8 = 0.99609; 1/8 of the buffer crosses
    fast, slow = Fabric("in", 1e15, 0.0, 8), Fabric("out", 1e11, 0.0, 64)
    seconds = LinkRates((fast, slow)).time_s("all_to_all", 8e9, 16, copies=8.0)
    assert seconds == pytest.approx(8e9 * 0.99609375 / 8 / 1e11)


def test_mesh_uses_the_links_of_the_group_only() -> None:
    # MI300X: 448 GB/s over seven links; two devices share one of them, 64 GB/s
    rates = LinkRates(links_of(load("amd/mi300x"), link_latency_s=0.0))
    assert rates.time_s("p2p", 64e9, 2) == pytest.approx(1.0)
    assert rates.time_s("all_gather", 448e9 * 8 / 7, 8) == pytest.approx(1.0)


def test_pairs_of_bridges_fall_back_to_pcie() -> None:
    rates = LinkRates(links_of(load("nvidia/a6000")))
    assert rates.path(2, 1)[2].name == "NVLink"
    assert rates.path(4, 1)[2].name == "PCIe 4.0 x16"


def test_a_network_must_be_given() -> None:
    rates = LinkRates(links_of(load("nvidia/h100-sxm")))
    with pytest.raises(HardwareError, match="network_bytes_per_s"):
        rates.time_s("all_reduce", 1e6, 16)
    known = LinkRates(links_of(load("nvidia/h100-sxm"), network_bytes_per_s=50e9))
    assert known.time_s("all_reduce", 1e6, 16) > rates.time_s("all_reduce", 1e6, 8)


def test_arrays_are_points() -> None:
    rates = LinkRates(links_of(load("nvidia/h100-sxm")))
    sizes = np.array([1e3, 1e6, 1e9])
    each = [rates.time_s("all_reduce", s, 8) for s in sizes]
    assert np.array_equal(rates.time_s("all_reduce", sizes, 8), np.array(each))


def test_no_measured_collective_beats_its_bound() -> None:
    """NCCL 2.27 on A100, H100 and H200 nodes, 2 and 8 ranks, 512 bytes to 512 MiB."""
    import csv
    import gzip

    from tests.support import shared_path

    with gzip.open(shared_path("measured", "collectives.csv.gz"), "rt") as stream:
        measured = list(csv.DictReader(stream))
    assert len(measured) > 1000
    rates = {name: LinkRates(links_of(load(name))) for name in {row["hardware"] for row in measured}}
    for row in measured:
        kind = row["op"].replace("alltoall", "all_to_all")
        bound = rates[row["hardware"]].time_s(kind, float(row["bytes"]), int(row["ranks"]))
        assert float(row["time_us"]) * 1e-6 >= bound, row
