"""Commands on formats, sparsities, compressions and error: data on stdout, one line for anything wrong."""

from __future__ import annotations

import csv
import io
import json
import struct

import numpy as np
import pytest

from viewer.cli import main


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def data(capsys, *arguments):
    status, out, _ = run(capsys, *arguments, "--json")
    assert status == 0
    return json.loads(out)


@pytest.mark.parametrize("group", ["formats", "sparsities", "compressions"])
def test_lists(group, capsys):
    rows = data(capsys, group, "list")
    assert len(rows) > 20
    assert all(row["name"] for row in rows)
    status, out, err = run(capsys, group, "list", "--csv")
    assert status == 0
    assert err == ""
    assert [r["name"] for r in csv.DictReader(io.StringIO(out))] == [row["name"] for row in rows]
    assert run(capsys, group, "list")[1].splitlines()


def test_a_format(capsys):
    """INT4 in groups of 128 with an FP16 scale: 4 + 16/128 bits; 18.6 dB on Gaussian weights."""
    row = data(capsys, "formats", "show", "int4_g128")
    assert row["bits_of_4096x4096"] == 4.125
    assert row["accumulator"] == "int32"
    assert row["sqnr_db_gaussian"] == pytest.approx(18.6, abs=0.3)


def test_a_scheme(capsys):
    """2:4 of 16 bits: (8 + 1) / 16; of INT4 groups: (2 + 1 + 0.125) / 4.125."""
    row = data(capsys, "sparsities", "show", "2:4")
    assert row["bytes_ratio_bf16"] == 0.5625
    assert row["bytes_ratio_int4_g128"] == pytest.approx(3.125 / 4.125)
    assert row["executed_bf16_sparse_unit"] == 0.5
    assert row["executed_bf16_dense_unit"] == 1
    assert "hardware_need" in data(capsys, "sparsities", "show", "kvkeep20")


def test_rules_resolved_for_a_model(capsys):
    ops = data(capsys, "compressions", "show", "w4a16-g128+kv4", "--model", "llama-2-7b")["ops"]
    by_op = {op["op"]: op for op in ops}
    assert by_op["down_proj"]["weight"] == "int4_g128"
    assert by_op["down_proj"]["bits_per_value"] == 4.125
    assert by_op["lm_head"]["weight"] == by_op["embed"]["weight"] == "fp16"
    assert by_op["kv_append"]["cache"] == "int4_g128_asym16"
    mixed = data(capsys, "compressions", "show", "gguf-q4_k_m", "--model", "llama-2-7b")["ops"]
    assert {op["weight"] for op in mixed if op["op"] == "down_proj"} == {"gguf_q4_k", "gguf_q6_k"}


def test_a_file_of_ones_own(tmp_path, capsys):
    good = tmp_path / "own.yaml"
    good.write_text(
        "base: w8a8-int8\nrules:\n  - {ops: down_proj, weight: bf16, activation: bf16, sparsity: '2:4'}\n"
    )
    shown = data(capsys, "compressions", "check", good)
    assert shown["rules"][-1]["sparsity"] == "2:4"
    ops = {op["op"]: op for op in data(capsys, "compressions", "check", good, "--model", "llama-2-7b")["ops"]}
    assert (ops["q_proj"]["weight"], ops["down_proj"]["weight"], ops["down_proj"]["sparsity"]) == (
        "int8",
        "bf16",
        "2:4",
    )
    assert [row["name"] for row in data(capsys, "sparsities", "check", good)] == ["2:4"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("formats", "show", "int44"), "number format"),
        (("formats", "show", "fp9_e4m3"), "did you mean"),
        (("sparsities", "show", "2;4"), "did you mean '2:4'"),
        (("compressions", "show", "w4a16-g12x"), "did you mean 'w4a16-g128'"),
        (("compressions", "check", "no/such.yaml"), "No such file"),
        (("formats", "check", "no/such.gguf"), "does not exist"),
        (("error",), "MODEL"),
        (("error", "llama-2-7b", "--by", "tensor"), "allowed: op, layer"),
        (("error", "--checkpoint", "no/such"), "no such file or folder"),
    ],
)
def test_bad_input_is_one_line(arguments, expected, capsys):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err


