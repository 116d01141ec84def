"""A scenario as the command, as Python and as JSON: the same names, the same numbers."""

from __future__ import annotations

import json
import shlex
from typing import Any

from viewer.dashboard.files import is_dropped, label_of
from viewer.dashboard.state import Flat
from viewer.scenario import SCHEMA_VERSION, Scenario

#: Fields that the command has options for; others go through --set.
OPTIONS = (
    *("phase", "batch", "prompt", "context", "output", "cached", "compression", "attention", "fusion", "mla"),
    *("fidelity", "clock", "overlap", "tp", "pp", "ep", "dp"),
)


def named(flat: Flat) -> Flat:
    """The state with file names in place of the keys of dropped files."""
    plain = {k: label_of(v) if isinstance(v, str) and is_dropped(v) else v for k, v in flat.items()}
    if plain.pop("paint", None):
        plain["compression"] = "painted.json"
    return plain


def as_command(flat: Flat) -> str:
    """``roofline analyze …``."""
    plain = named(flat)
    words = ["roofline", "analyze", str(plain["model"]), str(plain["hardware"])]
    for name, value in plain.items():
        if name in ("model", "hardware"):
            continue
        if name in OPTIONS:
            words += [f"--{name}", _text(value)]
        else:
            words += ["--set", f"{name}={_text(value)}"]
    return " ".join(shlex.quote(word) for word in words)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_python(flat: Flat, scenario: Scenario) -> str:
    """A few lines that give the same result."""
    plain = named(flat)
    load = scenario.workload
    kind = type(load).__name__
    given = ", ".join(f"{n}={v!r}" for n, v in load.model_dump(exclude_defaults=True).items() if n != "phase")
    arguments = [
        f"model={plain['model']!r}",
        f"hardware={plain['hardware']!r}",
        f"workload={kind}({given})",
    ]
    lengths = {"phase", "model", "hardware", *type(load).model_fields}
    arguments += [f"{name}={value!r}" for name, value in plain.items() if name not in lengths]
    body = "".join(f"    {argument},\n" for argument in arguments)
    return (
        f"from viewer import {kind}, analyze\n\nresult = analyze(\n{body})\n"
        "print(result.totals)  # result.frame: one row per op; result.memory\n"
    )


def as_json(flat: Flat, scenario: Scenario) -> str:
    """The scenario's JSON, as ``--scenario`` reads it."""
    data = scenario.compact() | {"schema": SCHEMA_VERSION}
    plain = named(flat)
    for name in ("model", "hardware", "compression"):
        if name in plain:
            data[name] = plain[name]
    return json.dumps(data, indent=2, sort_keys=True)
