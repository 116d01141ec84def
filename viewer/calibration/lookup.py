"""Which calibrated class stands for a kernel: the device's own, one alike, a family member's, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from viewer.calibration.base import Constants, Device, KernelModel
from viewer.calibration.devices import device as device_by_name
from viewer.calibration.store import Calibration, ClassFit

# Formats that run the same kernels or nearly so, nearest first. A class of the right-hand format stands for
# the left-hand one (bytes and peaks are still those of the row's own formats).
ALIKE: Mapping[str, tuple[str, ...]] = {
    "fp16": ("bf16",),
    "bf16": ("fp16",),
    "fp32": ("bf16",),
    "tf32": ("bf16",),
    "fp8_e5m2": ("fp8_e4m3",),
    "fp8_e4m3": ("fp8_e4m3_block", "int8"),
    "fp8_e4m3_block": ("fp8_e4m3",),
    "fp8_e4m3_b128": ("fp8_e4m3_block", "fp8_e4m3"),
    "int8": ("fp8_e4m3",),
    "fp8": ("bf16",),
    "layernorm": ("rmsnorm",),
    "softmax": ("rmsnorm", "layernorm"),
    "gelu": ("silu_mul", "add"),
    "rope": ("add", "rmsnorm"),
    "mxfp8": ("fp8_e4m3_block", "fp8_e4m3"),
    "nvfp4": ("fp8_e4m3_block", "fp8_e4m3"),
    "mxfp4": ("fp8_e4m3_block", "fp8_e4m3"),
}
# Weight formats under 16-bit activations: four bits stand for all narrower ones, eight for the rest.
_NARROW = re.compile(r"(u?int[1-5]|nf4|fp4|mxfp4|nvfp4|ternary|gguf_(q[1-5]|iq)|pot)")

LIBRARY_ORDER = ("vllm", "trtllm", "sglang")
"""Preference when a row names no library: the class most often fitted best first."""

NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "ampere": ("ampere",),
    "ada": ("ada", "ampere"),
    "hopper": ("hopper",),
    "blackwell": ("hopper",),
    "volta": ("ampere",),
    "turing": ("ampere",),
}
"""Families whose constants stand for a family without its own; another family counts as uncalibrated."""


@dataclass(frozen=True, slots=True)
class Match:
    """The class found, how it was found (``label``, ``basis``), and on which device it was measured."""

    fit: ClassFit | None
    label: str
    basis: str
    device: Device | None
    constants: Constants
    exact_class: bool
    same_formats: bool = True


def family_library(library: str) -> str:
    """ "trtllm-1.3.0rc20" -> "trtllm"."""
    return re.split(r"[-_ @=]", library, maxsplit=1)[0]


def _alike(name: str, *, weight: bool, act: str) -> tuple[str, ...]:
    if weight and name != act and _NARROW.match(name):
        return ("int4_g128", "int8")
    if weight and name != act:
        return ("int8", "int4_g128")
    return ALIKE.get(name, ())


def _format_ladder(formats: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The formats themselves, then the ones that run alike, nearest first, then plain 16-bit ones."""
    if len(formats) != 2:
        plain = formats[0].partition("+")[0]
        others = ((plain,) if plain != formats[0] else ()) + ALIKE.get(plain, ())
        return [formats, *((other,) for other in others)]
    act, weight = formats
    steps: list[tuple[str, ...]] = [formats]
    if act == weight:
        steps += [(other, other) for other in ALIKE.get(act, ())]
    else:
        acts = (act, *ALIKE.get(act, ()))
        steps += [
            (a, w) for a in acts for w in (weight, *_alike(weight, weight=True, act=act)) if (a, w) != formats
        ]
    last = ("bf16", "bf16")
    return steps if last in steps else [*steps, last]


def _split(key: str) -> tuple[tuple[str, ...], str, str]:
    """(formats, library, rest) of a class key ``act*weight|library|rest``."""
    head, _, tail = key.partition("|")
    library, _, rest = tail.partition("|")
    return tuple(head.split("*")), library or "-", rest


def _rank(candidate: ClassFit, library: str, rest: str) -> tuple[int, int, int, int]:
    _, own, own_rest = _split(candidate.key)
    family = family_library(own)
    order = LIBRARY_ORDER.index(family) if family in LIBRARY_ORDER else len(LIBRARY_ORDER)
    return (own_rest != rest, family != family_library(library), order if library in ("", "-") else 0,
            -candidate.points)  # fmt: skip


