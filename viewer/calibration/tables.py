"""Tables of kernels: reading and writing CSV and Parquet, and the groups of rows that run one kernel class."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from viewer.calibration.base import Device, KernelModel
from viewer.calibration.devices import device as device_by_name
from viewer.calibration.registry import models
from viewer.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

MAX_FILE_BYTES = 4 * 2**30
TEXT_COLUMNS = (
    *("hardware", "op", "act_format", "weight_format", "out_format", "kv_format", "library", "distribution"),
    *("kind", "launch", "l2", "includes", "source", "series", "note"),
)
_LIBRARIES = re.compile(r"^(sglang|vllm|trtllm|tensorrt|cublas|cutlass|deepgemm|flashinfer|nccl|llama|torch)")


def read_frame(path: Path) -> pd.DataFrame:
    """A kernel table from .csv, .csv.gz, .tsv, .parquet. Raises InputError when it cannot be read."""
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: no such file (a CSV or Parquet table of kernels is expected)")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES // 2**30} GiB")
    try:
        if path.suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        separator = "\t" if ".tsv" in path.suffixes else ","
        text = dict.fromkeys(TEXT_COLUMNS, "str")
        return pd.read_csv(path, sep=separator, keep_default_na=False, na_values=_BLANK, dtype=text)
    except ImportError as error:
        raise InputError(f"{path}: reading Parquet needs pyarrow ({error})") from None
    except (ValueError, OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path}: cannot read the table ({str(error).splitlines()[0][:160]})") from None


# Numbers may be blank; text columns keep their empty string.
_NUMERIC = (
    *("m", "n", "k", "batch", "seq", "n_heads", "n_kv_heads", "head_dim", "window", "tokens", "hidden"),
    *(
        "intermediate",
        "top_k",
        "experts",
        "ep",
        "ranks",
        "bytes",
        "rows",
        "width",
        "weight_copies",
        "time_us",
    ),
)
_BLANK = {name: ["", "nan", "NaN", "None"] for name in _NUMERIC}


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write .csv, .csv.gz, .tsv or .parquet to a temporary name, then rename. Raises InputError."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        if path.suffix in (".parquet", ".pq"):
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False, sep="\t" if ".tsv" in path.suffixes else ",")
        temporary.replace(path)
    except (OSError, ImportError, ValueError) as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot write the table ({str(error).splitlines()[0][:160]})") from None


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a table that one model call predicts: positions, op, model, device and the columns."""

    rows: NDArray[np.int64]
    op: str
    model: KernelModel
    device: Device
    table: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows that cannot be predicted, and why."""

    rows: NDArray[np.int64]
    note: str


def library_column(frame: pd.DataFrame) -> NDArray[np.str_]:
    """The library of each row: the column ``library``, else ``series`` where that names one, else ``source``.

    A call timed inside a model by a study that names no library is a class of its own, called by its source.
    """
    blank = np.full(len(frame), "", dtype=object)
    library = frame["library"].fillna("").astype(str).to_numpy(object) if "library" in frame else blank
    if "series" not in frame and "source" not in frame:
        return library.astype(str)
    series = frame["series"].fillna("").astype(str) if "series" in frame else None
    source = frame["source"].fillna("").astype(str) if "source" in frame else None
    return np.where(library != "", library, _from_series(series, source, len(frame))).astype(str)


def _from_series(series: pd.Series[Any] | None, source: pd.Series[Any] | None, rows: int) -> NDArray[Any]:
    import pandas as pd

    fallback = source.to_numpy(object) if source is not None else np.full(rows, "", dtype=object)
    if series is None:
        return fallback
    codes, names = pd.factorize(series)
    known = np.array([bool(_LIBRARIES.match(str(name))) for name in names], dtype=bool)
    labels = np.array([str(name) for name in names], dtype=object)
    return np.where(known[codes], labels[codes], fallback) if len(names) else fallback


def _codes(frame: pd.DataFrame, columns: list[str]) -> NDArray[np.int64]:
    """One integer a distinct combination of the columns."""
    import pandas as pd

    combined = np.zeros(len(frame), dtype=np.int64)
    for name in columns:
        codes, distinct = pd.factorize(frame[name], use_na_sentinel=False)
        combined = combined * (len(distinct) + 1) + codes
        combined = np.asarray(pd.factorize(combined)[0], dtype=np.int64)
    return combined


def _blocks(codes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order])) + 1
    yield from np.split(order, edges)


def _column(frame: pd.DataFrame, name: str, default: float | str) -> Any:
    import pandas as pd

    if isinstance(default, str):
        if name not in frame:
            return pd.Series([default] * len(frame), dtype=object)
        text = frame[name].astype(object)
        text = text.where(~(text.isna() | (text == "")), default)
        return text.reset_index(drop=True)
    values = frame[name] if name in frame else pd.Series(np.full(len(frame), default))
    numbers = pd.to_numeric(values, errors="coerce").reset_index(drop=True)
    return numbers.fillna(default) if default == default else numbers


def groups(frame: pd.DataFrame, hardware: str | None = None) -> Iterator[Group | Problem]:
    """The rows of a table as groups that one call predicts, and as problems with a note for the others.

    ``hardware`` replaces the column of that name. Raises InputError when ``op`` or ``hardware`` is missing.
    """
    for name in ("op",) if hardware else ("op", "hardware"):
        if name not in frame:
            have = ", ".join(map(str, frame.columns[:20]))
            raise InputError(f"the table has no column {name!r} (it has: {have})")
    where = (
        frame["hardware"].to_numpy(object)
        if hardware is None
        else np.full(len(frame), hardware, dtype=object)
    )
    head = frame[["op"]].assign(hardware=where).reset_index(drop=True)
    table = models()
    for rows in _blocks(_codes(head, ["hardware", "op"])) if len(frame) else ():
        op, name = str(head["op"].iloc[rows[0]]), str(head["hardware"].iloc[rows[0]])
        try:
            if op not in table:
                raise unknown("op", op, table)
            device = device_by_name(name)
        except ValueError as error:
            yield Problem(rows, str(error))
            continue
        yield from _of_op(frame, rows, op, table[op], device)


def _of_op(
    frame: pd.DataFrame, rows: NDArray[np.int64], op: str, model: KernelModel, device: Device
) -> Iterator[Group | Problem]:
    part = frame if len(rows) == len(frame) else frame.iloc[rows]
    needed = (*model.REQUIRED, *(k for k in model.KEY_COLUMNS if k not in model.DEFAULTS and k != "op"))
    missing = [name for name in needed if name not in part]
    if missing:
        yield Problem(rows, f"{op} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        return
    numbers = {name: _column(part, name, float("nan")).to_numpy(float) for name in model.REQUIRED}
    good = np.logical_and.reduce([np.isfinite(v) & (v > 0) for v in numbers.values()])
    if not good.all():
        yield Problem(rows[~good], f"{', '.join(model.REQUIRED)} must be positive numbers")
    if not good.any():
        return
    keep = np.flatnonzero(good)
    rest = part if good.all() else part.iloc[keep]
    columns: dict[str, Any] = {name: values[keep] for name, values in numbers.items()}
    for name, default in model.DEFAULTS.items():
        columns[name] = _column(rest, name, default)
    for name in model.KEY_COLUMNS:
        if name not in columns:
            columns[name] = _series(np.full(len(keep), op)) if name == "op" else _column(rest, name, "")
    if "library" in model.DEFAULTS:
        columns["library"] = _series(library_column(rest))
    yield from _by_class(columns, rows[keep], op, model, device)


def _series(values: NDArray[Any]) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(values)


def _by_class(
    columns: Mapping[str, Any], rows: NDArray[np.int64], op: str, model: KernelModel, device: Device
) -> Iterator[Group | Problem]:
    import pandas as pd

    keys = list(model.KEY_COLUMNS)
    frame = pd.DataFrame({name: np.asarray(columns[name]) for name in keys})
    arrays = {k: np.asarray(v) for k, v in columns.items()}
    for part in _blocks(_codes(frame, keys)):
        one = {name: _scalar(arrays[name][part[0]]) for name in keys}
        table: dict[str, Any] = {**{k: v[part] for k, v in arrays.items()}, **one}
        note = model.check(table, device)
        if note:
            yield Problem(rows[part], note)
            continue
        yield from _split_classes(table, rows[part], op, model, device)


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


def _split_classes(
    table: dict[str, Any], rows: NDArray[np.int64], op: str, model: KernelModel, device: Device
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
