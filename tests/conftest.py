"""One profile for all property tests: no deadline, since shared machines stall. No defaults file of the user."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("repository", deadline=None)
settings.load_profile("repository")
os.environ["ROOFLINE_CONFIG"] = os.devnull
