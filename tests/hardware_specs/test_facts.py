"""What the descriptions say, against facts typed here from elsewhere."""

from __future__ import annotations

import csv
import re

import pytest

import hardware_specs
from hardware_specs import Hardware, HardwareError
from tests.support import shared_path

ALL = hardware_specs.available()


def every() -> list[Hardware]:
    return [hardware_specs.load(name) for name in ALL]


def sm_of(hardware: Hardware) -> int | None:
    found = re.fullmatch(r"sm_(\d+)", hardware.architecture)
    return int(found[1]) if found else None


def test_a6000_reference_figures() -> None:
    a6000 = hardware_specs.load("nvidia/a6000")
    # 84 SMs x 1024 op x 1.8 GHz = 154.83e12; the datasheet prints 154.8
    assert a6000.peak("tensor", "fp16") == 154.8e12
    assert a6000.peak("tensor", "bf16") == 154.8e12
    assert a6000.peak("tensor", "int8") == 309.7e12
    assert a6000.peak("tensor", "int4") == 619.3e12
    assert a6000.peak("vector", "fp32") == 38.7e12
    # 84 x 16 x 1.8e9
    assert a6000.peak("special", "exp") == pytest.approx(2.4192e12, rel=1e-12)
    dram = a6000.memory("dram")
    assert dram is not None
    assert dram.capacity_bytes is not None
    assert dram.bandwidth_bytes_per_s is not None
    assert dram.capacity_bytes.value == 48 * 2**30
    assert dram.bandwidth_bytes_per_s.value == 768e9
    assert a6000.tdp_w is not None
    assert a6000.tdp_w.value == 300


def test_hopper_has_two_clocks() -> None:
    h100 = hardware_specs.load("nvidia/h100-sxm")
    assert h100.clock_hz("rated") == 1.83e9
    assert h100.clock_hz("maximum") == 1.98e9
    # the tensor peak is rated at 1830 MHz, so at 1980 it is 989.4 x 1980/1830 = 1070.5 TFLOP/s
    assert h100.peak("tensor", "bf16") == 989.4e12
    assert h100.peak("tensor", "bf16", clock="maximum") == pytest.approx(1070.498e12, rel=1e-5)
    # FP32 is rated at 1980 MHz already
    assert h100.peak("vector", "fp32") == h100.peak("vector", "fp32", clock="maximum") == 66.9e12
    # 132 x 16 x 1.83e9
    assert h100.peak("special", "exp") == pytest.approx(3.86496e12, rel=1e-12)


@pytest.mark.parametrize("hardware", every(), ids=ALL)
def test_maximum_clock_never_lowers_a_peak(hardware: Hardware) -> None:
    for unit in ("tensor", "tensor_f16acc", "vector", "special"):
        for math_type in hardware.compute.unit(unit):
            assert hardware.peak(unit, math_type, "maximum") >= hardware.peak(unit, math_type)
    rated, top = hardware.clock_hz("rated"), hardware.clock_hz("maximum")
    assert rated is None or top is None or rated <= top


@pytest.mark.parametrize("hardware", every(), ids=ALL)
def test_every_device_can_be_put_on_a_roofline(hardware: Hardware) -> None:
    dram = hardware.memory("dram")
    assert dram is not None
    assert dram.bandwidth_bytes_per_s is not None
    assert any(hardware.has_peak("tensor", t) for t in ("bf16", "fp16", "fp32"))
    assert (dram.capacity_bytes is None) == (hardware.kind == "cpu")


def test_int4_is_native_from_turing_to_ada_only() -> None:
    with_int4 = {h.name for h in every() if sm_of(h) and h.has_peak("tensor", "int4")}
    expected = {h.name for h in every() if sm_of(h) in (75, 80, 86, 89)}
    assert with_int4 == expected


def test_fp8_comes_with_ada() -> None:
    for hardware in every():
        sm = sm_of(hardware)
        if sm is not None:
            assert hardware.has_peak("tensor", "fp8") == (sm >= 89), hardware.name


def test_fp4_is_blackwell_and_cdna4() -> None:
    with_fp4 = {h.architecture for h in every() if h.has_peak("tensor", "fp4")}
    assert with_fp4 == {"sm_100", "sm_103", "sm_110", "sm_120", "gfx950"}


