"""Energy and cost: the worked numbers, bound above estimate, what has no source is left out by name."""

from __future__ import annotations

import pytest

from hardware_specs import available, load
from viewer import Decode, Prefill, analyze
from viewer.energy import cost_per_million_tokens, dram_pj_per_bit, energy_bound_j, operation_pj


def test_bound_and_price_of_llama_3_8b_on_an_h100() -> None:
    # 64 requests at 14.74 ms a step, 700 W: 0.161 J a token; 2.5 per hour at 4343 tokens/s: 0.160 per million
    assert energy_bound_j(700.0, 14.74e-3) / 64 == pytest.approx(0.161, rel=2e-3)
    assert cost_per_million_tokens(2.5, 1, 4343.0) == pytest.approx(0.160, rel=2e-3)
    # the product's own step takes 14.95 ms with the activations
    result = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=4095), price_per_hour=2.5)
    assert result.energy.bound_j_per_token == pytest.approx(0.161 * 14.95 / 14.74, rel=3e-3)
    assert result.energy.cost_per_million_tokens == pytest.approx(0.160 * 14.95 / 14.74, rel=3e-3)


def test_bits_of_a_decode_step() -> None:
    # 50.1 GB of HBM3 at 6 pJ/bit: 50.1e9 * 8 * 6e-12 = 2.4 J
    result = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=4095))
    energy = result.energy
    assert energy.dram_j == pytest.approx(result.totals.dram_bytes * 48e-12)
    assert energy.dram_j == pytest.approx(2.4, rel=0.01)


def test_flops_of_a_prefill() -> None:
    # BF16: (0.21 + 0.38) / 2 = 0.295 pJ per FLOP; 128.8 TFLOP of products: 38 J, well under 103 J at 700 W
    result = analyze("llama-3.1-8b", "nvidia/h100-sxm", Prefill(batch=1, prompt=8192))
    energy = result.energy
    products = result.totals.matmul_flops * 0.295e-12
    vector = result.totals.vector_flops * 0.845e-12  # (1.31 + 0.38) / 2
    assert energy.compute_j == pytest.approx(products + vector)
    assert energy.estimate_j is not None
    assert energy.bound_j is not None
    assert energy.estimate_j < energy.bound_j


@pytest.mark.parametrize("hardware", ["nvidia/h100-sxm", "nvidia/a6000", "nvidia/a100-sxm-80gb"])
@pytest.mark.parametrize("batch", [1, 64])
def test_the_estimate_lies_under_the_power_limit(hardware: str, batch: int) -> None:
    energy = analyze("llama-3.1-8b", hardware, Decode(batch=batch, context=1000)).energy
    assert energy.estimate_low_j is not None
    assert energy.estimate_j is not None
    assert energy.estimate_high_j is not None
    assert energy.bound_j is not None
    assert 0 < energy.estimate_low_j <= energy.estimate_j <= energy.estimate_high_j < energy.bound_j


def test_all_devices_together() -> None:
    one = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=1000))
    four = analyze("llama-3.1-8b", "nvidia/h100-sxm", Decode(batch=64, context=1000), tp=4)
    assert four.energy.bound_j == pytest.approx(700 * 4 * four.totals.time_s)
    assert one.energy.estimate_j is not None
    assert four.energy.estimate_j is not None
    # the same weights and cache once, repeated activations, and the links
    assert 1.0 < four.energy.estimate_j / one.energy.estimate_j < 1.2
    assert four.energy.link_j > 0
    assert one.energy.link_j == 0


def test_what_has_no_source_is_absent() -> None:
    result = analyze("llama-3.1-8b", "apple/m2-ultra", Decode(batch=1, context=100))
    assert result.energy.estimate_j is None
    assert any("memory" in note for note in result.energy.notes)
    assert operation_pj("fp4") is None


def test_every_device_answers() -> None:
    known = [name for name in available() if dram_pj_per_bit(load(name)) is not None]
    assert len(known) > 30
    for name in known:
        low, usual, high = dram_pj_per_bit(load(name)) or (0.0, 0.0, 0.0)
        assert 0 < low <= usual <= high < 25
