"""Lowering: a graph plus what the chip can do (types, no rates) -> a graph with math types and conversion work.

Every product asks the one precision rule (viewer.precision.pick); what follows from its answer becomes vector work
or an op of its own: unpacking weights, quantizing activations, rescaling partial sums, reading a quantized cache.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from hardware_specs import Capabilities
from viewer import conversion
from viewer.activations import narrow_probabilities, quantize_inputs
from viewer.dequantize import separate_dequantize
from viewer.formats import TensorFormat
from viewer.graph import Graph, LayerGroup, Math, Op, Weight
from viewer.lowering_attention import lower_attention
from viewer.ops.attention import AttentionBase
from viewer.ops.elementwise import CacheAppend
from viewer.ops.linear import Embedding, Linear
from viewer.precision import MATH_TYPES, Choice, pick
from viewer.sparsity import BlockSparse, Execution, SemiStructured, Site, Unstructured

Extra = tuple[str, float]
#: Products of this many bits and more take dequantized values: narrow activations would be converted up again.
WIDE_BITS = 16


def lower(
    graph: Graph, capabilities: Capabilities, default16: str, fuse_quantize: bool, separate: bool = False
) -> Graph:
    """The graph with one :class:`Math` per product. ``fuse_quantize``: norms and activation functions write quantized
    rows themselves (serving kernels); else a quantize kernel is inserted. ``separate``: weights are dequantized by a
    kernel of their own instead of inside the product. Raises InputError when no unit multiplies."""

    def change(group: LayerGroup) -> LayerGroup:
        ops = [lower_op(op, capabilities, default16) for op in group.ops]
        ops = narrow_probabilities(quantize_inputs(ops, fuse_quantize))
        return group.with_ops(separate_dequantize(ops, default16) if separate else ops)

    return graph.map_groups(change)


@lru_cache(maxsize=65536)
def choose(
    a: TensorFormat, b: TensorFormat, caps: Capabilities, default16: str, b_along_k: bool | None = None
) -> Choice:
    """``pick`` with its answers kept."""
    return pick(a, b, caps, default16=default16, b_scales_along_k=b_along_k)


def lower_op(op: Op, caps: Capabilities, default16: str) -> Op:
    """One op with its math types and in-kernel conversion work."""
    if isinstance(op, Linear):
        return _lower_linear(op, caps, default16)
    if isinstance(op, AttentionBase):
        return lower_attention(op, caps, default16)
    if isinstance(op, CacheAppend):
        return _lower_append(op)
    if isinstance(op, Embedding):
        unpack = sum(conversion.dequantize_ops_per_weight(w.format) * w.cols for w in op.weights)
        return replace(op, unpack_flops=unpack) if unpack else op
    if op.products:
        choice = choose(op.inputs[0].format, op.inputs[0].format, caps, default16)
        return replace(op, math=(math_of(choice, 16.0, 16.0),) * op.products)
    return op


def math_of(choice: Choice, a_bits: float, b_bits: float, execution: Execution | None = None) -> Math:
    """The executed product of a choice: unit, type, nominal bits, share of the FLOPs, what a reader must know."""
    notes = [choice.reason] if choice.upcast else []
    notes += choice.notes
    unit, executed = choice.unit, 1.0
    if execution is not None:
        unit, executed = execution.unit or unit, execution.flops_factor
        notes += [execution.note] if execution.note else []
    return Math(unit, choice.math_type, a_bits, b_bits, executed, "; ".join(notes))


def _lower_linear(op: Linear, caps: Capabilities, default16: str) -> Op:
    matrices = [w for w in op.weights if w.cols > 1 or w.rows == op.out_features == 1] or list(op.weights)
    weight = matrices[0]
    wanted = op.operands[0] if op.operands else op.inputs[0].format
    choice = choose(wanted, weight.format, caps, default16)
    used, notes = wanted, op.notes
    stays = wanted != op.inputs[0].format and MATH_TYPES[choice.math_type][0] >= WIDE_BITS
    if wanted.is_quantized and stays:
        used = op.inputs[0].format
        notes = (*notes, f"inputs stay {used}: {choice.reason}")
        choice = choose(used, weight.format, caps, default16)
    execution, math_type = _execution(matrices, choice, caps)
    chosen = replace(choice, math_type=math_type)
    return replace(
        op,
        math=(math_of(chosen, used.element_bits, weight.format.element_bits, execution),) * op.products,
        operands=(used,),
        notes=notes,
        unpack_flops=sum(_unpack_ops(w, choice, execution) for w in matrices),
        extra_vector=(*op.extra_vector, *_linear_work(op, choice)),
    )


def _execution(matrices: list[Weight], choice: Choice, caps: Capabilities) -> tuple[Execution | None, str]:
    """What sparsity executes: the value-weighted share over side-by-side weights; and the math type of its unit."""
    if all(w.sparsity is None for w in matrices):
        return None, choice.math_type
    found = []
    # a CPU skips zeros on its vector unit; a matrix unit (AMX) multiplies expanded tiles (arXiv:2502.12444)
    kind = "matrix" if caps.kind == "cpu" and choice.unit == "tensor" else caps.kind
    for w in matrices:
        site = Site(choice.math_type, caps.sparse_types, kind, w.rows, w.cols)
        found.append((w.values, w.sparsity.execute(site) if w.sparsity else Execution(1.0)))
    values = sum(v for v, _ in found)
    share = sum(v * e.flops_factor for v, e in found) / values
    first = found[0][1]
    math_type = choice.math_type
    if first.unit == "vector" and math_type not in caps.vector_types:
        if "fp32" not in caps.vector_types:
            note = (
                f"no vector unit with a known rate on {caps.architecture}: the zeros are multiplied as well"
            )
            return Execution(1.0, note=note), math_type
        math_type = "fp32"
    return replace(first, flops_factor=share), math_type


def _linear_work(op: Linear, choice: Choice) -> list[Extra]:
    """Vector work per row: the epilogue's scales, a rotation of the inputs, narrow outputs."""
    work: list[Extra] = []
    after = epilogue_ops(choice, op.out_features, op.in_features)
    if after:
        work.append((op.rows, after))
    if op.hadamard:
        turned = conversion.hadamard(1.0, op.in_features, op.inputs[0].format).vector_ops
        work.append((op.rows, float(turned)))
    for tensor in op.outputs:
        if tensor.format.is_quantized:
            work.append((tensor.rows, conversion.REQUANTIZE_OPS_PER_VALUE * tensor.width))
    return work


