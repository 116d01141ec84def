"""The one exception of this package, and the helper that makes its messages short."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_MESSAGE = 1000


class HardwareError(ValueError):
    """A device, a figure or a file that cannot be used; the message is a single line for the user.

    What a file says may stand in the message, so characters that do not print are escaped and the
    length is bounded.
    """

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message[:MAX_MESSAGE])
        super().__init__(line + ("…" if len(message) > MAX_MESSAGE else ""))


def nearest(given: str, allowed: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The allowed word closest to ``given`` (case-insensitive), or None when nothing is close."""
    by_lower = {word.lower(): word for word in allowed}
    match = difflib.get_close_matches(given.lower(), list(by_lower), n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def hint(given: str, allowed: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``"; did you mean 'x'?"`` or an empty string, ready to append to a message."""
    close = nearest(given, allowed, cutoff=cutoff)
    return f"; did you mean {close!r}?" if close else ""


def unknown(what: str, given: object, allowed: Iterable[str]) -> HardwareError:
    """An error for a word outside a closed set: the word, the nearest match, what is allowed."""
    words = list(allowed)
    return HardwareError(
        f"unknown {what} {shown(given)}{hint(str(given), words)} (allowed: {', '.join(words)})"
    )


def shown(value: object, limit: int = 80) -> str:
    """A value from a file as it may appear in a message: repr, one line, cut to ``limit`` characters."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"
