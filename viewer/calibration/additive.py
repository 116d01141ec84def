"""Additive time models: a kernel's time as a sum of named terms with non-negative constants.

A serving call is a sequence of kernels and of phases inside a kernel, so its parts *add*; a maximum of
parts fits the public measurements worse. A model of this kind lists terms (arrays of microseconds, or of
counts, over the rows), and its constants are the factors of the terms:

    T = sum_j c_j term_j(row, structure),   c_j >= 0

``structure`` holds the discrete facts that shape the terms (tile sizes, CTAs a core, which operand is
packed, the split rule); they are searched one at a time. Rows belong to *leaves*, named by paths such as
``gqa/128``: another kernel runs there, so it has constants of its own. A leaf leans on its parent
(``gqa``), and that on the root: a leaf of few rows takes the parent's constants, one of many rows its own.

Fit: least squares of the relative error (X = A / t, target 1) under c >= 0, one step of reweighting
by 1 / max(|residual|, floor), which makes it nearly a least absolute fit; the parent enters as ``lean``
pseudo-rows for each term. Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import Constants, Device, FloatArray, Table, TextArray

Structure = Mapping[str, float]
Terms = Mapping[str, FloatArray]
Mask = NDArray[np.bool_]
ROOT = "any"


@dataclass(frozen=True, slots=True)
class Additive:
    """One additive model: its terms, its discrete choices, and the leaves that have their own constants.

    ``terms(table, device, structure)`` gives the columns; ``choices`` lists, for each structural name, the
    values to try (the first one is the start); ``leaf`` names the leaf of each row. ``own_rows`` rows or
    more let a leaf search its structure freely; below it keeps the parent's unless another is better by
    ``inertia``. ``lean`` (``lean_small`` for a leaf of few rows) is
    the weight of the parent in pseudo-rows.
    """

    terms: Callable[[Table, Device, Structure], Terms]
    choices: Callable[[Table, Device], Mapping[str, Sequence[float]]]
    leaf: Callable[[Table, Device], TextArray]
    own_rows: int = 60
    least_rows: int = 6
    inertia: float = 0.9
    lean: float = 0.3
    lean_small: float = 1.0
    floor: float = 0.03


def parents(leaf: str) -> list[str]:
    """The names above a leaf, nearest first: ``gqa/128`` gives ``gqa``, ``any``."""
    parts = leaf.split("/")
    return ["/".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)] + [ROOT]


def _triangle(matrix: FloatArray) -> FloatArray:
    """R of the QR decomposition: the same least squares in few rows."""
    _, r = np.linalg.qr(matrix)
    return np.asarray(r)


def nonnegative_fit(
    columns: FloatArray,
    time_us: FloatArray,
    *,
    prior: FloatArray | None = None,
    lean: float = 0.0,
    weight: FloatArray | None = None,
    floor: float = 0.03,
) -> FloatArray:
    """Constants c >= 0 that bring ``columns @ c`` (n, p) close to ``time_us`` (n,) in relative error.

    ``prior`` (p,) enters as ``lean`` rows a term, in units of the term's share of the time. ``weight`` (n,)
    weighs rows. The normal equations are solved through a QR, so the cost of a fit is n p^2.
    """
    from scipy.optimize import nnls

    share = columns / time_us[:, None]
    scale = np.maximum(np.sqrt((share * share).mean(axis=0)), 1e-12)
    share = share / scale
    base = np.ones(len(time_us)) if weight is None else weight
    row_weight = base
    solution = np.zeros(len(scale))
    for _ in range(2):
        root = np.sqrt(row_weight)
        system: FloatArray = np.asarray(_triangle(np.column_stack([share * root[:, None], root])))
        if prior is not None and lean > 0:
            pull = np.column_stack([np.eye(len(scale)), prior * scale]) * np.sqrt(lean)
            system = _triangle(np.vstack([system, pull]))
        solution = nnls(system[:, :-1], system[:, -1])[0]
        row_weight = base / np.maximum(np.abs(share @ solution - 1.0), floor)
        row_weight *= len(row_weight) / row_weight.sum()
    return np.asarray(solution / scale)


def take(table: Table, rows: Mask) -> dict[str, object]:
    """The table of some rows: arrays are masked, single values stay."""
    return {k: v[rows] if isinstance(v, np.ndarray) and v.ndim else v for k, v in table.items()}


def _columns(
    model: Additive, table: Table, device: Device, structure: Structure
) -> tuple[list[str], FloatArray]:
    terms = model.terms(table, device, structure)
    return list(terms), np.stack([np.asarray(v, dtype=float) for v in terms.values()], axis=1)


def _error(columns: FloatArray, constants: FloatArray, time_us: FloatArray) -> float:
    """Mean |ln(estimate / time)|."""
    return float(np.mean(np.abs(np.log(np.maximum(columns @ constants, 1e-6) / time_us))))


@dataclass(slots=True)
class _Node:
    """A fitted node: its structure and its constants by name."""

    structure: dict[str, float]
    constants: dict[str, float]


def _fit_node(
    model: Additive,
    table: Table,
    device: Device,
    time_us: FloatArray,
    start: _Node | None,
    weight: FloatArray | None,
) -> _Node:
    """Structure by coordinate descent from the parent's, constants by :func:`nonnegative_fit`."""
    choices = model.choices(table, device)
    structure = (
        dict(start.structure) if start else {name: float(values[0]) for name, values in choices.items()}
    )
    small = start is not None and len(time_us) < model.own_rows
    lean = model.lean_small if small else model.lean

    def solve(candidate: Structure) -> tuple[float, dict[str, float]]:
        names, columns = _columns(model, table, device, candidate)
        prior = np.array([start.constants.get(n, 0.0) for n in names]) if start else None
        constants = nonnegative_fit(
            columns,
            time_us,
            prior=prior,
            lean=lean,
            weight=weight,
            floor=model.floor,
        )
        return _error(columns, constants, time_us), dict(zip(names, constants.tolist(), strict=True))

    best, constants = solve(structure)
    for _ in range(1 if small else 2):
        before = best
        for name, values in choices.items():
            for value in values:
                if value == structure[name]:
                    continue
                error, found = solve({**structure, name: float(value)})
                if error < best * (model.inertia if small else 1.0 - 1e-9):
                    best, constants, structure = error, found, {**structure, name: float(value)}
        if best >= before * 0.999:
            break
    return _Node(structure, constants)


