"""Headers of .safetensors files: 8 bytes of length, JSON, and nothing of the data.

Every field is checked against the file's size before it is believed
(format: huggingface/safetensors README, "Format"; its limit of 100 MB for a header is kept).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from viewer.checkpoints.tensors import Header, Site, TensorInfo, check_no_overlap, policy
from viewer.compression import Compression, read_quantization
from viewer.compression.modules import ops_of
from viewer.errors import InputError, unknown

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 1_000_000
MAX_SHARDS = 4096
MAX_JSON_BYTES = 64 << 20

# dtype: (bits an element, number format or None)
DTYPES: dict[str, tuple[int, str | None]] = {
    "BOOL": (8, None), "U8": (8, None), "I8": (8, "int8_tensor"), "U16": (16, None), "I16": (16, "int16_tensor"),
    "U32": (32, None), "I32": (32, None), "U64": (64, None), "I64": (64, None), "F64": (64, "fp64"),
    "F32": (32, "fp32"), "F16": (16, "fp16"), "BF16": (16, "bf16"), "F8_E4M3": (8, "fp8_e4m3"),
    "F8_E5M2": (8, "fp8_e5m2"), "F8_E8M0": (8, None), "F8_E4M3FNUZ": (8, "fp8_e4m3"),
    "F8_E5M2FNUZ": (8, "fp8_e5m2"), "F6_E2M3": (6, "mxfp6"), "F6_E3M2": (6, "mxfp6_e3m2"), "F4": (4, "mxfp4"),
    "C64": (64, None),
}  # fmt: skip


def read_safetensors(path: Path) -> Header:
    """The header of one .safetensors file, or of all shards of a ``*.safetensors.index.json``.

    A ``config.json`` in the same folder becomes ``config``, and its quantization the policy.

    Raises:
        InputError: one line that says what is wrong with the file.
    """
    if path.name.endswith(".json"):
        tensors, metadata = _read_index(path)
    else:
        tensors, metadata = _read_file(path)
    config = _json_beside(path, "config.json")
    return Header(str(path), "safetensors", tensors, metadata, config, _policy(path, tensors, config))


def _read_file(path: Path) -> tuple[tuple[TensorInfo, ...], dict[str, Any]]:
    where = path.name
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(8)
            if len(head) < 8:
                raise InputError(f"{where}: {size} bytes are too few for a safetensors file")
            length = int.from_bytes(head, "little")
            if length > MAX_HEADER_BYTES:
                raise InputError(f"{where}: a header of {length} bytes (allowed: {MAX_HEADER_BYTES})")
            if length > size - 8:
                raise InputError(f"{where}: a header of {length} bytes in a file of {size} (truncated?)")
            raw = stream.read(length)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(raw) < length:
        raise InputError(f"{where}: truncated while reading the header")
    header = _parse(raw, where)
    return _tensors(header, size - 8 - length, where)


def _parse(raw: bytes, where: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{where}: the header is not UTF-8") from None
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, where))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: the header is no JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(found, dict):
        raise InputError(f"{where}: the header is no JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where}: {twice[:60]!r} stands twice in the header")
    return found


def _tensors(
    header: dict[str, Any], data_bytes: int, where: str
) -> tuple[tuple[TensorInfo, ...], dict[str, Any]]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError(f"{where}: __metadata__ is no mapping of strings")
    if len(header) > MAX_TENSORS:
        raise InputError(f"{where}: {len(header)} tensors (allowed: {MAX_TENSORS})")
    tensors = tuple(_tensor(name, entry, where) for name, entry in header.items())
    check_no_overlap(tensors, data_bytes, where)
    return tensors, metadata


def _tensor(name: str, entry: Any, where: str) -> TensorInfo:
    shown = f"{where}: tensor {name[:60]!r}"
    if not isinstance(entry, dict):
        raise InputError(f"{shown}: no mapping")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise unknown(f"dtype of {shown}", str(dtype), DTYPES)
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _naturals(shape) or len(shape) > 16:
        raise InputError(f"{shown}: shape {str(shape)[:40]} (allowed: up to 16 sizes, none negative)")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InputError(f"{shown}: data_offsets {str(offsets)[:40]} (allowed: [begin, end])")
    bits, fmt = DTYPES[dtype]
    values = 1
    for size in shape:
        values *= size
        if values > 1 << 60:
            raise InputError(f"{shown}: shape {str(shape)[:60]} is too large")
    begin, end = offsets
    if (values * bits + 7) // 8 != end - begin:
        expected = (values * bits + 7) // 8
        raise InputError(
            f"{shown}: {end - begin} bytes for {dtype} {str(shape)[:40]}, which takes {expected}"
        )
    return TensorInfo(name, dtype, tuple(shape), begin, end - begin, fmt, where)


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in value
    )


def _read_index(path: Path) -> tuple[tuple[TensorInfo, ...], dict[str, Any]]:
    index = read_json(path)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{path.name}: no weight_map")
    shards = sorted({str(shard) for shard in weight_map.values()})
    if len(shards) > MAX_SHARDS:
        raise InputError(f"{path.name}: {len(shards)} shards (allowed: {MAX_SHARDS})")
    found: dict[str, TensorInfo] = {}
    for shard in shards:
        if shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise InputError(f"{path.name}: shard {shard[:60]!r} is no .safetensors file name in this folder")
        for tensor in _read_file(path.parent / shard)[0]:
            if tensor.name in found:
                raise InputError(f"{shard}: tensor {tensor.name[:60]!r} is in {found[tensor.name].file} too")
            found[tensor.name] = tensor
    missing = [n for n, shard in weight_map.items() if n not in found or found[n].file != shard]
    if missing:
        raise InputError(f"{path.name}: tensor {missing[0][:60]!r} is not in {weight_map[missing[0]]}")
    metadata = index.get("metadata")
    return tuple(found.values()), metadata if isinstance(metadata, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(raw) > MAX_JSON_BYTES:
        raise InputError(f"{path.name}: larger than {MAX_JSON_BYTES} bytes")
    return _parse(raw, path.name)


def _json_beside(path: Path, name: str) -> dict[str, Any] | None:
    beside = path.parent / name
    return read_json(beside) if beside.is_file() else None


def _policy(
    path: Path, tensors: tuple[TensorInfo, ...], config: Mapping[str, Any] | None
) -> Compression | None:
    """What config.json (and its sidecar) says; without that, what the tensors' types say."""
    if config is not None:
        described = read_quantization(dict(config), _json_beside(path, "hf_quant_config.json"))
        if described is not None:
            return described
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    stored: dict[Site, str] = {}
    for tensor in tensors:
        fmt = _scaled(tensor, shapes)
        if fmt and tensor.name.endswith(".weight") and len(tensor.shape) >= 2:
            stored |= dict.fromkeys(ops_of(tensor.name), fmt)
    layers = [layer for _, layer in stored if layer is not None]
    if not stored:
        return None
    # one shard of many holds some of the layers only: the configuration knows how many there are
    said = (config or {}).get("num_hidden_layers")
    n_layers = max(max(layers, default=0) + 1, said if isinstance(said, int) else 0)
    return policy(stored, n_layers, "checkpoint:safetensors")


def _scaled(tensor: TensorInfo, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The format of an 8-bit tensor by the shape of the scales beside it (``*_scale``, ``*_scale_inv``)."""
    if tensor.format not in ("fp8_e4m3", "fp8_e5m2", "int8_tensor") or len(tensor.shape) != 2:
        return tensor.format
    scale = next((shapes[n] for s in ("_scale", "_scale_inv") if (n := tensor.name + s) in shapes), ())
    rows, cols = tensor.shape
    base = tensor.format.removesuffix("_tensor")
    if scale in ((rows,), (rows, 1)) and rows > 1:
        return f"{base}_channel"
    if len(scale) == 2 and scale != (1, 1) and all(scale):
        block = -(-cols // scale[1])
        # the last block may be cut: round up to the power of two that gives as many blocks
        block = 1 << max(0, block - 1).bit_length()
        return f"{base}_b{block}" if base.startswith("fp8") and block > 1 else f"{base}_channel"
    return tensor.format
