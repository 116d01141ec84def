"""Quantization error measured on the weights of a real checkpoint, tensor by tensor, in bounded memory."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from viewer.error.checkpoint import StoredTensor, iter_tensors
from viewer.error.layout import TensorStats, stats_of
from viewer.error.metrics import ErrorSums
from viewer.error.quantizers import Quantizer, quantizer
from viewer.errors import InputError

BLOCK_VALUES = 2**21  # values held at once: about 100 MB with all temporaries
WHOLE_VALUES = 2**25  # largest tensor for schemes that need all of it (low rank, row pruning)

# Tensors that quantized models keep in 16 bits.
KEPT = re.compile(r"(embed|wte|wpe|lm_head|output\.weight|norm|ln_|router|mlp\.gate\.weight)")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.")

Choose = Callable[[str, tuple[int, ...]], Sequence[str]]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class TensorError:
    """Measured error of one tensor in one format; ``distribution`` is always "measured".

    ``kurtosis`` is of the original values (3: Gaussian, 6: Laplace); mse in squared weight units.
    """

    tensor: str
    op: str
    layer: int | None
    format: str
    numel: int
    mse: float
    sqnr_db: float
    cosine: float
    kurtosis: float
    amax: float
    note: str = ""
    distribution: str = "measured"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Errors of a checkpoint: one per (tensor, format); ``skipped`` (tensor, why); ``stopped`` when
    cancelled."""

    errors: tuple[TensorError, ...]
    skipped: tuple[tuple[str, str], ...]
    stopped: bool

    def rows(self) -> list[dict[str, object]]:
        """Frame-ready dicts."""
        return [asdict(error) for error in self.errors]

    def by_op(self) -> dict[tuple[str, int | None, str], float]:
        """SQNR in dB by (op, layer, format), for ``assess``; tensors of one op (experts) add signal and
        noise."""
        sums: dict[tuple[str, int | None, str], list[float]] = {}
        for e in self.errors:
            noise = e.mse * e.numel
            signal = noise * 10 ** (e.sqnr_db / 10) if math.isfinite(e.sqnr_db) else 0.0
            total = sums.setdefault((e.op, e.layer, e.format), [0.0, 0.0])
            total[0] += signal
            total[1] += noise
        return {key: 10 * math.log10(s / n) if n and s else math.inf for key, (s, n) in sums.items()}


def op_of_tensor(name: str) -> tuple[str, int | None]:
    """(op, layer) of a tensor name: "model.layers.3.self_attn.q_proj.weight" is ("q_proj", 3).

    Expert projections become experts_gate / experts_up / experts_down, shared ones shared_*; Mixtral's w1,
    w3, w2 are gate, up and down.
    """
    found = _LAYER.search(name)
    layer = int(found[1]) if found else None
    stem = name.removesuffix(".weight")
    last = stem.rsplit(".", 1)[-1]
    last = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}.get(last, last)
    if "shared_expert" in stem and last.endswith("_proj"):
        return f"shared_{last}", layer
    if ".experts." in stem and last.removesuffix("_proj") in ("gate", "up", "down", "gate_up"):
        return f"experts_{last.removesuffix('_proj')}", layer
    return ("embed" if last in ("embed_tokens", "wte") else last), layer


def choose_formats(formats: str | Sequence[str] | Mapping[str, str | Sequence[str] | None]) -> Choose:
    """A rule from what the user gave.

    One name or several: for every matrix but embeddings, head, norms and routers. A mapping of tensor name
    patterns (``*.q_proj.weight``) to names or None: the first that matches decides, exactly as written.
    """
    if isinstance(formats, Mapping):
        rules = [(pattern, _names(value)) for pattern, value in formats.items()]

        def by_pattern(name: str, shape: tuple[int, ...]) -> Sequence[str]:
            del shape
            return next((names for pattern, names in rules if fnmatch.fnmatchcase(name, pattern)), ())

        return by_pattern
    names = _names(formats)

    def everywhere(name: str, shape: tuple[int, ...]) -> Sequence[str]:
        return () if len(shape) < 2 or KEPT.search(name) else names

    return everywhere


