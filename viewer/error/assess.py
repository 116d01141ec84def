"""From settings to an ordinal risk: SQNR per op, its propagation, and a class. Never a perplexity.

Noise powers relative to the signal add when they are independent: 1 / SQNR_y = 1 / SQNR_w + 1 / SQNR_a + KV
terms. Through the residual stream x_i = x_(i-1) + f_i(x_(i-1)) with sublayers of equal power, the relative
noise is N_i = N_(i-1) + n_i / (i + 1), where n_i is the sum over the products of sublayer i and f_i passes
on the relative noise of its input unchanged. So N = sum n_i / (i + 1): early layers count more, depth only
as its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from viewer.error.metrics import to_db
from viewer.error.table import TENSOR_VALUES, sqnr_db
from viewer.errors import InputError

# Classes by the SQNR of the residual stream after the last layer. 0 dB: noise as strong as the stream. The
# steps were set so that, on 32 to 80 layers, 8-bit integer weights are negligible, 8-bit floats on both
# sides low, 4-bit weights by groups moderate, 3-bit ones high, 2-bit integers and 2:4 by magnitude severe:
# an order, not a measurement.
RISK_CLASSES = ((20.0, "negligible"), (10.0, "low"), (3.0, "moderate"), (-2.0, "high"), (-math.inf, "severe"))

_ATTENTION_OPS = frozenset(
    {"q_proj", "k_proj", "v_proj", "qkv_proj", "rope", "rope_append", "kv_append", "qk_matmul", "softmax",
     "pv_matmul", "attention", "o_proj", "q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj"}
)  # fmt: skip
# Fused ops hold several products; counting them keeps the score independent of the fusion.
_PRODUCTS = {"qkv_proj": 3, "gate_up_proj": 2, "experts_gate_up": 2, "shared_gate_up_proj": 2}
_KV_PRODUCTS = {"attention": 2}


class OpSetting(NamedTuple):
    """One op of one layer: format names (a pruning may be joined with ``+``), None where there is no such
    tensor. ``layer`` is None for ops outside the stack (embedding, head); ``numel`` counts the weights."""

    op: str
    layer: int | None
    weight_format: str | None = None
    act_format: str | None = None
    kv_format: str | None = None
    numel: float = 0.0


@dataclass(frozen=True, slots=True)
class Assumed:
    """Distributions that stand in for tensors nobody measured.

    Weights near Gaussian; activations with outlier channels (arXiv:2208.07339); keys and values heavier than
    Gaussian.
    """

    weights: str = "gaussian"
    activations: str = "outlier_channels"
    kv: str = "laplace"


@dataclass(frozen=True, slots=True)
class ErrorAssessment:
    """Error of a whole setting.

    ``columns``: frame-ready, one entry per op with a format: op, layer, weight_format, act_format, kv_format,
    weights_count, weight_sqnr_db, act_sqnr_db, kv_sqnr_db, output_sqnr_db, sensitivity, distribution
    ("assumed" | "measured", of the weights). ``distribution`` is "measured" only when every weight was
    measured and nothing else was assumed. Figures in dB; +inf means exact.
    """

    columns: dict[str, list[object]]
    min_sqnr_db: float
    median_sqnr_db: float
    mean_sqnr_db: float
    stream_sqnr_db: float
    risk: str
    distribution: str

    def rows(self) -> list[dict[str, object]]:
        """The columns as one dict per op."""
        names = list(self.columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]


def risk_class(stream_sqnr_db: float) -> str:
    """negligible, low, moderate, high or severe (``RISK_CLASSES``)."""
    return next(label for limit, label in RISK_CLASSES if stream_sqnr_db >= limit)


def output_noise(*sqnrs_db: float | None) -> float:
    """1 / SQNR_y = sum of 1 / SQNR_i of the quantized operands (dB in, ratio out); None and +inf add
    nothing."""
    return float(sum(10 ** (-value / 10) for value in sqnrs_db if value is not None))


def stream_noise(op_noise: Iterable[tuple[str, int | None, float]]) -> float:
    """N = sum over ops of products * noise / (i + 1), i = 2 layer (attention) or 2 layer + 1 (the rest).

    Ops outside the stack (layer None) add their noise undamped: the embedding is the stream, the head reads
    it.
    """
    total = 0.0
    for op, layer, noise in op_noise:
        depth = 0 if layer is None else 2 * layer + (op not in _ATTENTION_OPS)
        total += _PRODUCTS.get(op, 1) * noise / (depth + 1)
    return total


def _noises(
    setting: OpSetting, measured_db: float | None, assume: Assumed
) -> tuple[float | None, float | None, float | None, float]:
    """(weight, activation, KV SQNR in dB, noise ratio of the output)."""
    op, _, weight_format, act_format, kv_format, numel = setting
    weight = measured_db
    if weight is None and weight_format is not None:
        weight = sqnr_db(weight_format, assume.weights, numel or TENSOR_VALUES)
    act = None if act_format is None else sqnr_db(act_format, assume.activations)
    kv = None if kv_format is None else sqnr_db(kv_format, assume.kv)
    kv_terms = [kv] * _KV_PRODUCTS.get(op, 1)
    return weight, act, kv, output_noise(weight, act, *kv_terms)


def assess(
    settings: Iterable[OpSetting | tuple[str, int | None, str | None, str | None, str | None, float]],
    *,
    measured: Mapping[tuple[str, int | None, str], float] | None = None,
    sensitivities: Mapping[tuple[str, int | None], float] | None = None,
    assume: Assumed | None = None,
) -> ErrorAssessment:
    """SQNR per op, its minimum, median and mean over the ops, and the risk class of the setting.

    ``measured``: weight SQNR in dB by (op, layer, format), from ``Measurement.by_op``; it replaces the
    assumption. ``sensitivities``: factor of an op's noise by (op, layer), relative (they are divided by
    their mean); (op, None) serves all layers. The mean weighs noise by the number of weights. A sparse or
    16-bit model that changes nothing gives +inf and "negligible".

    Raises:
        InputError: an unknown format, distribution or sensitivity that is not a number above 0.
    """
    known, factors, assume = measured or {}, _normalized(sensitivities), assume or Assumed()
    cache: dict[tuple[object, ...], tuple[float | None, float | None, float | None, float]] = {}
    rows: list[tuple[object, ...]] = []
    noises, weights, stream, all_measured = [], [], [], True
    for entry in settings:
        op, layer, weight_format, act_format, kv_format, numel = entry
        if weight_format is None and act_format is None and kv_format is None:
            continue
        found = known.get((op, layer, weight_format)) if weight_format is not None and known else None
        key = (op, weight_format, act_format, kv_format, numel, found)
        result = cache.get(key)
        if result is None:
            setting = OpSetting(op, layer, weight_format, act_format, kv_format, numel)
            result = cache[key] = _noises(setting, found, assume)
        factor = factors.get((op, layer), factors.get((op, None), 1.0)) if factors else 1.0
        label = "measured" if found is not None else "assumed"
        all_measured = all_measured and found is not None and act_format is None and kv_format is None
        rows.append((op, layer, weight_format, act_format, kv_format, numel, *result, factor, label))
        noises.append(result[3])
        weights.append(numel)
        stream.append((op, layer, result[3] * factor))
    return _assessment(
        rows, np.asarray(noises), np.asarray(weights, float), stream_noise(stream), all_measured
    )


_COLUMNS = (
    "op", "layer", "weight_format", "act_format", "kv_format", "weights_count", "weight_sqnr_db", "act_sqnr_db",
    "kv_sqnr_db", "output_sqnr_db", "sensitivity", "distribution",
)  # fmt: skip


def _ratio_to_db(noise: np.ndarray) -> np.ndarray:
    """-10 log10 of noise ratios; 0 becomes +inf."""
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(noise))


def _assessment(
    rows: list[tuple[object, ...]], noise: np.ndarray, weights: np.ndarray, stream: float, measured: bool
) -> ErrorAssessment:
    if not rows:
        empty: dict[str, list[object]] = {name: [] for name in _COLUMNS}
        return ErrorAssessment(empty, math.inf, math.inf, math.inf, math.inf, "negligible", "assumed")
    columns = {name: list(values) for name, values in zip(_COLUMNS, zip(*rows, strict=True), strict=True)}
    output = _ratio_to_db(noise)
    columns["output_sqnr_db"] = output.tolist()
    mean = float(np.average(noise, weights=weights)) if weights.sum() > 0 else float(noise.mean())
    # The median of noise, not of dB: both agree but for even counts, and noise has no infinities.
    median = float(np.median(noise))
    stream_db = -to_db(stream)
    return ErrorAssessment(
        columns=columns,
        min_sqnr_db=float(output.min()),
        median_sqnr_db=-to_db(median),
        mean_sqnr_db=-to_db(mean),
        stream_sqnr_db=stream_db,
        risk=risk_class(stream_db),
        distribution="measured" if measured else "assumed",
    )


def _normalized(
    sensitivities: Mapping[tuple[str, int | None], float] | None,
) -> dict[tuple[str, int | None], float]:
    """Sensitivities divided by their mean."""
    if not sensitivities:
        return {}
    for (op, layer), value in sensitivities.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(
                f"the sensitivity of {op!r} in layer {layer} must be a number above 0, got {value}"
            )
    mean = math.fsum(sensitivities.values()) / len(sensitivities)
    return {key: value / mean for key, value in sensitivities.items()}
