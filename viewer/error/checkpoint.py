"""Reading the float tensors of .safetensors files by blocks of rows, never a whole file at once.

Layout: 8 bytes little-endian header length, a JSON header (name -> dtype, shape, data_offsets), the data
(huggingface/safetensors README, "Format"). Headers are checked before any use of their numbers.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from viewer.error.layout import Array
from viewer.errors import InputError

MAX_HEADER_BYTES = 100_000_000  # the limit of the reference reader
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file: ``shape`` as stored, data at ``begin`` .. ``end`` (bytes from the start of the
    file).

    A tensor of more than two axes is read as a matrix of its last axis; a vector is one row.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int
    end: int

    @property
    def readable(self) -> bool:
        """True for F64, F32, F16 and BF16."""
        return self.dtype in _ITEM_BYTES

    @property
    def cols(self) -> int:
        """Length of the last axis (1 for a scalar)."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Product of the other axes."""
        return math.prod(self.shape[:-1])

    def read(self, start: int, stop: int) -> Array:
        """Rows start .. stop as float32 (float64 for F64), shape (stop - start, cols)."""
        size = _ITEM_BYTES[self.dtype]
        stop = min(stop, self.rows)
        count = max(stop - start, 0) * self.cols
        with self.path.open("rb") as file:
            file.seek(self.begin + start * self.cols * size)
            data = file.read(count * size)
        if len(data) != count * size:
            raise InputError(f"{self.path}: tensor {self.name!r} ends before its data does")
        if self.dtype == "BF16":  # the upper half of a float32
            values: Array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[self.dtype])
            values = values.astype(np.float64 if size == 8 else np.float32)
        return values.reshape(-1, self.cols)


def checkpoint_files(path: Path | str) -> list[Path]:
    """The .safetensors files that ``path`` names: itself, or those of a folder, sorted."""
    place = Path(path)
    if place.is_dir():
        files = sorted(place.glob("*.safetensors"))
        if not files:
            raise InputError(f"{place}: no .safetensors file in this folder")
        return files
    if not place.is_file():
        raise InputError(f"no such file or folder: {place}")
    return [place]


def read_header(path: Path) -> list[StoredTensor]:
    """All tensors of one file, in the order of their data.

    Raises:
        InputError: one line with the file and what is wrong: too short, length beyond the file, not UTF-8
            JSON, a bad entry, offsets that overlap or leave the file, sizes that disagree with the shape.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise InputError(f"{path}: {size} bytes are too few for a safetensors file")
        length = int.from_bytes(start, "little")
        if length > MAX_HEADER_BYTES or 8 + length > size:
            raise InputError(f"{path}: the header claims {length} bytes, the file has {size}")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: the header is not UTF-8 JSON ({error})") from None
    if not isinstance(header, dict):
        raise InputError(f"{path}: the header is not a JSON object")
    entries = [
        _entry(path, name, entry, 8 + length, size)
        for name, entry in header.items()
        if name != "__metadata__"
    ]
    tensors = sorted(entries, key=lambda t: (t.begin, t.end))
    for before, after in itertools.pairwise(tensors):
        if after.begin < before.end:
            raise InputError(f"{path}: the data of {before.name!r} and {after.name!r} overlap")
    return tensors


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**63 for v in value)


def _entry(path: Path, name: str, entry: Any, base: int, size: int) -> StoredTensor:
    shown = name[:120]
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise InputError(f"{path}: tensor {shown!r} has no dtype")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        raise InputError(f"{path}: tensor {shown!r} needs a shape and two data_offsets, whole numbers from 0")
    begin, end = base + offsets[0], base + offsets[1]
    if begin > end or end > size:
        raise InputError(
            f"{path}: the data of tensor {shown!r} ({offsets[0]} .. {offsets[1]}) leave the file"
        )
    item = _ITEM_BYTES.get(entry["dtype"])
    if item is not None and math.prod(shape) * item != end - begin:
        raise InputError(
            f"{path}: tensor {shown!r} of shape {shape} needs {math.prod(shape) * item} bytes, has {end - begin}"
        )
    return StoredTensor(name, entry["dtype"], tuple(shape), path, begin, end)


def iter_tensors(path: Path | str) -> Iterator[StoredTensor]:
    """The tensors of a file or of every .safetensors file of a folder; data are read only on demand."""
    for file in checkpoint_files(path):
        yield from read_header(file)
