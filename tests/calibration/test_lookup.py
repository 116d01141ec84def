"""Which class stands for which kernel, and what it is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.calibration.test_store import FIT, ONE
from viewer.calibration import gemm, store
from viewer.calibration.devices import device
from viewer.calibration.lookup import find_class

A100 = "nvidia/a100-sxm-80gb"


def _book(*keys: str, hardware: str = A100) -> dict[str, store.Calibration]:
    return {hardware: replace(ONE, hardware=hardware, classes=tuple(replace(FIT, key=key) for key in keys))}


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("bf16*bf16|vllm-1|graph", "bf16*bf16|vllm-1|graph"),
        ("bf16*bf16|vllm-2|graph", "bf16*bf16|vllm-1|graph"),
        ("fp16*fp16|-|graph", "bf16*bf16|vllm-1|graph"),
        ("bf16*nf4|-|graph", "bf16*int4_g128|trtllm-1|graph"),
        ("bf16*int3_g128|-|graph", "bf16*int4_g128|trtllm-1|graph"),
        ("fp8_e4m3*fp8_e4m3|vllm|graph", "int8*int8|trtllm-1|graph"),
        ("fp32*fp32|-|graph", "bf16*bf16|vllm-1|graph"),
    ],
)
def test_the_nearest_class_of_the_device(key: str, found: str) -> None:
    book = _book("bf16*bf16|vllm-1|graph", "bf16*int4_g128|trtllm-1|graph", "int8*int8|trtllm-1|graph",
                 "fp16*fp16|vidur|in_model")  # fmt: skip
    match = find_class(gemm, "gemm", key, device(A100), book)
    assert match.fit is not None
    assert match.fit.key == found
    assert match.label == "calibrated"
    assert match.exact_class == (key == found)
    assert key == found or "stands for" in match.basis


def test_a_family_member_lends_its_class() -> None:
    match = find_class(gemm, "gemm", FIT.key, device("nvidia/a6000"), _book(FIT.key))
    assert match.label == "family"
    assert match.device is not None
    assert match.device.name == A100
    assert A100 in match.basis


def test_another_family_counts_as_uncalibrated() -> None:
    hopper = _book(FIT.key, hardware="nvidia/h100-sxm")
    assert find_class(gemm, "gemm", FIT.key, device("nvidia/b200-sxm"), hopper).label == "uncalibrated"
    nothing = find_class(gemm, "gemm", FIT.key, device(A100), hopper)
    assert (nothing.fit, nothing.label) == (None, "uncalibrated")
    assert nothing.constants == gemm.SIMPLE


def test_a_family_class_of_the_same_formats_beats_another_format_of_the_device() -> None:
    book = _book("bf16*bf16|vllm|graph") | _book("fp8_e4m3*fp8_e4m3|vllm|graph", hardware="nvidia/h100-sxm")
    book |= _book("bf16*bf16|vllm|graph", hardware="nvidia/h200-sxm")
    match = find_class(gemm, "gemm", "fp8_e4m3*fp8_e4m3|vllm|graph", device("nvidia/h200-sxm"), book)
    assert match.label == "family"


def test_a_class_that_stands_in_predicts_without_the_constants_it_lacks() -> None:
    from viewer.calibration.estimate import estimate

    constants = {"t0": 2.5, "tp": 0.6, "ec": 0.8, "em": 0.8, "ls": 2.0, "p": 4.0, "al": 0.5, "ka": 1.0, "q": 0.0,
                 "te": 0.3, "g": 0.02, "pf": 12.0, "sk": 2.0, "ep": 2.0}  # fmt: skip
    smoothing = store.Smoothing(("m", "n", "k", "weight_copies"), ((1.0, 4096.0, 4096.0, 5.0),), (0.1,))
    fit = replace(FIT, constants=constants, smoothing=smoothing)
    book = {"nvidia/h100-sxm": replace(ONE, hardware="nvidia/h100-sxm", classes=(fit,))}
    for name, label in [
        ("nvidia/h100-sxm", "calibrated"),
        ("nvidia/h20", "family"),
        ("nvidia/b200-sxm", "uncalibrated"),
    ]:
        for formats in [("bf16", "int4_g128"), ("int8", "int8"), ("fp8_e4m3", "fp8_e4m3"), ("bf16", "mxfp4")]:
            columns = {
                "m": [1.0, 512.0],
                "n": 4096,
                "k": 4096,
                "act_format": formats[0],
                "weight_format": formats[1],
            }
            e = estimate("gemm", columns, device(name), calibrations=book)
            assert e.label == label
            assert (e.time_s >= e.bound_s).all()
