"""Every device file loads, and its peaks follow from cores, rates and clocks or say why not."""

from __future__ import annotations

import pytest

import hardware_specs

ALL = hardware_specs.available()
TOLERANCE = 0.02


@pytest.mark.parametrize("name", ALL)
def test_file_loads_under_its_own_name(name: str) -> None:
    hardware = hardware_specs.load(name)
    assert hardware.name == name
    assert hardware.vendor in hardware.label.lower() or hardware.vendor == name.split("/")[0]
    assert hardware.figures()


@pytest.mark.parametrize("name", ALL)
def test_peaks_are_cores_times_rate_times_clock_or_the_file_says_why(name: str) -> None:
    hardware = hardware_specs.load(name)
    excused = {(item.unit, math_type) for item in hardware.exceptions for math_type in item.types}
    for unit in ("tensor", "tensor_f16acc", "vector", "special"):
        for math_type, rate in hardware.compute.unit(unit).items():
            clock_hz = hardware.clock_hz(rate.clock)
            product = None
            if rate.op_per_clock and hardware.core_count and clock_hz:
                product = hardware.core_count.value * rate.op_per_clock.value * clock_hz
            agrees = product is not None and abs(product / rate.peak.value - 1) <= TOLERANCE
            where = f"{name} {unit} {math_type}: product {product}, stated {rate.peak.value}"
            assert agrees != ((unit, math_type) in excused), where
