"""The rows of a kernel table as groups that run one kernel class: text columns are coded once, never per row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import Device, KernelModel
from viewer.calibration.devices import device as device_by_name
from viewer.calibration.registry import models
from viewer.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.int64]
_LIBRARIES = re.compile(r"^(sglang|vllm|trtllm|tensorrt|cublas|cutlass|deepgemm|flashinfer|nccl|llama|torch)")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a table that one model call predicts: positions, op, model, device and the columns."""

    rows: Rows
    op: str
    model: KernelModel
    device: Device
    table: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows that cannot be predicted, and why."""

    rows: Rows
    note: str


@dataclass(frozen=True, slots=True)
class Words:
    """A text column: a code a row, and the word of each code ("" for an empty cell)."""

    codes: Rows
    words: tuple[str, ...]

    def at(self, row: int) -> str:
        """The word of one row."""
        return self.words[int(self.codes[row])]

    def expanded(self, rows: Rows, default: str) -> NDArray[np.str_]:
        """The words of some rows, ``default`` for empty cells."""
        return np.array([word or default for word in self.words])[self.codes[rows]]


class Columns:
    """The columns of a frame, converted when first used."""

    def __init__(self, frame: pd.DataFrame, hardware: str | None) -> None:
        self.frame = frame
        self.length = len(frame)
        self._words: dict[str, Words] = {}
        self._numbers: dict[str, NDArray[np.float64]] = {}
        if hardware is not None:
            self._words["hardware"] = Words(np.zeros(self.length, dtype=np.int64), (hardware,))

    def __contains__(self, name: str) -> bool:
        return name in self.frame or name in self._words

    def words(self, name: str) -> Words:
        """A text column by its codes; all empty when the frame does not have it."""
        if name not in self._words:
            self._words[name] = self._library() if name == "library" else self._plain(name)
        return self._words[name]

    def _plain(self, name: str) -> Words:
        import pandas as pd

        if name not in self.frame:
            return Words(np.zeros(self.length, dtype=np.int64), ("",))
        codes, distinct = pd.factorize(self.frame[name], use_na_sentinel=False)
        return Words(
            np.asarray(codes, dtype=np.int64), tuple("" if _blank(d) else str(d).strip() for d in distinct)
        )

    def _library(self) -> Words:
        """``library``, else ``series`` where that names a library, else ``source``.

        A call timed inside a model by a study that names no library is a class of its own, called by its source.
        """
        parts = [self._plain("library"), self._plain("series"), self._plain("source")]
        codes, first = _combined([p.codes for p in parts], [len(p.words) for p in parts])
        names = []
        for row in first:
            library, series, source = (p.at(row) for p in parts)
            names.append(library or (series if _LIBRARIES.match(series) else source))
        return Words(codes, tuple(names))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A numeric column; NaN where a cell is no number or the frame lacks the column."""
        import pandas as pd

        if name not in self._numbers:
            values = np.full(self.length, np.nan)
            if name in self.frame:
                values = pd.to_numeric(self.frame[name], errors="coerce").to_numpy(float, na_value=np.nan)
            self._numbers[name] = values
        return self._numbers[name]


def _blank(value: object) -> bool:
    return value is None or value != value or str(value).strip() == ""


def _combined(codes: Sequence[Rows], sizes: Sequence[int]) -> tuple[Rows, Rows]:
    """(one code a distinct combination, the first row of each) of several coded columns."""
    import pandas as pd

    whole = np.zeros(len(codes[0]), dtype=np.int64)
    for one, size in zip(codes, sizes, strict=True):
        if size > 1:
            whole = whole * size + one
            if whole.size and whole.max() > 2**40:
                whole = np.asarray(pd.factorize(whole)[0], dtype=np.int64)
    dense, distinct = pd.factorize(whole)
    first = np.full(len(distinct), -1, dtype=np.int64)
    first[dense[::-1]] = np.arange(len(dense))[::-1]
    return np.asarray(dense, dtype=np.int64), first


def _blocks(codes: Rows) -> Iterator[Rows]:
    if codes.size == 0:
        return
    if codes.max() == 0:
        yield np.arange(codes.size)
        return
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order])) + 1
    yield from np.split(order, edges)