def test_a_broken_policy_is_one_line(tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("rules:\n  - {ops: q_proj, weights: int4}\n")
    status, _, err = run(capsys, "compressions", "check", bad)
    assert status == 2
    assert "did you mean 'weight'" in err
    assert err.count("\n") == 1


# --- error ------------------------------------------------------------------------------------------


def test_error_of_a_setting(capsys):
    """W4 g128 on Gaussian weights: 18.6 dB everywhere; KV4 on heavier tails: 17.7 dB."""
    found = data(capsys, "error", "llama-2-7b", "--compression", "w4a16-g128+kv4")
    setting = found["settings"][0]
    assert setting["distribution"] == "assumed"
    assert setting["risk"] in ("moderate", "high")
    assert {op["layer"] for op in found["ops"]} == set(range(32))
    assert min(op["output_sqnr_db"] for op in found["ops"] if op["op"] == "o_proj") == pytest.approx(
        18.6, abs=0.3
    )


def test_error_is_of_what_a_device_executes(capsys):
    """FP8 on the A6000: activations stay 16-bit, so they lose nothing there."""
    wide = data(capsys, "error", "llama-2-7b", "--compression", "w8a8-fp8", "--hardware", "nvidia/a6000")
    narrow = data(capsys, "error", "llama-2-7b", "--compression", "w8a8-fp8", "--hardware", "nvidia/h100-sxm")
    assert all(op["act_format"] is None for op in wide["ops"])
    assert any(op["act_format"] == "fp8_e4m3_channel" for op in narrow["ops"])
    assert wide["settings"][0]["stream_sqnr_db"] > narrow["settings"][0]["stream_sqnr_db"]


def test_the_error_block_of_an_analysis(capsys):
    block = data(capsys, "analyze", "llama-2-7b", "nvidia/a6000", "--compression", "w4a16-g128")["error"]
    assert block["min_sqnr_db"] == pytest.approx(18.6, abs=0.3)
    assert block["median_sqnr_db"] == pytest.approx(18.6, abs=0.3)
    assert (block["distribution"], block["not_assessed"]) == ("assumed", [])
    exact = data(capsys, "analyze", "llama-2-7b", "nvidia/a6000")["error"]
    assert (exact["min_sqnr_db"], exact["risk"]) == (None, "negligible")
    kept = data(capsys, "analyze", "llama-2-7b", "nvidia/a6000", "--compression", "kvkeep20")["error"]
    assert kept["risk"] == "unknown"
    assert "kvkeep20" in kept["not_assessed"][0]


def checkpoint(path):
    """Two layers of Gaussian weights (BF16 by truncation), one of them with an outlier, and a norm."""
    rng, header, blobs, at = np.random.default_rng(0), {}, [], 0
    for layer in range(2):
        for name in ("self_attn.q_proj", "mlp.down_proj"):
            values = rng.standard_normal((64, 256)).astype("<f4")
            values[0, 0] = 60.0 if name == "mlp.down_proj" else values[0, 0]
            blob = (values.view("<u4") >> 16).astype("<u2").tobytes()
            header[f"model.layers.{layer}.{name}.weight"] = {
                "dtype": "BF16", "shape": [64, 256], "data_offsets": [at, at + len(blob)]
            }  # fmt: skip
            blobs.append(blob)
            at += len(blob)
    header["model.norm.weight"] = {"dtype": "BF16", "shape": [256], "data_offsets": [at, at + 512]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs) + bytes(512))
    return path


def test_error_measured_on_a_checkpoint(tmp_path, capsys):
    """Gaussian rows of 256 in groups of 128 lose about 18.6 dB; an outlier of 60 sigma makes its group worse. The
    policy decides: layer 0 keeps its down projection."""
    path = checkpoint(tmp_path / "model.safetensors")
    found = data(
        capsys, "error", "--checkpoint", path, "--compression", "w4a16-g128", "--compression", "w8a16"
    )
    rows = {(r["tensor"], r["format"]): r for r in found["tensors"]}
    assert len(rows) == 8
    good = rows["model.layers.0.self_attn.q_proj.weight", "int4_g128"]
    bad = rows["model.layers.0.mlp.down_proj.weight", "int4_g128"]
    assert good["sqnr_db"] == pytest.approx(18.6, abs=0.5)
    assert good["distribution"] == "measured"
    assert bad["kurtosis"] > 10 > good["kurtosis"]
    policy = tmp_path / "own.json"
    policy.write_text(
        json.dumps({"base": "w4a16-g128", "rules": [{"ops": "down_proj", "layers": "0", "weight": "bf16"}]})
    )
    found = data(capsys, "error", "--checkpoint", path, "--compression", policy)
    assert [r["tensor"] for r in found["tensors"]] == [
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
    ]


def test_measured_errors_replace_assumed_ones(tmp_path, capsys):
    path = checkpoint(tmp_path / "model.safetensors")
    found = data(capsys, "error", "llama-2-7b", "--checkpoint", path, "--compression", "w4a16-g128")
    labels = {(op["op"], op["layer"]): op["distribution"] for op in found["ops"]}
    assert labels["q_proj", 0] == labels["down_proj", 1] == "measured"
    assert labels["q_proj", 2] == labels["o_proj", 0] == "assumed"
    assert found["settings"][0]["distribution"] == "assumed"  # not everything was measured


def test_formats_of_a_checkpoint(tmp_path, capsys):
    rows = data(capsys, "formats", "check", checkpoint(tmp_path / "model.safetensors"))
    values = 4 * 64 * 256 + 256
    expected = {"format": "bf16", "tensors": 5, "values": values, "bytes": 2 * values, "bits_per_value": 16}
    assert rows == [expected]


def test_a_measurement_can_be_cancelled():
    """An interrupt asks the measurement to stop before its next block; what is finished stays."""
    import signal
    import threading

    from viewer.cli.error import _interruptible

    stop, before = threading.Event(), signal.getsignal(signal.SIGINT)
    with _interruptible(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
    assert signal.getsignal(signal.SIGINT) is before
