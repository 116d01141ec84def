"""From formats to executed math types, conversion work and times, through the whole analysis."""

from __future__ import annotations

import pytest

import hardware_specs
from viewer import Decode, Prefill, analyze

# BF16 checkpoint: what o_proj multiplies in, by preset. Groups of devices that answer alike.
PRESETS = (
    "w16a16", "w4a16-g128", "gguf-q4_k", "nf4", "w8a8-int8", "w4a8", "w4a4", "w8a8-fp8",
    "w4a8-fp8", "mxfp8", "mxfp6", "mxfp4", "nvfp4", "bitnet",
)  # fmt: skip
TABLE = {
    # Ampere, RDNA3, CDNA2, Arc: 16 bits, INT8 and INT4; floats of 8 bits and less are converted up
    "bf16 bf16 bf16 bf16 int8 int8 int4 bf16 bf16 bf16 bf16 bf16 bf16 int8": """
        nvidia/a10 nvidia/a100-pcie-40gb nvidia/a100-pcie-80gb nvidia/a100-sxm-40gb nvidia/a100-sxm-80gb nvidia/a30
        nvidia/a40 nvidia/a6000 nvidia/a800-sxm-80gb nvidia/rtx-3090 nvidia/rtx-a5000 amd/mi250x amd/radeon-pro-w7900
        amd/radeon-rx-7900-xtx amd/ryzen-ai-max-395 intel/arc-b580 intel/arc-pro-b60""",
    # Ada: INT4 and FP8
    "bf16 bf16 bf16 bf16 int8 int8 int4 fp8 fp8 bf16 bf16 bf16 bf16 int8": """
        nvidia/l4 nvidia/l40 nvidia/l40s nvidia/rtx-4090 nvidia/rtx-6000-ada""",
    # Hopper, CDNA3: FP8, no INT4 any more, no block scales along K
    "bf16 bf16 bf16 bf16 int8 int8 int8 fp8 fp8 bf16 bf16 bf16 bf16 int8": """
        nvidia/gh200-141gb nvidia/gh200-96gb nvidia/h100-nvl nvidia/h100-pcie nvidia/h100-sxm nvidia/h20
        nvidia/h200-sxm nvidia/h800-pcie nvidia/h800-sxm amd/mi300x amd/mi325x aws/inferentia2""",
    # Blackwell: block-scaled FP8, FP6, FP4
    "bf16 bf16 bf16 bf16 int8 int8 int8 fp8 fp8 fp8 fp6 fp4 fp4 int8": """
        nvidia/b200-sxm nvidia/b300-sxm nvidia/gb200""",
    "bf16 bf16 bf16 bf16 int8 int8 int8 fp8 fp8 fp8 fp8 fp4 fp4 int8": """
        nvidia/rtx-5090 nvidia/rtx-pro-6000-max-q nvidia/rtx-pro-6000-server nvidia/rtx-pro-6000-workstation""",
    # CDNA4: MX scales, not NVIDIA's
    "bf16 bf16 bf16 bf16 int8 int8 int8 fp8 fp8 fp8 fp6 fp4 bf16 int8": "amd/mi355x",
    # no INT8 figure: INT4 is exact in FP8, INT8 is not
    "bf16 bf16 bf16 bf16 bf16 bf16 fp8 fp8 fp8 fp8 fp8 fp4 fp4 bf16": "nvidia/jetson-thor",
    "bf16 bf16 bf16 bf16 bf16 bf16 fp8 fp8 fp8 bf16 bf16 bf16 bf16 bf16": """
        aws/trainium2 google/tpu-v7 intel/gaudi-3""",
    # INT8 and 16 bits only
    "bf16 bf16 bf16 bf16 int8 int8 int8 bf16 bf16 bf16 bf16 bf16 bf16 int8": """
        google/tpu-v4 google/tpu-v5e google/tpu-v5p google/tpu-v6e nvidia/jetson-agx-orin-64gb
        nvidia/jetson-orin-nano-8gb nvidia/jetson-orin-nano-8gb-super cpu/epyc-9554 cpu/epyc-9654 cpu/epyc-9755
        cpu/grace cpu/graviton3 cpu/graviton4 cpu/ryzen-9-7950x cpu/ryzen-9-9950x cpu/xeon-6980p cpu/xeon-8480plus""",
    "fp32 fp32 fp32 fp32 int8 int8 int8 fp32 fp32 fp32 fp32 fp32 fp32 int8": """
        cpu/core-i9-13900k cpu/core-ultra-9-285k""",
    "fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32": "cpu/epyc-7763",
    # FP16 alone (a BF16 checkpoint runs as FP16, with a note), and with Turing's integers
    "fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16": """
        nvidia/v100-sxm2 apple/m1-max apple/m2-max apple/m2-ultra apple/m3-max apple/m3-ultra apple/m4-max
        apple/m4-pro""",
    "fp16 fp16 fp16 fp16 int8 int8 int4 fp16 fp16 fp16 fp16 fp16 fp16 int8": "nvidia/t4",
}
BY_DEVICE = {device: types.split() for types, devices in TABLE.items() for device in devices.split()}


