"""What the attention models share: formats of the call, attended pairs, L2 misses, class keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import Device, FloatArray, Table, TextArray

Mask = NDArray[np.bool_]
REQUIRED: tuple[str, ...] = ("batch", "seq", "n_heads", "n_kv_heads", "head_dim")
DEFAULTS: Mapping[str, float | str] = {
    "act_format": "bf16",
    "kv_format": "",
    "library": "",
    "includes": "",
    "window": 0.0,
    "launch": "graph",
    "l2": "warm",
}
KEY_COLUMNS: tuple[str, ...] = ("act_format", "kv_format", "library", "includes", "launch", "l2")
GROUP: tuple[str, ...] = ("n_heads", "n_kv_heads", "head_dim")
SMALL_WINDOW = 1024
"""Windows up to here run kernels of their own; wider ones behave like full attention that skips tiles."""


def bytes_of(name: str) -> float:
    """Bytes of one stored value of an activation or KV format ("bf16" 2, "fp8_e4m3" 1, "int4" 0.5)."""
    if name.startswith(("fp8", "int8", "mxfp8")):
        return 1.0
    if name.startswith(("int4", "fp4", "nvfp4", "mxfp4")):
        return 0.5
    return 4.0 if name in ("fp32", "tf32") else 2.0


def storage(table: Table) -> tuple[float, float]:
    """(bytes of an activation value, bytes of a KV value) of the table's formats."""
    act = bytes_of(str(table["act_format"]))
    kv = str(table.get("kv_format", "")) or str(table["act_format"])
    return act, bytes_of(kv)


def math_type(table: Table) -> str:
    """Type of the products: the activation's; a narrow cache under 16-bit activations is converted up."""
    act = str(table["act_format"])
    return "fp8" if act.startswith("fp8") else "int8" if act.startswith("int8") else "bf16"


def format_tag(table: Table) -> str:
    """``bf16``, ``bf16+kv8``, ``fp8``: the formats as they appear in a kernel class."""
    act, kv = storage(table)
    tag = {4.0: "fp32", 2.0: "bf16", 1.0: math_type(table), 0.5: "fp4"}[act]
    return tag if kv == act or act < 2 else f"{tag}+kv{8 if kv == 1 else 4 if kv < 1 else 16}"


def library_tag(table: Table) -> str:
    """Library without its version: ``trtllm-1.3.0rc20`` gives ``trtllm``; ``-`` when the row has none."""
    return str(table.get("library", "")).split("-")[0] or "-"


def columns(table: Table) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """batch b, seq s, query heads H, KV heads K, head dim D, window w (s where there is none), as floats."""
    b, s, heads, kv_heads, dim = (np.asarray(table[name], dtype=float) for name in REQUIRED)
    given = np.asarray(table.get("window", 0.0), dtype=float) + np.zeros_like(s)
    return b, s, heads, kv_heads, dim, np.where(given > 0, np.minimum(given, s), s)


def miss(working_set_bytes: FloatArray, device: Device, low: float, high: float) -> FloatArray:
    """Share of a warm working set that the L2 misses: 0 below low x L2, 1 above high x L2, linear between."""
    if device.l2_bytes <= 0:
        return np.ones_like(working_set_bytes)
    return np.clip((working_set_bytes / device.l2_bytes - low) / (high - low), 0.0, 1.0)


def log2(values: FloatArray) -> FloatArray:
    """log2 of positive values (at least 2^-20)."""
    return np.asarray(np.log2(np.maximum(values, 2.0**-20)))


def kernel(table: Table, device: Device) -> str:
    """Which open attention kernel a library runs on a device: fa3, fa2, flashinfer, xqa, or ``generic``.

    vLLM and SGLang use FlashAttention-3 on Hopper. Elsewhere vLLM uses FlashAttention-2, which has no narrow
    cache (a Triton kernel serves those), and SGLang FlashInfer. TensorRT-LLM has XQA and a masked
    multi-head kernel. Sources: vllm/v1/attention/backends, sglang/srt/layers/attention, TensorRT-LLM
    cpp/kernels/xqa.
    """
    library = library_tag(table)
    if library == "trtllm":
        return "xqa"
    if library in ("vllm", "sglang"):
        if device.family == "hopper":
            return "fa3"
        act, kv = storage(table)
        if library == "vllm":
            return "fa2" if kv >= act else "generic"
        return "flashinfer"
    return "generic"


def leaf_names(kinds: Sequence[str], kind: NDArray[np.int64], dim: FloatArray, windowed: Mask) -> TextArray:
    """``kind/dim`` of each row, with a ``w`` behind the head dim under a window; ``kind`` indexes ``kinds``.

    Names are made once for each combination, so that 100 000 rows cost milliseconds.
    """
    code = (np.round(dim).astype(np.int64) * 2 + windowed) * len(kinds) + kind
    unique, inverse = np.unique(code, return_inverse=True)
    names = [
        f"{kinds[c % len(kinds)]}/{c // len(kinds) // 2}{'w' if c // len(kinds) % 2 else ''}" for c in unique
    ]
    return np.asarray(np.array(names)[inverse])


def window_of(table: Table) -> FloatArray:
    """The window of each row as given (0: none)."""
    s = np.asarray(table["seq"], dtype=float)
    return np.asarray(np.asarray(table.get("window", 0.0), dtype=float) + np.zeros_like(s))
