from __future__ import annotations

import pytest

from viewer.errors import InputError
from viewer.units import format_quantity, parse


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("768 GB/s", "B/s", 768e9),
        ("48GiB", "B", 48 * 2**30),
        ("1.8 GHz", "Hz", 1.8e9),
        ("20 ms", "s", 0.02),
        (3, "", 3.0),
    ],
)
def test_parse(text, unit, value):
    assert parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["fast", "12 XB/s", "1e", ""])
def test_parse_refuses(text):
    with pytest.raises(InputError):
        parse(text, "B/s")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.035675, "s", "35.7 ms"),
        (768e9, "B/s", "768 GB/s"),
        (1.8e9, "Hz", "1.80 GHz"),
        (0, "B", "0 B"),
        (None, "B", "–"),
    ],
)
def test_format(value, unit, text):
    assert format_quantity(value, unit) == text
