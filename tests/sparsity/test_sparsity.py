"""Stored bytes and executed FLOPs of every sparsity scheme."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer import formats, sparsity
from viewer.errors import InputError

FP16, INT8, FP8, INT4 = (formats.get(n) for n in ("fp16", "int8_tensor", "fp8_e4m3", "int4_g128"))
AMPERE = frozenset({"fp16", "bf16", "int8", "tf32", "int4"})


def ratio(name: str, fmt: formats.TensorFormat, rows: int = 5120, cols: int = 5120) -> float:
    return sparsity.get(name).stored_bytes(fmt, rows, cols) / fmt.stored_bytes(rows, cols)


def run(scheme: sparsity.WeightScheme, math: str, types: frozenset[str], kind: str, rows: int, cols: int):
    return scheme.execute(sparsity.Site(math, types, kind, rows, cols))


def test_two_of_four_ratios() -> None:
    # FP16: (0.5 * 16 + 0.5 * 2) / 16 = 9/16; 8 bits: (4 + 1) / 8
    assert ratio("2:4", FP16) == 0.5625
    assert ratio("2:4", INT8) == pytest.approx(0.625, abs=1e-6)
    assert ratio("2:4", FP8) == pytest.approx(0.625, abs=1e-6)
    # index overhead of 8-bit weights: 1 bit per original value = 25 % of the kept 4 bits
    meta = sparsity.get("2:4").metadata_bytes(formats.get("int8_tensor"), 4096, 4096) - 4
    assert meta / (4096 * 4096 / 2) == 0.25


def test_int4_sparsity_bits() -> None:
    # weight-only W4 2:4: 0.5*4 + 0.5*2 = 3 bits (+ 0.125 scales); pair-wise 4:8: 0.5*4 + 0.5 = 2.5 bits
    values = 4096 * 4096 / 8
    scales = 0.125
    assert sparsity.get("2:4").stored_bytes(INT4, 4096, 4096) / values == 3 + scales
    assert sparsity.get("4:8-pair").stored_bytes(INT4, 4096, 4096) / values == 2.5 + scales


def test_unstructured_bytes_per_value() -> None:
    # bytes per original 16-bit value at s = 0.5, 0.7, 0.9 (dense 2.0)
    expected = {"csr": (2.0, 1.2, 0.4), "bitmap": (1.125, 0.725, 0.325), "coo": (3.0, 1.8, 0.6)}
    for storage, values in expected.items():
        for percent, want in zip((50, 70, 90), values, strict=True):
            got = sparsity.get(f"sparse{percent}-{storage}").stored_bytes(FP16, 5120, 5120) / 5120**2
            assert got == pytest.approx(want, abs=1e-3)  # CSR's row starts add 4 / 5120
    # exactly: 2a + n + 1 numbers of CSR, a = 5120 * 2560 nonzeros
    csr = sparsity.get("sparse50-csr").stored_bytes(FP16, 5120, 5120)
    assert csr == 2 * 5120 * 2560 * 2 + 4 * 5121


def test_csr_of_int8_weights_doubles_and_more() -> None:
    # 16-bit column index of an 8-bit weight: 200 % overhead
    scheme = sparsity.get("sparse50-csr")
    nnz = 4096 * 4096 / 2
    assert (scheme.metadata_bytes(INT8, 4096, 4096) - 4 - 4 * 4097) / nnz == 2.0


def test_tiled_csl_breaks_even_at_half() -> None:
    # one 32-bit word per nonzero: at 50 % exactly the dense 2 bytes, plus 4 bytes per 8192-value tile
    tiles = 5120 * 5120 / 8192
    got = sparsity.get("sparse50-tiled-csl").stored_bytes(FP16, 5120, 5120)
    assert got == 2 * 5120**2 + 4 * tiles
    # 8192 * 0.3 = 2457.6 nonzeros a tile, padded to 2460
    assert sparsity.get("sparse70-tiled-csl").stored_bytes(FP16, 5120, 5120) == tiles * (2460 * 4 + 4)


def test_low_rank() -> None:
    scheme = sparsity.get("rank1024")
    # 1024 * (5120 + 5120) / 5120^2 = 0.4
    assert ratio("rank1024", FP16) == 0.4
    assert run(scheme, "fp16", AMPERE, "gpu", 5120, 5120).flops_factor == 0.4
    # break-even rank of 5120 x 5120 is 2560
    assert sparsity.get("rank2559").pays(5120, 5120)
    assert not sparsity.get("rank2560").pays(5120, 5120)
    assert ratio("rank2560", FP16) == 1.0
    # a 1024 x 4096 projection is left dense: 1024 * 5120 > 1024 * 4096
    assert run(scheme, "fp16", AMPERE, "gpu", 1024, 4096).flops_factor == 1.0


def test_execution_is_a_question_of_its_own() -> None:
    two_four = sparsity.get("2:4")
    assert run(two_four, "fp16", AMPERE, "gpu", 64, 64) == sparsity.Execution(0.5, sparse_unit=True)
    assert run(two_four, "fp16", frozenset(), "gpu", 64, 64).flops_factor == 1.0  # Volta, Turing
    assert run(two_four, "int4", AMPERE, "gpu", 64, 64).flops_factor == 1.0  # only pair-wise
    assert run(sparsity.get("4:8-pair"), "int4", AMPERE, "gpu", 64, 64).flops_factor == 0.5
    assert run(sparsity.get("1:2"), "tf32", AMPERE, "gpu", 64, 64).flops_factor == 0.5
    assert run(sparsity.get("1:4"), "fp16", AMPERE, "gpu", 64, 64).flops_factor == 1.0
    loaded = run(sparsity.get("sparse80-csr"), "fp16", AMPERE, "gpu", 64, 64)
    assert loaded.flops_factor == 1.0
    assert loaded.unit is None
    on_cpu = run(sparsity.get("sparse80-csr"), "fp32", frozenset(), "cpu", 64, 64)
    assert on_cpu.flops_factor == pytest.approx(0.2)
    assert on_cpu.unit == "vector"
    assert run(sparsity.get("sparse80-csr-vector"), "fp16", AMPERE, "gpu", 64, 64).unit == "vector"


def test_blocks_smaller_than_the_tile_skip_little() -> None:
    assert run(sparsity.get("sparse50-block32"), "fp16", AMPERE, "gpu", 64, 64).flops_factor == 0.5
    # 8 x 8: 4 blocks a tile, all zero with 0.5^4 = 1/16
    assert run(sparsity.get("sparse50-block8"), "fp16", AMPERE, "gpu", 64, 64).flops_factor == 1 - 1 / 16
    # (1 - s) * b + 32 bits per kept block: 32*32*2 + 4 bytes per kept block, half of 160 * 160
    assert sparsity.get("sparse50-block32").stored_bytes(FP16, 5120, 5120) == 0.5 * 160**2 * (2048 + 4)


@pytest.mark.parametrize("name", ["4:4", "sparse0-csr", "sparse0-block32"])
def test_sparsity_zero_executes_dense(name: str) -> None:
    assert run(sparsity.get(name), "fp16", AMPERE, "gpu", 64, 64).flops_factor == 1.0


def test_sparsity_zero_stores_dense_elements() -> None:
    for name in ("4:4", "sparse0-csr", "sparse0-coo", "sparse0-bitmap", "sparse0-block32"):
        scheme = sparsity.get(name)
        elements = scheme.stored_bytes(FP16, 512, 512) - scheme.metadata_bytes(FP16, 512, 512)
        assert elements == FP16.stored_bytes(512, 512)
    assert sparsity.get("kvkeep100").pairs(3, 10) == 3 * 10 + 6
    assert sparsity.get("ffn0").kept(13824) == 13824
    assert sparsity.get("actsparse0").column_share(7) == 1.0


@settings(deadline=None)
@given(
    st.integers(1, 99), st.integers(1, 98), st.sampled_from(["csr", "coo", "bitmap", "tiled-csl", "block16"])
)
def test_bytes_fall_with_sparsity(a: int, b: int, storage: str) -> None:
    low, high = min(a, b), max(a, b)
    sizes = [sparsity.get(f"sparse{s}-{storage}").stored_bytes(FP16, 512, 768) for s in (low, high)]
    assert sizes[1] <= sizes[0]


def test_structured_sizes() -> None:
    # 13824 * 0.75 = 10368 = 648 * 16; 40 heads -> 30; GQA keeps whole groups: 0.75 * 32 = 24 = 6 * 4
    assert sparsity.get("ffn25").kept(13824) == 10368
    assert sparsity.get("heads25").kept(40) == 30
    assert sparsity.get("heads30").kept(32, multiple=4) == 24
    assert sparsity.get("layers30").kept(10) == 7
    assert sparsity.get("channels99").kept(64) == 16


def test_bigbird_share() -> None:
    # b = 64, (g, w, r) = (2, 3, 3), S = 4096: ((2+3+3) * 64 + 2 * 64) / 4096 = 15.6 %
    pattern = sparsity.get("attn-w192-g128-r192")
    assert pattern.bidirectional_pairs(4096) / 4096**2 == pytest.approx(0.15625)
    assert pattern.bidirectional_pairs(64) == 64 * 64


def test_window_pairs() -> None:
    # S = 8192, W = 4096: 4096*4097/2 + 4096*4096
    assert sparsity.get("attn-w4096").pairs(8192, 0) == 25_167_872
    assert sparsity.get("attn-w4096-g4").kv_positions(np.array([10, 10_000])).tolist() == [10, 4100]


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 400))
def test_window_pairs_is_the_sum(new: int, cached: int, width: int) -> None:
    assert sparsity.window_pairs(new, cached, width) == sum(min(cached + i, width) for i in range(1, new + 1))


def test_keep_ratio_and_quest() -> None:
    keep = sparsity.get("kvkeep20")
    assert keep.kv_positions(2048) == 410  # ceil(409.6)
    assert keep.pairs(1, 2048) == 411
    quest = sparsity.get("quest-p16-n128")
    assert quest.kv_positions(np.array([100, 8192])).tolist() == [100, 2048]
    # 2 * ceil(8192 / 16) * 1024 values of summaries
    assert quest.summary_values(8192, 1024) == 2 * 512 * 1024


def test_attention_nm() -> None:
    scheme = sparsity.get("attn-2:4")
    assert scheme.value_flops_factor("fp16", AMPERE) == 0.5
    assert scheme.value_flops_factor("fp16", frozenset()) == 1.0
    assert scheme.score_bits(16) == 9


def test_activation_sparsity_is_a_union() -> None:
    # 1 - 0.5^T: half the columns for one token, nearly all for eight
    share = sparsity.get("actsparse50").column_share(np.array([1.0, 2.0, 8.0]))
    assert share.tolist() == [0.5, 0.75, 1 - 2**-8]


@pytest.mark.parametrize("name", sparsity.available())
def test_names_round_trip(name: str) -> None:
    scheme = sparsity.get(name)
    assert scheme.name == name
    assert scheme.hardware_need


@pytest.mark.parametrize(
    "name", ["5:4", "0:4", "sparse101-csr", "rank0", "3:8-pair", "ffn100", "sparse50-", "x"]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(InputError) as caught:
        sparsity.get(name)
    assert "\n" not in str(caught.value)
