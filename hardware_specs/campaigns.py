"""Measured campaigns: results of our own benchmarks, kept beside the descriptions in ``measured/*.json``."""

from __future__ import annotations

from functools import cache
from typing import Any

from hardware_specs.names import ROOT, resolve

MAX_CAMPAIGN_BYTES = 20_000_000


@cache
def _campaigns(folder: str) -> tuple[dict[str, Any], ...]:
    """All campaigns of the folder, by file name; each has a ``device`` and gets its ``file``."""
    import json
    from pathlib import Path

    from hardware_specs.errors import HardwareError

    found = []
    for path in sorted(Path(folder).glob("*.json")):
        if path.stat().st_size > MAX_CAMPAIGN_BYTES:
            raise HardwareError(f"{path}: more than {MAX_CAMPAIGN_BYTES} bytes")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise HardwareError(f"{path}: not JSON: {str(error)[:200]}") from None
        device = data.get("device") if isinstance(data, dict) else None
        if isinstance(device, dict):
            device = device.get("hardware") or device.get("name")
        if not isinstance(device, str):
            raise HardwareError(f"{path}: device: missing; it has to name the device that was measured")
        found.append({**data, "file": path.name, "hardware": device})
    return tuple(found)


def measured_for(name: str) -> list[dict[str, Any]]:
    """The campaigns measured on the device ``name`` (any name that ``load`` takes), read when first asked.

    Each is the JSON of the campaign plus ``file`` (its file name) and ``hardware`` (the device as it
    says). Campaigns of devices that the library does not describe are left out.
    """
    wanted = resolve(name)
    return [dict(item) for item in _campaigns(str(ROOT / "measured")) if _same(item["hardware"], wanted)]


def _same(device: str, wanted: str) -> bool:
    try:
        return resolve(device) == wanted
    except ValueError:
        return False
