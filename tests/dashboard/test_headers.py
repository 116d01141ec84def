"""Dropped checkpoints: a head of a few kilobytes and the file's size describe the model; nothing else is sent."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.test_app import page
from viewer.checkpoints import read_gguf
from viewer.dashboard import create_app
from viewer.dashboard.headers import MAX_HEAD_BYTES, packed, written
from viewer.dashboard.state import FIRST
from viewer.errors import InputError

HIDDEN, WIDE, LAYERS, VOCAB = 256, 512, 2, 5000


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(vocab: int = VOCAB) -> tuple[bytes, int]:
    """The head of a small llama in Q8_0 (34 bytes for 32 values) and the size of the whole file."""
    words = b"".join(text(f"word{i}") for i in range(vocab))
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    numbers = {"block_count": LAYERS, "embedding_length": HIDDEN, "feed_forward_length": WIDE}
    numbers |= {"attention.head_count": 4, "attention.head_count_kv": 2, "context_length": 2048}
    pairs += [text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items()]
    pairs.append(text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, vocab) + words)
    shapes = {"token_embd.weight": (HIDDEN, vocab), "output.weight": (HIDDEN, vocab)}
    for i in range(LAYERS):
        shapes |= {f"blk.{i}.attn_{w}.weight": (HIDDEN, HIDDEN) for w in ("q", "output")}
        shapes |= {f"blk.{i}.attn_{w}.weight": (HIDDEN, HIDDEN // 2) for w in ("k", "v")}
        shapes |= {f"blk.{i}.ffn_{w}.weight": (HIDDEN, WIDE) for w in ("gate", "up")}
        shapes[f"blk.{i}.ffn_down.weight"] = (WIDE, HIDDEN)
    infos, start = b"", 0
    for name, (k, n) in shapes.items():
        infos += text(name) + struct.pack("<I2QIQ", 2, k, n, 8, start)
        start += -(-k * n * 34 // 32 // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(pairs)) + b"".join(pairs) + infos
    return head, len(head) + 64 + start


def safetensors(hidden: int = 5120) -> tuple[bytes, int]:
    """A llama-2-13b shard with the embedding alone, BF16."""
    size = 32000 * hidden * 2
    header = {
        "model.embed_tokens.weight": {"dtype": "BF16", "shape": [32000, hidden], "data_offsets": [0, size]}
    }
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw, 8 + len(raw) + size


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app()


@pytest.fixture
def client(app: Any) -> Any:
    return app.server.test_client()


def send(client: Any, name: str, head: bytes, size: int, model: str = "llama-2-13b") -> Any:
    return client.post(f"/header?name={name}&size={size}&model={model}", data=head)


def test_the_short_text_says_the_same(tmp_path: Path) -> None:
    """Tensors, configuration and formats of the packed header are those of the whole file."""
    head, size = gguf()
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(head + bytes(size - len(head)))
    short = packed("short.gguf", head, size)
    assert len(short) < len(head) / 20
    written(tmp_path / "short.gguf", short)
    one, other = read_gguf(whole), read_gguf(tmp_path / "short.gguf")
    assert one.config == other.config
    assert [(t.name, t.dtype, t.shape, t.size_bytes) for t in one.tensors] == [
        (t.name, t.dtype, t.shape, t.size_bytes) for t in other.tensors
    ]
    assert (tmp_path / "short.gguf").stat().st_size == size
    assert other.config is not None
    assert other.config["vocab_size"] == VOCAB


def test_a_gguf_becomes_the_model(app: Any, client: Any) -> None:
    head, size = gguf()
    found = send(client, "tiny-Q8_0.gguf", head, size).get_json()
    assert found["key"].startswith("file:tiny-Q8_0.gguf@")
    assert "16 tensors (16 × q8_0)" in found["note"]
    flat = {**FIRST, "model": found["key"]}
    data = page(app, client, flat, **{"files.data": {found["key"]: found["content"]}}).get_json()["response"]
    assert "tiny-Q8_0" in data["headline"]["children"]
    # 8.5 bits a value: q_proj holds 256 x 256 x 34/32 bytes
    row = next(r for r in data["ops"]["rowData"] if "q" in r["name"] and r["phase"] == "decode")
    assert row["weight_bytes"] % (HIDDEN * HIDDEN // 2 * 34 // 32) == 0
    other = page(app, client, flat).get_json()["response"]
    assert "drop it here" in other["errors"]["data"]["model"]


def test_a_safetensors_file_needs_its_model(client: Any) -> None:
    head, size = safetensors()
    assert send(client, "model.safetensors", head, size).status_code == 200
    alone = send(client, "model.safetensors", head, size, "")
    assert alone.status_code == 400
    assert "choose its model first" in alone.get_data(as_text=True)
    wrong = send(client, "model.safetensors", *safetensors(4096))
    assert wrong.status_code == 400
    assert "choose the model that the file belongs to" in wrong.get_data(as_text=True)


GGUF_HEAD, GGUF_SIZE = gguf()
#: 50 million strings that would lie in the part of the file that was not sent.
ENDLESS = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 50_000_000)


@pytest.mark.parametrize(
    ("name", "head", "size"),
    [
        ("a.gguf", GGUF_HEAD, GGUF_SIZE // 2),
        ("a.gguf", GGUF_HEAD[:-9], GGUF_SIZE),
        ("a.gguf", GGUF_HEAD, 10),
        ("a.gguf", GGUF_HEAD, 2**60),
        ("a.gguf", ENDLESS, 2**42),
        ("a.gguf", b"", 0),
        ("a.gguf", b"PK\x03\x04" + bytes(100), 10**9),
        ("a.safetensors", b"\xff" * 100, 10**9),
        ("a.safetensors", struct.pack("<Q", 50_000_000) + b"{" * 100, 10**9),
        ("a.safetensors", struct.pack("<Q", 90) + b"[" * 90, 10**9),
        ("a.exe", GGUF_HEAD, GGUF_SIZE),
        ("..%2f..%2f.gguf", b"GGUF", 100),
    ],
)
def test_a_broken_head_gets_one_line(client: Any, name: str, head: bytes, size: int) -> None:
    answer = send(client, name, head, size)
    assert answer.status_code == 400
    line = answer.get_data(as_text=True)
    assert line.count("\n") == 1
    assert 10 < len(line) < 400


def test_more_than_a_head_is_refused(client: Any) -> None:
    answer = send(client, "a.gguf", bytes(MAX_HEAD_BYTES + 2**21), 10**9)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"size": 1, "head": "x"}', '{"size": "a"}', "[" * 100_000]
)
def test_made_up_content_is_not_a_checkpoint(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="not the header"):
        written(tmp_path / "a.gguf", content)
    assert not list(tmp_path.iterdir())
