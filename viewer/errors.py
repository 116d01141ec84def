"""Errors that a user can cause, and the one-line messages they deserve."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message is one line that says what was given and what is allowed.

    The command line prints it and exits with status 2; the dashboard shows it beside the control.
    """


def nearest(given: str, allowed: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """The allowed word closest to ``given`` (case-insensitive), or None when nothing is close."""
    by_lower = {word.lower(): word for word in allowed}
    match = difflib.get_close_matches(given.lower(), list(by_lower), n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def unknown(what: str, given: object, allowed: Iterable[str], *, limit: int = 12) -> InputError:
    """An InputError for a word outside a closed set, with the nearest match and the allowed words."""
    words = sorted(allowed)
    shown = ", ".join(words[:limit]) + (f", … ({len(words)} in all)" if len(words) > limit else "")
    close = nearest(str(given), words)
    hint = f"; did you mean {close!r}?" if close else ""
    return InputError(f"unknown {what} {str(given)[:80]!r}{hint} (allowed: {shown})")
