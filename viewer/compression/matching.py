"""Lists of modules as quantizers write them: names, prefixes, globs and "re:" patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from viewer.compression.modules import candidates, is_text_module, ops_of
from viewer.compression.regex import compile_pattern
from viewer.errors import InputError

MAX_ENTRIES = 100_000
MAX_PATTERNS = 64
MAX_GLOB_STARS = 8

Site = tuple[str, int | None]


class ModuleList:
    """Which (op, layer) a list of module names, globs and patterns means.

    Exact names are looked up; the few globs and patterns are asked for every name that a site may have.
    ``loose``: an entry also means what lies below it or ends in it, as ``modules_to_not_convert`` does
    (transformers ``should_convert_module``).
    """

    def __init__(self, entries: Iterable[Any], what: str, *, loose: bool = False) -> None:
        listed = [e for e in entries if isinstance(e, str)]
        if len(listed) > MAX_ENTRIES or any(len(e) > 500 for e in listed):
            raise InputError(f"{what}: at most {MAX_ENTRIES} names of 500 characters")
        self._sites: set[Site] = set()
        self._asks: list[Callable[[str], bool]] = []
        for entry in listed:
            found = ops_of(entry)
            if found and "*" not in entry:
                self._sites.update(found)
            elif entry.startswith("re:"):
                self._asks.append(compile_pattern(entry[3:]).match)
            elif any(c in entry for c in "*?["):
                self._asks.append(_glob(entry, what, loose=loose))
            elif loose and is_text_module(entry):
                self._asks.append(_loose(entry))
        if len(self._asks) > MAX_PATTERNS:
            raise InputError(f"{what}: at most {MAX_PATTERNS} patterns, not {len(self._asks)}")

    def __contains__(self, site: Site) -> bool:
        if site in self._sites:
            return True
        return bool(self._asks) and any(ask(name) for name in candidates(*site) for ask in self._asks)


def _glob(entry: str, what: str, *, loose: bool) -> Callable[[str], bool]:
    if entry.count("*") > MAX_GLOB_STARS:
        raise InputError(f"{what}: {entry[:40]!r} has more than {MAX_GLOB_STARS} stars")
    if loose:
        return lambda name: fnmatchcase(name, entry) or fnmatchcase(name, entry + ".*")
    return lambda name: fnmatchcase(name, entry)


def _loose(entry: str) -> Callable[[str], bool]:
    inside = f".{entry}."
    return lambda name: inside in f".{name}."
