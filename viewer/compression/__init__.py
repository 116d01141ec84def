"""Compression policies: rules, presets, and readers of what checkpoints say."""

from __future__ import annotations

from viewer.compression.checkpoint import read_quantization
from viewer.compression.load import load, read_file, validate
from viewer.compression.policy import DEFAULT16, Compression, OpFormats, Rule
from viewer.compression.presets import available

__all__ = [
    "DEFAULT16",
    "Compression",
    "OpFormats",
    "Rule",
    "available",
    "load",
    "read_file",
    "read_quantization",
    "validate",
]
