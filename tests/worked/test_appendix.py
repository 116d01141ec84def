"""The four worked tables: Llama on an A6000 and an H100, decode and prefill, op by op.

Every expected value is hand arithmetic at the rates 154.8 TFLOP/s (FP16), 768 GB/s; 989.4 TFLOP/s (BF16), 3.352 TB/s.
"""

from __future__ import annotations

import pytest

from viewer import Decode, Generation, Prefill, analyze

A6000_BW, A6000_FP16 = 768e9, 154.8e12


def rows(result):
    return {row["name"]: row for row in result.rows}


def test_decode_13b_a6000():
    result = analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047))
    op = rows(result)
    # qkv: 3 * 5120^2 weights * 2 B + (5120 in + 15360 out) * 2 B = 157 286 400 + 40 960
    assert op["qkv_proj"]["dram_bytes"] == 157_286_400 + 40_960
    assert op["qkv_proj"]["matmul_flops"] == 2 * 5120 * 15360
    # attention: K and V of 2048 positions, 40 heads of 128: 2 * 40 * 128 * 2048 * 2 B = 41 943 040; Q + O 20 480
    assert op["attention"]["kv_read_bytes"] == 41_943_040
    assert op["attention"]["dram_bytes"] == 41_943_040 + 20_480
    assert op["attention"]["matmul_flops"] == 4 * 40 * 128 * 2048
    assert op["attention"]["vector_flops"] == 4 * 40 * 2048
    assert op["attention"]["transcendentals"] == 40 * 2048
    # add + norm: reads x, residual, weight, writes residual and normed: (4 + 1) * 5120 * 2 B
    assert op["attn_add_norm"]["dram_bytes"] == 51_200
    assert op["attn_add_norm"]["vector_flops"] == 5 * 5120
    # rope + append: 2 * (40 + 80) * 128 * 2 B, of which k and v written (2 * 40 * 128 * 2 B) are the cache's
    assert op["rope_append"]["dram_bytes"] == 61_440
    assert op["rope_append"]["kv_write_bytes"] == 20_480
    assert op["rope_append"]["vector_flops"] == 3 * 80 * 128
    assert op["silu_mul"]["dram_bytes"] == 3 * 13824 * 2
    assert op["silu_mul"]["vector_flops"] == 5 * 13824
    assert op["silu_mul"]["transcendentals"] == 2 * 13824
    # head: V*h*2 + h*2 + V*4 (FP32 logits)
    assert op["lm_head"]["dram_bytes"] == 32000 * 5120 * 2 + 5120 * 2 + 32000 * 4
    assert all(row["bound"] == "memory" for row in result.rows)
    # 40 layers of 881.2 us and a head of 426.8 us; embedding (20 480 B) and final norm (30 720 B) add 67 ns
    assert result.totals.time_s == pytest.approx(35.6750e-3, rel=1e-5)
    assert result.phases["ttft_s"] is None


def test_prefill_13b_a6000():
    result = analyze("llama-2-13b", "nvidia/a6000", Prefill(prompt=2048))
    op = rows(result)
    # causal pairs 2048*2049/2 = 2 098 176; 4 * 40 * 128 * pairs = 4.297e10
    assert op["attention"]["matmul_flops"] == 4 * 40 * 128 * 2_098_176
    assert op["attention"]["dram_bytes"] == 83_886_080
    assert op["attention"]["time_s"] == pytest.approx(277.6e-6, rel=1e-3)
    assert op["attention"]["special_time_s"] == pytest.approx(34.69e-6, rel=1e-3)
    assert op["qkv_proj"]["time_s"] == pytest.approx(2081e-6, rel=1e-3)
    assert op["silu_mul"]["bound"] == "memory"
    assert op["down_proj"]["bound"] == "compute"
    # 371.3883 ms without embedding and final norm, each 2 * 2048 * 5120 * 2 B = 54.6 us at 768 GB/s
    assert result.totals.time_s == pytest.approx(371.3883e-3 + 2 * 54.6e-6, rel=2e-5)


def test_llama3_8b_h100():
    decode = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=4095))
    assert decode.totals.time_s == pytest.approx(
        14.950e-3, rel=2e-3
    )  # the table uses 3.35 TB/s, the part has 3.352
    assert rows(decode)["attention"]["arithmetic_intensity"] == pytest.approx(4.03, rel=1e-2)
    prefill = analyze("llama-3.1-8b", "nvidia/h100-sxm", Prefill(prompt=8192))
    assert prefill.totals.time_s == pytest.approx(147.4534e-3, rel=1e-3)
    op = rows(prefill)
    # exponentials 1.074e9 at 16 per clock and SM: half of the product time (FlashAttention-3's observation)
    assert op["attention"]["special_time_s"] == pytest.approx(277.8e-6, rel=2e-3)
    assert op["attention"]["tensor_time_s"] == pytest.approx(555.7e-6, rel=1e-3)
    assert prefill.memory.activation_peak_bytes == pytest.approx(771.8e6, rel=1e-4)


def test_generation_of_an_answer():
    # prompt 512, 128 tokens out: TTFT 91.48 ms, mean TPOT 34.10 ms, end to end 4.423 s
    result = analyze("llama-2-13b", "nvidia/a6000", Generation(prompt=512, output=128))
    assert result.phases["ttft_s"] == pytest.approx(91.48e-3, rel=5e-4)
    assert result.phases["tpot_s"] == pytest.approx(34.10e-3, rel=5e-4)
    assert result.totals.time_s == pytest.approx(4.423, rel=5e-4)
    # time per token is linear in the context: the mean is that of the middle step (512 + 63 cached)
    middle = analyze("llama-2-13b", "nvidia/a6000", Decode(context=512 + 63)).totals.time_s
    assert result.phases["tpot_s"] == pytest.approx(middle, rel=1e-9)


def test_memory_of_13b():
    memory = analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047)).memory
    assert memory.weight_bytes == 2 * 13_015_864_320
    assert memory.kv_cache_bytes == 2048 * 819_200  # 2 * 40 layers * 40 heads * 128 * 2 B a token
    assert memory.max_batch == 11  # (0.9 * 51.54e9 - 26.03e9 - 0.5e9) / 1.678e9 = 11.8
    assert memory.max_context == pytest.approx(24.2e3, rel=5e-3)
    assert memory.fits


def test_8b_h100_does_not_hold_8k_of_64():
    assert analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=8191)).memory.fits is False
