"""State <-> scenario: the round trip, the short link, and dropped files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.dashboard.files import key_of, materialize
from viewer.dashboard.state import FIRST, companions, defaults, field_of, flat_of, query_of, scenario_of
from viewer.errors import InputError
from viewer.workload import Decode, Prefill

flats = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["llama-2-13b", "llama-3.1-8b"]),
        "hardware": st.sampled_from(["nvidia/a6000", "nvidia/h100-sxm"]),
        "phase": st.sampled_from(["prefill", "decode", "generate"]),
    },
    optional={
        "batch": st.integers(1, 10**9),
        "prompt": st.integers(1, 10**9),
        "context": st.integers(0, 10**9),
        "output": st.integers(1, 10**9),
        "fusion": st.sampled_from(["eager", "flash", "serving"]),
        "overlap": st.floats(0, 1),
        "comm_overlap": st.floats(0, 1),
        "bandwidth_scale": st.floats(0.01, 100),
        "tp": st.integers(1, 64),
        "sampling": st.booleans(),
    },
)


@given(flats)
def test_round_trip(flat: dict[str, object]) -> None:
    scenario = scenario_of(flat)
    short = flat_of(scenario)
    assert scenario_of(short) == scenario
    assert flat_of(scenario_of(short)) == short
    assert len(query_of(short)) < 400


def test_the_two_overlaps_are_different_fields() -> None:
    scenario = scenario_of({**FIRST, "comm_overlap": 0.5})
    assert (scenario.assumptions.overlap, scenario.parallel.comm_overlap) == (1.0, 0.5)


def test_text_values_of_a_link_are_read() -> None:
    scenario = scenario_of({"model": "LLAMA-2-13B", "hardware": "A6000", "phase": "decode", "batch": "8"})
    assert scenario.hardware == "nvidia/a6000"
    assert scenario.workload == Decode(batch=8)


def test_companions() -> None:
    decode = scenario_of({**FIRST, "phase": "decode", "context": 2048})
    assert companions(decode)[0].workload == Prefill(batch=8, prompt=2048)
    assert companions(scenario_of(FIRST)) == []


def test_fields_of_complaints() -> None:
    assert field_of("scenario: workload.decode.batch = -3: input should be greater") == "batch"
    assert field_of("model: unknown model 'x'") == "model"
    assert field_of("something else") == "state"
    assert set(FIRST) <= set(defaults())


def test_dropped_files_are_bound_to_their_content() -> None:
    key = key_of("../my config.json", "{}")
    assert key.startswith("file:my-config.json@")
    assert materialize(key, {key: "{}"}, "model").endswith("my-config.json")
    for files in (None, {}, {key: "{ }"}, {key: 3}):
        with pytest.raises(InputError, match=r"^model: "):
            materialize(key, files, "model")
    with pytest.raises(InputError, match="ending"):
        materialize(key_of("a.py", ""), {}, "model")
    with pytest.raises(InputError, match="not a dropped file"):
        materialize("file:../x@0123456789abcdef", {}, "model")