def rows_of(*arguments, **options):
    return {row["name"]: row for row in analyze(*arguments, **options).rows}


def test_the_table_has_every_device():
    assert sorted(BY_DEVICE) == sorted(hardware_specs.available())


@pytest.mark.parametrize("device", sorted(BY_DEVICE))
def test_math_type_of_every_device_and_format(device):
    got = [rows_of("gpt-2", device, Prefill(prompt=64), preset)["o_proj"]["math_type"] for preset in PRESETS]
    assert dict(zip(PRESETS, got, strict=True)) == dict(zip(PRESETS, BY_DEVICE[device], strict=True))


def test_int8_linears_beside_16_bit_attention():
    """13B on the A6000, 2048 tokens: o_proj = 2*2048*5120^2 = 107.37 GFLOP / 309.7 TOP/s = 346.7 us;
    attention stays FP16: 4*40*128*2098176 = 42.97 GFLOP / 154.8 T = 277.6 us."""
    rows = rows_of("llama-2-13b", "nvidia/a6000", Prefill(prompt=2048), "w8a8-int8")
    for name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"):
        assert rows[name]["math_type"] == "int8"
        assert rows[name]["peak_flops_per_s"] == pytest.approx(309.7e12)
    assert rows["o_proj"]["tensor_time_s"] == pytest.approx(346.7e-6, rel=1e-3)
    assert rows["attention"]["math_types"] in ("fp16", "bf16")
    assert rows["attention"]["tensor_time_s"] == pytest.approx(277.6e-6, rel=1e-3)
    assert rows["lm_head"]["math_type"] in ("fp16", "bf16")


def test_decode_times_of_13b_on_the_a6000():
    """Weights + cache: 27.38 GB / 768 GB/s = 35.65 ms; W4 g128 8.548 GB = 11.13 ms; + KV4 7.316 GB = 9.53 ms.
    With activations 35.675 ms; the 16.7 MB of activations add 0.022 ms to the others as well."""
    time = {c: analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047), c).totals.time_s for c in
            ("w16a16", "w4a16-g128", "w4a16-g128+kv4")}  # fmt: skip
    assert time["w16a16"] == pytest.approx(35.675e-3, rel=1e-4)
    assert time["w4a16-g128"] == pytest.approx(11.13e-3 + 0.022e-3, rel=1e-3)
    assert time["w4a16-g128+kv4"] == pytest.approx(9.53e-3 + 0.021e-3, rel=1e-3)
    assert time["w16a16"] / time["w4a16-g128"] == pytest.approx(3.20, abs=0.005)


def test_byte_totals_to_the_byte():
    """W4 g128 symmetric: 12 687 769 600 block weights * 4.125 / 8 + head 32000 * 5120 * 2 + norms 81 * 5120 * 2 + one
    embedding row 10 240; KV4 g128 with FP16 scale and zero, 2048 rows of 2 * 40 heads * (128 * 4 + 32) / 8 bytes."""
    totals = analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047), "w4a16-g128+kv4").totals
    blocks = 12_687_769_600 * 4.125 / 8
    assert totals.weight_bytes == blocks + 32_000 * 5120 * 2 + 81 * 5120 * 2 + 10_240
    assert totals.kv_read_bytes == 40 * 2048 * 2 * 40 * (128 * 4 + 32) / 8
    assert totals.kv_write_bytes == 40 * 1 * 2 * 40 * (128 * 4 + 32) / 8
    whole = analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047), "w4a16-g128+kv4").memory
    assert whole.weight_bytes == blocks + 2 * 32_000 * 5120 * 2 + 81 * 5120 * 2


