"""Serving: worked numbers, steady state against static batching, layouts, the Pareto front, speculative decoding."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer import Decode, Generation, InputError, analyze
from viewer.cli import main
from viewer.scenario import Scenario
from viewer.serving import (
    Requests,
    expected_tokens,
    frontier,
    goodput,
    layouts,
    pareto,
    round_seconds,
    speculate,
    static_service,
    steady_service,
)

LLAMA = Scenario(model="llama-3.1-8b", hardware="nvidia/h100-sxm")


def test_one_answer_of_llama_2_13b() -> None:
    # prompt 512, 128 tokens out on an A6000: TTFT 91.48 ms, mean TPOT 34.10 ms, 4.423 s in all
    base = Scenario(model="llama-2-13b", hardware="nvidia/a6000")
    service = static_service(base, 1, Requests(prompt=512, output=128))
    assert service.ttft_s[0] == pytest.approx(91.48e-3, rel=1e-3)
    assert service.tpot_s[0] == pytest.approx(34.10e-3, rel=1e-3)
    assert service.e2e_s[0] == pytest.approx(4.423, rel=1e-3)
    assert service.tokens_per_s[0] == pytest.approx(128 / 4.423, rel=1e-3)


@pytest.mark.parametrize("layout", [{}, {"tp": 4}, {"dp": 2}, {"pp": 2, "micro_batches": 2}])
def test_static_batching_is_the_generation(layout: dict[str, int]) -> None:
    base = LLAMA.with_(**layout)
    service = static_service(base, [16, 64], Requests(prompt=300, output=40))
    for index, batch in enumerate((16, 64)):
        whole = analyze(base.with_(workload=Generation(batch=batch, prompt=300, output=40)))
        assert service.e2e_s[index] == pytest.approx(whole.totals.time_s, rel=1e-6)
        assert service.ttft_s[index] == pytest.approx(whole.phases["ttft_s"], rel=1e-9)


def test_batches_are_one_evaluation() -> None:
    batches = [1, 3, 17, 200]
    asked = Requests(prompt=1000, output=100, chunk=512)
    together = steady_service(LLAMA, batches, asked)
    for index, batch in enumerate(batches):
        alone = steady_service(LLAMA, batch, asked)
        assert alone.tpot_s[0] == together.tpot_s[index]
        assert alone.total_bytes[0] == together.total_bytes[index]


def test_steady_state_of_long_answers_is_decoding() -> None:
    # a prompt of 16 tokens every 4000 steps hardly counts
    service = steady_service(LLAMA, 1, Requests(prompt=16, output=4000))
    decode = analyze(LLAMA.with_(workload=Decode(batch=1, context=2016))).totals.time_s
    assert service.tpot_s[0] == pytest.approx(decode, rel=1e-3)
    assert service.tokens_per_s[0] == pytest.approx(1 / service.tpot_s[0])


def test_prompts_take_their_share_of_the_steps() -> None:
    # B = 32, prompt 1024, chunk 1024, 64 tokens out: 32 chunks ride along 64 steps, half of them
    asked = Requests(prompt=1024, output=64, chunk=1024)
    service = steady_service(LLAMA, 32, asked)
    mixed = service.ttft_s[0]  # one chunk holds the prompt
    plain = static_service(LLAMA, 32, asked).tpot_s[0]
    assert service.tpot_s[0] == pytest.approx(plain + 0.5 * (mixed - plain), rel=1e-9)
    assert service.sustained[0]
    assert not steady_service(LLAMA, 65, asked).sustained[0]


def test_a_cached_prefix_is_not_computed() -> None:
    cold = steady_service(LLAMA, 8, Requests(prompt=4096, output=64))
    warm = steady_service(LLAMA, 8, Requests(prompt=4096, output=64, cached=3072))
    assert warm.ttft_s[0] < cold.ttft_s[0]
    assert warm.total_bytes[0] == pytest.approx(cold.total_bytes[0], rel=0.01)


def test_layouts_use_all_devices() -> None:
    found = layouts(8)
    assert len(found) == 10  # compositions of 2^3 into three powers of two: C(5, 2)
    assert all(x["tp"] * x["pp"] * x["dp"] == 8 for x in found)
    assert {"tp": 1, "pp": 1, "ep": 8, "dp": 8} in layouts(8, experts=True)


POINTS = st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100), st.booleans()), min_size=1, max_size=40)


@given(POINTS)
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float, bool]]) -> None:
    a, b, ok = (np.array(column) for column in zip(*points, strict=True))
    front = pareto(a, b, ok)
    for i in range(len(points)):
        beaten = ok & (a >= a[i]) & (b >= b[i]) & ((a > a[i]) | (b > b[i]))
        if front[i]:
            assert ok[i]
            assert not beaten.any()
        elif ok[i]:  # beaten, or a twin stands for it
            twins = front & (a == a[i]) & (b == b[i])
            assert beaten.any() or twins.any()


def test_frontier_of_eight_devices() -> None:
    base = Scenario(model="llama-3.1-70b", hardware="nvidia/h100-sxm", compression="w8a8-fp8")
    frame, refused = frontier(
        base.with_(price_per_hour=2.5), Requests(prompt=2048, output=256), devices=8, tpot_slo_s=0.02
    )
    assert refused == []
    front = frame[frame["pareto"]]
    # few users: all devices together; many: as few devices a replica as the weights (70 GB) allow
    assert front.loc[front["tokens_per_s_per_user"].idxmax(), "tp"] == 8
    assert front.loc[front["tokens_per_s_per_device"].idxmax(), "tp"] <= 4
    # one device a replica: 71 GB of weights (and a 16-bit head) leave 5 GB, four requests of 2304 x 0.33 MB
    alone = frame[(frame["tp"] == 1) & (frame["pp"] == 1) & (frame["fits"] == 1)]
    assert alone["batch"].max() == 8 * 4
    best = goodput(frame)
    assert best is not None
    assert best["tpot_s"] <= 0.02
    met = frame[frame["meets_slo"]]
    assert best["requests_per_s"] == met["requests_per_s"].max()
    cost = 2.5 * 8 / 3600 / best["tokens_per_s"] * 1e6
    assert best["cost_per_million_tokens"] == pytest.approx(cost)
    assert goodput(frontier(base, Requests(prompt=2048, output=256), devices=8, tpot_slo_s=1e-6)[0]) is None


def test_a_layout_that_cannot_be_is_left_out_with_its_reason() -> None:
    base = Scenario(model="gpt-2", hardware="nvidia/h100-sxm")
    frame, refused = frontier(base, Requests(prompt=100, output=10), devices=8, batches=[8])
    assert any("attention heads" in line for line in refused)
    assert set(frame["tp"]) == {1, 2, 4}


def test_expected_tokens() -> None:
    # (1 - 0.8^5) / 0.2 = 0.67232 / 0.2 = 3.3616
    assert expected_tokens(0.8, 4) == pytest.approx(3.3616)
    assert expected_tokens(1.0, 4) == 5.0
    assert expected_tokens(0.0, 4) == 1.0
    # 8B at 4.80 ms with a draft of 1.24B (2.47 GB / 3.352 TB/s = 0.737 ms): 7.75 ms / 3.3616 = 2.31 ms, 2.08 times
    per_token = round_seconds(0.737e-3, 4.80e-3, 4) / 3.3616
    assert per_token == pytest.approx(2.31e-3, rel=3e-3)
    assert 4.80e-3 / per_token == pytest.approx(2.08, rel=3e-3)


@given(st.floats(0, 0.999), st.integers(1, 20))
def test_expected_tokens_is_the_closed_form(acceptance: float, drafted: int) -> None:
    closed = (1 - acceptance ** (drafted + 1)) / (1 - acceptance)
    assert expected_tokens(acceptance, drafted) == pytest.approx(closed)


def test_speculation_with_itself_never_helps() -> None:
    scenario = LLAMA.with_(workload=Decode(batch=1, context=1000))
    assert speculate(scenario, scenario, 1.0, 4).speedup < 1.0 + 1e-9
    small = scenario.with_(model="gpt-2")
    fast = speculate(scenario, small, 0.8, 4)
    assert 2.0 < fast.speedup < expected_tokens(0.8, 4)
    assert fast.verify_s >= fast.plain_tpot_s


@pytest.mark.parametrize(
    "wrong", [{"prompt": 0}, {"output": 1}, {"cached": 100}, {"chunk": 0}, {"cached": -1}, {"prompt": 10**10}]
)
def test_bad_requests_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Requests(**{"prompt": 100, "output": 10, **wrong})


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_serve_command(capsys: Any) -> None:
    command = ("serve", "llama-3.1-8b", "nvidia/h100-sxm", "--devices", "2", "--batches", "1,8,64")
    code, out, _ = run(capsys, *command, "--prompt", "512", "--output", "64", "--price", "2", "--json")
    data = json.loads(out)
    assert code == 0
    assert len(data["points"]) == 3 * 3 - 1  # one request cannot be spread over two replicas
    assert data["goodput"]["meets_slo"]
    assert run(capsys, *command, "--tpot", "1e-9")[0] == 1
    code, _, err = run(capsys, *command, "--mode", "other")
    assert code == 2
    assert "continuous" in err


def test_speculate_command(capsys: Any) -> None:
    command = ("speculate", "llama-3.1-8b", "nvidia/h100-sxm", "--acceptance", "0.8", "--json")
    code, out, _ = run(capsys, *command, "--draft", "gpt-2")
    assert code == 0
    assert json.loads(out)["tokens"] == pytest.approx(3.3616)
    assert run(capsys, *command)[0] == 2
