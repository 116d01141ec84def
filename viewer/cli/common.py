"""What the commands share: scenario options, data output, tables, and errors as one line with exit status 2."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from viewer.scenario import Scenario

#: Wide enough for every table, narrow enough for a terminal of 80 columns.
TABLE_WIDTH = 80


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run the app; every user error becomes one line on stderr and status 2."""
    command = typer.main.get_command(app)
    _said.clear()
    try:
        result = command.main(list(arguments), prog_name="roofline", standalone_mode=False)
    except (InputError, ValueError) as error:
        if not isinstance(error, InputError) and type(error).__name__ != "HardwareError":
            raise
        return complain(str(error))
    except (KeyboardInterrupt, EOFError):
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        message = getattr(error, "format_message", None)
        if type(error).__name__ == "Abort":
            return 130
        if type(error).__name__ == "Exit":
            return int(getattr(error, "exit_code", 0))
        if message is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message())
            return 0
        return complain(message())
    return int(result) if isinstance(result, int) else 0


def complain(message: str) -> int:
    """One line on stderr; exit status 2."""
    print("roofline: " + " ".join(message.split()), file=sys.stderr)
    return 2


_said: set[str] = set()


def note(message: str) -> None:
    """A quiet note on stderr, so that stdout carries data only; each note is said once."""
    if message not in _said:
        _said.add(message)
        print(f"note: {message}", file=sys.stderr)


# --- the scenario options that many commands take -------------------------------------------------

Opt = typer.Option
SCENARIO_OPTIONS: dict[str, tuple[Any, Any]] = {
    "phase": (Annotated[str | None, Opt(help="decode (default), prefill, generate …")], None),
    "batch": (Annotated[int | None, Opt(help="requests (1)")], None),
    "prompt": (Annotated[int | None, Opt(help="new tokens per request of a prefill (1024)")], None),
    "context": (Annotated[int | None, Opt(help="tokens cached before a decode step (1024)")], None),
    "output": (Annotated[int | None, Opt(help="tokens of the answer (generate: 128)")], None),
    "cached": (Annotated[int | None, Opt(help="tokens of the prompt that are cached (0)")], None),
    "set_": (Annotated[list[str] | None, Opt("--set", help="any other field, as name=value")], None),
    "compression": (Annotated[str | None, Opt(help="as w4a16-g128+kv8, or a file (checkpoint)")], None),
    "attention": (Annotated[str | None, Opt(help="flash (default) or eager")], None),
    "fusion": (Annotated[str | None, Opt(help="eager, flash, inductor, serving (default)")], None),
    "mla": (Annotated[str | None, Opt(help="auto (default), naive or absorbed")], None),
    "fidelity": (Annotated[str | None, Opt(help="bound (default) or estimate")], None),
    "clock": (Annotated[str | None, Opt(help="rated (default) or maximum")], None),
    "overlap": (Annotated[float | None, Opt(help="1 (default): max(compute, memory); 0: sum")], None),
    "tp": (Annotated[int | None, Opt(help="tensor-parallel devices (1)")], None),
    "pp": (Annotated[int | None, Opt(help="pipeline stages (1)")], None),
    "ep": (Annotated[int | None, Opt(help="expert-parallel devices (1)")], None),
    "dp": (Annotated[int | None, Opt(help="data-parallel replicas (1)")], None),
    "scenario": (Annotated[Path | None, Opt(help="a saved scenario (JSON); options override it")], None),
}
OUTPUT_OPTIONS: dict[str, tuple[Any, Any]] = {
    "json_": (Annotated[bool, Opt("--json", help="JSON on stdout")], False),
    "csv": (Annotated[bool, Opt("--csv", help="CSV on stdout")], False),
    "parquet": (Annotated[Path | None, Opt(help="write a Parquet file")], None),
}
_CONFIG_BYTES = 1 << 16
_LOAD_FIELDS = ("phase", "batch", "prompt", "context", "output", "cached")


