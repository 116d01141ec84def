"""Turn a validation error into one line: field, value given, what is allowed, nearest match."""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Any, get_args, get_origin

from hardware_specs.errors import hint, shown

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake of ``error`` in one line, and how many more there are."""
    found = error.errors(include_url=False)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    # A misspelt field is reported twice, as unknown and as missing: the unknown one says more.
    first = next((item for item in found if item["type"] == "extra_forbidden"), found[0])
    return _sentence(first, model) + more


def _sentence(item: ErrorDetails, model: type[BaseModel]) -> str:
    location = [str(part) for part in item["loc"] if part != "[key]"]
    field = ".".join(location) or "the file"
    kind, given, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _fields(model, location[:-1])
        return f"{field}: unknown field{hint(location[-1], allowed)} (allowed: {', '.join(allowed)})"
    if kind == "missing":
        return f"{field}: missing; it has to be given"
    if kind == "value_error":
        text = str(context.get("error", item["msg"]))
        return text if field == "the file" else f"{field}: {text}"
    return f"{field}: got {shown(given)}; allowed: {_allowed(kind, given, context, item['msg'])}"


def _allowed(kind: str, given: Any, context: dict[str, Any], message: str) -> str:
    if kind == "literal_error":
        expected = str(context.get("expected", ""))
        words = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
        return f"{', '.join(words)}{hint(str(given), words, cutoff=0.5)}"
    simple = {
        "greater_than": f"a number greater than {context.get('gt')}",
        "greater_than_equal": f"a number of at least {context.get('ge')}",
        "less_than_equal": f"a number of at most {context.get('le')}",
        "finite_number": "a finite number",
        "float_type": "a number",
        "float_parsing": "a number (SI units, for example 768e9)",
        "int_type": "a whole number",
        "int_parsing": "a whole number",
        "string_type": "text",
        "string_pattern_mismatch": f"text like {context.get('pattern')}",
        "string_too_short": f"text of at least {context.get('min_length')} characters",
        "string_too_long": f"text of at most {context.get('max_length')} characters",
        "too_short": f"at least {context.get('min_length')} entry",
        "dict_type": "a mapping",
        "tuple_type": "a list",
    }
    if kind in ("model_type", "model_attributes_type"):
        return _mapping_text(str(context.get("class_name", "")))
    return simple.get(kind, message)


def _mapping_text(class_name: str) -> str:
    if class_name == "Quantity":
        return "a figure with its provenance, {value: ..., kind: ..., source: ..., seen: ...}"
    return "a mapping of fields"


def _fields(model: type[BaseModel], location: list[str]) -> list[str]:
    """The field names (as a file writes them) of the model that ``location`` leads to."""
    current: Any = model
    for part in location:
        current = _step(_plain(current), part)
    current = _plain(current)
    fields = getattr(current, "model_fields", {})
    return [info.alias or name for name, info in fields.items()]


def _step(current: Any, part: str) -> Any:
    """The type one step down: a field of a model, a value of a dict, an item of a tuple."""
    fields = getattr(current, "model_fields", None)
    if fields is not None:
        for name, info in fields.items():
            if part in (name, info.alias):
                return info.annotation
        return object
    arguments = get_args(current)
    return arguments[1] if get_origin(current) is dict else (arguments[0] if arguments else object)


def _plain(annotation: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(annotation) in (types.UnionType, typing.Union):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation
