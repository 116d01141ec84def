"""Model architectures: configuration readers, a catalog, and graphs of unfused ops."""

from __future__ import annotations

from viewer.models.build import build_graph
from viewer.models.family import model_types
from viewer.models.load import catalog_names, load_model, load_path, spec_of
from viewer.models.spec import ModelSpec

__all__ = ["ModelSpec", "build_graph", "catalog_names", "load_model", "load_path", "model_types", "spec_of"]
