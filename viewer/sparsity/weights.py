"""Sparse and factored weights: what is stored, and what is executed (two different questions)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from viewer.formats import TensorFormat
from viewer.formats.base import ceil_div

# rows and columns of the smallest operand tile of a tensor-core instruction (mma.m16n8k16: 16 x 16 of A)
MMA_TILE = 16
# Flash-LLM cuts the weight into 128 x 64 tiles and pads each to 4 words (arXiv:2309.10285, csrc/SpMM_API.cu)
CSL_TILE_VALUES, CSL_PADDING_WORDS, CSL_WORD_BYTES = 128 * 64, 4, 4
# column indices are 16-bit while they fit
SHORT_INDEX_COLUMNS = 65536


@dataclass(frozen=True, slots=True)
class Execution:
    """How a unit runs a sparse product: executed = ``flops_factor`` x dense FLOPs.

    ``sparse_unit`` says that a sparse tensor core does the work; ``unit`` names the engine when the scheme
    moves the product off the tensor unit ("vector"), else None.
    """

    flops_factor: float
    sparse_unit: bool = False
    unit: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a rows x cols weight is multiplied: math type, sparse types of the device, its kind."""

    math_type: str
    sparse_types: frozenset[str]
    device_kind: str
    rows: int
    cols: int


class WeightSparsity(Protocol):
    """What every scheme for weights answers."""

    @property
    def name(self) -> str:
        """The registry name."""

    @property
    def hardware_need(self) -> str:
        """What a device must have for fewer executed FLOPs."""

    def stored_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """Bytes of a rows x cols weight whose kept values are stored as ``fmt``, all metadata included."""

    def metadata_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """The part of ``stored_bytes`` that is indices, offsets, scales and zero points."""

    def execute(self, site: Site) -> Execution:
        """Executed FLOPs of this weight there."""


class _Stored:
    """Total = kept elements + metadata, shared by the schemes below."""

    __slots__ = ()

    def stored_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """Bytes of kept elements and all metadata."""
        return self._element_bytes(fmt, rows, cols) + self.metadata_bytes(fmt, rows, cols)

    def _element_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        raise NotImplementedError

    def metadata_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """Bytes of indices, scales and zero points."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SemiStructured(_Stored):
    """N of every M values along a row are kept, each with an index of ceil(log2 M) bits.

    2:4 of FP16 is 0.5 * 16 + 0.5 * 2 = 9 bits (0.5625 of dense), of 8-bit values 5 bits (0.625). With
    ``pair`` the kept unit is two neighbours (INT4 4:8 on Ampere tensor cores, PTX ISA ``mma.sp`` .s4): one
    2-bit index per *pair*, 0.5 * 4 + 0.5 * 1 = 2.5 bits. Scales and zero points of the format stay as many.
    """

    keep: int
    of: int
    pair: bool = False

    @property
    def name(self) -> str:
        """``2:4``, ``4:8-pair``."""
        return f"{self.keep}:{self.of}" + ("-pair" if self.pair else "")

    @property
    def hardware_need(self) -> str:
        """Sparse tensor cores for this pattern, if any have it."""
        patterns = {"2:4": "fp16, bf16, int8, fp8 or fp4", "1:2": "tf32", "4:8-pair": "int4"}
        types = patterns.get(self.name)
        return (
            f"sparse tensor cores for {types} (NVIDIA sm_80 and later, AMD CDNA3)"
            if types
            else "none has it: runs dense"
        )

    def _element_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        kept = ceil_div(cols * self.keep, self.of)
        return rows * ceil_div(kept * fmt.element_bits, 8)

    def metadata_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """Index bits per kept value (or pair), and the format's own metadata."""
        kept = ceil_div(cols * self.keep, self.of) / (2 if self.pair else 1)
        positions = self.of // 2 if self.pair else self.of
        index = rows * ceil_div(kept * math.ceil(math.log2(positions)), 8)
        return index + fmt.metadata_bytes(rows, cols)

    def execute(self, site: Site) -> Execution:
        """N/M of the FLOPs where the sparse unit knows the pattern and the type, else all of them.

        cuSPARSELt: 2:4 for 16-, 8- and 4-bit floats and int8, 1:2 for TF32; INT4 only pair-wise 4:8.
        """
        wanted = {
            "2:4": site.math_type not in ("tf32", "int4", "fp32", "fp64"),
            "1:2": site.math_type == "tf32",
        }
        wanted["4:8-pair"] = site.math_type == "int4"
        if wanted.get(self.name, False) and site.math_type in site.sparse_types:
            return Execution(self.keep / self.of, sparse_unit=True)
        why = f"no sparse tensor unit runs {self.name} in {site.math_type} here: decompressed and run dense"
        return Execution(1.0, note=why)


