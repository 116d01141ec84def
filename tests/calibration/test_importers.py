"""Tables and profiles of other tools become neutral rows."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from viewer.calibration.importers import read_kernels
from viewer.errors import InputError

HEAD = {"framework": "TRTLLM", "version": "1.3", "device": "NVIDIA H100 80GB HBM3"}


def _parquet(path: Path, rows: list[dict[str, object]]) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame([{**HEAD, **row} for row in rows]).to_parquet(path)


def test_aiconfigurator_tables(tmp_path: Path) -> None:
    gemm = {"gemm_dtype": "fp8", "m": 16, "n": 512, "k": 1024, "latency": 0.0125}
    _parquet(
        tmp_path / "gemm_perf.parquet",
        [gemm, {**gemm, "gemm_dtype": "odd"}, {**gemm, "gemm_dtype": "int4_wo"}],
    )
    decode = {"attn_dtype": "bfloat16", "kv_cache_dtype": "fp8", "batch_size": 4, "isl": 1, "step": 255,
              "num_heads": 32, "num_key_value_heads": 0, "head_dim": 128, "latency": 0.02}  # fmt: skip
    _parquet(tmp_path / "generation_attention_perf.parquet", [decode])
    moe = {"moe_dtype": "fp8_block", "num_tokens": 8, "hidden_size": 7168, "inter_size": 2048, "topk": 8,
           "num_experts": 256, "moe_tp_size": 4, "moe_ep_size": 1,
           "distribution": "balanced", "latency": 1.0}  # fmt: skip
    _parquet(tmp_path / "moe_perf.parquet", [moe])
    nccl = {
        "op_name": "all_reduce",
        "nccl_dtype": "half",
        "num_gpus": 8,
        "message_size": 1024,
        "latency": 0.03,
    }
    _parquet(tmp_path / "nccl_perf.parquet", [nccl])
    frame, notes = read_kernels(tmp_path)
    by_op = {row["op"]: row for row in frame.to_dict("records")}
    assert any("1 rows in formats" in note for note in notes)
    assert frame["op"].value_counts().to_dict() == {
        "gemm": 2,
        "attention_decode": 1,
        "moe": 1,
        "all_reduce": 1,
    }
    assert frame["hardware"].unique().tolist() == ["nvidia/h100-sxm"]
    fp8 = frame[frame["act_format"] == "fp8_e4m3"].iloc[0]
    # latency is in milliseconds; 5 copies of 512 x 1024 bytes are 2.6 MB, in the L2
    assert (fp8["time_us"], fp8["includes"], fp8["l2"], fp8["weight_copies"]) == (
        12.5,
        "act_quant",
        "warm",
        5,
    )
    assert by_op["attention_decode"]["seq"] == 256
    assert by_op["attention_decode"]["n_kv_heads"] == 32
    assert by_op["moe"]["intermediate"] == 512
    assert by_op["all_reduce"]["bytes"] == 2048


NCU = """==PROF== Connected
"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","gemm_bf16","gpu__time_duration.sum","nsecond","12,500"
"0","gemm_bf16","dram__bytes_read.sum","Mbyte","10"
"0","gemm_bf16","dram__bytes_write.sum","Kbyte","500"
"0","gemm_bf16","sm__ops_path_tensor_src_bf16_dst_fp32.sum","inst","2,000,000,000"
"1","axpy","gpu__time_duration.sum","usecond","3"
"1","axpy","dram__bytes.sum","byte","4096"
"1","axpy","smsp__sass_thread_inst_executed_op_ffma_pred_on.sum","inst","512"
"2","nothing","gpu__time_duration.sum","usecond","3"
"""


def test_nsight_compute(tmp_path: Path) -> None:
    path = tmp_path / "ncu.csv"
    path.write_text(NCU)
    frame, notes = read_kernels(path, hardware="nvidia/h100-sxm")
    first, second = frame.to_dict("records")
    assert (first["time_us"], first["dram_bytes"], first["flops"], first["act_format"]) == (
        12.5,
        10.5e6,
        2e9,
        "bf16",
    )
    # a fused multiply-add is two operations
    assert (second["flops"], second["act_format"]) == (1024, "fp32")
    assert notes == ["1 kernels without duration or DRAM counters left out"]


def test_profiled_kernels_are_put_on_the_roofline(tmp_path: Path) -> None:
    from viewer.calibration.frames import predict_frame

    path = tmp_path / "ncu.csv"
    path.write_text(NCU)
    out = predict_frame(read_kernels(path, hardware="nvidia/h100-sxm")[0])
    # 10.5 MB / 3.352 TB/s = 3.13 us against 2e9 / (989.4e12 x 1.98 / 1.83) = 1.9 us
    assert out["bound_us"].iloc[0] == pytest.approx(10.5e6 / 3.352e12 * 1e6)
    assert out["bound"].iloc[0] == "memory"
    assert out["label"].iloc[0] == "uncalibrated"


def test_torch_trace(tmp_path: Path) -> None:
    def op(name: str, key: int, dims: list[object], kind: str = "c10::BFloat16") -> dict[str, object]:
        args = {"External id": key, "Input Dims": dims, "Input type": [kind] * len(dims)}
        return {"ph": "X", "cat": "cpu_op", "name": name, "ts": 0, "dur": 9, "args": args}

    def kernel(key: int, duration: float) -> dict[str, object]:
        return {
            "ph": "X",
            "cat": "kernel",
            "name": "k",
            "ts": 0,
            "dur": duration,
            "args": {"External id": key},
        }

    events = [
        op("aten::mm", 1, [[16, 4096], [4096, 1024]]), kernel(1, 10.0), kernel(1, 2.5),
        op("aten::_flash_attention_forward", 2, [[2, 1, 32, 128], [2, 300, 8, 128]]), kernel(2, 20.0),
        op("aten::add", 3, [[4, 7, 4096], [4, 7, 4096]]), kernel(3, 3.0),
        op("aten::weird", 4, [[3]]), kernel(4, 5.0),
        op("aten::linear", 5, [[16, 4096], [1024, 4096]]),
    ]  # fmt: skip
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events, "deviceProperties": [{"name": "NVIDIA H200"}]}))
    frame, notes = read_kernels(path)
    gemm, attention, add = frame.to_dict("records")
    assert (gemm["m"], gemm["n"], gemm["k"], gemm["time_us"], gemm["hardware"]) == (
        16,
        1024,
        4096,
        12.5,
        "nvidia/h200-sxm",
    )
    assert (attention["op"], attention["batch"], attention["seq"]) == ("attention_decode", 2, 300)
    assert (attention["n_heads"], attention["n_kv_heads"], attention["head_dim"]) == (32, 8, 128)
    assert (add["kind"], add["rows"], add["width"]) == ("add", 28, 4096)
    assert notes == ["5 of 40 us are in ops without a known shape"]


def test_bench_result(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    row = {"op": "gemm", "m": 1, "n": 2, "k": 3, "time_s": 1e-5}
    path.write_text(json.dumps({"hardware": "nvidia/a6000", "results": [row, {"name": "stream"}]}))
    frame, notes = read_kernels(path)
    assert frame.iloc[0]["time_us"] == pytest.approx(10.0)
    assert frame.iloc[0]["hardware"] == "nvidia/a6000"
    assert notes == ["1 results are not kernels of a table"]


def test_unknown_forms_and_empty_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"traceEvents": []}')
    with pytest.raises(InputError, match="no kernel"):
        read_kernels(path)
    with pytest.raises(InputError, match="did you mean 'torch'"):
        read_kernels(path, "torhc")
    path.write_text("nonsense")
    with pytest.raises(InputError, match="not JSON"):
        read_kernels(path)