def test_block_scaling_goes_with_fp4() -> None:
    for hardware in every():
        blocks = hardware.capabilities.block_scaled_types
        assert ("fp4" in blocks) == hardware.has_peak("tensor", "fp4"), hardware.name
        assert ("fp8" in blocks) == hardware.has_peak("tensor", "fp4"), hardware.name


@pytest.mark.parametrize("name", ["v100", "t4"])
def test_volta_and_turing_have_neither_bf16_nor_sparsity(name: str) -> None:
    hardware = hardware_specs.load(name)
    assert not hardware.has_peak("tensor", "bf16")
    assert hardware.capabilities.sparse_types == frozenset()
    with pytest.raises(HardwareError, match=r"no tensor peak for 'bf16' \(it has: fp16"):
        hardware.peak("tensor", "bf16")


def test_no_structured_sparsity_on_tpus_and_cpus() -> None:
    for hardware in every():
        if hardware.kind in ("tpu", "cpu"):
            assert hardware.sparse_factor("bf16") is None
            assert hardware.sparse_factor("int8") is None


def test_sparse_speed_up_is_two_but_for_fp4_of_the_b300() -> None:
    factors = {(h.name, t): h.sparse_factor(t) for h in every() for t in h.capabilities.sparse_types}
    odd = {key: factor for key, factor in factors.items() if factor != 2}
    # 18 PFLOP/s sparse, 13.5 dense
    assert odd == {("nvidia/b300-sxm", "fp4"): pytest.approx(18 / 13.5, rel=1e-3)}
    assert hardware_specs.load("amd/mi355x").sparse_factor("fp4") is None
    assert hardware_specs.load("aws/trainium2").sparse_factor("bf16") is None


def test_geforce_runs_half_rate_with_fp32_accumulation() -> None:
    for name in ("rtx-3090", "rtx-4090", "rtx-5090"):
        card = hardware_specs.load(name)
        ratio = card.peak("tensor_f16acc", "fp16") / card.peak("tensor", "fp16")
        assert ratio == pytest.approx(2, rel=0.01)
    for name in ("a6000", "rtx-6000-ada", "rtx-pro-6000-server"):
        card = hardware_specs.load(name)
        assert card.peak("tensor_f16acc", "fp16") == pytest.approx(card.peak("tensor", "fp16"), rel=0.001)


@pytest.mark.parametrize(
    ("name", "gb_per_s"),
    [
        ("a6000", 56.25),
        ("h100-sxm", 450),
        ("h800-sxm", 200),
        ("b200-sxm", 900),
        ("mi300x", 448),
        ("tpu-v4", 270),
    ],
)
def test_links_are_one_direction(name: str, gb_per_s: float) -> None:
    link = hardware_specs.load(name).peer_link()
    assert link is not None
    assert link.bandwidth_per_direction_bytes_per_s.value == gb_per_s * 1e9


def test_cpus_multiply_on_amx_where_they_have_it() -> None:
    xeon = hardware_specs.load("xeon-8480plus")
    # 56 cores x 1024 x 3.0 GHz; FP32 stays on AVX-512: 56 x 64 x 3.0 GHz
    assert xeon.peak("tensor", "bf16") == pytest.approx(172.032e12, rel=1e-9)
    assert xeon.peak("tensor", "fp32") == xeon.peak("vector", "fp32") == pytest.approx(10.752e12, rel=1e-9)
    i9 = hardware_specs.load("13900k")
    # 8 P-cores x 32 x 5.4 GHz + 16 E-cores x 16 x 4.3 GHz = 1.3824 + 1.1008
    assert i9.peak("tensor", "fp32") == pytest.approx(2.4832e12, rel=1e-9)
    assert not i9.has_peak("tensor", "bf16")
    # 8 x 32 x 5.4 GHz + 16 x 32 x 4.6 GHz = 1.3824 + 2.3552
    assert hardware_specs.load("285k").peak("tensor", "fp32") == pytest.approx(3.7376e12, rel=1e-9)


def test_capabilities_carry_no_rates() -> None:
    capabilities = hardware_specs.load("h100").capabilities
    assert capabilities.kind == "gpu"
    assert capabilities.architecture == "sm_90"
    assert {"bf16", "fp16", "fp8", "int8", "tf32", "fp64"} == capabilities.tensor_types
    assert capabilities.sparse_types == {"bf16", "fp16", "fp8", "int8", "tf32"}
    fields = {name: getattr(capabilities, name) for name in type(capabilities).__slots__}
    assert all(isinstance(value, str | frozenset) for value in fields.values())


