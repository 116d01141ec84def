"""``load_model``: a catalog name, a config.json, a folder, a .safetensors or .gguf header -> ModelSpec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from viewer.errors import InputError, unknown
from viewer.models.config import Config, read_json
from viewer.models.family import reader_of
from viewer.models.generic import read_generic
from viewer.models.spec import ModelSpec

#: Other spellings of catalog names.
NAME_PREFIXES = ("meta-llama/", "meta-", "huggingface/")


@cache
def catalog_names() -> tuple[str, ...]:
    """Names of the catalog, sorted."""
    folder = resources.files("viewer.models") / "catalog"
    return tuple(sorted(f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json")))


@lru_cache(maxsize=256)
def load_model(name: str) -> ModelSpec:
    """The model of a catalog name or of a file or folder on this machine.

    Raises InputError in one line: unknown name (with the nearest), unreadable file, missing or inconsistent key.
    """
    key = name.strip().lower()
    for prefix in NAME_PREFIXES:
        if key not in catalog_names():
            key = key.removeprefix(prefix)
    if key in catalog_names():
        return _from_catalog(key)
    path = Path(name).expanduser()
    looks_like_path = path.suffix in (".json", ".safetensors", ".gguf") or "/" in name or path.exists()
    if not looks_like_path:
        raise unknown("model", name, catalog_names())
    if not path.exists():
        if "/" in name and not path.suffix:
            raise unknown("model", name, catalog_names())
        raise InputError(f"model file {name[:120]!r} does not exist")
    return load_path(path)


def _from_catalog(name: str) -> ModelSpec:
    text = (resources.files("viewer.models") / "catalog" / f"{name}.json").read_text("utf-8")
    entry = json.loads(text)
    spec = spec_of(entry["config"], where=f"catalog {name}")
    return replace(
        spec,
        name=name,
        published=entry.get("published_parameter_count"),
        published_source=entry.get("source", ""),
        notes=(*spec.notes, *entry.get("notes", ())),
    )


def load_path(path: Path) -> ModelSpec:
    """A model from a file or folder: config.json, a folder that holds one, a .safetensors or .gguf header."""
    if path.is_dir():
        config = path / "config.json"
        if not config.exists():
            raise InputError(f"folder {path.name!r} holds no config.json")
        return load_path(config)
    if path.suffix in (".gguf", ".safetensors") or path.name.endswith(".safetensors.index.json"):
        return _from_header(path)
    raw = read_json(path)
    sidecar = path.with_name(path.name.removesuffix("config.json") + "hf_quant_config.json")
    if path.name.endswith("config.json") and sidecar.exists():
        raw = {**raw, "hf_quant_config": read_json(sidecar)}
    spec = spec_of(raw, where=path.name)
    name = path.stem if path.stem != "config" else path.resolve().parent.name
    return replace(spec, name=name)


def _from_header(path: Path) -> ModelSpec:
    """A model whose shapes come from its configuration and whose formats from its tensors."""
    from viewer.checkpoints import read_header

    header = read_header(path)
    if header.config is None:
        raise InputError(f"{path.name}: no config.json beside it, and the header does not describe the model")
    return replace(spec_of(header.config, where=path.name), name=path.stem, checkpoint=header)


def spec_of(raw: Mapping[str, Any], where: str = "config.json") -> ModelSpec:
    """A configuration as a mapping -> ModelSpec; an unknown model_type with ordinary keys is read by its keys."""
    cfg = Config(dict(raw), where)
    reader = reader_of(cfg.model_type) or read_generic
    spec = reader(cfg)
    quantization = raw.get("quantization_config") or raw.get("hf_quant_config")
    return replace(spec, quantization=quantization, config=cfg.raw)
