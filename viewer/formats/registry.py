"""Number formats by name: fixed entries, and name patterns for any group size.

Patterns (N, G are numbers; parts in brackets are optional):

    intN[_gG | _tensor | _channel][_asym | _asym16][_s8 | _s32]   int4_g128, int4_g128_asym, int8, int8_tensor
    fp8_e4m3 | fp8_e5m2 [_channel | _gG | _bG][_s8 | _s16]        fp8_e4m3_b128 (128 x 128), fp8_e4m3_g128
    potN[_gG]                                               zero and signed powers of two (logarithmic)
    gguf_TYPE                                               gguf_q4_k, gguf_iq4_xs, ...

``_asym`` stores a zero point as wide as the element (GPTQ, AWQ packing), ``_asym16`` an FP16 one. A bare
``intN`` is scaled per row (output channel of a weight, token of an activation); a bare ``fp8_*`` per tensor.
"""

from __future__ import annotations

import re
from functools import lru_cache

from viewer.errors import InputError, unknown
from viewer.formats import gguf_types
from viewer.formats.base import TensorFormat

_MX = "OCP Microscaling Formats (MX) v1.0: blocks of 32, one E8M0 scale"
_INT = re.compile(r"int(\d{1,2})(_g(\d{1,6})|_tensor|_channel)?(_asym16|_asym)?(_s8|_s16|_s32)?")
_FP8 = re.compile(r"fp8_(e4m3|e5m2)(_channel|_g(\d{1,6})|_b(\d{1,6}))?(_s8|_s16|_s32)?")
_POT = re.compile(r"pot([3-8])(_g(\d{1,6}))?")
_ALIASES = {
    "float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "half": "fp16",
    "fp8": "fp8_e4m3", "fp4": "mxfp4", "mxfp8_e4m3": "mxfp8", "mxfp6_e2m3": "mxfp6", "binary": "int1",
    "gguf_f32": "fp32", "gguf_f16": "fp16", "gguf_bf16": "bf16", "gguf_f64": "fp64",
}  # fmt: skip


def _plain(name: str, bits: int, value: str, text: str) -> TensorFormat:
    return TensorFormat(name, bits, value, description=text, source="IEEE 754-2019 / vendor definition")


def _micro(name: str, bits: int, value: str, text: str) -> TensorFormat:
    return TensorFormat(
        name, bits, value, scaling="group", group=32, scale_bits=8, microscale="mx",
        description=f"MX blocks of 32 {text} with an E8M0 scale", source=_MX,
    )  # fmt: skip


def _row_scaled(name: str, bits: float, value: str, pack: int, text: str, source: str) -> TensorFormat:
    return TensorFormat(
        name, bits, value, scaling="channel", scale_bits=16, packed_values=pack, packed_bytes=1,
        description=text, source=source,
    )  # fmt: skip


def _fixed() -> dict[str, TensorFormat]:
    nf4 = "QLoRA, arXiv:2305.14314 section 3"
    entries = [
        _plain("fp64", 64, "fp64", "IEEE double"),
        _plain("fp32", 32, "fp32", "IEEE single"),
        # TF32 is a way to multiply FP32 data: 19 bits are used, 32 are stored
        _plain("tf32", 32, "tf32", "19 bits used of 32 stored"),
        _plain("bf16", 16, "bf16", "8 exponent, 7 mantissa bits"),
        _plain("fp16", 16, "fp16", "IEEE half: 5 exponent, 10 mantissa bits"),
        _plain("int32", 32, "int32", "integer accumulator"),
        _micro("mxfp8", 8, "fp8_e4m3", "FP8 E4M3"),
        _micro("mxfp8_e5m2", 8, "fp8_e5m2", "FP8 E5M2"),
        _micro("mxfp6", 6, "fp6_e2m3", "FP6 E2M3"),
        _micro("mxfp6_e3m2", 6, "fp6_e3m2", "FP6 E3M2"),
        _micro("mxfp4", 4, "fp4", "FP4 E2M1"),
        TensorFormat(
            "nvfp4", 4, "fp4", scaling="group", group=16, scale_bits=8, tensor_bits=32, microscale="nv",
            description="FP4 E2M1 in blocks of 16 with an E4M3 scale, and one FP32 scale a tensor",
            source="NVIDIA cuDNN and TensorRT documentation of NVFP4",
        ),
        TensorFormat(
            "nf4", 4, "lut16", scaling="group", group=64, scale_bits=32, flat=True, codebook=True,
            description="NormalFloat4, FP32 absmax per 64 values", source=nf4,
        ),
        TensorFormat(
            "nf4_dq", 4, "lut16", scaling="group", group=64, scale_bits=8, super_group=256, super_bits=32,
            flat=True, codebook=True, description="NormalFloat4, 8-bit absmax, FP32 per 256 absmax",
            source=nf4,
        ),
        TensorFormat(
            "bnb_fp4", 4, "lut16", scaling="group", group=64, scale_bits=32, flat=True, codebook=True,
            description="bitsandbytes FP4 code book, FP32 absmax per 64 values", source="bitsandbytes fp4",
        ),
        TensorFormat(
            "bnb_fp4_dq", 4, "lut16", scaling="group", group=64, scale_bits=8, super_group=256,
            super_bits=32, flat=True, codebook=True,
            description="bitsandbytes FP4 code book, double quantized", source="bitsandbytes fp4",
        ),
        _row_scaled("ternary", 1.6, "ternary", 5, "{-1, 0, 1}, 5 trits a byte, FP16 scale a row",
                    "BitNet b1.58, arXiv:2402.17764; packing of llama.cpp TQ1_0"),
        _row_scaled("ternary2", 2, "ternary", 4, "{-1, 0, 1} in 2 bits, FP16 scale a row",
                    "BitNet b1.58, arXiv:2402.17764; packing of llama.cpp TQ2_0"),
        _row_scaled("int1", 1, "b1", 8, "signs, FP16 scale a row", "BitNet, arXiv:2310.11453"),
    ]  # fmt: skip
    return {entry.name: entry for entry in entries} | {
        f"gguf_{kind}": gguf_types.build(kind) for kind in gguf_types.BLOCKS
    }


