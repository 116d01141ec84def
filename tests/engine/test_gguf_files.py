"""The files that the engine runs: sizes, block contents, and what the analyzer reads in them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.gguf_files import BLOCKS, SHAPES, Shape, random_blocks, write
from viewer.analysis import analyze
from viewer.workload import Decode

TINY = Shape("tiny", 2, 256, 512, 4, 2, 64)


def test_parameters_of_the_shapes():
    # TinyLlama 1.1B: 1 100 048 384 published parameters
    shape = SHAPES["1.1b"]
    assert (
        sum(r * c for r, c in shape.matrices().values()) + len(shape.norms()) * shape.hidden == 1_100_048_384
    )


@pytest.mark.parametrize("fmt", BLOCKS)
def test_files_hold_what_they_say(tmp_path, fmt):
    pytest.importorskip("gguf")
    path = write(tmp_path / "t.gguf", TINY, fmt)
    result = analyze(str(path), "cpu/ryzen-9-7950x", Decode(context=9))
    values, size, _ = BLOCKS[fmt]
    matrices = TINY.matrices()
    stored = sum(r * c for name, (r, c) in matrices.items() if name != "token_embd.weight") // values * size
    # all matrices but the table stream once a step, and one row of the table; norms are 16-bit in the count
    row = TINY.hidden // values * size
    norms = 2 * TINY.hidden * len(TINY.norms())
    assert result.totals.weight_bytes == stored + row + norms
    assert "no_vocab" not in " ".join(result.notes)


@pytest.mark.parametrize("fmt", ["Q8_0", "Q4_0", "Q4_K"])
def test_random_blocks_are_centred(fmt):
    quants = pytest.importorskip("gguf").quants
    kind = pytest.importorskip("gguf").GGMLQuantizationType[fmt]
    blocks = random_blocks(fmt, 4096, np.random.default_rng(3))
    values = quants.dequantize(blocks, kind)
    assert np.isfinite(values).all()
    assert 0.015 < values.std() < 0.035
    assert abs(values.mean()) < 0.2 * values.std()
