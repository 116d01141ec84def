"""Tables of kernels: reading and writing CSV and Parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MAX_FILE_BYTES = 4 * 2**30
TEXT_COLUMNS = (
    *("hardware", "op", "act_format", "weight_format", "out_format", "kv_format", "library", "distribution"),
    *("kind", "launch", "l2", "includes", "source", "series", "note"),
)


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
