"""Parameters, matrix FLOPs and cache sizes against the reference implementations' own counts, to the last digit.

``reference_counts.csv`` holds what each architecture's reference code does on shape-only tensors under a FLOP counter
(FMA = 2): eager attention with full n_q x n_kv products, MLA naive, logits for the last position. Each model has two
points: a prefill of batch x prompt tokens, then one decode step. Hybrids: linear layers only (their scans differ by
implementation).
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.anchors.counting import kv_values, linear_flops, matmul_flops
from viewer.models import build_graph, load_model
from viewer.workload import decode_step, prefill_step

ROWS = list(csv.DictReader((Path(__file__).parent / "reference_counts.csv").open(encoding="utf-8")))
HYBRIDS = {"qwen3-next-80b-a3b", "mamba2-2.7b", "jamba-v0.1"}
COLUMNS = "{:<20} {:>5} {:>6} {:>16} {:>20} {:>20} {:>16} {:<8}"


def compared(row: dict[str, str]) -> dict[str, tuple[float, float]]:
    """{what: (ours, reference)} of one point."""
    graph = build_graph(load_model(row["model"]), attention="eager", mla="naive")
    batch, prompt = int(row["batch"]), int(row["prompt"])
    prefill, decode = prefill_step(batch, prompt), decode_step(batch, prompt)
    found = {
        "parameters": (float(graph.parameter_count), float(row["parameters"])),
        "kv": (kv_values(graph, prefill, one_less=True), float(row["kv_values_after_prefill"])),
    }
    if row["model"] in HYBRIDS:
        found["prefill"] = (linear_flops(graph, prefill), float(row["prefill_linear_flops"]))
        found["decode"] = (linear_flops(graph, decode), float(row["decode_linear_flops"]))
    else:
        found["prefill"] = (matmul_flops(graph, prefill), float(row["prefill_flops"]))
        found["decode"] = (matmul_flops(graph, decode), float(row["decode_flops"]))
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['model']}-{r['batch']}x{r['prompt']}")
def test_point_equals_reference(row: dict[str, str]) -> None:
    for what, (ours, reference) in compared(row).items():
        assert ours == reference, f"{row['model']} {what}: {ours:.0f} != {reference:.0f}"


def test_table_of_equality(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        COLUMNS.format("model", "batch", "prompt", "parameters", "prefill", "decode", "kv values", "equal")
    ]
    wrong = []
    for row in ROWS:
        found = compared(row)
        equal = all(ours == reference for ours, reference in found.values())
        wrong += [] if equal else [row["model"]]
        values = [f"{found[k][0]:.0f}" for k in ("parameters", "prefill", "decode", "kv")]
        label = ("linear" if row["model"] in HYBRIDS else "all") if equal else "NO"
        lines.append(COLUMNS.format(row["model"], row["batch"], row["prompt"], *values, label))
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert not wrong
    assert len(ROWS) == 52


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("chatglm3-6b", 6_243_584_000),
        ("dit-xl-2", 675_129_632),
        ("llama-2-13b", 13_015_864_320),
        ("llama-3.1-8b", 8_030_261_248),
    ],
)
def test_published_total(name: str, published: int) -> None:
    assert build_graph(load_model(name)).parameter_count == published