def _best(fits: Iterable[ClassFit], key: str, *, formats_first: bool = False) -> ClassFit | None:
    """The class of a device that is nearest to ``key``: same formats first, then alike; library, version.

    FP16 and BF16 are one format unless ``formats_first`` (from another device the campaign matters less:
    A100 -> RTX 3090 is 13 % from BF16 graphs, 22 % from FP16 layers in a model).
    """
    formats, library, rest = _split(key)
    pool = list(fits)
    for wanted in _format_ladder(formats):
        same = [fit for fit in pool if _canonical(_split(fit.key)[0]) == _canonical(wanted)]
        if same:
            return min(
                same,
                key=lambda fit: (
                    formats_first and _split(fit.key)[0] != wanted,
                    *_rank(fit, library, rest),
                    fit.key,
                ),
            )
    return None


def _canonical(formats: tuple[str, ...]) -> tuple[str, ...]:
    """FP16 runs at BF16's rate in the same kernels: one name for both."""
    return tuple("bf16" if name == "fp16" else name for name in formats)


def _said(fit: ClassFit, key: str, hardware: str, device: Device) -> str:
    text = f"{fit.key} of {hardware}" if hardware != device.name else fit.key
    return text if fit.key == key else f"{text} stands for {key}"


def _relatives(device: Device, calibrations: Mapping[str, Calibration]) -> list[tuple[str, Calibration]]:
    """Calibrated devices of the same or a neighbouring family: same architecture first, then most alike."""
    wanted = NEIGHBOURS.get(device.family, (device.family,))
    scored = []
    for name, calibration in calibrations.items():
        try:
            other = device_by_name(name)
        except ValueError:
            continue
        if other.family in wanted and name != device.name:
            away = abs(other.dram_bandwidth / device.dram_bandwidth - 1) + abs(
                other.core_count / max(device.core_count, 1) - 1
            )
            order = (wanted.index(other.family), other.architecture != device.architecture, away, name)
            scored.append((order, name, calibration))
    return [(name, calibration) for _, name, calibration in sorted(scored, key=lambda item: item[0])]


def find_class(
    model: KernelModel, op: str, key: str, device: Device, calibrations: Mapping[str, Calibration]
) -> Match:
    """The class that predicts ``key`` of ``op`` on ``device`` (steps: predict module docstring)."""
    own = calibrations.get(device.name)
    if own is not None:
        exact = own.find(op, key)
        if exact is not None:
            return Match(exact, "calibrated", exact.key, device, exact.constants, True)
        near = _best(own.of(op), key)
        if near is not None and _canonical(_split(near.key)[0]) == _canonical(_split(key)[0]):
            return Match(
                near, "calibrated", _said(near, key, device.name, device), device, near.constants, False
            )
    for name, calibration in _relatives(device, calibrations):
        found = calibration.find(op, key) or _best(calibration.of(op), key, formats_first=True)
        if found is not None and _canonical(_split(found.key)[0]) == _canonical(_split(key)[0]):
            return _relative(found, key, name, device)
    if own is not None and (near := _best(own.of(op), key)) is not None:
        said = _said(near, key, device.name, device)
        return Match(near, "calibrated", said, device, near.constants, False, same_formats=False)
    for name, calibration in _relatives(device, calibrations):
        found = _best(calibration.of(op), key, formats_first=True)
        if found is not None:
            return _relative(found, key, name, device)
    defaults = model.FAMILY_DEFAULTS
    constants = defaults.get(device.family) or defaults.get("any") or {}
    return Match(
        None, "uncalibrated", f"no calibrated class for {key} on {device.name}", device, constants, False
    )


def _relative(found: ClassFit, key: str, name: str, device: Device) -> Match:
    other = device_by_name(name)
    label = "family" if other.family == device.family else "uncalibrated"
    same = _canonical(_split(found.key)[0]) == _canonical(_split(key)[0])
    return Match(found, label, _said(found, key, name, device), other, found.constants, False, same)


@lru_cache(maxsize=1)
def shipped_by_hardware() -> dict[str, Calibration]:
    """The shipped calibrations by hardware name."""
    from viewer.calibration.store import merged, shipped

    return merged(shipped())
