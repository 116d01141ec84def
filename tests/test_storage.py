"""What a policy changes in the graph: bytes by format, pruned shapes, sparse attention, skipped columns, factors."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from tests.support import shared_path
from viewer import Decode, Prefill, analyze
from viewer.cli import main
from viewer.memory import account
from viewer.models import load_model
from viewer.models.family import model_types
from viewer.planned import evaluate, policy_of

#: Bits per stored value of a 5120 x 5120 weight, metadata included (modelling 4.1). Row scales: FP32 = 32/5120 bits.
BITS = {
    "w16a16": 16,
    "w8a16": 8 + 32 / 5120,
    "w8a8-fp8": 8 + 32 / 5120,
    "fp8-block": 8 + 32 / 16384,
    "w4a16-g128": 4.125,
    "w4a16-g128-asym": 4 + 20 / 128,
    "w4a16-g128-asym16": 4.25,
    "w3a16-g128": 3.25,
    "w2a16-g128": 2.25,
    "w1a16": 1 + 16 / 5120,
    "nf4": 4.5,
    "nf4-dq": 4 + 8 / 64 + 32 / (64 * 256),
    "mxfp8": 8.25,
    "mxfp6": 6.25,
    "mxfp4": 4.25,
    "nvfp4": 4.5 + 32 / 5120**2,
    "bitnet": 2 + 16 / 5120,
    "gguf-q4_0": 4.5,
    "gguf-q8_0": 8.5,
    "gguf-q6_k": 6.5625,
    "gguf-q2_k": 2.625,
    "gguf-iq1_s": 1.5625,
    "2:4": 9,
    "2:4+w8a16": 5 + 32 / 5120,
    "2:4+w4a16-g128": 3.125,
    "sparse50-bitmap": 9,
    "sparse50-csr": 16 + 32 * 5121 / 5120**2,
    "rank1024": 16 * 0.4,
}


def rows_of(*arguments, **options):
    return {row["name"]: row for row in analyze(*arguments, **options).rows}


def weights_of(row_names, preset):
    rows = rows_of("llama-2-13b", "nvidia/a6000", Decode(context=100), preset, fusion="flash")
    return sum(row["weight_bytes"] for name, row in rows.items() if name in row_names)


@pytest.mark.parametrize("preset", BITS)
def test_bits_of_a_weight_reach_the_totals(preset):
    names = ("o_proj", "o_proj_in", "o_proj_out")
    assert weights_of(names, preset) == pytest.approx(5120 * 5120 * BITS[preset] / 8, rel=1e-9)


# --- structured pruning -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        # 13B: L40 h5120 N40 d128 f13824 V32000: layer = 4*5120^2 + 3*5120*13824 + 2*5120, + 2 V h + h
        ("heads25", 40 * (4 * 5120 * 3840 + 3 * 5120 * 13824 + 2 * 5120) + 2 * 32000 * 5120 + 5120),
        ("ffn25", 40 * (4 * 5120**2 + 3 * 5120 * 10368 + 2 * 5120) + 2 * 32000 * 5120 + 5120),
        ("layers25", 30 * (4 * 5120**2 + 3 * 5120 * 13824 + 2 * 5120) + 2 * 32000 * 5120 + 5120),
        ("channels25", 40 * (4 * 5120 * 3840 + 3 * 3840 * 13824 + 2 * 3840) + 2 * 32000 * 3840 + 3840),
    ],
)
def test_structured_pruning_changes_shapes(preset, parameters):
    result = analyze("llama-2-13b", "nvidia/a6000", Decode(context=2047), preset)
    assert result.plan.parameter_count == parameters
    assert result.memory.weight_bytes == 2 * parameters
    kept = 0.75 if preset in ("heads25", "layers25") else 1.0
    assert result.memory.kv_values == kept * 40 * 2 * 5120 * 2048
    assert any("structured pruning keeps" in note for note in result.notes)


def test_grouped_heads_go_in_groups():
    """Llama-3.1-8B has 32 query and 8 KV heads: 25 % leaves 24 and 6. Falcon-40B's 128 and 8: 96 and 6."""
    for model, heads, kv in (("llama-3.1-8b", 24, 6), ("falcon-40b", 96, 6)):
        graph = analyze(model, "nvidia/h100-sxm", Decode(), "heads25").plan.graph
        attention = next(op for _, op in graph if op.name == "attention")
        assert (attention.heads, attention.cache.heads) == (heads, kv)


