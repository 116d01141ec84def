"""Calibration files: constants, anchors, intervals, scores and their provenance, one JSON a device.

A file never holds measurements of other people: only constants fitted to them (at most 250 anchors a class,
whose weights are the solution of a smoothing problem, not times). A calibration that a user fits to his own
data may keep exact points.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from viewer.errors import InputError

SCHEMA = 1
MAX_FILE_BYTES = 16 * 2**20
SHIPPED = Path(__file__).resolve().parent.parent.parent / "hardware_specs" / "calibrations"


@dataclass(frozen=True, slots=True)
class Smoothing:
    """The measured correction of a class: anchors (rows of ``columns``) and their weights ``alpha``."""

    columns: tuple[str, ...]
    anchors: tuple[tuple[float, ...], ...]
    alpha: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClassFit:
    """Everything known about one kernel class on one device.

    ``intervals`` maps a regime (and "all") to the 5 % and 95 % quantiles of log(measured / predicted) on
    left-out groups; ``ranges`` maps numeric columns to their least and largest fitted value; ``scores`` maps
    a rung (M0..M3) to its errors on left-out groups; ``points`` rows of ``groups`` shape groups were fitted.
    ``exact`` holds measured rows of a user's own data: (columns..., time_s).
    """

    key: str
    op: str
    constants: Mapping[str, float | str]
    m1: tuple[float, float, float]
    points: int
    groups: int
    sources: tuple[str, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    m2_intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    smoothing: Smoothing | None = None
    exact: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Calibration:
    """The fitted classes of one device, with the date and the command that made them."""

    hardware: str
    created: str
    command: str
    classes: tuple[ClassFit, ...]
    note: str = ""

    def find(self, op: str, key: str) -> ClassFit | None:
        """The class ``key`` of ``op``, or None."""
        return next((c for c in self.classes if c.op == op and c.key == key), None)

    def of(self, op: str) -> tuple[ClassFit, ...]:
        """All classes of one op."""
        return tuple(c for c in self.classes if c.op == op)


def _rounded(value: Any, digits: int = 6) -> Any:
    """Numbers to ``digits`` significant digits, through all containers (files stay small and readable)."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v, digits) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v, digits) for v in value]
    return value


def dumps(calibration: Calibration) -> str:
    """The JSON text of a calibration: one class a line, so that a change of one class is one line."""
    head = {"schema": SCHEMA, "hardware": calibration.hardware, "created": calibration.created,
            "command": calibration.command, "note": calibration.note}  # fmt: skip
    lines = [
        json.dumps(_rounded(asdict(c)), separators=(",", ":"), sort_keys=True) for c in calibration.classes
    ]
    text = json.dumps(head, indent=1)[:-2]
    return text + ',\n "classes": [\n' + ",\n".join(lines) + "\n]}\n"


def _class_of(raw: Mapping[str, Any], where: str) -> ClassFit:
    try:
        data = dict(raw)
        smoothing = data.pop("smoothing", None)
        if smoothing is not None:
            smoothing = Smoothing(
                tuple(smoothing["columns"]),
                tuple(tuple(float(v) for v in row) for row in smoothing["anchors"]),
                tuple(float(v) for v in smoothing["alpha"]),
            )
            if len(smoothing.anchors) != len(smoothing.alpha):
                raise InputError(
                    f"{where}: {len(smoothing.anchors)} anchors but {len(smoothing.alpha)} weights"
                )
        pairs = {
            name: {k: (float(v[0]), float(v[1])) for k, v in data.pop(name, {}).items()}
            for name in ("intervals", "m2_intervals", "ranges")
        }
        data["m1"] = tuple(float(v) for v in data["m1"])
        data["sources"] = tuple(data.get("sources", ()))
        data["exact"] = tuple(tuple(float(v) for v in row) for row in data.get("exact", ()))
        whole: dict[str, Any] = {"smoothing": smoothing, **pairs, **data}
        return ClassFit(**whole)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{where}: not a calibration class ({error})") from None


def loads(text: str, where: str = "calibration") -> Calibration:
    """A calibration from its JSON text. Raises InputError that names the file and the field."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        given = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise InputError(f"{where}: calibration schema {given!r} (allowed: {SCHEMA})")
    classes = raw.get("classes")
    if not isinstance(classes, list) or not isinstance(raw.get("hardware"), str):
        raise InputError(f"{where}: a calibration needs 'hardware' and a list of 'classes'")
    fits = tuple(_class_of(c, f"{where}: classes[{i}]") for i, c in enumerate(classes))
    return Calibration(raw["hardware"], str(raw.get("created", "")), str(raw.get("command", "")), fits,
                       str(raw.get("note", "")))  # fmt: skip


def read(path: Path) -> Calibration:
    """A calibration file. Raises InputError when it is missing, too large or malformed."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: larger than {MAX_FILE_BYTES} bytes, not a calibration file")
        return loads(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot read the calibration ({error.strerror})") from None


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration file: to a temporary name in its folder, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(dumps(calibration), encoding="utf-8")
    temporary.replace(path)


def file_name(hardware: str) -> str:
    """ "nvidia/h100-sxm" -> "nvidia-h100-sxm.json"."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", hardware) + ".json"


@lru_cache(maxsize=1)
def shipped() -> tuple[Calibration, ...]:
    """The calibrations that come with the product, in the order of their file names."""
    if not SHIPPED.is_dir():
        return ()
    return tuple(read(path) for path in sorted(SHIPPED.glob("*.json")))


def merged(calibrations: Sequence[Calibration]) -> dict[str, Calibration]:
    """Calibrations by hardware; a later one replaces the classes of an earlier one with the same key."""
    out: dict[str, Calibration] = {}
    for one in calibrations:
        old = out.get(one.hardware)
        if old is None:
            out[one.hardware] = one
            continue
        newer = {(c.op, c.key) for c in one.classes}
        kept = tuple(c for c in old.classes if (c.op, c.key) not in newer)
        out[one.hardware] = Calibration(one.hardware, one.created, one.command, kept + one.classes, one.note)
    return out
