"""Bytes and bits of every number format."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer import formats
from viewer.errors import InputError
from viewer.formats.gguf_types import BLOCKS, TYPE_IDS, block_of

# The published table (bits per stored value), each with the arithmetic that gives it.
TABLE = {
    "fp64": 64,
    "fp32": 32,
    "tf32": 32,  # 19 bits used, stored as FP32
    "bf16": 16,
    "fp16": 16,
    "fp8_e4m3": 8,  # + 32 bits per tensor
    "fp8_e4m3_b128": 8 + 32 / 128**2,  # 8.002
    "fp8_e4m3_g128": 8 + 32 / 128,  # 8.25
    "mxfp8": 8 + 8 / 32,
    "mxfp6": 6 + 8 / 32,
    "mxfp4": 4 + 8 / 32,
    "nvfp4": 4 + 8 / 16,  # + 32 bits per tensor
    "int4_g128": 4 + 16 / 128,  # 4.125
    "int4_g128_asym": 4 + 20 / 128,  # 4.156
    "int4_g128_asym16": 4 + 32 / 128,  # 4.25
    "int3_g128_asym16": 3 + 32 / 128,  # 3.25
    "int2_g128_asym16": 2 + 32 / 128,  # 2.25
    "int4_g32": 4 + 16 / 32,  # 4.5
    "nf4": 4 + 32 / 64,  # 4.5
    "nf4_dq": 4 + 8 / 64 + 32 / (64 * 256),  # 4.127
    "gguf_q4_0": 4.5,
    "gguf_q4_1": 5,
    "gguf_q5_0": 5.5,
    "gguf_q5_1": 6,
    "gguf_q8_0": 8.5,
    "gguf_q2_k": 2.625,
    "gguf_q3_k": 3.4375,
    "gguf_q4_k": 4.5,
    "gguf_q5_k": 5.5,
    "gguf_q6_k": 6.5625,
    "gguf_iq1_s": 1.5625,
    "gguf_iq1_m": 1.75,
    "gguf_iq2_xxs": 2.0625,
    "gguf_iq2_xs": 2.3125,
    "gguf_iq2_s": 2.5625,
    "gguf_iq3_xxs": 3.0625,
    "gguf_iq3_s": 3.4375,
    "gguf_iq4_nl": 4.5,
    "gguf_iq4_xs": 4.25,
    "gguf_tq1_0": 1.6875,
    "gguf_tq2_0": 2.0625,
}


@pytest.mark.parametrize(("name", "bits"), TABLE.items())
def test_bits_per_value(name: str, bits: float) -> None:
    # 8192 x 8192: every group divides; a 32-bit tensor scale adds 32 / 2^26 = 5e-7 bits
    assert formats.get(name).bits_per_value(8192, 8192) == pytest.approx(bits, abs=1e-6)


def test_row_scales() -> None:
    # 5 trits a byte: ceil(5120 / 5) = 1024 bytes, and a 2-byte scale
    assert formats.get("ternary").row_bytes(5120) == 1026
    assert formats.get("ternary2").row_bytes(5120) == 5120 // 4 + 2
    assert formats.get("int1").row_bytes(5120) == 5120 // 8 + 2
    assert formats.get("int8").row_bytes(5120) == 5120 + 4
    assert formats.get("fp8_e4m3_channel").stored_bytes(10, 64) == 10 * (64 + 4)
    assert formats.get("int8_tensor").stored_bytes(10, 64) == 640 + 4


def test_groups_that_do_not_divide_the_row() -> None:
    # 300 values in groups of 128 -> 3 groups; 150 bytes of nibbles + 3 * 16 / 8 = 6 bytes of scales
    assert formats.get("int4_g128").row_bytes(300) == 156
    # 20 bits per group: ceil(3 * 20 / 8) = 8 bytes
    assert formats.get("int4_g128_asym").row_bytes(300) == 158
    # an odd row of nibbles takes a whole last byte: ceil(301 * 4 / 8) = 151
    assert formats.get("int4_g128").row_bytes(301) == 157
    # 130 x 200 in 128 x 128 blocks: 2 * 2 scales of 4 bytes
    assert formats.get("fp8_e4m3_b128").stored_bytes(130, 200) == 130 * 200 + 16
    # GGUF pads to whole blocks of 256: 2 * 144
    assert formats.get("gguf_q4_k").row_bytes(300) == 288


def test_llama_q_proj_w4a16() -> None:
    # 5120 x 5120 at 4.125 bits = 13 516 800 bytes (the 13.54 MB of the op without its activations)
    assert formats.get("int4_g128").stored_bytes(5120, 5120) == 5120 * 5120 * 4.125 / 8 == 13_516_800


def test_double_quantization_counts_whole_tensors() -> None:
    # 4096 x 4096 = 2^24 values: 2^23 bytes, 2^18 one-byte absmax, 2^10 FP32 second-level scales
    assert formats.get("nf4_dq").stored_bytes(4096, 4096) == 2**23 + 2**18 + 4 * 2**10


@pytest.mark.parametrize("name", formats.available())
def test_every_format_is_consistent(name: str) -> None:
    fmt = formats.get(name)
    assert fmt.name == name
    assert formats.get(name.upper()) is fmt
    assert pickle.loads(pickle.dumps(fmt)) is fmt
    assert fmt.value_type in formats.VALUE_TYPES
    assert fmt.source
    assert fmt.description
    assert fmt.accumulator in ("int32", "fp32", "fp64")
    assert fmt.row_bytes(4096) >= 4096 * fmt.element_bits / 8
    total, meta = fmt.stored_bytes(256, 4096), fmt.metadata_bytes(256, 4096)
    # packs of the code books carry index bits beyond the nominal element: metadata is what is left
    assert total == pytest.approx(256 * 4096 * fmt.element_bits / 8 + meta, rel=3e-3)
    widths = np.array([128, 256, 4096])
    np.testing.assert_allclose(fmt.row_bytes(widths), [fmt.row_bytes(int(w)) for w in widths])


@settings(deadline=None)
@given(st.integers(1, 20000), st.integers(1, 64))
def test_bytes_fall_with_bits(cols: int, rows: int) -> None:
    by_bits = [formats.get(f"int{bits}_g128").stored_bytes(rows, cols) for bits in (16, 8, 6, 5, 4, 3, 2)]
    assert by_bits == sorted(by_bits, reverse=True)
    by_group = [formats.get(f"int4_g{g}").stored_bytes(rows, cols) for g in (16, 32, 64, 128, 1024)]
    assert by_group == sorted(by_group, reverse=True)


@settings(deadline=None)
@given(st.integers(2, 20000), st.integers(1, 64))
def test_a_group_as_long_as_the_row_is_per_channel(cols: int, rows: int) -> None:
    grouped, channel = formats.get(f"int4_g{cols}"), formats.get("int4_channel_s16")
    assert grouped.stored_bytes(rows, cols) == channel.stored_bytes(rows, cols)


@settings(deadline=None)
@given(st.sampled_from(formats.available()), st.integers(1, 5000), st.integers(1, 50))
def test_rows_add_up(name: str, cols: int, rows: int) -> None:
    """The tensor is its rows, but for scales shared by a whole tensor, a block, or flat groups."""
    fmt = formats.get(name)
    shared = 4 + (rows / fmt.block_rows + 1) * (cols / max(fmt.group, 1) + 1) * 8 + rows
    assert abs(fmt.stored_bytes(rows, cols) - rows * fmt.row_bytes(cols)) <= shared
    assert fmt.stored_bytes(rows, cols) >= rows * cols * fmt.element_bits / 8 * 0.999


@pytest.mark.parametrize(
    "name",
    [
        "int5_g1",
        "int17",
        "int0",
        "fp9",
        "",
        "int4_g128_",
        "fp8_e4m3_g0",
        "gguf_q9_k",
        "pot2",
        "pot9",
        "x" * 200,
    ],
)
def test_unknown_formats_say_so_in_one_line(name: str) -> None:
    with pytest.raises(InputError) as caught:
        formats.get(name)
    assert "\n" not in str(caught.value)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(InputError, match="did you mean 'nvfp4'"):
        formats.get("nvpf4")


def test_gguf_sizes_match_the_maintained_package() -> None:
    gguf = pytest.importorskip("gguf")
    theirs = {kind.name.lower(): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    for kind, (values, size, *_) in BLOCKS.items():
        if kind == "q8_1":  # that package keeps the layout of before the sum became a half
            continue
        if kind in theirs:
            assert (values, size) == tuple(theirs[kind]), kind
    quantized = {
        kind for kind in theirs if kind not in ("f32", "f16", "f64", "bf16", "i8", "i16", "i32", "i64")
    }
    assert quantized <= set(BLOCKS), f"types the package knows and the table lacks: {quantized - set(BLOCKS)}"
    assert {int(kind.value): kind.name.lower() for kind in gguf.GGML_QUANT_SIZES} == TYPE_IDS
    assert all(block_of(kind) == tuple(theirs[kind]) for kind in TYPE_IDS.values() if kind != "q8_1")
