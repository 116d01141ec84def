"""Latency and throughput of a deployment at a given number of concurrent requests: static or continuous batching.

TTFT: queue + prefill + first token. TPOT: mean time between the tokens after the first. E2E = TTFT + (n - 1) * TPOT.
Everything is a function of the batch, which may be an array: one evaluation for all batch sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from viewer import memory as mem
from viewer.errors import InputError
from viewer.planned import Plan, plan_of
from viewer.scenario import Scenario
from viewer.serving.timing import step_seconds
from viewer.workload import Segment, Step, decode_step, prefill_step

Floats = npt.NDArray[np.float64]
#: Points of an answer at which a decode step is evaluated; the time is piecewise linear in the context.
CONTEXT_POINTS = 17
#: Tokens that a step may hold, prompts and answers together: vLLM's default max_num_batched_tokens for online serving.
CHUNK_TOKENS = 2048


@dataclass(frozen=True)
class Requests:
    """What is asked: ``prompt`` tokens in, ``output`` tokens out; ``cached`` tokens of the prompt need no prefill.

    ``chunk``: tokens of prompts per step and replica under continuous batching.
    """

    prompt: int
    output: int
    cached: int = 0
    chunk: int = CHUNK_TOKENS

    def __post_init__(self) -> None:
        for name, low in (("prompt", 1), ("output", 2), ("cached", 0), ("chunk", 1)):
            value = getattr(self, name)
            if not low <= value <= 1_000_000_000:
                raise InputError(f"{name}={value} is out of range (allowed: {low} to 1000000000)")
        if self.cached >= self.prompt:
            raise InputError(f"cached={self.cached} leaves nothing of a prompt of {self.prompt} to compute")

    @property
    def fresh(self) -> int:
        """Prompt tokens that must be computed."""
        return self.prompt - self.cached


@dataclass(frozen=True)
class Service:
    """Arrays over the batch: seconds, tokens/s of the deployment, and whether it can run so.

    ``sustained``: prompts are computed as fast as answers finish (continuous batching). ``total_bytes``: memory of one
    device with every request at its full length; ``fits``: 1, 0, or -1 where the capacity is not known.
    """

    batch: Floats
    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats
    tokens_per_s: Floats
    requests_per_s: Floats
    sustained: npt.NDArray[np.bool_]
    total_bytes: Floats
    fits: npt.NDArray[np.int8]


def mean_decode_s(scenario: Scenario, batch: Floats, requests: Requests) -> Floats:
    """Mean seconds of a decode step over an answer, for each batch: output - 1 steps from a context of ``prompt``."""
    points = min(CONTEXT_POINTS, requests.output - 1)
    contexts = np.linspace(requests.prompt, requests.prompt + requests.output - 2.0, points)
    seconds = step_seconds(scenario, decode_step(batch[:, None], contexts[None, :]))
    spread: Floats = np.broadcast_to(np.asarray(seconds, dtype=float), (batch.size, points))
    return np.asarray(spread.mean(axis=-1), dtype=float)


def static_service(scenario: Scenario, batch: Any, requests: Requests) -> Service:
    """All requests start together, and nothing joins until all have ended: throughput B*n / E2E."""
    b = _batches(batch)
    ttft = _flat(step_seconds(scenario, prefill_step(b, float(requests.fresh), float(requests.cached))), b)
    tpot = mean_decode_s(scenario, b, requests)
    e2e = ttft + (requests.output - 1) * tpot
    return _service(scenario, requests, b, ttft, tpot, e2e, b / e2e, np.ones(b.shape, dtype=bool))


def steady_service(scenario: Scenario, batch: Any, requests: Requests) -> Service:
    """Continuous batching in steady state: ``batch`` requests decode at once, and each that ends is replaced.

    In the n steps that one answer takes, every replica must compute the prompts of its B/dp requests: in
    x = B/dp * prompt / chunk of them a chunk of a prompt rides along. TPOT = T_decode + x/n * (T_mixed - T_decode);
    more than n such steps (``sustained`` false) cannot be, and prompts then limit the rate. No request queues:
    TTFT = ceil(prompt / chunk) * T_mixed. Decoding requests stand at the mean context, chunks at the mean position of
    their prompt.
    """
    b = _batches(batch)
    plan = plan_of(scenario)
    replicas, passes = plan.graph.replicas, plan.graph.micro_batches
    chunk = float(min(requests.chunk, requests.fresh))
    prompts = float(max(1, requests.chunk // requests.fresh))
    context = requests.prompt + (requests.output - 1) / 2.0
    before = requests.cached + (requests.fresh - chunk) / 2.0
    mixed_step = Step(
        (Segment(b, 1.0, context), Segment(prompts * replicas, chunk / passes, before)),
        b + prompts * replicas * chunk / requests.fresh,
    )
    mixed = _flat(step_seconds(scenario, mixed_step), b)
    plain = mean_decode_s(scenario, b, requests)
    with_prompt = np.ceil(b / replicas) * requests.fresh / (chunk * prompts)
    share = with_prompt / requests.output
    tpot = plain + np.minimum(share, 1.0) * np.maximum(mixed - plain, 0.0)
    ttft = np.ceil(requests.fresh / chunk) * mixed
    e2e = ttft + (requests.output - 1) * tpot
    # never more requests than prompts can be computed
    rate = np.minimum(b / (requests.output * tpot), prompts * replicas * chunk / requests.fresh / mixed)
    return _service(scenario, requests, b, ttft, tpot, e2e, rate, share <= 1.0)


def _batches(batch: Any) -> Floats:
    values = np.atleast_1d(np.asarray(batch, dtype=float)).ravel()
    if values.size == 0 or not np.all(values >= 1.0) or not np.all(values <= 1e9):
        raise InputError("batch sizes must lie between 1 and 1000000000")
    return values


def _flat(seconds: Any, batch: Floats) -> Floats:
    return np.array(np.broadcast_to(np.asarray(seconds, dtype=float), batch.shape))


def _service(
    scenario: Scenario, requests: Requests, batch: Floats, ttft: Floats, tpot: Floats, e2e: Floats,
    rate: Floats, sustained: npt.NDArray[np.bool_],
) -> Service:  # fmt: skip
    plan = plan_of(scenario)
    total = held_bytes(scenario, plan, batch, requests)
    dram = plan.hardware.memory("dram")
    if dram is None or dram.capacity_bytes is None:
        fits = np.full(batch.shape, -1, dtype=np.int8)
    else:
        usable = scenario.assumptions.memory_utilization * dram.capacity_bytes.value
        fits = (total <= usable).astype(np.int8)
    return Service(batch, ttft, tpot, e2e, rate * requests.output, rate, sustained, total, fits)


def held_bytes(scenario: Scenario, plan: Plan, batch: Floats, requests: Requests) -> Floats:
    """Bytes of one device with all requests at their full length, and the activations of one chunk."""
    a = scenario.assumptions
    end = mem.account(plan.graph, decode_step(batch, requests.prompt + requests.output - 2.0), a.page_tokens)
    chunk = prefill_step(float(plan.graph.replicas), float(min(requests.chunk, requests.fresh)))
    first = mem.account(plan.graph, chunk, a.page_tokens)
    live = np.maximum(end.activation_peak_bytes, first.activation_peak_bytes)
    total = end.weight_bytes + end.kv_cache_bytes + end.state_bytes + live + a.overhead_bytes
    return _flat(total, batch)
