"""Lowering: a graph plus what the chip can do (types, no rates) -> a graph with math types and conversion work.

Every product asks the one precision rule (viewer.precision.pick); what follows from its answer becomes vector work
or an op of its own: unpacking weights, quantizing activations, rescaling partial sums, reading a quantized cache.
"""

from __future__ import annotations

from dataclasses import replace

from hardware_specs import Capabilities
from viewer import conversion
from viewer.activations import quantize_inputs
from viewer.formats import TensorFormat
from viewer.graph import Graph, LayerGroup, Math, Op, Weight
from viewer.ops.attention import AttentionBase
from viewer.ops.elementwise import CacheAppend
from viewer.ops.linear import Linear
from viewer.precision import Choice, pick
from viewer.sparsity import Execution, Site

#: Rows of x that one pass over the unpacked weight serves in a weight-only kernel: four 16-row MMA tiles, the largest
#: thread-block tile of Marlin (IST-DASLab/marlin, csrc/marlin_cuda_kernel.cu, thread_m_blocks <= 4).
WEIGHT_ONLY_TILE_ROWS = 64

Extra = tuple[str, float]


def lower(graph: Graph, capabilities: Capabilities, default16: str, fuse_quantize: bool) -> Graph:
    """The graph with one :class:`Math` per product. ``fuse_quantize``: norms and activation functions write quantized
    rows themselves (serving kernels); else a quantize kernel is inserted. Raises InputError when no unit multiplies."""

    def change(group: LayerGroup) -> LayerGroup:
        ops = [lower_op(op, capabilities, default16) for op in group.ops]
        return group.with_ops(quantize_inputs(ops, fuse_quantize))

    return graph.map_groups(change)


def lower_op(op: Op, caps: Capabilities, default16: str) -> Op:
    """One op with its math types and in-kernel conversion work."""
    if isinstance(op, Linear):
        return _lower_linear(op, caps, default16)
    if isinstance(op, AttentionBase):
        return _lower_attention(op, caps, default16)
    if isinstance(op, CacheAppend):
        return _lower_append(op)
    if op.products:
        choice = pick(op.inputs[0].format, op.inputs[0].format, caps, default16=default16)
        return replace(op, math=(_math(choice, 16.0, 16.0),) * op.products)
    return op


def _math(choice: Choice, a_bits: float, b_bits: float, execution: Execution | None = None) -> Math:
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
    choice = pick(wanted, weight.format, caps, default16=default16)
    used = wanted
    notes = op.notes
    if wanted.is_quantized and choice.a_path == "dequantize":
        used = op.inputs[0].format
        choice = pick(used, weight.format, caps, default16=default16)
        notes = (*notes, f"inputs stay {used}: {wanted} x {weight.format} has no unit here")
    execution, math_type = _execution(matrices, choice, caps)
    math = _math(
        replace(choice, math_type=math_type), used.element_bits, weight.format.element_bits, execution
    )
    return replace(
        op,
        math=(math,) * op.products,
        operands=(used,),
        notes=notes,
        extra_vector=(*op.extra_vector, *_linear_work(op, matrices, choice)),
    )


def _execution(matrices: list[Weight], choice: Choice, caps: Capabilities) -> tuple[Execution | None, str]:
    """What sparsity executes: the value-weighted share over side-by-side weights; and the math type of its unit."""
    if all(w.sparsity is None for w in matrices):
        return None, choice.math_type
    found = []
    for w in matrices:
        site = Site(choice.math_type, caps.sparse_types, caps.kind, w.rows, w.cols)
        found.append((w.values, w.sparsity.execute(site) if w.sparsity else Execution(1.0)))
    values = sum(v for v, _ in found)
    share = sum(v * e.flops_factor for v, e in found) / values
    first = found[0][1]
    math_type = choice.math_type
    if first.unit == "vector" and math_type not in caps.vector_types:
        math_type = "fp32"
    return replace(first, flops_factor=share), math_type


def _linear_work(op: Linear, matrices: list[Weight], choice: Choice) -> list[Extra]:
    work: list[Extra] = []
    unpack = sum(_unpack_ops(w, choice) for w in matrices)
    if unpack:
        work.append((f"tiles:{op.rows}:{WEIGHT_ONLY_TILE_ROWS}", unpack))
    after = conversion.epilogue(choice, 1.0, op.out_features, op.in_features).vector_ops
    if choice.b_path != "dequantize" and float(after):
        work.append((op.rows, float(after)))
    if op.hadamard:
        work.append(
            (op.rows, float(conversion.hadamard(1.0, op.in_features, op.inputs[0].format).vector_ops))
        )
    return work


def _unpack_ops(weight: Weight, choice: Choice) -> float:
    """Vector ops to bring one weight into operand form, for all its values once."""
    if choice.b_path == "dequantize":
        per_value = conversion.dequantize_ops_per_weight(weight.format)
    elif choice.b_path == "convert" and weight.format.is_quantized:
        per_value = conversion.DEQUANTIZE_OPS_DIRECT
    else:
        return 0.0
    return per_value * weight.values


def _lower_attention(op: AttentionBase, caps: Capabilities, default16: str) -> Op:
    """Q K^T from (query, key), P V from (probabilities, value); scales per token of V run along the K of P V."""
    keys = op.keys()
    formats = keys.formats
    pairs: list[tuple[TensorFormat, TensorFormat, bool | None]] = []
    first = op.inputs[0].format
    operands = op.operands or (first,) * op.products
    if op.products == 2 or op.kind != "pv_matmul":
        pairs.append((operands[0], formats[0], None))
    if op.products == 2 or op.kind == "pv_matmul":
        # per-token scales of the values change along the contraction of P V
        along = True if formats[-1].scaling in ("channel", "group") else None
        pairs.append((operands[-1], formats[-1], along))
    math = []
    unpack = 0.0
    for index, (a, b, along) in enumerate(pairs[: op.products]):
        choice, used = _attention_choice(a, b, along, first, caps, default16)
        math.append(_math(choice, used.element_bits, b.element_bits))
        part = formats[0] if index == 0 and op.kind != "pv_matmul" else formats[-1]
        width = keys.widths[0] if part is formats[0] else keys.widths[-1]
        if choice.b_path != "native" and part.is_quantized:
            unpack += conversion.dequantize_ops_per_weight(part) * keys.heads * width
    window = f":{op.window}" if op.window else ""
    extra = ((f"context{window}", unpack),) if unpack and op.memory == "self" else ()
    return replace(op, math=tuple(math), extra_vector=(*op.extra_vector, *extra))


def _attention_choice(
    a: TensorFormat,
    b: TensorFormat,
    along: bool | None,
    stored: TensorFormat,
    caps: Capabilities,
    default16: str,
) -> tuple[Choice, TensorFormat]:
    choice = pick(a, b, caps, default16=default16, b_scales_along_k=along)
    if a.is_quantized and choice.a_path == "dequantize":
        return pick(stored, b, caps, default16=default16, b_scales_along_k=along), stored
    return choice, a


def _lower_append(op: CacheAppend) -> Op:
    """Quantizing the new keys and values: QUANTIZE_OPS_PER_VALUE per value written (fused into the append)."""
    if op.cache is None:
        return op
    parts = zip(op.cache.formats, op.cache.widths, strict=True)
    values = sum(op.cache.heads * width for fmt, width in parts if fmt.is_quantized)
    if not values:
        return op
    return replace(op, extra_vector=(*op.extra_vector, (op.rows, conversion.QUANTIZE_OPS_PER_VALUE * values)))
