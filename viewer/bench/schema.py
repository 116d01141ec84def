"""The result file of a campaign: everything needed to judge a number later, and the raw samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from viewer.bench.statistics import Summary
from viewer.errors import InputError

SCHEMA_VERSION = 1
MAX_FILE_BYTES = 20_000_000

Flag = Literal["throttled", "disturbed", "not_converged", "emulated"]
Unit = Literal["op/s", "B/s", "s", "cycles"]
Quality = Literal["A", "B", "C"]


class Strict(BaseModel):
    """Unknown fields are errors, values are final, infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Run(Strict):
    """Where, when and how the campaign ran. ``complete`` is false when it was interrupted."""

    id: str
    utc: str
    tool_version: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    command: str
    mode: Literal["quick", "full"]
    duration_s: float = Field(ge=0)
    complete: bool
    container: str | None = None
    load_average: float | None = None
    seed: int
    notes: list[str] = []


class Device(BaseModel):
    """The device: ``name``, ``kind``, and whatever else it could be asked (clocks, caches, ECC, PCIe ...)."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    kind: Literal["cpu", "gpu"]
    hardware: str | None = None


class KernelInfo(Strict):
    """The code that ran, as compiled."""

    id: str
    source_sha256: str | None = None
    cubin_sha256: str | None = None
    arch: str | None = None
    instruction: str | None = None
    opcodes: dict[str, int] | None = None
    registers: int | None = None
    shared_bytes: int | None = None
    spill_bytes: int | None = None
    compiler: str | None = None
    log: str | None = None


class Result(Strict):
    """What was measured. ``value`` is the headline in ``unit``; ``uncertainty`` is relative.

    ``ops`` and ``bytes`` are those of one sample (one timed batch) over all threads or blocks, counted as
    ``counted`` says.
    """

    metric: str
    unit: Unit
    value: float = Field(gt=0)
    best: float = Field(gt=0)
    uncertainty: float = Field(ge=0)
    dtype: str | None = None
    accumulate: str | None = None
    structure: Literal["dense", "sparse"] = "dense"
    instruction: str | None = None
    regime: Literal["burst", "sustained", "zeros"] = "sustained"
    threads: int | None = None
    working_set_bytes: int | None = None
    ops: float = 0.0
    bytes: float = 0.0
    counted: str
    launch: dict[str, int] = {}
    shape: dict[str, int] = {}
    distribution: str = ""
    cache_state: str = ""
    batch: int = 1
    quality: Quality = "A"
    note: str = ""


class Samples(Strict):
    """Raw, in the order taken; ``process`` says which fresh process each belongs to."""

    seconds: list[float]
    process: list[int]
    clock_hz: list[float] | None = None
    power_w: list[float] | None = None
    temperature_c: list[float] | None = None
    energy_j: float | None = None


class Stats(Strict):
    """Statistics of ``samples.seconds`` (all processes together, medians also one by one)."""

    n: int
    min: float
    q1: float
    median: float
    q3: float
    max: float
    mean: float
    std: float
    rel_iqr: float
    ci95_lo: float
    ci95_hi: float
    drift: float
    steady: bool
    process_medians: list[float]
    stopped: str
    other_cpu_share: float | None = None

    @classmethod
    def of(cls, summary: Summary, **more: Any) -> Stats:
        """From a Summary; steady = the drift is within 1 %."""
        fields = {name: getattr(summary, name) for name in Summary.__slots__}
        return cls(**fields, steady=abs(summary.drift) <= 0.01, **more)


class Validity(Strict):
    """Checks of the result itself."""

    numeric_error: float | None = None
    numeric_ok: bool | None = None
    op_per_clock_per_core: float | None = None
    expected_op_per_clock: float | None = None
    note: str = ""


class Record(Strict):
    """One benchmark."""

    id: str
    kernel: KernelInfo
    result: Result
    samples: Samples
    stats: Stats
    flags: list[Flag] = []
    validity: Validity = Validity()


class Campaign(Strict):
    """A whole result file."""

    schema_version: Literal[1] = 1
    run: Run
    device: Device
    software: dict[str, Any]
    records: list[Record]

    def record(self, record_id: str) -> Record | None:
        """The record with that id, or None."""
        return next((r for r in self.records if r.id == record_id), None)


def load_campaign(path: Path) -> Campaign:
    """Reads a result file; InputError in one line when it is absent, too large, not JSON or not a campaign."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not JSON") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {version!r} (this tool reads {SCHEMA_VERSION})")
    try:
        return Campaign.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}") from None