def test_two_to_four():
    """q_proj 5120^2 FP16 2:4: 9 bits a weight = 29 491 200 B + 20 480 B of activations: 38.43 us against 68.29 us in
    decode (1.777); prefill 2048 halves 693.6 us. Whole decode 35.675 -> 21.22 ms (1.68)."""

    def q_proj(load, compression):
        rows = rows_of("llama-2-13b", "nvidia/a6000", load, compression, fusion="flash")
        return rows["q_proj"]

    dense, sparse = (q_proj(Decode(context=2047), c) for c in ("w16a16", "2:4"))
    assert sparse["weight_bytes"] == 5120 * 5120 * 9 / 8
    assert dense["time_s"] / sparse["time_s"] == pytest.approx(1.777, abs=2e-3)
    dense, sparse = (q_proj(Prefill(prompt=2048), c) for c in ("w16a16", "2:4"))
    assert dense["time_s"] / sparse["time_s"] == pytest.approx(2.0, abs=1e-3)
    assert sparse["matmul_flops"] * 2 == sparse["dense_matmul_flops"] == dense["matmul_flops"]
    whole = [
        analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047), c).totals.time_s
        for c in ("w16a16", "2:4")
    ]
    assert whole[0] / whole[1] == pytest.approx(1.68, abs=0.005)


@pytest.mark.parametrize(("device", "factor"), [("nvidia/v100-sxm2", 1.0), ("nvidia/a100-sxm-80gb", 0.5)])
def test_two_to_four_needs_a_sparse_unit(device, factor):
    row = rows_of("llama-2-7b", device, Prefill(prompt=512), "2:4")["o_proj"]
    assert row["matmul_flops"] == factor * row["dense_matmul_flops"]
    # decompressed: one vector op per kept value and 64-row pass: 8 * 4096^2 / 2; FP16 has no other epilogue
    assert row["vector_flops"] == (0.0 if factor < 1 else 8 * 4096 * 4096 / 2)
    assert any("decompressed" in note for note in row["notes"]) == (factor == 1.0)


def test_zeros_are_skipped_where_a_vector_unit_is_known():
    """80 % zeros: a fifth of the FLOPs on CUDA cores or a CPU; on a TPU, whose vector rate is not published, all of
    them on the matrix unit, with a note. CPUs with a matrix unit (AMX) multiply expanded tiles."""
    load = Prefill(prompt=64)

    def o_proj(device, preset):
        return rows_of("llama-2-7b", device, load, preset)["o_proj"]

    for device in ("nvidia/a6000", "cpu/epyc-9654"):
        row = o_proj(device, "sparse80-csr-vector")
        assert row["unit"] == "vector"
        assert row["matmul_flops"] == pytest.approx(0.2 * row["dense_matmul_flops"])
    tpu = o_proj("google/tpu-v5e", "sparse80-csr-vector")
    assert (tpu["unit"], tpu["matmul_flops"]) == ("tensor", tpu["dense_matmul_flops"])
    assert any("no vector unit with a known rate" in note for note in tpu["notes"])
    amx = o_proj("cpu/xeon-6980p", "sparse50-csr")
    assert (amx["unit"], amx["matmul_flops"]) == ("tensor", amx["dense_matmul_flops"])


def test_narrow_activations_stay_wide_where_they_would_be_converted_up():
    """FP8 on the A6000: weights are converted up, activations are never made narrow: no quantize op."""
    result = analyze("llama-2-13b", "nvidia/a6000", Prefill(prompt=256), "w8a8-fp8")
    rows = {row["name"]: row for row in result.rows}
    assert not any(name.startswith("quantize") for name in rows)
    assert rows["o_proj"]["activation_read_bytes"] == 256 * 5120 * 2
    assert any("inputs stay" in note and "no fp8 unit on sm_86" in note for note in rows["o_proj"]["notes"])
    narrow = rows_of("llama-2-13b", "nvidia/l40s", Prefill(prompt=256), "w8a8-fp8")
    assert narrow["o_proj"]["activation_read_bytes"] == 256 * (5120 + 4)  # one FP32 scale a token
    assert narrow["quantize_o"]["vector_flops"] == 3 * 256 * 5120


