"""The scenario: model, hardware, workload, compression, parallel layout and assumptions as one frozen value.

Its JSON is the link of the dashboard, the cache key, the appendix of a report and the ``--scenario`` of the command.
A what-if is two scenarios, not a mode.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from viewer.errors import InputError, nearest
from viewer.workload import Decode, Workload

SCHEMA_VERSION = 1


class Parallel(BaseModel):
    """Devices: tensor (tp), pipeline (pp), expert (ep) and data (dp) parallel degrees; everything 1 is one device.

    The batch of a workload is that of all devices together: ``dp`` replicas share it, ``micro_batches`` cut one
    replica's share. ``ep`` > ``tp`` implies at least ep/tp replicas of the attention. ``sequence``: norms and adds work
    on T/tp rows (reduce-scatter + all-gather instead of all-reduce). ``comm_overlap``: share of collective time hidden
    behind compute. Links come from the hardware's description; ``link_*`` (inside a node of ``node_devices``) and
    ``network_*`` (between nodes) replace or add them: bytes/s per device and direction, seconds per hop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    tp: int = Field(1, ge=1, le=4096)
    pp: int = Field(1, ge=1, le=4096)
    ep: int = Field(1, ge=1, le=4096)
    dp: int = Field(1, ge=1, le=4096)
    sequence: bool = False
    comm_overlap: float = Field(0.0, ge=0.0, le=1.0)
    micro_batches: int = Field(1, ge=1, le=1_000_000)
    link_bytes_per_s: float | None = Field(None, gt=0.0, le=1e16)
    network_bytes_per_s: float | None = Field(None, gt=0.0, le=1e16)
    link_latency_s: float | None = Field(None, ge=0.0, le=1.0)
    network_latency_s: float | None = Field(None, ge=0.0, le=1.0)
    node_devices: int | None = Field(None, ge=2, le=1_000_000)

    @property
    def replicas(self) -> int:
        """Replicas of the attention: dp, or what ep > tp implies."""
        return max(self.dp, self.ep // self.tp)

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.tp * self.pp * self.replicas


class Assumptions(BaseModel):
    """Everything that is neither model nor hardware nor load, with the defaults of the contract.

    ``overlap``: 1 is max(compute, memory), 0 their sum. ``launch_s``: added per kernel. ``clock``: rated or maximum.
    ``dequantize``: packed weights are unpacked inside the product, or by a kernel of its own that writes 16-bit ones.
    ``memory_utilization`` and ``overhead_bytes``: what a server leaves free and what its runtime takes (vLLM defaults:
    0.9; context and libraries about 0.5 GB). ``page_tokens``: cache page size (0: none).
    ``threads``: threads of a processor that estimates assume (None: one a core).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    fusion: Literal["eager", "flash", "inductor", "serving"] = "serving"
    attention: Literal["flash", "eager"] = "flash"
    mla: Literal["auto", "naive", "absorbed"] = "auto"
    fidelity: Literal["bound", "estimate"] = "bound"
    clock: Literal["rated", "maximum"] = "rated"
    dequantize: Literal["fused", "separate"] = "fused"
    overlap: float = Field(1.0, ge=0.0, le=1.0)
    launch_s: float = Field(0.0, ge=0.0, le=1.0)
    launch: Literal["graph", "eager"] = "graph"
    threads: int | None = Field(None, ge=1, le=65536)
    host_overhead_s: float = Field(0.0, ge=0.0, le=10.0)
    memory_utilization: float = Field(0.9, gt=0.0, le=1.0)
    overhead_bytes: float = Field(0.5e9, ge=0.0, le=1e13)
    page_tokens: int = Field(0, ge=0, le=65536)
    sampling: bool = False
    expert_zipf: float = Field(0.0, ge=0.0, le=10.0)
    bandwidth_scale: float = Field(1.0, gt=0.0, le=1e4)
    compute_scale: float = Field(1.0, gt=0.0, le=1e4)
    price_per_hour: float | None = Field(None, ge=0.0, le=1e9)


def _compression_text(value: Any) -> Any:
    """A policy as text: its name, or its rules as JSON; text stays as it is."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if isinstance(value, dict) else value


class Scenario(BaseModel):
    """One question: how long, how much memory, bound by what. Frozen; equal scenarios give equal results."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Annotated[int, Field(alias="schema")] = SCHEMA_VERSION
    model: str = Field(max_length=4096)
    hardware: str = Field(max_length=4096)
    workload: Workload = Decode()
    compression: Annotated[str, BeforeValidator(_compression_text)] = Field("checkpoint", max_length=65536)
    parallel: Parallel = Parallel()
    assumptions: Assumptions = Assumptions()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, values that differ from the defaults only (plus schema, model, hardware)."""
        return json.dumps(self.compact(), sort_keys=True, separators=(",", ":"))

    def compact(self) -> dict[str, Any]:
        """The scenario as a dict without default values."""
        full = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        full["schema"] = self.schema_version
        full["workload"] = {
            "phase": self.workload.phase,
            **self.workload.model_dump(mode="json", exclude_defaults=True),
        }
        return full

    def full(self) -> dict[str, Any]:
        """The scenario as a dict with every value."""
        return self.model_dump(mode="json", by_alias=True)

    def with_(self, **changes: Any) -> Scenario:
        """A copy with some fields replaced; keys of ``assumptions`` and ``parallel`` may be given directly."""
        data = self.full()
        for key, value in changes.items():
            if key in Assumptions.model_fields:
                data["assumptions"][key] = value
            elif key in Parallel.model_fields:
                data["parallel"][key] = value
            elif key == "workload" and isinstance(value, BaseModel):
                data[key] = value.model_dump()
            else:
                data[key] = value.model_dump() if isinstance(value, BaseModel) else value
        return scenario_from(data)


def scenario_from(data: Any) -> Scenario:
    """A scenario from JSON text or a dict; InputError in one line that names the field, the value, what is allowed."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (json.JSONDecodeError, RecursionError):
            raise InputError("scenario: not JSON") from None
    if not isinstance(data, dict):
        raise InputError("scenario: expected an object")
    version = data.get("schema", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"scenario: schema {str(version)[:20]!r} is not readable (this version reads {SCHEMA_VERSION})"
        )
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise InputError(one_line(error, "scenario")) from None


def one_line(error: ValidationError, where: str) -> str:
    """The first complaint of a validation as one line: field, value, what is allowed, nearest field name."""
    first = error.errors(include_url=False)[0]
    loc = [str(p) for p in first["loc"]]
    if len(loc) > 2 and loc[0] == "workload":
        del loc[1]  # the tag of the union: the phase is in the message's value already
    path = ".".join(loc) or "(top)"
    if first["type"] == "extra_forbidden":
        field = str(first["loc"][-1])
        names = [*Scenario.model_fields, *Assumptions.model_fields, *Parallel.model_fields, "batch", "prompt"]
        close = nearest(field, [*names, "context", "output", "phase"])
        return f"{where}: unknown field {path!r}" + (f"; did you mean {close!r}?" if close else "")
    given = str(first.get("input"))[:60]
    return f"{where}: {path} = {given}: {first['msg'][0].lower()}{first['msg'][1:]}"
