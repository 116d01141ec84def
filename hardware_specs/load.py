"""Get the description of a device by name, by a short name, or from a user's own file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_specs.errors import HardwareError, hint
from hardware_specs.names import file_of, resolve

if TYPE_CHECKING:
    from hardware_specs.schema import Hardware

SUFFIXES = (".yaml", ".yml", ".json")


def load(name: str | Path) -> Hardware:
    """The device called ``name`` (see ``names.resolve``), or described by the file at that path.

    A path is told by its suffix: .yaml, .yml or .json. A device of the library is parsed once; a user's
    file is parsed again when it has changed. HardwareError in one line when there is no such device or
    when the file is wrong (file, field, value given, what is allowed, nearest match).
    """
    if isinstance(name, Path) or name.lower().endswith(SUFFIXES):
        path = Path(name).expanduser()
        try:
            stamp = path.stat().st_mtime_ns, path.stat().st_size
        except (OSError, ValueError):  # ValueError: a NUL in the path
            raise HardwareError(f"{path}: no such file") from None
        return _load_file(path, stamp)
    return _load_known(resolve(name))


@cache
def _load_known(name: str) -> Hardware:
    path = file_of(name)
    hardware = _validated(path)
    if hardware.name != name:
        raise HardwareError(f"{path}: name: got {hardware.name!r}; a file of the library is named {name!r}")
    return hardware


_own_files: dict[Path, tuple[tuple[int, int], Hardware]] = {}


def _load_file(path: Path, stamp: tuple[int, int]) -> Hardware:
    known = _own_files.get(path)
    if known and known[0] == stamp:
        return known[1]
    hardware = _validated(path)
    if len(_own_files) >= 64:
        _own_files.clear()
    _own_files[path] = stamp, hardware
    return hardware


def _validated(path: Path) -> Hardware:
    from pydantic import ValidationError

    from hardware_specs.messages import one_line
    from hardware_specs.parse import read_mapping
    from hardware_specs.schema import Hardware

    data = read_mapping(path)
    sources = data.pop("sources", None)
    if sources is not None:
        data = _with_sources(data, _checked_sources(sources, path), path, ())
    try:
        return Hardware.model_validate(data)
    except ValidationError as error:
        raise HardwareError(f"{path}: {one_line(error, Hardware)}") from None


def _checked_sources(sources: Any, path: Path) -> dict[str, str]:
    good = isinstance(sources, dict) and all(isinstance(text, str) and text for text in sources.values())
    if not good:
        raise HardwareError(f"{path}: sources: expected a mapping of short key to text")
    return {str(key): text for key, text in sources.items()}


def _with_sources(data: Any, sources: dict[str, str], path: Path, at: tuple[str, ...]) -> Any:
    """Replace each ``source: key`` by the text that ``sources`` has under the key."""
    if isinstance(data, list):
        return [_with_sources(item, sources, path, (*at, str(i))) for i, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    found = {key: _with_sources(value, sources, path, (*at, str(key))) for key, value in data.items()}
    key = found.get("source")
    if isinstance(key, str):
        if key not in sources:
            where = ".".join((*at, "source"))
            keys = ", ".join(sources)
            raise HardwareError(f"{path}: {where}: got {key[:80]!r}{hint(key, sources)} (allowed: {keys})")
        found["source"] = sources[key]
    return found
