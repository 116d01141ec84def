"""``roofline models`` and ``roofline hardware``: list, show, check."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, command_with, console, emit, note


def register(app: typer.Typer) -> None:
    """Add the command groups."""
    models = typer.Typer(
        help="Models: the catalog, and what a configuration file describes.", no_args_is_help=True
    )
    hardware = typer.Typer(help="Devices: figures with their sources; checks a file.", no_args_is_help=True)
    models.command("list")(command_with(OUTPUT_OPTIONS, models_list))
    models.command("show")(command_with(OUTPUT_OPTIONS, models_show))
    models.command("check")(command_with(OUTPUT_OPTIONS, models_check))
    hardware.command("list")(command_with(OUTPUT_OPTIONS, hardware_list))
    hardware.command("show")(command_with(OUTPUT_OPTIONS, hardware_show))
    hardware.command("check")(command_with(OUTPUT_OPTIONS, hardware_check))
    app.add_typer(models, name="models")
    app.add_typer(hardware, name="hardware")


def _table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        number = rows and isinstance(rows[0].get(column), int | float)
        table.add_column(column.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(text_of(row.get(c)) for c in columns))
    console().print(table)


def text_of(value: Any) -> str:
    """A cell for a person: a dash for nothing, four digits of a fraction, thousands separators."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def rows_out(options: Any, rows: list[dict[str, Any]], columns: list[str], data: Any = None) -> None:
    """Rows as a table of some columns for a person, or all of them (or ``data``) as data."""

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame(rows)

    emit(options, frame, lambda: rows if data is None else data, lambda: _table(rows, columns))


def models_list(options: Any = None) -> int:
    """The catalog: name, parameters, layers, published count.

    Example: roofline models list --json
    """
    from viewer.models import catalog_names, load_model
    from viewer.models.build import build_graph

    rows = []
    for name in catalog_names():
        spec = load_model(name)
        rows.append(
            {
                "name": name,
                "model_type": spec.model_type,
                "layers": len(spec.layers),
                "hidden": spec.hidden,
                "parameter_count": build_graph(spec).parameter_count,
                "published_parameter_count": spec.published,
            }
        )
    rows_out(options, rows, ["name", "model_type", "layers", "hidden", "parameter_count"])
    return 0


def models_show(
    name: Annotated[str, typer.Argument(help="catalog name, config.json, folder, .safetensors, .gguf")],
    options: Any = None,
) -> int:
    """What a model is: layer groups, ops and parameters.

    Example: roofline models show llama-2-13b
    """
    from viewer.models import load_model
    from viewer.models.build import build_graph

    spec = load_model(name)
    graph = build_graph(spec)
    for line in graph.notes:
        note(line)
    rows = [
        {
            "layers": group.name,
            "repeat": group.repeat,
            "op": op.name,
            "kind": op.kind,
            "weights": " + ".join(
                f"{w.rows}×{w.cols}" + (f"×{w.count}" if w.count > 1 else "") for w in op.weights
            ),
            "parameter_count": op.parameter_count,
        }
        for group, op in graph
    ]
    data = {
        "name": spec.name,
        "model_type": spec.model_type,
        "parameter_count": graph.parameter_count,
        "published_parameter_count": spec.published,
        "published_source": spec.published_source,
        "hidden": spec.hidden,
        "vocab": spec.vocab,
        "layers": len(spec.layers),
        "notes": list(graph.notes),
        "ops": rows,
    }

    def table() -> None:
        console().print(
            f"{spec.name} ({spec.model_type}): {graph.parameter_count:,} parameters"
            + (f", published {spec.published:,}" if spec.published else "")
            + f"; {len(spec.layers)} layers, hidden {spec.hidden}, vocabulary {spec.vocab}"
        )
        _table(rows, ["layers", "repeat", "op", "weights", "parameter_count"])

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame(rows)

    emit(options, frame, lambda: data, table)
    return 0


def models_check(
    file: Annotated[str, typer.Argument(help="config.json, folder, .safetensors, .gguf")], options: Any = None
) -> int:
    """Read your own model file: what it describes, or one line that says what is wrong with it.

    Example: roofline models check ./my-model/config.json
    """
    return models_show(file, options)


def hardware_list(options: Any = None) -> int:
    """All devices: memory, bandwidth, the 16-bit peak.

    Example: roofline hardware list --csv
    """
    from hardware_specs import available
    from viewer.planned import hardware_of

    rows = []
    for name in available():
        hw = hardware_of(name)
        dram = hw.memory("dram")
        kinds = [t for t in ("bf16", "fp16", "fp32") if hw.has_peak("tensor", t)]
        rows.append(
            {
                "name": name,
                "label": hw.label,
                "kind": hw.kind,
                "memory_gb": _value(dram and dram.capacity_bytes, 1e-9),
                "bandwidth_gb_s": _value(dram and dram.bandwidth_bytes_per_s, 1e-9),
                "peak_type": kinds[0] if kinds else None,
                "peak_tflop_s": hw.peak("tensor", kinds[0]) * 1e-12 if kinds else None,
            }
        )
    rows_out(options, rows, ["name", "memory_gb", "bandwidth_gb_s", "peak_type", "peak_tflop_s"])
    return 0


def _figure(value: float, unit: str) -> str:
    from viewer.units import format_quantity

    prefixed = unit in ("B", "B/s", "FLOP/s", "OP/s", "op/s", "Hz", "W", "s")
    return format_quantity(value, unit, 4) if prefixed else f"{value:,.6g} {unit}".rstrip()


def _value(quantity: Any, scale: float = 1.0) -> float | None:
    return None if quantity is None else float(quantity.value) * scale


def hardware_show(
    name: Annotated[str, typer.Argument(help="device name, or a YAML/JSON file")], options: Any = None
) -> int:
    """Every figure of a device with its kind, how it was checked, and its source.

    Example: roofline hardware show nvidia/a6000
    """
    from viewer.planned import hardware_of

    hw = hardware_of(name)
    rows = [
        dict(vars(figure)) if not hasattr(figure, "model_dump") else figure.model_dump()
        for figure in hw.figures()
    ]
    data = {"name": hw.name, "label": hw.label, "architecture": hw.architecture, "figures": rows}

    def table() -> None:
        console().print(f"{hw.label} ({hw.name}, {hw.architecture})")
        shown = [{**row, "value": _figure(row["value"], row["unit"])} for row in rows]
        _table(shown, ["what", "value", "kind", "seen", "source"])

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame(rows)

    emit(options, frame, lambda: data, table)
    return 0


def hardware_check(
    file: Annotated[str, typer.Argument(help="a YAML or JSON file of one device")], options: Any = None
) -> int:
    """Read your own device file: its figures, or one line that says what is wrong with it.

    Example: roofline hardware check ./my-gpu.yaml
    """
    return hardware_show(file, options)
