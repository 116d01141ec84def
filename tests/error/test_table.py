"""The shipped SQNR table is what the simulation gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from viewer import formats
from viewer.error import table
from viewer.error.distributions import DISTRIBUTIONS
from viewer.errors import InputError


@pytest.mark.parametrize(
    "name", ["int8", "int4_g128_asym", "fp8_e4m3", "nvfp4", "mxfp6", "nf4_dq", "gguf_q4_k"]
)
def test_regenerated_entries_are_equal(name: str) -> None:
    for dist in ("gaussian", "outlier_channels"):
        assert table.simulate(name, dist) == pytest.approx(table.stored_table()[name][dist], abs=0.006)


@pytest.mark.slow
def test_the_whole_table_is_what_the_simulation_gives(tmp_path: Path) -> None:
    table.write_table(tmp_path / "table.json")
    fresh = json.loads((tmp_path / "table.json").read_text())["sqnr_db"]
    stored = table.stored_table()
    assert len(stored) > 50
    assert stored.keys() <= fresh.keys()  # a format added since is simulated on first use
    for name in stored:
        for dist, value in fresh[name].items():
            assert stored[name][dist] == pytest.approx(math.inf if value is None else value, abs=0.02), name
    assert list(tmp_path.iterdir()) == [tmp_path / "table.json"]


@pytest.mark.parametrize("name", formats.available())
@pytest.mark.parametrize("dist", sorted(DISTRIBUTIONS))
def test_every_listed_format_has_a_value(name: str, dist: str) -> None:
    assert table.sqnr_db(name, dist) > 0.5


@pytest.mark.parametrize("dist", sorted(DISTRIBUTIONS))
def test_error_falls_with_bits_and_with_finer_groups(dist: str) -> None:
    for names in (
        ["int2_g128", "int3_g128", "int4_g128", "int5_g128", "int6_g128", "int8_g128", "int16"],
        ["int4", "int4_g128", "int4_g64", "int4_g32"],
        ["mxfp4", "mxfp6", "fp16", "fp32", "fp64"],
        ["int2_g128", "int2_g128_asym16"],
        ["int8_tensor", "int8", "int8_g128"],
        ["int1", "ternary", "gguf_q2_k", "gguf_q3_k", "gguf_q4_k", "gguf_q5_k", "gguf_q6_k", "gguf_q8_0"],
    ):
        values = [table.sqnr_db(name, dist) for name in names]
        assert values == sorted(values), names


def test_a_format_outside_the_table_is_simulated() -> None:
    assert "int5_g64" not in table.stored_table()
    # between groups of 32 and 128; a bit more than int4_g64: about 6 dB
    assert table.sqnr_db("int5_g64") == pytest.approx(table.sqnr_db("int4_g64") + 6.5, abs=0.7)


def test_joined_names_add_noise() -> None:
    # 18.62 dB and 8.78 dB: 10^-1.862 + 10^-0.878 = 0.01374 + 0.13243 = 0.14617 -> 8.35 dB
    assert table.sqnr_db("int4_g128+2:4") == pytest.approx(8.35, abs=0.03)


def test_joined_noise_agrees_with_sampling() -> None:
    assert table.simulate("int4_g128+2:4", "gaussian", rows=64) == pytest.approx(
        table.sqnr_db("int4_g128+2:4"), abs=0.3
    )


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="did you mean 'gaussian'"):
        table.sqnr_db("int8", "gausian")
    with pytest.raises(InputError, match="int8x"):
        table.sqnr_db("int8x")
