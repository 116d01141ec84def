"""The compute-type table, device by device and format pair by format pair."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer import formats
from viewer.errors import InputError
from viewer.precision import MATH_TYPES, pick


@dataclass(frozen=True)
class Chip:
    """Types of a device, as its data sheet lists them."""

    kind: str
    architecture: str
    tensor_types: frozenset[str]
    vector_types: frozenset[str]
    sparse_types: frozenset[str] = frozenset()
    block_scaled_types: frozenset[str] = frozenset()


def chip(arch: str, tensor: str, vector: str = "fp32 fp64", scaled: str = "", kind: str = "gpu") -> Chip:
    return Chip(
        kind,
        arch,
        frozenset(tensor.split()),
        frozenset(vector.split()),
        frozenset(),
        frozenset(scaled.split()),
    )


CHIPS = {
    "v100": chip("sm_70", "fp16"),
    "t4": chip("sm_75", "fp16 int8 int4 b1"),
    "a100": chip("sm_80", "tf32 bf16 fp16 int8 int4 b1 fp64"),
    "a6000": chip("sm_86", "tf32 bf16 fp16 int8 int4"),
    "l40s": chip("sm_89", "tf32 bf16 fp16 fp8 int8 int4"),
    "h100": chip("sm_90", "tf32 bf16 fp16 fp8 int8 fp64"),
    "b200": chip("sm_100", "tf32 bf16 fp16 fp8 fp6 fp4 int8 fp64", scaled="fp8 fp6 fp4"),
    "rtx5090": chip("sm_120", "tf32 bf16 fp16 fp8 fp4 int8", scaled="fp8 fp4"),
    "mi300x": chip("gfx942", "tf32 fp32 bf16 fp16 fp8 int8 fp64"),
    "mi355x": chip("gfx950", "fp32 bf16 fp16 fp8 fp6 fp4 int8 fp64", scaled="fp8 fp6 fp4"),
    "tpu-v5e": chip("tpu-v5e", "bf16 int8", "fp32", kind="tpu"),
    "tpu-v6e": chip("tpu-v6e", "bf16 int8 fp8", "fp32", kind="tpu"),
    "tpu-v7": chip("tpu-v7", "bf16 fp8", "fp32", kind="tpu"),
    "cpu-avx2": chip("avx2", "", "fp32 fp64", kind="cpu"),
    "cpu-vnni": chip("avx512", "", "fp32 fp64 int8", kind="cpu"),
    "cpu-bf16": chip("avx512", "", "fp32 fp64 int8 bf16", kind="cpu"),
    "cpu-amx": chip("amx", "bf16 int8", "fp32 fp64 bf16 int8", kind="cpu"),
}

# activation format, weight format
PAIRS = {
    "w16a16-fp16": ("fp16", "fp16"),
    "w16a16-bf16": ("bf16", "bf16"),
    "w8a16": ("fp16", "int8"),
    "w4a16": ("fp16", "int4_g128"),
    "w2a16": ("fp16", "int2_g128_asym16"),
    "nf4": ("bf16", "nf4"),
    "gguf": ("fp16", "gguf_q4_k"),
    "w8a8-int8": ("int8", "int8"),
    "w4a8-int": ("int8", "int4"),
    "w4a4-int": ("int4", "int4"),
    "w8a8-fp8": ("fp8_e4m3", "fp8_e4m3"),
    "fp8-block": ("fp8_e4m3_g128", "fp8_e4m3_b128"),
    "w4a8-fp8": ("fp8_e4m3", "int4"),
    "mxfp8": ("mxfp8", "mxfp8"),
    "mxfp6": ("mxfp6", "mxfp6"),
    "mxfp4": ("mxfp4", "mxfp4"),
    "nvfp4": ("nvfp4", "nvfp4"),
    "w4a8-mx": ("mxfp8", "mxfp4"),
    "fp32": ("fp32", "fp32"),
}

# One column a pair, in the order of PAIRS. Tensor unit unless marked with a "/v" (vector unit).
TABLE = {
    "v100": "fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp32/v",
    "t4": "fp16 fp16 fp16 fp16 fp16 fp16 fp16 int8 int8 int4 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp32/v",
    "a100": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int4 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp32/v",
    "a6000": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int4 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp16 fp32/v",
    "l40s": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int4 fp8 fp8 fp8 fp16 fp16 fp16 fp16 fp16 fp32/v",
    "h100": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int8 fp8 fp8 fp8 fp16 fp16 fp16 fp16 fp16 fp32/v",
    "b200": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int8 fp8 fp8 fp8 fp8 fp6 fp4 fp4 fp8 fp32/v",
    "rtx5090": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int8 fp8 fp8 fp8 fp8 fp8 fp4 fp4 fp8 fp32/v",
    "mi300x": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int8 fp8 fp8 fp8 fp16 fp16 fp16 fp16 fp16 fp32",
    # NVFP4's E4M3 scales per 16 are not MX scales
    "mi355x": "fp16 bf16 fp16 fp16 fp16 bf16 fp16 int8 int8 int8 fp8 fp8 fp8 fp8 fp6 fp4 fp16 fp8 fp32",
    "tpu-v5e": "bf16 bf16 bf16 bf16 bf16 bf16 bf16 int8 int8 int8 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 fp32/v",
    "tpu-v6e": "bf16 bf16 bf16 bf16 bf16 bf16 bf16 int8 int8 int8 fp8 fp8 fp8 bf16 bf16 bf16 bf16 bf16 fp32/v",
    # no int8: 4-bit integers are exact in fp8, 8-bit ones in bf16
    "tpu-v7": "bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 fp8 fp8 fp8 fp8 bf16 bf16 bf16 bf16 bf16 fp32/v",
    "cpu-avx2": " ".join(["fp32/v"] * 19),
    "cpu-vnni": "fp32/v fp32/v fp32/v fp32/v fp32/v fp32/v fp32/v int8/v int8/v int8/v " + "fp32/v " * 9,
    # fp16 is not exact in bf16, so it takes the fp32 vector unit
    "cpu-bf16": "fp32/v bf16/v fp32/v fp32/v fp32/v bf16/v fp32/v int8/v int8/v int8/v "
    + "bf16/v " * 8
    + "fp32/v",
    # bf16 with a note before the fp32 vector unit
    "cpu-amx": "bf16 bf16 bf16 bf16 bf16 bf16 bf16 int8 int8 int8 " + "bf16 " * 8 + "fp32/v",
}


@pytest.mark.parametrize("device", TABLE)
def test_the_whole_table(device: str) -> None:
    expected = TABLE[device].split()
    assert len(expected) == len(PAIRS)
    got = []
    for a, b in PAIRS.values():
        choice = pick(formats.get(a), formats.get(b), CHIPS[device])
        got.append(choice.math_type + ("/v" if choice.unit == "vector" else ""))
    assert dict(zip(PAIRS, got, strict=True)) == dict(zip(PAIRS, expected, strict=True))


def run(device: str, pair: str, **options: object):
    a, b = PAIRS[pair]
    return pick(formats.get(a), formats.get(b), CHIPS[device], **options)


def test_upcast_is_told_from_weight_only() -> None:
    assert not run("a6000", "w4a16").upcast  # 16-bit activations ask for 16-bit math
    assert run("a6000", "w4a16").b_path == "dequantize"
    assert run("a6000", "w4a16").dequantize
    assert run("a6000", "w8a8-fp8").upcast
    assert "no fp8 unit" in run("a6000", "w8a8-fp8").reason
    assert run("h100", "w4a4-int").upcast
    assert run("h100", "w4a4-int").b_path == "convert"
    assert not run("h100", "w4a8-int").upcast
    # Ada has FP8, but no unit for block scales along K: bf16 for a bf16 checkpoint
    ada = run("l40s", "mxfp4", default16="bf16")
    assert ada.math_type == "bf16"
    assert ada.upcast
    assert ada.a_path == ada.b_path == "dequantize"


def test_where_the_scales_go() -> None:
    assert run("b200", "nvfp4").block_scaled
    assert run("b200", "nvfp4").epilogue == "scale"
    assert run("b200", "nvfp4").a_path == "native"
    # DeepSeek blocks run on plain FP8 with a partial sum rescaled every 128 values
    block = run("h100", "fp8-block")
    assert (block.epilogue, block.group, block.b_path) == ("group", 128, "native")
    grouped = pick(formats.get("int8"), formats.get("int4_g128_asym"), CHIPS["a6000"])
    assert (grouped.math_type, grouped.epilogue, grouped.group) == ("int8", "group", 128)
    assert grouped.zero_points
    assert grouped.accumulate == "int32"
    assert run("a6000", "w8a8-int8").epilogue == "scale"
    assert run("a6000", "w16a16-bf16").epilogue == "none"


def test_a_value_cache_scaled_per_token_is_dequantized() -> None:
    p, v = formats.get("fp16"), formats.get("int8")
    assert pick(p, v, CHIPS["h100"]).b_path == "convert"
    assert pick(p, v, CHIPS["h100"], b_scales_along_k=True).b_path == "dequantize"


def test_bf16_on_a_chip_without_it_is_a_result_with_a_note() -> None:
    choice = run("v100", "w16a16-bf16")
    assert (choice.unit, choice.math_type) == ("tensor", "fp16")
    assert "65504" in choice.notes[0]
    assert "8 significant bits" in run("tpu-v5e", "w16a16-fp16").notes[0]


def test_mixed_attention_products() -> None:
    # KV8 under BF16 queries wins bytes only; FP8 attention needs all of Q, K, V, P in FP8
    bf16, fp8 = formats.get("bf16"), formats.get("fp8_e4m3")
    assert pick(bf16, fp8, CHIPS["h100"]).math_type == "bf16"
    assert pick(fp8, fp8, CHIPS["h100"]).math_type == "fp8"


def test_fp32_router_of_a_16_bit_model() -> None:
    choice = pick(formats.get("bf16"), formats.get("fp32"), CHIPS["h100"])
    assert (choice.unit, choice.math_type) == ("vector", "fp32")


def test_mi300x_notes_the_fnuz_variant() -> None:
    assert "FNUZ" in run("mi300x", "w8a8-fp8").notes[0]


def test_nothing_that_fits_is_an_error_by_name() -> None:
    nothing = chip("odd", "int8", "int8", kind="npu")
    with pytest.raises(
        InputError, match=r"no unit of this device multiplies fp16 by fp16.*tensor unit: int8"
    ):
        pick(formats.get("fp16"), formats.get("fp16"), nothing)


RUNNABLE = sorted(set(formats.available()) - {"int32", "fp64"})


@settings(deadline=None)
@given(st.sampled_from(RUNNABLE), st.sampled_from(RUNNABLE), st.sampled_from(list(CHIPS)))
def test_every_pair_on_every_chip_has_a_native_type(a: str, b: str, device: str) -> None:
    """Every pair runs somewhere, and only on types that the chip has."""
    caps = CHIPS[device]
    choice = pick(formats.get(a), formats.get(b), caps)
    assert choice.math_type in (caps.tensor_types if choice.unit == "tensor" else caps.vector_types)
    assert choice.upcast == (choice.reason.find("converted up") >= 0)
    flipped = pick(formats.get(b), formats.get(a), caps)
    assert (flipped.math_type, flipped.unit) == (choice.math_type, choice.unit)
    widest = max(formats.get(a).element_bits, formats.get(b).element_bits)
    if choice.math_type != "tf32":  # 19 bits used of 32 stored
        assert MATH_TYPES[choice.math_type][0] >= widest or "tf32" in (a, b)
