"""Which devices there are, and what people call them. Reads file names only, never a file."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from pathlib import Path

from hardware_specs.errors import HardwareError, nearest

ROOT = Path(__file__).resolve().parent

MAX_NAME = 200

# Short names that fit several files, and what is meant by them without further words.
DEFAULTS = {
    "a100": "nvidia/a100-sxm-80gb",
    "a100 80gb": "nvidia/a100-sxm-80gb",
    "a100 40gb": "nvidia/a100-sxm-40gb",
    "a100 sxm": "nvidia/a100-sxm-80gb",
    "a100 pcie": "nvidia/a100-pcie-80gb",
    "rtx a6000": "nvidia/a6000",
    "h100": "nvidia/h100-sxm",
    "h100 sxm5": "nvidia/h100-sxm",
    "h100 80gb": "nvidia/h100-sxm",
    "h800": "nvidia/h800-sxm",
    "gh200": "nvidia/gh200-96gb",
    "rtx pro 6000": "nvidia/rtx-pro-6000-workstation",
    "pro 6000": "nvidia/rtx-pro-6000-workstation",
    "6000 ada": "nvidia/rtx-6000-ada",
    "agx orin": "nvidia/jetson-agx-orin-64gb",
    "orin": "nvidia/jetson-agx-orin-64gb",
    "orin nano": "nvidia/jetson-orin-nano-8gb",
    "orin nano super": "nvidia/jetson-orin-nano-8gb-super",
    "8480": "cpu/xeon-8480plus",
    "xeon 8480": "cpu/xeon-8480plus",
    "13900k": "cpu/core-i9-13900k",
    "trillium": "google/tpu-v6e",
    "ironwood": "google/tpu-v7",
    "strix halo": "amd/ryzen-ai-max-395",
    "trn2": "aws/trainium2",
    "inf2": "aws/inferentia2",
}


@cache
def _files() -> dict[str, Path]:
    """Name -> file, from the names of the files beside this one."""
    return {f"{path.parent.name}/{path.stem}": path for path in sorted(ROOT.glob("*/*.yaml"))}


def available() -> list[str]:
    """All device names, sorted, as ``vendor/part``."""
    return list(_files())


def file_of(name: str) -> Path:
    """The file of a device name (exactly as ``available`` lists it)."""
    return _files()[name]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[^a-z0-9]+", text.lower().replace("+", "plus")) if word)


@lru_cache(maxsize=1024)
def resolve(name: str) -> str:
    """The device meant by ``name``: exact, a known short name, or words that fit one device only.

    Case and punctuation do not matter: ``A6000``, ``H100-SXM``, ``4090``, ``RTX 4090``, ``mi300x``.
    HardwareError when nothing fits (with the nearest match) or when several do (with the candidates).
    """
    names = available()
    words = _words(name[:MAX_NAME])
    exact = [known for known in names if words and words in (_words(known), _words(known.split("/", 1)[1]))]
    if len(exact) == 1:
        return exact[0]
    short = DEFAULTS.get(" ".join(words)) or DEFAULTS.get(" ".join(words[1:]) if len(words) > 1 else "")
    vendor_fits = short is not None and (" ".join(words) in DEFAULTS or words[0] == short.split("/")[0])
    if short in names and vendor_fits:
        return str(short)
    fitting = [known for known in names if words and set(words) <= set(_words(known))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise HardwareError(f"hardware {name[:80]!r} is ambiguous: {', '.join(fitting)}")
    raise HardwareError(_not_found(name, names))


def _not_found(name: str, names: list[str]) -> str:
    parts = {known.split("/", 1)[1]: known for known in names}
    name = name[:MAX_NAME]
    close = nearest(name, names) or parts.get(nearest(name, parts) or "")
    hint = f"; did you mean {close!r}?" if close else ""
    return (
        f"unknown hardware {name[:80]!r}{hint} "
        f"({len(names)} devices: see `roofline hardware`; or give the path of a .yaml or .json file)"
    )
