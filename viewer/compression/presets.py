"""Compression by name. Parts are joined by ``+``; later parts win.

    w16a16  w8a16  w4a16-g128  w4a16-g128-asym  w4a16-g128-asym16  w3a16-g128  w2a16-g128  w1a16
    w8a8-int8  w8a8-fp8  w8a16-fp8  w4a8  w4a8-fp8  w4a8-g128  w4a4  ...      any wXaY[-TYPE][-gN][-asym|-asym16]
    fp8-block  nvfp4  mxfp4  mxfp6  mxfp8 (weights and activations)  w4a16-nvfp4  w4a16-mxfp4  w4a8-mxfp4
    nf4  nf4-dq  bitnet  quarot
    gguf-q2_k ... gguf-q8_0 (every tensor in that type)  gguf-q4_k_m  gguf-q5_k_m (llama.cpp's mixes)
    kv8  kv8-fp8  kv4  kv2  kvN[-gN]  kv-FORMAT  attention-fp8  attention-int8
    2:4  sparse50-csr  rank1024  ffn25  kvkeep20  ...                         any name of viewer.sparsity

W3 and W2 groups carry an FP16 zero point (3.25 and 2.25 bits), as two- and three-bit kernels store them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from viewer import formats, sparsity
from viewer.compression.names import MORE_BITS
from viewer.errors import InputError, unknown

LINEAR = ("@linear",)
_WXAY = re.compile(
    r"w(16|1[0-5]|[1-9])a(16|8|6|4)(?:-(int8|int|fp8|fp4|mxfp4|mxfp6|mxfp8|nvfp4|nf4))?"
    r"(?:-g(\d{1,5}))?(-asym16|-asym)?"
)
_KV = re.compile(r"kv(16|8|[2-6])(?:-(fp8|int8|token))?(?:-g(\d{1,5}))?")
_MIXES = {"q4_k_m": ("gguf_q4_k", "gguf_q5_k"), "q5_k_m": ("gguf_q5_k", "gguf_q6_k")}

_RuleData = dict[str, Any]


def _linear(weight: str, activation: str = "default16", **more: Any) -> list[_RuleData]:
    return [{"ops": LINEAR, "weight": weight, "activation": activation, **more}]


_FP8_ATTENTION = {"query": "fp8_e4m3", "kv": "fp8_e4m3", "probabilities": "fp8_e4m3"}

_FIXED: dict[str, list[_RuleData]] = {
    # DeepSeek-V3: 128 x 128 weight blocks, 1 x 128 activation groups (arXiv:2412.19437 section 3.3)
    "fp8-block": _linear("fp8_e4m3_b128", "fp8_e4m3_g128"),
    "nvfp4": _linear("nvfp4", "nvfp4"),
    "mxfp4": _linear("mxfp4", "mxfp4"),
    "mxfp6": _linear("mxfp6", "mxfp6"),
    "mxfp8": _linear("mxfp8", "mxfp8"),
    "nf4": _linear("nf4"),
    "nf4-dq": _linear("nf4_dq"),
    "bitnet": _linear("ternary2", "int8"),
    # rotated inputs, 4-bit weights, activations and cache (QuaRot, arXiv:2404.00456): the rotations of
    # o_proj and down_proj run online, the others are folded into weights
    "quarot": [
        *_linear("int4", "int4"),
        {"ops": ("o_proj", "down_proj"), "hadamard": True},
        {"ops": ("*",), "kv": "int4_g128_asym16"},
    ],
    "attention-fp8": [{"ops": ("*",), **_FP8_ATTENTION}],
    # SageAttention (arXiv:2410.02367): Q and K in INT8, P and V in 16 bits
    "attention-int8": [{"ops": ("*",), "query": "int8", "kv_k": "int8"}],
}

_SHOWN = (
    "w16a16", "w8a16", "w4a16-g128", "w4a16-g128-asym", "w4a16-g128-asym16", "w3a16-g128", "w2a16-g128", "w1a16",
    "w8a8-int8", "w8a8-fp8", "w8a16-fp8", "w4a8", "w4a8-fp8", "w4a8-g128", "w4a4", "w4a4-g128", "w4a16-mxfp4",
    "w4a16-nvfp4", "kv8", "kv8-fp8", "kv4", "kv2", "gguf-q4_k_m", "gguf-q5_k_m", "2:4", "2:4+w8a8-int8",
    "2:4+w8a8-fp8", "4:8-pair+w4a4", "sparse50-csr", "sparse50-bitmap", "sparse70-tiled-csl", "sparse50-block32",
    "sparse80-csr-vector", "rank1024", "ffn25", "heads25", "channels25", "layers25", "experts25", "tokens50",
    "kvkeep20", "quest-p16-n128", "attn-w1024-g4-r0", "attn-2:4", "actsparse50",
)  # fmt: skip


def available() -> list[str]:
    """Names of the listed presets; the patterns of this module make more, and ``+`` joins them."""
    gguf = [name.replace("gguf_", "gguf-") for name in formats.available() if name.startswith("gguf_")]
    return sorted({*_SHOWN, *_FIXED, *gguf})


@lru_cache(maxsize=1024)
def _parts(spec: str) -> tuple[tuple[str, Any], ...]:
    rules: list[_RuleData] = []
    structure: list[str] = []
    attention: list[str] = []
    words = [word.strip().lower() for word in spec.split("+")]
    if len(words) > 16:
        raise InputError(f"compression {spec[:40]!r}: at most 16 parts, not {len(words)}")
    for word in words:
        found = _rules_of(word)
        if found is not None:
            rules += found
            continue
        try:
            scheme = sparsity.get(word)
        except InputError:
            raise unknown("compression", word, available()) from None
        if isinstance(scheme, sparsity.Structured):
            structure.append(word)
        elif isinstance(scheme, sparsity.ATTENTION_SCHEMES):
            attention.append(word)
        else:
            field = "sparsity" if isinstance(scheme, sparsity.WEIGHT_SCHEMES) else "activation_sparsity"
            rules.append({"ops": LINEAR, field: word})
    return (
        ("name", "+".join(words)),
        ("rules", tuple(rules)),
        ("structure", tuple(structure)),
        ("attention", tuple(attention)),
        ("preset", True),
    )


def parse(spec: str) -> tuple[tuple[str, Any], ...]:
    """The fields of the policy called ``spec``, as (name, value) pairs.

    Raises:
        InputError: a part is no preset, format or sparsity; the message has the nearest preset.
    """
    if not spec or len(spec) > 400:
        raise InputError(f"compression {spec[:40]!r}: a name of 1 to 400 characters")
    return _parts(spec)


def _rules_of(word: str) -> list[_RuleData] | None:
    """The rules of one part, or None when it is no format preset."""
    if word in _FIXED:
        return _FIXED[word]
    if match := _WXAY.fullmatch(word):
        return _wxay(word, match)
    if match := _KV.fullmatch(word):
        return [{"ops": ("*",), "kv": _kv_format(match)}]
    if word.startswith("kv-"):
        return [{"ops": ("*",), "kv": formats.get(word[3:]).name}]
    if word.startswith("gguf-"):
        return _gguf(word[5:])
    try:
        return _linear(formats.get(word).name)
    except InputError:
        return None


def _kv_format(match: re.Match[str]) -> str:
    bits, kind, group = int(match[1]), match[2], match[3]
    if bits == 16:
        return "default16"
    if kind and bits != 8:
        raise InputError(f"compression {match[0]!r}: {kind} is an 8-bit cache")
    if kind == "fp8":
        return "fp8_e4m3"
    # 8-bit caches have one static scale a tensor; fewer bits need groups (KIVI, arXiv:2402.02750)
    if bits == 8 and not group:
        return "int8" if kind == "token" else "int8_tensor"
    return f"int{bits}_g{group or 128}_asym16"


def _wxay(word: str, match: re.Match[str]) -> list[_RuleData]:
    bits, act_bits, kind, group, asym = int(match[1]), int(match[2]), match[3], match[4], match[5] or ""
    suffix = (f"_g{group}" if group else "") + asym.replace("-", "_")
    if bits == 16:
        if kind or group or asym:
            raise InputError(f"compression {word!r}: 16-bit weights have no type or group")
        weight = "default16"
    elif kind in ("mxfp4", "mxfp6", "mxfp8", "nvfp4", "nf4"):
        if group or asym:
            raise InputError(f"compression {word!r}: {kind} has a group of its own")
        weight = kind
    elif kind == "fp8" and bits == 8:
        weight = f"fp8_e4m3_g{group}" if group else "fp8_e4m3_channel"
    elif bits == 1:
        weight = "int1"
    elif bits <= 3 and group and not asym:
        weight = f"int{bits}_g{group}_asym16"
    else:
        weight = f"int{bits}{suffix}"
    stored = "default16" if weight == "default16" else formats.get(weight).name
    return _linear(stored, _activation(act_bits, kind or "int"))


def _activation(bits: int, kind: str) -> str:
    """Dynamic, one scale a token, unless the type has blocks of its own."""
    if bits == 16:
        return "default16"
    if bits == 8:
        micro = kind.startswith(("mxfp", "nvfp"))
        return "mxfp8" if micro else "fp8_e4m3_channel" if kind == "fp8" else "int8"
    if kind in ("mxfp4", "mxfp6", "nvfp4"):
        return "mxfp6" if bits == 6 and kind != "nvfp4" else kind
    return f"int{bits}"


def _gguf(kind: str) -> list[_RuleData]:
    """A GGUF file: embedding and head are quantized too, norms and routers are not.

    ``q4_k_m`` and ``q5_k_m`` follow ``llama_tensor_get_type`` (llama.cpp ``src/llama-quant.cpp``): Q6_K for the
    head, and for the value and down projections of the layers that ``more_bits`` picks. Its exceptions for
    70B models (Q5_K values) and eight experts (Q8_0 values) are left out.
    """
    if kind not in _MIXES:
        name = formats.get(f"gguf_{kind}").name
        return [{"ops": (*LINEAR, "embed", "lm_head"), "weight": name}, *_linear(name)]
    base, fused_qkv = _MIXES[kind]
    return [
        *_linear(base),
        {"ops": ("qkv_proj",), "weight": fused_qkv},
        {"ops": ("q_proj", "k_proj", "v_proj", "embed"), "weight": base},
        {"ops": ("lm_head",), "weight": "gguf_q6_k"},
        {
            "ops": ("v_proj", "kv_b_proj", "down_proj", "experts_down", "shared_down_proj"),
            "layers": MORE_BITS,
            "weight": "gguf_q6_k",
        },
    ]
