"""Read one YAML or JSON file from an untrusted place: bounded, plain data only, exact about mistakes."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from hardware_specs.errors import HardwareError, shown

MAX_FILE_BYTES = 1_000_000
"""A description of a device is some kilobytes; anything near this size is a mistake or an attack."""
MAX_DEPTH = 32
MAX_NODES = 50_000


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping written in ``path`` (``.json``, else YAML), of plain numbers, words, lists and maps.

    Refused with one line: files over 1 MB (before they are parsed), anchors and aliases (they can make
    a small file huge), tags, a key given twice, nesting over 32, anything but a mapping at the top.
    Numbers follow YAML 1.2: ``1.5e12`` is a number; ``yes``, ``1:30`` and ``2024-01-01`` are words.
    """
    data = parse_text(_read_text(path), name=str(path), is_json=path.suffix.lower() == ".json")
    if not isinstance(data, dict):
        raise HardwareError(f"{path}: expected a mapping of fields at the top, got {shown(data)}")
    return data


def _read_text(path: Path) -> str:
    """The text of a regular file of at most 1 MB in UTF-8."""
    if not path.is_file():
        raise HardwareError(f"{path}: no such file")
    with path.open("rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise HardwareError(f"{path}: more than {MAX_FILE_BYTES} bytes; a description is some kilobytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HardwareError(f"{path}: not UTF-8 text (byte {error.start})") from None


def parse_text(text: str, *, name: str, is_json: bool) -> Any:
    """Plain data from YAML or JSON text; ``name`` opens the message of a refusal."""
    return _parse_json(text, name) if is_json else _parse_yaml(text, name)


def _parse_json(text: str, name: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise HardwareError(f"{name}: {key}: given twice")
            found[key] = value
        return found

    def refuse(constant: str) -> Any:
        raise HardwareError(f"{name}: {constant} is not a number a device can have")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise HardwareError(f"{name}: line {error.lineno}: not JSON: {error.msg}") from None
    except HardwareError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise HardwareError(f"{name}: {error}") from None
    except RecursionError:
        raise HardwareError(f"{name}: nested more than {MAX_DEPTH} levels") from None


def _parse_yaml(text: str, name: str) -> Any:
    import yaml

    loader = _yaml_loader()
    try:
        _refuse_tricks(text, name, loader)
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise HardwareError(f"{name}: {where}not YAML: {problem}") from None
    except HardwareError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise HardwareError(f"{name}: {error}") from None


def _refuse_tricks(text: str, name: str, loader: Any) -> None:
    """Walk the events (flat, no recursion, nothing expanded) before anything is built."""
    import yaml

    depth = nodes = 0
    event: Any
    for event in yaml.parse(text, Loader=loader):
        where = f"{name}: line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise HardwareError(f"{where}: anchors (&) and aliases (*) are not allowed; write it out")
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            tag = getattr(event, "tag", None)
            if tag and tag != "!":
                raise HardwareError(f"{where}: the tag {shown(tag)} is not allowed; plain values only")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise HardwareError(f"{where}: nested more than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise HardwareError(f"{where}: more than {MAX_NODES} values")


@cache
def _yaml_loader() -> Any:
    """A safe loader (the C one where it is built) with YAML 1.2 scalars, refusing duplicate keys."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]  # the base is chosen at run time
        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "a field name has to be a word", key.start_mark
                    )
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{str(key.value)[:60]}: given twice", key.start_mark
                    )
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    add = Loader.add_implicit_resolver
    add("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
    add("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), ["t", "f"])
    digits = list("-+0123456789")
    add("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), digits)
    number = r"^[-+]?(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?$"
    add("tag:yaml.org,2002:float", re.compile(number), digits)
    return Loader
