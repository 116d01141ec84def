"""The page's state: a flat mapping of scenario fields that is the query string of the link.

``?model=llama-2-13b&hardware=nvidia/a6000&phase=decode&batch=8`` and a scenario say the same; values that equal the
defaults of the contract are left out. Names only: a link cannot make the server open a file.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlencode

from hardware_specs import HardwareError, available, resolve
from viewer.dashboard.files import is_dropped, materialize
from viewer.dashboard.paint import painted
from viewer.errors import InputError, nearest, unknown
from viewer.models.load import catalog_names
from viewer.scenario import SCHEMA_VERSION, Assumptions, Parallel, Scenario, scenario_from
from viewer.workload import Decode, Prefill

Flat = dict[str, Any]
WORKLOADS: dict[str, tuple[str, ...]] = {
    "prefill": ("batch", "prompt", "cached"),
    "decode": ("batch", "context"),
    "generate": ("batch", "prompt", "output"),
}
#: Fields of a workload with the defaults of the contract.
LENGTHS: dict[str, int] = {"batch": 1, "prompt": 1024, "context": 1024, "cached": 0, "output": 128}
HEAD = ("model", "hardware", "compression", "phase")
#: What a first-time visitor sees.
FIRST: Flat = {
    "model": "llama-2-13b",
    "hardware": "nvidia/a6000",
    "phase": "generate",
    "batch": 8,
    "prompt": 2048,
    "output": 256,
}
_MAX_TEXT = 4096


@cache
def defaults() -> Flat:
    """Every field with its default."""
    out: Flat = {
        "model": "",
        "hardware": "",
        "compression": "checkpoint",
        "phase": "decode",
        "paint": "",
        **LENGTHS,
    }
    out |= {name: field.default for name, field in Assumptions.model_fields.items()}
    out |= {name: field.default for name, field in Parallel.model_fields.items()}
    return out


def scenario_of(flat: Any, files: Any = None) -> Scenario:
    """The scenario of a flat state. InputError in one line that starts with the field's name.

    ``files``: contents that the visitor dropped, by key (see :mod:`viewer.dashboard.files`).
    """
    if not isinstance(flat, dict):
        raise InputError("state: expected an object")
    known = defaults()
    clean: Flat = {}
    for key, value in list(flat.items())[:64]:
        if key == "schema":
            _check_schema(value)
        elif key not in known:
            name = "".join(ch if ch.isprintable() else "?" for ch in str(key)[:40])
            close = nearest(name, known)
            raise InputError(f"{name}: unknown field" + (f"; did you mean {close!r}?" if close else ""))
        elif isinstance(value, dict | list) or (isinstance(value, str) and len(value) > _MAX_TEXT):
            raise InputError(f"{key}: expected one short value")
        else:
            clean[key] = value
    return _build({**known, **clean}, files)


def texts(value: Any, limit: int) -> list[str]:
    """The texts of a list from the browser, at most ``limit``; none when it is not a list."""
    return [one for one in value if isinstance(one, str)][:limit] if isinstance(value, list) else []


def _check_schema(value: Any) -> None:
    if str(value) != str(SCHEMA_VERSION):
        raise InputError(f"schema: {str(value)[:20]!r} is not readable (this version reads {SCHEMA_VERSION})")


def _build(flat: Flat, files: Any) -> Scenario:
    phase = flat["phase"]
    if phase not in WORKLOADS:
        raise InputError(f"phase: {unknown('phase', phase, WORKLOADS)!s}")
    workload = {"phase": phase, **{name: _number(name, flat[name]) for name in WORKLOADS[phase]}}
    data = {
        "schema": SCHEMA_VERSION,
        "model": model_name(flat["model"], files),
        "hardware": hardware_name(flat["hardware"], files),
        "compression": compression_name(flat["compression"], files, str(flat["paint"] or "")),
        "workload": workload,
        "assumptions": {name: flat[name] for name in Assumptions.model_fields},
        "parallel": {name: flat[name] for name in Parallel.model_fields},
    }
    return scenario_from(data)


def _number(name: str, value: Any) -> Any:
    if value is None or value == "":
        raise InputError(f"{name}: give a whole number (such as {LENGTHS[name] or 0:,})")
    return value


def model_name(value: Any, files: Any) -> str:
    """A catalog name, or the file of a dropped configuration; InputError otherwise."""
    text = str(value or "").strip()
    if is_dropped(text):
        return materialize(text, files, "model")
    if text.lower() not in catalog_names():
        raise InputError(f"model: {unknown('model', text, catalog_names(), limit=4)}")
    return text.lower()


def hardware_name(value: Any, files: Any) -> str:
    """A device name or alias, or the file of a dropped description; InputError otherwise."""
    text = str(value or "").strip()
    if is_dropped(text):
        return materialize(text, files, "hardware")
    if text in available():
        return text
    try:
        return resolve(text[:80])
    except HardwareError:
        raise InputError(f"hardware: {unknown('hardware', text, available(), limit=4)}") from None


def compression_name(value: Any, files: Any, paint: str = "") -> str:
    """A compression name (checked where it is used), a dropped file, or the file of a painted policy."""
    text = str(value or "checkpoint").strip()
    if paint and is_dropped(text):
        raise InputError("paint: choose a preset to paint on, not a dropped file")
    if is_dropped(text):
        return materialize(text, files, "compression")
    if any(ch in text for ch in "/\\") or text.startswith("."):
        raise InputError(f"compression: {text[:60]!r} is not the name of a setting")
    return painted(text, paint) if paint else text


def flat_of(scenario: Scenario) -> Flat:
    """The shortest flat state of a scenario: head fields and what differs from the defaults."""
    known = defaults()
    load = scenario.workload
    flat: Flat = {
        "model": scenario.model,
        "hardware": scenario.hardware,
        "compression": scenario.compression,
        "phase": load.phase,
    }
    for part in (load, scenario.assumptions, scenario.parallel):
        flat |= {name: value for name, value in part if name in known and name != "phase"}
    keep = ("model", "hardware", "phase")
    return {name: value for name, value in flat.items() if name in keep or value != known[name]}


def query_of(flat: Flat) -> str:
    """The query string of a flat state, readable: slashes and colons stay as they are."""
    text = {name: (str(value).lower() if isinstance(value, bool) else value) for name, value in flat.items()}
    return urlencode(text, safe="/:+,@")


def field_of(message: str) -> str:
    """The control that an error belongs to: the field its message starts with, else ``state``."""
    head = message.split(":", 2)
    words = [head[0].strip(), *(head[1].split("=")[0].strip().split(".") if len(head) > 1 else [])]
    for word in reversed(words):
        if word in defaults():
            return word
    for word in ("compression", "hardware", "model"):
        if word in message.split("(")[0]:
            return word
    return "state"


def companions(scenario: Scenario) -> list[Scenario]:
    """The other phase at the same batch and length: a decode's prefill, a prefill's first decode step."""
    load = scenario.workload
    if isinstance(load, Decode):
        other: Any = Prefill(batch=load.batch, prompt=max(1, load.context))
    elif not isinstance(load, Prefill):
        return []
    else:
        other = Decode(batch=load.batch, context=load.prompt + load.cached)
    return [scenario.with_(workload=other)]
