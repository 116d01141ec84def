"""What a checkpoint's header says: tensors with their real storage, and metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from viewer.compression import Compression, validate
from viewer.compression.names import layer_spec
from viewer.errors import InputError

Site = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One stored tensor: ``dtype`` as the file calls it, ``shape`` with the contraction axis last.

    ``start`` and ``size_bytes`` lie in the data section of ``file``. ``format`` is the number format's name, or
    None for what is no number format here (packed integers, booleans).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int
    format: str | None
    file: str = ""

    @property
    def values(self) -> int:
        """Number of stored elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Header:
    """A checkpoint's header: nothing of the tensors' data was read.

    ``config``: a Hugging Face-like configuration (what ``config.json`` would say), or None when the file does
    not know it. ``compression``: the policy that stores every tensor as the file does.
    """

    path: str
    kind: str
    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    compression: Compression | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def values(self) -> int:
        """Stored elements of all tensors (packed integers count as they are stored)."""
        return sum(tensor.values for tensor in self.tensors)


def check_no_overlap(tensors: Iterable[TensorInfo], data_bytes: int, where: str) -> None:
    """Refuse tensors that lie outside the data section or on top of each other."""
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda t: (t.start, t.size_bytes)):
        if tensor.start + tensor.size_bytes > data_bytes:
            raise InputError(
                f"{where}: tensor {tensor.name[:60]!r} ends at byte {tensor.start + tensor.size_bytes} "
                f"of {data_bytes} data bytes (truncated file?)"
            )
        if tensor.start < end and tensor.size_bytes:
            raise InputError(f"{where}: tensors {before[:60]!r} and {tensor.name[:60]!r} overlap")
        if tensor.size_bytes:
            end, before = tensor.start + tensor.size_bytes, tensor.name


def policy(stored: Mapping[Site, str], n_layers: int, name: str, default16: str | None = None) -> Compression:
    """The policy that gives each (op, layer) the weight format that the file has.

    ``default16``: the 16-bit type that stands for "default16"; without it the commonest one in the file.
    """
    common = Counter(fmt for fmt in stored.values() if fmt in ("bf16", "fp16"))
    sixteen = default16 or (common.most_common(1)[0][0] if common else "bf16")
    by_op: dict[str, dict[str, set[int | None]]] = {}
    for (op, layer), fmt in stored.items():
        if layer is not None and layer >= n_layers:
            continue
        shown = "default16" if fmt == sixteen else fmt
        by_op.setdefault(op, {}).setdefault(shown, set()).add(layer)
    rules: dict[tuple[str, str], list[str]] = {}
    for op, formats in by_op.items():
        for fmt, layers in formats.items():
            numbers = {layer for layer in layers if layer is not None}
            spec = layer_spec(numbers, n_layers) if numbers else "all"
            rules.setdefault((spec, fmt), []).append(op)
    listed = [{"ops": tuple(ops), "layers": spec, "weight": fmt} for (spec, fmt), ops in rules.items()]
    return validate({"name": name[:80], "rules": tuple(listed)})
