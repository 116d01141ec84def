"""From a quantizer's description of a tensor (bits, type, strategy, group) to a number format."""

from __future__ import annotations

from typing import Any

from viewer import formats
from viewer.errors import InputError


def integer(value: Any, what: str, low: int, high: int) -> int:
    """``value`` as an int in [low, high]; booleans are no integers."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{what}: {str(value)[:40]!r} is no integer from {low} to {high}")
    return value


def grouped_integer(bits: int, group: int | None, *, symmetric: bool, asym: str = "_asym") -> str:
    """``int4_g128``: packed integers with an FP16 scale a group; -1 or None means one a row."""
    suffix = "" if symmetric else asym
    if group is None or group <= 0:
        return formats.get(f"int{bits}_channel{suffix}_s16").name
    return formats.get(f"int{bits}_g{group}{suffix}").name


def from_scheme(scheme: dict[str, Any], what: str) -> str:
    """The format of a compressed-tensors ``weights`` or ``input_activations`` mapping.

    Its scales have the model's 16-bit type unless they are computed at run time (FP32), or ``scale_dtype`` says.
    """
    bits = integer(scheme.get("num_bits", 8), f"{what}.num_bits", 1, 16)
    group = scheme.get("group_size")
    group = None if group is None else integer(group, f"{what}.group_size", -1, 1 << 20)
    strategy = scheme.get("strategy") or ("group" if group and group > 0 else "tensor")
    runtime = bool(scheme.get("dynamic"))
    if scheme.get("type", "int") == "float":
        return _float(bits, strategy, group, scheme, runtime, what)
    symmetric = scheme.get("symmetric", True) is not False
    if strategy in ("group", "tensor_group"):
        return grouped_integer(bits, group, symmetric=symmetric)
    if strategy in ("channel", "token"):
        suffix = "" if symmetric else "_asym"
        return formats.get(f"int{bits}_channel{suffix}" + ("" if runtime else "_s16")).name
    if strategy == "tensor":
        return formats.get(f"int{bits}_tensor" + ("" if symmetric else "_asym")).name
    raise InputError(
        f"{what}.strategy: {str(strategy)[:40]!r} (allowed: tensor, channel, token, group, block)"
    )


def _float(
    bits: int, strategy: str, group: int | None, scheme: dict[str, Any], runtime: bool, what: str
) -> str:
    if bits == 4:
        return "nvfp4" if strategy == "tensor_group" or group == 16 else "mxfp4"
    if bits == 6:
        return "mxfp6"
    if bits == 16:
        return "default16"
    if bits != 8:
        raise InputError(f"{what}: floats have 4, 6, 8 or 16 bits, not {bits}")
    if strategy == "block":
        shape = scheme.get("block_structure")
        return block_fp8(shape, what) if shape else "fp8_e4m3_b128"
    if strategy in ("group", "tensor_group") and group:
        return "mxfp8" if group == 32 else formats.get(f"fp8_e4m3_g{group}").name
    if strategy in ("channel", "token"):
        return "fp8_e4m3_channel" + ("" if runtime else "_s16")
    return "fp8_e4m3"


def block_fp8(shape: Any, what: str, kind: str = "e4m3") -> str:
    """``fp8_e4m3_b128`` for [128, 128]; only square blocks are known, or [1, G] groups."""
    if not isinstance(shape, (list, tuple)) or len(shape) != 2:
        raise InputError(f"{what}: a block is [rows, columns], not {str(shape)[:40]!r}")
    rows, cols = (integer(size, what, 1, 1 << 20) for size in shape)
    if rows == 1:
        return formats.get(f"fp8_{kind}_g{cols}").name
    if rows != cols:
        raise InputError(f"{what}: blocks of {rows} x {cols} (allowed: square blocks, or 1 x G)")
    return formats.get(f"fp8_{kind}_b{rows}").name


def kv_format(scheme: Any, what: str) -> str | None:
    """The cache format of ``kv_cache_scheme`` (a mapping, or a name such as "FP8"), or None."""
    if scheme is None:
        return None
    if isinstance(scheme, dict):
        return from_scheme({**scheme, "strategy": scheme.get("strategy") or "tensor"}, what)
    known = {"FP8": "fp8_e4m3", "INT8": "int8_tensor", "NVFP4": "nvfp4", "NVFP4_KV": "nvfp4", "NONE": None}
    if not isinstance(scheme, str) or scheme.upper() not in known:
        raise InputError(f"{what}: {str(scheme)[:40]!r} (allowed: {', '.join(known)}, or a mapping)")
    return known[scheme.upper()]
