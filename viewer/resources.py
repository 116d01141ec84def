"""Files that ship with the package: stylesheet, scripts, pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def assets_folder() -> Path:
    """The assets: beside the packages in a source tree, inside ``viewer`` when installed."""
    here = Path(__file__).resolve().parent
    for folder in (here.parent / "assets", here / "assets"):
        if (folder / "style.css").is_file():
            return folder
    raise FileNotFoundError("assets: style.css is neither beside the packages nor in viewer/assets")


def plotly_script() -> str:
    """The plotting code that makes an exported page independent of any network."""
    return next(assets_folder().glob("plotly-cartesian-*.min.js")).read_text("utf-8")
