"""``roofline sweep``: a tidy table over any axes."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from viewer.cli.common import (
    OUTPUT_OPTIONS,
    SCENARIO_OPTIONS,
    atomic,
    command_with,
    console,
    note,
    scenario_of,
)
from viewer.cli.pictures import CHART_OPTION, check_chart, write_chart
from viewer.errors import InputError

#: More points than a page can draw at ease.
MAX_CHART_ROWS = 200_000


def register(app: typer.Typer) -> None:
    """Add the what-if commands: sweep, and those of the files beside this one."""
    from viewer.cli import compare, figures, plan, solve

    app.command("sweep")(command_with({**SCENARIO_OPTIONS, **OUTPUT_OPTIONS, **CHART_OPTION}, sweep_command))
    for module in (compare, solve, plan, figures):
        module.register(app)


def sweep_command(
    model: Annotated[str | None, typer.Argument(help="catalog name or file")] = None,
    hardware: Annotated[str | None, typer.Argument(help="device name or file")] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="name=start:stop:log|lin:count, or name=v1,v2")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="address of a Dask scheduler, or 'local'")] = None,
    options: Any = None,
) -> int:
    """Evaluate every point of the axes: one row a point, discrete axes slowest.

    Example: roofline sweep llama-2-13b a6000 --axis batch=1:512:log --axis compression=w16a16,w4a16-g128
    """
    from viewer.whatif import axis_of

    check_chart(options["chart"])
    axes = [axis_of(spec) for spec in axis or []]
    given = {a.name: a for a in axes}
    if len(given) != len(axes):
        raise InputError("an axis was given twice")
    model = model or _first(given, "model")
    hardware = hardware or _first(given, "hardware")
    scenario = scenario_of(model, hardware, options)
    for one in axes:
        asked = getattr(one.values, "size", len(one.values))
        note(f"axis {one.name}: {asked} points")
    if cluster:
        from viewer.whatif.cluster import cluster_executor

        with cluster_executor(cluster) as executor:
            _write(scenario, axes, options, executor)
    else:
        _write(scenario, axes, options, None)
    return 0


def _first(given: dict[str, Any], name: str) -> str | None:
    return given[name].values[0] if name in given else None


def _write(scenario: Any, axes: list[Any], options: dict[str, Any], executor: Any) -> None:
    from viewer.whatif import sweep, sweep_chunks

    if options["parquet"] is not None:
        import time

        counted = _Counter(_progress())
        start = time.perf_counter()
        chunks = sweep_chunks(scenario, axes, executor=executor, progress=counted)
        _write_parquet(chunks, options["parquet"])
        seconds = time.perf_counter() - start
        note(
            f"{counted.done:,} points in {seconds:.2f} s ({counted.done / seconds:,.0f} points/s, file written)"
        )
        if not (options["json_"] or options["csv"]):
            return
    if options["csv"]:
        chunks = sweep_chunks(scenario, axes, executor=executor, progress=_progress())
        for index, frame in enumerate(chunks):
            sys.stdout.write(frame.to_csv(index=False, header=index == 0))
        return
    frame = sweep(scenario, axes, executor=executor, progress=_progress())
    if options["chart"] is not None:
        _chart(frame, axes, options["chart"])
    if options["json_"]:
        import json

        from viewer.cli.common import clean

        print(json.dumps(clean(frame.to_dict(orient="records")), indent=1))
        return
    _table(frame, [a.name for a in axes])


def _chart(frame: Any, axes: list[Any], path: Any) -> None:
    """Lines along one numeric axis, a map over two."""
    from viewer.charts.whatif_sweep import sweep_chart

    if len(frame) > MAX_CHART_ROWS:
        raise InputError(f"--chart draws at most {MAX_CHART_ROWS:,} points, not {len(frame):,}")
    names = [a.name for a in axes]
    discrete = [a.name for a in axes if isinstance(a.values, tuple)]
    columns = {n: frame[n].tolist() for n in (*names, "time_s", "fits")}
    columns["fits"] = [None if v is None or v != v else bool(v) for v in frame["fits"].astype(object)]
    write_chart(sweep_chart(columns, [n for n in names if n not in discrete], discrete), path, "Sweep")


class _Counter:
    """Counts points, and passes progress on."""

    def __init__(self, show: Any) -> None:
        self.show, self.done = show, 0

    def __call__(self, done: int, total: int) -> None:
        self.done = done
        if self.show is not None:
            self.show(done, total)


def _progress() -> Any:
    """Progress on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else "\r"
        print(f"{done:,} of {total:,} points", file=sys.stderr, end=end, flush=True)

    return show


def _write_parquet(frames: Any, path: Any) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError("--parquet needs pyarrow: pip install 'roofline[data]'") from None

    def write(temporary: Any) -> None:
        writer = None
        try:
            for frame in frames:
                table = pa.Table.from_pandas(frame, preserve_index=False)
                if writer is None:
                    # a dictionary pays for words only; building one for every float column takes most of the time
                    words = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
                    how = {"compression": "zstd", "compression_level": 1, "use_dictionary": words}
                    writer = pq.ParquetWriter(temporary, table.schema, **how)
                writer.write_table(table.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()

    atomic(path, write)


def _table(frame: Any, axes: list[str]) -> None:
    from rich.table import Table

    from viewer.units import format_quantity as si

    shown = frame if len(frame) <= 60 else frame.iloc[:: max(1, len(frame) // 40)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in (*axes, "time", "tokens/s", "memory", "bound", "fits"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in shown.to_dict(orient="records"):
        values = [f"{row[a]:,.6g}" if isinstance(row[a], float) else str(row[a]) for a in axes]
        fits = {True: "yes", False: "no"}.get(row["fits"], "–") if row["fits"] in (True, False) else "–"
        numbers = [si(row["time_s"], "s"), f"{row['tokens_per_s']:,.4g}", si(row["total_bytes"], "B")]
        table.add_row(*values, *numbers, row["bound"], fits)
    console().print(table)
    if len(shown) < len(frame):
        note(
            f"every {max(1, len(frame) // 40)}th of {len(frame):,} rows is shown; --csv or --parquet has them all"
        )
