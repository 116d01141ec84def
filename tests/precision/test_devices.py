"""The precision table on the described devices, and the rates that follow from it."""

from __future__ import annotations

import pytest

import hardware_specs
from tests.precision.test_precision import PAIRS
from viewer import formats
from viewer.compression import available, load
from viewer.errors import InputError
from viewer.precision import pick

# the published table: FP16 checkpoints, so that 16 bits are fp16
ROWS = (
    "w16a16-fp16",
    "w4a16",
    "gguf",
    "w8a8-int8",
    "w4a8-int",
    "w4a4-int",
    "w8a8-fp8",
    "w4a8-fp8",
    "mxfp4",
    "nvfp4",
)
TABLE = {
    "nvidia/a6000": "fp16 fp16 fp16 int8 int8 int4 fp16 fp16 fp16 fp16",
    "nvidia/a100-sxm-80gb": "fp16 fp16 fp16 int8 int8 int4 fp16 fp16 fp16 fp16",
    "nvidia/l40s": "fp16 fp16 fp16 int8 int8 int4 fp8 fp8 fp16 fp16",
    "nvidia/h100-sxm": "fp16 fp16 fp16 int8 int8 int8 fp8 fp8 fp16 fp16",
    "nvidia/h200-sxm": "fp16 fp16 fp16 int8 int8 int8 fp8 fp8 fp16 fp16",
    "nvidia/b200-sxm": "fp16 fp16 fp16 int8 int8 int8 fp8 fp8 fp4 fp4",
    "nvidia/rtx-5090": "fp16 fp16 fp16 int8 int8 int8 fp8 fp8 fp4 fp4",
    "nvidia/v100-sxm2": "fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16",
    "amd/mi300x": "fp16 fp16 fp16 int8 int8 int8 fp8 fp8 fp16 fp16",
    "amd/mi355x": "fp16 fp16 fp16 int8 int8 int8 fp8 fp8 fp4 fp16",
    "google/tpu-v5e": "bf16 bf16 bf16 int8 int8 int8 bf16 bf16 bf16 bf16",
    "cpu/epyc-7763": "fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32 fp32",
}


@pytest.mark.parametrize("device", TABLE)
def test_published_table(device: str) -> None:
    caps = hardware_specs.load(device).capabilities
    got = [pick(*(formats.get(f) for f in PAIRS[row]), caps).math_type for row in ROWS]
    assert dict(zip(ROWS, got, strict=True)) == dict(zip(ROWS, TABLE[device].split(), strict=True))


@pytest.mark.parametrize("device", hardware_specs.available())
def test_every_pair_on_every_device_has_a_peak_or_a_named_reason(device: str) -> None:
    hardware = hardware_specs.load(device)
    for a, b in PAIRS.values():
        try:
            choice = pick(formats.get(a), formats.get(b), hardware.capabilities)
        except InputError as error:
            assert "no unit of this device multiplies" in str(error)  # noqa: PT017
            assert a == b == "fp32", f"{device}: {a} x {b}"
            continue
        assert hardware.peak(choice.unit, choice.math_type) > 0


@pytest.mark.parametrize("name", available())
def test_every_preset_runs_on_every_device(name: str) -> None:
    chosen = load(name).resolve("q_proj", 0, 32, "bf16")
    for device in hardware_specs.available():
        hardware = hardware_specs.load(device)
        linear = pick(chosen.activation, chosen.weight, hardware.capabilities, default16="bf16")
        scores = pick(chosen.query, chosen.kv_k, hardware.capabilities, default16="bf16")
        for choice in (linear, scores):
            assert hardware.peak(choice.unit, choice.math_type) > 0


def test_w8a8_with_a_16_bit_cache_on_an_a6000() -> None:
    hardware = hardware_specs.load("nvidia/a6000")
    chosen = load("w8a8-int8").resolve("q_proj", 0, 40, "fp16")
    linear = pick(chosen.activation, chosen.weight, hardware.capabilities)
    scores = pick(chosen.query, chosen.kv_k, hardware.capabilities)
    values = pick(chosen.probabilities, chosen.kv_v, hardware.capabilities)
    # 84 SMs x 1.8 GHz x 2048 = 309.7 TOP/s; attention stays at 84 x 1.8 x 1024 = 154.8 TFLOP/s
    assert hardware.peak(linear.unit, linear.math_type) == pytest.approx(309.7e12, rel=1e-3)
    assert (scores.math_type, values.math_type) == ("fp16", "fp16")
    assert hardware.peak(scores.unit, scores.math_type) == pytest.approx(154.8e12, rel=1e-3)