def test_epilogue_and_unpacking():
    """W8A8: 2 ops an output (convert, scale). W8A16: unpack 5120^2 per 64 rows, 1 op an output (scale).
    W4A8 g128: 1 op a weight and pass (4 -> 8 bits), 2 ops an output and K-group: 5120/128 = 40 groups."""

    def vector(preset, tokens):
        rows = rows_of("llama-2-13b", "nvidia/a6000", Prefill(prompt=tokens), preset)
        return rows["o_proj"]["vector_flops"]

    weights, tokens = 5120 * 5120, 128
    assert vector("w8a8-int8", tokens) == 2 * tokens * 5120
    assert vector("w8a16", tokens) == 2 * weights + tokens * 5120
    assert vector("w4a8-g128", tokens) == 2 * weights + 2 * tokens * 5120 * 40
    assert vector("w4a16-g128", tokens) == 2 * weights  # scales are in the values
    assert vector("w4a16-g128", 64) == weights
    # QuaRot: W4A4 native on sm_86, inputs of o_proj rotated online: log2(5120) adds a value
    from math import log2

    assert vector("quarot", tokens) == pytest.approx(2 * tokens * 5120 + tokens * 5120 * log2(5120))


def test_experts_unpack_only_what_they_hit():
    """Mixtral, one token: 2 of 8 experts, each unpacked once: experts_down 2 * 4096 * 14336 ops (W4 g128, 1 a weight).
    16384 tokens: 32768 rows over 8 experts, 4096 rows each = 64 passes of 64 rows: 512 * 4096 * 14336."""
    one = rows_of("mixtral-8x7b", "nvidia/h100-sxm", Decode(context=100), "w4a16-g128")["experts_down"]
    assert one["vector_flops"] == pytest.approx(2 * 4096 * 14336)
    many = rows_of("mixtral-8x7b", "nvidia/h100-sxm", Prefill(prompt=16384), "w4a16-g128")["experts_down"]
    assert many["vector_flops"] == pytest.approx(512 * 4096 * 14336)


def test_quantized_cache_costs_vector_work():
    """KV4: 2048 rows * 2 * 40 * 128 values unpacked once (1 op), besides 4 ops per pair and head; the append quantizes
    2 * 40 * 128 new values with 3 ops each, besides 3 ops per rotated value of q and k."""
    rows = rows_of("llama-2-13b", "nvidia/a6000", Decode(context=2047), "kv4")
    assert rows["attention"]["vector_flops"] == 2048 * 2 * 40 * 128 + 4 * 40 * 2048
    assert rows["rope_append"]["vector_flops"] == 3 * 2 * 5120 + 3 * 2 * 5120
    static = rows_of("llama-2-13b", "nvidia/a6000", Decode(context=2047), "kv8")
    assert static["rope_append"]["vector_flops"] == 3 * 2 * 5120 + 2 * 5120  # one known scale: one multiply


def test_fp8_and_int8_attention():
    """FP8 attention (FA-3) runs both products in FP8: 4 + 1 ops per pair and head (P is converted), Q quantized with
    3 ops a value. INT8 scores (SageAttention) with FP16 values: convert and scale, 4 + 2 ops a pair."""
    load = Prefill(prompt=1024)
    pairs = 32 * 1024 * 1025 / 2
    fp8 = rows_of("llama-2-7b", "nvidia/h100-sxm", load, "attention-fp8")["attention"]
    assert fp8["math_types"] == "fp8"
    assert fp8["vector_flops"] == 5 * pairs + 3 * 1024 * 4096
    sage = rows_of("llama-2-7b", "nvidia/a6000", load, "attention-int8")["attention"]
    assert sage["math_types"].split("+")[0] == "int8"
    assert sage["math_types"].split("+")[1] in ("fp16", "bf16")
    assert sage["vector_flops"] == 6 * pairs + 3 * 1024 * 4096
    # the A6000 has no FP8: both products stay in 16 bits, keys and values are unpacked
    stays = rows_of("llama-2-7b", "nvidia/a6000", load, "attention-fp8")["attention"]
    assert stays["math_types"] in ("fp16", "bf16")
    assert stays["vector_flops"] == 4 * pairs + 1024 * 2 * 4096