def _names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    names = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        quantizer(name)  # refuse unknown names before hours of reading
    return names


def measure_checkpoint(
    paths: Path | str | Sequence[Path | str],
    formats: str | Sequence[str] | Mapping[str, str | Sequence[str] | None] | Choose,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    block_values: int = BLOCK_VALUES,
) -> Measurement:
    """MSE, SQNR, cosine and kurtosis of every chosen tensor of .safetensors files (or folders) in each
    format.

    Tensors are read in blocks of rows of about ``block_values`` values, so memory does not grow with the
    model. ``progress(done, total, tensor)`` counts bytes of tensors; ``should_stop`` is asked before every
    block, and the tensors finished until then are returned with ``stopped`` set. Formats with a per-tensor
    scale read a tensor twice.

    Raises:
        InputError: a missing or broken file, an unknown format.
    """
    choose = formats if callable(formats) else choose_formats(formats)
    places = [paths] if isinstance(paths, (str, Path)) else list(paths)
    tensors = [tensor for place in places for tensor in iter_tensors(place)]
    total, done = sum(t.end - t.begin for t in tensors), 0
    errors: list[TensorError] = []
    skipped: list[tuple[str, str]] = []
    for tensor in tensors:
        if progress:
            progress(done, total, tensor.name)
        chosen = [quantizer(name) for name in choose(tensor.name, tensor.shape)]
        reason = _unreadable(tensor)
        if chosen and reason:
            skipped.append((tensor.name, reason))
        elif chosen:
            fitting = [q for q in chosen if not q.whole or tensor.rows * tensor.cols <= WHOLE_VALUES]
            skipped += [(tensor.name, f"too large for {q.name}") for q in chosen if q not in fitting]
            result = _measure_tensor(tensor, fitting, block_values, should_stop or (lambda: False))
            if result is None:
                return Measurement(tuple(errors), tuple(skipped), stopped=True)
            errors += result
        done += tensor.end - tensor.begin
    if progress:
        progress(total, total, "")
    return Measurement(tuple(errors), tuple(skipped), stopped=False)


def _unreadable(tensor: StoredTensor) -> str:
    if not tensor.readable:
        return f"stored as {tensor.dtype}, only F64, F32, F16 and BF16 are measured"
    if tensor.cols > WHOLE_VALUES:
        return f"a row of {tensor.cols} values does not fit the memory set aside"
    return "" if tensor.rows * tensor.cols else "empty"


def _blocks(tensor: StoredTensor, rows: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + rows, tensor.rows)) for start in range(0, tensor.rows, rows))


def _measure_tensor(
    tensor: StoredTensor, quantizers: Sequence[Quantizer], block_values: int, should_stop: Callable[[], bool]
) -> list[TensorError] | None:
    """Errors of one tensor, None when cancelled."""
    if not quantizers:
        return []
    multiple = math.lcm(*(q.row_multiple for q in quantizers))
    rows = max(block_values // tensor.cols // multiple, 1) * multiple
    if any(q.whole for q in quantizers):
        rows = tensor.rows
    stats: TensorStats | None = None
    if any(q.needs_stats for q in quantizers):
        for start, stop in _blocks(tensor, rows):
            if should_stop():
                return None
            part = stats_of(tensor.read(start, stop))
            stats = part if stats is None else stats.merge(part)
    sums = [ErrorSums() for _ in quantizers]
    amax = 0.0
    for start, stop in _blocks(tensor, rows):
        if should_stop():
            return None
        x = tensor.read(start, stop)
        if not np.isfinite(x).all():
            raise InputError(f"{tensor.path}: tensor {tensor.name!r} holds NaN or infinity")
        amax = max(amax, stats_of(x).amax)
        for total, q in zip(sums, quantizers, strict=True):
            total.add(x, q.apply(x, stats))
    op, layer = op_of_tensor(tensor.name)
    return [
        TensorError(
            tensor.name, op, layer, q.name, s.count, s.mse, s.sqnr_db, s.cosine, s.kurtosis, amax, q.note
        )
        for s, q in zip(sums, quantizers, strict=True)
    ]