def command_with(
    options: dict[str, tuple[Any, Any]], function: Callable[..., Any], *, drop: Iterable[str] = ()
) -> Callable[..., Any]:
    """``function`` with ``options`` added to its signature; it receives them as one dict argument ``options``."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "options"]
    for parameter in own:
        _complete(parameter.name, parameter.annotation)
    names = [n for n in options if n not in set(drop)]
    added = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=options[n][1], annotation=options[n][0])
        for n in names
    ]

    @functools.wraps(function)
    def wrapper(**given: Any) -> Any:
        collected = {n: given.pop(n) for n in names}
        return function(**given, options=collected)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    wrapper.__signature__ = inspect.Signature(parameters + added)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
    return wrapper


def scenario_of(model: str | None, hardware: str | None, options: dict[str, Any]) -> Scenario:
    """The scenario of a command line: the saved one, if any, with what was given on top."""
    from viewer.models.config import read_json
    from viewer.scenario import Assumptions, Parallel, scenario_from

    if options.get("scenario") is not None:
        base: dict[str, Any] = read_json(options["scenario"])
    else:
        base = config_defaults()
    if model is not None:
        base["model"] = model
    if hardware is not None:
        base["hardware"] = hardware
    for name in ("model", "hardware"):
        if not base.get(name):
            raise InputError(f"missing argument {name.upper()} (or a --scenario file that has it)")
    own = [k for k in SCENARIO_OPTIONS if k not in ("scenario", "set_")]
    given = {k: options[k] for k in own if options.get(k) is not None}
    given.update(_settings(options.get("set_") or []))
    base["workload"] = workload_of(base.get("workload") or {}, given)
    for name, value in given.items():
        if name in Parallel.model_fields:
            base.setdefault("parallel", {})[name] = value
        elif name in Assumptions.model_fields:
            base.setdefault("assumptions", {})[name] = value
        elif name not in _LOAD_FIELDS and name not in base["workload"]:
            base[name] = value
    return scenario_from(base)


def _settings(pairs: list[str]) -> dict[str, Any]:
    """``name=value`` pairs; values are read as JSON where they are JSON."""
    out: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise InputError(f"--set {pair[:60]!r} is not name=value")
        try:
            out[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            out[name.strip()] = value
    return out


def workload_of(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The workload's fields for its phase; a length that the phase does not have is ignored with a note."""
    from viewer.errors import unknown
    from viewer.workload import workload_kinds

    phase = given.get("phase", base.get("phase", "decode"))
    kinds = workload_kinds()
    if phase not in kinds:
        raise unknown("phase", str(phase), kinds)
    fields = kinds[phase].model_fields
    out = {k: v for k, v in base.items() if k in fields}
    for name, value in given.items():
        if name in fields:
            out[name] = value
        elif name in _LOAD_FIELDS:
            note(f"--{name} is ignored: phase {phase} has no {name}")
    return {**out, "phase": phase}


# --- completion and defaults ----------------------------------------------------------------------


def _complete(name: str, annotation: Any) -> None:
    """Let the shell complete names of models, devices and settings."""
    source = _COMPLETIONS.get(name)
    for info in getattr(annotation, "__metadata__", ()):
        if source is not None and getattr(info, "autocompletion", True) is None:
            info.autocompletion = source


def _models(incomplete: str) -> list[str]:
    from viewer.models import catalog_names

    return [name for name in catalog_names() if name.startswith(incomplete)]


def _devices(incomplete: str) -> list[str]:
    from hardware_specs import available

    return [name for name in available() if name.startswith(incomplete)]


def _settings_of(incomplete: str) -> list[str]:
    """Presets; after a ``+``, presets to join."""
    from viewer.compression.presets import available

    head, plus, last = incomplete.rpartition("+")
    return [f"{head}{plus}{name}" for name in available() if name.startswith(last)]


