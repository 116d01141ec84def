"""Headers of .gguf files (format: ggml docs/gguf.md, versions 2 and 3), checked before they are believed.

Counts and lengths are compared with the file's size before anything is allocated; arrays (the vocabulary) are
skipped and only counted.
"""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from viewer.checkpoints.gguf_names import config_of, sites_of
from viewer.checkpoints.tensors import Header, TensorInfo, check_no_overlap, policy
from viewer.errors import InputError
from viewer.formats.gguf_types import PLAIN, TYPE_IDS, block_of

MAX_TENSORS = 1_000_000
MAX_PAIRS = 100_000
MAX_STRING = 16 << 20
MAX_NAME = 65_535
MAX_ARRAY = 50_000_000
KEPT_ARRAY = 4096

# value type: (struct code, bytes)
_SCALARS = {
    0: ("B", 1), 1: ("b", 1), 2: ("H", 2), 3: ("h", 2), 4: ("I", 4), 5: ("i", 4), 6: ("f", 4), 7: ("?", 1),
    10: ("Q", 8), 11: ("q", 8), 12: ("d", 8),
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class _Reader:
    """Reads little-endian values, never past the end of the file."""

    def __init__(self, stream: BinaryIO, size: int, where: str) -> None:
        self._stream, self._left, self.where, self.size = stream, size, where, size

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self.size - self._left

    def need(self, count: int) -> None:
        """Refuse what is longer than the rest of the file."""
        if count > self._left:
            raise InputError(
                f"{self.where}: {count} bytes needed at byte {self.position}, {self._left} left (truncated?)"
            )

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        self.need(count)
        found = self._stream.read(count)
        if len(found) < count:
            raise InputError(f"{self.where}: truncated while reading")
        self._left -= count
        return found

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes."""
        self.need(count)
        self._stream.seek(count, 1)
        self._left -= count

    def number(self, code: str) -> Any:
        """One scalar."""
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self, limit: int, what: str) -> str:
        """A length-prefixed UTF-8 string."""
        length = self.number("Q")
        if length > limit:
            raise InputError(f"{self.where}: {what} of {length} bytes (allowed: {limit})")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{self.where}: {what} is not UTF-8") from None


class _HeadReader(_Reader):
    """Reads the head of a file whose rest is elsewhere; never past the head."""

    def __init__(self, head: bytes, size: int, where: str) -> None:
        super().__init__(BytesIO(head), size, where)
        self._head = len(head)

    def need(self, count: int) -> None:
        """Refuse what is longer than the head."""
        super().need(count)
        if self.position + count > self._head:
            raise InputError(f"{self.where}: its header is longer than the {self._head} bytes given")


def read_gguf(path: Path) -> Header:
    """The header of a .gguf file: tensors, metadata, the configuration and the policy that they mean.

    Raises:
        InputError: one line that says what is wrong with the file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            tensors, metadata = _read(_Reader(stream, size, path.name))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    return _described(tensors, metadata, str(path), path.name)


def read_gguf_head(head: bytes, size_bytes: int, where: str) -> Header:
    """The header in the first bytes of a .gguf file of ``size_bytes`` in all; as ``read_gguf``.

    Raises:
        InputError: as ``read_gguf``, and when the header does not end within ``head``.
    """
    tensors, metadata = _read(_HeadReader(head, size_bytes, where))
    return _described(tensors, metadata, where, where)


def _described(tensors: tuple[TensorInfo, ...], metadata: dict[str, Any], path: str, where: str) -> Header:
    config = config_of(metadata, tensors, where)
    stored = {site: t.format for t in tensors if t.format for site in sites_of(t.name)}
    if ("lm_head", None) not in stored and ("embed", None) in stored:
        stored["lm_head", None] = stored["embed", None]
    kept = policy(stored, int(config["num_hidden_layers"]), "checkpoint:gguf")
    return Header(path, "gguf", tensors, metadata, config, kept)


def _read(reader: _Reader) -> tuple[tuple[TensorInfo, ...], dict[str, Any]]:
    magic = reader.take(min(4, reader.size))
    if magic != b"GGUF":
        raise InputError(f"{reader.where}: not a GGUF file (it begins with {magic!r})")
    version = reader.number("I")
    if version not in (2, 3):
        swapped = " (a big-endian file?)" if version in (2 << 24, 3 << 24) else ""
        raise InputError(f"{reader.where}: GGUF version {version}{swapped} (allowed: 2, 3)")
    n_tensors, n_pairs = reader.number("Q"), reader.number("Q")
    # a tensor takes at least 8 + 4 + 8 + 4 + 8 bytes here, a pair 8 + 4 + 1
    if n_tensors > MAX_TENSORS or n_pairs > MAX_PAIRS or n_tensors * 32 + n_pairs * 13 > reader.size:
        raise InputError(f"{reader.where}: {n_tensors} tensors and {n_pairs} pairs in {reader.size} bytes")
    metadata: dict[str, Any] = {}
    for _ in range(n_pairs):
        key = reader.string(MAX_NAME, "a key")
        if key in metadata:
            raise InputError(f"{reader.where}: key {key[:60]!r} stands twice")
        metadata[key] = _value(reader, reader.number("I"), key)
    infos = [_info(reader) for _ in range(n_tensors)]
    names = {info.name for info in infos}
    if len(names) < len(infos):
        raise InputError(f"{reader.where}: a tensor name stands twice")
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment > 1 << 20 or alignment & (alignment - 1):
        raise InputError(f"{reader.where}: alignment {str(alignment)[:20]} is no power of two")
    data_start = -(-reader.position // alignment) * alignment
    if any(info.start % alignment for info in infos):
        raise InputError(f"{reader.where}: a tensor's offset is no multiple of {alignment}")
    check_no_overlap(infos, max(0, reader.size - data_start), reader.where)
    return tuple(infos), metadata


def _value(reader: _Reader, kind: int, key: str) -> Any:
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind][0])
    if kind == _STRING:
        return reader.string(MAX_STRING, f"value of {key[:60]!r}")
    if kind != _ARRAY:
        raise InputError(f"{reader.where}: key {key[:60]!r} has unknown type {kind}")
    inner, length = reader.number("I"), reader.number("Q")
    if length > MAX_ARRAY:
        raise InputError(f"{reader.where}: key {key[:60]!r} has {length} elements (allowed: {MAX_ARRAY})")
    if inner in _SCALARS:
        code, width = _SCALARS[inner]
        if length > KEPT_ARRAY:
            reader.skip(length * width)
            return range(length)
        return list(struct.unpack(f"<{length}{code}", reader.take(length * width)))
    if inner != _STRING:
        raise InputError(f"{reader.where}: key {key[:60]!r} is an array of unknown type {inner}")
    reader.need(length * 8)
    for _ in range(length):
        text = reader.number("Q")
        if text > MAX_STRING:
            raise InputError(f"{reader.where}: a string of {text} bytes in {key[:60]!r}")
        reader.skip(text)
    return range(length)


