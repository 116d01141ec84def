"""Constants of the GEMM physics estimate from measurements: bounded robust least squares on log(t / M2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from viewer.calibration import gemm_tiles as gemm
from viewer.calibration.base import TINY_S, Device, FloatArray

# (low, high, start): fractions of a datasheet rate stay near physics, times are microseconds. A constant that
# ends on its bound is not identified by the data.
LIMITS: Mapping[str, tuple[float, float, float]] = {
    "t0": (0.2, 15.0, 2.5),
    "tp": (0.02, 6.0, 0.5),
    "ec": (0.3, 1.1, 0.8),
    "em": (0.3, 1.05, 0.8),
    "ls": (0.3, 4.0, 1.3),
    "p": (1.0, 12.0, 4.0),
    "al": (0.1, 1.5, 0.5),
    "ka": (0.7, 6.0, 1.5),
    "q": (0.0, 1.0, 0.3),
    "te": (0.0, 3.0, 0.3),
    "g": (0.0, 0.3, 0.03),
    "pf": (1.2, 12.0, 4.0),
    "sk": (0.05, 6.0, 1.5),
    "ep": (0.0, 4.0, 1.7),
    "dq": (0.0, 2.0, 0.1),
    "tg": (2.0, 15.0, 6.0),
    "eg": (0.1, 1.0, 0.8),
    "cg": (0.0, 2.0, 0.2),
    "tq": (0.2, 6.0, 1.5),
    "eq": (0.2, 3.0, 0.5),
    "tr": (0.003, 8.0, 0.7),
    "fl": (1.0, 14.0, 10.0),
}
LOSS_SCALE = 0.05
TINY_WEIGHT = 0.4
STARTS: tuple[Mapping[str, float], ...] = (
    {},
    {"q": 0.95, "tp": 2.0, "em": 0.7, "pf": 2.5},
    {"q": 0.05, "tp": 0.1, "ls": 2.0, "p": 3.0, "pf": 10.0, "t0": 5.0},
)
_LOG = {"t0", "tp", "ec", "em", "ls", "p", "al", "ka", "pf", "sk", "tg", "eg", "tq", "eq", "tr", "fl"}


def names_of(plan: gemm.Plan, sixteen_bit: bool) -> list[str]:
    """The constants that a kernel class has."""
    names = ["t0", "tp", "ec", "em", "ls", "p", "al", "ka", "q", "te", "g"]
    if len(plan.splits) > 1:
        names += ["sk", "ep"]
    if sixteen_bit:
        names.append("pf")
    elif len(plan.splits) > 1:
        names.append("dq")
    if plan.gemv:
        names += ["tg", "eg", "cg"]
    if plan.quantize:
        names += ["tq", "eq", "tr"]
    return [*names, "fl"] if plan.floor else names


def _to_x(names: list[str], c: Mapping[str, float]) -> FloatArray:
    return np.array([np.log(c[n]) if n in _LOG else c[n] for n in names])


def _from_x(names: list[str], x: FloatArray) -> dict[str, float]:
    return {n: float(np.exp(v)) if n in _LOG else float(v) for n, v in zip(names, x, strict=True)}


def _fixed_choice(
    c: Mapping[str, float], s: gemm.Shapes, device: Device, plan: gemm.Plan, pick: FloatArray
) -> FloatArray:
    core = gemm.candidate_s(c, s, device, gemm.traffic(c, s, device), pick[0], pick[1], pick[2])
    return gemm.finish(c, s, device, plan, core)


def fit_constants(
    s: gemm.Shapes, device: Device, plan: gemm.Plan, names: list[str], time_s: FloatArray, weight: FloatArray,
    starts: tuple[Mapping[str, float], ...] = STARTS, prior: Mapping[str, float] | None = None,
    prior_weight: float = 0.0, evaluations: int = 60,
) -> dict[str, float]:  # fmt: skip
    """The constants (names) that minimise sum soft_l1(weight log(t/M2) / .05); best of the starts.

    The derivative is taken at the chosen tile and split (an envelope: a minimum's derivative is that of its
    least member), which costs one candidate instead of the menu. ``prior`` pulls log constants towards a
    family's with ``prior_weight`` (in units of residuals), so that a class with few rows stays physical.
    """
    low = _to_x(names, {n: max(LIMITS[n][0], 1e-9) if n in _LOG else LIMITS[n][0] for n in names})
    high = _to_x(names, {n: LIMITS[n][1] for n in names})
    anchor = _to_x(names, {n: float(np.clip(prior[n], *LIMITS[n][:2])) for n in names}) if prior else None
    log_t = np.log(time_s)
    state: dict[str, NDArray[np.float64]] = {}

    def pull(x: FloatArray) -> FloatArray:
        return prior_weight * (x - anchor) if anchor is not None else np.zeros(0)

    def residual(x: FloatArray) -> FloatArray:
        c = _from_x(names, x)
        state["pick"] = gemm.chosen(c, s, device, plan)
        predicted = _fixed_choice(c, s, device, plan, state["pick"])
        state["x"], state["value"] = x.copy(), np.log(predicted)
        return np.concatenate([weight * (log_t - state["value"]), pull(x)])

    def jacobian(x: FloatArray) -> FloatArray:
        if "x" not in state or not np.array_equal(state["x"], x):
            residual(x)
        columns = []
        for i in range(x.size):
            step = 1e-5 if x[i] + 1e-5 <= high[i] else -1e-5
            moved = x.copy()
            moved[i] += step
            value = _fixed_choice(_from_x(names, moved), s, device, plan, state["pick"])
            columns.append(-weight * (np.log(value) - state["value"]) / step)
        top = np.stack(columns, axis=1)
        return np.concatenate([top, prior_weight * np.eye(x.size)]) if anchor is not None else top

    best, best_cost = dict[str, float](), np.inf
    for start in starts:
        x0 = np.clip(_to_x(names, {n: start.get(n, LIMITS[n][2]) for n in names}), low + 1e-6, high - 1e-6)
        out = least_squares(residual, x0, jac=jacobian, bounds=(low, high), loss="soft_l1",
                            f_scale=LOSS_SCALE, max_nfev=evaluations, x_scale=0.3)  # fmt: skip
        if out.cost < best_cost:
            best, best_cost = _from_x(names, out.x), float(out.cost)
    return best


def row_weights(s: gemm.Shapes, device: Device) -> FloatArray:
    """0.4 for rows whose datasheet bound is under 5 us (launch noise), else 1."""
    nbytes = s.act_bytes + s.weight_bytes + s.out_bytes
    bound_s = np.maximum(2 * s.m * s.n * s.k / s.peak, nbytes / device.dram_bandwidth)
    return np.where(bound_s < TINY_S, TINY_WEIGHT, 1.0)
