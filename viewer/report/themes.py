"""How a report looks: on screen, in a paper's column, on slides."""

from __future__ import annotations

from dataclasses import dataclass

from viewer.charts.base import FONT
from viewer.errors import unknown


@dataclass(frozen=True)
class Style:
    """``theme``: colours; ``width``: of the text; ``size``: of chart text in px; ``picture``: width, height in px."""

    name: str
    theme: str = "light"
    width: str = "1040px"
    font: str = FONT
    size: int = 12
    print_size: int = 12
    page: str = "A4"
    picture: tuple[int, int] = (1000, 620)


#: paper: the 3.33 inch column of two-column proceedings at 96 px an inch, twice as large for legible text.
STYLES = {
    "screen": Style("screen"),
    "dark": Style("dark", theme="dark"),
    "paper": Style(
        "paper",
        width="720px",
        font="Georgia, 'Times New Roman', serif",
        size=13,
        print_size=11,
        picture=(680, 520),
    ),
    "slides": Style(
        "slides", width="1280px", size=18, print_size=14, page="A4 landscape", picture=(1280, 720)
    ),
}


def style_of(name: str) -> Style:
    """The style of this name; InputError with the nearest otherwise."""
    if name not in STYLES:
        raise unknown("report theme", name, STYLES)
    return STYLES[name]
