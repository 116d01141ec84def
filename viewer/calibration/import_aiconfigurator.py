"""The tables of the ``aiconfigurator-core`` package (Apache-2.0) as neutral rows: one file, a folder, a wheel.

Checked against an independent conversion of the same tables: latency is in milliseconds; decode attends
``isl + step`` positions; a NCCL message of ``half`` counts elements of two bytes; an expert split over
``moe_tp_size`` devices keeps ``inter_size / moe_tp_size`` columns. Weights are cycled through 6 copies by
SGLang and vLLM, through 5 by TensorRT-LLM; KV of one layer is re-read each run.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 512 * 2**20

DEVICES = {
    "NVIDIA A100-SXM4-80GB": "nvidia/a100-sxm-80gb",
    "NVIDIA H100 80GB HBM3": "nvidia/h100-sxm",
    "NVIDIA H200": "nvidia/h200-sxm",
    "NVIDIA L40S": "nvidia/l40s",
    "NVIDIA B200": "nvidia/b200-sxm",
    "NVIDIA B300 SXM6 AC": "nvidia/b300-sxm",
    "NVIDIA GB200": "nvidia/gb200",
    "NVIDIA GB300": "nvidia/gb300",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "nvidia/rtx-pro-6000-server",
}
_FORMATS = {
    "bfloat16": ("bf16", "bf16"),
    "float16": ("fp16", "fp16"),
    "fp8": ("fp8_e4m3", "fp8_e4m3"),
    "fp8_block": ("fp8_e4m3_block", "fp8_e4m3_block"),
    "int8_wo": ("bf16", "int8"),
    "int4_wo": ("bf16", "int4_g128"),
    "sq": ("int8", "int8"),
    "nvfp4": ("nvfp4", "nvfp4"),
    "w4a16_mxfp4": ("bf16", "mxfp4"),
}
_LIBRARIES = {"sglang": "sglang", "vllm": "vllm", "trtllm": "trtllm"}


def read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Neutral rows of every table that has a kernel model; notes name the files and rows left out."""
    import pandas as pd

    parts, notes = [], []
    for name, frame in _tables(path):
        kind = name.rsplit("/", 1)[-1]
        convert = _READERS.get(kind)
        if convert is None:
            notes.append(f"{kind}: no kernel model for this table")
            continue
        rows, dropped = convert(_known(frame, name))
        if dropped:
            notes.append(f"{name}: {dropped} rows in formats without a neutral name left out")
        parts.append(rows)
    if not parts:
        raise InputError(f"{path}: no table of aiconfigurator-core that has a kernel model")
    return pd.concat(parts, ignore_index=True), sorted(set(notes))


