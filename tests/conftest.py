"""One profile for all property tests: no deadline, since shared machines stall."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repository", deadline=None)
settings.load_profile("repository")
