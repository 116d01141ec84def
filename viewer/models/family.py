"""Registry of model families: ``@family("llama", "mistral")`` registers ``read(cfg) -> ModelSpec``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

from viewer.models.config import Config
from viewer.models.spec import ModelSpec

Reader = Callable[[Config], ModelSpec]
_READERS: dict[str, Reader] = {}


def family(*model_types: str) -> Callable[[Reader], Reader]:
    """Register a reader for these ``model_type`` values; a second one for the same type is refused."""

    def register(reader: Reader) -> Reader:
        for name in model_types:
            if name in _READERS:
                raise ValueError(f"model_type {name!r} is read by {_READERS[name].__name__} already")
            _READERS[name] = reader
        return reader

    return register


@cache
def _load_all() -> None:
    from viewer.models import families

    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")


def reader_of(model_type: str) -> Reader | None:
    """The reader of a ``model_type``, or None."""
    _load_all()
    return _READERS.get(model_type)


def model_types() -> tuple[str, ...]:
    """All ``model_type`` values that are known."""
    _load_all()
    return tuple(sorted(_READERS))
