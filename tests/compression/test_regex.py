"""The linear-time matcher against Python's own, and against patterns that are made to hang."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer.compression.regex import compile_pattern
from viewer.errors import InputError

NAMES = [
    "lm_head",
    "model.layers.3.self_attn.q_proj",
    "model.layers.13.mlp.gate",
    "model.layers.13.mlp.gate_proj",
    "language_model.model.layers.47.feed_forward.router",
    "",
]
PATTERNS = [
    ".*lm_head",
    ".*mlp.gate$",
    r".*\.mlp\.gate$",
    "model.layers.(0|3|13)..*",
    r".*self_attn\.(q|k|v)_proj",
    r"^model\.layers\.\d+\.mlp\.(?:gate|up)_proj$",
    "[^.]*",
    "model.layers.[0-9]{2}.*",
    "a{2,3}|lm_?head+",
    "(model|language_model).*(router|gate)",
    r"\w+\.\w+\.\d+",
    "$",
    "x?$",
    "[]a]",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_agrees_with_python(pattern: str) -> None:
    for name in NAMES:
        assert compile_pattern(pattern).match(name) == bool(re.match(pattern, name)), (pattern, name)


PIECES = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "(a|bc)", "(?:ab)", "$", "^", "|"])
QUANTIFIERS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,}"])


@settings(deadline=None)
@given(st.lists(st.tuples(PIECES, QUANTIFIERS), max_size=6), st.text("abc1", max_size=8))
def test_agrees_with_python_on_random_patterns(parts: list[tuple[str, str]], text: str) -> None:
    pattern = "".join(piece + ("" if piece in "|^$" else quantifier) for piece, quantifier in parts)
    assert compile_pattern(pattern).match(text) == bool(re.match(pattern, text))


def test_patterns_that_hang_a_backtracking_matcher() -> None:
    text = "a" * 200 + "!"
    for pattern in ("(a+)+$", "(a|a)*$", "(a*)*$", ".*.*.*.*.*.*.*.*b$", "(a|aa)+$"):
        assert not compile_pattern(pattern).match(text)


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "[",
        "a{99999}",
        "(?!x)y",
        r"(a)\1",
        "*a",
        "a{2",
        "x" * 500,
        "((((a{60}){60}){60}){60})",
        "(" * 50,
    ],
)
def test_refused_patterns(pattern: str) -> None:
    with pytest.raises(InputError) as caught:
        compile_pattern(pattern)
    assert "\n" not in str(caught.value)
