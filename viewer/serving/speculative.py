"""Speculative decoding: tokens per round and the speed that follows (Leviathan et al., arXiv:2211.17192)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from viewer.errors import InputError
from viewer.scenario import Scenario
from viewer.serving.timing import step_seconds
from viewer.workload import Number, Segment, Step


def expected_tokens(acceptance: Number, drafted: int) -> Number:
    """E[tokens of a round] = (1 - a^(g+1)) / (1 - a): accepted draft tokens plus one of the target; a = 1 gives g + 1.

    Tokens are taken to be accepted independently with probability ``acceptance``.
    """
    a = np.asarray(acceptance, dtype=float)
    if np.any(a < 0.0) or np.any(a > 1.0):
        raise InputError(f"acceptance {acceptance} is out of range (allowed: 0 to 1)")
    total = sum(a**power for power in range(drafted + 1))
    result: Number = float(total) if np.ndim(total) == 0 else total
    return result


@dataclass(frozen=True)
class Speculation:
    """One round: times in seconds, expected tokens, seconds per token with and without drafting."""

    draft_s: float
    verify_s: float
    round_s: float
    tokens: float
    tpot_s: float
    plain_tpot_s: float

    @property
    def speedup(self) -> float:
        """Plain time per token over that of speculative decoding."""
        return self.plain_tpot_s / self.tpot_s


def round_seconds(draft_s: float, verify_s: float, drafted: int) -> float:
    """g draft steps, then one step of the target over g + 1 tokens: g * T_draft + T_verify."""
    return drafted * draft_s + verify_s


def speculate(target: Scenario, draft: Scenario, acceptance: float, drafted: int) -> Speculation:
    """The speed of ``target`` (a decode scenario) when ``draft`` proposes ``drafted`` tokens a round.

    Both run on their own hardware and layout, one after the other. The verify step has B*(g+1) new rows; sampling and
    the rejection test are not counted, so the result is a ceiling.
    """
    load = target.workload.numeric()
    if "context" not in load:
        raise InputError("speculative decoding needs a decode workload")
    if not 1 <= drafted <= 64:
        raise InputError(f"drafted={drafted} is out of range (allowed: 1 to 64)")
    batch, context = load["batch"], load["context"]

    def step(new: float) -> Step:
        return Step((Segment(batch, new, context),), batch * new)

    draft_s = float(step_seconds(draft, step(1.0)))
    verify_s = float(step_seconds(target, step(drafted + 1.0)))
    plain_s = float(step_seconds(target, step(1.0)))
    tokens = float(expected_tokens(acceptance, drafted))
    total = round_seconds(draft_s, verify_s, drafted)
    return Speculation(draft_s, verify_s, total, tokens, total / tokens, plain_s)
