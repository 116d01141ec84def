"""The library provider without torch: cases, bytes, rotation, rows, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from viewer.bench import torch_kernels
from viewer.bench.statistics import StopRule
from viewer.bench.torch_kernels import Case, TorchTimer

COLUMNS = {
    "hardware", "op", "act_format", "weight_format", "out_format", "weight_copies", "library", "m", "n", "k",
    "batch", "seq", "n_heads", "n_kv_heads", "head_dim", "window", "kv_format", "kind", "rows", "width", "launch",
    "l2", "includes", "time_us", "source", "series",
}  # fmt: skip


class Event:
    def __init__(self, **_: Any) -> None: ...
    def record(self) -> None: ...
    def synchronize(self) -> None: ...
    def elapsed_time(self, _: Any) -> float:
        return 2.0  # milliseconds


class Graph:
    replayed = 0

    def replay(self) -> None:
        Graph.replayed += 1


class Capture:
    def __init__(self, _: Any) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: Any) -> None: ...


def fake_torch() -> Any:
    generator = SimpleNamespace(manual_seed=lambda _: None)
    cuda = SimpleNamespace(
        Event=Event, CUDAGraph=Graph, graph=Capture, synchronize=lambda: None, empty_cache=lambda: None
    )
    return SimpleNamespace(cuda=cuda, Generator=lambda **_: generator, __version__="0.0", bfloat16="bf16",
                           float16="fp16", nn=SimpleNamespace(functional=None))  # fmt: skip


def _timer(l2: int = 1000) -> TorchTimer:
    return TorchTimer(fake_torch(), l2, StopRule(min_samples=6, min_seconds=0.0), "Fake GPU", 1)


def test_rows_are_the_neutral_table() -> None:
    calls = []
    one = Case({"op": "gemm", "m": 1, "n": 2, "k": 3}, 100, lambda _: lambda: calls.append(1))
    rows = list(_timer().rows(one))
    assert [(r["l2"], r["launch"]) for r in rows] == [
        ("cold", "eager"), ("cold", "graph"), ("warm", "eager"), ("warm", "graph")]  # fmt: skip
    assert all(set(r) <= COLUMNS for r in rows)
    # 2.5 x 1000 bytes of L2 / 100 bytes a set = 25 sets; 2 ms for 25 calls = 80 us; warm: 20 calls = 100 us
    assert [r["weight_copies"] for r in rows] == [25, 25, 1, 1]
    assert [r["time_us"] for r in rows] == pytest.approx([80, 80, 100, 100])
    assert Graph.replayed > 0


def test_what_a_device_refuses_is_a_note() -> None:
    def refuse(_: Any) -> Any:
        raise RuntimeError("scaled_mm needs compute capability 8.9\nlong trace")

    timer = _timer()
    assert list(timer.rows(Case({"op": "gemm"}, 1, refuse))) == []
    assert timer.failures == ["gemm: RuntimeError: scaled_mm needs compute capability 8.9"]


@pytest.mark.parametrize("quick", [True, False])
def test_cases_cover_what_predictions_are_scored_on(quick: bool) -> None:
    made = list(torch_kernels.cases(fake_torch(), quick=quick))
    assert {c.columns["op"] for c in made} == {"gemm", "attention_prefill", "attention_decode", "elementwise"}
    assert {c.columns.get("weight_format") for c in made if c.columns["op"] == "gemm"} == {
        "bf16", "fp16", "fp8_e4m3", "int8"}  # fmt: skip
    kinds = {"rmsnorm", "layernorm", "silu_mul", "add", "rope", "softmax", "embedding"}
    assert {c.columns["kind"] for c in made if c.columns["op"] == "elementwise"} == kinds
    assert all(c.set_bytes > 0 and set(c.columns) <= COLUMNS for c in made)
    int8 = [c.columns["m"] for c in made if c.columns.get("act_format") == "int8"]
    assert min(int8) > 16  # the library takes no fewer rows


def test_bytes_of_a_set() -> None:
    torch = fake_torch()
    # bf16: 2 (m k + n k + m n) = 2 (4*16 + 8*16 + 4*8) = 448
    first = next(iter(torch_kernels.gemm_cases(torch, 4, 8, 16)))
    assert first.set_bytes == 448
    # decode, batch 2, 10 positions, 4 heads on 1 KV head of 8: q and out 2*4*8, k and v 2*10*8; x 2 bytes x 2 of each
    assert torch_kernels.decode_case(torch, 2, 10, 4, 1, 8).set_bytes == 2 * (2 * 64 + 2 * 160)


def test_without_torch_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_kernels, "find_torch", lambda: None)
    lines: list[str] = []
    torch_kernels.stream(True, 0, 1, lines.append)
    assert lines == ["library kernels: skipped, torch with CUDA is not installed"]
