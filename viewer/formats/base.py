"""How one tensor is stored: element type, scales, zero points, and the exact bytes they take."""

from __future__ import annotations

from dataclasses import dataclass

INTEGER_VALUES = frozenset(
    {"b1", "ternary", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "int16", "int32"}
)


def ceil_div(amount: float, unit: float) -> float:
    """Smallest whole number of ``unit`` that holds ``amount``; works on ints, floats and arrays."""
    return -(-amount // unit)


@dataclass(frozen=True, slots=True, eq=False)
class TensorFormat:
    """The storage of one tensor. Equal names are equal formats: take instances from ``formats.get``.

    Lengths are in values, sizes in bits or bytes as named. Rows are contiguous along the contraction
    axis K, so a scale "group" is ``group`` neighbours of one row and a "block" is
    ``block_rows`` x ``group`` values. Bytes of a row (modelling rule: round up per row, and
    a group that does not divide the row still has its own scale):

        row_bytes = ceil(width * element_bits / 8) + ceil(ceil(width / group) * (scale_bits + zero_bits) / 8)

    ``flat`` formats group over the whole tensor rather than per row (bitsandbytes); their row share is a
    fraction. ``packed_values``/``packed_bytes`` describe elements that only come in packs (5 trits a byte,
    a GGUF block with its scales inside). Sources stand at the registry entries.
    """

    name: str
    element_bits: float
    value_type: str
    scaling: str = "none"
    group: int = 0
    block_rows: int = 1
    scale_bits: int = 0
    zero_bits: int = 0
    tensor_bits: int = 0
    super_group: int = 0
    super_bits: int = 0
    packed_values: int = 0
    packed_bytes: int = 0
    symmetric: bool = True
    flat: bool = False
    microscale: str = ""
    codebook: bool = False
    description: str = ""
    source: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorFormat) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    @property
    def is_integer(self) -> bool:
        """True when the stored values are integers times a scale (an integer unit can multiply them)."""
        return self.value_type in INTEGER_VALUES

    @property
    def is_quantized(self) -> bool:
        """True when the values need a scale or a code book to become numbers."""
        return self.scaling != "none" or self.codebook

    @property
    def scales_along_k(self) -> bool:
        """True when the scale changes inside one contraction (group or block scaling)."""
        return self.scaling in ("group", "block")

    @property
    def accumulator(self) -> str:
        """The type that products of this format accumulate in: int32, fp32 or fp64."""
        if self.is_integer:
            return "int32"
        return "fp64" if self.value_type == "fp64" else "fp32"

    def row_bytes(self, width: float) -> float:
        """Bytes of one row of ``width`` values, elements and metadata, rounded up per row."""
        if self.packed_values:
            packs = ceil_div(width, self.packed_values) * self.packed_bytes
            return packs + self.scale_bits / 8 if self.scaling == "channel" else packs
        elements = ceil_div(width * self.element_bits, 8)
        if self.scaling in ("none", "tensor"):
            return elements
        return elements + self.row_metadata_bytes(width)

    def row_metadata_bytes(self, width: float) -> float:
        """Bytes of scales and zero points of one row (a 2-D block's scale is shared by its rows)."""
        if self.scaling in ("none", "tensor"):
            return 0.0
        bits = self.scale_bits + self.zero_bits
        if self.scaling == "channel":
            return ceil_div(bits, 8)
        if self.packed_values:
            packs = ceil_div(width, self.packed_values)
            return packs * (self.packed_bytes - self.packed_values * self.element_bits / 8)
        if self.flat:
            shared = self.super_bits / (8 * self.group * self.super_group) if self.super_group else 0.0
            return width * (bits / (8 * self.group) + shared)
        groups = ceil_div(width, self.group)
        if self.scaling == "block":
            return groups * bits / (8 * self.block_rows)
        return ceil_div(groups * bits, 8)

    def metadata_bytes(self, rows: float, cols: float) -> float:
        """Bytes of all scales and zero points of a rows x cols tensor."""
        per_tensor = self.tensor_bits / 8
        if self.scaling == "block":
            blocks = ceil_div(rows, self.block_rows) * ceil_div(cols, self.group)
            return blocks * (self.scale_bits + self.zero_bits) / 8 + per_tensor
        if self.flat:
            groups = ceil_div(rows * cols, self.group)
            shared = ceil_div(groups, self.super_group) * self.super_bits if self.super_group else 0
            return (groups * (self.scale_bits + self.zero_bits) + shared) / 8 + per_tensor
        return rows * self.row_metadata_bytes(cols) + per_tensor

    def stored_bytes(self, rows: float, cols: float) -> float:
        """Bytes of a whole rows x cols tensor, metadata included."""
        if self.scaling == "block":
            return rows * ceil_div(cols * self.element_bits, 8) + self.metadata_bytes(rows, cols)
        if self.flat:
            return ceil_div(rows * cols * self.element_bits, 8) + self.metadata_bytes(rows, cols)
        return rows * self.row_bytes(cols) + self.tensor_bits / 8

    def bits_per_value(self, rows: float, cols: float) -> float:
        """Stored bits per value of a rows x cols tensor: 8 * stored_bytes / (rows * cols)."""
        return 8 * self.stored_bytes(rows, cols) / (rows * cols)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        from viewer.formats.registry import get

        return get, (self.name,)
