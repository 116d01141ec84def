"""Dropped checkpoints: the browser sends the head of a .safetensors or .gguf file, never its tensors.

The server reads the head once, checks it against the true size of the file, and answers with a short text that
stands for it in the state: the header without what no formula needs (the words of a vocabulary; their count stays),
deflated. A worker that needs the model writes that header into a sparse file of the true size and reads it.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

from viewer.checkpoints import Header, read_gguf_head, read_header
from viewer.errors import InputError

ENDINGS = (".safetensors", ".gguf")
#: What the browser sends at most (assets/drop.js slices there), and what a stored header may unpack to.
MAX_HEAD_BYTES = 16 * 2**20
#: A file system cannot hold more in one file; no checkpoint is near it.
MAX_FILE_BYTES = 2**43


def is_header(name: str) -> bool:
    """Whether a file name is that of a checkpoint."""
    return name.lower().endswith(ENDINGS)


def packed(name: str, head: bytes, size: int, config: Any = None) -> str:
    """The text that stands for a header: what ``written`` needs. InputError in one line when it cannot be read.

    ``head``: the first bytes of the file; ``size``: bytes of the whole file; ``config``: the model's configuration,
    which a .safetensors file does not hold itself.
    """
    if not len(head) <= size <= MAX_FILE_BYTES or len(head) > MAX_HEAD_BYTES:
        raise InputError(f"{name}: {len(head)} bytes of a file of {size} bytes")
    if name.lower().endswith(".gguf"):
        body, config = _gguf(read_gguf_head(head, size, name)), None
    else:
        body = _whole(head, size, name)
        with tempfile.TemporaryDirectory(prefix="roofline-head-") as folder:
            path = Path(folder) / name
            _sparse(path, body, size)
            _check_belongs(name, read_header(path), config)
    content = {"size": size, "head": base64.b64encode(zlib.compress(body, 9)).decode(), "config": config}
    return json.dumps(content, separators=(",", ":"))


def written(path: Path, content: str) -> None:
    """Writes the checkpoint that ``content`` stands for: a sparse file of its size, its config.json beside it."""
    try:
        data = json.loads(content)
        size, config = int(data["size"]), data.get("config")
        unpacked = zlib.decompressobj()
        head = unpacked.decompress(base64.b64decode(data["head"], validate=True), MAX_HEAD_BYTES)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error, zlib.error):
        raise InputError(f"model: {path.name!r} is not the header of a checkpoint") from None
    if unpacked.unconsumed_tail or not len(head) <= size <= MAX_FILE_BYTES:
        raise InputError(f"model: {path.name!r} is not the header of a checkpoint")
    if path.suffix.lower() == ".gguf":
        read_gguf_head(head, size, path.name)
    else:
        _whole(head, size, path.name)
    if config is not None:
        (path.parent / "config.json").write_text(json.dumps(config), "utf-8")
    _sparse(path, head, size)


def _sparse(path: Path, head: bytes, size: int) -> None:
    """A file that begins with ``head`` and reads as zeros up to ``size``; only the head takes room on the disk."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
    part.replace(path)


def _whole(head: bytes, size: int, name: str) -> bytes:
    """The header of a .safetensors file: 8 bytes of length and as many as they say."""
    end = 8 + int.from_bytes(head[:8], "little")
    if len(head) < 8 or end > size:
        raise InputError(f"{name}: not a safetensors file (its first 8 bytes are no length of a header)")
    if end > len(head):
        raise InputError(f"{name}: its header is longer than the {len(head)} bytes given")
    return head[:end]


def _check_belongs(name: str, header: Header, config: Any) -> None:
    """The configuration must be of the same model: the embedding's shape tells."""
    if not isinstance(config, dict):
        raise InputError(f"{name}: it does not hold the model's configuration: choose its model first")
    for tensor in header.tensors:
        if tensor.name.endswith("embed_tokens.weight") and len(tensor.shape) == 2:
            inner = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
            wanted = (inner.get("vocab_size"), inner.get("hidden_size")) if inner else (None, None)
            if tensor.shape[1] != wanted[1]:
                raise InputError(
                    f"{name}: its embedding is {tensor.shape[0]} x {tensor.shape[1]}, that of the chosen model"
                    f" {wanted[0]} x {wanted[1]}: choose the model that the file belongs to"
                )


def _gguf(header: Header) -> bytes:
    """The header again as GGUF 3 with empty strings in its long arrays (format: ggml docs/gguf.md)."""
    out = [b"GGUF", struct.pack("<IQQ", 3, len(header.tensors), len(header.metadata))]
    for key, value in header.metadata.items():
        out += [_string(key), _value(value)]
    types = _type_ids()
    for tensor in header.tensors:
        dims = tuple(reversed(tensor.shape))
        out += [_string(tensor.name), struct.pack(f"<I{len(dims)}Q", len(dims), *dims)]
        out.append(struct.pack("<IQ", types[tensor.dtype], tensor.start))
    return b"".join(out)


def _type_ids() -> dict[str, int]:
    from viewer.formats.gguf_types import TYPE_IDS

    return {name: number for number, name in TYPE_IDS.items()}


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    """A metadata value with its type: bool 7, uint64 10, int64 11, float64 12, string 8, array 9."""
    if isinstance(value, range):
        return struct.pack("<IIQ", 9, 0, len(value)) + bytes(len(value))
    if isinstance(value, list):
        kind, code = _kind(value)
        return struct.pack(f"<IIQ{len(value)}{code}", 9, kind, len(value), *value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    kind, code = _kind([value])
    return struct.pack("<I" + code, kind, value)


def _kind(values: list[Any]) -> tuple[int, str]:
    if values and all(isinstance(v, bool) for v in values):
        return 7, "?"
    if all(isinstance(v, int) for v in values):
        return (11, "q") if any(v < 0 for v in values) else (10, "Q")
    return 12, "d"
