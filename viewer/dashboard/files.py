"""Files that a visitor drops: kept in the browser, sent along with each request, checked by size, depth and hash.

The state holds only ``file:NAME@HASH``. A worker that needs the file writes it once into its own temporary folder, so
that any worker can answer any request and nothing of one visitor's files shows to another: the hash is the key, and a
request must bring the content that has this hash.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from viewer.dashboard.headers import ENDINGS, is_header, written
from viewer.errors import InputError

MAX_BYTES = 4 * 2**20
#: A YAML reader takes seconds for a megabyte, and time that grows with the square of the nesting.
MAX_YAML_BYTES, MAX_YAML_DEPTH = 256 * 2**10, 40
PREFIX = "file:"
_KEY = re.compile(r"^file:([A-Za-z0-9][A-Za-z0-9_.\-]{0,79})@([0-9a-f]{16})$")
SUFFIXES = {
    "model": (".json", *ENDINGS),
    "hardware": (".yaml", ".yml", ".json"),
    "compression": (".yaml", ".yml", ".json"),
}


def is_dropped(value: str) -> bool:
    """Whether a field names a dropped file."""
    return value.startswith(PREFIX)


def key_of(name: str, content: str) -> str:
    """The key of a file in the state: its name made plain and the first 16 hex digits of its SHA-256."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]+", "-", Path(name).name).strip("-.") or "file"
    return f"{PREFIX}{plain[-80:].lstrip('-._')}@{_digest(content)}"


def label_of(key: str) -> str:
    """The file name of a key."""
    match = _KEY.match(key)
    return match[1] if match else key


def materialize(key: str, files: Any, field: str) -> str:
    """A path that holds the dropped content of ``key``; InputError when the content is not there or not this file."""
    match = _KEY.match(key)
    if not match:
        raise InputError(f"{field}: {key[:60]!r} is not a dropped file")
    name, digest = match[1], match[2]
    if not name.lower().endswith(SUFFIXES[field]):
        raise InputError(f"{field}: {name!r} has another ending than {', '.join(SUFFIXES[field])}")
    content = files.get(key) if isinstance(files, dict) else None
    if not isinstance(content, str):
        raise InputError(f"{field}: this link needs the file {name!r} ({digest[:8]}…): drop it here")
    if len(content.encode()) > MAX_BYTES:
        raise InputError(f"{field}: {name!r} is larger than {MAX_BYTES // 2**20} MiB")
    if name.lower().endswith((".yaml", ".yml")):
        _check_yaml(content, f"{field}: {name!r}")
    if _digest(content) != digest:
        raise InputError(f"{field}: {name!r} is not the file of this link (its content differs)")
    return str(_stored(name, digest, content))


def write_inline(name: str, content: str) -> str:
    """A path that holds content which the state itself spells out."""
    return str(_stored(name, _digest(content), content))


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _check_yaml(content: str, where: str) -> None:
    """Refuses what would keep a YAML reader busy, before it is read."""
    if len(content.encode()) > MAX_YAML_BYTES:
        raise InputError(f"{where} is larger than {MAX_YAML_BYTES // 2**10} KiB")
    depth = 0
    for mark in re.findall(r"[\[{}\]]|^[ ]*(?:[-?:][ ]+)+", content, re.MULTILINE):
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        if depth > MAX_YAML_DEPTH or len(mark.split()) > MAX_YAML_DEPTH:
            raise InputError(f"{where} is nested deeper than {MAX_YAML_DEPTH} levels")


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="roofline-files-"))


def _stored(name: str, digest: str, content: str) -> Path:
    home = _folder() / digest
    path = home / name
    if not path.exists():
        _make_room()
        home.mkdir(exist_ok=True)
        if is_header(name):
            written(path, content)
            return path
        part = home / f".{os.getpid()}"
        part.write_text(content, "utf-8")
        part.replace(path)
    return path


def _make_room(limit: int = 200) -> None:
    """Drops the oldest files when there are more than ``limit``."""
    homes = sorted(_folder().iterdir(), key=lambda p: p.stat().st_mtime)
    for home in homes[: max(0, len(homes) - limit)]:
        for path in home.iterdir():
            path.unlink(missing_ok=True)
        home.rmdir()
