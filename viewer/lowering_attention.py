"""Lowering of attention: two products, each with a type of its own, and the conversion work around them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hardware_specs import Capabilities
from viewer import conversion
from viewer.formats import TensorFormat
from viewer.formats.base import ceil_div
from viewer.graph import Math, Op
from viewer.ops.attention import AttentionBase
from viewer.ops.mla import IndexScore, LatentAttention
from viewer.precision import MATH_TYPES, Choice

#: Choosing N of M probabilities in the epilogue of Q K^T: one comparison a pair (DFSS, arXiv:2203.00091 section 3.2).
PRUNE_OPS_PER_PAIR = 1.0
#: A probability lies in [0, 1]: its scale is known, so one conversion makes it narrow (FlashAttention-3).
NARROW_OPS_PER_PAIR = 1.0


@dataclass(frozen=True)
class _Product:
    """One product: its first operand as wanted, the cached part it reads, whether scales run along its K."""

    wanted: TensorFormat
    cached: TensorFormat
    width: int
    along: bool | None
    is_scores: bool


def lower_attention(op: AttentionBase, caps: Capabilities, default16: str) -> Op:
    """Q K^T from (query, key), P V from (probabilities, value), with conversion work per pair, row and token.

    A quantized query or probability that the chip would only convert up again stays as it is stored, with a note.
    """
    from viewer.lowering import choose, math_of

    math: list[Math] = []
    operands: list[TensorFormat] = []
    pair_flops = unpack = row_flops = 0.0
    notes = op.notes
    for product in _products(op):
        choice = choose(product.wanted, product.cached, caps, default16, product.along)
        used = product.wanted
        stored = op.inputs[0].format
        if used.is_quantized and used != stored and MATH_TYPES[choice.math_type][0] >= 16:
            used = stored if not stored.is_quantized else product.wanted
            notes = (*notes, f"{product.wanted} operand stays {used}: {choice.reason}")
            choice = choose(used, product.cached, caps, default16, product.along)
        made = math_of(choice, used.element_bits, product.cached.element_bits)
        if not product.is_scores and op.value_sparsity is not None:
            share = op.value_sparsity.value_flops_factor(choice.math_type, caps.sparse_types)
            pair_flops += PRUNE_OPS_PER_PAIR
            made = replace(made, executed=share, note=made.note or _sparse_note(op, share))
        math.append(made)
        operands.append(used)
        pair_flops += _pair_flops(product, choice, used)
        row_flops += _row_flops(op, product, choice, used)
        if choice.b_path != "native" and product.cached.is_quantized:
            per_value = conversion.dequantize_ops_per_weight(product.cached)
            unpack += per_value * op.keys().heads * product.width
    extra = ((op.outputs[0].rows, row_flops),) if row_flops else ()
    return replace(
        op,
        math=tuple(math),
        operands=tuple(operands),
        notes=notes,
        pair_flops=pair_flops,
        unpack_flops=unpack if op.keys().memory == "self" else 0.0,
        extra_vector=(*op.extra_vector, *extra),
    )


def _products(op: AttentionBase) -> list[_Product]:
    keys = op.keys()
    first, last = keys.formats[0], keys.formats[-1]
    stored = op.inputs[0].format
    operands = op.operands or (stored,) * op.products
    if isinstance(op, IndexScore):
        return [_Product(stored, first, keys.widths[0], None, True)]
    latent = isinstance(op, LatentAttention)
    value, width = (first, keys.widths[0]) if latent else (last, keys.widths[-1])
    # scales per token of the values change along the contraction of P V
    along = True if value.scaling in ("channel", "group") else None
    scores = _Product(operands[0], first, keys.widths[0], None, True)
    values = _Product(operands[-1], value, width, along, False)
    if latent and op.products == 2:
        # the latent serves as key and value: it is unpacked once, and the rotary part beside it
        values = replace(values, width=keys.widths[-1])
    return [scores, values] if op.products == 2 else [values if op.kind == "pv_matmul" else scores]


def _sparse_note(op: AttentionBase, share: float) -> str:
    name = op.value_sparsity.name
    return (
        f"{name} on the sparse unit"
        if share < 1.0
        else f"no sparse unit runs {name} here: values multiply dense"
    )


def _pair_flops(product: _Product, choice: Choice, used: TensorFormat) -> float:
    """Vector work per pair and head: integer scores are converted and scaled, by group where scales run along d;
    quantized probabilities are converted."""
    work = 0.0
    if product.is_scores and choice.epilogue == "group":
        work += conversion.GROUP_OPS_PER_OUTPUT * float(ceil_div(product.width, choice.group))
    elif product.is_scores and choice.accumulate == "int32":
        work += conversion.SCALE_OPS_PER_OUTPUT
    if not product.is_scores and used.is_quantized:
        work += NARROW_OPS_PER_PAIR
    return work


def _row_flops(op: AttentionBase, product: _Product, choice: Choice, used: TensorFormat) -> float:
    """Vector work per query row: quantizing the query, scaling integer outputs."""
    if isinstance(op, IndexScore):
        return 0.0
    if product.is_scores:
        narrow = used.is_quantized and not op.inputs[0].format.is_quantized
        return conversion.QUANTIZE_OPS_PER_VALUE * op.inputs[0].width if narrow else 0.0
    return conversion.SCALE_OPS_PER_OUTPUT * op.outputs[0].width if choice.accumulate == "int32" else 0.0
