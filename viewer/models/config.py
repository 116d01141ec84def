"""Reading a Hugging Face ``config.json``: one alias table, strict numbers, one-line refusals.

Aliases follow the configuration classes of transformers (v4 and v5 keys). What decides FLOPs or bytes is never guessed:
a missing hidden size, layer, head or vocabulary count is refused by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from viewer.errors import InputError, nearest

#: canonical name -> accepted keys, in order of preference.
ALIASES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"),
    "hidden": ("hidden_size", "n_embd", "n_embed", "d_model", "dim"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "head_dim": ("head_dim", "kv_channels", "attention_head_dim"),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "decoder_ffn_dim"),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "max_positions": (
        "max_position_embeddings",
        "n_positions",
        "max_sequence_length",
        "seq_length",
        "max_seq_len",
    ),
    "activation": ("hidden_act", "hidden_activation", "activation_function", "activation", "mlp_hidden_act"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "top_k": ("num_experts_per_tok", "experts_per_token", "top_k_experts", "moe_top_k"),
}
#: Upper limits: beyond any network, small enough that reading a hostile file stays cheap.
LIMITS = {"layers": 10_000, "experts": 100_000}
MAX_INT = 2**40
MAX_CONFIG_BYTES = 16 * 2**20
MAX_DEPTH = 32
_MISSING: Any = object()


class Config:
    """A configuration with typed access by canonical or raw key; ``where`` names it in messages."""

    def __init__(self, raw: dict[str, Any], where: str = "config.json") -> None:
        self.raw = raw
        self.where = where

    @property
    def model_type(self) -> str:
        """``model_type``, lower-case ('' when absent)."""
        value = self.raw.get("model_type", "")
        return value.lower() if isinstance(value, str) else ""

    def fail(self, message: str) -> InputError:
        """An InputError that names the file."""
        return InputError(f"{self.where}: {message}")

    def find(self, name: str) -> tuple[str, Any]:
        """(key, value) of the first alias that is present and not null; ('', missing) otherwise."""
        for key in ALIASES.get(name, (name,)):
            if self.raw.get(key) is not None:
                return key, self.raw[key]
        return "", _MISSING

    def has(self, name: str) -> bool:
        """Whether any alias of ``name`` is present and not null."""
        return self.find(name)[1] is not _MISSING

    def integer(self, name: str, default: int | None = _MISSING, *, low: int = 1) -> int:
        """A whole number >= ``low``; ``default`` when absent (no default: refused by name)."""
        key, value = self.find(name)
        if value is _MISSING:
            if default is _MISSING:
                keys = " | ".join(ALIASES.get(name, (name,)))
                close = nearest(
                    ALIASES.get(name, (name,))[0], [k for k in self.raw if isinstance(k, str)], cutoff=0.75
                )
                hint = f"; nearest key present: {close!r}" if close else ""
                raise self.fail(f"missing {keys}{hint}")
            return default  # type: ignore[return-value]
        if isinstance(value, bool) or not isinstance(value, int):
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            else:
                raise self.fail(f"{key} = {_short(value)} is not a whole number")
        limit = LIMITS.get(name, MAX_INT)
        if not low <= value <= limit:
            raise self.fail(f"{key} = {_short(value)} is out of range (allowed: {low} to {limit})")
        return int(value)

    def optional(self, name: str, *, low: int = 1) -> int | None:
        """A whole number, or None when absent or null."""
        return self.integer(name, low=low) if self.has(name) else None

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        key, value = self.find(name)
        if value is _MISSING:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
            raise self.fail(f"{key} = {_short(value)} is not a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        key, value = self.find(name)
        if value is _MISSING:
            return default
        if not isinstance(value, bool):
            raise self.fail(f"{key} = {_short(value)} is not true or false")
        return value

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        key, value = self.find(name)
        if value is _MISSING:
            return default
        if not isinstance(value, str):
            raise self.fail(f"{key} = {_short(value)} is not a string")
        return value

    def items(self, name: str) -> list[Any]:
        """A list ([] when absent)."""
        key, value = self.find(name)
        if value is _MISSING:
            return []
        if not isinstance(value, list) or len(value) > LIMITS["layers"]:
            raise self.fail(f"{key} = {_short(value)} is not a list of at most {LIMITS['layers']} entries")
        return value

    def sub(self, name: str) -> Config | None:
        """A nested configuration (``text_config``), or None."""
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fail(f"{name} = {_short(value)} is not an object")
        return Config(value, f"{self.where}: {name}")

    def merged(self, **defaults: Any) -> Config:
        """The configuration with defaults for keys that are absent (class defaults of a family)."""
        present = {k: v for k, v in self.raw.items() if v is not None}
        return Config({**defaults, **present}, self.where)

    @property
    def dtype(self) -> str:
        """The checkpoint's own 16-bit type: fp16 when it says so, else bf16 (32-bit files are served as 16-bit)."""
        value = self.raw.get("torch_dtype") or self.raw.get("dtype") or "bfloat16"
        return "fp16" if str(value).removeprefix("torch.") in ("float16", "half", "fp16") else "bf16"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 48 else text[:45] + "…"


def read_json(path: Path, limit: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object from a file of bounded size and depth; InputError in one line otherwise."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path.name}: {error.strerror or 'cannot be read'}") from None
    if size > limit:
        raise InputError(f"{path.name}: {size} bytes is too large for a configuration (allowed: {limit})")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path.name}: not a UTF-8 text file") from None
    return parse_json(text, path.name)


def parse_json(text: str, where: str) -> dict[str, Any]:
    """A JSON object from text; refuses NaN, other top levels and deep nesting."""

    def refuse(constant: str) -> Any:
        raise InputError(f"{where}: {constant} is not allowed in JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        ) from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply (allowed: {MAX_DEPTH} levels)") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: the top level is {type(value).__name__}, expected an object")
    if _too_deep(value, MAX_DEPTH):
        raise InputError(f"{where}: nested too deeply (allowed: {MAX_DEPTH} levels)")
    return value


def _too_deep(value: Any, depth: int) -> bool:
    """Whether ``value`` nests deeper than ``depth`` (breadth first, so that hostile nesting cannot overflow)."""
    level = [value]
    for _ in range(depth):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