def groups(frame: pd.DataFrame, hardware: str | None = None) -> Iterator[Group | Problem]:
    """The rows of a table as groups that one call predicts, and as problems with a note for the others.

    ``hardware`` replaces the column of that name. Raises InputError when ``op`` or ``hardware`` is missing.
    """
    for name in ("op",) if hardware else ("op", "hardware"):
        if name not in frame:
            have = ", ".join(map(str, frame.columns[:20]))
            raise InputError(f"the table has no column {name!r} (it has: {have})")
    columns = Columns(frame, hardware)
    heads = [columns.words("hardware"), columns.words("op")]
    table = models()
    for rows in _blocks(_combined([h.codes for h in heads], [len(h.words) for h in heads])[0]):
        name, op = (h.at(rows[0]) for h in heads)
        try:
            if op not in table:
                raise unknown("op", op, table)
            device = device_by_name(name)
        except ValueError as error:
            yield Problem(rows, str(error))
            continue
        yield from _of_op(columns, rows, op, table[op], device)


def _of_op(
    columns: Columns, rows: Rows, op: str, model: KernelModel, device: Device
) -> Iterator[Group | Problem]:
    needed = (*model.REQUIRED, *(k for k in model.KEY_COLUMNS if k not in model.DEFAULTS and k != "op"))
    missing = [name for name in needed if name not in columns]
    if missing:
        yield Problem(rows, f"{op} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        return
    good = np.ones(len(rows), dtype=bool)
    for name in model.REQUIRED:
        values = columns.numbers(name)[rows]
        good &= np.isfinite(values) & (values > 0)
    if not good.all():
        yield Problem(rows[~good], f"{', '.join(model.REQUIRED)} must be positive numbers")
        rows = rows[good]
    if len(rows):
        yield from _by_class(columns, rows, op, model, device)


def _by_class(
    columns: Columns, rows: Rows, op: str, model: KernelModel, device: Device
) -> Iterator[Group | Problem]:
    coded: dict[str, Words] = {}
    for name in model.KEY_COLUMNS:
        default = model.DEFAULTS.get(name, "")
        coded[name] = (
            columns.words(name) if isinstance(default, str) else _few_numbers(columns.numbers(name), default)
        )
    whole = _combined([w.codes[rows] for w in coded.values()], [len(w.words) for w in coded.values()])[0]
    for part in _blocks(whole):
        at = rows[part]
        table = _table(columns, coded, at, op, model)
        note = model.check(table, device)
        if note:
            yield Problem(at, note)
            continue
        yield from _split_classes(table, at, op, model, device)


def _few_numbers(values: NDArray[np.float64], default: float) -> Words:
    distinct, codes = np.unique(np.where(np.isnan(values), default, values), return_inverse=True)
    return Words(np.asarray(codes, dtype=np.int64), tuple(repr(float(v)) for v in distinct))


def _table(
    columns: Columns, coded: dict[str, Words], at: Rows, op: str, model: KernelModel
) -> dict[str, Any]:
    """The columns of one class: single values for the key columns, arrays for the others."""
    table: dict[str, Any] = {name: columns.numbers(name)[at] for name in model.REQUIRED}
    for name, default in model.DEFAULTS.items():
        if name in coded:
            continue
        if isinstance(default, str):
            table[name] = columns.words(name).expanded(at, default)
        else:
            values = columns.numbers(name)[at]
            table[name] = values if default != default else np.where(np.isnan(values), default, values)
    for name, words in coded.items():
        default = model.DEFAULTS.get(name, "")
        word = words.at(at[0])
        table[name] = (word or default) if isinstance(default, str) else float(word)
    if "op" in model.KEY_COLUMNS:
        table["op"] = op
    return table


def _split_classes(
    table: dict[str, Any], rows: Rows, op: str, model: KernelModel, device: Device
) -> Iterator[Group]:
    """A model may give one class a row (the kernel depends on numbers): one group a class then."""
    key = model.class_key(table)
    if isinstance(key, str):
        yield Group(rows, op, model, device, table)
        return
    for name in np.unique(key):
        part = np.flatnonzero(key == name)
        sub = {k: v[part] if isinstance(v, np.ndarray) else v for k, v in table.items()}
        yield Group(rows[part], op, model, device, sub)
