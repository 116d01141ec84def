"""Rules, presets and files of compression policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer.compression import Compression, available, load, names
from viewer.errors import InputError

# Llama-2-7B: 32 layers, hidden 4096, FFN 11008, vocabulary 32000: (op, rows, cols, per layer?)
LLAMA_7B = [
    ("embed", 32000, 4096, False),
    *((op, 4096, 4096, True) for op in ("q_proj", "k_proj", "v_proj", "o_proj")),
    ("gate_proj", 11008, 4096, True),
    ("up_proj", 11008, 4096, True),
    ("down_proj", 4096, 11008, True),
    ("lm_head", 32000, 4096, False),
]


def weight_bytes(policy: Compression, tensors: list[tuple[str, int, int, bool]], n_layers: int) -> float:
    total = 0.0
    for op, rows, cols, repeated in tensors:
        for layer in range(n_layers) if repeated else (None,):
            chosen = policy.resolve(op, layer, n_layers, "fp16")
            scheme = chosen.sparsity
            total += (
                scheme.stored_bytes(chosen.weight, rows, cols)
                if scheme
                else chosen.weight.stored_bytes(rows, cols)
            )
    return total


@pytest.mark.parametrize(
    ("name", "weight", "activation"),
    [
        ("w16a16", "bf16", "bf16"),
        ("w8a16", "int8", "bf16"),
        ("w4a16-g128", "int4_g128", "bf16"),
        ("w4a16-g128-asym", "int4_g128_asym", "bf16"),
        ("w4a16-g64", "int4_g64", "bf16"),
        ("w3a16-g128", "int3_g128_asym16", "bf16"),
        ("w2a16-g128", "int2_g128_asym16", "bf16"),
        ("w1a16", "int1", "bf16"),
        ("w8a8-int8", "int8", "int8"),
        ("w8a8", "int8", "int8"),
        ("w8a8-fp8", "fp8_e4m3_channel", "fp8_e4m3_channel"),
        ("fp8-block", "fp8_e4m3_b128", "fp8_e4m3_g128"),
        ("w4a8", "int4", "int8"),
        ("w4a8-fp8", "int4", "fp8_e4m3_channel"),
        ("w4a4", "int4", "int4"),
        ("nvfp4", "nvfp4", "nvfp4"),
        ("mxfp4", "mxfp4", "mxfp4"),
        ("mxfp8", "mxfp8", "mxfp8"),
        ("nf4", "nf4", "bf16"),
        ("gguf-q2_k", "gguf_q2_k", "bf16"),
        ("gguf-q8_0", "gguf_q8_0", "bf16"),
        ("w4a8-mxfp4", "mxfp4", "mxfp8"),
        ("int5_g64", "int5_g64", "bf16"),
    ],
)
def test_presets(name: str, weight: str, activation: str) -> None:
    chosen = load(name).resolve("down_proj", 3, 32)
    assert (chosen.weight.name, chosen.activation.name) == (weight, activation)
    assert chosen.output.name == "bf16"
    assert chosen.kv_k.name == "bf16"
    assert chosen.activation_dynamic == (activation != "bf16")


def test_what_real_stacks_leave_in_16_bits() -> None:
    policy = load("w4a16-g128")
    for op in (
        "embed",
        "lm_head",
        "attn_norm",
        "final_norm",
        "router",
        "shared_expert_gate",
        "q_norm",
        "attn_add",
    ):
        chosen = policy.resolve(op, None, 32, "fp16")
        assert (chosen.weight.name, chosen.activation.name) == ("fp16", "fp16"), op
    for op in ("q_proj", "qkv_proj", "kv_a_proj", "experts_down", "shared_up_proj", "in_proj"):
        assert policy.resolve(op, 0, 32).weight.name == "int4_g128", op


def test_caches() -> None:
    def kv(name: str) -> tuple[str, str, float]:
        chosen = load(name).resolve("attention", 0, 32)
        return chosen.kv_k.name, chosen.kv_v.name, chosen.kv_k.row_bytes(128) * 8 / 128

    assert kv("kv8") == ("int8_tensor", "int8_tensor", 8)
    assert kv("kv8-fp8") == ("fp8_e4m3", "fp8_e4m3", 8)
    assert kv("kv4") == ("int4_g128_asym16", "int4_g128_asym16", 4.25)
    assert kv("kv4-g32")[2] == 4 + 32 / 32
    assert kv("kv16+kv4") == kv("kv4")
    sage = load("attention-int8").resolve("attention", 0, 32)
    assert (sage.query.name, sage.kv_k.name, sage.kv_v.name, sage.probabilities.name) == (
        "int8", "int8", "bf16", "bf16",
    )  # fmt: skip


def test_plus_composes_and_later_parts_win() -> None:
    chosen = load("w4a16-g128+kv4+2:4").resolve("q_proj", 0, 32)
    assert (chosen.weight.name, chosen.kv_v.name) == ("int4_g128", "int4_g128_asym16")
    assert chosen.sparsity is not None
    assert chosen.sparsity.name == "2:4"
    assert load("w4a16-g128+w8a8-fp8").resolve("q_proj", 0, 32).weight.name == "fp8_e4m3_channel"
    assert load("2:4+w8a8-fp8").resolve("q_proj", 0, 32).sparsity == chosen.sparsity
    pruned = load("w4a16-g128+ffn25+layers25+kvkeep20")
    assert pruned.kept("ffn", 13824) == 10368
    assert pruned.kept("layers", 40) == 30
    assert pruned.kept("heads", 40) == 40
    assert [s.name for s in pruned.attention_schemes()] == ["kvkeep20"]


def test_checkpoint_is_what_the_model_says() -> None:
    own = load("fp8-block")
    assert load("checkpoint", own) is own
    assert load("checkpoint").resolve("q_proj", 0, 32).weight.name == "bf16"
    both = load("checkpoint+kv8", own).resolve("q_proj", 0, 32)
    assert (both.weight.name, both.kv_k.name) == ("fp8_e4m3_b128", "int8_tensor")


def test_llama_2_7b_as_q4_k_m() -> None:
    # parameters 6 738 149 376 without norms; Q6_K where more_bits says: 16 of 32 layers' v (16.78 M) and down
    # (45.09 M), and the head (131.07 M): 1 120.9 M; 4.5 + (6.5625 - 4.5) * 1120.9 / 6738.1 = 4.843
    picked = [layer for layer in range(32) if names.more_bits(layer, 32)]
    assert len(picked) == 16
    assert picked[:6] == [0, 1, 2, 3, 6, 9]
    policy = load("gguf-q4_k_m")
    values = sum(rows * cols * (32 if each else 1) for _, rows, cols, each in LLAMA_7B)
    bits = 8 * weight_bytes(policy, LLAMA_7B, 32) / values
    assert bits == pytest.approx(4.84, abs=0.005)


def test_llama_2_13b_w4a16_weight_traffic() -> None:
    # block-linear 12 687 769 600 values * 4.125 / 8 + head 5120 * 32000 * 2 bytes = 6.542 + 0.328 = 6.870 GB
    blocks = [(op, 5120, 5120, True) for op in ("q_proj", "k_proj", "v_proj", "o_proj")]
    blocks += [
        ("gate_proj", 13824, 5120, True),
        ("up_proj", 13824, 5120, True),
        ("down_proj", 5120, 13824, True),
    ]
    tensors = [*blocks, ("lm_head", 32000, 5120, False)]
    expected = 12_687_769_600 * 4.125 / 8 + 32000 * 5120 * 2
    assert weight_bytes(load("w4a16-g128"), tensors, 40) == expected
    assert expected == pytest.approx(6.870e9, rel=2e-4)


def test_bytes_fall_with_bits() -> None:
    order = [
        "w16a16",
        "w8a16",
        "gguf-q6_k",
        "w4a16-g128-asym16",
        "w4a16-g128-asym",
        "w4a16-g128",
        "w3a16-g128",
    ]
    order += ["w2a16-g128", "w1a16"]
    sizes = [weight_bytes(load(name), LLAMA_7B[1:-1], 32) for name in order]
    assert sizes == sorted(sizes, reverse=True)
    assert weight_bytes(load("w16a16+2:4"), LLAMA_7B, 32) < weight_bytes(load("w16a16"), LLAMA_7B, 32)


def test_rules_by_op_layer_and_role() -> None:
    policy = load(
        {
            "name": "mine",
            "base": "w4a16-g128",
            "rules": [
                {"ops": "qkv_proj", "layers": "first2,30-", "weight": "int8"},
                {"ops": ["down_proj"], "layers": "last1", "weight": "default16", "sparsity": "2:4"},
                {"ops": "*", "kv": "int8_tensor"},
                {"ops": "*", "kv_v": "fp8_e4m3"},
            ],
        }
    )
    got = [policy.resolve("k_proj", layer, 32).weight.name for layer in (0, 1, 2, 29, 30, 31)]
    assert got == ["int8", "int8", "int4_g128", "int4_g128", "int8", "int8"]
    assert policy.resolve("o_proj", 0, 32).weight.name == "int4_g128"
    last = policy.resolve("down_proj", 31, 32, "fp16")
    assert last.weight.name == "fp16"
    assert last.sparsity is not None
    assert (last.kv_k.name, last.kv_v.name) == ("int8_tensor", "fp8_e4m3")
    classes = policy.layer_classes(("q_proj", "down_proj"), tuple(range(32)), 32)
    assert classes == ((0, 1, 30), tuple(range(2, 30)), (31,))


@pytest.mark.parametrize("name", available())
def test_json_round_trip(name: str) -> None:
    policy = load(name)
    assert json.loads(policy.model_dump_json()) == policy.name  # short in a URL
    again = load(json.loads(policy.model_dump_json()))
    assert again == policy
    written = policy.model_copy(update={"preset": False, "name": "x"})
    assert load(json.loads(written.model_dump_json())).rules == policy.rules


@settings(deadline=None)
@given(st.sets(st.integers(0, 79), min_size=1), st.integers(80, 90))
def test_layer_specs_round_trip(layers: set[int], n_layers: int) -> None:
    spec = names.layer_spec(layers, n_layers)
    assert {i for i in range(n_layers) if names.layer_matches(spec, i, n_layers)} == layers


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "mine.yaml"
    good.write_text("base: w4a16-g128\nrules:\n  - {ops: lm_head, weight: int8}\n")
    policy = load(str(good))
    assert policy.name == "mine"
    assert policy.resolve("lm_head", None, 32).weight.name == "int8"
    as_json = tmp_path / "mine.json"
    as_json.write_text(json.dumps({"rules": [{"ops": "@linear", "weight": "nf4"}]}))
    assert load(str(as_json)).resolve("q_proj", 0, 32).weight.name == "nf4"


BAD_FILES = {
    "a.yaml": ("rules:\n  - {ops: q_proj, wieght: int8}\n", "did you mean 'weight'"),
    "b.yaml": ("rules: [{weight: int44}]\n", "rules.0.weight.*1 to 16 bits"),
    "c.yaml": ("a: &x [1]\nb: [*x, *x]\n", "aliases"),
    "d.yaml": ("rules: [\n", "d.yaml"),
    "e.json": ("[" * 100_000, "nested too deeply"),
    "f.json": ("[1, 2]", "a mapping with rules"),
    "g.yaml": ("!!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    "h.yaml": ("rules: [{sparsity: ffn25}]\n", "not a scheme for weights"),
    "i.yaml": ("base: w8b16\n", "did you mean 'w8a16"),
    "j.json": ('{"rules": [{"layers": "3-x"}]}', "is no range"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_say_so_in_one_line(tmp_path: Path, name: str) -> None:
    text, message = BAD_FILES[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load(str(tmp_path / "x.yaml"))
    (tmp_path / "y.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(InputError, match="larger than"):
        load(str(tmp_path / "y.json"))
    with pytest.raises(InputError, match="No such file"):
        load(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w4a16_g128", "did you mean 'w4a16-g128'"),
        ("kvv8", "did you mean 'kv8'"),
        ("", "1 to 400"),
        ("x" * 1000, "1 to 400"),
        ("+".join(["kv8"] * 20), "at most 16 parts"),
        ("w16a16-g128", "16-bit weights"),
        ("kv4-fp8", "8-bit cache"),
        ("mxfp4+", "unknown compression ''"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(name)
    assert "\n" not in str(caught.value)
