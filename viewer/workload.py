"""Workloads: what a user asks for, as frozen values with one phase each; every one becomes steps (viewer.steps).

Fields are whole numbers; :meth:`step` takes arrays for any of them, so that a sweep is one step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from viewer.errors import InputError
from viewer.steps import (
    Number,
    RowKind,
    Segment,
    Step,
    causal_pairs,
    chunked_pairs,
    decode_step,
    prefill_step,
    row_kind,
    visible_cached,
)

__all__ = [
    "MAX_COUNT",
    "Beam",
    "ChunkedPrefill",
    "Decode",
    "Diffusion",
    "Generation",
    "Mixed",
    "Number",
    "Pass",
    "Prefill",
    "RowKind",
    "Segment",
    "Step",
    "Verify",
    "Workload",
    "causal_pairs",
    "chunked_pairs",
    "decode_step",
    "expected_tokens",
    "prefill_step",
    "row_kind",
    "speculative_round_s",
    "visible_cached",
    "workload_kinds",
]

#: Largest length or batch that is accepted: far beyond any machine, small enough for exact float arithmetic.
MAX_COUNT = 1_000_000_000
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Length = Annotated[int, Field(ge=0, le=MAX_COUNT)]


#: Steps of one phase that are evaluated one by one; more are sampled evenly (step time is piecewise linear in length).
MAX_POINTS = 4096


class Pass(NamedTuple):
    """One phase of a workload: its step, how many times it runs, how many points of its arrays stand for these."""

    phase: str
    step: Step
    steps: int = 1
    points: int = 1


class _Workload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def numeric(self) -> dict[str, float]:
        """The numeric fields, as floats."""
        return {k: float(v) for k, v in self if isinstance(v, int | float) and not isinstance(v, bool)}

    def step(self, **over: Any) -> Step:
        """The (last) step; keyword arguments replace fields by arrays."""
        raise NotImplementedError

    def passes(self, over: dict[str, Any], trailing: dict[str, Any] | None = None) -> list[Pass]:
        """The phases in order. ``over`` replaces fields by arrays; ``trailing``: the same with one more axis."""
        _ = trailing
        return [Pass(str(getattr(self, "phase", "")), self.step(**over))]

    def produced(self, **over: Any) -> Number:
        """Tokens that the workload yields: those that its step processes unless the phase says otherwise."""
        return self.step(**over).tokens


class Prefill(_Workload):
    """``batch`` prompts of ``prompt`` new tokens; ``cached``: tokens already in the cache (prefix hit, chunk).

    ``source``: tokens that an encoder reads per request (encoder-decoder models); ``images``: pictures per request.
    """

    phase: Literal["prefill"] = "prefill"
    batch: Count = 1
    prompt: Count = 1024
    cached: Length = 0
    source: Length = 0
    images: Length = 0

    def step(self, **over: Any) -> Step:
        """The step; keyword arguments replace fields by arrays."""
        v = {**self.numeric(), **over}
        step = prefill_step(v["batch"], v["prompt"], v["cached"])
        return _with_inputs(step, v["batch"], new_source=v["source"], images=v["images"])


class Decode(_Workload):
    """One decode step of ``batch`` requests with ``context`` tokens each already cached (``source`` of an encoder)."""

    phase: Literal["decode"] = "decode"
    batch: Count = 1
    context: Length = 1024
    source: Length = 0

    def step(self, **over: Any) -> Step:
        """The step; keyword arguments replace fields by arrays."""
        v = {**self.numeric(), **over}
        return _with_inputs(decode_step(v["batch"], v["context"]), v["batch"], old_source=v["source"])


class Generation(_Workload):
    """A whole answer: a prefill of ``prompt`` tokens (first token out), then ``output - 1`` decode steps."""

    phase: Literal["generate"] = "generate"
    batch: Count = 1
    prompt: Count = 1024
    output: Count = 128
    source: Length = 0
    images: Length = 0

    def step(self, **over: Any) -> Step:
        """The prefill step; the decode steps come from :meth:`passes`."""
        v = {**self.numeric(), **over}
        step = prefill_step(v["batch"], v["prompt"])
        return _with_inputs(step, v["batch"], new_source=v["source"], images=v["images"])

    def decode_step(self, offset: Number, **over: Any) -> Step:
        """The decode step after prompt + ``offset`` tokens."""
        v = {**self.numeric(), **over}
        step = decode_step(v["batch"], v["prompt"] + offset)
        return _with_inputs(step, v["batch"], old_source=v["source"])

    def passes(self, over: dict[str, Any], trailing: dict[str, Any] | None = None) -> list[Pass]:
        """The prefill, then the decode steps along a trailing axis."""
        passes = [Pass("prefill", self.step(**over))]
        count = self.output - 1
        if count:
            points = min(count, MAX_POINTS)
            offsets = np.linspace(0.0, count - 1.0, points)
            passes.append(Pass("decode", self.decode_step(offsets, **(trailing or over)), count, points))
        return passes

    def produced(self, **over: Any) -> Number:
        """batch * output."""
        v: dict[str, Number] = {**self.numeric(), **over}
        return v["batch"] * v["output"]


class ChunkedPrefill(_Workload):
    """``batch`` prompts of ``prompt`` tokens, ``chunk`` at a time, after ``cached`` ones; the last chunk samples."""

    phase: Literal["chunked"] = "chunked"
    batch: Count = 1
    prompt: Count = 8192
    chunk: Count = 512
    cached: Length = 0

    def step(self, **over: Any) -> Step:
        """The last chunk."""
        v = {**self.numeric(), **over}
        done = np.floor((v["prompt"] - 1.0) / v["chunk"]) * v["chunk"]
        return prefill_step(v["batch"], v["prompt"] - done, v["cached"] + done)

    def passes(self, over: dict[str, Any], trailing: dict[str, Any] | None = None) -> list[Pass]:
        """All whole chunks but the last (they sample nothing), then the last. Only lengths that are numbers."""
        if any(isinstance(over.get(name), np.ndarray) for name in ("prompt", "chunk")):
            raise InputError(
                "chunked prefill: prompt and chunk set the number of steps and cannot be swept together"
            )
        v = {**self.numeric(), **(trailing or over)}
        count = int(np.floor((float(v["prompt"]) - 1.0) / float(v["chunk"])))
        last = Pass("last_chunk", self.step(**over))
        if not count:
            return [last]
        points = min(count, MAX_POINTS)
        done = np.linspace(0.0, count - 1.0, points) * float(v["chunk"])
        chunks = Step((Segment(v["batch"], v["chunk"], v["cached"] + done),), 0.0)
        return [Pass("chunk", chunks, count, points), last]

    def produced(self, **over: Any) -> Number:
        """Prompt tokens processed."""
        v: dict[str, Number] = {**self.numeric(), **over}
        return v["batch"] * v["prompt"]


class Mixed(_Workload):
    """Continuous batching (arXiv:2308.16369): ``batch`` decodes at ``context`` and ``prefills`` chunks in one step.

    Each chunk has ``chunk`` new tokens after ``cached`` ones; ``last_chunk``: they end their prompts (sample a token).
    """

    phase: Literal["mixed"] = "mixed"
    batch: Count = 32
    context: Length = 1024
    prefills: Count = 1
    chunk: Count = 512
    cached: Length = 0
    last_chunk: bool = False

    def step(self, **over: Any) -> Step:
        """Two segments: the chunks and the decodes."""
        v = {**self.numeric(), **over}
        sampled = v["batch"] + (v["prefills"] if self.last_chunk else 0.0)
        chunks = Segment(v["prefills"], v["chunk"], v["cached"])
        return Step((chunks, Segment(v["batch"], 1.0, v["context"])), sampled)


class Verify(_Workload):
    """Speculative verification: each request checks ``draft`` drafted tokens and gets one more (draft + 1 rows).

    ``tree``: candidates per level instead of a chain ((2, 2): 2, then 4 drafted tokens; the last accepted token is the
    root, so 1 + 2 + 4 rows). ``acceptance``: probability that a drafted token is accepted.
    """

    phase: Literal["verify"] = "verify"
    batch: Count = 1
    context: Length = 1024
    draft: Length = 4
    tree: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field((), max_length=16)
    acceptance: float = Field(0.8, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _bounded(self) -> Verify:
        if sum(self.levels) > 4096:
            raise ValueError(f"the tree has {sum(self.levels)} nodes (allowed: 4096)")
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """Nodes per level of the tree, root first."""
        counts = [1]
        for width in self.tree:
            counts.append(counts[-1] * width)
        return tuple(counts)

    def step(self, **over: Any) -> Step:
        """B * (draft + 1, context), or the tree's nodes with the sum of their depths; every row is sampled."""
        v = {**self.numeric(), **over}
        if not self.tree:
            rows = v["draft"] + 1.0
            return Step((Segment(v["batch"], rows, v["context"]),), v["batch"] * rows)
        nodes = float(sum(self.levels))
        depths = float(sum((depth + 1) * count for depth, count in enumerate(self.levels)))
        return Step((Segment(v["batch"], nodes, v["context"], depths),), v["batch"] * nodes)

    def produced(self, **over: Any) -> Number:
        """batch * expected tokens of a round."""
        v: dict[str, Number] = {**self.numeric(), **over}
        return v["batch"] * expected_tokens(v["acceptance"], v["draft"], self.tree)


