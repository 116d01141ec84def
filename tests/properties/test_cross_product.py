"""The full product of models, presets, devices and phases: a time for everything, or a reason by name."""

from __future__ import annotations

import pytest

from tests.properties.cross_product import NO_DECODE, Findings, device_rates, run
from viewer import Decode, analyze
from viewer.compression import available as presets
from viewer.errors import InputError
from viewer.models import catalog_names

#: One model per kind of layer stack: grouped-query, experts, latent attention, state space, hybrid, diffusion.
KINDS = ("llama-3.1-8b", "mixtral-8x7b", "deepseek-v2-lite", "mamba2-2.7b", "qwen3-next-80b-a3b", "dit-xl-2")
#: One preset per mechanism: storage, activations, blocks, codebooks, cache, attention, sparsity, shapes.
MECHANISMS = (
    "w4a16-g128", "w8a8-int8", "w8a8-fp8", "w4a4-g128", "nvfp4", "nf4", "gguf-q4_k_m", "kv4", "attention-fp8", "quarot",
    "2:4+w8a8-fp8", "sparse50-csr", "rank1024", "heads25", "kvkeep20", "actsparse50",
)  # fmt: skip
#: Devices whose INT8 rate is far below their 16-bit rate: INT8 presets are slower there, as their datasheets say.
SLOW_INT8 = ("nvidia/b300-sxm",)

#: Asked to run on the vector unit, a prompt leaves the matrix unit idle: slower, as told.
ON_VECTOR = "-vector "


def report(found: Findings) -> str:
    """What a run found, in lines."""
    lines = [f"{found.points} points, {found.answered} answered, {len(found.anomalies)} anomalies"]
    lines += [f"{count} x {reason}" for reason, count in found.reasons.most_common(20)]
    lines += [f"{ratio:.1f} x slower than 16 bits: {where}" for where, ratio in slowest(found)[:20]]
    return "\n".join(lines)


def slowest(found: Findings) -> list[tuple[str, float]]:
    """What is much slower than 16 bits, but for devices and settings that are known for it."""
    unexpected = [(w, r) for w, r in found.slower.items() if not w.endswith(SLOW_INT8) and ON_VECTOR not in w]
    return sorted(unexpected, key=lambda pair: -pair[1])


def check(found: Findings, points: int) -> None:
    print(report(found))
    assert found.points == points
    assert found.answered + sum(found.reasons.values()) == found.points
    assert not found.anomalies, "\n".join(found.anomalies[:20])
    assert all(reason == NO_DECODE or "no unit of this device" in reason for reason in found.reasons)
    # unpacking codebooks on the vector unit of Trainium2 takes 1.9 x the matrix product; nothing is worse than 2.5
    assert not [pair for pair in slowest(found) if pair[1] > 2.5]


def test_every_kind_of_model_and_mechanism_on_every_device() -> None:
    check(run(KINDS, MECHANISMS), len(KINDS) * (len(MECHANISMS) + 1) * len(device_rates()[0]) * 2)


def test_a_single_pass_has_no_decode_step() -> None:
    with pytest.raises(InputError, match="no cache and no next token"):
        _ = analyze("dit-xl-2", "nvidia/a6000", Decode()).totals


@pytest.mark.slow
def test_the_full_product() -> None:
    names = catalog_names()
    check(run(names), len(names) * len(presets()) * len(device_rates()[0]) * 2)
