"""Which devices there are and how they are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hardware_specs
from hardware_specs import HardwareError

# The 75 devices that the library promises, typed here once more so that a lost file is noticed.
PARTS = {
    "nvidia": (
        "a6000 a40 a10 rtx-3090 v100-sxm2 a100-sxm-80gb a100-pcie-80gb h100-sxm h100-pcie h200-sxm "
        "b200-sxm l40s l4 rtx-4090 gh200-96gb l40 gh200-141gb b300-sxm h800-pcie h800-sxm "
        "rtx-pro-6000-max-q a30 a100-sxm-40gb a100-pcie-40gb a800-sxm-80gb t4 rtx-a5000 rtx-6000-ada "
        "h100-nvl h20 gb200 rtx-5090 rtx-pro-6000-workstation rtx-pro-6000-server jetson-agx-orin-64gb "
        "jetson-orin-nano-8gb jetson-orin-nano-8gb-super jetson-thor"
    ),
    "amd": "mi300x mi325x mi250x mi355x radeon-rx-7900-xtx radeon-pro-w7900 ryzen-ai-max-395",
    "intel": "gaudi-3 arc-b580 arc-pro-b60",
    "apple": "m2-ultra m4-max m1-max m2-max m3-max m3-ultra m4-pro",
    "google": "tpu-v5e tpu-v5p tpu-v6e tpu-v4 tpu-v7",
    "cpu": (
        "xeon-8480plus xeon-6980p epyc-9654 epyc-9755 graviton4 grace core-i9-13900k core-ultra-9-285k "
        "ryzen-9-7950x ryzen-9-9950x epyc-9554 epyc-7763 graviton3"
    ),
    "aws": "trainium2 inferentia2",
}
PROMISED = [f"{vendor}/{part}" for vendor, parts in PARTS.items() for part in parts.split()]


def test_the_promised_devices_are_there() -> None:
    assert len(PROMISED) == 75
    assert set(PROMISED) <= set(hardware_specs.available())


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("nvidia/a6000", "nvidia/a6000"),
        ("A6000", "nvidia/a6000"),
        ("RTX A6000", "nvidia/a6000"),
        ("h100", "nvidia/h100-sxm"),
        ("NVIDIA H100", "nvidia/h100-sxm"),
        ("H100-SXM", "nvidia/h100-sxm"),
        ("h100 pcie", "nvidia/h100-pcie"),
        ("4090", "nvidia/rtx-4090"),
        ("RTX 4090", "nvidia/rtx-4090"),
        ("mi300x", "amd/mi300x"),
        ("L40", "nvidia/l40"),
        ("l40s", "nvidia/l40s"),
        ("13900K", "cpu/core-i9-13900k"),
        ("9654", "cpu/epyc-9654"),
        ("xeon 8480+", "cpu/xeon-8480plus"),
        ("TPU v5e", "google/tpu-v5e"),
        ("Trainium2", "aws/trainium2"),
        ("m2 max", "apple/m2-max"),
        ("orin nano super", "nvidia/jetson-orin-nano-8gb-super"),
        ("a100", "nvidia/a100-sxm-80gb"),
    ],
)
def test_short_names(given: str, meant: str) -> None:
    assert hardware_specs.resolve(given) == meant
    assert hardware_specs.load(given).name == meant


def test_every_name_and_every_part_alone_finds_its_device() -> None:
    for name in hardware_specs.available():
        assert hardware_specs.resolve(name.upper()) == name
        assert hardware_specs.resolve(name.split("/")[1]) == name


def test_short_name_that_fits_several_devices_is_refused_with_the_candidates() -> None:
    with pytest.raises(HardwareError, match=r"ambiguous: cpu/epyc-7763, cpu/epyc-9554, cpu/epyc-9654"):
        hardware_specs.load("epyc")


@pytest.mark.parametrize(
    ("given", "close"), [("nvidia/a600", "nvidia/a6000"), ("h100-sx", "nvidia/h100-sxm")]
)
def test_unknown_name_suggests_the_nearest(given: str, close: str) -> None:
    with pytest.raises(HardwareError) as caught:
        hardware_specs.load(given)
    assert f"did you mean {close!r}?" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["", "   ", "/", "../../etc/passwd", "x" * 10_000])
def test_odd_names_are_refused_briefly(given: str) -> None:
    with pytest.raises(HardwareError) as caught:
        hardware_specs.load(given)
    assert len(str(caught.value)) < 400


def test_a_device_is_parsed_once() -> None:
    assert hardware_specs.load("a6000") is hardware_specs.load("nvidia/a6000")


def test_listing_names_parses_nothing() -> None:
    code = (
        "import sys, hardware_specs; assert len(hardware_specs.available()) >= 75; "
        "hardware_specs.resolve('h100'); print(sorted({'yaml', 'pydantic', 'numpy'} & set(sys.modules)))"
    )
    root = Path(hardware_specs.__file__).resolve().parent.parent
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"
