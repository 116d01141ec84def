"""CPU estimates: the rates behind them, each kernel's arithmetic, and the bound that is named."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_specs import load
from tests.support import shared_path
from viewer.analysis import analyze
from viewer.calibration.cpu import CpuRates, rates_of
from viewer.calibration.cpu_kernels import KERNELS, attention, elementwise, layout_of, linear, nodes
from viewer.errors import InputError
from viewer.workload import Decode, Prefill

# round figures: 2 threads, 4 GHz
RATES = CpuRates(
    threads=2, clock_hz=4e9, dram_bytes_per_s=50e9, cache_bytes_per_s=200e9, cache_bytes=32e6, fma_per_s=500e9,
    one=dict.fromkeys(KERNELS, 100e9), four=dict.fromkeys(KERNELS, 200e9),
)  # fmt: skip
NODE_S = 1.4e-6  # 0.5 us + 0.9 us x log2(2)
RYZEN = load("cpu/ryzen-9-7950x")


def _measured(**metrics: float):
    """The Ryzen's description with figures of the measured core."""
    entry = {"unit": "op/s", "kind": "measured", "seen": "read", "source": "test"}
    rows = [{"metric": name, "value": value, **entry} for name, value in metrics.items()]
    return type(RYZEN).model_validate({**RYZEN.model_dump(by_alias=True), "measured": rows})


def test_linear_memory_and_vector_overlap_imperfectly():
    # 1000 x 1000 F16: 2 MB / 50 GB/s = 40 us; 2e6 / 100e9 = 20 us; (40^3 + 20^3)^(1/3) = 41.6017 us
    found = linear(RATES, "f16", 1.0, 1000.0, 1000.0, 2e6)
    assert found.time_s == pytest.approx(41.6017e-6 + NODE_S, rel=1e-5)
    assert found.bound == "memory"


def test_unpacking_decides_a_four_bit_vector():
    # Q4_0, 18 bytes per 32 values: 0.5625 MB / 50e9 = 11.25 us; unpacking 2e6 / (1.46 x 100e9) = 13.70 us,
    # quantizing 1000 values on one of the threads: 1000 / 4e9 = 0.25 us
    found = linear(RATES, "q4_0", 1.0, 1000.0, 1000.0, 562_500.0)
    assert found.bound == "vector"
    together = (11.25**3 + (2e6 / 146e9 * 1e6) ** 3) ** (1 / 3)
    assert found.time_s == pytest.approx((together + 0.25) * 1e-6 + NODE_S, rel=1e-4)


def test_many_columns_reuse_what_was_unpacked():
    # F16, 128 rows: 2.56e8 / (0.70 x 500e9) = 731.4 us, multiply-adds decide; quantized: the vector units
    found = linear(RATES, "f16", 128.0, 1000.0, 1000.0, 2e6)
    assert found.time_s == pytest.approx(731.4e-6, rel=5e-3)
    assert found.bound == "compute"
    assert linear(RATES, "q8_0", 128.0, 1000.0, 1000.0, 1.0625e6).bound == "vector"


def test_a_measured_stream_is_returned_for_its_own_kernel():
    # a column of Q8_0 from DRAM measured at 62.5 Gop/s, 100 in the L2: 2e6 ops take 32 us
    rates = replace(RATES, stream={"q8_0": 62.5e9})
    found = linear(rates, "q8_0", 1.0, 1000.0, 1000.0, 1.0625e6)
    assert found.time_s == pytest.approx(32e-6 + 0.25e-6 + NODE_S, rel=1e-6)


def test_attention_adds_pairs_and_cache_bytes():
    # 1000 pairs x (36 + 0.165 x 128 = 57.12 cycles) / (4 GHz x 2) = 7.14 us; 256 kB / 50 GB/s = 5.12 us
    found = attention(RATES, 1000.0, 128.0, 256e3, True)
    assert found.time_s == pytest.approx(12.26e-6 + NODE_S, rel=1e-3)
    assert found.bound == "vector"
    assert attention(RATES, 1000.0, 128.0, 256e3, False).time_s < found.time_s


def test_elementwise_reads_caches_where_they_hold_it():
    # 1 MB at 200 GB/s = 5 us, 100 MB at 50 GB/s = 2 ms; values: 1000 / 8e9
    assert elementwise(RATES, 1000.0, 1e6, 0.0).time_s == pytest.approx(5e-6)
    assert elementwise(RATES, 1000.0, 100e6, 0.0).time_s == pytest.approx(2e-3)
    assert nodes(RATES, 3).time_s == pytest.approx(3 * NODE_S)


