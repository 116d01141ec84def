"""A user's own file works wherever a name does, and a mistake in it is told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hardware_specs
from hardware_specs import HardwareError

GOOD = """\
schema_version: 1
name: mine/toy
label: Toy accelerator
vendor: mine
kind: npu
architecture: toy1
sources: {sheet: the sheet that came with it}
core_count: {value: 10, kind: datasheet, seen: read, source: sheet}
clocks:
  rated_hz: {value: 1e9, kind: datasheet, seen: read, source: sheet}
memory:
  dram:
    capacity_bytes: {value: 8e9, kind: datasheet, seen: read, source: sheet}
    bandwidth_bytes_per_s: {value: 1.5e11, kind: datasheet, seen: read, source: sheet}
compute:
  tensor:
    fp16:
      peak: {value: 2e12, kind: datasheet, seen: read, source: sheet}
"""


def write(tmp_path: Path, text: str, name: str = "toy.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_own_yaml_and_the_same_as_json(tmp_path: Path) -> None:
    mine = hardware_specs.load(str(write(tmp_path, GOOD)))
    same = hardware_specs.load(
        write(tmp_path, json.dumps(yaml.safe_load(GOOD.replace("e1", "e+1"))), "toy.json")
    )
    assert mine.peak("tensor", "fp16") == 2e12
    assert mine.core_count is not None
    assert mine.core_count.source == "the sheet that came with it"
    assert same.peak("tensor", "fp16") == mine.peak("tensor", "fp16")
    assert same.memory("dram") is not None


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert hardware_specs.load(path).label == "Toy accelerator"
    path.write_text(GOOD.replace("Toy accelerator", "Another toy, longer"))
    assert hardware_specs.load(path).label == "Another toy, longer"


# what is wrong, what replaces what in the good file, and what the line has to say besides the file
BROKEN = [
    ("misspelt field", ("core_count:", "core_cuont:"), ["core_cuont", "unknown field", "'core_count'"]),
    ("misspelt in depth", ("      peak:", "      paek:"), ["compute.tensor.fp16.paek", "'peak'", "op_per_clock"]),
    ("missing field", ("label: Toy accelerator\n", ""), ["label", "missing"]),
    ("negative", ("value: 1.5e11", "value: -3"), ["memory.dram.bandwidth_bytes_per_s.value", "-3", "greater than 0"]),
    ("zero", ("value: 2e12", "value: 0"), ["compute.tensor.fp16.peak.value", "got 0", "greater than 0"]),
    ("unit in the value", ("value: 1.5e11", "value: 150 GB/s"), ["'150 GB/s'", "a number", "768e9"]),
    ("infinite", ("value: 1.5e11", "value: 1e999"), ["bandwidth_bytes_per_s.value", "inf", "finite"]),
    ("unknown kind", ("value: 10, kind: datasheet", "value: 10, kind: datashet"), ["core_count.kind", "'datasheet'"]),
    ("no provenance", ("{value: 1e9, kind: datasheet, seen: read, source: sheet}", "1e9"),
     ["rated_hz", "1000000000.0", "provenance"]),
    ("unknown source", ("8e9, kind: datasheet, seen: read, source: sheet",
                        "8e9, kind: datasheet, seen: read, source: shet"),
     ["memory.dram.capacity_bytes.source", "'shet'", "'sheet'"]),
    ("unknown math type", ("    fp16:\n", "    fp17:\n"), ["compute.tensor.fp17", "fp16"]),
    ("unknown unit", ("  tensor:\n", "  tensro:\n"), ["compute.tensro", "'tensor'"]),
    ("unknown device kind", ("kind: npu", "kind: gpuu"), ["kind", "'gpuu'", "'gpu'"]),
    ("other schema version", ("schema_version: 1", "schema_version: 2"), ["schema_version", "got 2", "1"]),
    ("exception for nothing", ("compute:",
      "exceptions: [{unit: vector, types: [fp32], reason: no known one}]\ncompute:"),
     ["exceptions", "vector", "fp32"]),
    ("not YAML", ("vendor: mine", "vendor: [mine"), ["line", "not YAML"]),
    ("field given twice", ("vendor: mine", "vendor: mine\nvendor: yours"), ["line 5", "vendor", "twice"]),
    ("alias", ("vendor: mine", "vendor: &v mine\nnote: *v"), ["line 4", "anchors"]),
    ("tag", ("vendor: mine", "vendor: !!python/name:os.system mine"), ["line 4", "tag"]),
    ("a list at the top", (GOOD, "- 1\n- 2\n"), ["mapping", "[1, 2]"]),
    ("an empty file", (GOOD, ""), ["mapping", "None"]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_file_is_told_in_one_line(tmp_path: Path, change: tuple[str, str], says: list[str]) -> None:
    assert change[0] in GOOD
    path = write(tmp_path, GOOD.replace(*change, 1))
    with pytest.raises(HardwareError) as caught:
        hardware_specs.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 320
    for part in says:
        assert part in message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match=r"none\.yaml: no such file"):
        hardware_specs.load(tmp_path / "none.yaml")
    with pytest.raises(HardwareError, match="no such file"):
        hardware_specs.load(str(tmp_path / "a\0b.yaml"))


def test_directory_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(HardwareError, match="no such file"):
        hardware_specs.load(tmp_path / "folder.yaml")


def test_too_large_a_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "# " + "x" * 1_000_000)
    with pytest.raises(HardwareError, match="more than 1000000 bytes"):
        hardware_specs.load(path)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("deep.yaml", "a: " + "[" * 100_000, "nested more than 32"),
        ("deep.json", "[" * 100_000, "nested more than"),
        ("wide.yaml", "a: [" + "1," * 200_000 + "]", "more than 50000 values"),
        ("bomb.yaml", "a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]", "anchors"),
        ("twice.json", '{"name": 1, "name": 2}', "name: given twice"),
        ("nan.json", '{"name": NaN}', "NaN is not a number"),
        ("half.json", '{"name": ', "line 1: not JSON"),
        ("control.yaml", "a: \x07", "not YAML"),
        ("digits.yaml", "a: " + "9" * 10_000, "digits"),
        ("digits.json", '{"a": ' + "9" * 10_000 + "}", "digits"),
        ("listkey.yaml", "? [a, b]\n: 1", "field name"),
        ("numberkey.yaml", GOOD + "1: 2\n", "1: "),
        ("newline.json", '{"a\\nb\\u001b[31m\\ud800": 1, "schema_version": 1}', "a\\nb\\x1b[31m\\ud800"),
    ],
)
def test_hostile_files(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(HardwareError) as caught:
        hardware_specs.load(write(tmp_path, text, name))
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_file_escapes_as_another_error(tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    length = data.draw(st.integers(0, 60))
    alphabet = st.sampled_from(list("abe0159.-+_:,{}[]&*!?|>'\"#%@~ \n\t\x00é\U0001f600"))
    text = GOOD[:start] + "".join(data.draw(st.lists(alphabet, max_size=12))) + GOOD[start + length :]
    path = write(tmp_path, text)
    message = f"{path}: "
    try:
        hardware_specs.load(path)
    except HardwareError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "raw.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(HardwareError, match="not UTF-8"):
        hardware_specs.load(path)


@pytest.mark.parametrize(
    ("written", "read"), [("1.5e12", 1.5e12), ("3_000", 3000), ("2E+3", 2000.0), ("7", 7)]
)
def test_numbers_are_those_of_yaml_1_2(tmp_path: Path, written: str, read: float) -> None:
    from hardware_specs.parse import read_mapping

    assert read_mapping(write(tmp_path, f"a: {written}")) == {"a": read}


@pytest.mark.parametrize("word", ["yes", "no", "on", "1:30", "2024-01-01", "0x10", "1e", "=", "<<"])
def test_words_stay_words(tmp_path: Path, word: str) -> None:
    from hardware_specs.parse import read_mapping

    found: dict[str, Any] = read_mapping(write(tmp_path, f"a: {word}"))
    assert found == {"a": word}
