"""``roofline formats``, ``sparsities`` and ``compressions``: list, show, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, command_with, console, emit, note
from viewer.errors import InputError

if TYPE_CHECKING:
    from viewer.compression import Compression
    from viewer.formats import TensorFormat

#: The shape for which bits and bytes are shown.
SHOWN_ROWS, SHOWN_COLS = 4096, 4096
Model = Annotated[str | None, typer.Option(help="show what the rules mean for this model")]


def register(app: typer.Typer) -> None:
    """Add the command groups."""
    formats = typer.Typer(
        help="Number formats: bits, scales, error; formats in a file.", no_args_is_help=True
    )
    formats.command("list")(command_with(OUTPUT_OPTIONS, formats_list))
    formats.command("show")(command_with(OUTPUT_OPTIONS, formats_show))
    formats.command("check")(command_with(OUTPUT_OPTIONS, formats_check))
    sparsities = typer.Typer(help="Sparsity schemes: bytes, executed FLOPs, need.", no_args_is_help=True)
    sparsities.command("list")(command_with(OUTPUT_OPTIONS, sparsities_list))
    sparsities.command("show")(command_with(OUTPUT_OPTIONS, sparsities_show))
    sparsities.command("check")(command_with(OUTPUT_OPTIONS, sparsities_check))
    policies = typer.Typer(
        help="Compression settings: presets, and a file of your own.", no_args_is_help=True
    )
    policies.command("list")(command_with(OUTPUT_OPTIONS, compressions_list))
    policies.command("show")(command_with(OUTPUT_OPTIONS, compressions_show))
    policies.command("check")(command_with(OUTPUT_OPTIONS, compressions_check))
    for name, group in (("formats", formats), ("sparsities", sparsities), ("compressions", policies)):
        app.add_typer(group, name=name)


def rows_out(
    options: Any, rows: list[dict[str, Any]], columns: list[str], data: Any = None, head: str = ""
) -> None:
    """Rows as JSON (``data`` if given), CSV, Parquet, or a table of ``columns`` under ``head``."""

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame(rows)

    def table() -> None:
        from rich.table import Table

        if head:
            console().print(head)
        shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for column in columns:
            number = bool(rows) and isinstance(rows[0].get(column), int | float)
            shown.add_column(column.replace("_", " "), justify="right" if number else "left", overflow="fold")
        for row in rows:
            shown.add_row(*(_text(row.get(c)) for c in columns))
        console().print(shown)

    emit(options, frame, lambda: rows if data is None else data, table)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.5g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


# --- formats ----------------------------------------------------------------------------------------


def _format_row(fmt: TensorFormat) -> dict[str, Any]:
    return {
        "name": fmt.name,
        "element_bits": fmt.element_bits,
        "bits_per_value": fmt.bits_per_value(SHOWN_ROWS, SHOWN_COLS),
        "value_type": fmt.value_type,
        "scaling": fmt.scaling,
        "group": fmt.group or None,
        "scale_bits": fmt.scale_bits or fmt.tensor_bits or None,
        "zero_bits": fmt.zero_bits or None,
        "symmetric": fmt.symmetric,
        "accumulator": fmt.accumulator,
        "description": fmt.description,
        "source": fmt.source,
    }


def formats_list(options: Any = None) -> int:
    """All listed formats with their stored bits per value of a 4096 x 4096 weight; patterns make more.

    Example: roofline formats list --csv
    """
    from viewer import formats

    rows = [_format_row(formats.get(name)) for name in formats.available()]
    rows_out(options, rows, ["name", "element_bits", "bits_per_value", "value_type", "scaling", "group"])
    return 0


def formats_show(
    name: Annotated[str, typer.Argument(help="format such as int4_g128_asym, fp8_e4m3_b128, gguf_q4_k")],
    options: Any = None,
) -> int:
    """One format: bits by shape, conversion work, and the error to expect of it.

    Example: roofline formats show int4_g128_asym
    """
    from viewer import formats
    from viewer.conversion import dequantize_ops_per_weight
    from viewer.error import assumed_sqnr_db

    fmt = formats.get(name)
    row = _format_row(fmt)
    for rows, cols in ((4096, 4096), (5120, 13824), (1024, 100)):
        row[f"bits_of_{rows}x{cols}"] = fmt.bits_per_value(rows, cols)
    row["dequantize_ops_per_value"] = dequantize_ops_per_weight(fmt)
    for distribution in ("gaussian", "laplace", "outlier_channels"):
        row[f"sqnr_db_{distribution}"] = assumed_sqnr_db(fmt.name, distribution)
    listed = [{"what": key, "value": value} for key, value in row.items()]
    rows_out(options, listed, ["what", "value"], data=row)
    return 0


def formats_check(
    file: Annotated[Path, typer.Argument(help=".safetensors, its index, or .gguf: only the header is read")],
    options: Any = None,
) -> int:
    """The formats that a checkpoint really stores: tensors, values and bytes of each.

    Example: roofline formats check model.safetensors
    """
    from viewer.checkpoints import read_header

    if not file.exists():
        raise InputError(f"checkpoint file {str(file)[:120]!r} does not exist")
    header = read_header(file)
    found: dict[str, dict[str, Any]] = {}
    for tensor in header.tensors:
        name = tensor.format or f"({tensor.dtype})"
        row = found.setdefault(name, {"format": name, "tensors": 0, "values": 0, "bytes": 0})
        row["tensors"] += 1
        row["values"] += tensor.values
        row["bytes"] += tensor.size_bytes
    rows = sorted(found.values(), key=lambda row: -row["bytes"])
    for row in rows:
        row["bits_per_value"] = 8.0 * row["bytes"] / row["values"] if row["values"] else None
    rows_out(options, rows, ["format", "tensors", "values", "bytes", "bits_per_value"])
    return 0


# --- sparsities -------------------------------------------------------------------------------------


def _scheme_row(name: str) -> dict[str, Any]:
    from viewer import formats, sparsity

    scheme = sparsity.get(name)
    kind = {sparsity.Structured: "structured", sparsity.ActivationSparsity: "activations"}.get(
        type(scheme), "attention"
    )
    row: dict[str, Any] = {"name": scheme.name, "kind": kind, "hardware_need": scheme.hardware_need}
    if isinstance(scheme, sparsity.WEIGHT_SCHEMES):
        row["kind"] = "weights"
        size = (SHOWN_ROWS, SHOWN_COLS)
        for fmt_name in ("bf16", "int8", "int4_g128"):
            fmt = formats.get(fmt_name)
            row[f"bytes_ratio_{fmt_name}"] = scheme.stored_bytes(fmt, *size) / fmt.stored_bytes(*size)
        everything = frozenset({"bf16", "fp16", "int8", "int4", "fp8", "tf32"})
        for math_type, types in (("bf16", everything), ("int4", everything), ("bf16", frozenset())):
            site = sparsity.Site(math_type, types, "gpu", *size)
            unit = "sparse_unit" if types else "dense_unit"
            row[f"executed_{math_type}_{unit}"] = scheme.execute(site).flops_factor
    return row


def sparsities_list(options: Any = None) -> int:
    """All listed schemes: what they apply to, stored bytes against dense BF16, what they need; patterns make more.

    Example: roofline sparsities list
    """
    from viewer import sparsity

    rows = [_scheme_row(name) for name in sparsity.available()]
    rows_out(options, rows, ["name", "kind", "bytes_ratio_bf16", "hardware_need"])
    return 0


def sparsities_show(
    name: Annotated[str, typer.Argument(help="scheme such as 2:4, sparse50-csr, rank1024, kvkeep20")],
    options: Any = None,
) -> int:
    """One scheme: stored bytes by format and executed FLOPs, each apart.

    Example: roofline sparsities show 2:4
    """
    row = _scheme_row(name)
    rows_out(options, [{"what": k, "value": v} for k, v in row.items()], ["what", "value"], data=row)
    return 0


def sparsities_check(
    file: Annotated[Path, typer.Argument(help="a compression file (YAML or JSON)")], options: Any = None
) -> int:
    """The schemes that a compression file uses, and what they need.

    Example: roofline sparsities check my-setting.yaml
    """
    from viewer.compression import read_file

    policy = read_file(file)
    names = [rule.sparsity for rule in policy.rules] + [rule.activation_sparsity for rule in policy.rules]
    used = dict.fromkeys([*policy.structure, *policy.attention, *(n for n in names if n and n != "none")])
    rows = [_scheme_row(name) for name in used]
    rows_out(options, rows, ["name", "kind", "bytes_ratio_bf16", "hardware_need"])
    return 0


# --- compressions -----------------------------------------------------------------------------------


def compressions_list(options: Any = None) -> int:
    """All listed presets with what their first rules say; parts join with "+", patterns make more.

    Example: roofline compressions list --json
    """
    from viewer.compression import available, load

    rows = []
    for name in available():
        policy = load(name)
        sparse = (
            _said(policy, "sparsity"),
            _said(policy, "activation_sparsity"),
            *policy.structure,
            *policy.attention,
        )
        rows.append(
            {
                "name": name,
                "weight": _said(policy, "weight"),
                "activation": _said(policy, "activation"),
                "cache": _said(policy, "kv") or _said(policy, "kv_k"),
                "sparsity": " ".join(part for part in sparse if part) or None,
                "rules": len(policy.rules),
            }
        )
    rows_out(options, rows, ["name", "weight", "activation", "cache", "sparsity"])
    return 0


def _said(policy: Compression, role: str) -> str | None:
    """What the first rule that speaks of a role says."""
    found = (getattr(rule, role) for rule in policy.rules)
    return next((value for value in found if value not in (None, "default16", "none")), None)


def compressions_show(
    name: Annotated[str, typer.Argument(help="preset such as w4a16-g128+kv8, or a YAML/JSON file")],
    model: Model = None,
    options: Any = None,
) -> int:
    """A setting as rules, or what they mean op by op for a model.

    Example: roofline compressions show w4a16-g128+kv4 --model llama-2-13b
    """
    from viewer.compression import load

    return _show(load(name), model, options)


def compressions_check(
    file: Annotated[Path, typer.Argument(help="YAML or JSON with rules")],
    model: Model = None,
    options: Any = None,
) -> int:
    """Check a file of your own: every mistake is one line; shows what it means.

    Example: roofline compressions check my-setting.yaml
    """
    from viewer.compression import read_file

    return _show(read_file(file), model, options)


def _show(policy: Compression, model: str | None, options: Any) -> int:
    for line in policy.notes:
        note(line)
    if model is not None:
        rows = resolved(policy, model)
        columns = ["layers", "op", "weight", "activation", "output", "cache", "sparsity", "bits_per_value"]
        rows_out(options, rows, columns, data={"name": policy.name, "model": model, "ops": rows})
        return 0
    data = {"name": policy.name, "rules": [rule.model_dump() for rule in policy.rules]}
    data |= {key: list(value) for key in ("structure", "attention") if (value := getattr(policy, key))}
    rows = [
        {
            "ops": " ".join(rule.ops),
            "says": ", ".join(f"{k} {v}" for k, v in rule.model_dump().items() if k != "ops"),
        }
        for rule in policy.rules
    ]
    extra = " ".join((*policy.structure, *policy.attention))
    rows_out(options, rows, ["ops", "says"], data=data, head=f"{policy.name} {extra}".strip())
    return 0


def resolved(policy: Compression, model_name: str) -> list[dict[str, Any]]:
    """What a policy means for every op with weights or a cache, by groups of layers that it treats alike."""
    from viewer.compression.shape import reshape
    from viewer.models import build_graph, load_model
    from viewer.storage import store

    model = reshape(load_model(model_name), policy)
    graph = store(build_graph(model), policy, model.dtype)
    rows = []
    for group, op in graph:
        matrices = [w for w in op.weights if w.cols > 1]
        cache = getattr(op, "cache", None)
        if not matrices and cache is None:
            continue
        values = sum(w.values for w in matrices)
        weight = matrices[0] if matrices else None
        rows.append(
            {
                "layers": group.name,
                "op": op.name,
                "weight": None if weight is None else weight.format.name,
                "activation": op.operands[0].name if op.operands else None,
                "output": op.outputs[0].format.name if op.outputs else None,
                "cache": None if cache is None else " ".join(dict.fromkeys(f.name for f in cache.formats)),
                "sparsity": weight.sparsity.name
                if weight is not None and weight.sparsity is not None
                else None,
                "bits_per_value": 8 * sum(w.stored_bytes for w in matrices) / values if values else None,
            }
        )
    return rows
