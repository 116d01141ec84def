"""Painted precision: formats per op and layer range, laid over a preset, as a short text in the link.

``down_proj@0-3~w=int8~a=int8;attention~kv=int8_tensor``: rules joined by ``;``, each an op pattern, layers after
``@``, and roles after ``~``: w weights, a activations, o output, kv cache, s sparsity. Later rules win.
"""

from __future__ import annotations

import json
import re
from typing import Any

from viewer.dashboard.files import write_inline
from viewer.errors import InputError

ROLES = {"w": "weight", "a": "activation", "o": "output", "kv": "kv", "s": "sparsity"}
MAX_RULES = 64
_OPS = re.compile(r"^[@A-Za-z0-9_*.\-]{1,60}$")


def rules_of(text: str) -> list[dict[str, Any]]:
    """Rules of a compression policy; InputError that starts with ``paint:``."""
    parts = [part for part in text.split(";") if part.strip()]
    if len(parts) > MAX_RULES:
        raise InputError(f"paint: at most {MAX_RULES} rules, {len(parts)} given")
    return [_rule(part.strip()) for part in parts]


def _rule(part: str) -> dict[str, Any]:
    head, *settings = part.split("~")
    ops, _, layers = head[1:].partition("@") if head.startswith("@") else head.partition("@")
    ops = f"@{ops}" if head.startswith("@") else ops
    if not _OPS.match(ops) or not settings:
        raise InputError(
            f"paint: {part[:40]!r} is not OPS[@LAYERS]~role=format (such as down_proj@0-3~w=int8)"
        )
    rule: dict[str, Any] = {"ops": [ops], **({"layers": layers} if layers else {})}
    for setting in settings:
        role, _, value = setting.partition("=")
        if role not in ROLES or not value:
            raise InputError(f"paint: {setting[:30]!r}: a role of {', '.join(ROLES)} = a format")
        rule[ROLES[role]] = value
    return rule


def policy_of(base: str, text: str) -> dict[str, Any]:
    """The policy as plain data: the preset's rules first, then the painted ones."""
    data: dict[str, Any] = {"name": "painted", "rules": rules_of(text)}
    if base != "checkpoint":
        data["base"] = base
    return data


def painted(base: str, text: str) -> str:
    """The file of a painted policy (written once per content); InputError when a rule does not hold."""
    from viewer.compression import validate

    data = policy_of(base, text)
    try:
        validate(data)
    except InputError as error:
        raise InputError(f"paint: {error}") from None
    return write_inline("painted.json", json.dumps(data, sort_keys=True, indent=1))