def epilogue_ops(choice: Choice, out_width: int, in_width: int) -> float:
    """Vector ops per row after the multiply-adds.

    Integer sums are converted and scaled (2 an output); floating-point sums are only scaled (1). A dequantized operand
    has its scales in its values: nothing is left to do.
    """
    if choice.dequantize:
        return 0.0
    ops = float(conversion.epilogue(choice, 1.0, out_width, in_width).vector_ops)
    return ops / 2.0 if choice.epilogue == "scale" and choice.accumulate != "int32" else ops


def _unpack_ops(weight: Weight, choice: Choice, execution: Execution | None) -> float:
    """Vector ops to bring the kept values of one weight into operand form, once.

    Sparse storage that is multiplied dense is expanded as well: one more op a kept value (the scatter of Flash-LLM,
    arXiv:2309.10285, or of a decompressed 2:4 weight).
    """
    per_value = 0.0
    if choice.b_path == "dequantize":
        per_value = conversion.dequantize_ops_per_weight(weight.format)
    elif choice.b_path == "convert" and weight.format.is_quantized:
        per_value = conversion.DEQUANTIZE_OPS_DIRECT
    scattered = isinstance(weight.sparsity, Unstructured | SemiStructured)
    if scattered and execution is not None and execution.flops_factor == 1.0:
        per_value += conversion.DEQUANTIZE_OPS_DIRECT
    return per_value * weight.values * kept_share(weight)


def kept_share(weight: Weight) -> float:
    """Stored values / logical values of a pruned weight."""
    scheme = weight.sparsity
    if isinstance(scheme, SemiStructured):
        return scheme.keep / scheme.of
    return 1.0 - scheme.sparsity if isinstance(scheme, Unstructured | BlockSparse) else 1.0


def _lower_append(op: CacheAppend) -> Op:
    """Quantizing the new keys and values inside the append: per value written, statistics and scaling, or one
    multiplication where one scale per tensor is known beforehand."""
    if op.cache is None:
        return op
    work = 0.0
    for fmt, width in zip(op.cache.formats, op.cache.widths, strict=True):
        if fmt.is_quantized:
            per_value = 1.0 if fmt.scaling == "tensor" else conversion.QUANTIZE_OPS_PER_VALUE
            work += per_value * op.cache.heads * width
    return replace(op, extra_vector=(*op.extra_vector, (op.rows, work))) if work else op
