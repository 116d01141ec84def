"""Counts of conversion work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from viewer import conversion, formats
from viewer.precision import pick

BF16, INT8, INT4 = (formats.get(n) for n in ("bf16", "int8", "int4_g128"))


@dataclass(frozen=True)
class Chip:
    architecture: str = "sm_86"
    tensor_types: frozenset[str] = frozenset({"bf16", "fp16", "int8", "int4"})
    vector_types: frozenset[str] = frozenset({"fp32"})
    block_scaled_types: frozenset[str] = frozenset()


def test_ops_per_weight() -> None:
    ops = {n: conversion.dequantize_ops_per_weight(formats.get(n)) for n in formats.available()}
    assert ops["bf16"] == 0
    assert ops["int4_g128"] == ops["fp8_e4m3"] == ops["int8"] == 1
    assert ops["gguf_q4_k"] == ops["mxfp4"] == 2
    assert ops["nf4"] == ops["gguf_iq2_xs"] == 3


def test_fused_dequantization_repeats_per_tile() -> None:
    # 5120 x 5120 weights, 1 op each, ceil(T / 64) times
    work = conversion.dequantize_fused(INT4, 5120, 5120, np.array([1, 64, 65]), 64)
    assert (work.vector_ops / 5120**2).tolist() == [1, 1, 2]
    assert work.read_bytes == 0


def test_separate_dequantization_moves_the_weights() -> None:
    work = conversion.dequantize_separate(INT4, BF16, 5120, 5120)
    assert work.read_bytes == 5120 * 5120 * 4.125 / 8
    assert work.write_bytes == 5120 * 5120 * 2
    assert work.launches == 1


def test_dynamic_quantization() -> None:
    # read T*i*16 bit, write T*i*8 + T*32 bit, 3 ops a value
    work = conversion.quantize_activation(2048, 5120, INT8, BF16, fused=False)
    assert work.vector_ops == 3 * 2048 * 5120
    assert work.read_bytes == 2048 * 5120 * 2
    assert work.write_bytes == 2048 * (5120 + 4)
    fused = conversion.quantize_activation(2048, 5120, INT8, BF16, fused=True)
    assert fused.read_bytes == 0
    assert fused.write_bytes == -2048 * (5120 - 4)


def test_group_epilogue_outweighs_the_scale_epilogue() -> None:
    row = pick(INT8, formats.get("int4"), Chip())
    group = pick(INT8, INT4, Chip())
    asym = pick(INT8, formats.get("int4_g128_asym"), Chip())
    assert conversion.epilogue(row, 16, 4096, 4096).vector_ops == 2 * 16 * 4096
    # 4096 / 128 = 32 groups of K
    assert conversion.epilogue(group, 16, 4096, 4096).vector_ops == 2 * 16 * 4096 * 32
    assert conversion.epilogue(asym, 16, 4096, 4096).vector_ops == 4 * 16 * 4096 * 32
    zero = pick(INT8, formats.get("int8_asym"), Chip())
    assert conversion.epilogue(zero, 16, 4096, 1024).vector_ops == 4 * 16 * 4096 + 16 * 1024
    plain = pick(BF16, BF16, Chip())
    assert conversion.epilogue(plain, 16, 4096, 4096).vector_ops == 0


def test_a_group_as_long_as_the_row_costs_like_a_row_scale() -> None:
    whole = pick(INT8, formats.get("int4_g4096"), Chip())
    row = pick(INT8, formats.get("int4"), Chip())
    got = conversion.epilogue(whole, 16, 4096, 4096).vector_ops
    assert got == conversion.epilogue(row, 16, 4096, 4096).vector_ops


def test_widening_in_registers() -> None:
    choice = pick(INT8, formats.get("int4"), Chip())
    assert conversion.convert_ops(choice, 64, 64, 1, 64).vector_ops == 64 * 64
    assert conversion.convert_ops(pick(INT8, INT8, Chip()), 64, 64, 1, 64).vector_ops == 0


def test_hadamard_and_requantize() -> None:
    # log2(4096) = 12 adds a value
    assert conversion.hadamard(10, 4096, BF16).vector_ops == pytest.approx(10 * 4096 * 12)
    assert conversion.hadamard(10, 4096, BF16, fused=False).read_bytes == 10 * 4096 * 2
    work = conversion.requantize(10, 4096, INT8, BF16)
    assert work.vector_ops == 3 * 10 * 4096
    assert work.write_bytes == -10 * (2 * 4096 - 4096 - 4)


def test_work_adds_up() -> None:
    total = conversion.Work(1, 2, 3, 1) + conversion.Work(10, 20, 30, 1)
    assert total == conversion.Work(11, 22, 33, 2)
