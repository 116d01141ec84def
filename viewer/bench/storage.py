"""Where built binaries live, and how files are written so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """The user's cache folder for built kernels: ROOFLINE_CACHE, else the platform's convention.

    Not created here: ``write_atomic`` makes the folders it needs.
    """
    if override := os.environ.get("ROOFLINE_CACHE"):
        return Path(override)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "roofline"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "roofline" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roofline"


def digest(*parts: str | bytes) -> str:
    """sha256 over the parts, each preceded by its length so that parts cannot run into each other."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Writes a temporary file beside it and renames it: the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