def _tables(path: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    import pandas as pd

    try:
        if path.is_dir():
            for file in sorted(path.rglob("*_perf.parquet")):
                yield file.relative_to(path).as_posix(), pd.read_parquet(file)
        elif path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                for entry in sorted(archive.infolist(), key=lambda e: e.filename):
                    if not entry.filename.endswith("_perf.parquet") or entry.file_size > MAX_TABLE_BYTES:
                        continue
                    if entry.filename.rsplit("/", 1)[-1] in _READERS:
                        yield entry.filename, pd.read_parquet(io.BytesIO(archive.read(entry)))
        else:
            yield path.name, pd.read_parquet(path)
    except (OSError, ValueError, ImportError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot read the table ({str(error).splitlines()[0][:160]})") from None


def _known(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    for column in ("framework", "version", "device", "latency"):
        if column not in frame:
            raise InputError(f"{name}: no column {column!r}, so not a table of aiconfigurator-core")
    return frame.reset_index(drop=True)


def _head(frame: pd.DataFrame, op: str) -> dict[str, Any]:
    library = frame["framework"].astype(str).str.lower().map(lambda f: _LIBRARIES.get(f, f))
    return {
        "hardware": frame["device"].astype(str).map(lambda d: DEVICES.get(d, d)),
        "op": op,
        "launch": "graph",
        "time_us": frame["latency"].astype(float) * 1e3,
        "source": "aiconfigurator",
        "series": library + "-" + frame["version"].astype(str),
    }


def _formats(frame: pd.DataFrame, column: str) -> tuple[pd.Series[Any], pd.Series[Any], pd.Series[Any]]:
    names = frame[column].astype(str)
    good = names.isin(_FORMATS)
    act = names.map(lambda n: _FORMATS.get(n, ("", ""))[0])
    return good, act, names.map(lambda n: _FORMATS.get(n, ("", ""))[1])


def _finish(columns: dict[str, Any], good: pd.Series[Any]) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    table = pd.DataFrame(columns, index=good.index)
    good = good & (table["time_us"] > 0)
    return table[good], int((~good).sum())


def _gemm(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    good, act, weight = _formats(frame, "gemm_dtype")
    head = _head(frame, "gemm")
    copies = head["series"].map(lambda s: 5 if s.startswith("trtllm") else 6)
    from viewer.calibration.devices import device
    from viewer.calibration.gemm_formats import storage

    width = weight.map(lambda w: storage(w).bytes_per_value if w else 0.0)
    cache = head["hardware"].map(lambda h: _cache_bytes(h, device))
    warm = copies * width * frame["n"] * frame["k"] < cache
    columns = {**head, "act_format": act, "weight_format": weight, "out_format": "bf16"}
    columns |= {"m": frame["m"], "n": frame["n"], "k": frame["k"], "weight_copies": copies}
    columns["l2"] = warm.map({True: "warm", False: "cold"})
    quantized = act.isin(["fp8_e4m3", "fp8_e4m3_block", "int8", "nvfp4"])
    columns["includes"] = quantized.map({True: "act_quant", False: ""})
    return _finish(columns, good)


def _cache_bytes(hardware: str, device: Any) -> float:
    try:
        return float(device(hardware).l2_bytes)
    except ValueError:
        return 0.0


def _attention(frame: pd.DataFrame, op: str) -> tuple[pd.DataFrame, int]:
    good, act, _ = _formats(frame, "attn_dtype")
    kv = frame["kv_cache_dtype"].astype(str).map(lambda n: _FORMATS.get(n, ("", ""))[0])
    steps = frame["isl"] + frame["step"] if op == "attention_decode" else frame["isl"]
    columns = {
        **_head(frame, op),
        "act_format": act,
        "kv_format": kv,
        "batch": frame["batch_size"],
        "seq": steps,
    }
    columns |= {"n_heads": frame["num_heads"], "n_kv_heads": frame["num_key_value_heads"]}
    columns |= {"head_dim": frame["head_dim"], "l2": "warm"}
    columns["window"] = frame.get("window_size", 0)
    columns["n_kv_heads"] = columns["n_kv_heads"].where(columns["n_kv_heads"] > 0, columns["n_heads"])
    columns["includes"] = columns["series"].map(lambda s: "rope,kv_write" if s.startswith("trtllm") else "")
    return _finish(columns, good & (kv != ""))


def _moe(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    good, act, weight = _formats(frame, "moe_dtype")
    columns = {
        **_head(frame, "moe"),
        "act_format": act,
        "weight_format": weight,
        "tokens": frame["num_tokens"],
    }
    columns |= {"hidden": frame["hidden_size"], "intermediate": frame["inter_size"] // frame["moe_tp_size"]}
    columns |= {"top_k": frame["topk"], "experts": frame["num_experts"], "ep": frame["moe_ep_size"]}
    columns["distribution"] = frame["distribution"].astype(str)
    columns["act_format"] = act.replace(
        "fp8_e4m3_block", "fp8_e4m3"
    )  # activations are scaled by token groups
    return _finish(columns, good)


def _nccl(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    width = (
        frame["nccl_dtype"].astype(str).map({"half": 2, "bfloat16": 2, "float16": 2, "int8": 1, "float": 4})
    )
    columns = {**_head(frame, ""), "op": frame["op_name"].astype(str), "ranks": frame["num_gpus"]}
    columns["bytes"] = frame["message_size"] * width
    columns["series"] = "nccl-" + frame["version"].astype(str)
    known = frame["op_name"].isin(["all_reduce", "all_gather", "reduce_scatter", "alltoall"])
    return _finish(columns, pd.Series(known & width.notna(), index=frame.index))


_READERS = {
    "gemm_perf.parquet": _gemm,
    "context_attention_perf.parquet": lambda f: _attention(f, "attention_prefill"),
    "generation_attention_perf.parquet": lambda f: _attention(f, "attention_decode"),
    "moe_perf.parquet": _moe,
    "nccl_perf.parquet": _nccl,
}
