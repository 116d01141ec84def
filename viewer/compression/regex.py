"""Regular expressions from checkpoints, matched in linear time.

A checkpoint's "re:" patterns are somebody else's input, and Python's backtracking matcher can be made to run
for years by one line. This one simulates all states at once (Thompson, CACM 11(6), 1968): time is at most
length of the name x states of the pattern. It knows literals, ``.``, classes, groups, ``|``, ``* + ? {m,n}``
(greedy and lazy match the same), ``^ $`` and ``\\d \\w \\s``; look-around and back-references are refused.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from functools import lru_cache

from viewer.errors import InputError

MAX_PATTERN = 400
MAX_STATES = 4000
MAX_REPEAT = 64

_CLASSES = {"d": string.digits, "w": string.ascii_letters + string.digits + "_", "s": " \t\n\r\f\v"}
_EMPTY, _START, _END = "empty", "start", "end"


@dataclass(slots=True)
class _State:
    """A state: a set of characters that leads on (``negated``: all others), or free moves."""

    chars: frozenset[str] | None = None
    negated: bool = False
    kind: str = _EMPTY
    out: list[int] = field(default_factory=list)


class Pattern:
    """A compiled pattern. ``match`` asks, like ``re.match``, whether some prefix of the text matches."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN:
            raise InputError(f"pattern {text[:40]!r} …: longer than {MAX_PATTERN} characters")
        self._text = text
        self._at = 0
        self._depth = 0
        self._states: list[_State] = []
        begin, ends = self._alternatives()
        if self._at < len(text):
            raise self._bad("unbalanced )")
        self._final = self._new()
        self._join(ends, self._final)
        self._begin = begin
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def match(self, text: str) -> bool:
        """True when the pattern matches at the beginning of ``text``."""
        current = self._closure({self._begin}, at_start=True, at_end=not text)
        for i, char in enumerate(text):
            if self._final in current:
                return True
            at_end = i + 1 == len(text)
            key = (current, char + ("$" if at_end else ""))
            following = self._steps.get(key)
            if following is None:
                moved = {o for s in current for o in self._moves(s, char)}
                following = self._closure(moved, at_start=False, at_end=at_end)
                if len(self._steps) < 20_000:
                    self._steps[key] = following
            current = following
            if not current:
                return False
        return self._final in current

    def _moves(self, index: int, char: str) -> list[int]:
        state = self._states[index]
        if state.chars is None or (char in state.chars) == state.negated:
            return []
        return state.out

    def _closure(self, states: set[int], *, at_start: bool, at_end: bool) -> frozenset[int]:
        found, todo = set(states), list(states)
        while todo:
            state = self._states[todo.pop()]
            free = state.chars is None and (
                state.kind == _EMPTY or (state.kind == _START and at_start) or (state.kind == _END and at_end)
            )
            if free:
                new = [o for o in state.out if o not in found]
                found.update(new)
                todo += new
        return frozenset(found)

    def _bad(self, why: str) -> InputError:
        return InputError(f"pattern {self._text[:60]!r}: {why}")

    def _new(self, **fields: object) -> int:
        if len(self._states) >= MAX_STATES:
            raise self._bad("too large")
        self._states.append(_State(**fields))  # type: ignore[arg-type]
        return len(self._states) - 1

    def _join(self, ends: list[int], target: int) -> None:
        for end in ends:
            self._states[end].out.append(target)

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _alternatives(self) -> tuple[int, list[int]]:
        self._depth += 1
        if self._depth > 20:
            raise self._bad("nested too deeply")
        begin, ends = self._new(), []
        while True:
            first, last = self._sequence()
            self._states[begin].out.append(first)
            ends += last
            if self._peek() != "|":
                break
            self._at += 1
        self._depth -= 1
        return begin, ends

    def _sequence(self) -> tuple[int, list[int]]:
        begin = self._new()
        ends = [begin]
        while self._peek() and self._peek() not in "|)":
            mark = self._at
            first, last = self._atom()
            stop = self._at
            low, high = self._quantifier()
            if (low, high) == (1, 1):
                self._join(ends, first)
                ends = last
                continue
            ends = self._repeat(ends, (mark, stop), low, high)
        return begin, ends

    def _repeat(self, ends: list[int], span: tuple[int, int], low: int, high: int | None) -> list[int]:
        """``low`` copies of the atom in ``span``, then a loop (high None) or optional copies."""
        after = self._at
        for _ in range(low):
            first, last = self._again(span)
            self._join(ends, first)
            ends = last
        if high is None:
            hub = self._new()
            self._join(ends, hub)
            first, last = self._again(span)
            self._states[hub].out.append(first)
            self._join(last, hub)
            ends = [hub]
        else:
            skipped = list(ends)
            for _ in range(high - low):
                first, last = self._again(span)
                self._join(ends, first)
                ends = last
                skipped += last
            ends = skipped
        self._at = after
        return ends

    def _again(self, span: tuple[int, int]) -> tuple[int, list[int]]:
        self._at = span[0]
        return self._atom()

    def _quantifier(self) -> tuple[int, int | None]:
        found: tuple[int, int | None] = (1, 1)
        char = self._peek()
        if char and char in "*+?":
            self._at += 1
            found = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        elif char == "{":
            stop = self._text.find("}", self._at)
            low, comma, high = self._text[self._at + 1 : stop if stop > 0 else 0].partition(",")
            if not low.isdecimal() or (high and not high.isdecimal()):
                raise self._bad("a repetition is {m}, {m,} or {m,n}")
            self._at = stop + 1
            found = (int(low), int(high) if high else None if comma else int(low))
        if (found[1] is not None and found[1] < found[0]) or max(found[0], found[1] or 0) > MAX_REPEAT:
            raise self._bad(f"repetitions go up to {MAX_REPEAT}")
        if found != (1, 1) and self._peek() == "?":
            self._at += 1
        return found

    def _atom(self) -> tuple[int, list[int]]:
        char = self._peek()
        self._at += 1
        if char == "(":
            return self._group()
        if char == "[":
            return self._one(*self._class())
        if char == ".":
            return self._one(frozenset(), True)
        if char in "^$":
            state = self._new(kind=_START if char == "^" else _END)
            return state, [state]
        if char == "\\":
            return self._one(*self._escape())
        if char in "*+?{":
            raise self._bad(f"nothing to repeat before {char}")
        return self._one(frozenset(char), False)

    def _one(self, chars: frozenset[str], negated: bool) -> tuple[int, list[int]]:
        state = self._new(chars=chars, negated=negated)
        return state, [state]

    def _group(self) -> tuple[int, list[int]]:
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise self._bad("look-around and named groups are not supported")
        found = self._alternatives()
        if self._peek() != ")":
            raise self._bad("missing )")
        self._at += 1
        return found

    def _escape(self) -> tuple[frozenset[str], bool]:
        char = self._peek()
        self._at += 1
        if char and char.lower() in _CLASSES:
            return frozenset(_CLASSES[char.lower()]), char.isupper()
        if not char or char.isalnum():
            raise self._bad(f"\\{char} is not supported")
        return frozenset(char), False

    def _class(self) -> tuple[frozenset[str], bool]:
        negated = self._peek() == "^"
        self._at += negated
        chars: set[str] = set()
        first = True
        while self._peek() != "]" or first:
            first = False
            if not self._peek():
                raise self._bad("missing ]")
            if self._peek() == "\\":
                self._at += 1
                some, inverse = self._escape()
                if inverse:
                    raise self._bad("a negated class inside a class")
                chars |= some
                continue
            low = self._peek()
            self._at += 1
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                high = self._text[self._at + 1]
                self._at += 2
                if ord(high) - ord(low) > 256:
                    raise self._bad("a class range of more than 256 characters")
                chars |= {chr(code) for code in range(ord(low), ord(high) + 1)}
            else:
                chars.add(low)
        self._at += 1
        return frozenset(chars), negated


@lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """The compiled pattern, cached.

    Raises:
        InputError: malformed, too long, or a construct that this matcher refuses.
    """
    return Pattern(text)