def test_experts_are_pruned_and_dense_models_say_so():
    plan = analyze("mixtral-8x7b", "nvidia/h100-sxm", Decode(), "experts25").plan
    assert next(op for _, op in plan.graph if op.name == "router").out_features == 6
    notes = analyze("llama-2-7b", "nvidia/h100-sxm", Decode(), "experts25").notes
    assert "structured pruning of experts changes nothing: the model has none" in notes


def test_token_pruning():
    """Half the tokens from layer 2 on, prompt 1000: o_proj of 38 layers on 500 rows, 2 layers on 1000; cached rows
    2 * 1000 + 38 * 500; a decode step processes its token everywhere and reads half the cache in those layers."""
    result = analyze("llama-2-13b", "nvidia/a6000", Prefill(prompt=1000), "tokens50")
    flops = {row["layer_group"]: row["matmul_flops"] for row in result.rows if row["name"] == "o_proj"}
    assert flops == {"0-1": 2 * 1000 * 5120**2, "2-39": 2 * 500 * 5120**2}
    assert result.memory.kv_values == 2 * 5120 * (2 * 1000 + 38 * 500)
    decode = analyze("llama-2-13b", "nvidia/a6000", Decode(context=1000), "tokens50")
    reads = {row["layer_group"]: row["kv_read_bytes"] for row in decode.rows if row["name"] == "attention"}
    assert reads == {"0-1": 1001 * 2 * 5120 * 2, "2-39": 501 * 2 * 5120 * 2}
    assert (
        decode.totals.matmul_flops
        < analyze("llama-2-13b", "nvidia/a6000", Decode(context=1000)).totals.matmul_flops
    )
    estimate = analyze("llama-2-13b", "nvidia/a6000", Prefill(prompt=1000), "tokens50", fidelity="estimate")
    assert estimate.totals.time_s >= result.totals.time_s


# --- attention and cache ----------------------------------------------------------------------------


def attention_of(preset, load, **options):
    result = analyze("llama-2-13b", "nvidia/a6000", load, preset, **options)
    return next(row for row in result.rows if row["name"] == "attention"), result


def test_heavy_hitters():
    """keep 20 % of 2000 cached: 400 + 1 new row of 2*40*128*2 B; pairs 401 * 40 heads; 4 + 1 vector FLOPs a pair; the
    accumulated scores of 40 heads are read and written in 4 B; capacity ceil(0.2 * 2001) = 401 rows."""
    row, result = attention_of("kvkeep20", Decode(context=2000))
    assert row["kv_read_bytes"] == 401 * 2 * 40 * 128 * 2
    assert row["matmul_flops"] == 4 * 40 * 128 * 401
    assert row["vector_flops"] == 5 * 40 * 401
    assert row["workspace_bytes"] == 401 * 40 * 4 * 2
    assert result.memory.kv_values == 40 * 401 * 2 * 5120
    # a fresh prompt has nothing to evict yet: all pairs among the new tokens
    row, _ = attention_of("kvkeep20", Prefill(prompt=100))
    assert row["matmul_flops"] == 4 * 40 * 128 * 5050


def test_static_pattern():
    """Window 1024 and 4 sinks: 1028 rows read and kept of 3001; a prompt of 3000: 1028*1029/2 + 1972*1028 pairs."""
    row, result = attention_of("attn-w1024-g4-r0", Decode(context=3000))
    assert row["kv_read_bytes"] == 1028 * 2 * 40 * 128 * 2
    assert row["matmul_flops"] == 4 * 40 * 128 * 1028
    assert result.memory.kv_values == 40 * 1028 * 2 * 5120
    row, _ = attention_of("attn-w1024-g4-r0", Prefill(prompt=3000))
    assert row["matmul_flops"] == 4 * 40 * 128 * (1028 * 1029 / 2 + 1972 * 1028)
    # random positions may be anywhere: everything stays cached
    _, result = attention_of("attn-w192-g128-r192", Decode(context=3000))
    assert result.memory.kv_values == 40 * 3001 * 2 * 5120


