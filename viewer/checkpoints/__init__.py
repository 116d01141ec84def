"""Checkpoints by their headers: real formats and shapes of every tensor, without loading one."""

from __future__ import annotations

from pathlib import Path

from viewer.checkpoints.gguf_header import read_gguf, read_gguf_head
from viewer.checkpoints.safetensors_header import read_safetensors
from viewer.checkpoints.tensors import Header, TensorInfo
from viewer.errors import InputError

__all__ = ["Header", "TensorInfo", "read_gguf", "read_gguf_head", "read_header", "read_safetensors"]


def read_header(path: Path) -> Header:
    """The header of a .gguf or .safetensors file, or of an index of shards.

    Raises:
        InputError: no such kind of file, or a header that cannot be believed; one line.
    """
    name = path.name.lower()
    if name.endswith(".gguf"):
        return read_gguf(path)
    if name.endswith((".safetensors", ".safetensors.index.json")):
        return read_safetensors(path)
    raise InputError(f"{path.name}: neither .gguf, .safetensors nor .safetensors.index.json")
