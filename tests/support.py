"""Where tests find optional reference data that lives outside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


def shared_path(*parts: str) -> Path:
    """A file of the optional reference folder; skips the test when the folder or the file is absent."""
    candidates = [REPO.parent / "shared"]
    if "ROOFLINE_SHARED" in os.environ:
        candidates.insert(0, Path(os.environ["ROOFLINE_SHARED"]))
    for base in candidates:
        path = base.joinpath(*parts)
        if path.exists():
            return path
    pytest.skip(f"reference data {'/'.join(parts)} is not on this machine")