def _info(reader: _Reader) -> TensorInfo:
    name = reader.string(MAX_NAME, "a tensor name")
    shown = f"{reader.where}: tensor {name[:60]!r}"
    n_dims = reader.number("I")
    if not 1 <= n_dims <= 4:
        raise InputError(f"{shown}: {n_dims} dimensions (allowed: 1 to 4)")
    dims = [reader.number("Q") for _ in range(n_dims)]
    type_id, offset = reader.number("I"), reader.number("Q")
    if type_id not in TYPE_IDS:
        raise InputError(f"{shown}: unknown type {type_id} (known: up to {max(TYPE_IDS)})")
    values = 1
    for size in dims:
        values *= size
    if not 0 < values < 1 << 50:
        raise InputError(f"{shown}: sizes {dims} (allowed: 1 to 2^50 values)")
    kind = TYPE_IDS[type_id]
    block, size_bytes = block_of(kind)
    if dims[0] % block:
        raise InputError(f"{shown}: rows of {dims[0]} values are no multiple of {kind}'s {block}")
    fmt = PLAIN.get(kind) or (None if kind.startswith("i") and kind[1:].isdigit() else f"gguf_{kind}")
    # GGUF writes the contiguous axis first; here it is last
    return TensorInfo(
        name, kind, tuple(reversed(dims)), offset, values // block * size_bytes, fmt, reader.where
    )
