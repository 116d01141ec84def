"""Bounds, regimes and devices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.calibration.base import BOUNDS, Device, Work, bound, regime, seconds_by_resource
from viewer.calibration.devices import device, family_of
from viewer.errors import InputError

CHIP = Device(
    name="test/chip", architecture="sm_80", family="ampere", kind="gpu", core_count=100, rated_hz=1e9,
    maximum_hz=1.25e9,
    tensor_peak={"bf16": 100e12, "int8": 200e12}, vector_peak={"fp32": 10e12}, exp_per_s=1e12, dram_bandwidth=1e12,
    l2_bytes=40e6, l2_bandwidth=4e12,
)  # fmt: skip


def test_bound_uses_the_maximum_clock_and_all_bytes_of_a_cold_run() -> None:
    work = Work(flops=np.array([1e12, 1e9]), peak=100e12, bytes_=np.array([1e6, 1e9]))
    seconds, code = bound(work, CHIP)
    # 1e12 / (100e12 x 1.25) = 8 ms against 1 us; 1e9 B / 1e12 B/s = 1 ms against 8 us
    assert seconds == pytest.approx([8e-3, 1e-3])
    assert [BOUNDS[c] for c in code] == ["compute", "memory"]


def test_warm_bytes_that_fit_the_l2_come_from_it() -> None:
    work = Work(flops=np.zeros(2), peak=1e12, bytes_=np.array([20e6, 60e6]), warm=np.array([True, True]))
    # ceiling 64 B x 100 cores x 1.25 GHz = 8 TB/s: 20 MB -> 2.5 us; 60 MB -> 20 MB / 1 TB/s + 40 MB / 8 TB/s = 25 us
    assert bound(work, CHIP)[0] == pytest.approx([2.5e-6, 25e-6])


def test_link_and_exponentials_count() -> None:
    work = Work(flops=0.0, peak=1e12, bytes_=np.array([8.0]), exps=np.array([1e9]), link_bytes=np.array([3e6]),
                link_bandwidth=1e9)  # fmt: skip
    times = seconds_by_resource(work, CHIP)
    assert times["transcendental"] == pytest.approx([1e9 / 1.25e12])
    assert times["link"] == pytest.approx([3e-3])
    assert BOUNDS[bound(work, CHIP)[1][0]] == "link"


def test_regimes() -> None:
    # memory 10 us vs compute 1 us; 10 us vs 10 us; 1 us vs 10 us; both 1 us
    work = Work(np.array([1e8, 1e9, 1e9, 1e8]), 1e14, np.array([1e7, 1e7, 1e6, 1e6]))
    assert regime(work, CHIP).tolist() == [1, 2, 3, 0]


def test_a_narrow_type_runs_as_the_narrowest_native_one() -> None:
    assert CHIP.peak("fp8") == 100e12
    assert CHIP.peak("int4") == 200e12
    assert CHIP.peak("fp32") == 10e12
    with pytest.raises(KeyError, match="fp64"):
        CHIP.peak("fp64")


@given(scale=st.floats(1.1, 10))
def test_doubling_every_rate_divides_the_bound(scale: float) -> None:
    work = Work(np.array([3e12, 1.0]), 100e12, np.array([1e6, 5e9]), np.array([True, False]))
    faster = Device(
        name="x", architecture="sm_80", family="ampere", kind="gpu", core_count=100, rated_hz=1e9 * scale,
        maximum_hz=1.25e9 * scale, tensor_peak={"bf16": 100e12 * scale}, vector_peak={}, exp_per_s=0.0,
        dram_bandwidth=1e12 * scale, l2_bytes=40e6, l2_bandwidth=4e12 * scale,
    )  # fmt: skip
    quick = Work(work.flops, work.peak * scale, work.bytes_, work.warm)
    assert bound(quick, faster)[0] * scale == pytest.approx(bound(work, CHIP)[0])


def test_devices_come_from_the_descriptions() -> None:
    h100 = device("nvidia/h100-sxm")
    # 989.4 TFLOP/s at 1.83 GHz (H100 whitepaper), 132 SMs, 1.98 GHz at most
    assert h100.peak("bf16") == pytest.approx(989.4e12)
    assert h100.boost == pytest.approx(1.98 / 1.83)
    assert h100.family == "hopper"
    assert "estimate" in h100.l2_note
    assert family_of("sm_86_geforce") == "ampere"
    with pytest.raises(ValueError, match="h100"):
        device("nvidia/h1000-sxm")


def test_a_description_without_bandwidth_is_refused_by_name() -> None:
    from types import SimpleNamespace

    from viewer.calibration.devices import device_of

    empty = SimpleNamespace(name="x/y", memory=lambda _: None)
    with pytest.raises(InputError, match="x/y"):
        device_of(empty)  # type: ignore[arg-type]
