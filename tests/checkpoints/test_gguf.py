"""Headers of .gguf files, honest and hostile."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer.checkpoints import read_header
from viewer.compression import load
from viewer.errors import InputError
from viewer.formats.gguf_types import TYPE_IDS, block_of

IDS = {kind: number for number, kind in TYPE_IDS.items()}


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        strings = bool(value) and isinstance(value[0], str)
        body = b"".join(text(v) if strings else struct.pack("<I", v) for v in value)
        return text(key) + struct.pack("<IIQ", 9, 8 if strings else 4, len(value)) + body
    return text(key) + struct.pack("<II", 4, value)


def size_of(kind: str, dims: list[int]) -> int:
    values, size = block_of(kind)
    count = 1
    for n in dims:
        count *= n
    return count // values * size


def build(
    pairs: dict[str, Any], tensors: dict[str, tuple[str, list[int]]], *, version: int = 3, cut: int = 0
) -> bytes:
    """A GGUF file full of zeros; dims are GGUF's, the contiguous axis first."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    out += b"".join(pair(k, v) for k, v in pairs.items())
    at = 0
    for name, (kind, dims) in tensors.items():
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        out += struct.pack("<IQ", IDS[kind], at)
        at += -(-size_of(kind, dims) // 32) * 32
    out += bytes(-len(out) % 32) + bytes(at)
    return out[: len(out) - cut]


PAIRS: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 8,
    "llama.embedding_length": 512,
    "llama.feed_forward_length": 1024,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 4,
    "llama.context_length": 2048,
    "tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
}


def model(n_layers: int = 8) -> dict[str, tuple[str, list[int]]]:
    """A small Llama as llama.cpp's Q4_K_M stores it."""
    policy = load("gguf-q4_k_m")
    found = {"token_embd.weight": ("q4_k", [512, 1000]), "output.weight": ("q6_k", [512, 1000])}
    shapes = {
        "attn_q": ("q_proj", [512, 512]), "attn_k": ("k_proj", [512, 256]), "attn_v": ("v_proj", [512, 256]),
        "attn_output": ("o_proj", [512, 512]), "ffn_gate": ("gate_proj", [512, 1024]),
        "ffn_up": ("up_proj", [512, 1024]), "ffn_down": ("down_proj", [1024, 512]),
    }  # fmt: skip
    for layer in range(n_layers):
        for name, (op, dims) in shapes.items():
            kind = policy.resolve(op, layer, n_layers).weight.name.removeprefix("gguf_")
            found[f"blk.{layer}.{name}.weight"] = (kind, dims)
        found[f"blk.{layer}.attn_norm.weight"] = ("f32", [512])
    return found


def read(tmp_path: Path, data: bytes):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    return read_header(path)


def test_a_q4_k_m_file(tmp_path: Path) -> None:
    tensors = model()
    header = read(tmp_path, build(PAIRS, tensors))
    assert header.size_bytes == sum(size_of(kind, dims) for kind, dims in tensors.values())
    assert header.config is not None
    assert header.config["model_type"] == "llama"
    assert header.config["num_key_value_heads"] == 4
    assert header.config["vocab_size"] == 1000
    assert header.config["tie_word_embeddings"] is False
    # the policy of the file is the preset's, tensor by tensor
    preset = load("gguf-q4_k_m")
    assert header.compression is not None
    for op in ("q_proj", "v_proj", "down_proj", "up_proj"):
        for layer in range(8):
            mine = header.compression.resolve(op, layer, 8, "fp16")
            assert mine.weight == preset.resolve(op, layer, 8, "fp16").weight
    assert header.compression.resolve("lm_head", None, 8).weight.name == "gguf_q6_k"
    assert header.compression.resolve("embed", None, 8).weight.name == "gguf_q4_k"
    assert header.compression.resolve("attn_norm", 3, 8).weight.name == "fp32"
    # and its bytes are the file's: 512 x 512 at 4.5 bits
    by_name = {t.name: t for t in header.tensors}
    assert by_name["blk.4.attn_q.weight"].size_bytes == 512 * 512 * 4.5 / 8
    assert by_name["blk.0.attn_v.weight"].shape == (256, 512)


def test_tied_heads_have_the_embedding_s_format(tmp_path: Path) -> None:
    tensors = model()
    del tensors["output.weight"]
    header = read(tmp_path, build(PAIRS, tensors))
    assert header.config is not None
    assert header.config["tie_word_embeddings"] is True
    assert header.compression is not None
    assert header.compression.resolve("lm_head", None, 8).weight.name == "gguf_q4_k"


def test_experts_and_mla(tmp_path: Path) -> None:
    moe = PAIRS | {"llama.expert_count": 8, "llama.expert_used_count": 2}
    tensors = {
        "token_embd.weight": ("f16", [512, 1000]),
        "blk.0.ffn_up_exps.weight": ("mxfp4", [512, 1024, 8]),
    }
    header = read(tmp_path, build(moe, tensors))
    assert header.config is not None
    assert header.config["model_type"] == "mixtral"
    assert header.config["num_local_experts"] == 8
    assert header.compression is not None
    assert header.compression.resolve("experts_up", 0, 8, "fp16").weight.name == "gguf_mxfp4"

    deepseek = {k.replace("llama", "deepseek2"): v for k, v in PAIRS.items()} | {
        "general.architecture": "deepseek2",
        "deepseek2.attention.kv_lora_rank": 512,
        "deepseek2.attention.head_count_kv": 1,
        "deepseek2.attention.key_length": 576,
        "deepseek2.attention.key_length_mla": 192,
        "deepseek2.attention.value_length_mla": 128,
        "deepseek2.rope.dimension_count": 64,
    }
    config = read(tmp_path, build(deepseek, tensors)).config
    assert config is not None
    assert (config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]) == (128, 64, 128)
    assert config["num_key_value_heads"] == 8