def fit(
    model: Additive, table: Table, device: Device, time_s: FloatArray, weight: FloatArray | None = None
) -> Constants:
    """Constants of all leaves, flat: ``"gqa/128.t0"`` (microseconds and factors), ``"gqa/128.#tile"``.

    Raises ValueError when there are fewer rows than ``least_rows``.
    """
    time_us = np.asarray(time_s, dtype=float) * 1e6
    if len(time_us) < model.least_rows:
        raise ValueError(f"{len(time_us)} rows are too few for a fit (at least {model.least_rows})")
    leaves = model.leaf(table, device)
    nodes: dict[str, _Node] = {ROOT: _fit_node(model, table, device, time_us, None, weight)}
    wanted = sorted({name for leaf in np.unique(leaves) for name in (str(leaf), *parents(str(leaf)))})
    for name in sorted(wanted, key=lambda n: n.count("/")):
        if name == ROOT:
            continue
        rows = np.array([leaf == name or str(leaf).startswith(name + "/") for leaf in leaves])
        if rows.sum() < model.least_rows:
            continue
        above = next(nodes[p] for p in parents(name) if p in nodes)
        part = None if weight is None else weight[rows]
        nodes[name] = _fit_node(model, take(table, rows), device, time_us[rows], above, part)
    flat: dict[str, float | str] = {}
    for name, node in nodes.items():
        flat.update({f"{name}.#{k}": v for k, v in node.structure.items()})
        flat.update({f"{name}.{k}": float(f"{v:.5g}") for k, v in node.constants.items() if v > 0})
    return flat


def node_of(constants: Constants, leaf: str) -> tuple[str, dict[str, float], dict[str, float]]:
    """(node's name, structure, constants) of a leaf, or of the nearest parent that was fitted."""
    for name in (leaf, *parents(leaf)):
        own = {k[len(name) + 1 :]: float(v) for k, v in constants.items() if k.startswith(name + ".")}
        if own:
            structure = {k[1:]: v for k, v in own.items() if k.startswith("#")}
            return name, structure, {k: v for k, v in own.items() if not k.startswith("#")}
    raise ValueError(f"the constants have no node for {leaf!r}, not even {ROOT!r}")


def predict(model: Additive, table: Table, device: Device, constants: Constants) -> FloatArray:
    """Seconds of each row: the sum of its leaf's terms times their constants."""
    leaves = model.leaf(table, device)
    seconds = np.zeros(len(leaves))
    for leaf in np.unique(leaves):
        rows = leaves == leaf
        _, structure, factors = node_of(constants, str(leaf))
        terms = model.terms(take(table, rows), device, structure)
        total = np.zeros(int(rows.sum()))
        for name, column in terms.items():
            factor = factors.get(name, 0.0)
            if factor:
                total = total + factor * column
        seconds[rows] = total * 1e-6
    return seconds


def breakdown(model: Additive, table: Table, device: Device, constants: Constants) -> dict[str, FloatArray]:
    """Seconds of each term of each row (their sum is :func:`predict`): says where the time goes."""
    leaves = model.leaf(table, device)
    parts: dict[str, FloatArray] = {}
    for leaf in np.unique(leaves):
        rows = leaves == leaf
        _, structure, factors = node_of(constants, str(leaf))
        for name, column in model.terms(take(table, rows), device, structure).items():
            if factors.get(name):
                parts.setdefault(name, np.zeros(len(leaves)))[rows] = factors[name] * column * 1e-6
    return parts
