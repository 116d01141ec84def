"""The block of the Python interface: signatures, fields and docstrings of the public names."""

from __future__ import annotations

import inspect
from typing import Any

from blocks import block, table


@block
def api(package: str) -> str:
    """Signature, fields and docstring of every public name of a package."""
    from importlib import import_module

    module = import_module(package)
    return "\n\n".join(_entry(name, getattr(module, name)) for name in module.__all__)


def _entry(name: str, thing: Any) -> str:
    doc = inspect.getdoc(thing) or ""
    lines = [f"### {name}", ""]
    fields = getattr(thing, "model_fields", None)
    if inspect.isclass(thing) and fields is None:
        lines += [f"```text\nclass {name}{_signature(thing)}\n```", ""]
    elif not inspect.isclass(thing):
        lines += [f"```text\n{name}{_signature(thing)}\n```", ""]
    lines.append(doc)
    if fields:
        rows = [(f"`{k}`", f"`{_type(f)}`", _default(f)) for k, f in fields.items()]
        lines += ["", table(("field", "type", "default"), rows)]
    elif inspect.isclass(thing):
        lines += _members(thing)
    return "\n".join(lines)


def _signature(thing: Any) -> str:
    try:
        found = inspect.signature(thing)
    except ValueError:
        return "(...)"
    inner = ",\n    ".join(str(p) for p in found.parameters.values())
    text = str(found)
    return text if len(text) <= 90 else f"(\n    {inner},\n)" + text.rpartition(")")[2]


def _type(field: Any) -> str:
    text = str(field.annotation)
    text = getattr(field.annotation, "__name__", text) if "[" not in text and "|" not in text else text
    return text.replace("typing.", "").replace("viewer.workload.", "").replace("viewer.scenario.", "")[:90]


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "empty"
    text = repr(field.default)
    return f"`{text}`" if len(text) <= 40 else "its defaults"


def _members(kind: type) -> list[str]:
    """One line per public property and method."""
    rows = []
    for name, member in vars(kind).items():
        doc = inspect.getdoc(getattr(member, "func", member)) if not name.startswith("_") else None
        if doc and (callable(member) or isinstance(member, property) or hasattr(member, "func")):
            call = "()" if callable(member) and not hasattr(member, "func") else ""
            rows.append((f"`{name}{call}`", " ".join(doc.split("\n\n")[0].split())))
    return ["", table(("member", "what"), rows)] if rows else []