def test_page_selection():
    """Quest, 16 tokens a page, 128 pages: 2048 of 4001 rows, and 251 summaries of 2*40*128 16-bit values, scored with
    4 FLOPs a value and head; all rows and summaries stay in memory. A prompt attends to everything."""
    row, result = attention_of("quest-p16-n128", Decode(context=4000))
    assert row["kv_read_bytes"] == 2048 * 2 * 40 * 128 * 2 + 251 * 2 * 40 * 128 * 2
    assert row["vector_flops"] == 4 * 40 * 2048 + 4 * 251 * 40 * 128
    assert result.memory.kv_cache_bytes == 40 * (4001 * 2 * 40 * 128 * 2 + 251 * 2 * 40 * 128 * 2)
    row, _ = attention_of("quest-p16-n128", Prefill(prompt=4000))
    assert row["matmul_flops"] == 4 * 40 * 128 * (4000 * 4001 / 2)


def test_pruned_probabilities():
    """2:4 probabilities: P V at half its FLOPs on the A6000, all of Q K^T; one comparison a pair. The eager form
    stores 0.5 * (16 + 2) bits a probability."""
    load, pairs = Prefill(prompt=1024), 1024 * 1025 / 2
    row, _ = attention_of("attn-2:4", load)
    assert row["matmul_flops"] == 2 * 40 * 128 * pairs * 1.5
    assert row["dense_matmul_flops"] == 4 * 40 * 128 * pairs
    assert row["vector_flops"] == 5 * 40 * pairs
    rows = rows_of("llama-2-13b", "nvidia/a6000", load, "attn-2:4", fusion="eager")
    assert rows["softmax"]["activation_write_bytes"] == 40 * 1024**2 * 9 / 8
    assert rows["pv_matmul"]["activation_read_bytes"] == 40 * 1024**2 * 9 / 8


def test_eager_scores_shrink_with_the_cache():
    """3000 cached, 20 % kept: 601 scores a head."""
    rows = rows_of("llama-2-13b", "nvidia/a6000", Decode(context=3000), "kvkeep20", fusion="eager")
    assert rows["qk_matmul"]["activation_write_bytes"] == 40 * 601 * 2
    assert rows["softmax"]["activation_read_bytes"] == 40 * 601 * 2
    assert rows["qk_matmul"]["matmul_flops"] == 2 * 40 * 128 * 601


def test_schemes_that_do_not_apply_say_so():
    notes = analyze("deepseek-v2-lite", "nvidia/h100-sxm", Decode(), "kvkeep20").notes
    assert any("changes nothing: the model has no attention of that kind" in note for note in notes)


# --- weights ----------------------------------------------------------------------------------------


def test_zero_inputs_skip_columns():
    """One token with half its inputs zero reads half the columns; B tokens 1 - 0.5^B of them."""
    whole = 5120 * 5120 * 2
    for batch, share in ((1, 0.5), (2, 0.75), (8, 1 - 0.5**8)):
        load = Decode(batch=batch, context=10)
        row = rows_of("llama-2-13b", "nvidia/a6000", load, "actsparse50")["o_proj"]
        assert row["weight_bytes"] == whole * share
        assert row["matmul_flops"] == pytest.approx(2 * batch * 5120**2 * share)
        assert row["dense_matmul_flops"] == pytest.approx(2 * batch * 5120**2)


def test_low_rank_is_two_products():
    """5120 x 5120 at rank 1024: 2*T*1024*10240 FLOPs, 1024 values a row between the products; rank 4096 does not pay
    (2560 does not either: r < io/(i+o))."""
    rows = rows_of("llama-2-13b", "nvidia/a6000", Prefill(prompt=100), "rank1024")
    first, second = rows["o_proj_in"], rows["o_proj_out"]
    assert first["matmul_flops"] == second["matmul_flops"] == 2 * 100 * 1024 * 5120
    assert first["activation_write_bytes"] == second["activation_read_bytes"] == 100 * 1024 * 2
    dense = rows_of("llama-2-13b", "nvidia/a6000", Prefill(prompt=100), "rank4096")
    assert "o_proj" in dense
    assert any("does not pay" in note for note in dense["o_proj"]["notes"])
    result = analyze("mixtral-8x7b", "nvidia/h100-sxm", Decode(), "rank1024+w4a16-g128")
    down = next(row for row in result.rows if row["name"] == "experts_down_out")
    assert down["weight_bytes"] == pytest.approx(2 * 4096 * 1024 * 4.125 / 8)  # 2 of 8 experts are hit