@dataclass(frozen=True, slots=True)
class Unstructured(_Stored):
    """A fraction ``sparsity`` of the values is zero anywhere; the storage, not the ratio, decides the bytes.

    Bytes of metadata, nnz = (1 - sparsity) * rows * cols:
      csr         nnz 16-bit columns (32-bit beyond 65536) + (rows + 1) 32-bit row starts
      coo         nnz * (row + column), 16-bit each
      bitmap      one bit per original value
      tiled-csl   one 32-bit word per nnz (value and place), tiles of 128 x 64 padded to 4 words, plus
                  a 32-bit offset per tile (Flash-LLM, arXiv:2309.10285)
    ``vector`` runs on the vector unit with (1 - sparsity) of the FLOPs (Sputnik, arXiv:2006.10901; CPUs);
    otherwise load-as-sparse, compute-as-dense: all FLOPs, fewer bytes.
    """

    sparsity: float
    storage: str
    vector: bool = False

    @property
    def name(self) -> str:
        """``sparse50-csr``."""
        return f"sparse{100 * self.sparsity:g}-{self.storage}" + ("-vector" if self.vector else "")

    @property
    def hardware_need(self) -> str:
        """Nothing for the bytes; a CPU or the vector unit for the FLOPs."""
        if self.vector:
            return "runs on the vector unit"
        return "none for the bytes; FLOPs fall only on CPUs or with -vector"

    def _nnz(self, rows: int, cols: int) -> float:
        return (1.0 - self.sparsity) * rows * cols

    def _csl_words(self, rows: int, cols: int) -> float:
        tiles = ceil_div(rows * cols, CSL_TILE_VALUES)
        per_tile = self._nnz(rows, cols) / tiles
        return tiles * ceil_div(per_tile, CSL_PADDING_WORDS) * CSL_PADDING_WORDS

    def _element_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        return self._nnz(rows, cols) * fmt.element_bits / 8

    def metadata_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """Bytes of places, and the format's own metadata (as many scales as before)."""
        nnz, index = self._nnz(rows, cols), 2 if cols <= SHORT_INDEX_COLUMNS else 4
        if self.storage == "csr":
            places = nnz * index + 4.0 * (rows + 1)
        elif self.storage == "coo":
            places = nnz * (index + (2 if rows <= SHORT_INDEX_COLUMNS else 4))
        elif self.storage == "bitmap":
            places = rows * ceil_div(cols, 8)
        else:
            tiles = ceil_div(rows * cols, CSL_TILE_VALUES)
            words = self._csl_words(rows, cols) * CSL_WORD_BYTES
            places = words - self._element_bytes(fmt, rows, cols) + 4.0 * tiles
        return places + fmt.metadata_bytes(rows, cols)

    def execute(self, site: Site) -> Execution:
        """Dense on a tensor unit; (1 - sparsity) on a vector unit or a CPU."""
        if self.vector or site.device_kind == "cpu":
            return Execution(1.0 - self.sparsity, unit="vector", note="zeros skipped on the vector unit")
        return Execution(1.0, note="load-as-sparse, compute-as-dense: the zeros are multiplied")


@dataclass(frozen=True, slots=True)
class BlockSparse(_Stored):
    """Whole b x b blocks are zero; one 32-bit index per kept block.

    A block at least as large as the MMA tile (16) is skipped whole; smaller ones only when all blocks of
    a tile happen to be zero: executed = 1 - (1 - d)^((16/b)^2), d the density.
    """

    sparsity: float
    block: int

    @property
    def name(self) -> str:
        """``sparse50-block32``."""
        return f"sparse{100 * self.sparsity:g}-block{self.block}"

    @property
    def hardware_need(self) -> str:
        """Nothing special; blocks of at least an MMA tile."""
        return f"none; blocks of at least {MMA_TILE} x {MMA_TILE} to skip tensor work"

    def _kept_blocks(self, rows: int, cols: int) -> float:
        return (1.0 - self.sparsity) * ceil_div(rows, self.block) * ceil_div(cols, self.block)

    def _element_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        return self._kept_blocks(rows, cols) * self.block**2 * fmt.element_bits / 8

    def metadata_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """4 bytes per kept block, and the format's own metadata."""
        return 4.0 * self._kept_blocks(rows, cols) + fmt.metadata_bytes(rows, cols)

    def execute(self, site: Site) -> Execution:
        """The density for large blocks, the expected share of occupied tiles for small ones."""
        density = 1.0 - self.sparsity
        if site.device_kind == "cpu" or self.block >= MMA_TILE:
            return Execution(density)
        blocks_a_tile = (MMA_TILE / self.block) ** 2
        return Execution(
            1.0 - self.sparsity**blocks_a_tile, note="blocks smaller than the tensor unit's tile"
        )


@dataclass(frozen=True, slots=True)
class LowRank(_Stored):
    """W[rows, cols] ~ U[rows, r] V[r, cols]: two products of 2 T r (rows + cols) FLOPs in all.

    It pays only while r < rows*cols/(rows+cols); a weight for which it does not is left dense.
    """

    rank: int

    @property
    def name(self) -> str:
        """``rank1024``."""
        return f"rank{self.rank}"

    @property
    def hardware_need(self) -> str:
        """Nothing."""
        return "none; two launches instead of one"

    def pays(self, rows: int, cols: int) -> bool:
        """True when the factors hold fewer values than the weight."""
        return self.rank * (rows + cols) < rows * cols

    def factors(self, rows: int, cols: int) -> tuple[tuple[int, int], ...]:
        """(rows, cols) of the matrices that are stored, in the order output side, input side."""
        return ((rows, self.rank), (self.rank, cols)) if self.pays(rows, cols) else ((rows, cols),)

    def _element_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        return sum(fmt.stored_bytes(r, c) - fmt.metadata_bytes(r, c) for r, c in self.factors(rows, cols))

    def metadata_bytes(self, fmt: TensorFormat, rows: int, cols: int) -> float:
        """The metadata of both factors."""
        return sum(fmt.metadata_bytes(r, c) for r, c in self.factors(rows, cols))

    def execute(self, site: Site) -> Execution:
        """r (rows + cols) / (rows cols), or 1 where the factorization would cost more."""
        rows, cols = site.rows, site.cols
        if not self.pays(rows, cols):
            return Execution(1.0, note=f"rank {self.rank} does not pay for {rows} x {cols}: left dense")
        return Execution(self.rank * (rows + cols) / (rows * cols), note="two products, two launches")