def test_rates_by_thread_count():
    figures = {"read_dram_bandwidth_t1": 30e9, "read_dram_bandwidth_t4": 60e9, "fma_f32_rate_t1": 100e9,
               "fma_f32_rate_t4": 400e9, "q4_0_dot_rate_t1": 60e9, "q4_0_dot_rate_t4": 240e9,
               "q4_0_dot_dram_rate_t1": 50e9, "q4_0_dot_dram_rate_t4": 100e9}  # fmt: skip
    hardware = _measured(**figures)
    # 2 threads lie halfway between 1 and 4 in log-log
    rates = rates_of(hardware, 2)
    assert rates.fma_per_s == pytest.approx(200e9)
    assert rates.dram_bytes_per_s == pytest.approx(30e9 * 2**0.5)
    assert rates.one["q4_0"] == pytest.approx(120e9)
    assert rates.stream["q4_0"] == pytest.approx(50e9 * 2**0.5)
    # a layout without a figure: 17.1 operations a clock, 4.5 GHz, 2 threads
    assert rates.one["q8_0"] == pytest.approx(17.1 * 4.5e9 * 2)
    assert rates.measured


def test_a_datasheet_gives_less_certain_rates():
    rates = rates_of(RYZEN, 2)
    # 16 cores have 2.304 TFLOP/s; two of them an eighth, and 33 GB/s each
    assert rates.fma_per_s == pytest.approx(2.304e12 / 8)
    assert rates.dram_bytes_per_s == pytest.approx(66e9)
    assert rates_of(RYZEN).dram_bytes_per_s == pytest.approx(0.8 * 83.2e9)
    result = analyze("llama-3.1-8b", "cpu/ryzen-9-7950x", Decode(context=64), fidelity="estimate")
    assert result.totals.label == "family"
    with pytest.raises(InputError, match="16 cores"):
        rates_of(RYZEN, 17)


@given(st.sampled_from(sorted(KERNELS)), st.integers(1, 600), st.integers(1, 64), st.integers(1, 64))
def test_more_work_never_takes_less_time(layout, rows, out, width):
    base = linear(RATES, layout, rows, 256.0 * out, 256.0 * width, 2e4 * out * width).time_s
    assert linear(RATES, layout, rows + 1, 256.0 * out, 256.0 * width, 2e4 * out * width).time_s >= base
    assert (
        linear(RATES, layout, rows, 256.0 * (out + 1), 256.0 * width, 2e4 * (out + 1) * width).time_s > base
    )


def test_every_gguf_format_has_a_layout():
    assert layout_of("gguf_q4_k") == ("q4_k", True)
    assert layout_of("gguf_q6_k") == ("q4_k", False)
    assert layout_of("bf16") == ("f16", True)
    assert layout_of("int4_g128") == ("q4_0", False)


def test_threads_and_bounds_reach_the_analysis():
    def total(threads: int, load=None):
        return analyze("llama-3.1-8b", "cpu/ryzen-9-7950x", load or Decode(context=64), compression="gguf-q4_0",
                       fidelity="estimate", threads=threads)  # fmt: skip

    one, two = total(1), total(2)
    assert one.totals.time_s > 1.5 * two.totals.time_s
    assert {row["bound"] for row in one.rows if row["kind"] == "linear"} == {"vector"}
    assert {row["bound"] for row in total(16).rows if row["kind"] == "linear"} == {"memory"}
    prompt = total(16, Prefill(prompt=512))
    assert {row["bound"] for row in prompt.rows if row["name"] == "down_proj"} == {"vector"}
    gpu = analyze("llama-3.1-8b", "nvidia/a6000", Decode(context=64), threads=2)
    assert any("threads=2 is ignored" in note for note in gpu.notes)


def test_a_grid_equals_its_points():
    rows = np.array([[1.0, 2.0], [64.0, 512.0]])
    grid = linear(RATES, "q4_k", rows, 512.0, 512.0, 147_456.0).time_s
    for index in np.ndindex(2, 2):
        assert grid[index] == pytest.approx(
            linear(RATES, "q4_k", rows[index], 512.0, 512.0, 147_456.0).time_s
        )


# llama.cpp on the Ryzen 7950X, 2 threads, 8B: measured tokens/s by ``cpu_decode.csv``
@pytest.mark.parametrize(
    ("quant", "compression"), [("BF16", "checkpoint"), ("Q8_0", "gguf-q8_0"), ("Q4_0", "gguf-q4_0")]
)
def test_published_decode_rates(quant, compression):
    with shared_path("measured", "cpu_decode.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if r["cpu"] == "Ryzen-7950X" and r["quant"] == quant
                and r["test"] == "tg128" and r["threads"] == "2" and r["engine"] == "llama.cpp"]  # fmt: skip
    measured = float(rows[0]["tok_per_s"])
    found = analyze("llama-3.1-8b", "cpu/ryzen-9-7950x", Decode(context=64), compression=compression,
                    fidelity="estimate", threads=2)  # fmt: skip
    assert 0.6 < found.totals.tokens_per_s / measured < 1.7
