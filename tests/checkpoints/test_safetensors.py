"""Headers of .safetensors files, honest and hostile."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from viewer.checkpoints import read_header
from viewer.errors import InputError

BITS = {"F32": 32, "BF16": 16, "F16": 16, "F8_E4M3": 8, "I8": 8}


def write(path: Path, tensors: dict[str, tuple[str, list[int]]], **metadata: str) -> Path:
    """A safetensors file full of zeros."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = BITS[dtype] // 8
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return write_raw(path, json.dumps(header).encode(), bytes(at))


def write_raw(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def layer(i: int, dtype: str = "BF16") -> dict[str, tuple[str, list[int]]]:
    name = f"model.layers.{i}"
    return {
        f"{name}.self_attn.q_proj.weight": (dtype, [64, 32]),
        f"{name}.mlp.down_proj.weight": (dtype, [32, 96]),
        f"{name}.input_layernorm.weight": ("BF16", [32]),
    }


def test_tensors_and_policy(tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": ("BF16", [100, 32]), **layer(0), **layer(1, "F8_E4M3")}
    tensors["model.layers.1.self_attn.q_proj.weight_scale"] = ("F32", [64, 1])
    header = read_header(write(tmp_path / "m.safetensors", tensors, format="pt"))
    # 3200 + (2048 + 3072 + 32) * 2 BF16 values but for layer 1's two FP8 matrices; 64 FP32 scales
    assert header.size_bytes == 2 * 3200 + 2 * (2048 + 3072 + 32) + (2048 + 3072 + 2 * 32) + 4 * 64
    assert header.metadata == {"format": "pt"}
    assert header.tensors[0].shape == (100, 32)
    assert header.compression is not None
    got = [header.compression.resolve("q_proj", i, 2, "bf16").weight.name for i in (0, 1)]
    assert got == ["bf16", "fp8_e4m3_channel"]
    assert header.compression.resolve("down_proj", 1, 2).weight.name == "fp8_e4m3"


def test_block_scales_by_their_shape(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    tensors = {name: ("F8_E4M3", [300, 320]), f"{name}_scale_inv": ("F32", [3, 3])}
    header = read_header(write(tmp_path / "m.safetensors", tensors))
    assert header.compression is not None
    assert header.compression.resolve("up_proj", 0, 1).weight.name == "fp8_e4m3_b128"


def test_config_beside_wins(tmp_path: Path) -> None:
    quantization = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    config = {"num_hidden_layers": 2, "quantization_config": quantization}
    (tmp_path / "config.json").write_text(json.dumps(config))
    header = read_header(write(tmp_path / "m.safetensors", layer(0)))
    assert header.config is not None
    assert header.compression is not None
    assert header.compression.resolve("q_proj", 0, 2).weight.name == "int4_g128_asym"


def test_one_shard_of_many(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 4}))
    header = read_header(write(tmp_path / "m.safetensors", layer(0, "F8_E4M3") | layer(1, "F8_E4M3")))
    assert header.compression is not None
    got = [header.compression.resolve("q_proj", i, 4).weight.name for i in range(4)]
    assert got == ["fp8_e4m3", "fp8_e4m3", "bf16", "bf16"]


def test_written_by_the_maintained_package(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    package = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "m.safetensors"
    package.save_file({"lm_head.weight": numpy.zeros((7, 5), numpy.float16)}, str(path))
    header = read_header(path)
    assert [(t.name, t.dtype, t.shape, t.size_bytes) for t in header.tensors] == [
        ("lm_head.weight", "F16", (7, 5), 70)
    ]


def test_shards(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", layer(0))
    write(tmp_path / "b.safetensors", layer(1))
    places = dict.fromkeys(layer(0), "a.safetensors") | dict.fromkeys(layer(1), "b.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    header = read_header(index)
    assert len(header.tensors) == 6
    assert header.size_bytes == 2 * 2 * (2048 + 3072 + 32)


def entry(dtype: Any = "F16", shape: Any = (2, 2), offsets: Any = (0, 8)) -> bytes:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


HOSTILE: dict[str, tuple[bytes, bytes, int | None, str]] = {
    "truncated header": (entry(), b"", 10_000, "truncated"),
    "oversized length": (entry(), bytes(8), 2**63, "allowed: 100000000"),
    "negative length as unsigned": (entry(), bytes(8), 2**64 - 1, "allowed: 100000000"),
    "truncated data": (entry(), bytes(7), None, "ends at byte 8 of 7 data bytes"),
    "not UTF-8": (b'{"\xff": {}}', b"", None, "not UTF-8"),
    "no JSON": (b"{]", b"", None, "no JSON"),
    "deep JSON": (b"[" * 100_000, b"", None, "no JSON"),
    "a list": (b"[]", b"", None, "no JSON object"),
    "unknown dtype": (entry("F17"), bytes(8), None, "did you mean"),
    "dtype no string": (entry(7), bytes(8), None, "unknown dtype"),
    "negative shape": (entry(shape=[-2, -2]), bytes(8), None, "none negative"),
    "boolean shape": (entry(shape=[True, 4]), bytes(8), None, "none negative"),
    "huge shape": (entry(shape=[2**40, 2**40]), bytes(8), None, "too large"),
    "wrong size": (entry(shape=[3, 2]), bytes(8), None, "which takes 12"),
    "backward offsets": (entry(offsets=[8, 0]), bytes(8), None, "begin, end"),
    "float offsets": (entry(offsets=[0.0, 8.0]), bytes(8), None, "begin, end"),
    "duplicate": (
        b'{"a": {"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}, "a": {}}',
        bytes(8),
        None,
        "stands twice",
    ),
    "overlap": (
        b'{"a": {"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},'
        b' "b": {"dtype":"F16","shape":[2],"data_offsets":[4,8]}}',
        bytes(8),
        None,
        "'a' and 'b' overlap",
    ),
    "entry no mapping": (b'{"a": 3}', b"", None, "no mapping"),
    "metadata": (b'{"__metadata__": {"a": 3}}', b"", None, "mapping of strings"),
    "huge integer": (b'{"a": ' + b"9" * 5000 + b"}", b"", None, "no JSON|no mapping"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_one_line(tmp_path: Path, case: str) -> None:
    header, data, length, message = HOSTILE[case]
    path = write_raw(tmp_path / "x.safetensors", header, data, length)
    with pytest.raises(InputError, match=message) as caught:
        read_header(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_or_too_short(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_header(tmp_path / "none.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"123")
    with pytest.raises(InputError, match="too few"):
        read_header(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="neither"):
        read_header(tmp_path / "x.bin")


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../../etc/passwd.safetensors"}, "file name in this folder"),
        ({"a": "/etc/passwd"}, "file name in this folder"),
        ({"a": "gone.safetensors"}, "No such file"),
        ({"absent": "a.safetensors"}, "is not in"),
        ({}, "no weight_map"),
        (3, "no weight_map"),
    ],
)
def test_hostile_indices(tmp_path: Path, weight_map: Any, message: str) -> None:
    write(tmp_path / "a.safetensors", layer(0))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=message):
        read_header(index)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
@example(b"{}")
@example(b'{"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}')
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    try:
        header = read_header(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert header.tensors == ()  # no data follows, so only an empty header is sound