def expected_tokens(acceptance: Number, draft: Number, tree: tuple[int, ...] = ()) -> Number:
    """Tokens of a speculative round: (1 - a^(g+1)) / (1 - a) for a chain of g (arXiv:2211.17192, equation 1).

    Tree: 1 + sum over levels of prod_{j<=i} (1 - (1 - a)^b_j): a level goes on if any of its b candidates is accepted,
    taken as independent (an upper estimate: candidates of one position exclude each other).
    """
    total: Number
    if not tree:
        total = (1.0 - acceptance ** (draft + 1.0)) / np.where(
            np.equal(acceptance, 1.0), 1.0, 1.0 - acceptance
        )
        return np.where(np.equal(acceptance, 1.0), draft + 1.0, total)
    total = 1.0
    reach: Number = 1.0
    for width in tree:
        reach = reach * (1.0 - (1.0 - acceptance) ** width)
        total = total + reach
    return total


def speculative_round_s(draft_s: Number, verify_s: Number, draft: Number) -> Number:
    """Seconds of a round: g steps of the draft model and one verification (arXiv:2211.17192, section 3)."""
    return draft * draft_s + verify_s


class Beam(_Workload):
    """Beam search: a decode step of ``beams`` hypotheses for each of ``batch`` requests.

    The first ``prompt`` tokens of the context are stored once per request (paged caches share them); every beam still
    reads its whole context.
    """

    phase: Literal["beam"] = "beam"
    batch: Count = 1
    beams: Count = 4
    context: Length = 1024
    prompt: Length = 1024

    def step(self, **over: Any) -> Step:
        """batch * beams segments of one token."""
        v = {**self.numeric(), **over}
        rows = v["batch"] * v["beams"]
        shared = np.minimum(v["prompt"], v["context"])
        return Step((Segment(rows, 1.0, v["context"], None, shared, v["beams"]),), rows)