_FIXED = _fixed()

# formats that patterns make and that lists show
_SHOWN = (
    "int16", "int8", "int8_tensor", "int8_asym", "int8_g128", "int6_g128", "int5_g128", "int4", "int4_g128",
    "int4_g32", "int4_g64", "int4_g128_asym", "int4_g128_asym16", "int3_g128", "int3_g128_asym16",
    "int2_g128", "int2_g128_asym16", "fp8_e4m3", "fp8_e4m3_channel", "fp8_e4m3_b128", "fp8_e4m3_g128",
    "fp8_e5m2", "fp8_e5m2_channel", "fp8_e5m2_b128", "fp8_e5m2_g128", "pot4", "pot4_g128", "pot8",
)  # fmt: skip


def available() -> list[str]:
    """Names of all listed formats; the patterns of this module make more (any group size)."""
    return sorted({*_FIXED, *_SHOWN})


def get(name: str) -> TensorFormat:
    """The format called ``name``.

    Raises:
        InputError: the name is no format; the message has the nearest one.
    """
    key = name.strip().lower()
    key = _ALIASES.get(key, key)
    return _FIXED[key] if key in _FIXED else _make(key)


@lru_cache(maxsize=4096)
def _make(key: str) -> TensorFormat:
    for pattern, build in ((_INT, _integer), (_FP8, _float8), (_POT, _power_of_two)):
        if match := pattern.fullmatch(key):
            return build(key, match)
    raise unknown("number format", key, available())


def _group_of(name: str, digits: str) -> int:
    group = int(digits)
    if group < 2:
        raise InputError(f"number format {name!r}: a group holds at least 2 values, not {group}")
    return group


def _integer(name: str, match: re.Match[str]) -> TensorFormat:
    bits = int(match[1])
    if not 2 <= bits <= 16:
        raise InputError(f"number format {name!r}: integers have 1 to 16 bits, not {bits}")
    scaling, group = "channel", 0
    if match[3]:
        scaling, group = "group", _group_of(name, match[3])
    elif match[2] == "_tensor":
        scaling = "tensor"
    # group scales are FP16 (Marlin, GPTQ, AWQ), row scales FP32 (CUTLASS int8 epilogues): the usual storage
    default_scale = 16 if group else 32
    scale_bits = int(match[5][2:]) if match[5] else default_scale
    zero_bits = {None: 0, "_asym": bits, "_asym16": 16}[match[4]]
    return TensorFormat(
        name=name,
        element_bits=bits,
        value_type=f"int{bits}" if bits <= 8 else "int16",
        scaling=scaling,
        group=group,
        scale_bits=0 if scaling == "tensor" else scale_bits,
        zero_bits=0 if scaling == "tensor" else zero_bits,
        tensor_bits=scale_bits + zero_bits if scaling == "tensor" else 0,
        symmetric=not match[4],
        description=_describe(f"{bits}-bit integers", scaling, group, scale_bits, zero_bits),
        source="affine quantization, arXiv:1712.05877; group metadata as GPTQ, AWQ and Marlin store it",
    )


def _float8(name: str, match: re.Match[str]) -> TensorFormat:
    scaling, group, rows = "tensor", 0, 1
    if match[3]:
        scaling, group = "group", _group_of(name, match[3])
    elif match[4]:
        scaling, group = "block", _group_of(name, match[4])
        rows = group
    elif match[2] == "_channel":
        scaling = "channel"
    scale_bits = int(match[5][2:]) if match[5] else 32
    return TensorFormat(
        name=name,
        element_bits=8,
        value_type=f"fp8_{match[1]}",
        scaling=scaling,
        group=group,
        block_rows=rows,
        scale_bits=0 if scaling == "tensor" else scale_bits,
        tensor_bits=scale_bits if scaling == "tensor" else 0,
        description=_describe(f"FP8 {match[1].upper()}", scaling, group, scale_bits, 0),
        source="FP8 formats, arXiv:2209.05433; 128 x 128 blocks: DeepSeek-V3, arXiv:2412.19437 section 3.3",
    )


def _power_of_two(name: str, match: re.Match[str]) -> TensorFormat:
    bits, group = int(match[1]), _group_of(name, match[3]) if match[3] else 0
    scale_bits = 16
    return TensorFormat(
        name=name,
        element_bits=bits,
        value_type=f"pot{bits}",
        scaling="group" if group else "channel",
        group=group,
        scale_bits=scale_bits,
        description=_describe(
            f"{bits}-bit signed powers of two", "group" if group else "channel", group, 16, 0
        ),
        source="logarithmic quantization, arXiv:1603.01025",
    )


def _describe(what: str, scaling: str, group: int, scale_bits: int, zero_bits: int) -> str:
    where = {"tensor": "tensor", "channel": "row", "group": f"{group} values of a row",
             "block": f"{group} x {group} block"}[scaling]  # fmt: skip
    zero = f" and a {zero_bits}-bit zero point" if zero_bits else ""
    return f"{what}, one {scale_bits}-bit scale{zero} per {where}"
