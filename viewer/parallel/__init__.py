"""Parallel layouts: graph -> the graph of one device, with its collectives. No rates: see viewer.links."""

from __future__ import annotations

from viewer.parallel.layout import Layout, make_layout
from viewer.parallel.shard import shard
from viewer.parallel.split import split_step
from viewer.parallel.stages import bubble, stage

__all__ = ["Layout", "bubble", "make_layout", "shard", "split_step", "stage"]