class Diffusion(_Workload):
    """``steps`` denoising passes over ``prompt`` latent tokens of ``batch`` images; ``guidance`` runs each twice."""

    phase: Literal["diffusion"] = "diffusion"
    batch: Count = 1
    prompt: Count = 256
    steps: Count = 50
    guidance: bool = True

    def step(self, **over: Any) -> Step:
        """One pass: batch * (2 with guidance) requests."""
        v = {**self.numeric(), **over}
        return prefill_step(v["batch"] * (2.0 if self.guidance else 1.0), v["prompt"])

    def passes(self, over: dict[str, Any], trailing: dict[str, Any] | None = None) -> list[Pass]:
        """The pass, ``steps`` times."""
        _ = trailing
        return [Pass("diffusion", self.step(**over), self.steps)]

    def produced(self, **over: Any) -> Number:
        """Images."""
        return {**self.numeric(), **over}["batch"]  # type: ignore[no-any-return]


def _with_inputs(
    step: Step, batch: Number, *, new_source: Number = 0.0, old_source: Number = 0.0, images: Number = 0.0
) -> Step:
    """The step with encoder segments and images where any are asked for."""
    source: tuple[Segment, ...] = ()
    if np.any(np.asarray(new_source) > 0) or np.any(np.asarray(old_source) > 0):
        source = (Segment(batch, new_source, old_source),)
    return replace(step, source=source, images=batch * images)


Workload: TypeAlias = Annotated[
    Prefill | Decode | Generation | ChunkedPrefill | Mixed | Verify | Beam | Diffusion,
    Field(discriminator="phase"),
]


def workload_kinds() -> dict[str, type[_Workload]]:
    """Phase name -> workload class."""
    kinds = {}
    for kind in _Workload.__subclasses__():
        kinds[str(kind.model_fields["phase"].default)] = kind
    return kinds
