"""Serving: latency, throughput, layouts on the Pareto front, goodput, speculative decoding."""

from __future__ import annotations

from viewer.serving.frontier import BATCHES, frontier, goodput, layouts, pareto
from viewer.serving.latency import Requests, Service, static_service, steady_service
from viewer.serving.speculative import Speculation, expected_tokens, round_seconds, speculate

__all__ = [
    "BATCHES",
    "Requests",
    "Service",
    "Speculation",
    "expected_tokens",
    "frontier",
    "goodput",
    "layouts",
    "pareto",
    "round_seconds",
    "speculate",
    "static_service",
    "steady_service",
]
