"""Per-layer sensitivities that the user brings: Hessian traces, losses, anything that ranks layers."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from viewer.errors import InputError

MAX_BYTES = 16 * 2**20

Sensitivities = dict[tuple[str, int | None], float]


def load_sensitivities(path: Path | str) -> Sensitivities:
    """(op, layer) -> sensitivity from a .csv or .json file.

    CSV: columns op, layer, sensitivity (layer empty: all layers). JSON: a list of objects with the same
    keys, or an object op -> number, or op -> {layer: number}. Values are relative and above 0.

    Raises:
        InputError: a missing or oversized file, an unknown suffix, or the entry that is wrong.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no such sensitivities file: {file}")
    if file.stat().st_size > MAX_BYTES:
        raise InputError(f"{file}: a sensitivities file has at most {MAX_BYTES} bytes")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    if file.suffix == ".csv":
        entries = _csv_entries(text, file)
    elif file.suffix == ".json":
        entries = _json_entries(text, file)
    else:
        raise InputError(f"{file}: a sensitivities file ends in .csv or .json")
    result: Sensitivities = {}
    for where, op, layer, value in entries:
        key = (_op(op, where), _layer(layer, where))
        if key in result:
            raise InputError(f"{where}: {key[0]!r} of layer {key[1]} comes twice")
        result[key] = _number(value, where)
    if not result:
        raise InputError(f"{file}: no sensitivities in it")
    return result


Entry = tuple[str, Any, Any, Any]


def _csv_entries(text: str, file: Path) -> list[Entry]:
    reader = csv.DictReader(text.splitlines())
    missing = {"op", "sensitivity"} - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{file}: missing column {', '.join(sorted(missing))} (op, layer, sensitivity)")
    return [
        (f"{file}, line {reader.line_num}", row["op"], row.get("layer") or None, row["sensitivity"])
        for row in reader
    ]


def _json_entries(text: str, file: Path) -> list[Entry]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error})") from None
    if isinstance(content, list):
        for i, item in enumerate(content):
            if not isinstance(item, dict) or not {"op", "sensitivity"} <= set(item):
                raise InputError(f"{file}, entry {i}: needs op, layer and sensitivity")
        return [
            (f"{file}, entry {i}", item["op"], item.get("layer"), item["sensitivity"])
            for i, item in enumerate(content)
        ]
    if not isinstance(content, dict):
        raise InputError(f"{file}: needs a list or an object, got {type(content).__name__}")
    entries: list[Entry] = []
    for op, value in content.items():
        if isinstance(value, dict):
            entries += [(f"{file}, {op}.{layer}", op, layer, number) for layer, number in value.items()]
        else:
            entries.append((f"{file}, {op}", op, None, value))
    return entries


def _op(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: op must be a name, got {value!r}")
    return value.strip()


def _layer(value: Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        layer = int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: layer must be a whole number, got {value!r}") from None
    if layer < 0 or isinstance(value, bool):
        raise InputError(f"{where}: layer must be a whole number from 0, got {value!r}")
    return layer


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: sensitivity must be a number, got {value!r}") from None
    if not (math.isfinite(number) and number > 0) or isinstance(value, bool):
        raise InputError(f"{where}: sensitivity must be a number above 0, got {value!r}")
    return number
