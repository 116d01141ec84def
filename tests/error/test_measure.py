"""Measuring a checkpoint that the test writes itself, and refusing broken ones."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from viewer.error import assess, measure_checkpoint, op_of_tensor, sqnr_db
from viewer.error.checkpoint import iter_tensors
from viewer.error.quantizers import quantizer
from viewer.errors import InputError

Q = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


def _bf16_bytes(x: np.ndarray) -> bytes:
    """Truncated to the upper half of float32."""
    return (np.asarray(x, "<f4").view("<u4") >> 16).astype("<u2").tobytes()


def _write(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> Path:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((300, 256)).astype(np.float32)
    down = rng.laplace(size=(96, 256)).astype(np.float16)
    path = _write(
        tmp_path / "model.safetensors",
        {
            Q: ("F32", q.shape, q.tobytes()),
            DOWN: ("F16", down.shape, down.tobytes()),
            "model.embed_tokens.weight": ("BF16", (8, 256), _bf16_bytes(q[:8])),
            "model.norm.weight": ("BF16", (256,), _bf16_bytes(q[0])),
            "packed.qweight": ("I32", (4, 4), bytes(64)),
        },
    )
    return path, q, down.astype(np.float32)


def test_figures_equal_a_direct_computation(checkpoint: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, q, down = checkpoint
    result = measure_checkpoint(path, ["int4_g128", "fp8_e4m3"], block_values=256 * 7)  # blocks of 7 rows
    assert [(e.tensor, e.format) for e in result.errors] == [
        (Q, "int4_g128"), (Q, "fp8_e4m3"), (DOWN, "int4_g128"), (DOWN, "fp8_e4m3")]  # fmt: skip
    assert result.skipped == (("packed.qweight", "stored as I32, only F64, F32, F16 and BF16 are measured"),)
    for error, x in zip(result.errors, (q, q, down, down), strict=True):
        expected = quantizer(error.format).apply(x, None)
        assert error.sqnr_db == pytest.approx(sqnr_db(x, expected), abs=1e-4)
        assert error.numel == x.size
        assert error.amax == pytest.approx(float(np.abs(x).max()))
        assert error.distribution == "measured"
    # Gaussian 3, Laplace 6
    assert result.errors[0].kurtosis == pytest.approx(3, abs=0.2)
    assert result.errors[2].kurtosis == pytest.approx(6, abs=0.6)
    assert result.rows()[0]["op"] == "q_proj"


def test_block_size_does_not_matter(checkpoint: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path = checkpoint[0]
    names = ["nvfp4", "int8_tensor", "fp8_e4m3_b128", "gguf_q4_k", "int4_g128+2:4", "rank16"]
    small = measure_checkpoint(path, {Q: names}, block_values=1)
    large = measure_checkpoint(path, {Q: names})
    assert len(small.errors) == len(names)
    for a, b in zip(small.errors, large.errors, strict=True):
        assert a.sqnr_db == pytest.approx(b.sqnr_db, abs=1e-6)
        assert a.cosine == pytest.approx(b.cosine)


def test_patterns_choose_formats(checkpoint: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path = checkpoint[0]
    rules = {"*.q_proj.weight": "int8", "*embed*": "int8", "*norm*": None, "*": ["nf4"]}
    found = measure_checkpoint(path, rules)
    assert {(e.op, e.format) for e in found.errors} == {
        ("q_proj", "int8"), ("embed", "int8"), ("down_proj", "nf4")}  # fmt: skip
    assert [name for name, _ in found.skipped] == ["packed.qweight"]
    with pytest.raises(InputError, match="int8y"):
        measure_checkpoint(path, {"*": "int8y"})


def test_bf16_is_read_exactly(checkpoint: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, q, _ = checkpoint
    tensors = {t.name: t for t in iter_tensors(path)}
    expected = (q[2:5].view(np.uint32) >> 16 << 16).view(np.float32)
    np.testing.assert_array_equal(tensors["model.embed_tokens.weight"].read(2, 5), expected)
    # values that are BF16 already are unchanged by it
    found = measure_checkpoint(path, {"*embed*": "bf16"}).errors[0]
    assert (found.mse, found.sqnr_db, found.cosine) == (0.0, math.inf, pytest.approx(1.0))


def test_measured_values_feed_the_assessment(checkpoint: tuple[Path, np.ndarray, np.ndarray]) -> None:
    measured = measure_checkpoint(checkpoint[0], "int4_g128").by_op()
    settings = [
        ("q_proj", 0, "int4_g128", None, None, 76800.0),
        ("down_proj", 1, "int4_g128", None, None, 24576.0),
    ]
    result = assess(settings, measured=measured)
    assert result.distribution == "measured"
    assert result.min_sqnr_db == pytest.approx(measured["down_proj", 1, "int4_g128"])


def test_experts_of_one_layer_are_one_op(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    experts = [rng.standard_normal((16, 128)).astype(np.float32) * (e + 1) for e in range(3)]
    tensors = {
        f"model.layers.2.mlp.experts.{e}.up_proj.weight": ("F32", x.shape, x.tobytes())
        for e, x in enumerate(experts)
    }
    found = measure_checkpoint(_write(tmp_path / "m.safetensors", tensors), "int4_g128").by_op()
    whole = np.concatenate(experts)
    expected = sqnr_db(whole, quantizer("int4_g128").apply(whole, None))
    assert found["experts_up", 2, "int4_g128"] == pytest.approx(expected, abs=1e-4)


def test_files_of_the_reference_writer_are_read(tmp_path: Path) -> None:
    reference = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(2)
    written = {
        "a": rng.standard_normal((5, 7)).astype(np.float16),
        "b": rng.standard_normal((2, 3, 4)),
        "scalar": np.array(1.5, np.float32),
    }
    reference.save_file(written, tmp_path / "m.safetensors", metadata={"format": "np"})
    read = {tensor.name: tensor for tensor in iter_tensors(tmp_path)}
    assert read.keys() == written.keys()
    for name, tensor in read.items():
        assert tensor.shape == written[name].shape
        np.testing.assert_array_equal(tensor.read(0, tensor.rows).reshape(tensor.shape), written[name])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (Q, ("q_proj", 0)),
        ("model.embed_tokens.weight", ("embed", None)),
        ("lm_head.weight", ("lm_head", None)),
        ("model.layers.11.block_sparse_moe.experts.7.w2.weight", ("experts_down", 11)),
        ("model.layers.4.mlp.shared_experts.gate_proj.weight", ("shared_gate_proj", 4)),
        ("model.layers.4.mlp.experts.gate_up_proj", ("experts_gate_up", 4)),
        ("transformer.h.3.attn.c_attn.weight", ("c_attn", 3)),
    ],
)
def test_ops_of_tensor_names(name: str, expected: tuple[str, int | None]) -> None:
    assert op_of_tensor(name) == expected


def test_progress_reaches_the_end_and_stopping_keeps_what_is_done(
    checkpoint: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    path = checkpoint[0]
    seen: list[tuple[int, int, str]] = []
    measure_checkpoint(path, "int8", progress=lambda done, total, name: seen.append((done, total, name)))
    # F32 300 x 256, F16 96 x 256, BF16 8 x 256 and 256, I32 4 x 4
    total = 300 * 256 * 4 + 96 * 256 * 2 + 9 * 256 * 2 + 64
    assert seen[-1] == (total, total, "")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    calls = iter(range(100))
    # the first tensor has 3 blocks of 100 rows; the fourth question stops
    result = measure_checkpoint(path, "int8", should_stop=lambda: next(calls) >= 3, block_values=25600)
    assert result.stopped
    assert [e.tensor for e in result.errors] == [Q]


def test_folders_and_lists(checkpoint: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    path = checkpoint[0]
    assert len(measure_checkpoint(path.parent, "int8").errors) == 2
    assert len(measure_checkpoint([path, path], "int8").errors) == 4
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no \.safetensors file"):
        measure_checkpoint(empty, "int8")
    with pytest.raises(InputError, match="no such file"):
        measure_checkpoint(tmp_path / "nothing", "int8")


def test_memory_does_not_grow_with_the_tensor(tmp_path: Path) -> None:
    x = np.zeros((4096, 1024), np.float32)  # 16 MiB
    path = _write(tmp_path / "m.safetensors", {Q: ("F32", x.shape, x.tobytes())})
    del x
    tracemalloc.start()
    try:
        measure_checkpoint(path, "int4_g128", block_values=2**16)  # 256 KiB of float32
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a block in float32, its copies and the float64 sums: well below the 16 MiB of the tensor
    assert peak < 8 * 2**20


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    x = np.full((2, 128), np.nan, np.float32)
    path = _write(tmp_path / "m.safetensors", {Q: ("F32", x.shape, x.tobytes())})
    with pytest.raises(InputError, match="NaN or infinity"):
        measure_checkpoint(path, "int8")


def _raw(header: bytes, data: bytes = b"", claimed: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if claimed is None else claimed) + header + data


def _one(**fields: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **fields}
    return _raw(json.dumps({"a": entry}).encode(), bytes(8))


TWO = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
       "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1234", "4 bytes are too few"),
        (_raw(b"{}", claimed=2**60), "claims 1152921504606846976 bytes"),
        (_raw(b"{}", claimed=3), "claims 3 bytes"),
        (_raw(b'{"\xff": 1}'), "not UTF-8 JSON"),
        (_raw(b"{"), "not UTF-8 JSON"),
        (_raw(b"[" * 50_000), "not UTF-8 JSON"),
        (_raw(b"[]"), "not a JSON object"),
        (_raw(b'{"a": 1}'), "no dtype"),
        (_one(shape=[-2]), "whole numbers"),
        (_one(shape="2"), "whole numbers"),
        (_one(data_offsets=[0]), "whole numbers"),
        (_one(data_offsets=[0, 2.0]), "whole numbers"),
        (_one(data_offsets=[0, 80]), "leave the file"),
        (_one(data_offsets=[8, 0]), "leave the file"),
        (_one(shape=[3]), "needs 12 bytes, has 8"),
        (_one(shape=[2**40, 2**40]), "has 8"),
        (_raw(json.dumps(TWO).encode(), bytes(12)), "overlap"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        measure_checkpoint(path, "int8")
    assert "\n" not in str(caught.value)
    assert "bad.safetensors" in str(caught.value)
