"""Compression from a name, a file, or plain data; every mistake is one line."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from viewer.compression.policy import Compression, Rule
from viewer.errors import InputError, nearest

MAX_FILE_BYTES = 1 << 20
_SUFFIXES = (".yaml", ".yml", ".json")


def load(spec: str | Compression | dict[str, Any], checkpoint: Compression | None = None) -> Compression:
    """The policy that ``spec`` means: a preset's name, a YAML or JSON file, a mapping, or a policy.

    A name may begin with ``checkpoint`` (``checkpoint+kv8``): that is ``checkpoint``'s policy, or 16 bits
    where the model has none.

    Raises:
        InputError: one line with what was given, what is allowed and the nearest match.
    """
    if isinstance(spec, Compression):
        return spec
    if isinstance(spec, dict):
        return validate(spec)
    if spec.lower().endswith(_SUFFIXES):
        return read_file(Path(spec))
    first, _, rest = spec.partition("+")
    if first.strip().lower() == "checkpoint":
        base = checkpoint or _named("w16a16")
        return base.then(_named(rest)) if rest else base
    return _named(spec)


@lru_cache(maxsize=512)
def _named(spec: str) -> Compression:
    return validate(spec)


def validate(data: Any) -> Compression:
    """A policy from plain data; pydantic's findings become one InputError line."""
    try:
        return Compression.model_validate(data)
    except ValidationError as error:
        raise InputError(_one_line(error)) from None
    except RecursionError:
        raise InputError("compression: nested too deeply") from None


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    message = str(cause) if isinstance(cause, InputError) else first["msg"]
    if first["type"] == "extra_forbidden":
        allowed = list(Rule.model_fields if "rules" in path else [*Compression.model_fields, "base"])
        close = nearest(str(first["loc"][-1]), allowed)
        message = "unknown field" + (f"; did you mean {close!r}?" if close else "")
        message += f" (allowed: {', '.join(sorted(set(allowed) - {'preset'}))})"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if not path:
        return f"{message}{more}".replace("\n", " ")
    return f"compression: {path}: {message}{more}".replace("\n", " ")


def read_file(path: Path) -> Compression:
    """A policy from a YAML or JSON file of at most 1 MiB, without YAML aliases."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise InputError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        text = raw.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    data = _parse(path, text)
    if not isinstance(data, (dict, str)):
        raise InputError(f"{path}: a mapping with rules, not {type(data).__name__}")
    if isinstance(data, dict) and "name" not in data:
        data = {**data, "name": path.stem[:80] or "custom"}
    try:
        return validate(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _parse(path: Path, text: str) -> Any:
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text)
        # aliases let a few lines mean millions of nodes
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise InputError(f"{path}: YAML aliases are not accepted")
        return yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:200]}") from None
    except (RecursionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: nested too deeply or malformed") from None
