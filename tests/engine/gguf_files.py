"""GGUF files of Llama shapes with random weights, small enough to time a real engine with.

Blocks are filled with random bits and ordinary scales instead of quantizing random matrices: the engine does the same
work on them, and a file of a gigabyte is written in seconds. Values stay small enough that no sum overflows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

POOL_BYTES = 16 << 20


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama decoder."""

    name: str
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    vocab: int
    context: int = 4096

    @property
    def head_dim(self) -> int:
        """Values per head."""
        return self.hidden // self.heads

    def matrices(self) -> dict[str, tuple[int, int]]:
        """(out, in) of every matrix by GGUF name."""
        h, kv = self.hidden, self.kv_heads * self.head_dim
        found = {"token_embd.weight": (self.vocab, h), "output.weight": (self.vocab, h)}
        for i in range(self.layers):
            found |= {
                f"blk.{i}.attn_q.weight": (h, h),
                f"blk.{i}.attn_k.weight": (kv, h),
                f"blk.{i}.attn_v.weight": (kv, h),
                f"blk.{i}.attn_output.weight": (h, h),
                f"blk.{i}.ffn_gate.weight": (self.ffn, h),
                f"blk.{i}.ffn_up.weight": (self.ffn, h),
                f"blk.{i}.ffn_down.weight": (h, self.ffn),
            }
        return found

    def norms(self) -> list[str]:
        """GGUF names of the norm weights."""
        each = [f"blk.{i}.{n}_norm.weight" for i in range(self.layers) for n in ("attn", "ffn")]
        return [*each, "output_norm.weight"]


#: TinyLlama 1.1B (github.com/jzhang38/TinyLlama) and a third of it.
SHAPES = {
    "1.1b": Shape("1.1b", 22, 2048, 5632, 32, 4, 32000),
    "0.4b": Shape("0.4b", 18, 1280, 3584, 20, 5, 32000),
}

# name: (values per block, bytes per block, byte offsets of the f16 scales in a block)
BLOCKS = {
    "F16": (1, 2, ()),
    "Q8_0": (32, 34, (0,)),
    "Q4_0": (32, 18, (0,)),
    "Q4_K": (256, 144, (0, 2)),
}
# mean of each scale: values spread by about 0.02, as in a trained matrix of 2048 inputs, around zero (Q4_K: the mean
# nibble 7.5 times d is taken off by dmin, else every output shares a large offset and softmax picks one position)
_SCALES = {"Q8_0": (0.02 / 74,), "Q4_0": (0.02 / 4.6,), "Q4_K": (0.02 / (36 * 4.6), 7.5 * 0.02 / (36 * 4.6))}


def random_blocks(fmt: str, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(count, bytes per block) of valid random blocks: every bit pattern of the quants, scales of one size."""
    _, size, scales = BLOCKS[fmt]
    if fmt == "F16":
        values = rng.normal(0.0, 0.02, count).astype(np.float16)
        return values.view(np.uint8).reshape(count, size)
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at, mean in zip(scales, _SCALES[fmt], strict=True):
        spread = mean * rng.uniform(0.5, 1.5, count)
        data[:, at : at + 2] = spread.astype(np.float16).view(np.uint8).reshape(count, 2)
    return data


def matrix(fmt: str, rows: int, cols: int, pool: NDArray[np.uint8], start: int) -> NDArray[np.uint8]:
    """(rows, bytes of a row) out of a pool of blocks, read round and round from block ``start``."""
    values, size, _ = BLOCKS[fmt]
    count = rows * cols // values
    index = start % len(pool)
    rolled = np.concatenate([pool[index:], pool[:index]])
    return np.resize(rolled, (count, size)).reshape(rows, cols // values * size)


def write(path: Path, shape: Shape, fmt: str, seed: int = 1) -> Path:
    """Writes the file (temporary name, then renamed); matrices in ``fmt``, norms in F32, no vocabulary."""
    import gguf

    pool = random_blocks(fmt, POOL_BYTES // BLOCKS[fmt][1], np.random.default_rng(seed))
    part = path.with_suffix(".part")
    out = gguf.GGUFWriter(part, "llama")
    out.add_name(f"random {shape.name} {fmt}")
    out.add_context_length(shape.context)
    out.add_embedding_length(shape.hidden)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.ffn)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.kv_heads)
    out.add_key_length(shape.head_dim)
    out.add_value_length(shape.head_dim)
    out.add_rope_dimension_count(shape.head_dim)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(shape.vocab)
    out.add_tokenizer_model("no_vocab")
    kind = getattr(gguf.GGMLQuantizationType, fmt)
    for number, (name, (rows, cols)) in enumerate(shape.matrices().items()):
        data = matrix(fmt, rows, cols, pool, 7919 * number)
        if fmt == "F16":
            out.add_tensor(name, data.view(np.float16))
        else:
            out.add_tensor(name, data, raw_dtype=kind)
    for name in shape.norms():
        out.add_tensor(name, np.ones(shape.hidden, dtype=np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return part.replace(path)