def test_written_by_the_maintained_package(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_token_list(["a", "b"])
    writer.add_tensor("token_embd.weight", numpy.zeros((10, 64), numpy.float16))
    writer.add_tensor(
        "blk.0.ffn_down.weight", numpy.zeros((64, 68), numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(path)
    assert [(t.name, t.dtype, t.shape, t.size_bytes) for t in header.tensors] == [
        ("token_embd.weight", "f16", (10, 64), 1280),
        ("blk.0.ffn_down.weight", "q8_0", (64, 64), 64 * 68),  # 64 values = 2 blocks of 34 bytes
    ]
    assert header.compression is not None
    assert header.compression.resolve("down_proj", 0, 1).weight.name == "gguf_q8_0"


GOOD = build(PAIRS, model())


def raw(n_tensors: int = 0, n_pairs: int = 0, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_pairs) + body


def tensor(name: bytes = b"a", dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    packed = struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
    return text(name) + packed + struct.pack("<IQ", kind, offset) + bytes(4096)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a GGUF file"),
    "magic": (b"GGML" + bytes(60), "not a GGUF file"),
    "version 1": (raw(version=1), "version 1"),
    "big endian": (raw(version=3 << 24), "big-endian"),
    "cut header": (b"GGUF\x03", "truncated"),
    "tensor count": (raw(n_tensors=2**60), "tensors and 0 pairs"),
    "pair count": (raw(n_pairs=2**50), "pairs in"),
    "oversized string": (raw(0, 1, struct.pack("<Q", 2**62) + bytes(64)), "a key of"),
    "string beyond the file": (raw(0, 1, struct.pack("<Q", 60_000) + bytes(64)), "truncated"),
    "not UTF-8": (raw(0, 1, text(b"\xff\xfe") + bytes(64)), "not UTF-8"),
    "value type": (raw(0, 1, text("k") + struct.pack("<I", 77) + bytes(64)), "unknown type 77"),
    "array type": (raw(0, 1, text("k") + struct.pack("<IIQ", 9, 9, 3) + bytes(64)), "array of unknown type"),
    "array length": (raw(0, 1, text("k") + struct.pack("<IIQ", 9, 4, 2**62) + bytes(64)), "elements"),
    "array beyond": (raw(0, 1, text("k") + struct.pack("<IIQ", 9, 8, 1 << 20) + bytes(64)), "truncated"),
    "duplicate key": (raw(0, 2, pair("a", 1) * 2 + bytes(64)), "stands twice"),
    "alignment": (raw(0, 1, pair("general.alignment", 33) + bytes(64)), "no power of two"),
    "dimensions": (raw(1, 0, tensor(dims=(1,) * 9)), "9 dimensions"),
    "zero size": (raw(1, 0, tensor(dims=(0, 3))), "1 to 2"),
    "huge size": (raw(1, 0, tensor(dims=(2**40, 2**40))), "1 to 2"),
    "tensor type": (raw(1, 0, tensor(kind=5)), "unknown type 5"),
    "block": (raw(1, 0, tensor(dims=(33,), kind=2)), "no multiple of q4_0"),
    "offset": (raw(1, 0, tensor(offset=7)), "no multiple of 32"),
    "beyond the data": (raw(1, 0, tensor(offset=1 << 20)), "ends at byte"),
    "overlap": (raw(2, 0, tensor(b"a")[:-4096] + tensor(b"b")), "overlap"),
    "duplicate tensor": (raw(2, 0, tensor(b"a")[:-4096] + tensor(b"a", offset=128)), "stands twice"),
    "architecture": (build({"general.architecture": "lama"}, {}), "did you mean 'llama'"),
    "no architecture": (build({}, {}), "general.architecture"),
    "no layers": (build({"general.architecture": "llama"}, {}), "llama.block_count is missing"),
    "layers differ": (
        build(PAIRS | {"llama.attention.head_count": [8, 4]}, {}),
        "differs from layer to layer",
    ),
    "absurd layers": (build(PAIRS | {"llama.block_count": 2**31}, {}), "block_count"),
    "text for a size": (build(PAIRS | {"llama.block_count": "many"}, {}), "no size"),
    "truncated data": (GOOD[:-64], "truncated file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_one_line(tmp_path: Path, case: str) -> None:
    data, message = HOSTILE[case]
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, data)
    assert "\n" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(GOOD) - 1))
def test_every_truncation_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "x.gguf"
    path.write_bytes(GOOD[:length])
    with pytest.raises(InputError):
        read_header(path)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_any_change_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, patch: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.gguf"
    path.write_bytes(GOOD[:at] + patch + GOOD[at + len(patch) :])
    try:
        header = read_header(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert header.config is not None
