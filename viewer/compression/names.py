"""Names that compression rules match: kinds of ops, their fused forms, and layer ranges."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache

from viewer.errors import InputError

# Ops that real stacks leave in 16 bits unless a rule names them.
KEPT_OPS = (
    "embed",
    "position_embed",
    "lm_head",
    "router",
    "shared_expert_gate",
    "*norm*",
    "conv*",
    "*_conv*",
)
# The linear layers that "@linear" means. Their names end in _proj, or are the experts' products.
LINEAR_OPS = ("*_proj", "*_proj_*", "experts_gate", "experts_up", "experts_gate_up", "experts_down")
_NEVER_LINEAR = ("embed_proj", "head_proj", "*norm*", "*conv*")
# A rule for the fused op covers the ops it is made of.
FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
    "experts_gate": "experts_gate_up",
    "experts_up": "experts_gate_up",
    "shared_gate_proj": "shared_gate_up_proj",
    "shared_up_proj": "shared_gate_up_proj",
}
MORE_BITS = "gguf-more-bits"
_RANGE = re.compile(r"(\d{1,5})(-(\d{1,5})?)?|(first|last)(\d{1,5})")


@lru_cache(maxsize=4096)
def is_linear(op: str) -> bool:
    """True for the block-linear layers that presets quantize."""
    if any(fnmatchcase(op, pattern) for pattern in _NEVER_LINEAR):
        return False
    return any(fnmatchcase(op, pattern) for pattern in LINEAR_OPS)


@lru_cache(maxsize=16384)
def op_matches(pattern: str, op: str) -> bool:
    """True when a rule's pattern (a glob, "@linear", or the name of a fused op) means ``op``."""
    if pattern == "@linear":
        return is_linear(op)
    return fnmatchcase(op, pattern) or FUSED.get(op) == pattern


def more_bits(layer: int, n_layers: int) -> bool:
    """The layers to which llama.cpp's K-quant mixes give more bits.

    layer < n/8, or layer >= 7n/8, or every third in between (``use_more_bits`` of llama.cpp
    ``src/llama-quant.cpp``).
    """
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


@lru_cache(maxsize=65536)
def layer_matches(spec: str, layer: int | None, n_layers: int) -> bool:
    """True when ``layer`` lies in a spec such as ``0-3,7,40-``, ``first2``, ``last4`` or ``all``.

    ``layer`` None (embedding, head) matches ``all`` only.
    """
    if spec == "all":
        return True
    if layer is None:
        return False
    if spec == MORE_BITS:
        return more_bits(layer, n_layers)
    return any(low <= layer <= high for low, high in _ranges(spec, n_layers))


@lru_cache(maxsize=4096)
def _ranges(spec: str, n_layers: int) -> tuple[tuple[int, int], ...]:
    found = []
    for part in spec.split(","):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            raise InputError(
                f"layers {spec[:60]!r}: {part.strip()[:20]!r} is no range "
                f"(allowed: all, 3, 0-3, 8-, first2, last2, {MORE_BITS}, joined by commas)"
            )
        if match[4]:
            count = int(match[5])
            found.append((0, count - 1) if match[4] == "first" else (n_layers - count, n_layers - 1))
        else:
            low = int(match[1])
            high = low if not match[2] else int(match[3]) if match[3] else n_layers - 1
            found.append((low, high))
    return tuple(found)


def check_layers(spec: str) -> str:
    """``spec`` itself, or an InputError that says what a layer range looks like."""
    if spec not in ("all", MORE_BITS):
        _ranges(spec, 1)
    return spec


def layer_spec(layers: set[int], n_layers: int) -> str:
    """The shortest spec for a set of layers: {0,1,2,5} -> ``0-2,5``; all of them -> ``all``."""
    if len(layers) == n_layers:
        return "all"
    parts, run = [], sorted(layers)
    start = 0
    for i in range(1, len(run) + 1):
        if i == len(run) or run[i] != run[i - 1] + 1:
            parts.append(str(run[start]) if start == i - 1 else f"{run[start]}-{run[i - 1]}")
            start = i
    return ",".join(parts)