def test_recurrent_state_takes_the_formats_of_a_rule():
    load = Decode(batch=2, context=10)
    base = analyze("mamba2-2.7b", "nvidia/h100-sxm", load)
    policy = '{"rules": [{"ops": "*", "state": "bf16"}]}'
    half = analyze("mamba2-2.7b", "nvidia/h100-sxm", load, policy)
    scan = [next(r for r in one.rows if r["name"] == "ssm_scan") for one in (base, half)]
    # 64 layers x 80 heads x 64 x 128 values: FP32 -> BF16
    assert scan[0]["state_read_bytes"] == 2 * 655_360 * 4
    assert scan[1]["state_read_bytes"] == 2 * 655_360 * 2
    assert half.memory.state_bytes < base.memory.state_bytes


def test_a_tied_head_and_its_embedding_are_one_table():
    """GPT-2's table 50257 x 768: llama.cpp's mix stores it once, in Q6_K (6.5625 bits): 39 MB either way it is read."""
    result = analyze("gpt-2", "nvidia/a6000", Decode(), "gguf-q4_k_m")
    table = 50257 * 768 * 6.5625 / 8
    rows = {row["name"]: row for row in result.rows}
    assert rows["lm_head"]["weight_bytes"] == table
    embed = next(op for _, op in result.plan.graph if op.name == "embed")
    assert embed.weights[0].stored_bytes == table
    assert rows["embed"]["vector_flops"] == 768 * 2 + 768  # two ops a value of Q6_K, and the position's add


def test_cache_granularity():
    """One token and layer of 13B, keys and values of 40 heads x 128: per tensor 8 bits; per token and head + 32 bits;
    groups of 32 with 16-bit scale and zero + 32/32 bits."""
    values = 2 * 40 * 128
    for preset, bits in (
        ("kv8", 8),
        ("kv8-token", 8 + 32 / 128),
        ("kv4-g32", 5),
        ("kv4", 4.25),
        ("kv2", 2.25),
    ):
        memory = analyze("llama-2-13b", "nvidia/a6000", Decode(context=99), preset).memory
        assert memory.kv_cache_bytes == 40 * 100 * values * bits / 8


# --- checkpoints ------------------------------------------------------------------------------------

CONFIG = {
    "model_type": "llama",
    "hidden_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 1024,
    "vocab_size": 1000,
    "torch_dtype": "bfloat16",
}
LAYER = {
    "self_attn.q_proj": (512, 512),
    "self_attn.k_proj": (256, 512),
    "self_attn.v_proj": (256, 512),
    "self_attn.o_proj": (512, 512),
    "mlp.gate_proj": (1024, 512),
    "mlp.up_proj": (1024, 512),
    "mlp.down_proj": (512, 1024),
}
VALUES = 2 * sum(a * b for a, b in LAYER.values())


