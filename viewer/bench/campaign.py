"""Files of a campaign: refused when they are there, rewritten as benchmarks finish, kept when interrupted."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from viewer.bench import host
from viewer.bench.schema import Campaign, Device, Record, Run
from viewer.bench.storage import write_atomic
from viewer.errors import InputError


@dataclass(frozen=True, slots=True)
class Target:
    """Where a campaign goes: the raw results (.json) and the hardware file (.yaml) beside them."""

    json: Path
    yaml: Path

    @classmethod
    def of(cls, out: Path, *, force: bool) -> Target:
        """From ``--out FILE`` (.json or .yaml). InputError when a file is there already, or cannot be."""
        if out.suffix.lower() not in (".json", ".yaml", ".yml"):
            raise InputError(f"--out {str(out)[:200]!r}: the file name must end in .yaml or .json")
        yaml = out if out.suffix.lower() != ".json" else out.with_suffix(".yaml")
        target = cls(out.with_suffix(".json"), yaml)
        for path in (target.json, target.yaml):
            if path.exists() and not force:
                raise InputError(f"{path} exists; give another --out, or --force to replace it")
        folder = target.json.parent
        if not folder.is_dir():
            raise InputError(f"--out: the folder {folder} does not exist")
        if not os.access(folder, os.W_OK):
            raise InputError(f"--out: the folder {folder} cannot be written")
        return target


def _container() -> str | None:
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    return "container" if os.environ.get("KUBERNETES_SERVICE_HOST") else None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


@dataclass(slots=True)
class Writer:
    """Collects a campaign; ``save`` writes what there is so far."""

    target: Target | None
    device: dict[str, Any]
    software: dict[str, Any]
    command: str
    mode: str
    seed: int
    started: float = field(default_factory=time.monotonic)
    utc: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    run_id: str = field(default_factory=lambda: secrets.token_hex(6))
    load: float | None = field(default_factory=_load)
    notes: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def campaign(self, *, complete: bool) -> Campaign:
        """What there is, as a validated result."""
        version, commit, dirty = host.tool_version()
        run = Run(
            id=self.run_id,
            utc=self.utc,
            tool_version=version,
            git_commit=commit,
            git_dirty=dirty,
            command=self.command,
            mode="quick" if self.mode == "quick" else "full",
            duration_s=time.monotonic() - self.started,
            complete=complete,
            container=_container(),
            load_average=self.load,
            seed=self.seed,
            notes=self.notes,
        )
        device = Device.model_validate(self.device)
        return Campaign(run=run, device=device, software=self.software, records=self.records)

    def keep(self, records: list[Record]) -> None:
        """Takes the finished records and writes the partial result."""
        self.records = records
        self.save(complete=False)

    def save(self, *, complete: bool) -> Campaign:
        """Writes the raw results (atomically) and returns them."""
        campaign = self.campaign(complete=complete)
        if self.target:
            write_atomic(self.target.json, campaign.model_dump_json(indent=1) + "\n")
        return campaign
