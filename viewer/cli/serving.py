"""``roofline serve`` and ``roofline speculate``: layouts and batch sizes of a deployment; speculative decoding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.cli.common import OUTPUT_OPTIONS, SCENARIO_OPTIONS, command_with, console, emit, note, scenario_of
from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = (
    "tp", "pp", "ep", "dp", "batch", "ttft_s", "tpot_s", "tokens_per_s_per_user", "tokens_per_s_per_device",
)  # fmt: skip
_HEADINGS = ("tp", "pp", "ep", "dp", "batch", "TTFT", "TPOT", "tok/s user", "tok/s device")
Name = Annotated[str | None, typer.Argument(help="catalog name, config.json, folder, .safetensors, .gguf")]
Device = Annotated[str | None, typer.Argument(help="device name, or a YAML/JSON file")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    drop = ("phase", "context", "batch")
    app.command("serve")(command_with({**SCENARIO_OPTIONS, **OUTPUT_OPTIONS}, serve_command, drop=drop))
    app.command("speculate")(command_with({**SCENARIO_OPTIONS, **OUTPUT_OPTIONS}, speculate_command))


def serve_command(
    model: Name = None,
    hardware: Device = None,
    devices: Annotated[int | None, typer.Option(help="try every layout of so many devices")] = None,
    batches: Annotated[str | None, typer.Option(help="batch sizes, as 1,8,64")] = None,
    mode: Annotated[str, typer.Option(help="continuous or static batching")] = "continuous",
    chunk: Annotated[int | None, typer.Option(help="prompt tokens per step (continuous)")] = None,
    ttft: Annotated[float | None, typer.Option(help="objective: seconds to the first token")] = None,
    tpot: Annotated[float | None, typer.Option(help="objective: seconds per further token")] = None,
    price: Annotated[float | None, typer.Option(help="price of one device per hour")] = None,
    options: Any = None,
) -> int:
    """Latency, throughput and cost of layouts and batch sizes; the Pareto front; goodput within an objective.

    Example: roofline serve llama-3.1-70b nvidia/h100-sxm --devices 8 --prompt 2048 --output 256 --ttft 1 --tpot 0.05
    """
    from viewer.serving import BATCHES, Requests, frontier, goodput

    lengths = {name: options.pop(name, None) for name in ("prompt", "output", "cached")}
    base = scenario_of(model, hardware, {**options, "phase": "decode"})
    if price is not None:
        base = base.with_(price_per_hour=price)
    requests = Requests(
        prompt=_or(lengths["prompt"], 1024),
        output=_or(lengths["output"], 128),
        cached=_or(lengths["cached"], 0),
        **({} if chunk is None else {"chunk": chunk}),
    )
    sizes = BATCHES if batches is None else _sizes(batches)
    frame, refused = frontier(
        base, requests, devices=devices, batches=sizes, mode=mode, ttft_slo_s=ttft, tpot_slo_s=tpot
    )
    for line in refused:
        note(f"left out: {line}")
    best = goodput(frame)
    emit(
        options,
        lambda: frame,
        lambda: {"schema": 1, "points": frame.to_dict("records"), "goodput": best},
        lambda: _print(frame, best, base.assumptions.fidelity),
    )
    return 1 if best is None else 0


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"--batches {text[:60]!r} is not a list of whole numbers, as 1,8,64") from None
    if not sizes or sizes[0] < 1 or sizes[-1] > 10**9 or len(sizes) > 10_000:
        raise InputError(f"--batches {text[:60]!r}: allowed are 1 to 1000000000, at most 10000 of them")
    return sizes


def _print(frame: pd.DataFrame, best: dict[str, Any] | None, label: str) -> None:
    from rich.table import Table

    out = console()
    front = frame[frame["pareto"]].sort_values("tokens_per_s_per_user")
    out.print(f"Pareto front of {len(frame)} points ({label}):")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in front.to_dict("records"):
        table.add_row(*(_cell(str(name), row[name]) for name in _SHOWN))
    out.print(table)
    if best is None:
        out.print("no point fits, keeps up and meets the objective")
        return
    layout = " ".join(f"{name}={best[name]}" for name in ("tp", "pp", "ep", "dp", "batch"))
    out.print(
        f"goodput {best['requests_per_s']:.4g} requests/s ({best['tokens_per_s_per_device']:.4g} tokens/s per device) "
        f"at {layout}"
    )
    if best["energy_bound_j_per_token"] == best["energy_bound_j_per_token"]:
        out.print(f"at most {best['energy_bound_j_per_token']:.4g} J per token (bound: power limit x time)")
    if best["cost_per_million_tokens"] == best["cost_per_million_tokens"]:
        out.print(f"{best['cost_per_million_tokens']:.4g} per million tokens ({label})")


def _cell(name: str, value: Any) -> str:
    from viewer.units import format_quantity

    if name.endswith("_s") and not name.startswith("tokens"):
        return format_quantity(value, "s", 3)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def speculate_command(
    model: Name = None,
    hardware: Device = None,
    draft: Annotated[str, typer.Option(help="the model that drafts")] = "",
    acceptance: Annotated[float, typer.Option(help="share of drafted tokens that is accepted, 0 to 1")] = 0.8,
    drafted: Annotated[int, typer.Option(help="tokens drafted per round")] = 4,
    draft_config: Annotated[Path | None, typer.Option(help="a saved scenario of the draft model")] = None,
    options: Any = None,
) -> int:
    """Speculative decoding: expected tokens per round and the speed-up, as a ceiling.

    Example: roofline speculate llama-3.1-70b nvidia/h100-sxm --draft llama-3.1-8b --tp 4 --acceptance 0.7
    """
    from dataclasses import asdict

    from viewer.models.config import read_json
    from viewer.scenario import scenario_from
    from viewer.serving import speculate

    target = scenario_of(model, hardware, {**options, "phase": options.get("phase") or "decode"})
    if draft_config is not None:
        drafting = scenario_from(read_json(draft_config))
    elif draft:
        drafting = target.with_(model=draft)
    else:
        raise InputError("missing --draft MODEL (or --draft-config FILE)")
    result = speculate(target, drafting, acceptance, drafted)
    row = {**asdict(result), "speedup": result.speedup}

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame([row])

    def table() -> None:
        from viewer.units import format_quantity as si

        console().print(
            f"{result.tokens:.3f} tokens a round of {si(result.round_s, 's', 4)} "
            f"({drafted} x {si(result.draft_s, 's', 4)} + {si(result.verify_s, 's', 4)}): "
            f"{si(result.tpot_s, 's', 4)} per token, plain {si(result.plain_tpot_s, 's', 4)}, "
            f"speed-up {result.speedup:.3g} ({target.assumptions.fidelity}; a ceiling)"
        )

    emit(options, frame, lambda: row, table)
    return 0