_COMPLETIONS: dict[str, Callable[[str], list[str]]] = {
    "model": _models,
    "hardware": _devices,
    "draft": _models,
    "compression": _settings_of,
    "against": _settings_of,
}
_complete("compression", SCENARIO_OPTIONS["compression"][0])


def config_path() -> Path:
    """The file of the user's defaults: ROOFLINE_CONFIG, else roofline/config.toml in the configuration folder."""
    if override := os.environ.get("ROOFLINE_CONFIG"):
        return Path(override).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or (os.environ.get("APPDATA") if os.name == "nt" else "")
    return (Path(base) if base else Path.home() / ".config") / "roofline" / "config.toml"


def config_defaults() -> dict[str, Any]:
    """The user's defaults as parts of a scenario; {} without a file. A bad file is an InputError that names it.

    Keys are those of a scenario's assumptions and layout, and ``model``, ``hardware``, ``compression``. Options
    override them; a saved scenario is complete and takes none of them.
    """
    import tomllib

    path = config_path()
    try:
        text = path.read_bytes()[: _CONFIG_BYTES + 1]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    try:
        if len(text) > _CONFIG_BYTES:
            raise InputError(f"{path}: larger than {_CONFIG_BYTES} bytes")
        data = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    found = _placed(data, str(path))
    if data:
        note(f"defaults of {path}: " + ", ".join(f"{k}={v}" for k, v in data.items()))
    return found


def _placed(data: dict[str, Any], where: str) -> dict[str, Any]:
    """Plain defaults put where a scenario has them, each checked by the scenario's own rules."""
    from pydantic import ValidationError

    from viewer.errors import unknown
    from viewer.scenario import Assumptions, Parallel, one_line

    top = ("model", "hardware", "compression")
    allowed = (*top, *Assumptions.model_fields, *Parallel.model_fields)
    found: dict[str, Any] = {}
    for key, value in data.items():
        if key not in allowed:
            raise InputError(f"{where}: {unknown('default', key, allowed, limit=4)}")
        if key in top:
            if not isinstance(value, str):
                raise InputError(f"{where}: {key} = {value!r}: expected a text")
            found[key] = value
            continue
        part, kind = (
            ("assumptions", Assumptions) if key in Assumptions.model_fields else ("parallel", Parallel)
        )
        try:
            kind.model_validate({key: value})
        except ValidationError as error:
            raise InputError(one_line(error, where)) from None
        found.setdefault(part, {})[key] = value
    return found


# --- output ---------------------------------------------------------------------------------------


def emit(
    options: dict[str, Any],
    frame: Callable[[], pd.DataFrame],
    data: Callable[[], Any],
    table: Callable[[], None],
) -> None:
    """Data where asked for (JSON, CSV on stdout; Parquet to a file), else the table for a person."""
    if options.get("parquet") is not None:
        write_parquet(frame(), options["parquet"])
    if options.get("json_"):
        print(json.dumps(clean(data()), indent=1, allow_nan=False))
    elif options.get("csv"):
        sys.stdout.write(frame().to_csv(index=False))
    elif options.get("parquet") is None:
        table()


def clean(value: Any) -> Any:
    """``value`` as JSON types: numpy scalars to Python, NaN and infinities to null, whole floats to ints."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a Parquet file atomically; says so when the reader's extra is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError("--parquet needs pyarrow: pip install 'roofline[data]'") from None
    atomic(path, lambda temporary: frame.to_parquet(temporary, index=False))


def atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: nothing half-written is ever seen."""
    if not path.parent.is_dir():
        raise InputError(f"folder {str(path.parent)!r} does not exist")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".roofline-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def console() -> Any:
    """A rich console on stdout: at most TABLE_WIDTH wide where the terminal's width is not known."""
    from rich.console import Console

    columns = os.environ.get("COLUMNS", "")
    width = None if sys.stdout.isatty() else int(columns) if columns.isdecimal() else TABLE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False, markup=False)