def test_eager_probabilities_are_written_narrow():
    rows = rows_of("llama-2-7b", "nvidia/h100-sxm", Prefill(prompt=256), "attention-fp8", fusion="eager")
    matrix = 32 * 256 * 256
    assert rows["softmax"]["activation_read_bytes"] == 2 * matrix
    assert rows["softmax"]["activation_write_bytes"] == matrix
    assert rows["pv_matmul"]["activation_read_bytes"] == matrix


def test_separate_dequantize():
    """o_proj 5120^2 of W4 g128: the kernel reads 4.125 bits and writes 16, the product reads 16 again; memory holds the
    packed weights alone."""
    load = Decode(context=100)
    fused = analyze("llama-2-13b", "nvidia/a6000", load, "w4a16-g128")
    apart = analyze("llama-2-13b", "nvidia/a6000", load, "w4a16-g128", dequantize="separate")
    rows = {row["name"]: row for row in apart.rows}
    kernel = rows["dequantize_o"]
    assert kernel["weight_bytes"] == 5120 * 5120 * 4.125 / 8
    assert kernel["workspace_bytes"] == 5120 * 5120 * 2
    assert kernel["vector_flops"] == 5120 * 5120
    assert rows["o_proj"]["weight_bytes"] == 5120 * 5120 * 2
    assert rows["o_proj"]["vector_flops"] == 0
    assert apart.memory.weight_bytes == fused.memory.weight_bytes
    # 4.125 + 16 + 16 bits instead of 4.125
    blocks = 12_687_769_600
    assert apart.totals.dram_bytes - fused.totals.dram_bytes == pytest.approx(blocks * 4)
    assert apart.plan.active_parameter_count == fused.plan.active_parameter_count


def test_experts_quantize_before_they_spread():
    """The rows of a token are quantized once and permuted narrow: T * h values are made narrow, not T * k * h."""
    rows = rows_of("mixtral-8x7b", "nvidia/h100-sxm", Prefill(prompt=256), "w8a8-fp8")
    narrow = 4096 + 4
    assert rows["moe_permute"]["activation_read_bytes"] == 2 * 256 * narrow
    assert rows["moe_permute"]["activation_write_bytes"] == 2 * 256 * narrow
    assert rows["experts_gate_up"]["activation_read_bytes"] == 2 * 256 * narrow
    assert rows["quantize_experts"]["vector_flops"] == 3 * 256 * 4096
    # the router reads the 16-bit rows
    assert rows["router"]["activation_read_bytes"] == 256 * 4096 * 2
    assert rows["router"]["math_type"] in ("fp16", "bf16")


def test_narrow_outputs_are_requantized_and_read_narrow():
    """q_proj writes INT8 rows with one FP32 scale: 3 ops a value more; rotary embedding reads them narrow."""
    policy = '{"rules": [{"ops": "q_proj", "output": "int8"}]}'
    rows = rows_of("llama-2-7b", "nvidia/a6000", Prefill(prompt=16), policy, fusion="flash")
    assert rows["q_proj"]["activation_write_bytes"] == 16 * (4096 + 4)
    assert rows["q_proj"]["vector_flops"] == 3 * 16 * 4096
    assert rows["rope"]["activation_read_bytes"] == 16 * (4096 + 4) + 16 * 4096 * 2


def test_the_input_of_o_proj_is_quantized_whatever_form_latent_attention_takes():
    # DeepSeek-V3 in FP8 blocks: 64 rows of 128 heads x 128 values, read in 16 bits, written in 8 with a scale per 128
    result = analyze("deepseek-v3", "nvidia/h200-sxm", Decode(batch=64, context=4096))
    row = next(r for r in result.rows if r["name"] == "quantize_o")
    assert row["activation_read_bytes"] == 64 * 128 * 128 * 2
    assert row["activation_write_bytes"] == 64 * 128 * 128 * (1 + 4 / 128)
