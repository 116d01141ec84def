"""Structured pruning: a policy's shape changes applied to a model's description, before its graph is built.

Works on any frozen dataclass that names its sizes as the model descriptions do: ``heads`` with ``kv_heads`` or
``kv_rank`` (attention), ``intermediate`` (feed-forward and experts), ``experts`` with ``top_k``, ``hidden`` and its
equals (residual stream), ``layers``. Recurrent state widths stay.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from viewer.compression.policy import Compression

#: Fields of the width of a residual stream.
CHANNEL_FIELDS = ("hidden", "embed_dim", "source_hidden")
#: The parts of a model description that hold blocks (the others are facts, files and notes).
_BLOCK_FIELDS = ("layers", "towers", "vision")


def reshape(spec: Any, policy: Compression) -> Any:
    """The model description with the kept sizes, and one note per axis that says what was kept.

    heads: whole KV groups; queries alone where there is one KV head. experts: at least the top k. layers: evenly
    spaced over the depth, so that every kind of layer keeps its share. An axis that the model lacks is a note.
    """
    axes = tuple(dict.fromkeys(s.axis for s in policy.structured() if s.axis != "tokens"))
    if not axes:
        return spec
    changed: dict[str, tuple[int, int]] = {}
    known: dict[Any, Any] = {}
    parts: dict[str, Any] = {}
    for name in _BLOCK_FIELDS:
        parts[name] = _walk(getattr(spec, name), policy, axes, changed, known)
    if "layers" in axes:
        size = len(parts["layers"])
        kept = policy.kept("layers", size)
        parts["layers"] = tuple(parts["layers"][index * size // kept] for index in range(kept))
        changed["layers"] = (size, kept)
    if "channels" in axes:
        parts.update(_channels(spec, policy, changed))
    notes = []
    for axis in axes:
        before, after = changed.get(axis, (0, 0))
        notes.append(
            f"structured pruning keeps {after} of {before} {axis}"
            if before
            else f"structured pruning of {axis} changes nothing: the model has none"
        )
    return replace(spec, **parts, notes=(*spec.notes, *notes))


def _walk(value: Any, policy: Compression, axes: tuple[str, ...], changed: Any, known: dict[Any, Any]) -> Any:
    """``value`` with the sizes inside it changed; equal blocks are changed once."""
    if isinstance(value, tuple):
        return tuple(_walk(item, policy, axes, changed, known) for item in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    if value not in known:
        parts = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        new = {name: _walk(part, policy, axes, changed, known) for name, part in parts.items()}
        new.update(_sizes(value, policy, axes, changed))
        different = {name: part for name, part in new.items() if part is not parts[name]}
        known[value] = replace(value, **different) if different else value
    return known[value]


def _sizes(block: Any, policy: Compression, axes: tuple[str, ...], changed: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    names = {f.name for f in fields(block)}
    if "heads" in axes and "heads" in names and names & {"kv_heads", "kv_rank"}:
        out.update(_heads(block, policy, changed))
    if "ffn" in axes and "intermediate" in names:
        out["intermediate"] = _kept(policy, "ffn", block.intermediate, changed)
    if "experts" in axes and {"experts", "top_k"} <= names:
        kept = max(policy.kept("experts", block.experts), block.top_k)
        changed.setdefault("experts", (block.experts, kept))
        out["experts"] = kept
    if "channels" in axes:
        out.update(_channels(block, policy, changed))
    return out


def _heads(block: Any, policy: Compression, changed: Any) -> dict[str, int]:
    kv_heads = getattr(block, "kv_heads", 1)
    group = block.heads // kv_heads if kv_heads > 1 else 1
    kept = policy.kept("heads", block.heads, group)
    changed.setdefault("heads", (block.heads, kept))
    return {"heads": kept, "kv_heads": kept // group} if kv_heads > 1 else {"heads": kept}


def _channels(block: Any, policy: Compression, changed: Any) -> dict[str, int]:
    out = {}
    for name in CHANNEL_FIELDS:
        size = getattr(block, name, 0)
        if isinstance(size, int) and size:
            out[name] = _kept(policy, "channels", size, changed)
    return out


def _kept(policy: Compression, axis: str, size: int, changed: Any) -> int:
    kept = policy.kept(axis, size)
    changed.setdefault(axis, (size, kept))
    return kept
