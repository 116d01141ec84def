"""quantization_config of every known quantizer, as a policy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import shared_path
from viewer.compression import Compression, load, read_quantization
from viewer.errors import InputError

TINY = {"num_hidden_layers": 4}


def read(quantization: dict[str, Any], **config: Any) -> Compression:
    found = read_quantization({**TINY, **config, "quantization_config": quantization})
    assert found is not None
    assert load(json.loads(found.model_dump_json())) == found
    return found


def formats_of(policy: Compression, op: str, layer: int | None = 0, n_layers: int = 4) -> tuple[str, str]:
    chosen = policy.resolve(op, layer, n_layers)
    return chosen.weight.name, chosen.activation.name


SIXTEEN = ("bf16", "bf16")

METHODS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    (
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False},
        ("int4_g128", "bf16"),
    ),
    ({"quant_method": "gptq", "bits": 3, "group_size": 64, "sym": False}, ("int3_g64_asym", "bf16")),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1}, ("int8_channel_s16", "bf16")),
    (
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
        ("int4_g128_asym", "bf16"),
    ),
    (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        ("nf4", "bf16"),
    ),
    (
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        ("nf4_dq", "bf16"),
    ),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, ("bnb_fp4", "bf16")),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, ("int8", "int8")),
    (
        {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "scale_fmt": "ue8m0"},
        ("fp8_e4m3_b128", "fp8_e4m3_g128"),
    ),
    ({"quant_method": "fp8", "activation_scheme": "static"}, ("fp8_e4m3", "fp8_e4m3")),
    ({"quant_method": "fbgemm_fp8"}, ("fp8_e4m3_channel", "fp8_e4m3_channel")),
    (
        {"quant_method": "hqq", "weight_quant_params": {"nbits": 2, "group_size": 16}},
        ("int2_g16_asym16", "bf16"),
    ),
    ({"quant_method": "quanto", "weights": "float8"}, ("fp8_e4m3_channel_s16", "bf16")),
    ({"quant_method": "eetq", "weights": "int8"}, ("int8_channel_s16", "bf16")),
    ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ", "group_size": 64}, ("int4_g64", "fp8_e4m3")),
    ({"quant_algo": "MXFP8"}, ("mxfp8", "mxfp8")),
]


@pytest.mark.parametrize(("quantization", "expected"), METHODS)
def test_methods(quantization: dict[str, Any], expected: tuple[str, str]) -> None:
    policy = read(quantization)
    for op in ("q_proj", "down_proj", "experts_up", "qkv_proj"):
        assert formats_of(policy, op) == expected
    assert formats_of(policy, "embed", None) == SIXTEEN
    assert formats_of(policy, "router") == SIXTEEN
    assert formats_of(policy, "attn_norm") == SIXTEEN


def weights(**scheme: Any) -> dict[str, Any]:
    return {
        "num_bits": 8,
        "type": "int",
        "strategy": "channel",
        "symmetric": True,
        "group_size": None,
    } | scheme


COMPRESSED: list[tuple[dict[str, Any], dict[str, Any] | None, tuple[str, str]]] = [
    (weights(num_bits=4, strategy="group", group_size=128), None, ("int4_g128", "bf16")),
    (
        weights(num_bits=4, strategy="group", group_size=128, symmetric=False),
        None,
        ("int4_g128_asym", "bf16"),
    ),
    (weights(), weights(strategy="token", dynamic=True), ("int8_channel_s16", "int8_channel")),
    (weights(type="float", strategy="tensor"), weights(type="float", strategy="tensor"), ("fp8_e4m3",) * 2),
    (
        weights(type="float", strategy="block", block_structure=[128, 128]),
        weights(type="float", strategy="group", group_size=128, dynamic=True),
        ("fp8_e4m3_b128", "fp8_e4m3_g128"),
    ),
    (
        weights(type="float", num_bits=4, strategy="tensor_group", group_size=16),
        weights(type="float", num_bits=4, strategy="tensor_group", group_size=16, dynamic="local"),
        ("nvfp4", "nvfp4"),
    ),
    (weights(type="float", num_bits=4, strategy="group", group_size=32), None, ("mxfp4", "bf16")),
]


@pytest.mark.parametrize(("weight", "inputs", "expected"), COMPRESSED)
def test_compressed_tensors(
    weight: dict[str, Any], inputs: dict[str, Any] | None, expected: tuple[str, str]
) -> None:
    group = {"targets": ["Linear"], "weights": weight, "input_activations": inputs}
    policy = read(
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": group},
            "ignore": ["lm_head", r"re:.*layers\.[12]\.mlp\.down_proj", "model.layers.0.self_attn.o_proj"],
            "kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False},
        }
    )
    assert formats_of(policy, "q_proj") == expected
    assert [formats_of(policy, "down_proj", i) == SIXTEEN for i in range(4)] == [False, True, True, False]
    assert [formats_of(policy, "o_proj", i) == SIXTEEN for i in range(4)] == [True, False, False, False]
    assert formats_of(policy, "lm_head", None) == SIXTEEN
    assert policy.resolve("attention", 0, 4).kv_k.name == "fp8_e4m3"


def test_targets_that_are_patterns() -> None:
    groups = {
        "attention": {"targets": ["re:.*self_attn.*"], "weights": weights(type="float")},
        "mlp": {
            "targets": [r"re:.*mlp\.(gate|up)_proj$"],
            "weights": weights(num_bits=4, strategy="group", group_size=32),
        },
    }
    policy = read({"quant_method": "compressed-tensors", "config_groups": groups, "ignore": []})
    assert formats_of(policy, "kv_b_proj", 3)[0] == "fp8_e4m3_channel_s16"
    assert formats_of(policy, "gate_proj", 3)[0] == "int4_g32"
    assert formats_of(policy, "down_proj", 3)[0] == "bf16"


def test_gpt_oss() -> None:
    policy = read(
        {
            "quant_method": "mxfp4",
            "modules_to_not_convert": [
                "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
            ],
        }
    )  # fmt: skip
    assert formats_of(policy, "experts_gate_up", 2) == ("mxfp4", "bf16")
    assert formats_of(policy, "experts_down", 2) == ("mxfp4", "bf16")
    for op in ("q_proj", "o_proj", "router"):
        assert formats_of(policy, op, 2) == SIXTEEN


def test_modelopt_globs_and_mixed_precision() -> None:
    policy = read({"quant_algo": "NVFP4", "exclude_modules": ["*self_attn*", "model.layers.3*", "lm_head"]})
    assert formats_of(policy, "q_proj", 0) == SIXTEEN
    assert formats_of(policy, "down_proj", 0) == ("nvfp4", "nvfp4")
    assert formats_of(policy, "down_proj", 3) == SIXTEEN
    mixed = read(
        {
            "quant_algo": "MIXED_PRECISION",
            "kv_cache_quant_algo": "FP8",
            "quantized_layers": {
                "model.layers.0.mlp.experts.7.up_proj": {"quant_algo": "W4A8_AWQ", "group_size": 128},
                "model.layers.1.self_attn.q_proj": {"quant_algo": "FP8"},
            },
        }
    )
    assert formats_of(mixed, "experts_up", 0) == ("int4_g128", "fp8_e4m3")
    assert formats_of(mixed, "q_proj", 1) == ("fp8_e4m3", "fp8_e4m3")
    assert formats_of(mixed, "q_proj", 0) == SIXTEEN


def test_modules_to_not_convert() -> None:
    policy = read(
        {"quant_method": "awq", "bits": 4, "group_size": 64, "modules_to_not_convert": ["self_attn"]}
    )
    assert formats_of(policy, "k_proj") == SIXTEEN
    assert formats_of(policy, "up_proj") == ("int4_g64_asym", "bf16")


BAD: list[tuple[Any, str]] = [
    ("gptq", "a mapping"),
    ({"quant_method": "gtpq"}, "did you mean 'gptq'"),
    ({}, "neither quant_method nor quant_algo"),
    ({"quant_method": "gptq"}, "bits.*no integer"),
    ({"quant_method": "gptq", "bits": True}, "no integer"),
    ({"quant_method": "gptq", "bits": 4, "group_size": "128"}, "no integer"),
    ({"quant_method": "awq", "bits": 4, "modules_to_not_convert": "lm_head"}, "a list of module names"),
    ({"quant_method": "fp8", "weight_block_size": [128]}, "rows, columns"),
    ({"quant_method": "fp8", "weight_block_size": [64, 128]}, "square blocks"),
    ({"quant_method": "fp8", "fmt": "e3m4"}, "did you mean"),
    ({"quant_method": "bitsandbytes"}, "neither load_in_4bit"),
    ({"quant_method": "compressed-tensors"}, "config_groups: a mapping"),
    (
        {"config_groups": {"g": {"weights": weights(strategy="column")}}},
        "strategy",
    ),
    ({"config_groups": {"g": {"weights": weights()}}, "ignore": ["re:(a+)+("]}, "pattern"),
    ({"config_groups": {"g": {"weights": weights()}}, "ignore": ["re:x"] * 65}, "at most 64 patterns"),
    ({"quant_algo": "NVFP5"}, "did you mean 'NVFP4'"),
    ({"quant_algo": "NVFP4", "exclude_modules": ["*" * 40]}, "more than 8 stars"),
    ({"quant_algo": "FP8", "kv_cache_quant_algo": "FP7"}, "kv_cache_quant_algo"),
]


@pytest.mark.parametrize(("quantization", "message"), BAD)
def test_malformed_configurations_say_so_in_one_line(quantization: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_quantization({**TINY, "quantization_config": quantization})
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="num_hidden_layers"):
        read_quantization({"quantization_config": {"quant_method": "awq"}})


def test_unquantized_models_have_no_policy() -> None:
    assert read_quantization(TINY) is None


def real(name: str) -> Compression | None:
    folder = ("facts", "quantized_configs")
    config = json.loads(shared_path(*folder, f"{name}_config.json").read_text())
    sidecar = shared_path(*folder).joinpath(f"{name}_hf_quant_config.json")
    return read_quantization(config, json.loads(sidecar.read_text()) if sidecar.exists() else None)


def total(
    policy: Compression, tensors: list[tuple[str, int, int]], n_layers: int, vocab: int, hidden: int
) -> float:
    blocks = sum(
        policy.resolve(op, layer, n_layers).weight.stored_bytes(rows, cols)
        for op, rows, cols in tensors
        for layer in range(n_layers)
    )
    ends = [
        policy.resolve(op, None, n_layers).weight.stored_bytes(vocab, hidden) for op in ("embed", "lm_head")
    ]
    return blocks + sum(ends)


def llama_like(hidden: int, q: int, kv: int, ffn: int) -> list[tuple[str, int, int]]:
    return [
        ("q_proj", q, hidden), ("k_proj", kv, hidden), ("v_proj", kv, hidden), ("o_proj", hidden, q),
        ("gate_proj", ffn, hidden), ("up_proj", ffn, hidden), ("down_proj", hidden, ffn),
    ]  # fmt: skip


def test_qwen3_32b_fp8_weight_bytes() -> None:
    policy = real("Qwen__Qwen3-32B-FP8")
    assert policy is not None
    # per layer: q, o 8192 x 5120 = 41 943 040 each; k, v 1024 x 5120 = 5 242 880 each; gate, up, down
    # 25600 x 5120 = 131 072 000 each: 487 587 840 values of one byte, and one FP32 scale per 128 x 128
    # = 29 760 scales: 487 706 880 bytes; x 64 layers = 31 213 240 320.
    # Embedding and head in BF16: 2 * 151936 * 5120 * 2 = 3 111 649 280
    got = total(policy, llama_like(5120, 8192, 1024, 25600), 64, 151936, 5120)
    assert got == 31_213_240_320 + 3_111_649_280


def test_llama_70b_fp8_weight_bytes() -> None:
    policy = real("nvidia__Llama-3.1-70B-Instruct-FP8")
    assert policy is not None
    # per layer: q, o 8192^2 = 67 108 864 each; k, v 1024 x 8192 = 8 388 608 each; gate, up, down 28672 x 8192
    # = 234 881 024 each: 855 638 016 bytes, and 7 FP32 tensor scales; x 80 = 68 451 041 280 + 2 240.
    # Embedding and head in BF16: 2 * 128256 * 8192 * 2 = 4 202 692 608
    got = total(policy, llama_like(8192, 8192, 1024, 28672), 80, 128256, 8192)
    assert got == 68_451_041_280 + 2_240 + 4_202_692_608
    assert policy.resolve("attention", 0, 80).kv_v.name == "fp8_e4m3"


def test_the_other_real_configurations() -> None:
    static = real("Qwen__Qwen3-32B-FP8-Static-PerTensor")
    assert static is not None
    chosen = static.resolve("up_proj", 5, 64)
    assert (chosen.weight.name, chosen.activation_dynamic) == ("fp8_e4m3", False)
    # the same file without its sidecar has no quant_method, only quant_algo
    path = shared_path("facts", "quantized_configs", "Qwen__Qwen3-32B-FP8-Static-PerTensor_config.json")
    assert read_quantization(json.loads(path.read_text())) == static

    deepseek = real("nvidia__DeepSeek-V3.1-NVFP4")
    assert deepseek is not None
    for op in ("q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj"):
        assert all(formats_of(deepseek, op, i, 61) == SIXTEEN for i in range(61)), op
    assert formats_of(deepseek, "o_proj", 3, 61) == ("nvfp4", "nvfp4")
    assert formats_of(deepseek, "experts_down", 60, 61) == ("nvfp4", "nvfp4")
    assert formats_of(deepseek, "lm_head", None, 61) == SIXTEEN
    assert deepseek.resolve("attention", 0, 61).kv_k.name == "fp8_e4m3"

    qwen = real("nvidia__Qwen3-235B-A22B-NVFP4")
    assert qwen is not None
    assert formats_of(qwen, "router", 93, 94) == SIXTEEN
    assert formats_of(qwen, "experts_up", 93, 94) == ("nvfp4", "nvfp4")

    path = shared_path("facts", "quantized_configs", "llama-4-scout-17b-16e-instruct-fp8-dynamic.json")
    scout = read_quantization(json.loads(path.read_text()))
    assert scout is not None
    assert formats_of(scout, "v_proj", 47, 48) == SIXTEEN
    assert formats_of(scout, "experts_gate", 0, 48) == ("fp8_e4m3_channel_s16", "fp8_e4m3_channel")
    assert formats_of(scout, "shared_down_proj", 0, 48)[0] == "fp8_e4m3_channel_s16"
    assert scout.resolve("down_proj", 0, 48).activation_dynamic