def test_figures_list_every_number_with_its_source() -> None:
    rows = hardware_specs.load("a100").figures()
    by_name = {row.what: row for row in rows}
    assert len(by_name) == len(rows)
    peak = by_name["tensor fp16 peak, dense"]
    assert (peak.value, peak.unit, peak.kind, peak.seen) == (312e12, "op/s", "datasheet", "read")
    assert "whitepaper" in peak.source
    assert by_name["measured dram_read_bandwidth"].kind == "measured"
    assert by_name["dram bandwidth"].kind == "datasheet"


def test_measured_stays_beside_the_datasheet() -> None:
    for hardware in every():
        assert all(item.kind == "measured" for item in hardware.measured), hardware.name
        for level in ("dram", "l2"):
            read = hardware.measured_value(f"{level}_read_bandwidth")
            stated = hardware.bandwidth_bytes_per_s(level)
            assert read is None or stated is None or read.value < stated, hardware.name


def test_shared_memory_bandwidth_is_summed_over_the_cores() -> None:
    # 108 SMs x 128 B x 1.41 GHz; 19.2 TB/s were measured
    assert hardware_specs.load("a100").bandwidth_bytes_per_s("shared") == pytest.approx(19.492e12, rel=1e-4)
    assert hardware_specs.load("a100").bandwidth_bytes_per_s("l2") == 5.42e12
    assert hardware_specs.load("epyc-9654").bandwidth_bytes_per_s("l2") is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda h: h.peak("tensr", "fp16"), "did you mean 'tensor'"),
        (lambda h: h.peak("tensor", "fp16", "max"), "allowed: rated, maximum"),
        (lambda h: h.clock_hz("boost"), "unknown clock 'boost'"),
        (lambda h: h.memory("L3"), "unknown memory level 'L3'"),
        (lambda h: h.peak("tensor", "fp8"), "nvidia/a6000: no tensor peak for 'fp8'"),
    ],
)
def test_wrong_questions_are_answered_by_name(call, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(HardwareError, match=re.escape(says)):
        call(hardware_specs.load("a6000"))


UNITS = {"TFLOP/s": 1e12, "TOP/s": 1e12, "GB/s": 1e9}


def collected() -> list[dict[str, str]]:
    path = shared_path("facts", "hardware.csv")
    with path.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["value"] not in ("", "n/a")]


def test_dense_peaks_equal_the_collected_facts() -> None:
    compared = 0
    for row in collected():
        found = re.fullmatch(r"peak_([a-z]+\d+|b1)_?(tensor_f16acc|tensor|vector|matrix|mme)?", row["metric"])
        if not found or row["sparsity"] != "dense" or row["name"].startswith("cpu/"):
            continue
        unit = {"matrix": "tensor", "mme": "tensor", None: "tensor"}.get(found[2], found[2])
        value = float(row["value"]) * UNITS[row["unit"]]
        # derived figures are rounded to their last decimal there and exact here
        decimals = len(row["value"].partition(".")[2])
        slack = 0.501 * 10.0**-decimals * UNITS[row["unit"]] if row["kind"] == "derived" else 0.0
        assert abs(hardware_specs.load(row["name"]).peak(unit, found[1]) - value) <= slack + 1e-9 * value, row
        compared += 1
    assert compared > 400


def test_bandwidths_cores_and_power_equal_the_collected_facts() -> None:
    compared = 0
    for row in collected():
        hardware = hardware_specs.load(row["name"])
        if row["metric"] == "memory_bandwidth":
            stated = hardware.bandwidth_bytes_per_s("dram")
            assert stated == pytest.approx(float(row["value"]) * 1e9, rel=1e-12), row
        elif row["metric"] in ("sm_count", "cu_count", "cores"):
            assert hardware.core_count is not None
            assert hardware.core_count.value == float(row["value"]), row
        elif row["metric"] == "tdp":
            assert hardware.tdp_w is not None
            assert hardware.tdp_w.value == float(row["value"]), row
        elif row["metric"] == "memory_capacity":
            dram = hardware.memory("dram")
            assert dram is not None
            assert dram.capacity_bytes is not None
            # vendors print GB and mean GiB; the H200 shows 143771 MiB of its "141 GB"
            assert dram.capacity_bytes.value == pytest.approx(float(row["value"]) * 2**30, rel=0.005), row
        else:
            continue
        compared += 1
    assert compared > 200