def write_safetensors(path, dtype):
    header, at = {}, 0

    def add(name, kind, *shape):
        nonlocal at
        size = int(np.prod(shape)) * {"BF16": 2, "F8_E4M3": 1, "F32": 4}[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size

    add("model.embed_tokens.weight", "BF16", 1000, 512)
    add("lm_head.weight", "BF16", 1000, 512)
    add("model.norm.weight", "BF16", 512)
    for i in range(2):
        for name, shape in LAYER.items():
            add(f"model.layers.{i}.{name}.weight", dtype, *shape)
        add(f"model.layers.{i}.input_layernorm.weight", "BF16", 512)
        add(f"model.layers.{i}.post_attention_layernorm.weight", "BF16", 512)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    return at


def analyzed(capsys, path, *more):
    status = main(["analyze", str(path), "nvidia/h100-sxm", "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def test_a_safetensors_file_end_to_end(tmp_path, capsys):
    """FP8 weights in the file, FP8 activations from config.json beside it: linears run in FP8, memory is the file's."""
    (tmp_path / "config.json").write_text(
        json.dumps(CONFIG | {"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}})
    )
    size = write_safetensors(tmp_path / "model.safetensors", "F8_E4M3")
    status, data = analyzed(capsys, tmp_path / "model.safetensors", "--context", "10")
    assert status == 0
    ops = {op["name"]: op for op in data["ops"]}
    assert data["model"]["parameter_count"] == VALUES + 2 * 512_000 + 5 * 512
    assert ops["o_proj"]["math_type"] == "fp8"
    assert ops["lm_head"]["math_type"] == "bf16"
    # per-tensor FP32 scales: 4 bytes for each of 14 matrices, in the policy but not in the file
    assert data["memory"]["weight_bytes"] == size + 4 * 14


def test_a_gguf_file_end_to_end(tmp_path, capsys):
    """The Q4_K_M mix of llama.cpp as its file says it: every tensor in its own type."""
    from tests.checkpoints.test_gguf import PAIRS, build, model, size_of

    tensors = model()
    (tmp_path / "m.gguf").write_bytes(build(PAIRS, tensors))
    status, data = analyzed(capsys, tmp_path / "m.gguf", "--context", "10")
    assert status == 0
    stored = sum(size_of(kind, dims) for kind, dims in tensors.values())
    # norms are F32 in the file and 16 bits here: all vectors together are a sliver
    assert data["memory"]["weight_bytes"] == pytest.approx(stored, rel=0.01)
    linears = [op for op in data["ops"] if op["kind"] == "linear" and op["name"] != "lm_head"]
    assert {op["math_type"] for op in linears} <= {"fp16", "bf16"}
    assert len({op["layer_group"] for op in linears}) > 1  # layers with more bits are groups of their own


QUANTIZED = "facts", "quantized_configs"


def stored_bytes(name):
    path = shared_path(*QUANTIZED, name)
    model = load_model(str(path))
    graph = analyze(str(path), "nvidia/h100-sxm", Decode()).plan.graph
    return model, account(graph, Decode().step()).weight_bytes, policy_of(model, "checkpoint")


def test_bytes_of_an_fp8_checkpoint():
    """Qwen3-32B-FP8: L64 h5120 N64 K8 d128 f25600 V151936, 128 x 128 blocks. A layer has 5120 * (8192 + 2 * 1024) +
    8192 * 5120 + 3 * 5120 * 25600 = 487 587 840 FP8 values and an FP32 scale per 16384 of them (all sides divide by
    128); norms 2 * 5120 + 2 * 128 and embedding, head, last norm in 16 bits."""
    _, total, policy = stored_bytes("Qwen__Qwen3-32B-FP8_config.json")
    layer = 5120 * (8192 + 2048) + 8192 * 5120 + 3 * 5120 * 25600
    assert layer == 487_587_840
    bf16 = 2 * (2 * 151_936 * 5120 + 5120 + 64 * (2 * 5120 + 2 * 128))
    assert total == 64 * layer * (1 + 4 / 16384) + bf16
    assert policy.resolve("q_proj", 0, 64).weight.name == "fp8_e4m3_b128"


def test_bytes_of_another_fp8_checkpoint():
    """Llama-3.1-70B-FP8 (per tensor): L80 h8192 N64 K8 d128 f28672 V128256. A layer has 8192 * (8192 + 2 * 1024) +
    8192^2 + 3 * 8192 * 28672 = 855 638 016 values in 7 matrices with one FP32 scale each; the rest in 16 bits."""
    _, total, _ = stored_bytes("nvidia__Llama-3.1-70B-Instruct-FP8_config.json")
    layer = 8192 * (8192 + 2048) + 8192**2 + 3 * 8192 * 28672
    assert layer == 855_638_016
    assert total == 80 * (layer + 7 * 4) + 2 * (2 * 128_256 * 8192 + 8192 + 80 * 2 * 8192)


def test_every_published_configuration_is_analyzed():
    folder = shared_path(*QUANTIZED)
    files = sorted(f for f in folder.glob("*.json") if not f.name.endswith("hf_quant_config.json"))
    assert files
    for file in files:
        if json.loads(file.read_text())["model_type"] not in model_types():
            continue
        result = analyze(str(file), "nvidia/b200-sxm", Decode(context=100))
        assert result.totals.time_s > 0
        assert result.memory.weight_bytes < 1.4 * result.plan.parameter_count, (
            file.name
        )  # at most FP8 and 16-bit parts


def test_arrays_give_the_same_as_numbers():
    """Schemes that depend on lengths take arrays: a sweep's column equals its points."""
    for preset in ("kvkeep20", "quest-p16-n128", "attn-w1024-g4-r0", "actsparse50", "w4a16-g128+kv4"):
        plan = analyze("mixtral-8x7b", "nvidia/h100-sxm", Decode(), preset).plan
        batches = np.array([1.0, 3.0, 64.0])
        many = evaluate(plan, Decode().step(batch=batches, context=np.array([10.0, 3000.0, 5000.0])))
        for index, (batch, context) in enumerate(((1, 10), (3, 3000), (64, 5000))):
            one = evaluate(plan, Decode(batch=batch, context=context).step())
            for a, b in zip(many.times, one.times, strict=True):
                assert np.broadcast_to(a.lower, (3,))[index] == pytest.approx(float(b.lower), rel=1e-12)
